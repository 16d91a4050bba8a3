"""`simulate`: run one program with no engine, no event loop and no clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeVar, overload

import attrs
from returns.result import Success

from perdure.jobs.draft import Draft
from perdure.program import Died, Exit, Handler, Program, default_handler, run_async, sandbox
from perdure.program.watch import Watch, watching
from perdure.runtime.errors import Deadlock
from perdure.runtime.record import Task
from perdure.runtime.simulated import Simulation
from perdure.testing.fault import NO_FAULTS, Faults, by_call
from perdure.testing.simulation.observer import Interpreter, Observer
from perdure.testing.simulation.oracle import Oracle
from perdure.testing.simulation.simulated import AnySimulated, Cut, Drafted, NeverRun, Simulated, Stuck
from perdure.testing.simulation.stage import START, Stage
from perdure.values.duration import Duration, duration_ms
from perdure.values.errors import RunTimedOut
from perdure.values.instant import from_ms

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
S = TypeVar("S")

DEFAULT_MAX_RUN = "30 days"
"""How long a program that is no hook of a job may take: longer than any waits on purpose."""


@overload
def simulate(
    program: Program[A, E, R],
    services: R | Oracle,
    /,
    *,
    on: Stage[Any, S],
    faults: Faults = ...,
    seed: int | None = ...,
    handler: Handler = ...,
) -> Simulated[A, E, S]: ...
@overload
def simulate(
    program: Program[A, E, R],
    services: R | Oracle,
    /,
    *,
    faults: Faults = ...,
    seed: int | None = ...,
    handler: Handler = ...,
    now: datetime = ...,
    max_run: Duration = ...,
) -> Simulated[A, E, None]: ...
def simulate(
    program: Program[Any, Any, Any],
    services: Any,
    /,
    *,
    on: Stage[Any, Any] | None = None,
    faults: Faults = NO_FAULTS,
    seed: int | None = None,
    handler: Handler = default_handler,
    now: datetime = START,
    max_run: Duration = DEFAULT_MAX_RUN,
) -> AnySimulated:
    """Run one program by a plain call: no engine, no store, no event loop, no clock.

    Time is virtual: sleeps, timeouts and retries take none. What runs at once takes its steps in a fixed order.

    Args:
        program: what to run, such as ``on_event(stage.ctx, event)``.
        services: what it needs; or an `Oracle`, which makes every answer up.
        on: the stage of a hook, when the program is one: its operations act on the stage's draft.
        faults: what is to go wrong; see `every_fault` and `faults`.
        seed: draw the order of what runs at once, and the jitter, from this; by default it is first come, first served.
        handler: performs the effects; by default the calls of services.
        now: what the clock shows at first, an aware instant; that of the stage, if there is one.
        max_run: how long it may take before it is cancelled, as a run of a job is; that of the stage's job, if there is
            one.

    Returns:
        What it did, and what it came to.

    Raises:
        TwoFaults: the plan has two faults for one call.
        InvalidInput: the state of the stage is not of its definition's type.
        NoAnswer: the oracle does not know what a service may answer.
    """
    start = now if on is None else on.now
    limit_ms = duration_ms(max_run, what="max_run of simulate") if on is None else on.definition.plan.max_run_ms
    simulation = Simulation(seed=seed or 0, start=start, order="fifo" if seed is None else "seeded")
    run = _Run(simulation, None if on is None else on.draft(), limit_ms)
    performer, seen_services = (services, services.services) if isinstance(services, Oracle) else (handler, services)
    run.observer = Observer(simulation, performer, by_call(faults), run.finish)
    with watching() as watch:
        exit_ = run.to_the_end(program, seen_services)
    return run.seen(exit_, watch, faults)


@attrs.define(eq=False)
class _Run:
    """One run on its way."""

    simulation: Simulation
    draft: Draft | None
    limit_ms: int
    observer: Observer = attrs.field(init=False)
    _over: Any = attrs.field(init=False)  # a future of the simulation

    def __attrs_post_init__(self) -> None:
        self._over = self.simulation.runtime.future()

    def finish(self, *_: object) -> None:
        """Let the simulation end."""
        if not self._over.done():
            self._over.set_result(None)

    def to_the_end(self, program: Program[Any, Any, Any], services: Any) -> Exit[Any, Any] | Cut | Stuck:
        exit_: Exit[Any, Any] | Cut | Stuck
        try:
            exit_ = self.simulation.run(self._until_over(program, services))
        except Deadlock as deadlock:
            exit_ = Stuck(deadlock.blocked)
        finally:
            self.simulation.close()
        if self.observer.broken is not None:
            raise self.observer.broken
        return exit_

    async def _until_over(self, program: Program[Any, Any, Any], services: Any) -> Exit[Any, Any] | Cut:
        runtime = self.observer.runtime()
        work = run_async(
            sandbox(program, Interpreter(self.observer, self.draft)),
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

    def _exit(self, task: Task[Exit[Exit[Any, Any], Any]]) -> Exit[Any, Any] | Cut:
        if self.observer.cut is not None:
            return self.observer.cut
        if not task.done() or task.cancelled():
            return Died(RunTimedOut(self.limit_ms))
        exit_ = task.result()
        return exit_.unwrap() if isinstance(exit_, Success) else exit_

    def seen(self, exit_: Exit[Any, Any] | Cut | Stuck, watch: Watch, faults: Faults) -> AnySimulated:
        return Simulated(
            exit=exit_,
            draft=self._drafted(),
            trace=tuple(self.observer.steps),
            faults=faults,
            unmet=tuple(self.observer.faults.values()),
            never_run=tuple(NeverRun(f"{program!r}", place) for program, place in watch.never_run()),
            elapsed=timedelta(milliseconds=self.observer.since_ms),
        )

    def _drafted(self) -> Drafted[Any]:
        draft = self.draft
        if draft is None:
            return Drafted(state=None)
        alarm_ms = draft.alarm_ms(self.simulation.now_ms)
        return Drafted(
            state=draft.state,
            alarm=None if alarm_ms is None else from_ms(alarm_ms),
            messages=tuple(draft.messages),
        )
