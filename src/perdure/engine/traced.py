"""Keeps the exceptions of a tracing sink away from the engine, and traces the effects of runs."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import attrs
from returns.result import Failure

from perdure.engine.perform import Perform
from perdure.engine.tracing import EffectBegun, EffectSpan, Tracing, TurnBegun, TurnEnded, TurnSpan
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.failures import record_failure
from perdure.jobs.redaction import secrets_of_run
from perdure.jobs.step import Execute
from perdure.programs import Raised
from perdure.programs.drivers import settle_answer
from perdure.programs.instructions import ServiceCall
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.excerpt import excerpt
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim
from perdure.values.trace import trace_context

T = TypeVar("T")


@attrs.define
class Guarded:
    """Logs the first exception of a tracing sink, and continues without a trace.

    Attributes:
        tracing: traces the engine.
        name: of the sink, for the log.
        runtime: writes the log.
    """

    tracing: Tracing
    name: str
    runtime: Runtime
    _failed: bool = False

    def attempt(self, step: Callable[[], T], otherwise: T) -> T:
        """Call the sink."""
        try:
            return step()
        except (Exception, self.runtime.cancelled) as error:  # noqa: BLE001 - a sink must not harm the engine
            if not self._failed:
                self._failed = True
                self.runtime.log(
                    LogRecord("error", "sink raised an exception", {"sink": self.name, "error": excerpt(error)})
                )
            return otherwise

    def current(self) -> str | None:
        """Return the trace context of the running code; None if the sink returns another value."""
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
        except BaseException as error:
            raised = error
            raise
        finally:
            kind, trace = type(raised) if raised else None, raised.__traceback__ if raised else None
            self.attempt(lambda: block.__exit__(kind, raised, trace), None)


@attrs.frozen
class _GuardedTurn:
    """The span of a turn, whose exceptions are logged."""

    guard: Guarded
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
    """The span of an effect, whose exceptions are logged."""

    guard: Guarded
    span: EffectSpan

    def failed(self, failure: FailureRecord) -> None:
        self.guard.attempt(lambda: self.span.failed(failure), None)


@attrs.frozen
class _NoSpan:
    """The span of a turn or an effect whose sink failed."""

    context: str | None = None

    def runs(self, claim: Claim) -> None:
        pass

    def end(self, ended: TurnEnded) -> None:
        pass

    def failed(self, failure: FailureRecord) -> None:
        pass


_NO_SPAN = _NoSpan()


def traced(perform: Perform, tracing: Tracing, jobs: Mapping[tuple[str, str], AnyDefinition]) -> Perform:
    """Return a function that performs each effect as a span of its own.

    Args:
        perform: performs the effect.
        tracing: traces it.
        jobs: the served definitions, which say which parts of errors are secret.
    """

    async def performed(call: ServiceCall, services: Any, execute: Execute) -> object:
        claim, address = execute.claim, execute.instance.address
        job = jobs[address.kind, address.name]
        effect = EffectBegun(address=address, name=call.name, parent=claim.trace, claim=claim)
        with tracing.effect(effect) as span:
            try:
                answer = await settle_answer(perform(call, services, execute), services)
            except Exception as error:
                span.failed(record_failure(Raised(error), None, secrets=secrets_of_run(job, execute)))
                raise
            failure = _failure_in(answer)
            if failure is not None:
                span.failed(record_failure(failure, job.plan.errors, secrets=secrets_of_run(job, execute)))
            return answer

    def perform_traced(instruction: object, services: Any, execute: Execute) -> object:
        return (
            performed(instruction, services, execute)
            if type(instruction) is ServiceCall
            else perform(instruction, services, execute)
        )

    return perform_traced


def _failure_in(answer: object) -> Failure[Any] | None:
    return answer if isinstance(answer, Failure) else None  # pyright: ignore[reportUnknownVariableType] - of any error
