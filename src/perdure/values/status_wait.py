"""A wait for an instance's committed status, and its answers."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from perdure.values.errors import PerdureError
from perdure.values.excerpt import fields_in_line
from perdure.values.listings import InstanceOutcome
from perdure.values.status import InstanceStatus, Status

AwaitedStatus: TypeAlias = Literal["ended", "not_found"] | Status
"""A status to wait for. ``ended``: there is no instance, or its kind reports that it is over."""

AWAITED_STATUSES: Final[tuple[str, ...]] = ("ended", "not_found", *get_args(Status))


@attrs.frozen
class WaitCondition:
    """The statuses and phases that end a wait. One is enough.

    Attributes:
        statuses: statuses.
        phases: phases that the job's kind reports.
    """

    __repr__ = fields_in_line

    statuses: tuple[str, ...] = ("ended",)
    phases: tuple[str, ...] = ()

    def ends_with(self, status: InstanceStatus, *, over: bool) -> bool:
        """Return whether a committed status ends the wait.

        Args:
            status: the status. ``not_found`` if there is no instance.
            over: whether the kind reports that the instance is over.
        """
        # An instance that is gone has ended, also if its kind keeps no outcome.
        ended = over or status.status == "not_found"
        return status.status in self.statuses or status.phase in self.phases or (ended and "ended" in self.statuses)


@attrs.frozen
class Reached:
    """The instance had a wanted status.

    Attributes:
        status: the committed status that ended the wait. A later one may differ.
    """

    __repr__ = fields_in_line

    status: InstanceStatus


@attrs.frozen
class NotReached:
    """The wait's time is over.

    Attributes:
        status: the committed status at its end.
    """

    __repr__ = fields_in_line

    status: InstanceStatus


@attrs.frozen
class NeverStored:
    """A wait for an end found no instance, and the log has no event from one."""


Awaited: TypeAlias = Reached | NotReached | NeverStored
"""The answer to a wait, as it is sent."""


@attrs.frozen(kw_only=True)
class CallEnd:
    """A request's answer, and the end of its work, as tools show it.

    Attributes:
        form: whether the work was over in time.
        answer: the request's answer as JSON-able data.
        status: the committed status at the end of the wait.
        outcome: how the instance ended, without secrets. None if it has not, or if its kind does not keep that.
    """

    __repr__ = fields_in_line

    form: Literal["reached", "not_reached"]
    answer: Any
    status: InstanceStatus
    outcome: InstanceOutcome | None = None


@attrs.frozen(repr=False, str=False)
class WaitOver(PerdureError, TimeoutError):
    """A wait's time is over, and the instance did not have the wanted status.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        wanted: the statuses and phases.
        status: the committed status at the wait's end.
    """

    address: str
    wanted: WaitCondition
    status: InstanceStatus

    def _text(self) -> str:
        wanted = " or ".join((*self.wanted.statuses, *self.wanted.phases))
        found = self.status.status if self.status.parked is None else f"parked ({self.status.parked})"
        return (
            f"{self.address} was {found}, not {wanted}, when the time of the wait was over: repeat it, or pass a "
            "longer timeout="
        )


@attrs.frozen(repr=False, str=False)
class NoOutcome(PerdureError, LookupError):
    """An instance has ended, and no outcome of it is kept.

    Attributes:
        address: the instance, printed ``kind:name:id``.
    """

    address: str

    def _text(self) -> str:
        return (
            f"{self.address} has ended without an outcome that is kept: it was terminated, or cancelled as an item, or "
            "its definition keeps outcomes for a shorter time; see its history, or pass a longer keep="
        )


@attrs.frozen(repr=False, str=False)
class NothingStored(PerdureError, LookupError):
    """A wait for an end found no instance, and the log has no event from one.

    Attributes:
        address: the instance, printed ``kind:name:id``.
    """

    address: str

    def _text(self) -> str:
        return f'{self.address} is not stored, and has no event in the log: check the id, or wait for "not_found"'


WaitFailed: TypeAlias = WaitOver | NothingStored
"""Why a wait did not see the wanted status."""
