"""A lease that ends at any moment of a run: its effects begin elsewhere, and its instance is not parked."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from one_by_one import each_commit
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, attempt, effect, program
from perdure.programs import sleep
from perdure.programs.future import answer_of, asked
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, commit_one, overlay
from perdure.stores.memory import SharedMemoryBackend
from perdure.stores.shares import Members, Served
from perdure.stores.values import Query
from perdure.telemetry import on_event
from perdure.values.errors import StoreError
from perdure.values.live_event import LeaseLost
from perdure.values.transition import Transition


@attrs.frozen
class Said:
    """The words of an engine."""

    words: list[str]


@effect
def say(said: Said, word: str) -> Result[None, str]:
    """Say a word: the service answers at once."""
    said.words.append(word)
    return Success(None)


@program
def wait_for_alarm(ctx: TaskContext[int], event: int) -> Do[None]:
    """Set the alarm."""
    yield from ctx.schedule(after=f"{event} ms")


@program
def ring(ctx: TaskContext[int]) -> Do[None, str, Said]:
    """Say the delivery of the alarm."""
    yield from say(f"{ctx.attempt}.{ctx.delivery}")


alarms = Task("alarms", state=int, event=int, initial=0, on_event=wait_for_alarm, execute=ring)
LEASE_MS = 4_000


def without_heartbeats(store: Store, runtime: Runtime, commit_ms: float) -> Store:
    """Return a store that renews no lease after the start, and commits slowly."""
    beats = list[None]()
    sharing = store.sharing
    assert sharing is not None
    beat = sharing.heartbeat

    def heartbeat(served: Served, /) -> FutureResult[Members, StoreError]:
        beats.append(None)
        return beat(served) if len(beats) < 3 else asked(never())

    async def never() -> Any:
        await runtime.future()

    async def committed(transition: Transition) -> Any:
        await runtime.sleep(commit_ms)
        return await answer_of(commit_one(store, transition))

    return overlay(
        store,
        sharing=overlay(sharing, heartbeat=heartbeat),
        commit=each_commit(lambda transition: asked(committed(transition)), runtime),
        runtime=runtime,
    )


@pytest.mark.parametrize("due_ms", [3_500, 3_650, 3_750, 3_820])
def test_a_run_that_is_claimed_when_the_lease_ends_runs_elsewhere(due_ms: int) -> None:
    """The claim is durable after the last moment at which the engine may perform effects."""
    simulation, here, there = Simulation(seed=1), Said([]), Said([])
    backend = SharedMemoryBackend(simulation.runtime.now_ms, lease_ms=LEASE_MS)

    async def main() -> None:
        runtime = simulation.runtime
        first = App(here).with_jobs(alarms).open(without_heartbeats(backend.open(), runtime, 250), runtime=runtime)
        client = await first.__aenter__()
        await client.handle(alarms).send("a", due_ms - 250)
        async with App(there).with_jobs(alarms).open(backend.open(), runtime=runtime) as jobs:
            await runtime.sleep(2 * LEASE_MS)
            (row,) = (await answer_of(backend.reader().find(Query()))).unwrap()
            assert (row.suspension, row.owner, row.due_ms) == (None, None, None)
            assert here.words + there.words in (["1.1"], ["1.2"])
            await jobs.handle(alarms).send("a", 1)
        await first.__aexit__(None, None, None)

    simulation.run(main())


@attrs.frozen
class Blocks:
    """A service whose first call blocks the event loop beyond the lease."""

    simulation: Simulation
    calls: list[str] = attrs.Factory(list[str])


@effect
def block(service: Blocks) -> Result[None, str]:
    """Call the service."""
    service.calls.append("call")
    if len(service.calls) == 1:
        service.simulation.stand_still(2 * LEASE_MS)
    return Success(None)


@program
def call_it(ctx: TaskContext[int]) -> Do[None, str, Blocks]:
    """Call the service."""
    yield from block()


blocked = Task("blocked", state=int, event=int, initial=0, on_event=wait_for_alarm, execute=call_it)


def test_a_run_begins_nothing_if_another_one_of_its_step_blocked_the_loop_beyond_the_lease() -> None:
    """No timer has told the engine yet that its lease is over. The run is recovered, and has not failed."""
    simulation = Simulation(seed=1)
    backend, service = SharedMemoryBackend(simulation.runtime.now_ms, lease_ms=LEASE_MS), Blocks(simulation)
    events = list[str]()

    async def main() -> None:
        runtime = simulation.runtime
        app = App(service).with_jobs(blocked).with_sinks(on_event(lambda event: events.append(type(event).__name__)))
        first = app.open(backend.open(), runtime=runtime)
        client = await first.__aenter__()
        for id_ in "abc":
            await client.handle(blocked).send(id_, 500)
        await runtime.sleep(1_000)
        assert len(service.calls) == 1
        await first.__aexit__(None, None, None)
        async with app.open(backend.open(), runtime=runtime):
            await runtime.sleep(5 * LEASE_MS)
            rows = (await answer_of(backend.reader().find(Query()))).unwrap()
            assert {(row.suspension, row.owner, row.due_ms) for row in rows} == {(None, None, None)}
        assert "JobFailed" not in events

    simulation.run(main())


@pytest.mark.parametrize("end", ["close", "stall"])
def test_a_lost_lease_is_reported_by_every_engine_and_a_close_is_not(end: str) -> None:
    """Two engines continue; the third one is closed, or renews its lease no more."""
    simulation, lost = Simulation(seed=1), list[tuple[int, int]]()
    backend = SharedMemoryBackend(simulation.runtime.now_ms, lease_ms=LEASE_MS)

    def opened(store: Store) -> Any:
        def note(event: object) -> None:
            if isinstance(event, LeaseLost):
                lost.append((store.epoch, event.epoch))

        app = App(Said([])).with_jobs(alarms).with_sinks(on_event(note))
        return app.open(store, runtime=simulation.runtime)

    async def main() -> None:
        runtime, store = simulation.runtime, backend.open()
        first = opened(store if end == "close" else without_heartbeats(store, runtime, 1))
        await first.__aenter__()
        async with opened(backend.open()), opened(backend.open()):
            await runtime.sleep(LEASE_MS / 3)
            if end == "close":
                await first.__aexit__(None, None, None)
            await runtime.sleep(3 * LEASE_MS)
        if end == "stall":
            await first.__aexit__(None, None, None)
        await runtime.sleep(3 * LEASE_MS)

    simulation.run(main())
    assert sorted(lost) == ([] if end == "close" else [(1, 1), (2, 1), (3, 1)])


def test_an_engine_that_a_commit_finds_dead_stops_its_runs() -> None:
    """Another engine may have taken over its runs, whatever its own clock says of the lease."""
    simulation, outside = Simulation(seed=1), Said([])
    backend = SharedMemoryBackend(simulation.runtime.now_ms, lease_ms=LEASE_MS)

    @program
    def work(ctx: TaskContext[int], event: int) -> Do[None, str, Said]:
        yield from say(f"{event} begins")
        yield from sleep(f"{event} ms")
        yield from say(f"{event} ends")
        yield from ctx.set_state(event)

    jobs = Task("jobs", state=int, event=int, initial=0, on_event=work, execute=ring)

    async def main() -> None:
        runtime, store = simulation.runtime, backend.open()
        declared_dead = runtime.future()
        store = overlay(store, lost=declared_dead)
        engine = App(outside).with_jobs(jobs).open(store, runtime=runtime)
        client = await engine.__aenter__()

        async def send() -> None:
            await attempt(client.handle(jobs).send("a", 1_000))

        call = runtime.spawn(send(), name="call")
        await runtime.sleep(500)
        declared_dead.set_result("another engine declared it dead")
        await runtime.sleep(1_000)
        assert outside.words == ["1000 begins"]
        assert call.done()
        await engine.__aexit__(None, None, None)

    simulation.run(main())
