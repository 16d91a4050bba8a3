"""The argument of an invariant: one stored instance."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import attrs

from perdure.testing.world import EffectCall
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance

S_co = TypeVar("S_co", covariant=True)


@attrs.frozen(kw_only=True)
class InstanceView(Generic[S_co]):
    """One stored instance, decoded, after the world has settled.

    Attributes:
        id: the instance's id.
        state: its decoded state; None when its kind stores none at the moment.
        alarm: when it is due next, an aware instant; None when nothing is scheduled, or it is paused or parked.
        now: the current time.
        effects: the effects of its runs so far, in order, over all its incarnations.
        instance: the stored instance.
    """

    __repr__ = fields_in_line

    id: str
    state: S_co
    alarm: datetime | None
    now: datetime
    effects: tuple[EffectCall, ...] = attrs.field(repr=False)  # the trace shows them
    instance: Instance = attrs.field(repr=False)
