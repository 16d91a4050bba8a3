"""``Workflow(concurrency=N)``: at most so many instances are under way, over waits, restarts and engines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from perdure import App, Do, Signal, StateQuery, Workflow, WorkflowContext, program
from perdure.jobs.request import AlarmDue, Request
from perdure.jobs.step import Commit
from perdure.programs import gather, sleep
from perdure.testing import World
from perdure.testing.cluster import Cluster
from perdure.values.answer import DeadlinePassed, Done, WasCancelled
from perdure.values.errors import DefinitionError
from perdure.values.transition import KeepInstance
from perdure.values.turn_inputs import TurnInputs


def state_of(state: int, _: None) -> int:
    return state


GO = Signal("go", int)
STATE: StateQuery[int, None, int] = StateQuery("state", type(None), int, state_of)


@program
def waiting(ctx: WorkflowContext[int]) -> Do[int]:
    yield from sleep("1 hour")
    return (yield from ctx.state)


@program
def brief(ctx: WorkflowContext[int]) -> Do[int]:
    yield from sleep("15 seconds")
    return 1


@program
def asking(ctx: WorkflowContext[int]) -> Do[int]:
    return (yield from GO.receive())


def imports(most: int | None = 2, **options: Any) -> Workflow[int, int]:
    return Workflow("imports", state=int, run=waiting, concurrency=most, **options)


def asked(most: int | None = 1, **options: Any) -> Workflow[int, int]:
    return Workflow("asked", state=int, run=asking, signals=[GO], queries=[STATE], concurrency=most, **options)


def statuses(world: World, job: Workflow[Any, Any], ids: Sequence[str]) -> list[Any]:
    found = [world.run(world.handle(job).status(id_)) for id_ in ids]
    return [one.status for one in found]


def start(world: World, job: Workflow[int, int], *ids: str) -> None:
    for id_ in ids:
        world.run(world.handle(job).start(id_, 1))
    world.settle()


def test_further_starts_wait_while_the_first_ones_sleep() -> None:
    job = imports()
    with World(App(None).with_jobs(job)) as world:
        start(world, job, *"abcde")
        assert statuses(world, job, "abcde") == ["scheduled", "scheduled", "queued", "queued", "queued"]
        world.advance("1 hour")
        assert statuses(world, job, "abcde") == ["done", "done", "scheduled", "scheduled", "queued"]
        world.advance("1 hour")
        assert statuses(world, job, "abcde") == ["done", "done", "done", "done", "scheduled"]
        world.advance("1 hour")
        assert statuses(world, job, "abcde") == ["done"] * 5


def test_a_start_says_that_it_waits_and_is_stored() -> None:
    job = imports(1)
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        world.run(jobs.start("a", 1))
        assert world.run(jobs.start("b", 2)).status == "queued"
        world.crash()
        world.open()
        world.settle()
        assert statuses(world, job, "ab") == ["scheduled", "queued"]
        assert [one.address.id for one in world.run(world.jobs.list(job, status="queued")).instances] == ["b"]
        world.advance("2 hours")
        assert world.run(world.handle(job).outcome("b")) == Done(value=2)


def test_a_queued_start_receives_signals_and_keeps_its_turn() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a", "b", "c")
        world.advance("1 minute")
        sent = world.run(jobs.signal("b", GO, 7))
        assert (sent.accepted, sent.status) == (True, "queued")
        assert world.run(jobs.query("b", STATE, None)) == 1
        world.advance("1 minute")
        world.run(jobs.signal("a", GO, 5))
        world.settle()
        assert statuses(world, job, "abc") == ["done", "done", "idle"]
        assert world.run(jobs.outcome("b")) == Done(value=7)


def test_a_queued_start_is_cancelled_without_a_place_and_deleted() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, *"abcd")
        world.run(jobs.cancel("b", "not needed"))
        world.run(jobs.terminate("c"))
        world.settle()
        assert world.run(jobs.outcome("b")) == WasCancelled(reason="not needed")
        assert statuses(world, job, "acd") == ["idle", "not_found", "queued"]
        world.run(jobs.terminate("a"))
        world.settle()
        assert statuses(world, job, "d") == ["idle"]


def test_a_paused_start_leaves_its_turn_to_the_next_one() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, *"abc")
        world.run(jobs.pause("b"))
        world.run(jobs.signal("a", GO, 1))
        world.settle()
        assert statuses(world, job, "abc") == ["done", "paused", "idle"]
        world.run(jobs.resume("b"))
        world.settle()
        assert statuses(world, job, "b") == ["queued"]
        world.run(jobs.signal("c", GO, 1))
        world.settle()
        assert statuses(world, job, "b") == ["idle"]


def test_a_paused_instance_keeps_its_place() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a", "b")
        world.run(jobs.pause("a"))
        world.advance("1 day")
        assert statuses(world, job, "ab") == ["paused", "queued"]


def test_a_start_with_a_time_waits_for_its_time_and_then_for_its_place() -> None:
    job = imports(1)
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        world.run(jobs.start("later", 1, after="30 minutes", within="90 minutes"))
        start(world, job, "a")
        assert statuses(world, job, ["later", "a"]) == ["scheduled", "scheduled"]
        world.advance("31 minutes")
        assert statuses(world, job, ["later", "a"]) == ["queued", "scheduled"]
        world.advance("30 minutes")
        assert statuses(world, job, ["later", "a"]) == ["scheduled", "done"]
        world.advance("1 hour")
        assert statuses(world, job, ["later"]) == ["done"]


def test_the_deadline_of_a_start_counts_from_its_beginning() -> None:
    job = imports(1)
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a")
        world.run(jobs.start("long", 1, within="61 minutes"))
        world.run(jobs.start("short", 1, within="59 minutes"))
        world.advance("3 hours")
        assert world.run(jobs.outcome("long")) == Done(value=1)
        assert isinstance(world.run(jobs.outcome("short")), DeadlinePassed)


def test_a_signal_that_starts_again_waits_for_a_place_too() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a")
        assert world.run(jobs.signal_with_start("b", GO, 2, 1)).status == "queued"
        world.run(jobs.signal("a", GO, 1))
        world.settle()
        assert statuses(world, job, "ab") == ["done", "done"]
        start(world, job, "c")
        assert world.run(jobs.signal_with_start("a", GO, 3, 1, if_ended="start")).status == "queued"
        world.run(jobs.cancel("c"))
        world.settle()
        assert world.run(jobs.outcome("a")) == Done(value=3)


def test_a_fork_waits_for_a_place_too() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a")
        assert world.run(jobs.fork("b", "a")).status == "queued"
        world.run(jobs.cancel("a"))
        world.settle()
        assert statuses(world, job, "b") == ["idle"]


def test_a_place_that_ended_before_the_opening_is_free() -> None:
    """An engine that dies right after it stored an end has written no place."""
    job = imports(1)
    with World(App(None).with_jobs(job)) as world:
        start(world, job, "a", "b")
        world.run(world.handle(job).hold())
        world.run(world.handle(job).terminate("a"))
        world.crash()
        world.open()
        world.run(world.handle(job).release())
        world.settle()
        assert statuses(world, job, "b") == ["scheduled"]


def test_a_place_begins_only_the_start_that_got_it() -> None:
    job = asked()
    with World(App(None).with_jobs(job)) as world:
        start(world, job, "a", "b")
        row = world.instance(job, "b")
        assert row is not None
        begun = Request(command=AlarmDue("the run of an earlier start"), action="alarm")
        inputs = TurnInputs(now_ms=row.updated_ms, jitter=0.5, id_base=1, epoch=1)
        step = job.begin(row.address, row, begun, inputs)
        assert isinstance(step, Commit)
        assert isinstance(step.transition.write, KeepInstance)


child = imports(1)


@program
def parenting(ctx: WorkflowContext[int]) -> Do[int, Any]:
    return sum((yield from gather(child.call(f"{ctx.id}1", 1), child.call(f"{ctx.id}2", 2))))


def test_children_in_a_limited_job_wait_and_the_parent_gets_both() -> None:
    job = Workflow("parents", state=int, run=parenting, result=int)
    with World(App(None).with_jobs(job, child)) as world:
        world.run(world.handle(job).start("p", 1))
        world.settle()
        assert sorted(statuses(world, child, ["p1", "p2"])) == ["queued", "scheduled"]
        world.advance("2 hours")
        assert world.run(world.handle(job).outcome("p")) == Done(value=3)


def test_an_instance_of_a_limited_job_that_waits_for_its_own_kind_is_named() -> None:
    @program
    def nested(ctx: WorkflowContext[int]) -> Do[int, Any]:
        return (yield from job.call("inner", 1)) if ctx.id == "outer" else 1

    job: Workflow[int, int] = Workflow("nested", state=int, run=nested, concurrency=1, result=int)
    with World(App(None).with_jobs(job)) as world:
        start(world, job, "outer")
        found = world.instance(job, "inner")
        assert found is not None
        fields = {field.label: field.value for field in job.display_fields_of(found)}
        assert fields["waits for"] == "its place: at most 1 are under way, and its parent is one of them"


def test_a_lower_number_waits_for_ends_and_a_higher_one_begins_more() -> None:
    three, one, two = imports(3), imports(1), imports(2)
    with World(App(None).with_jobs(three)) as world:
        start(world, three, *"abcdef")
        world.crash()
        world.open(App(None).with_jobs(one))
        world.settle()
        assert statuses(world, one, "abcdef") == ["scheduled"] * 3 + ["queued"] * 3
        world.advance("1 hour")
        assert statuses(world, one, "abcdef") == ["done"] * 3 + ["scheduled"] + ["queued"] * 2
        world.crash()
        world.open(App(None).with_jobs(two))
        world.settle()
        assert statuses(world, two, "def") == ["scheduled"] * 2 + ["queued"]


@pytest.mark.parametrize("most", [1, 2])
def test_a_limit_counts_instances_that_began_without_one(most: int) -> None:
    free, job = imports(None), imports(most)
    with World(App(None).with_jobs(free)) as world:
        start(world, free, *"ab")
        world.run(world.handle(free).start("later", 1, after="1 day"))
        world.crash()
        world.open(App(None).with_jobs(job))
        start(world, job, "c")
        assert statuses(world, job, "abc") == ["scheduled", "scheduled", "queued"]
        world.advance("1 hour")
        assert statuses(world, job, "abc") == ["done", "done", "scheduled"]


def test_code_without_the_limit_begins_the_queued_starts() -> None:
    job, free = imports(1), imports(None)
    with World(App(None).with_jobs(job)) as world:
        start(world, job, *"abc")
        world.crash()
        world.open(App(None).with_jobs(free))
        world.settle()
        assert statuses(world, free, "abc") == ["scheduled"] * 3


def test_a_held_job_begins_no_queued_start() -> None:
    job = imports(1)
    with World(App(None).with_jobs(job)) as world:
        jobs = world.handle(job)
        start(world, job, "a", "b")
        world.run(jobs.hold())
        world.advance("2 hours")
        assert statuses(world, job, "ab") == ["scheduled", "queued"]
        world.run(jobs.release())
        world.advance("2 hours")
        assert statuses(world, job, "ab") == ["done", "done"]


def test_engines_share_the_places_and_take_over_those_of_a_dead_one() -> None:
    job = Workflow("brief", state=int, run=brief, concurrency=2)
    with Cluster(App(None).with_jobs(job), seed=1) as cluster:
        engines = [cluster.open() for _ in range(3)]
        for number in range(6):
            cluster.run_on(engines[number % 3], lambda client, n=number: client.handle(job).start(f"i{n}", 1))
        cluster.advance("2 seconds")
        assert [row.status for row in cluster.instances()].count("scheduled") == 2
        engines[0].crash()
        cluster.advance("20 seconds")
        assert sorted(row.status for row in cluster.instances()) == ["done"] * 2 + ["queued"] * 2 + ["scheduled"] * 2


@pytest.mark.parametrize("wrong", [0, 1_001, True, "2", 1.5])
def test_a_number_out_of_range_is_refused(wrong: Any) -> None:
    with pytest.raises(
        DefinitionError, match="concurrency of workflow:imports: expected a whole number from 1 to 1000"
    ):
        imports(wrong)


def test_the_greatest_number_is_accepted() -> None:
    assert imports(1_000).concurrency == 1_000
