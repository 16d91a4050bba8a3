"""How the drivers run `gather`, `race` and `timeout`: on the tasks of a `Runtime`."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeAlias, assert_never

from returns.result import Failure, Success

from perdure.programs.errors import EffectTimeout
from perdure.programs.exit import Exit, Halted, Raised
from perdure.programs.instructions import Deadline, Gather, Orders, Race, Supervision
from perdure.programs.interpreter import Fork
from perdure.runtime.branches import Branches
from perdure.runtime.record import LogRecord, Runtime, SpawnedTask

AnyExit: TypeAlias = Exit[Any, Any]
Begin: TypeAlias = Callable[[Any], Coroutine[Any, Any, AnyExit]]
"""Makes the coroutine that drives one program of the plan to its exit."""


TIMER = "timeout.timer"
"""The name of the task that waits for a timeout."""


async def run_fork(fork: Fork, begin: Begin, runtime: Runtime) -> AnyExit:
    """Run the branches of a fork. None of them is still running when this returns or raises."""
    plan = fork.plan
    match plan:
        case Gather():
            return await _gather(plan, begin, runtime)
        case Race():
            return await _race(plan, begin, runtime)
        case Deadline():
            return await _with_deadline(plan, begin, runtime)
        case Supervision():
            return await _supervised(plan, begin, runtime)
        case _:
            assert_never(plan)


async def _gather(plan: Gather, begin: Begin, runtime: Runtime) -> AnyExit:
    waiting = iter(enumerate(plan.programs))
    places: dict[SpawnedTask[AnyExit], int] = {}
    values: list[Any] = [None] * len(plan.programs)
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        for place, program in islice(waiting, plan.limit):
            places[branches.start(begin(program), name=f"gather[{place}]")] = place
        while places:
            task = await branches.next_ended()
            exit_ = task.result()
            if not isinstance(exit_, Success):
                return exit_
            values[places.pop(task)] = exit_.unwrap()
            for place, program in islice(waiting, 1):
                places[branches.start(begin(program), name=f"gather[{place}]")] = place
    return Success(tuple(values))


async def _race(plan: Race, begin: Begin, runtime: Runtime) -> AnyExit:
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        for place, program in enumerate(plan.programs):
            branches.start(begin(program), name=f"race[{place}]")
        return (await branches.next_ended()).result()


async def _with_deadline(plan: Deadline, begin: Begin, runtime: Runtime) -> AnyExit:
    async with Branches[Any](runtime) as branches:
        program: SpawnedTask[AnyExit] = branches.start(begin(plan.program), name="timeout")
        branches.start(_expire(plan.after_ms, runtime), name=TIMER)
        in_time = await branches.next_ended() is program
    if program.cancelled() and not in_time:
        return Failure(EffectTimeout(timedelta(milliseconds=plan.after_ms)))
    return program.result()


async def _supervised(plan: Supervision, begin: Begin, runtime: Runtime) -> AnyExit:
    supervisor, keys, tasks = (
        plan.supervisor,
        dict[SpawnedTask[AnyExit], object](),
        dict[object, SpawnedTask[AnyExit]](),
    )
    async with Branches[AnyExit](runtime, partial(_report, runtime)) as branches:
        orders: Orders = supervisor.begun()
        while True:
            for key in orders.cancel:
                tasks[key].cancel()
            for key, program in orders.start:
                task = branches.start(begin(program), name=f"supervised[{key}]")
                keys[task], tasks[key] = key, task
            if not keys:
                return Success(None)
            task = await branches.next_ended()
            key = keys.pop(task)
            del tasks[key]
            orders = supervisor.ended(key, None if task.cancelled() else task.result())


async def _expire(after_ms: int, runtime: Runtime) -> None:
    await runtime.sleep(after_ms)


def _report(runtime: Runtime, loser: SpawnedTask[AnyExit]) -> None:
    """Log the defect of a branch whose outcome no caller awaits, so that no defect is lost."""
    if loser.cancelled():
        return
    exit_ = loser.result()
    match exit_:
        case Raised(cause):
            runtime.log(LogRecord("error", "finalizer of a cancelled branch raised", {"cause": cause}))
        case Success() | Failure() | Halted():
            pass
        case _:
            assert_never(exit_)
