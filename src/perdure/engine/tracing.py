"""Tracing: what an engine reports of its turns and effects while they run. A sink turns it into spans."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Literal, Protocol, TypeAlias

import attrs

from perdure.jobs.recovery import left_behind
from perdure.jobs.request import AlarmDue, Recover, Request, TakeUp
from perdure.values.address import Address
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance
from perdure.values.turn_inputs import TurnInputs

TurnCause: TypeAlias = Literal["request", "message", "alarm", "retry", "recovery"]
"""What a turn serves: the request of a caller, a message, an alarm, the retry of a failed run, an abandoned run."""

TurnOutcome: TypeAlias = Literal["ok", "rejected", "failed", "refused", "unavailable", "unknown", "cancelled"]
"""How a turn ended: ``failed`` also if its run failed and will be retried."""


@attrs.frozen(kw_only=True)
class TurnBegun:
    """A turn that begins.

    Attributes:
        address: the instance.
        action: the command.
        cause: what the turn serves.
        parent: the trace context of the caller; the turn is a part of its trace.
        link: the trace context of the turn that caused this one; this turn begins a new trace.
        message_id: the message; None if it serves none.
        sender: the sender of the message, printed; None if it serves none.
    """

    address: Address
    action: str
    cause: TurnCause
    parent: str | None = None
    link: str | None = None
    message_id: int | None = None
    sender: str | None = None


@attrs.frozen(kw_only=True)
class TurnEnded:
    """The end of a turn.

    Attributes:
        outcome: how it ended.
        error_type: the class of the error; empty if there is none.
        failure: the failure to record; None if there is none. Secrets are removed.
    """

    outcome: TurnOutcome
    error_type: str = ""
    failure: FailureRecord | None = None


@attrs.frozen(kw_only=True)
class EffectBegun:
    """An effect that begins.

    Attributes:
        address: the instance.
        name: the name of the effect.
        parent: the trace context of the turn; None if it is not traced.
        claim: the claim of the run.
    """

    address: Address
    name: str
    parent: str | None
    claim: Claim


class TurnSpan(Protocol):
    """A traced turn."""

    @property
    def context(self) -> str | None:
        """The trace context, as `perdure.values.trace` describes it; None if the turn is not traced."""
        ...

    def runs(self, claim: Claim) -> None:
        """Note the run that the turn executes."""
        ...

    def end(self, ended: TurnEnded) -> None:
        """End it."""
        ...


class EffectSpan(Protocol):
    """A traced effect."""

    def failed(self, failure: FailureRecord) -> None:
        """Note its error. Secrets are removed."""
        ...


class Tracing(Protocol):
    """Traces an engine. It must return at once, and only the thread of the engine calls it."""

    def current(self) -> str | None:
        """Return the trace context of the running code, which makes a call; None if it has none."""
        ...

    def begin(self, turn: TurnBegun, /) -> TurnSpan:
        """Begin a turn."""
        ...

    def effect(self, effect: EffectBegun, /) -> AbstractContextManager[EffectSpan]:
        """Perform an effect: code inside the block belongs to it."""
        ...


def turn_begun(address: Address, request: Request, before: Instance | None, inputs: TurnInputs) -> TurnBegun | None:
    """Describe a turn from the stored instance; None if it will do nothing, so that it is not worth a trace.

    Args:
        address: the instance.
        request: the request.
        before: the stored instance.
        inputs: the clock, and the runs in progress.
    """
    match request.command:
        case AlarmDue():
            return _alarm(address, before, inputs)
        case Recover():
            claim = None if before is None else left_behind(before, inputs.running, inputs.others)
            if claim is None:
                return None
            return TurnBegun(address=address, action=request.action, cause="recovery", link=claim.trace)
        case TakeUp():
            return None
        case _:
            return _asked(address, request)


def _alarm(address: Address, before: Instance | None, inputs: TurnInputs) -> TurnBegun | None:
    due_ms = None if before is None else before.due_ms
    if before is None or due_ms is None or due_ms > inputs.now_ms:
        return None
    retry = before.pending_retry
    if retry is not None:
        return TurnBegun(address=address, action="retry", cause="retry", link=retry.trace)
    return TurnBegun(address=address, action="alarm", cause="alarm", link=before.alarm_trace)


def _asked(address: Address, request: Request) -> TurnBegun:
    inbound = request.inbound
    if inbound is None:
        return TurnBegun(address=address, action=request.action, cause="request", parent=request.trace)
    return TurnBegun(
        address=address,
        action=request.action,
        cause="message",
        link=request.trace,
        message_id=inbound.message_id,
        sender=str(inbound.sender),
    )
