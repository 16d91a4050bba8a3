"""Alarms of engines with wrong clocks on one store: never early, and none late, by the clock of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.future import FutureResult

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.testing.cluster import Cluster
from perdure.values.times import to_ms

LATENCY_MS: Final = 20
"""Of each call to the store: it delays an answer to a heartbeat, and so the clock of an engine, by that much."""

LATE_MS: Final = 1_500
"""An alarm may wait until the engine in whose share it is reads alarms again, and for a few calls to the store."""


@attrs.define
class Bells:
    """Notes when each alarm fires, by the clock of the store."""

    cluster: Cluster = attrs.field(init=False)
    rung: dict[str, int] = attrs.Factory(dict[str, int])


@effect
def ring(bells: Bells, id_: str) -> FutureResult[None, str]:
    bells.rung.setdefault(id_, bells.cluster.now_ms)
    return FutureResult.from_value(None)


@program
def set_alarm(ctx: TaskContext[int], delay_ms: int) -> Do[None]:
    yield from ctx.schedule(after=timedelta(milliseconds=delay_ms))


@program
def fire(ctx: TaskContext[int]) -> Do[None, str, Bells]:
    yield from ring(ctx.id)


alarms = Task("alarms", state=int, event=int, initial=0, on_event=set_alarm, execute=fire)

SKEWS = st.integers(-60_000, 60_000)
CALLS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3_000), st.integers(0, 5_000)), min_size=1, max_size=8)


def opened(cluster: Cluster, skew_ms: int) -> Any:
    ahead, behind = timedelta(milliseconds=max(0, skew_ms)), timedelta(milliseconds=max(0, -skew_ms))
    return cluster.open(skew=ahead, behind=behind)


@settings(deadline=None, max_examples=30)
@example(skews=[30_000, 0, 0], calls=[(1, 0, 5_000)] * 6)
@example(skews=[-30_000, 0, 0], calls=[(1, 0, 1_000)] * 6)
@given(skews=st.lists(SKEWS, min_size=2, max_size=3), calls=CALLS)
def test_an_alarm_fires_by_the_clock_of_the_store(skews: list[int], calls: list[tuple[int, int, int]]) -> None:
    bells = Bells()
    app = App(bells).with_jobs(alarms)
    with Cluster(app, latency=timedelta(milliseconds=LATENCY_MS)) as cluster:
        bells.cluster = cluster
        engines = [opened(cluster, skew_ms) for skew_ms in skews]
        cluster.advance("2 seconds")
        due: dict[str, int] = {}
        for number, (engine, pause_ms, delay_ms) in enumerate(calls):
            if pause_ms:
                cluster.advance(timedelta(milliseconds=pause_ms))
            asked_ms, id_ = cluster.now_ms, str(number)
            sent = cluster.run_on(
                engines[engine % len(engines)],
                lambda client, id_=id_, delay_ms=delay_ms: client.handle(alarms).send(id_, delay_ms),  # type: ignore[misc]
            )
            due[id_] = asked_ms + delay_ms if sent.scheduled_at is None else to_ms(sent.scheduled_at)
            assert due[id_] >= asked_ms + delay_ms - LATENCY_MS
        cluster.advance("20 seconds")
    assert bells.rung.keys() == due.keys()
    for id_, rung_ms in bells.rung.items():
        assert 0 <= rung_ms - due[id_] <= LATE_MS, (id_, due[id_], rung_ms)


def test_a_clock_that_differs_from_that_of_the_store_is_reported_once() -> None:
    bells = Bells()
    with Cluster(App(bells).with_jobs(alarms)) as cluster:
        bells.cluster = cluster
        engine = opened(cluster, 30_000)
        cluster.advance("10 seconds")
        found = [log for log in engine.process.logs if "clock of this machine" in log.message]
        assert len(found) == 1
        ahead_ms = found[0].fields["ahead_ms"]
        assert isinstance(ahead_ms, int)
        assert 29_900 <= ahead_ms <= 30_100
