"""`simulate`: runs one program with no engine, no event loop and no real clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

import attrs
from returns.result import Success

from perdure.jobs.checkpoint import DryJournal
from perdure.jobs.draft import Draft
from perdure.programs import Exit, Handler, Program, Raised, default_handler, run_async, sandbox
from perdure.programs.watch import Watch, watching
from perdure.runtime.errors import Deadlock
from perdure.runtime.record import SpawnedTask
from perdure.runtime.simulated import Simulation
from perdure.testing.fault import NO_FAULTS, Faults, by_call
from perdure.testing.simulation.fake_services import FakeServices
from perdure.testing.simulation.hook_context import START, HookContext
from perdure.testing.simulation.observer import Interpreter, RunObserver
from perdure.testing.simulation.simulated import AnySimulated, Changes, Hung, NeverRun, ProcessDied, Simulated
from perdure.values.errors import RunTimeout
from perdure.values.times import Duration, duration_ms, from_ms

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
        services: its services; or `FakeServices`, which draw every result.
        on: the context of the hook, when the program is one: its operations change the context's draft.
        faults: the plan of faults; see `every_fault` and `faults`.
        seed: the seed of the order of concurrent branches, and of the jitter; by default the order is first in, first
            out.
        handler: performs the effects; by default it calls services.
        now: the initial time, an aware instant; by default that of the hook context, if there is one.
        run_timeout: the time after which the program is cancelled, like a run of a job; by default the definition of
            the hook context decides, or 30 days without one.

    Returns:
        Its steps and its exit.

    Raises:
        TwoFaults: the plan has two faults for one call.
        InvalidInput: the state of the hook context does not have its definition's type.
        NoAnswer: the fake services cannot draw a result.
    """
    start = now if on is None else on.now
    limit_ms = _limit_ms(run_timeout, on)
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
            self.simulation.close()
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
