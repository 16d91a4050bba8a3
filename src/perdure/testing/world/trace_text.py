"""The human-readable text of a timeline."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, assert_never

from returns.result import Failure, Result, Success

from perdure.jobs.request import Request
from perdure.testing.world.timeline import Timeline
from perdure.testing.world.trace_event import (
    EffectCall,
    EffectPerformed,
    FaultInjected,
    LogEmitted,
    MessagesRead,
    ProgramEnded,
    RequestAnswered,
    RequestSent,
    TimePassed,
    TraceDetail,
    TraceEvent,
    TransitionCommitted,
    WorkerClosed,
    WorkerKilled,
    WorkerOpened,
)
from perdure.values.instance import Claim, Instance
from perdure.values.times import format_duration
from perdure.values.transition import KeepInstance, Purge, Put, Transition

LAST: Final = 120
"""The maximum number of events in the text."""

_LONGEST: Final = 160


def format_timeline(timeline: Timeline, start_ms: int) -> str:
    """Return the end of a timeline, one line for each event.

    Args:
        timeline: the timeline.
        start_ms: the instant from which times are counted.
    """
    return format_trace(timeline.kept, timeline.dropped, start_ms)


def format_trace(kept: Collection[TraceEvent], dropped: int, start_ms: int) -> str:
    """Return the end of a trace, one line for each event.

    Args:
        kept: the events, oldest first.
        dropped: the number of older events.
        start_ms: the instant from which times are counted.
    """
    trace = tuple(kept)[-LAST:]
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
    if transition.remember is not None:
        what = "a failure" if transition.remember.failures else "the result"
        yield f"    stores {what} of key {transition.remember.key!r}"
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
