"""Engines of two versions share a store: a left message is buried or handled, and never both."""

from __future__ import annotations

from typing import Any

from attrs import Factory, define, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from returns.result import Success

from perdure import App, Do, Task, TaskContext, effect, program, tell
from perdure.testing.cluster import Cluster, ClusterEngine

NIGHTLY = settings.get_current_profile_name() == "nightly"


@frozen
class Known:
    """An event that both versions know."""

    text: str


@frozen
class Further:
    """An event that only the newer version knows."""

    number: int


@define
class Outside:
    """An external system that remembers the numbers that it heard."""

    heard: list[int] = Factory(list[int])

    async def hear(self, number: int) -> None:
        """Hear a number."""
        self.heard.append(number)


@effect
async def hear(outside: Outside, number: int) -> Success[None]:
    """Say a number to the external system."""
    await outside.hear(number)
    return Success(None)


@program
def handle(ctx: TaskContext[int], event: Any) -> Do[None, Any, Outside]:
    """Say the number, then count the event: the engine claims the message before it says it."""
    yield from hear(event.number)
    yield from ctx.update_state(lambda count: count + 1)


OLDER: Any = Task("targets", state=int, event=Known, initial=0, on_event=lambda _, __: Success(None))
NEWER: Any = Task("targets", state=int, event=Known | Further, initial=0, on_event=handle)


@program
def forward(ctx: TaskContext[int], event: int) -> Do[None]:
    """Send a message that only newer code reads."""
    yield from tell(NEWER, "t").send(Further(event))


SENDER = Task("senders", state=int, event=int, initial=0, on_event=forward)


def left_in(cluster: Cluster) -> tuple[ClusterEngine, ClusterEngine, int]:
    """Let two engines of older code leave a message, then open one of newer code.

    Returns:
        The first two, and the number of the message.
    """
    older = App(cluster.app.services).with_jobs(SENDER, OLDER)
    one, other = cluster.open(older), cluster.open(older)
    cluster.run_on(one, lambda client: client.handle(SENDER).send("s", 1))
    cluster.advance("3 s")
    (left,) = cluster.run_on(other, lambda client: client.left_messages())
    cluster.open()
    return one, other, left.message_id


def cluster_of(outside: Outside, seed: int) -> Cluster:
    return Cluster(App(outside).with_jobs(SENDER, NEWER), outside, seed=seed, latency="40 ms")


def handled_after_ms(seed: int) -> int:
    """Return how long newer code needs until it handles the message, if that is not buried."""
    outside = Outside()
    with cluster_of(outside, seed) as cluster:
        left_in(cluster)
        began_ms = cluster.now_ms
        assert cluster.run_until(lambda: outside.heard != [], patience="1 minute")
        return cluster.now_ms - began_ms


@settings(max_examples=1_000 if NIGHTLY else 60)
@given(seed=st.integers(0, 9_999), before_ms=st.integers(-100, 400), burials=st.integers(1, 2))
@example(seed=0, before_ms=190, burials=1)
@example(seed=0, before_ms=190, burials=2)
def test_a_left_message_is_buried_or_handled(seed: int, before_ms: int, burials: int) -> None:
    """Operators bury it at one or two engines of older code, shortly before or after newer code handles it."""
    outside = Outside()
    after_ms = max(1, handled_after_ms(seed) - before_ms)
    with cluster_of(outside, seed) as cluster:
        *engines, message_id = left_in(cluster)
        cluster.advance(f"{after_ms} ms")
        asked = [engine.call(lambda client: client.bury(message_id)) for engine in engines[:burials]]
        cluster.advance("1 minute")
        answers = [each.result().unwrap() for each in asked]
        dead = cluster.inspect(lambda store: store.dead_letters(0, 9))
        rows = [row for row in cluster.instances() if row.address == NEWER.address("t")]
        assert answers.count("buried") == len(dead) <= 1
        assert outside.heard == ([] if dead else [1])
        assert [row.event_count for row in rows] == ([] if dead else [1])
        assert [row for row in rows if row.event_claim is not None] == []
