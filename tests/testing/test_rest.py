"""The law of rest: a world ends, and no work of its engine remains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from one_by_one import each_commit
from returns.future import FutureResult
from shop import Shop, app

from perdure import App, Do, Task, TaskContext, program
from perdure.client.local_gateway import engine_of
from perdure.examples.order_processor import OrderPlaced, order_processor
from perdure.programs import sleep
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store, commit_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.testing import Hang, World
from perdure.testing.world import NotAtRest
from perdure.values.listings import InFlight
from perdure.values.transition import Transition

PLACED = OrderPlaced("ada", 400)


@program
def rest(ctx: TaskContext[int], seconds: int) -> Do[None]:
    yield from sleep(f"{seconds} s")
    yield from ctx.update_state(lambda count: count + 1)


sleeper = Task("sleeper", state=int, event=int, initial=0, on_event=rest, run_timeout="10 days", runs=1)


def never_answering(id_: str) -> Any:
    """A store that does not answer the commits of one instance."""

    async def opened(runtime: Runtime) -> Store:
        store = MemoryBackend().open()

        async def silent() -> Any:
            return await runtime.future()

        def commit(transition: Transition) -> FutureResult[Any, Any]:
            return FutureResult(silent()) if transition.address.id == id_ else commit_one(store, transition)

        return overlay(store, commit=each_commit(commit, runtime))

    return opened


def test_an_engine_at_rest_has_nothing_in_flight() -> None:
    with World(app, Shop()) as world:
        world.run(world.handle(order_processor).send("o-1", PLACED))
        assert engine_of(world.jobs).in_flight() == InFlight()
        assert engine_of(world.jobs).in_flight().is_empty


def test_runs_in_flight_are_counted_and_named() -> None:
    with World(App(None).with_jobs(sleeper)) as world:
        for id_ in "abc":
            world.start(world.handle(sleeper).send(id_, 60))
        world.settle()
        found = engine_of(world.jobs).in_flight()
        assert sorted(address.id for address in found.instances) == ["a", "b", "c"]
        assert (found.requests, found.programs, found.slots, found.waiting_for_slot) == (3, 1, 2, 2)
        assert "2 runs waiting for a slot" in found.described()
        assert not found.is_empty


def test_a_started_call_may_end_before_the_world_does() -> None:
    with World(App(None).with_jobs(sleeper)) as world:
        call = world.start(world.handle(sleeper).send("a", 3_600))
        world.inject(Hang("store.commit"))
    assert call.is_answered
    assert call.answer().created


def test_a_run_that_does_not_end_in_time_is_released_by_the_stop(tmp_path: Path) -> None:
    with World(App(None).with_jobs(sleeper), store=tmp_path / "jobs.db") as world:
        call = world.start(world.handle(sleeper).send("a", 9 * 86_400))
        world.settle()
    assert call.is_answered


def test_a_task_that_waits_for_a_store_without_an_answer_is_named() -> None:
    with pytest.raises(NotAtRest) as caught, World(app, Shop(), store=never_answering("o-1")) as world:
        world.start(world.handle(order_processor).send("o-1", PLACED))
    assert "a mailbox of task:order-processor:o-1" in caught.value.remains
    assert caught.value.remains.count("a caller without a result") == 1
    assert "the task 'commit of 1', which waits for" in str(caught.value)
    assert "To reproduce" in caught.value.__notes__[0]


def test_a_world_that_is_to_be_left_checks_nothing() -> None:
    with World(app, Shop(), store=never_answering("o-1"), at_end="leave") as world:
        world.start(world.handle(order_processor).send("o-1", PLACED))


def test_a_task_and_a_timer_that_outlive_the_engine_are_named() -> None:
    async def outlives(runtime: Runtime) -> None:
        await runtime.sleep(10**10)

    world = World(app, Shop())
    world.open()
    runtime = world.worker.simulation.runtime
    runtime.spawn(outlives(runtime), name="left behind")
    with pytest.raises(NotAtRest) as caught:
        world.finish()
    world.leave()
    task, timer = caught.value.remains
    assert "'left behind'" in task
    assert "timer" in timer


def test_a_failing_test_reports_its_own_failure_only() -> None:
    def failing() -> None:
        with World(app, Shop(), store=never_answering("o-1")) as world:
            world.start(world.handle(order_processor).send("o-1", PLACED))
            world.settle()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
