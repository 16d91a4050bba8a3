"""A world's events, as values and as text."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.request import Request
from perdure.programs import Exit
from perdure.runtime.record import LogRecord
from perdure.testing.fault import Fault
from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.message import StoredMessage
from perdure.values.times import format_duration
from perdure.values.transition import KeepInstance, Purge, Put, Transition


class Unanswered:
    """The type of `UNANSWERED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "no answer"


UNANSWERED: Final = Unanswered()
"""The outcome of an effect that did not return: its worker died, or it still waits."""


@attrs.define(kw_only=True)
class EffectCall:
    """One effect call. Its outcome is filled in when it returns, so it is not a value.

    Attributes:
        name: the ``@effect`` function's name.
        args: the arguments, without the services.
        kwargs: the keyword arguments.
        address: the instance whose run performs it.
        run_id: the run.
        attempt: the run's failures so far, plus 1.
        delivery: this attempt's claims so far.
        declares: whether its annotation declares errors.
        lease: whether the engine had a lease when it sent the call, by the store's clock. ``good`` without leases.
        outcome: the result: a ``Success``, a ``Failure``, a plain value, the exception that it raised, or `UNANSWERED`.
    """

    __repr__ = fields_in_line

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    address: Address
    run_id: str
    attempt: int
    delivery: int
    declares: Literal["errors", "no_errors"]
    lease: Literal["good", "ended"] = "good"
    outcome: object = UNANSWERED

    def __str__(self) -> str:
        shown = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.name}({', '.join(shown)})"


# ---------------------------------------------------------------- kinds of events
@attrs.frozen
class WorkerOpened:
    """A worker opened the store."""

    __repr__ = fields_in_line

    store: str
    epoch: int


@attrs.frozen
class WorkerClosed:
    """A worker stopped gracefully."""

    __repr__ = fields_in_line


@attrs.frozen
class WorkerKilled:
    """A worker died."""

    __repr__ = fields_in_line

    at: str


@attrs.frozen
class RequestSent:
    """A request reached the engine."""

    __repr__ = fields_in_line

    number: int
    address: Address
    request: Request


@attrs.frozen
class RequestAnswered:
    """A request returned a ``Success`` or a ``Failure``."""

    __repr__ = fields_in_line

    number: int
    result: Result[Any, Any]  # of any request


@attrs.frozen
class EffectPerformed:
    """A run performed an effect."""

    __repr__ = fields_in_line

    call: EffectCall


@attrs.frozen
class ProgramEnded:
    """A user's program ended.

    Attributes:
        hook: the user's function: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
        request: the request that it handled.
    """

    __repr__ = fields_in_line

    address: Address
    hook: str
    exit: Exit[Any, Any]  # of any program
    request: Request
    run_id: str


@attrs.frozen
class TransitionCommitted:
    """A transition was committed."""

    __repr__ = fields_in_line

    transition: Transition
    fence: Fence


@attrs.frozen
class MessagesRead:
    """The engine read which messages may be delivered. Recorded when there are some."""

    __repr__ = fields_in_line

    messages: tuple[StoredMessage, ...]


@attrs.frozen
class FaultInjected:
    """A fault took effect. For an effect, ``address`` is the instance whose run performed it."""

    __repr__ = fields_in_line

    fault: Fault
    address: Address | None = None


@attrs.frozen
class TimePassed:
    """The test moved the clock."""

    __repr__ = fields_in_line

    by_ms: int
    how: Literal["advance", "stall"] = "advance"


@attrs.frozen
class LogEmitted:
    """The engine wrote a log record."""

    __repr__ = fields_in_line

    record: LogRecord


TraceDetail: TypeAlias = (
    WorkerOpened
    | WorkerClosed
    | WorkerKilled
    | RequestSent
    | RequestAnswered
    | EffectPerformed
    | ProgramEnded
    | TransitionCommitted
    | MessagesRead
    | FaultInjected
    | TimePassed
    | LogEmitted
)


@attrs.frozen
class TraceEvent:
    """One event in a world.

    Attributes:
        at_ms: the wall clock, integer milliseconds since 1970 UTC.
        worker: the worker's number, from 1.
        what: the event's details.
    """

    __repr__ = fields_in_line

    at_ms: int
    worker: int
    what: TraceDetail


MAX_SHOWN_EVENTS: Final = 120
"""The maximum number of events in the text."""

_LONGEST: Final = 160


def format_trace(kept: Collection[TraceEvent], dropped: int, start_ms: int) -> str:
    """Return the end of a trace, one line for each event.

    Args:
        kept: the events, oldest first.
        dropped: how many older events were dropped.
        start_ms: the instant from which times are counted.
    """
    trace = tuple(kept)[-MAX_SHOWN_EVENTS:]
    hidden = dropped + len(kept) - len(trace)
    lines = [f"  ({hidden} earlier events are not shown)"] if hidden else []
    for moment in trace:
        at = _since(start_ms, moment.at_ms)
        lines += [f"{at:>12}  w{moment.worker}  {line}" for line in _lines(moment)]
    return "\n".join(["Trace (time since the start, worker, event):", *lines])


def _since(start_ms: int, at_ms: int) -> str:
    return f"-{format_duration(start_ms - at_ms)}" if at_ms < start_ms else f"+{format_duration(at_ms - start_ms)}"


def _lines(moment: TraceEvent) -> Iterator[str]:
    what = moment.what
    if isinstance(what, TransitionCommitted):
        yield from _of_transition(what.transition, moment.at_ms)
    elif not isinstance(what, ProgramEnded):  # the previous lines show its effects, and the commit its result
        yield _shortened(_line(what))


def _line(what: TraceDetail) -> str:  # noqa: C901, PLR0911, PLR0912 - one return for each kind
    match what:
        case WorkerOpened(store, epoch):
            return f"worker opens {store}, epoch {epoch}"
        case WorkerClosed():
            return "worker stops"
        case WorkerKilled(at):
            return f"WORKER KILLED {at}"
        case RequestSent(number, address, request):
            return f"#{number} request to {address}: {_request(request)}"
        case RequestAnswered(number, result):
            return f"#{number} returned {_result(result)}"
        case EffectPerformed(call):
            return _effect(call)
        case FaultInjected(fault, _):
            return f"FAULT {fault!r}"
        case TimePassed(by_ms, "advance"):
            return f"the clock moves by {format_duration(by_ms)}"
        case TimePassed(by_ms, _):
            return f"WORKER STALLED for {format_duration(by_ms)}"
        case LogEmitted(record):
            return f"log {record.level}: {record.message} {dict(record.fields)}"
        case MessagesRead(messages):
            return f"  messages: {', '.join(f'{each.message_id} to {each.message.target}' for each in messages)}"
        case TransitionCommitted() | ProgramEnded():
            return ""
        case _:
            assert_never(what)


def _request(request: Request) -> str:
    key = "" if request.idempotency_key is None else f", key {request.idempotency_key!r}"
    return f"{request.action} {request.payload}{key}"


def _result(result: Result[Any, Any]) -> str:
    if isinstance(result, Failure):
        error = result.failure()
        return f"{type(error).__name__}: {error}"
    return repr(result.unwrap())


def _effect(call: EffectCall) -> str:
    repeat = f", attempt {call.attempt}, delivery {call.delivery}" if call.attempt + call.delivery > 2 else ""  # noqa: PLR2004 - both are 1 the first time
    return f"  effect {call}{_outcome(call.outcome)}  [{call.address}{repeat}]"


def _outcome(outcome: Any) -> str:  # the result of any service
    if isinstance(outcome, BaseException):
        return f" -> RAISES {outcome!r}"
    if isinstance(outcome, Failure):
        return f" -> FAILS {outcome.failure()!r}"
    value: object = outcome.unwrap() if isinstance(outcome, Success) else outcome  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] # of any type
    return "" if value is None else f" -> {value!r}"


# ---------------------------------------------------------------- transitions
def _of_transition(transition: Transition, at_ms: int) -> Iterator[str]:
    yield _shortened(f"  commit {transition.address}: {_write(transition, at_ms)}")
    for remembered in transition.remember:
        what = "a failure" if remembered.failures else "the result"
        yield f"    stores {what} of key {remembered.key!r}"
    for message in transition.messages:
        yield _shortened(f"    sends {message.target} {message.action} {message.payload}")
    if transition.inbound is not None:
        yield f"    message {transition.inbound.message_id} is {type(transition.inbound).__name__.lower()}"
    for event in transition.events:
        yield f"    {event.type}"


def _write(transition: Transition, at_ms: int) -> str:
    match transition.write:
        case Put(instance):
            return _instance(instance, at_ms)
        case Purge():
            return "purged"
        case KeepInstance():
            return "unchanged"


def _instance(instance: Instance, at_ms: int) -> str:
    due_ms = instance.due_ms
    due = "" if due_ms is None else f", due {_from_now(due_ms, at_ms)}"
    claims = [_claim(claim) for claim in (instance.claim, instance.event_claim) if claim is not None]
    return " ".join([f"v{instance.version} {instance.status}{due}", *claims, instance.state or "(no state)"])


def _claim(claim: Claim) -> str:
    return f"[claimed for {claim.action or claim.cause}, attempt {claim.attempt}, delivery {claim.deliveries}]"


def _from_now(due_ms: int, at_ms: int) -> str:
    return f"in {format_duration(due_ms - at_ms)}" if due_ms > at_ms else "now"


def _shortened(line: str) -> str:
    line = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
