"""A hold at one engine: the others begin no run behind it, and begin the waiting ones at its release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import attrs
from crowd import plain
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Mark, OnAlarm, machine
from returns.future import FutureResult
from returns.result import Success
from test_ended_elsewhere import Outside

from perdure import App
from perdure.engine.runs.concurrency import Holds
from perdure.runtime.record import Runtime
from perdure.runtime.simulated import Simulation
from perdure.testing.cluster import Cluster
from perdure.values.address import Job
from perdure.values.status import Hold

NIGHTLY = settings.get_current_profile_name() == "nightly"
SOON_MS = 100
"""Some crossings of the boundary, and much less than the period in which engines read the held jobs."""


@settings(max_examples=300 if NIGHTLY else 10)
@given(st.integers(1, 9_000), st.integers(0, 99))
def test_a_hold_and_a_release_reach_all_engines_soon(after_ms: int, seed: int) -> None:
    outside = Outside()
    with Cluster(App(outside).with_jobs(machine), seed=seed) as cluster:
        engines = [cluster.open() for _ in range(3)]
        here = engines[0]
        cluster.advance(f"{after_ms} ms")
        cluster.run_on(here, lambda client: client.handle(machine).hold())
        cluster.advance(f"{SOON_MS} ms")
        for number in range(9):
            event = OnAlarm(1_000, (Mark(f"a{number}"),))
            cluster.run_on(
                engines[number % 3],
                lambda client, id_=f"{number}", event=event: client.handle(machine).send(id_, event),
            )
        cluster.advance("3 s")
        assert outside.heard == []
        cluster.run_on(here, lambda client: client.handle(machine).release())
        cluster.advance(f"{SOON_MS} ms")
        assert sorted(map(plain, outside.heard)) == [f"a{number}" for number in range(9)]


@attrs.define(eq=False)
class SlowHolds:
    """A store whose answers arrive late: in another order than it has read and written, if their times say so.

    Attributes:
        runtime: the clock.
        delays: how long the next call takes to arrive, and its answer.
    """

    runtime: Runtime
    delays: tuple[int, int] = (0, 0)
    held: frozenset[Job] = frozenset()

    def change(self, job: Job, hold: Hold) -> None:
        self.held = self.held | {job} if hold == "held" else self.held - {job}

    def holds(self) -> FutureResult[tuple[Job, ...], Any]:
        return FutureResult(self._later(lambda: tuple(sorted(self.held))))

    def set_hold(self, job: Job, hold: Hold) -> FutureResult[Any, Any]:
        return FutureResult(self._later(lambda: self.change(job, hold)))

    async def _later(self, act: Callable[[], Any]) -> Any:
        there_ms, back_ms = self.delays
        await self.runtime.sleep(there_ms)
        found = act()
        await self.runtime.sleep(back_ms)
        return Success(found)


DELAYS = st.integers(0, 4)
HELD_JOB = ("task", "a")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["own change", "other change", "read", "pause"]),
            st.sampled_from([HELD_JOB, ("task", "b")]),
            st.sampled_from(["held", "released"]),
            st.tuples(DELAYS, DELAYS),
        ),
        max_size=12,
    ),
    st.integers(0, 99),
)
@example([("read", HELD_JOB, "held", (0, 4)), ("own change", HELD_JOB, "held", (0, 0))], 0)
@example([("read", HELD_JOB, "held", (0, 4)), ("other change", HELD_JOB, "held", (0, 0))], 0)
@example([("own change", HELD_JOB, "held", (0, 4)), ("own change", HELD_JOB, "released", (1, 0))], 0)
def test_the_known_holds_are_never_older_than_the_last_known_change(
    story: list[tuple[str, Job, Hold, tuple[int, int]]], seed: int
) -> None:
    """A read may end behind a change that it has not seen, and behind a later read."""
    simulation = Simulation(seed=seed)
    store = SlowHolds(simulation.runtime)
    holds = Holds(cast("Any", store), simulation.runtime)
    holds.released = lambda: None
    for action, job, hold, store.delays in story:
        match action:
            case "own change":
                simulation.runtime.spawn(holds.set(job, hold), name="change")
            case "other change":
                store.change(job, hold)
                simulation.runtime.spawn(holds.read(), name="the notification of it")
            case "read":
                simulation.runtime.spawn(holds.read(), name="read")
            case _:
                simulation.advance(store.delays[0])
        simulation.settle()
    simulation.advance(1_000)
    assert simulation.unhandled == ()
    assert frozenset(holds.jobs) == store.held
