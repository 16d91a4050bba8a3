"""What an invariant looks at: one instance, as it is stored."""

from __future__ import annotations

from datetime import datetime
from typing import Generic, TypeVar

import attrs

from perdure.testing.world import EffectCall
from perdure.values.instance import Instance

S_co = TypeVar("S_co", covariant=True)


@attrs.frozen(kw_only=True)
class InstanceView(Generic[S_co]):
    """One stored instance, decoded, when nothing moves.

    Attributes:
        id: the instance's.
        state: its decoded state; None when its kind keeps none at the moment.
        alarm: when it is due next, an aware instant; None when nothing is scheduled, or it is held.
        now: what the clock shows.
        effects: what its runs reached for so far, in order, over all its lives.
        instance: everything that is stored.
    """

    id: str
    state: S_co
    alarm: datetime | None
    now: datetime
    effects: tuple[EffectCall, ...] = attrs.field(repr=False)  # the story tells them
    instance: Instance = attrs.field(repr=False)
