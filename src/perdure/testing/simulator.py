"""`simulate`: runs one program with no engine, no event loop and no real clock, and the fake services for it.

Fake services answer every effect with a drawn result, within the types that its annotation declares.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Literal, TypeAlias, TypeVar, assert_never, overload

import attrs
from hypothesis import strategies as st
from hypothesis.errors import ResolutionFailed
from returns.result import Failure, Success

from perdure.jobs.checkpoint import AwaitChange, Checkpoint, DryJournal, HasWork, KeepProgram, ReadJournal, TakeProgram
from perdure.jobs.context import GetState, UpdateState
from perdure.jobs.draft import ClosedDraft, Draft
from perdure.jobs.streams import EMITTER, Heartbeat, Stream, in_effect, is_emission
from perdure.programs import PASS, Exit, Halted, Handler, Program, Raised, default_handler, run_async, sandbox
from perdure.programs.drivers import TIMER, settle_answer
from perdure.programs.effect_results import Declared, Undeclared, declared_by
from perdure.programs.instructions import Log, ServiceCall, Sleep, SleepUntil
from perdure.programs.interpreter import Watch, watching
from perdure.runtime.record import Deadlock, Runtime, SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.testing.fault import NO_FAULTS, Crash, Delay, Fail, Fault, Faults, Hang, Raise, Succeed, by_call
from perdure.testing.hooks import START, HookContext
from perdure.testing.simulated_run import (
    AnySimulated,
    Changes,
    ContextStep,
    EffectStep,
    EmitStep,
    Hung,
    LogStep,
    NeverRun,
    NoReply,
    ProcessDied,
    Simulated,
    SleepStep,
    Step,
    TimeoutStep,
    effect_name,
)
from perdure.testing.typed import from_type
from perdure.values.errors import PerdureError, RunTimeout
from perdure.values.times import Duration, duration_ms, from_ms

Answers: TypeAlias = st.SearchStrategy[Any]  # of the results of any effect
Failures: TypeAlias = Literal["drawn", "never"]
"""Whether services may fail with the errors they declare."""


@attrs.frozen(repr=False)
class NoAnswer(PerdureError):
    """The fake services cannot draw a result for an effect.

    Attributes:
        effect: the effect's name.
        reason: the reason.
    """

    effect: str
    reason: str

    def _text(self) -> str:
        return (
            f"no answer of {self.effect} can be drawn: {self.reason}; annotate it, such as -> FutureResult[Token, "
            f"AuthError], or pass a strategy: fake_services(answers={{{self.effect!r}: a_strategy_of_results}}) or "
            "fake_services(types={ThatClass: a_strategy})"
        )


@attrs.frozen(repr=False)
class FakeServices:
    """Drawn results instead of services. Pass it to `simulate` as the services. The `fake_services` strategy draws one.

    Attributes:
        data: draws values, from Hypothesis.
        answers: strategies for some effects, by name.
        types: strategies for some declared types.
        failures: whether services may fail with their declared errors.
        services: the services for programs that read them (`asks`). No effect is performed on them.
    """

    data: st.DataObject
    answers: Mapping[str, Answers] = attrs.Factory(dict[str, Answers])
    types: Mapping[Any, st.SearchStrategy[Any]] = attrs.Factory(dict[Any, st.SearchStrategy[Any]])
    failures: Failures = "drawn"
    services: object = None

    def __repr__(self) -> str:
        return "Oracle(...)"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - the protocol of hypothesis' printer
        printer.text(repr(self))  # each drawn value is shown at its call

    def answer(self, instruction: object) -> object:
        """Draw an effect's result.

        Raises:
            NoAnswer: neither a strategy nor an annotation describes it.
        """
        given = self.answers.get(effect_name(instruction))
        strategy = self._derived(instruction) if given is None else given
        try:
            drawn: object = self.data.draw(strategy, label=f"{instruction!r} ->")
        except ResolutionFailed as failed:
            reason = f"a type in it does not describe its values ({failed})"
            raise NoAnswer(effect_name(instruction), reason) from failed
        return drawn

    def _derived(self, instruction: object) -> Answers:
        if not isinstance(instruction, ServiceCall):
            raise NoAnswer(effect_name(instruction), "it is not a call of a service")
        match declared_by(instruction.fn):
            case Undeclared(reason):
                raise NoAnswer(instruction.name, reason)
            case Declared() as declared:
                return answers_within(declared, self.failures, tuple(self.types.items()))


def fake_services(
    *,
    answers: Mapping[str, Answers] | None = None,
    types: Mapping[Any, st.SearchStrategy[Any]] | None = None,
    failures: Failures = "drawn",
    services: object = None,
) -> st.SearchStrategy[FakeServices]:
    """Draw fake services, which return a drawn result with the declared type for every effect in a simulated program.

    A failing example shows each drawn result, shrunk to the simplest ones that still fail.

    Args:
        answers: result strategies (``Success``, ``Failure``) for some effects, by name.
        types: strategies for some declared types, such as ``{int: st.integers(1, 99)}``.
        failures: whether services may fail with their declared errors.
        services: the services for programs that read them (`asks`).
    """

    def seeing(data: st.DataObject) -> FakeServices:
        return FakeServices(data, answers=answers or {}, types=types or {}, failures=failures, services=services)

    return _with_data(seeing)


@st.composite
def _with_data(draw: st.DrawFn, seeing: Callable[[st.DataObject], FakeServices]) -> FakeServices:
    return seeing(draw(st.data()))


@lru_cache(maxsize=256)
def answers_within(
    declared: Declared, failures: Failures, types: tuple[tuple[Any, st.SearchStrategy[Any]], ...] = ()
) -> Answers:
    """Return a strategy for the results that an effect declares."""
    success: Callable[[object], object] = Success
    failure: Callable[[object], object] = Failure
    values = from_type(declared.value, using=dict(types)).map(success)
    if declared.error is None or failures == "never":
        return values
    return values | from_type(declared.error, using=dict(types)).map(failure)


T = TypeVar("T")

_UNANSWERED = NoReply()
_EXITS: frozenset[type] = frozenset({Success, Failure, Halted, Raised})


@attrs.define(eq=False)
class RunObserver:
    """Records one run.

    Attributes:
        performer: performs the effects, or draws their results.
        faults: the plan, by effect and call.
        over: called when the run cannot continue: its process died, or the test itself failed.
        steps: the steps so far.
        cut: how the process died, if it did.
        broken: the test's own exception, if it raised one.
    """

    simulation: Simulation
    performer: Handler | FakeServices
    faults: dict[tuple[str, int], Fault]
    over: Callable[[], None]
    steps: list[Step] = attrs.Factory(list[Step])
    cut: ProcessDied | None = None
    broken: BaseException | None = None
    _start_ms: int = 0
    _calls: dict[str, int] = attrs.Factory(dict[str, int])
    _branches: dict[object, str] = attrs.Factory(dict[object, str])

    def __attrs_post_init__(self) -> None:
        self._start_ms = self.simulation.now_ms

    # ------------------------------------------------------------ effects
    def handle(self, instruction: object, services: object) -> object:
        """Perform an effect. The run's handler."""
        if self.cut is not None:  # another branch crashed the process, before this one was stopped
            return self.never()
        name = effect_name(instruction)
        # Counted before the fault is looked up: a fault names the n-th call, whether or not the ones before it had
        # faults.
        call = self._calls[name] = self._calls.get(name, 0) + 1
        asked = _Asked(self, instruction, call, self.branch())
        # Taken out: the faults that are left at the end are reported as unused.
        fault = self.faults.pop((name, call), None) if self.faults else None
        if fault is not None:
            return asked.go_wrong(fault, services)
        answer = asked.perform(services)
        # The common case without a task: most fakes answer at once, and a test draws thousands of calls.
        if answer.__class__ is Success or answer.__class__ is Failure:
            asked.note(answer)
            return answer
        return asked.settle(answer, services)

    def perform(self, instruction: object, services: object) -> object:
        """Perform an effect, or draw its result."""
        if not isinstance(self.performer, FakeServices):
            return self.performer(instruction, services)
        # An emission is no call of a service: nothing is drawn for it.
        if is_emission(instruction):
            return default_handler(instruction, services)
        try:
            return self.performer.answer(instruction)
        except BaseException as broken:  # noqa: BLE001 - not a defect of the program, which must not receive it
            self.broken = broken
            self.over()
            return self.never()

    def emit(self, stream: Stream[Any], value: bytes, /) -> None:
        """Record a chunk that an effect emits."""
        self.steps.append(EmitStep(stream=stream.name, value=stream.values.open(value).value, branch=self.branch()))

    def beat(self, heartbeat: Heartbeat[Any], value: bytes, /) -> None:
        """Take a heartbeat, which no other attempt reads here."""

    def previous(self, heartbeat: Heartbeat[Any], /) -> bytes | None:
        """Return nothing: this is the first attempt."""
        return None

    def die(self, fault: Fault) -> None:
        """Crash the process."""
        self.cut = ProcessDied(fault)
        self.over()

    def never(self) -> Awaitable[None]:
        """Return an awaitable that never completes."""
        never: Awaitable[None] = self.simulation.runtime.future()
        return never

    # ------------------------------------------------------------ time and branches
    def runtime(self) -> Runtime:
        """The run's runtime: it records which branch waits, and which programs run concurrently."""
        return attrs.evolve(self.simulation.runtime, sleep=self._sleep, spawn=self._spawn)

    def branch(self) -> str:
        """Return the current concurrent branch's name. Empty outside any branch."""
        return self._branches.get(self.simulation.runtime.current_task(), "") if self._branches else ""

    @property
    def since_ms(self) -> int:
        """Return the virtual time since the run's start."""
        return self.simulation.now_ms - self._start_ms

    def _spawn(self, coroutine: Coroutine[Any, Any, T], *, name: str) -> SpawnedTask[T]:
        # Read before the spawn: inside the new task the branch would be its own.
        outer = self.branch()
        task = self.simulation.runtime.spawn(coroutine, name=name)
        self._branches[task] = f"{outer}.{name}" if outer else name
        return task

    async def _sleep(self, delay_ms: float) -> None:
        branch = self.branch()
        if branch.endswith(TIMER):
            self.steps.append(TimeoutStep(after_ms=int(delay_ms), branch=branch.removesuffix(TIMER).rstrip(".")))
        await self.simulation.runtime.sleep(delay_ms)


@attrs.define(eq=False)
class _Asked:
    """One effect call. Its trace position is fixed when the program makes the call."""

    observer: RunObserver
    instruction: object
    call: int
    branch: str
    _at: int = 0
    _since_ms: int = 0

    def __attrs_post_init__(self) -> None:
        self._at = len(self.observer.steps)
        self._since_ms = self.observer.since_ms
        # At the call and not at the answer: concurrent calls stay in the order in which the program made them.
        self.observer.steps.append(self._performed(_UNANSWERED, None))

    def note(self, answer: object, fault: Fault | None = None) -> None:
        self.observer.steps[self._at] = self._performed(answer, fault)

    def _performed(self, answer: Any, fault: Fault | None) -> EffectStep:  # a result in any form
        return EffectStep(
            instruction=self.instruction,
            call=self.call,
            answer=answer,
            fault=fault,
            at_ms=self._since_ms,
            branch=self.branch,
        )

    def perform(self, services: object) -> object:
        token = EMITTER.set(self.observer)
        try:
            return self.observer.perform(self.instruction, services)
        except Exception as defect:
            self.note(Raised(defect))
            raise
        finally:
            EMITTER.reset(token)

    async def settle(self, answer: object, services: object) -> object:
        """Wait for a result, and record it."""
        try:
            settled: Any = await in_effect(settle_answer(answer, services), self.observer)
        except Exception as defect:
            self.note(Raised(defect))
            raise
        self.note(settled if settled.__class__ in _EXITS else Success(settled))
        return settled

    async def go_wrong(self, fault: Fault, services: object) -> object:
        """Inject the planned fault into the call."""
        answer: object = None
        if fault.when == "after":
            answer = await self.settle(self.perform(services), services)  # it has its effect, and its result is lost
        # First: a call that hangs or dies keeps this entry.
        self.note(_UNANSWERED, fault)
        match fault:
            case Crash():
                self.observer.die(fault)
                await self.observer.never()
            case Hang():
                await self.observer.never()
            case Fail(error=error):
                self.note(Failure(error), fault)
                return Failure(error)
            case Succeed(value=value):
                self.note(Success(value), fault)
                return Success(value)
            case Raise():
                broken = fault.exception()
                self.note(Raised(broken), fault)
                raise broken
            case Delay():
                await self.observer.simulation.runtime.sleep(fault.ms)
                return answer if fault.when == "after" else await self.settle(self.perform(services), services)
            case _:
                assert_never(fault)
        return None


@attrs.frozen
class Interpreter:
    """Answers a context's operations, and records the requests to the runtime.

    Attributes:
        draft: the draft that the operations change. None: there is no context.
        journal: answers checkpoints. None: there is no context.
    """

    observer: RunObserver
    draft: Draft | ClosedDraft | None
    journal: DryJournal | None = None

    def answer(self, instruction: object, /) -> object:
        """Answer a context operation. Pass on every other instruction."""
        kind = type(instruction)
        # After the crash no step is recorded: the branches are only being stopped.
        if kind is ServiceCall or self.observer.cut is not None:
            return PASS
        if kind is Sleep:
            self._slept(instruction.delay_ms)  # type: ignore[attr-defined] # of this class
        elif kind is SleepUntil:
            self._slept(max(0, instruction.at_ms - self.observer.simulation.now_ms))  # type: ignore[attr-defined] # of this class
        elif kind is Log:
            self.observer.steps.append(LogStep(record=instruction.record, branch=self.observer.branch()))  # type: ignore[attr-defined] # of this class
        elif self.draft is not None:
            return self._use(self.draft, instruction)
        return PASS

    def _slept(self, delay_ms: int) -> None:
        self.observer.steps.append(SleepStep(delay_ms=delay_ms, branch=self.observer.branch()))

    def _committed(self, journal: DryJournal, asked: Checkpoint | ReadJournal) -> object:
        """Answer a checkpoint as the engine would."""
        try:
            answer: object = journal.answer(asked)
        except Exception as refused:
            self._note(asked, Raised(refused))
            raise
        self._note(asked, answer)
        return answer

    def branch(self) -> Interpreter:
        """Return the interpreter for a program that runs concurrently with others."""
        return Interpreter(self.observer, None if self.draft is None else self.draft.branch(), self.journal)

    def _use(self, draft: Draft | ClosedDraft, operation: object) -> object:
        """Call the draft. A user's own kind may have a draft with more operations than usual."""
        if self.journal is not None and isinstance(operation, AwaitChange | TakeProgram | KeepProgram | HasWork):
            return self.journal.answer(operation)
        if self.journal is not None and isinstance(operation, Checkpoint | ReadJournal):
            return self._committed(self.journal, operation)
        try:
            answer = draft.answer(operation)
        except Exception as refused:
            self._note(operation, Raised(refused))
            raise
        if answer is PASS:
            return PASS
        shown = draft.state if isinstance(draft, Draft) and type(operation) in (GetState, UpdateState) else answer
        self._note(operation, shown)
        return answer

    def _note(self, operation: object, answer: object) -> None:
        self.observer.steps.append(ContextStep(operation=operation, answer=answer, branch=self.observer.branch()))


A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
S = TypeVar("S")

DEFAULT_RUN_TIMEOUT = "30 days"
"""The default time limit of a program that is not a hook of a job: longer than any deliberate wait."""


@overload
def simulate(
    program: Program[A, E, R],
    services: R | FakeServices,
    /,
    *,
    on: HookContext[Any, S],
    faults: Faults = ...,
    seed: int | None = ...,
    handler: Handler = ...,
    run_timeout: Duration | None = ...,
) -> Simulated[A, E, S]: ...
@overload
def simulate(
    program: Program[A, E, R],
    services: R | FakeServices,
    /,
    *,
    faults: Faults = ...,
    seed: int | None = ...,
    handler: Handler = ...,
    now: datetime = ...,
    run_timeout: Duration | None = ...,
) -> Simulated[A, E, None]: ...
def simulate(
    program: Program[Any, Any, Any],
    services: Any,
    /,
    *,
    on: HookContext[Any, Any] | None = None,
    faults: Faults = NO_FAULTS,
    seed: int | None = None,
    handler: Handler = default_handler,
    now: datetime = START,
    run_timeout: Duration | None = None,
) -> AnySimulated:
    """Run one program synchronously: no engine, no store, no event loop, no real clock.

    Time is virtual: sleeps, timeouts and retries take none. Concurrent branches take their steps in a fixed order.

    Args:
        program: the program, such as ``on_event(stage.ctx, event)``.
        services: the program's services, or `FakeServices`, which draw every result.
        on: the hook's context, when the program is one: its operations change the context's draft.
        faults: the fault plan. See `every_fault` and `faults`.
        seed: determines the order in which concurrent branches run, and the jitter. By default the order is first in,
            first out.
        handler: performs the effects. By default it calls services.
        now: the initial time, an aware instant. By default the hook context's time, if there is one.
        run_timeout: the time after which the program is cancelled, like a job run. By default the hook context's
            definition decides. Without a hook context it is 30 days.

    Returns:
        The steps and the exit.

    Raises:
        TwoFaults: the plan has two faults for one call.
        InvalidInput: the hook context's state does not have its definition's type.
        NoAnswer: the fake services cannot draw a result.
    """
    start = now if on is None else on.now
    limit_ms = _limit_ms(run_timeout, on)
    # Without a seed the order is fixed: a trace in an assertion must not depend on a number that the test did not
    # choose.
    simulation = Simulation(seed=seed or 0, start=start, order="fifo" if seed is None else "seeded")
    draft = None if on is None else on.draft()
    journal = None if on is None or draft is None else on.dry_journal(draft, lambda: simulation.now_ms)
    run = _Run(simulation, draft, journal, limit_ms)
    performer, seen_services = (
        (services, services.services) if isinstance(services, FakeServices) else (handler, services)
    )
    run.observer = RunObserver(simulation, performer, by_call(faults), run.finish)
    with watching() as watch:
        exit_ = run.to_the_end(program, seen_services)
    return run.seen(exit_, watch, faults)


def _limit_ms(run_timeout: Duration | None, on: HookContext[Any, Any] | None) -> int:
    if run_timeout is None and on is not None:
        return on.definition.simulation_timeout_ms
    return duration_ms(run_timeout or DEFAULT_RUN_TIMEOUT, what="run_timeout of simulate")


@attrs.define(eq=False)
class _Run:
    """One run in progress."""

    simulation: Simulation
    draft: Draft | None
    journal: DryJournal | None
    limit_ms: int
    observer: RunObserver = attrs.field(init=False)
    _over: Any = attrs.field(init=False)  # a future of the simulation

    def __attrs_post_init__(self) -> None:
        self._over = self.simulation.runtime.future()

    def finish(self, *_: object) -> None:
        """End the simulation."""
        if not self._over.done():
            self._over.set_result(None)

    def to_the_end(self, program: Program[Any, Any, Any], services: Any) -> Exit[Any, Any] | ProcessDied | Hung:
        exit_: Exit[Any, Any] | ProcessDied | Hung
        try:
            exit_ = self.simulation.run(self._until_over(program, services))
        except Deadlock as deadlock:
            exit_ = Hung(deadlock.blocked)
        finally:
            # Also after an exception: tasks that wait for ever would be reported as never awaited.
            self.simulation.close()
        # The test's own exception wins: the run ended only because of it.
        if self.observer.broken is not None:
            raise self.observer.broken
        return exit_

    async def _until_over(self, program: Program[Any, Any, Any], services: Any) -> Exit[Any, Any] | ProcessDied:
        runtime = self.observer.runtime()
        work = run_async(
            sandbox(program, Interpreter(self.observer, self.draft, self.journal)),
            services,
            runtime=runtime,
            handler=self.observer.handle,
        )
        task = self.simulation.runtime.spawn(work, name="program")
        task.add_done_callback(self.finish)

        def time_is_up() -> None:
            task.cancel()

        self.simulation.runtime.call_later(self.limit_ms, time_is_up)
        await self._over
        return self._exit(task)

    def _exit(self, task: SpawnedTask[Exit[Exit[Any, Any], Any]]) -> Exit[Any, Any] | ProcessDied:
        if self.observer.cut is not None:
            return self.observer.cut
        if not task.done() or task.cancelled():
            return Raised(RunTimeout(self.limit_ms))
        exit_ = task.result()
        return exit_.unwrap() if isinstance(exit_, Success) else exit_

    def seen(self, exit_: Exit[Any, Any] | ProcessDied | Hung, watch: Watch, faults: Faults) -> AnySimulated:
        return Simulated(
            exit=exit_,
            draft=self._drafted(),
            trace=tuple(self.observer.steps),
            faults=faults,
            unused_faults=tuple(self.observer.faults.values()),
            never_run=tuple(NeverRun(f"{program!r}", place) for program, place in watch.never_run()),
            elapsed=timedelta(milliseconds=self.observer.since_ms),
            journal=() if self.journal is None else tuple(self.journal.rows),
        )

    def _drafted(self) -> Changes[Any]:
        draft = self.draft
        if draft is None:
            return Changes(state=None)
        alarm_ms = draft.alarm_ms(self.simulation.now_ms)
        return Changes(
            state=draft.state,
            alarm=None if alarm_ms is None else from_ms(alarm_ms),
            messages=tuple(draft.messages),
        )
