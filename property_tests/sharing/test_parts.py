"""Engines for a part of the jobs: each works on its own jobs, messages reach the others, and nothing looks orphaned."""

import pytest

from perdure import (
    App,
    Do,
    ItemContext,
    Task,
    TaskContext,
    WorkerPool,
    program,
    tell,
)
from perdure.programs import sleep
from perdure.testing.cluster import Cluster
from perdure.values.errors import DefinitionError


@program
def render(ctx: ItemContext[int]) -> Do[int]:
    yield from sleep("2 seconds")
    return 1


frames = WorkerPool("frames", item=int, work=render)


@program
def order(ctx: TaskContext[int], number: int) -> Do[None]:
    yield from tell(frames, f"frame-{number}").put(number)
    yield from ctx.set_state(number)


orders = Task("orders", state=int, event=int, initial=0, on_event=order)
app: App[None] = App(None).with_jobs(orders, frames)


def test_each_engine_works_on_its_jobs_and_messages_reach_the_others_at_once() -> None:
    with Cluster(app) as cluster:
        web, gpu = cluster.open(app=app.without(frames)), cluster.open(app=app.only(frames))
        cluster.advance("3 seconds")
        cluster.run_on(web, lambda jobs: jobs.handle(orders).send("a", 1))
        began_ms = cluster.now_ms
        reached = cluster.run_until(
            lambda: any(one.claim and one.address.kind == "pool" for one in cluster.instances())
        )
        assert reached
        assert cluster.now_ms - began_ms < 500
        cluster.advance("100 ms")
        for engine in (web, gpu):
            listed = cluster.run_on(engine, lambda jobs: jobs.list())
            assert {one.address.name: one.status for one in listed} == {"orders": "idle", "frames": "running"}
            assert not cluster.run_on(engine, lambda jobs: jobs.list(status="orphaned"))
            assert len(cluster.run_on(engine, lambda jobs: jobs.list(status="running"))) == 1
            assert cluster.run_on(engine, lambda jobs: jobs.health()).detail == ""
        cluster.advance("10 seconds")
        assert cluster.run_on(gpu, lambda jobs: jobs.handle(frames).outcome("frame-1")).value == 1


def test_a_job_that_no_engine_serves_is_shown() -> None:
    with Cluster(app) as cluster:
        web, gpu = cluster.open(app=app.without(frames)), cluster.open(app=app.only(frames))
        cluster.advance("3 seconds")
        gpu.crash()
        cluster.run_on(web, lambda jobs: jobs.handle(orders).send("a", 1))
        cluster.advance("30 seconds")
        health = cluster.run_on(web, lambda jobs: jobs.health())
        assert health.state == "degraded"
        assert "no engine serves pool:frames" in health.detail
        assert "1 message waits" in health.detail
        cluster.open(app=app.only(frames))
        cluster.advance("30 seconds")
        assert cluster.run_on(web, lambda jobs: jobs.health()).detail == ""


@pytest.mark.parametrize("select", ["only", "without"])
def test_a_part_of_an_app_has_jobs_of_the_app_and_at_least_one(select: str) -> None:
    other = WorkerPool("others", item=int, work=render)
    with pytest.raises(DefinitionError):
        getattr(app, select)(other)
    with pytest.raises(DefinitionError):
        app.only() if select == "only" else app.without(orders, frames)
    assert app.only(orders).without().left_out == (("pool", "frames"),)
    assert app.without(frames).left_out == (("pool", "frames"),)
