"""The engines that share a store, as a client sees them."""

from __future__ import annotations

from datetime import datetime

import attrs

from perdure.values.excerpt import fields_in_line
from perdure.values.instant import from_ms


@attrs.frozen(kw_only=True)
class ServedVersion:
    """A job that an engine serves.

    Attributes:
        kind: the kind of the job.
        name: its name.
        state_version: the version of its state.
    """

    __repr__ = fields_in_line

    kind: str
    name: str
    state_version: int


@attrs.frozen(kw_only=True)
class EngineMember:
    """One engine on a shared store.

    Attributes:
        epoch: the number of its opening; claims carry it.
        label: its process, such as ``host:pid``, if the store knows it.
        joined_ms: when it opened the store, by the store's clock, integer milliseconds UTC.
        lease_left_ms: how long its lease lasts from now; negative when it has ended, and no engine has noticed it.
        served: the jobs that it serves; none while it stops.
        share: the part of the alarms, messages and abandoned claims that it handles, of all jobs that engines serve: 0
            to 1. The shares of all members add up to 1.
    """

    __repr__ = fields_in_line

    epoch: int
    label: str
    joined_ms: int
    lease_left_ms: int
    served: tuple[ServedVersion, ...] = ()
    share: float = 0.0

    @property
    def joined(self) -> datetime:
        """When it opened the store, in UTC."""
        return from_ms(self.joined_ms)
