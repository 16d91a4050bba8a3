"""A decoded state beside its JSON."""

from __future__ import annotations

from typing import Any

from perdure.values.excerpt import fields_in_line
from perdure.values.turn_value import turn_value


@turn_value
class Decoded:
    """A state that the engine keeps so that it need not be decoded again.

    Attributes:
        text: its JSON, the very object in the row that it belongs to.
        value: the state.
        opened: the state with the members that newer code wrote; None if there are none.
    """

    __repr__ = fields_in_line

    text: str
    value: object
    opened: Any = None  # the layer of codecs is above this one
