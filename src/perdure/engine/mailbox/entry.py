"""One entry of an instance's mailbox: a request, its reply, its report, and the outcome of its turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import attrs
from returns.result import Failure, Result

from perdure.engine.sinks import TurnSpan, turn_ended
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import secrets_of_instance, secrets_of_request
from perdure.jobs.request import ENGINE_COMMANDS, Request
from perdure.jobs.step import Defer, RecoverFirst
from perdure.programs import Raised
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, HookRaised, OutcomeUnknown, StoreError
from perdure.values.excerpt import excerpt
from perdure.values.frozen import turn_value
from perdure.values.instance import Instance
from perdure.values.live_event import RequestEnded
from perdure.values.secret import scrubbed

TurnAnswer: TypeAlias = Result[Any, Any]  # the answer, or a CallError


@turn_value
class TurnAnswered:
    """The turn is over."""

    result: TurnAnswer


@attrs.frozen
class FenceLost:
    """Another writer changed an instance of a store that this engine owns."""

    address: str


Verdict: TypeAlias = TurnAnswered | Defer | RecoverFirst | FenceLost
"""The outcome of a turn for its mailbox."""


Reading: TypeAlias = Literal["reading"]
"""The turn continues when the store has read its instance, perhaps after its rivals on a shared store."""


def is_interrupt(exit_: object) -> bool:
    """Return whether a program was interrupted from the keyboard: not its fault, so its claim is released."""
    return isinstance(exit_, Raised) and isinstance(exit_.cause, KeyboardInterrupt)


def not_stored(error: StoreError | OutcomeUnknown) -> OutcomeUnknown:
    """Return the error for the caller of a run whose end could not be stored."""
    return OutcomeUnknown(f"the run ended, and its result could not be stored: {error}")


def is_lost(result: TurnAnswer) -> bool:
    """Return whether the result of a turn says that its commit was not stored, or perhaps not."""
    return isinstance(result, Failure) and isinstance(result.failure(), StoreError | OutcomeUnknown)


def answer_of_hook(
    runtime: Runtime,
    job: AnyDefinition,
    address: Address,
    request: Request,
    instance: Instance | None,
    broken: Raised,
) -> TurnAnswered:
    """Log the exception without secrets, and return the answer to the caller.

    Args:
        runtime: writes the log.
        job: the definition of the hook.
        address: the instance.
        request: the request.
        instance: the stored instance.
        broken: the exception.
    """
    if is_interrupt(broken):
        return TurnAnswered(Failure(EngineClosed()))
    secrets = secrets_of_request(job, request) | secrets_of_instance(job, instance)
    fields = {"instance": str(address), "error": scrubbed(excerpt(broken.cause), secrets)}
    runtime.log(LogRecord("error", "hook raised before returning a program", fields))
    record = record_failure(broken, None, secrets=secrets)
    return TurnAnswered(Failure(HookRaised(record.error_type, record.message, record.traceback or "")))


@attrs.define(eq=False)
class RequestReport:
    """Follows one request from its acceptance to its answer.

    Attributes:
        runtime: the clocks.
        tell: tells sinks of the end of the request.
        address: the instance.
        request: the request.
    """

    runtime: Runtime
    tell: Callable[[RequestEnded], None]
    address: Address
    request: Request
    _accepted_ms: float = attrs.field(init=False)
    _waited_ms: float | None = None
    _state: Literal["open", "over"] = "open"

    def __attrs_post_init__(self) -> None:
        self._accepted_ms = self.runtime.monotonic_ms()

    def begun(self) -> None:
        """Note that the turn of the request began."""
        if self._waited_ms is None:
            self._waited_ms = self.runtime.monotonic_ms() - self._accepted_ms

    def ended(self, result: TurnAnswer | Literal["cancelled"]) -> None:
        """Tell how the request ended: with its answer, or because its caller cancelled it. The first end counts."""
        if self._state == "over":
            return
        self._state = "over"
        ended = turn_ended(result)
        took_ms = self.runtime.monotonic_ms() - self._accepted_ms
        self.tell(
            RequestEnded(
                at_ms=self.runtime.now_ms(),
                address=str(self.address),
                action=self.request.action,
                outcome=ended.outcome,
                error=ended.error_type,
                waited_ms=took_ms if self._waited_ms is None else self._waited_ms,
                took_ms=took_ms,
                by=self.request.by,
            )
        )


def is_of_caller(request: Request) -> bool:
    """Return whether a caller sent a request, and neither the engine nor an instance."""
    return request.inbound is None and not isinstance(request.command, ENGINE_COMMANDS)


class ResultReceiver(Protocol):
    """Receives the result of a request. A future is one; cancelling it removes a waiting request."""

    def done(self) -> bool:
        """Whether it has a result, or the caller cancelled the request."""
        ...

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the result."""
        ...


ELSEWHERE_MIN_MS, ELSEWHERE_MAX_MS = 5, 250
"""How soon a request is decided again that found its instance held by another engine of a shared store."""


@attrs.define(eq=False)
class MailboxEntry:
    """One request in a mailbox.

    Attributes:
        request: the request.
        answer: receives the result.
        is_end: whether this is the end of the instance's run in the background, which waits for the mailbox.
        conflicts: how often its turn met a conflict before its first effect.
        backed_off: the number of these conflicts after which it waited for its rivals.
        recovered: whether an abandoned run was already recovered for this request.
        span: traces its turn, from the moment that the instance is loaded; None if it is not traced.
        report: reports the end of the request to sinks; None if none listens.
        company: whether its turn may share a transition with others; ``alone`` after a store has refused one.
        elsewhere_retries: how often it found the instance held by another engine.
        row_source: whether its turn was decided on a row that was just read, or one that the engine of a shared store
            has kept, and another engine may have changed.
        pending_weight: how much it counts towards ``max_pending``: the engine's own commands have other limits.
        on_finishing: called when the end of its run is about to be committed.
    """

    request: Request
    answer: ResultReceiver
    is_end: bool = False
    conflicts: int = 0
    backed_off: int = 1
    recovered: Literal["not_yet", "once"] = "not_yet"
    span: TurnSpan | None = None
    report: RequestReport | None = None
    company: Literal["any", "alone"] = "any"
    elsewhere_retries: int = 0
    row_source: Literal["read", "kept"] = "read"
    on_finishing: Callable[[], None] | None = None
    pending_weight: int = 1

    def next_elsewhere_retry_ms(self, random: float) -> float:
        """Return when to look again for an instance that another engine holds."""
        delay_ms: int = min(ELSEWHERE_MAX_MS, ELSEWHERE_MIN_MS << min(self.elsewhere_retries, 10))
        self.elsewhere_retries += 1
        return delay_ms * (0.5 + random)

    def reply(self, result: TurnAnswer) -> None:
        """Answer the request at the end of its turn, unless its caller has cancelled it or has its answer."""
        self.reply_early(result)
        if self.span is not None:
            self.end_span(result)

    def reply_early(self, result: TurnAnswer) -> None:
        """Answer the request before its turn ends."""
        if not self.answer.done():
            self.answer.set_result(result)
            if self.report is not None:
                self.report.ended(result)
        elif self.report is not None:
            self.report.ended("cancelled")

    def note_cancelled(self) -> None:
        """Report that the caller has cancelled the request before its turn."""
        self.end_span("cancelled")
        if self.report is not None:
            self.report.ended("cancelled")

    def end_span(self, result: TurnAnswer | Literal["cancelled"]) -> None:
        """End the trace of the turn, if it has one."""
        if self.span is not None:
            self.span.end(turn_ended(result))
            self.span = None
