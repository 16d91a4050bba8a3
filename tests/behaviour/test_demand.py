"""The demand is the work of a store that waits for an engine or runs, for each job that the engine serves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal, TypeAlias

from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Result
from world import World, on_each_store

from perdure import App, Do, ItemContext, Task, TaskContext, WorkerPool, Workflow, WorkflowContext, attempt, program
from perdure.programs import sleep
from perdure.testing import World as TheWorld
from perdure.values.errors import InvalidArgument
from perdure.values.listings import Demand, JobDemand
from perdure.values.times import to_ms

HOUR_MS = 3_600_000


@program
def work(ctx: ItemContext[int]) -> Do[None]:
    yield from sleep("1 hour")


@program
def remind(ctx: TaskContext[int], minutes: int) -> Do[None]:
    yield from ctx.set_state(minutes)
    yield from ctx.schedule(after=timedelta(minutes=minutes))


@program
def imported(ctx: WorkflowContext[int]) -> Do[None]:
    yield from sleep("1 hour")


imports = Workflow("imports", state=int, run=imported, concurrency=2, keep="1 second")
items = WorkerPool("items", item=int, work=work, workers=2)
mails = Task("mails", state=int, event=int, initial=0, on_event=remind, execute=lambda ctx: sleep("10 minutes"))
app: App[None] = App(None).with_jobs(items, mails)


@on_each_store
async def test_the_work_of_each_job_is_counted(world: World) -> None:
    """Queued, due and running instances; alarms to come with `within`; a held job has only its runs."""
    jobs = await world.open(app)
    assert await world.run(jobs.demand()) == Demand(
        jobs=(JobDemand(kind="pool", name="items"), JobDemand(kind="task", name="mails"))
    )
    for number in range(5):
        await world.run(jobs.handle(items).put(str(number), number))
    await world.run(jobs.handle(items).put("late", 0, after="10 minutes"))
    await world.run(jobs.handle(mails).send("a", 20))
    started_ms = to_ms(world.world.now)
    mail = JobDemand(kind="task", name="mails", next_alarm_ms=started_ms + HOUR_MS // 3)
    item = JobDemand(kind="pool", name="items", queued=3, running=2, next_alarm_ms=started_ms + HOUR_MS // 6, total=5)
    assert await world.run(jobs.demand()) == Demand(jobs=(item, mail), total=5)
    assert (await world.run(jobs.demand(within="10 minutes"))).total == 6
    assert (await world.run(jobs.demand(within=timedelta(minutes=20)))).total == 7
    await world.run(jobs.handle(items).hold())
    held = await world.run(jobs.demand(within="1 hour"))
    assert [(one.hold, one.queued, one.running, one.total) for one in held.jobs] == [
        ("held", 3, 2, 2),
        ("released", 0, 0, 1),
    ]
    await world.run(jobs.handle(items).release())
    await world.advance(hours=5)
    assert (await world.run(jobs.demand())).total == 0


@on_each_store
async def test_a_time_that_is_none_is_refused(world: World) -> None:
    jobs = await world.open(app)
    assert (await world.run(jobs.demand(within="99 days 23 h 59 m 59 s 999 ms"))).total == 0
    for wrong in ("soon", "-1 s", 30, None, "100 days"):
        answer: Result[Any, Any] = await attempt(jobs.demand(within=wrong))  # type: ignore[arg-type]
        assert isinstance(answer, Failure)
        assert isinstance(answer.failure(), InvalidArgument)
        assert answer.failure().what == "within of demand"


Action: TypeAlias = tuple[Literal["put", "send", "hold", "release", "advance"], int]
ACTIONS = st.lists(st.tuples(st.sampled_from(["put", "put", "send", "hold", "release", "advance"]), st.integers(0, 90)))


@given(ACTIONS, st.sampled_from(["0 ms", "30 minutes"]))
def test_the_demand_is_that_of_the_listed_instances(actions: list[Action], within: str) -> None:
    with TheWorld(app) as world:
        jobs = world.jobs
        pool, tasks = jobs.handle(items), jobs.handle(mails)
        for number, (action, minutes) in enumerate(actions):
            match action:
                case "put":
                    world.run(pool.put(str(number), 1, after=timedelta(minutes=minutes)))
                case "send":
                    world.attempt(tasks.send(str(number % 3), minutes + 1))
                case "hold":
                    world.run(pool.hold())
                case "release":
                    world.run(pool.release())
                case "advance":
                    world.advance(timedelta(minutes=minutes))
        listed = world.run(jobs.list(limit=1_000))
        until = world.now + timedelta(minutes=30 if within == "30 minutes" else 0)
        for one in world.run(jobs.demand(within=within)).jobs:
            of_job = [each for each in listed if each.address.name == one.name]
            alarms = [each.report.next_run_at for each in of_job if each.status == "scheduled"]
            assert one.queued == sum(each.status == "queued" for each in of_job)
            assert one.running == sum(each.status == "running" for each in of_job)
            assert one.due == sum(at is not None and at <= until for at in alarms)
            assert one.next_alarm == min((at for at in alarms if at is not None), default=None)
            waiting = 0 if one.hold == "held" else one.queued + one.due
            assert one.total == waiting + one.running


@on_each_store
async def test_queued_starts_of_a_workflow_are_counted_and_begin_after_a_crash(world: World) -> None:
    jobs = await world.open(App(None).with_jobs(imports))
    for number in range(5):
        await world.run(jobs.handle(imports).start(str(number), 1))
    await world.advance(ms=10)
    found = await world.run(jobs.demand())
    assert [(one.queued, one.due, one.running) for one in found.jobs] == [(3, 0, 0)]
    await world.crash()
    jobs = await world.open(App(None).with_jobs(imports))
    for queued in (1, 0, 0):
        await world.advance(hours=1, minutes=1)
        assert [one.queued for one in (await world.run(jobs.demand())).jobs] == [queued]
    assert (await world.run(jobs.list(imports))).instances == ()
