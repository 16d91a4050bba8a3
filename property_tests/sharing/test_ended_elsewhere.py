"""A terminate that interrupts, at another engine than that of the run: the program stops within a heartbeat."""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import Factory, define
from crowd import plain
from hypothesis import given, settings
from hypothesis import strategies as st
from machine import Mark, Wait, machine, steps
from postgres_harness import SharedPostgresHarness
from returns.future import FutureResult
from returns.result import Success

from perdure import App, Do, Task, TaskContext, Undo, Workflow, WorkflowContext, attempt, effect, program, saga, step
from perdure.programs import sleep
from perdure.testing.cluster import Cluster
from perdure.values.answer import Sent, WasCancelled

NIGHTLY = settings.get_current_profile_name() == "nightly"
LEASE_MS = 4_000
BEAT_MS = LEASE_MS // 4


@define
class Outside:
    """An external system that answers at once."""

    heard: list[str] = Factory(list[str])

    @property
    def outside(self) -> Outside:
        return self

    async def hear(self, word: str) -> Success[None]:
        """Hear a word."""
        self.heard.append(word)
        return Success(None)


@settings(max_examples=500 if NIGHTLY else 8)
@given(st.integers(0, 3_000), st.integers(0, 99))
def test_a_terminate_elsewhere_stops_a_program_within_a_heartbeat(after_ms: int, seed: int) -> None:
    """It says a word each 100 ms; other programs of the same engine continue."""
    outside = Outside()
    words = [one for number in range(60) for one in (Mark(f"a{number}"), Wait(100))]
    with Cluster(App(outside).with_jobs(machine), seed=seed, lease=f"{LEASE_MS} ms") as cluster:
        here, there = cluster.open(), cluster.open()
        stopped = here.call(lambda client: client.handle(machine).send("a", steps(*words)))
        other = here.call(lambda client: client.handle(machine).send("b", steps(Mark("b"), Wait(8_000), Mark("end"))))
        cluster.advance(f"{after_ms + 100} ms")
        cluster.run_on(there, lambda client: client.handle(machine).terminate("a", interrupt=True))
        cluster.advance(f"{BEAT_MS + 100} ms")
        heard = len(outside.heard)
        assert stopped.done()
        assert isinstance(stopped.result().unwrap(), Sent)
        cluster.advance("10 s")
        assert [plain(word) for word in outside.heard[heard:]] == ["end"]
        assert isinstance(other.result(), Success)
        assert [row.address.id for row in cluster.instances()] == ["b"]


@effect
def work(hours: list[str]) -> FutureResult[None, str]:
    """Work for an hour."""

    async def long() -> Any:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            hours.append("cancelled")
            raise

    hours.append("begun")
    return FutureResult(long())


@program
def begin(ctx: TaskContext[int], event: int) -> Do[None, str, list[str]]:
    """Work."""
    yield from work()
    yield from ctx.set_state(event)


def unused(ctx: Any) -> Any:
    return ctx.terminate("unused")


long_runs = Task("long", state=int, event=int, initial=0, on_event=begin, execute=unused)


def test_a_terminate_elsewhere_stops_a_program_on_postgres(postgres_url: str) -> None:
    """The service that the program waits for is cancelled."""
    harness = SharedPostgresHarness(postgres_url)
    url = harness.url.replace("lease=30s", "lease=5s")
    hours = list[str]()

    async def main() -> None:
        app = App(hours).with_jobs(long_runs)
        async with app.open(url) as here, app.open(url) as there:
            sending = asyncio.ensure_future(attempt(here.handle(long_runs).send("a", 1)))
            while not hours:  # noqa: ASYNC110 - the service says nothing else
                await asyncio.sleep(0.01)
            await there.handle(long_runs).terminate("a", interrupt=True)
            assert isinstance((await sending).unwrap(), Sent)
            assert hours == ["begun", "cancelled"]
        await harness.discard()

    asyncio.run(main())


@effect
def note(outside: Outside, word: str) -> FutureResult[None, str]:
    """Let the external system hear a word."""
    return FutureResult(outside.hear(word))


@step
@program
def slowly(word: str) -> Do[str, str, Outside]:
    """Say a word, and an hour later another one."""
    yield from note(word)
    yield from sleep("1 hour")
    yield from note("an hour later")
    return word


@program
def trip(undo: Undo[Outside]) -> Do[str, str, Outside]:
    """Book a hotel, then a flight."""
    yield from undo.after(note("hotel"), lambda _: note("no hotel"))
    return (yield from slowly("flight"))


@program
def travel(ctx: WorkflowContext[int]) -> Do[str, str, Outside]:
    """Travel."""
    return (yield from saga(trip))


trips = Workflow("trip", state=int, run=travel, keep=None)


@settings(max_examples=100 if NIGHTLY else 8)
@given(st.integers(0, 3_000), st.integers(0, 99), st.sampled_from(["first", "second"]))
def test_a_cancellation_elsewhere_interrupts_a_step_within_a_heartbeat(after_ms: int, seed: int, asked: str) -> None:
    """The earlier steps are undone, also if a first request has let the step continue."""
    outside = Outside()
    with Cluster(App(outside).with_jobs(trips), seed=seed, lease=f"{LEASE_MS} ms") as cluster:
        here, there = cluster.open(), cluster.open()
        cluster.run_on(here, lambda client: client.handle(trips).start("a", 0))
        cluster.advance(f"{after_ms + 100} ms")
        if asked == "second":
            cluster.run_on(there, lambda client: client.handle(trips).cancel("a", "enough"))
            cluster.advance(f"{2 * BEAT_MS} ms")
            assert outside.heard == ["hotel", "flight"]
        cluster.run_on(there, lambda client: client.handle(trips).cancel("a", "enough", interrupt=True))
        cluster.advance(f"{BEAT_MS + 1_000} ms")
        assert cluster.run_on(there, lambda client: client.handle(trips).outcome("a")) == WasCancelled(reason="enough")
        assert outside.heard == ["hotel", "flight", "no hotel"]
