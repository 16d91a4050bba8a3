"""How an instance ended, for kinds that keep the outcome."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen

A_co = TypeVar("A_co", covariant=True)


@frozen
class Done(Generic[A_co]):
    """It succeeded, with this value."""

    value: A_co = attrs.field(repr=excerpt)


@frozen
class WasCancelled:
    """It was cancelled, for this reason of the caller."""

    reason: str = attrs.field(repr=excerpt)
