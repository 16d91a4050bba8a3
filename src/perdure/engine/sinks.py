"""Sinks receive an app's reports while its engine runs: events, traces, metrics, and the work in progress.

A sink is opened with the engine and says which reports it wants. The engine reports events to it after their commits,
traces turns and effects with it while they run, and keeps its exceptions away from turns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from typing import Any, Literal, Protocol, TypeAlias, TypeVar, cast

import attrs
from returns.result import Result, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import left_behind
from perdure.jobs.request import AlarmDue, Recover, Request, TakeUp
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.values.address import Address
from perdure.values.answer import PauseResult, RunAnswer
from perdure.values.errors import DefinitionError, HookRaised, OutcomeUnknown, Rejected, RunTimeout, StoreError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, excerpt, fields_in_line, shortened
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.listings import InFlight
from perdure.values.live_event import AnyEvent
from perdure.values.status import FailureRecord
from perdure.values.trace import trace_context
from perdure.values.turn_inputs import TurnInputs


@attrs.frozen(kw_only=True)
class Exposition:
    """An engine's metrics, in a format that a scraper reads."""

    text: bytes
    content_type: str


Expose: TypeAlias = Callable[[str], Awaitable[Exposition]]
"""Returns the metrics in the format that an HTTP header ``Accept`` prefers. An empty header is allowed."""


TurnCause: TypeAlias = Literal["request", "message", "alarm", "retry", "recovery"]
"""What a turn serves: a caller's request, a message, an alarm, a failed run's retry, an abandoned run."""

TurnOutcome: TypeAlias = Literal["ok", "rejected", "failed", "refused", "unavailable", "unknown", "cancelled"]
"""How a turn ended: ``failed`` also if its run failed and will be retried."""


@attrs.frozen(kw_only=True)
class TurnBegun:
    """A turn that begins.

    Attributes:
        cause: what the turn serves.
        parent: the caller's trace context. The turn belongs to its trace.
        link: the trace context of the turn that caused this one. This turn begins a new trace.
        message_id: the message. None if it serves none.
        sender: the message's sender, printed. None if it serves none.
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
    """A turn's end.

    Attributes:
        error_type: the error's class. Empty if there is none.
        failure: the failure to record. None if there is none. Secrets are removed.
    """

    outcome: TurnOutcome
    error_type: str = ""
    failure: FailureRecord | None = None


@attrs.frozen(kw_only=True)
class EffectBegun:
    """An effect that begins.

    Attributes:
        parent: the turn's trace context. None if it is not traced.
    """

    address: Address
    name: str
    parent: str | None
    claim: Claim


class TurnSpan(Protocol):
    """A traced turn."""

    @property
    def context(self) -> str | None:
        """The trace context, as `perdure.values.trace` describes it. None if the turn is not traced."""
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
    """Traces an engine. It must return immediately, and only the engine's thread calls it."""

    def current(self) -> str | None:
        """Return the trace context in which the running code makes a call. None if it has none."""
        ...

    def begin(self, turn: TurnBegun, /) -> TurnSpan:
        """Begin a turn."""
        ...

    def effect(self, effect: EffectBegun, /) -> AbstractContextManager[EffectSpan]:
        """Perform an effect: code inside the block belongs to it."""
        ...


def turn_begun(address: Address, request: Request, before: Instance | None, inputs: TurnInputs) -> TurnBegun | None:
    """Describe a turn from the stored instance. None if it will do nothing, so that it is not worth a trace.

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


def turn_ended(result: Result[Any, Any] | Literal["cancelled"]) -> TurnEnded:
    """Describe a turn's end.

    Args:
        result: its answer, or that the caller cancelled the request. A run's failure has no secrets in its texts.
    """
    if isinstance(result, str):
        return TurnEnded(outcome="cancelled")
    if not isinstance(result, Success):
        return _refused(result.failure())
    answer = result.unwrap()
    if isinstance(answer, RunAnswer) and answer.outcome is not None and answer.outcome.form in ("retrying", "failed"):
        failure = answer.outcome.error
        return TurnEnded(outcome="failed", error_type="" if failure is None else failure.error_type, failure=failure)
    if isinstance(answer, PauseResult) and answer.changed and answer.status == "parked":
        return TurnEnded(outcome="failed", error_type="RecoveryExhausted")
    return TurnEnded(outcome="ok")


def _refused(error: object) -> TurnEnded:
    name = type(error).__name__
    match error:
        case Rejected():
            rejected: Rejected[object] = error  # pyright: ignore[reportUnknownVariableType] - of any type
            return TurnEnded(outcome="rejected", error_type=type(rejected.error).__name__)
        case HookRaised(error_type, message, traceback):
            raised = FailureRecord(form="defect", error_type=error_type, message=message, traceback=traceback or None)
            return TurnEnded(outcome="failed", error_type=error_type, failure=raised)
        case RunTimeout():
            timed_out = FailureRecord(form="timed_out", error_type=name, message=str(error))
            return TurnEnded(outcome="failed", error_type=name, failure=timed_out)
        case StoreError():
            failed = FailureRecord(form="defect", error_type=name, message=str(error))
            return TurnEnded(outcome="unavailable", error_type=name, failure=failed)
        case OutcomeUnknown():
            failed = FailureRecord(form="defect", error_type=name, message=str(error))
            return TurnEnded(outcome="unknown", error_type=name, failure=failed)
        case _:
            return TurnEnded(outcome="refused", error_type=name)


T = TypeVar("T")


@attrs.define
class GuardedTracing:
    """Logs the first exception of a tracing sink, and continues without a trace."""

    tracing: Tracing
    name: str
    runtime: Runtime
    _failed: bool = False

    def attempt(self, step: Callable[[], T], otherwise: T) -> T:
        """Call the sink."""
        try:
            return step()
        # A cancellation too: it is the sink's own, because nothing is awaited here.
        except (Exception, self.runtime.cancelled) as error:  # noqa: BLE001 - a sink must not harm the engine
            # Once: a sink that fails in each turn would fill the log.
            if not self._failed:
                self._failed = True
                self.runtime.log(
                    LogRecord("error", "sink raised an exception", {"sink": self.name, "error": excerpt(error)})
                )
            return otherwise

    def current(self) -> str | None:
        """Return the running code's trace context. None if the sink returns another value."""
        return self.attempt(lambda: trace_context(self.tracing.current()), None)

    def begin(self, turn: TurnBegun, /) -> TurnSpan:
        """Begin a turn."""
        span = self.attempt(lambda: self.tracing.begin(turn), None)
        return (
            _NO_SPAN
            if span is None
            else _GuardedTurn(self, span, self.attempt(lambda: trace_context(span.context), None))
        )

    @contextmanager
    def effect(self, effect: EffectBegun, /) -> Generator[EffectSpan]:
        """Perform an effect."""
        block: AbstractContextManager[EffectSpan] | None = self.attempt(lambda: self.tracing.effect(effect), None)
        span = None if block is None else self.attempt(block.__enter__, None)
        if block is None or span is None:
            yield _NO_SPAN
            return
        raised: BaseException | None = None
        try:
            yield _GuardedEffect(self, span)
        # The span records how its effect ended, cancellations included; nothing is swallowed.
        except BaseException as error:
            raised = error
            raise
        finally:
            kind, trace = type(raised) if raised else None, raised.__traceback__ if raised else None
            self.attempt(lambda: block.__exit__(kind, raised, trace), None)


@attrs.frozen
class _GuardedTurn:
    """A turn's span, whose exceptions are logged."""

    guard: GuardedTracing
    span: TurnSpan
    context: str | None

    def runs(self, claim: Claim) -> None:
        """Note the run that the turn executes."""
        self.guard.attempt(lambda: self.span.runs(claim), None)

    def end(self, ended: TurnEnded) -> None:
        """End it."""
        self.guard.attempt(lambda: self.span.end(ended), None)


@attrs.frozen
class _GuardedEffect:
    """An effect's span, whose exceptions are logged."""

    guard: GuardedTracing
    span: EffectSpan

    def failed(self, failure: FailureRecord) -> None:
        self.guard.attempt(lambda: self.span.failed(failure), None)


@attrs.frozen
class _NoSpan:
    """The span for a turn or an effect whose sink failed."""

    context: str | None = None

    def runs(self, claim: Claim) -> None:
        pass

    def end(self, ended: TurnEnded) -> None:
        pass

    def failed(self, failure: FailureRecord) -> None:
        pass


_NO_SPAN = _NoSpan()


OnEvent = Callable[[AnyEvent], object]
"""Called with every event, in commit order. It must return immediately: the engine waits for it."""


@attrs.frozen(kw_only=True)
class SinkLag:
    """How far a sink that exports the log is behind it.

    Attributes:
        events: how many events it has not exported.
        oldest_ms: when the oldest such event happened, integer milliseconds UTC. None if the sink has not read it yet.
        problem: why its last attempt failed. Empty if it did not.
    """

    __repr__ = fields_in_line

    events: int
    oldest_ms: int | None = None
    problem: str = ""


LagOf = Callable[[], SinkLag]
"""Returns a sink's lag. It reads memory, not the store."""


@attrs.frozen(kw_only=True)
class EngineView:
    """The engine that a sink watches.

    Attributes:
        store: the open store. A sink reads the event log from it.
        runtime: the only interface to time, waiting, task creation, ids and logging.
        jobs: the served definitions, by kind and name.
        in_flight: returns the work in progress. None before the engine has started. Any thread may call it.
        limits_in_use: returns the permits in use of each limit with a name, and how many runs, calls and items wait.
            Any thread may call it.
        lags: returns the lag of each open sink that has one, by sink name.
        report: reports to every sink an event that a sink has logged with its position.
    """

    store: Store
    runtime: Runtime
    jobs: Mapping[tuple[str, str], AnyDefinition]
    in_flight: Callable[[], InFlight] = InFlight
    limits_in_use: Callable[[], Mapping[str, tuple[int, int]]] = dict[str, tuple[int, int]]
    limits: Limits = Limits()
    lags: Callable[[], Mapping[str, SinkLag]] = dict[str, SinkLag]
    report: OnEvent = lambda _: None

    def __repr__(self) -> str:
        return shortened(f"<{type(self).__name__} of {self.store!r}>", MAX_LINE_CHARACTERS)


@attrs.frozen(kw_only=True)
class OpenSink:
    """Which reports an open sink wants.

    Attributes:
        on_event: called with every stored event after its commit, and with every live event. None for none. An
            exception that it raises is logged. It harms neither the engine nor other sinks.
        tracing: traces turns and effects. None for no traces. Only one sink in an app may have it.
        lag: returns how far the sink is behind the log. None for a sink that does not export the log.
        expose: returns the metrics that the sink counts, for ``/metrics``. None for none. Only one sink in an app may
            have it.
    """

    on_event: OnEvent | None = None
    tracing: Tracing | None = None
    lag: LagOf | None = None
    expose: Expose | None = None


class EventSink(Protocol):
    """Receives what an engine reports. ``App.with_sinks`` adds it.

    The testing kit's worlds leave out a sink whose attribute ``reach`` is ``"network"``.
    """

    @property
    def name(self) -> str:
        """The sink's name in logs. Unique in an app."""
        ...

    def open(self, engine: EngineView, /) -> AbstractAsyncContextManager[OpenSink]:
        """Begin to watch an engine before it starts. The context's end, after the engine has stopped, ends it."""
        ...


@attrs.define
class OpenSinks:
    """Reports events to open sinks.

    Attributes:
        runtime: logs the exceptions that sinks raise.
        told: for each sink that wants events, its name and its function.
        tracing: traces turns and effects. None if no sink does.
        measured: for each sink that exports the log, its name and the function that returns its lag.
        expose: returns the metrics. None if no sink counts them.
    """

    runtime: Runtime
    told: tuple[tuple[str, OnEvent], ...] = ()
    tracing: GuardedTracing | None = None
    measured: tuple[tuple[str, LagOf], ...] = ()
    expose: Expose | None = None
    _failed: set[str] = attrs.Factory(set[str])

    def add(self, name: str, sink: OpenSink) -> None:
        """Tell a sink from now on.

        Raises:
            DefinitionError: it is not an open sink, two sinks trace, or two expose metrics.
        """
        given = cast("object", sink)
        if not isinstance(given, OpenSink):
            raise DefinitionError(f"sink {name}", given, "a context of an OpenSink, such as OpenSink(on_event=print)")
        if sink.tracing is not None:
            if self.tracing is not None:
                raise DefinitionError(
                    "sinks of the app",
                    f"{self.tracing.name} and {name}",
                    "one that traces, because spans have one parent",
                )
            self.tracing = GuardedTracing(sink.tracing, name, self.runtime)
        if sink.on_event is not None:
            # A new tuple: `tell` may be reading the present one.
            self.told = (*self.told, (name, sink.on_event))
        if sink.lag is not None:
            self.measured = (*self.measured, (name, sink.lag))
        if sink.expose is not None:
            if self.expose is not None:
                raise DefinitionError("sinks of the app", f"a second one: {name}", "one that exposes metrics")
            self.expose = sink.expose

    def lags(self) -> dict[str, SinkLag]:
        """Return each sink's lag by name, for sinks that have one. If a sink raises, the exception is its problem."""
        return {name: _lag(lag) for name, lag in self.measured}

    def tell(self, event: AnyEvent) -> None:
        """Report an event to every sink. A sink that raises is logged, the first time only.

        A cancellation that it raises is its own exception: nothing is awaited here.
        """
        for name, on_event in self.told:
            try:
                on_event(event)
            except (Exception, self.runtime.cancelled) as error:  # noqa: BLE001 - a sink must not harm the engine
                if name not in self._failed:
                    self._failed.add(name)
                    fields = {"sink": name, "event": event.type, "error": excerpt(error)}
                    self.runtime.log(LogRecord("error", "sink raised an exception", fields))


def _lag(lag: LagOf) -> SinkLag:
    try:
        return lag()
    except Exception as error:  # noqa: BLE001 - a sink must not harm the metrics of the engine and of other sinks
        return SinkLag(events=0, problem=excerpt(error))
