"""The members of a shared store: the engines whose leases have not ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import attrs

from perdure.values.address import Job
from perdure.values.excerpt import fields_in_line

Served: TypeAlias = Mapping[Job, int]
"""The jobs that an engine serves, each with the version of its state."""


@attrs.frozen(kw_only=True)
class StoreMember:
    """One engine on a shared store.

    Attributes:
        epoch: the number of its opening.
        served: the jobs that it serves; empty until its first heartbeat that says so.
        joined_ms: the store's clock when it opened the store.
        lease_left_ms: how long its lease lasts from now, by the store's clock; negative when it has ended.
        label: the process, for operators: such as ``host:pid``.
    """

    __repr__ = fields_in_line

    epoch: int
    served: Served
    joined_ms: int
    lease_left_ms: int
    label: str = ""


@attrs.frozen(kw_only=True)
class Members:
    """The engines on a shared store, at one moment.

    Attributes:
        members: all that were not declared dead, by epoch.
        last_epoch: the greatest epoch that was assigned until then.
        now_ms: the wall clock of the store, rounded down: integer milliseconds since 1970 UTC.
    """

    members: tuple[StoreMember, ...]
    last_epoch: int
    now_ms: int

    @property
    def epochs(self) -> frozenset[int]:
        """The epochs of the members."""
        return frozenset(member.epoch for member in self.members)
