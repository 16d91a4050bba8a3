"""Engines that rest while they have no work lose no request, and no alarm is early or waits for the longest rest."""

from __future__ import annotations

from typing import Any, Final

import attrs
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.client.local_gateway import engine_of
from perdure.engine.loops.upkeep import Resting, RestWhenIdle
from perdure.runtime.record import SpawnedTask
from perdure.testing.cluster import Cluster, ClusterEngine

IDLE_MS, AT_MOST_MS = 5_000, 120_000
STEP_MS: Final = 250
"""How often a place looks whether its engine may rest, or must open."""

LATE_MS: Final = 4_000
"""How late an alarm may be: an opening, and a share that is read after it."""

PLACES: Final = 2


@attrs.define
class Outside:
    """Notes when each alarm fired."""

    fired: list[tuple[str, int]] = attrs.Factory(list[tuple[str, int]])
    now_ms: Any = None


@effect
async def note(services: Outside, id_: str) -> Result[None, None]:
    services.fired.append((id_, services.now_ms()))
    return Success(None)


@program
def on_event(ctx: TaskContext[int], delay_ms: int) -> Do[None, None, Outside]:
    state = yield from ctx.state
    yield from ctx.set_state(state + 1)
    yield from ctx.schedule(after=f"{delay_ms} ms")


@program
def execute(ctx: TaskContext[int]) -> Do[None, None, Outside]:
    yield from note(ctx.id)


timers: Task[int, int, Any, Any] = Task("timers", state=int, event=int, initial=0, on_event=on_event, execute=execute)


@attrs.define
class Place:
    """A process that opens an engine for a request and for the next alarm, and rests in between."""

    cluster: Cluster
    rests: int = 0
    until_ms: int = 0
    last_ms: float = 0.0
    engine: ClusterEngine | None = None
    idle: SpawnedTask[Resting] | None = None

    def open(self) -> ClusterEngine:
        if self.engine is None:
            self.engine = engine = self.cluster.open()
            assert engine.client is not None
            found = engine_of(engine.client).until_idle(RestWhenIdle(IDLE_MS, AT_MOST_MS), lambda: [self.last_ms])
            self.last_ms = engine.process.runtime.monotonic_ms()
            self.idle = engine.process.runtime.spawn(found, name="idle")
        return self.engine

    def send(self, id_: str, delay_ms: int) -> None:
        engine = self.open()
        self.cluster.run_on(engine, lambda jobs: jobs.handle(timers).send(id_, delay_ms))
        self.last_ms = engine.process.runtime.monotonic_ms()

    def look(self) -> None:
        if self.engine is not None and self.idle is not None and self.idle.done():
            self.until_ms = self.cluster.now_ms + self.idle.result().for_ms
            closing = self.engine.close()
            assert self.cluster.run_until(closing.done)
            self.engine, self.idle, self.rests = None, None, self.rests + 1
        elif self.engine is None and self.cluster.now_ms >= self.until_ms:
            self.open()


REQUESTS = st.tuples(
    st.integers(0, 3 * IDLE_MS), st.integers(0, PLACES - 1), st.sampled_from("abc"), st.integers(0, 4 * IDLE_MS)
)


@given(st.lists(REQUESTS, min_size=1, max_size=6), st.integers(0, 99))
@example([(0, 0, "a", 4 * IDLE_MS)], 0)
@example([(0, 0, "a", 4 * IDLE_MS), (IDLE_MS, 1, "b", 3 * IDLE_MS)], 0)
def test_alarms_fire_in_time_and_requests_are_applied_once_although_engines_rest(
    requests: list[tuple[int, int, str, int]], seed: int
) -> None:
    outside = Outside()
    with Cluster(App(outside).with_jobs(timers), seed=seed) as cluster:
        outside.now_ms = lambda: cluster.now_ms
        places = [Place(cluster) for _ in range(PLACES)]
        due: dict[str, int] = {}
        sent: dict[str, int] = {}
        expected: list[tuple[str, int]] = []

        def until(at_ms: int) -> None:
            while cluster.now_ms < at_ms:
                cluster.advance(f"{min(STEP_MS, at_ms - cluster.now_ms)} ms")
                for place in places:
                    place.look()
                for id_, due_ms in tuple(due.items()):
                    if due_ms + LATE_MS < cluster.now_ms:
                        expected.append((id_, due.pop(id_)))

        for pause_ms, place, id_, delay_ms in requests:
            until(cluster.now_ms + pause_ms)
            places[place].send(id_, delay_ms)
            sent[id_] = sent.get(id_, 0) + 1
            due[id_] = cluster.now_ms + delay_ms
        until(cluster.now_ms + 4 * IDLE_MS + 2 * LATE_MS)
        for id_, due_ms in expected:
            found = [
                at_ms for fired, at_ms in outside.fired if fired == id_ and due_ms - 100 <= at_ms <= due_ms + LATE_MS
            ]
            assert found, (id_, due_ms, outside.fired)
        assert {each.address.id: int(each.state) for each in cluster.instances()} == sent
        assert sum(place.rests for place in places)
