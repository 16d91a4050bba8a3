"""A wait for an instance's committed status, and its answers."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from perdure.values.errors import InvalidArgument, PerdureError
from perdure.values.excerpt import fields_in_line, size_only
from perdure.values.listings import InstanceOutcome
from perdure.values.status import InstanceStatus, Status

AwaitedStatus: TypeAlias = Literal["ended", "not_found"] | Status
"""A status to wait for. ``ended``: there is no instance, or its kind reports that it is over."""

AWAITED_STATUSES: Final[tuple[str, ...]] = ("ended", "not_found", *get_args(Status))


@attrs.frozen
class WaitCondition:
    """The statuses and phases that end a wait. One is enough.

    Attributes:
        phases: phases that the job's kind reports.
        ticket: an update of a workflow whose reply ends the wait, instead of a status. Empty for none.
        published: the name of a value whose publication ends the wait, instead of a status. Empty for none.
    """

    __repr__ = fields_in_line

    statuses: tuple[str, ...] = ("ended",)
    phases: tuple[str, ...] = ()
    ticket: str = ""
    published: str = ""

    @property
    def is_end(self) -> bool:
        """Whether only the instance's end is wanted."""
        return self.statuses == ("ended",) and not self.phases

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
        reply: the reply to an update, which ends the wait for it. None for another request.
    """

    __repr__ = fields_in_line

    form: Literal["reached", "not_reached"]
    answer: Any
    status: InstanceStatus
    outcome: InstanceOutcome | None = None
    reply: UpdateReply | None = None


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
        found = self.status.status if self.status.parked is None else f"parked ({self.status.parked})"
        if self.wanted.published:
            missed, fix = f"was {found}, and did not publish {self.wanted.published!r},", "repeat the call"
        elif self.wanted.ticket:
            missed, fix = f"was {found}, and sent no reply,", "repeat the call with the same key"
        else:
            wanted = " or ".join((*self.wanted.statuses, *self.wanted.phases))
            missed, fix = f"was {found}, not {wanted},", "repeat it, or pass a longer timeout="
        # Without that, a repeat would wait for nothing.
        fix = f". {self.status.heals}" if self.status.heals else f": {fix}"
        return f"{self.address} {missed} when the time of the wait was over{fix}"


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


@attrs.frozen(kw_only=True)
class UpdateReply:
    """The reply to an update, as it is stored and sent.

    Attributes:
        form: ``done`` or ``failed`` by the handler. ``waiting``: there is no reply yet. ``unanswered``: there will be
            none.
        value: the reply, or the typed error, as JSON.
    """

    __repr__ = fields_in_line

    form: Literal["done", "failed", "waiting", "unanswered"]
    value: str | None = attrs.field(default=None, repr=size_only)


@attrs.frozen(repr=False, str=False)
class UpdateUnanswered(PerdureError, LookupError):
    """An update got no reply and will get none: the workflow is absent, has ended, or has started over.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        update: the update's name.
    """

    address: str
    update: str

    def _text(self) -> str:
        return (
            f"{self.address} did not answer the update {self.update!r}, and will not: it is absent, has ended, or has "
            "started over; its status and its outcome say more"
        )


@attrs.frozen(repr=False, str=False)
class NotReplied(PerdureError, LookupError):
    """A task handled an event, and its handler did not send the reply that the caller waits for.

    Attributes:
        address: the instance, printed ``kind:name:id``.
        reply: the reply's name.
    """

    address: str
    reply: str

    def _text(self) -> str:
        return (
            f"{self.address} handled the event without the reply {self.reply!r}: its changes are durable; send the "
            "reply in the branch of the handler that handles this event, or replace an engine with older code"
        )


@attrs.frozen(kw_only=True)
class PublishedValue:
    """The value that an instance published under a name, as it is stored and sent.

    Attributes:
        form: ``published``. ``waiting``: not yet. ``ended``: the instance ended without it. ``absent``: there is no
            instance.
        value: the value as JSON.
    """

    __repr__ = fields_in_line

    form: Literal["published", "waiting", "ended", "absent"]
    value: str | None = attrs.field(default=None, repr=size_only)


def ticket_parts(ticket: str, what: str = "ticket of an update") -> tuple[int, int, int]:
    """Return a ticket's incarnation, number and place in the journal.

    Raises:
        InvalidArgument: it is not a ticket.
    """
    parts = ticket.split(".") if isinstance(ticket, str) else []  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
    if len(parts) == 3 and all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):  # noqa: PLR2004 - as above
        incarnation, number, since = map(int, parts)
        return incarnation, number, since
    raise InvalidArgument(what, ticket, "the ticket that update.NAME returned")


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
