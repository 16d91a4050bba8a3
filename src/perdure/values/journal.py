"""The journal of an instance: rows that its runs append on their way, stored apart from its own row."""

from __future__ import annotations

from typing import Literal

import attrs


@attrs.frozen
class JournalChange:
    """Append rows to the journal of an instance, with the transition that writes the instance.

    The journal belongs to an incarnation. Its rows have the places 0, 1, 2, …, and `Instance.journal_length` says how
    many there are: the first appended row gets the place ``journal_length - len(bodies)`` of the written instance.

    Attributes:
        bodies: the appended rows, in order. Only the kind of the job interprets them.
        earlier: ``cut`` deletes the earlier rows first, so that the first appended row gets the place 0.
    """

    bodies: tuple[str, ...] = attrs.field(repr=lambda bodies: f"<{len(bodies)} rows>")
    earlier: Literal["kept", "cut"] = "kept"
