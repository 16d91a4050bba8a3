"""Pools and workflows over several engines: frozen and killed ones lose no item and no step."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from attrs import Factory, define, field
from crowd import plain
from returns.result import Success
from world import HasOutside, Refused, say

from perdure import App, Do, ItemContext, WorkerPool, Workflow, WorkflowContext, program
from perdure.programs import sleep
from perdure.testing.cluster import Cluster, ClusterEngine

ITEMS = 40
STEPS = 8


@define
class Slow:
    """An external system that takes up to two seconds."""

    cluster: Cluster = field(init=False)
    heard: list[str] = Factory(list[str])

    @property
    def outside(self) -> Slow:
        return self

    async def hear(self, word: str) -> Success[None]:
        """Hear a word."""
        self.heard.append(word)
        await self.cluster.runtime.sleep(self.cluster.runtime.random() * 2_000)
        return Success(None)


@program
def work(ctx: ItemContext[int]) -> Do[int, Refused, HasOutside]:
    """Say the number."""
    number = yield from ctx.item
    yield from say(f"item {number}#{ctx.attempt}.{ctx.delivery}")
    return number


@program
def count(ctx: WorkflowContext[int]) -> Do[int, Refused, HasOutside]:
    """Say some numbers, with pauses."""
    for number in range(STEPS):
        yield from say(f"step {number}")
        yield from sleep("700 ms")
    return STEPS


pool = WorkerPool("numbers", item=int, work=work, workers=4)
flow = Workflow("counting", state=int, run=count)


def misfortune(cluster: Cluster, engines: list[ClusterEngine]) -> None:
    """Let two of three engines suffer, and open another one."""
    cluster.advance("2 s")
    engines[0].crash()
    engines[1].freeze("7 s")
    cluster.advance("3 s")
    cluster.open()
    cluster.advance("120 s")


def opened(slow: Slow, seed: int) -> tuple[Cluster, list[ClusterEngine]]:
    slow.cluster = cluster = Cluster(App(slow).with_jobs(pool, flow), seed=seed)
    return cluster, [cluster.open() for _ in range(3)]


@pytest.mark.parametrize("seed", range(4))
def test_a_pool_over_engines_loses_no_item_and_repeats_none_unmarked(seed):
    slow = Slow()
    cluster, engines = opened(slow, seed)
    with cluster:
        items = [(str(number), number) for number in range(ITEMS)]
        cluster.run_on(engines[2], lambda client: client.handle(pool).put_many(items))
        misfortune(cluster, engines)
        assert [word for word, times in Counter(slow.heard).items() if times > 1] == []
        assert set(map(plain, slow.heard)) == {f"item {number}" for number in range(ITEMS)}
        assert Counter(row.status for row in cluster.instances()) == {"done": ITEMS}


@pytest.mark.parametrize("seed", range(4))
def test_workflows_over_engines_end_and_repeat_the_last_step_at_most(seed):
    slow = Slow()
    cluster, engines = opened(slow, seed)
    with cluster:
        for number in range(6):
            engine = engines[number % 3]
            cluster.run_on(engine, lambda client, number=number: client.handle(flow).start(str(number), number))
        misfortune(cluster, engines)
        heard: Counter[Any] = Counter(slow.heard)
        assert set(heard) == {f"step {number}" for number in range(STEPS)}
        assert all(times <= 6 + 6 for times in heard.values()), "each workflow repeats a step once at most"
        assert sum(heard.values()) <= 6 * STEPS + 6
        assert all(row.status == "done" or row.ended_ms is not None for row in cluster.instances())
        assert len(cluster.instances()) == 6
