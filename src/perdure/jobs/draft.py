"""The draft: the working copy of a run, changed by context operations. It is discarded unless the run succeeds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from perdure.codecs import Codec, NewerOnly, Opened
from perdure.jobs.decision import Alarm, AlarmChange, alarm_ms
from perdure.jobs.operations import (
    CONTEXT_OPERATIONS,
    GetAlarm,
    GetState,
    Post,
    SetAlarm,
    SetState,
    UpdateState,
)
from perdure.jobs.size import within
from perdure.programs import PASS
from perdure.values.address import Address
from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.limits import Limits
from perdure.values.message import Message
from perdure.values.times import from_ms

if TYPE_CHECKING:
    from perdure.jobs.inspection import Inspection


@attrs.frozen(repr=False)
class DraftInBranch(PerdureError):
    """A context operation was used inside a parallel branch, where drafts have no order. A defect of the program."""

    operation: object

    def _text(self) -> str:
        return (
            f"{excerpt(self.operation)} inside gather, race or another parallel branch: the order of changes would be "
            "arbitrary; collect the results first, then change the state after the branches have joined"
        )


@attrs.frozen(repr=False)
class TooManyMessages(PerdureError):
    """A turn sent more messages than one turn may. A defect of the program."""

    limit: int

    def _text(self) -> str:
        return f"a turn may send at most {self.limit} messages; send the rest from a later turn"


# ---------------------------------------------------------------- the draft
@attrs.define(kw_only=True)
class Draft:
    """The working copy of one run.

    Attributes:
        address: the instance.
        state: the decoded state as the program sees it.
        codec: checks and encodes the state.
        current_alarm_ms: the alarm before the run, in milliseconds.
        now_ms: when the run began.
        limits: limits the number and the size of messages.
        encoded: the encoded state, if it was set; else None.
        alarm: the change of the alarm; the last call wins.
        messages: messages to send, in order.
        inspection: the debug mode's inspection; None when the mode is off.
        opened: the state with the members that newer code wrote; None if there are none.
        received: the command of an event: its objects take over no such members.
        left: why the state that the program set can only be written by newer code.
    """

    __repr__ = fields_in_line

    address: Address
    state: object
    codec: Codec[Any]
    current_alarm_ms: int | None
    now_ms: int
    limits: Limits
    encoded: str | None = None
    alarm: AlarmChange = Alarm.keep
    messages: list[Message] = attrs.Factory(list[Message])
    inspection: Inspection | None = None
    opened: Opened[Any] | None = None
    received: object = None
    left: NewerOnly | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the end of the run is that of the user's program; a kind may continue that in another run."""
        return True

    def answer(self, operation: object) -> object:
        """Interpret a context operation; return PASS for anything else.

        Results are plain values: no state is a container of ``returns``.
        """
        kind = type(operation)
        if kind is GetState:
            return self.state
        if kind is SetState:
            given: Any = operation
            self._set(given.state)
            return None
        if kind not in CONTEXT_OPERATIONS:
            return PASS
        match operation:
            case UpdateState(function):
                self._set(function(self.state))
            case GetAlarm():
                due_ms = self.alarm_ms(self.now_ms)
                return None if due_ms is None else from_ms(due_ms)
            case SetAlarm(change):
                self.alarm = change
            case Post():
                self._post(operation)
            case _:
                return PASS
        return None

    def branch(self) -> ClosedDraft:
        """Return the interceptor of parallel branches, which refuses context operations."""
        return ClosedDraft()

    def alarm_ms(self, now_ms: int) -> int | None:
        """Return when the alarm is due if the draft is committed at this instant (ms); None for no alarm."""
        return alarm_ms(self.alarm, current_ms=self.current_alarm_ms, now_ms=now_ms)

    def _set(self, state: object) -> None:
        if self.opened is None:
            data, opened = self.codec.encode(state), None
        else:
            data, opened = self.closed(state, self.opened)
        limit = self.limits.state_bytes
        self.encoded = data.decode() if len(data) <= limit else within(data, limit, what=self.codec.what)
        self.state, self.opened = state, opened

    def closed(self, state: object, opened: Opened[Any]) -> tuple[bytes, Opened[Any] | None]:
        """Encode a state with the members that newer code wrote; return it with these members.

        Raises:
            NewerOnly: a member has no certain place in it; the run is left to newer code.
            InvalidInput: it does not have its type.
        """
        try:
            data, after = self.codec.close(state, opened, new=self.received)
        except NewerOnly as left:
            self.left = left
            raise
        return data, after.with_rest()

    def _post(self, post: Post) -> None:
        if len(self.messages) >= self.limits.messages_per_turn:
            raise TooManyMessages(self.limits.messages_per_turn)
        within(post.payload.encode(), self.limits.payload_bytes, what=f"{post.action} to {post.target}")
        self.messages.append(
            Message(
                sender=self.address, target=post.target, action=post.action, payload=post.payload, sent_ms=self.now_ms
            )
        )


@attrs.frozen
class ClosedDraft:
    """Refuses context operations: the draft has one writer."""

    def answer(self, operation: object) -> object:
        """Refuse a context operation; return PASS for anything else.

        Raises:
            DraftInBranch: the operation is a context operation.
        """
        if isinstance(operation, CONTEXT_OPERATIONS):
            raise DraftInBranch(operation)
        return PASS

    def branch(self) -> ClosedDraft:
        """Return the interceptor of nested branches, which refuses them too."""
        return self
