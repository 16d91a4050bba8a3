"""A job with ``history=KeepHistory(...)`` keeps its events longer than the log, up to its own age and number."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from world import ProcessDied, World, on_each_store

from perdure import (
    App,
    Continuous,
    Debounce,
    Do,
    KeepHistory,
    Limits,
    PoolBatch,
    Schedules,
    Task,
    Topic,
    WorkerPool,
    Workflow,
    every,
    program,
    succeed,
)
from perdure.jobs.definition import AnyDefinition
from perdure.stores.contract import overlay
from perdure.stores.memory import memory_store
from perdure.values.errors import DefinitionError, StoreUnavailable

LIMITS = Limits(history_retention="1 hour", recovery_page=3)
ROUND = {"minutes": 10}


def count(ctx: Any, event: Any = None) -> Any:
    return ctx.update_state(lambda total: total + 1)


def job_of(name: str, history: Any = None) -> Task[Any, Any, Any, Any]:
    return Task(name, state=int, event=int, initial=0, on_event=count, accepted_in_events="sender", history=history)


ORDERS = job_of("orders", KeepHistory(age="1 day", events=5))
WITHOUT = job_of("orders")
OTHER = job_of("order")


def app_of(*jobs: AnyDefinition, limits: Limits = LIMITS) -> App[object]:
    return App(object(), limits=limits).with_jobs(*jobs)


async def send(world: World, job: AnyDefinition = ORDERS, id_: str = "a", times: int = 1) -> None:
    for number in range(times):
        await world.run(world.jobs.handle(job).send(id_, number))


async def lengths(world: World, job: AnyDefinition = ORDERS) -> tuple[int, int, int]:
    """The events in the history of "a", those in the whole log, and those of the job that are kept besides it."""
    log = await world.inspect(lambda store: store.events(0, 1_000))
    histories = await world.inspect(lambda store: store.histories.known())  # type: ignore[union-attr]
    kept = {(one.kind, one.name): one.kept for one in histories}
    return len(await world.run(world.jobs.history(job, "a"))), len(log), kept.get((job.kind, job.name), 0)


@on_each_store
async def test_its_events_stay_in_the_history_when_they_leave_the_log(world: World) -> None:
    jobs = await world.open(app_of(ORDERS, OTHER))
    await send(world, times=2)  # the start, and two accepted requests
    await send(world, OTHER)
    await world.advance(hours=2)
    assert await lengths(world) == (3, 0, 3)
    assert await world.run(jobs.history(OTHER, "a")) == ()
    await send(world)
    assert await lengths(world) == (4, 1, 3)
    newest, *kept = await world.run(jobs.history(ORDERS, "a", limit=2))
    older = await world.run(jobs.history(ORDERS, "a", before=kept[-1].sequence))
    assert [entry.event.type for entry in (newest, *kept, *older)] == [*["job.accepted"] * 3, "job.started"]
    sequences = [entry.sequence for entry in (newest, *kept, *older)]
    assert sequences == sorted(sequences, reverse=True)


@on_each_store
async def test_they_outlive_the_instance_and_a_restart(world: World) -> None:
    await world.open(app_of(ORDERS))
    await send(world)
    await world.advance(hours=2)
    await world.run(world.jobs.handle(ORDERS).terminate("a"))
    await world.close()
    await world.open(app_of(ORDERS))
    assert await lengths(world) == (3, 1, 2)


@on_each_store
async def test_the_oldest_go_by_number_and_all_by_age(world: World) -> None:
    await world.open(app_of(ORDERS))
    await send(world, times=4)
    await world.advance(hours=2)
    assert await lengths(world) == (5, 0, 5)
    await send(world)
    await world.advance(hours=2)
    assert await lengths(world) == (5, 0, 5)
    [*_, oldest] = await world.history(ORDERS.address("a"))
    assert oldest.type == "job.accepted"
    await world.advance(hours=20, minutes=10)
    assert await lengths(world) == (1, 0, 1)  # the last one is two hours younger
    await world.advance(hours=2, minutes=10)
    assert await lengths(world) == (0, 0, 0)


@on_each_store
async def test_an_age_that_is_shorter_than_the_log_deletes_nothing_in_the_log(world: World) -> None:
    job = job_of("orders", KeepHistory(age="1 minute"))
    await world.open(app_of(job))
    await send(world, job)
    await world.advance(minutes=60)
    assert await lengths(world, job) == (2, 2, 0)
    await world.advance(**ROUND)
    assert await lengths(world, job) == (0, 0, 0)


@on_each_store
async def test_code_without_the_option_deletes_no_kept_event_before_its_age(world: World) -> None:
    await world.open(app_of(ORDERS))
    await send(world)
    await world.advance(hours=2)
    await world.close()
    await world.open(app_of(WITHOUT))
    await world.advance(**ROUND)
    assert await lengths(world, WITHOUT) == (2, 0, 2)
    await world.advance(hours=24)
    assert await lengths(world, WITHOUT) == (0, 0, 0)


@pytest.mark.parametrize("job", [ORDERS, WITHOUT], ids=["with", "without"])
@on_each_store
async def test_an_engine_states_an_option_in_each_round_and_not_its_absence(world: World, job: AnyDefinition) -> None:
    """Other code beside it is an engine that declares something else between its rounds."""
    await world.open(app_of(job))
    await world.advance(**ROUND)
    other = KeepHistory(age="2 days")
    await world.inspect(lambda store: store.histories.declare({("task", "orders"): other}))  # type: ignore[union-attr]
    await world.advance(**ROUND)
    [known] = await world.inspect(lambda store: store.histories.known())  # type: ignore[union-attr]
    assert (known.age_ms, known.events) == ((86_400_000, 5) if job is ORDERS else (2 * 86_400_000, 100_000))


@on_each_store
async def test_a_number_that_changed_counts_for_the_events_that_are_kept(world: World) -> None:
    await world.open(app_of(ORDERS))
    await send(world, times=4)
    await world.advance(hours=2)
    await world.close()
    fewer = job_of("orders", KeepHistory(age="1 day", events=2))
    await world.open(app_of(fewer))
    await world.advance(**ROUND)
    assert await lengths(world, fewer) == (2, 0, 2)


@pytest.mark.parametrize("operation", ["histories.known", "histories.declare", "prune"])
@on_each_store
async def test_a_round_that_fails_deletes_nothing_and_the_next_one_moves(world: World, operation: str) -> None:
    await world.open(app_of(ORDERS, limits=Limits(history_retention="5 minutes")))
    await send(world)
    world.fail(operation, StoreUnavailable("prune", "no"), times=1)
    await world.advance(**ROUND)
    assert await lengths(world) == (2, 2, 0)
    assert "retention failed" in world.logs
    await world.advance(**ROUND)
    assert await lengths(world) == (2, 0, 2)


@on_each_store
async def test_a_process_that_dies_anywhere_in_a_round_loses_and_repeats_no_event(world: World) -> None:
    crossing, finished = 0, False
    expected: list[str] = []
    while not finished:
        await world.open(app_of(ORDERS, limits=LIMITS))
        await send(world, id_=f"b{crossing}", times=3)
        expected = [event.event_id for event in await world.history(ORDERS.address(f"b{crossing}"))]
        world.world.crash_after(crossing)
        try:
            await world.advance(hours=1, minutes=20)
            world.world.cancel_crash()
            finished = True
            await world.close()
        except ProcessDied:
            pass
        await world.open(app_of(ORDERS))
        await world.advance(minutes=1)
        found = [event.event_id for event in await world.history(ORDERS.address(f"b{crossing}"))]
        assert found == expected
        await world.close()
        crossing += 1
    assert crossing > 3


@program
def run(_: Any) -> Do[None]:
    yield from succeed(None)


def kinds(history: Any) -> dict[str, Callable[[], AnyDefinition]]:
    task, pool = job_of("t"), WorkerPool("p", item=int, work=run)
    return {
        "task:t": lambda: job_of("t", history),
        "continuous:c": lambda: Continuous("c", state=int, schedule=every("1 h"), execute=run, history=history),
        "debounce:d": lambda: Debounce("d", event=int, flush_after="1 h", execute=run, history=history),
        "pool:p": lambda: WorkerPool("p", item=int, work=run, history=history),
        "batch:b": lambda: PoolBatch("b", pool=pool, history=history),
        "workflow:w": lambda: Workflow("w", state=int, run=run, history=history),
        "schedule:s": lambda: Schedules("s", targets=(task,), history=history),
        "topic:n": lambda: Topic("n", event=int, subscribers=(task,), history=history),
    }


@pytest.mark.parametrize("job", kinds(None))
def test_every_kind_has_the_option_and_refuses_another_value(job: str) -> None:
    history = KeepHistory(age="90 days")
    assert kinds(history)[job]().plan.history == history
    assert kinds(None)[job]().plan.history is None
    with pytest.raises(DefinitionError, match=rf"history of {job}: expected KeepHistory.*got '90 days'"):
        kinds("90 days")[job]()


def test_a_store_that_keeps_no_histories_is_refused() -> None:
    async def read(job: AnyDefinition) -> Any:
        async with app_of(job).open(overlay(memory_store(), histories=None)) as jobs:
            return await jobs.history(job, "a")

    with pytest.raises(DefinitionError, match="store of task:orders: expected a store that keeps histories"):
        asyncio.run(read(ORDERS))
    assert asyncio.run(read(WITHOUT)) == ()


def test_it_is_shown() -> None:
    assert str(KeepHistory(age="90 days")) == "90d, up to 100,000 events besides those in the log"
    labels = {field.label: field.value for field in ORDERS.display_fields()}
    assert labels["history"] == "1d, up to 5 events besides those in the log"
    assert "history" not in {field.label for field in WITHOUT.display_fields()}
