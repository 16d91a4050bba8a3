"""A parent whose child is parked says so, and waits for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from flows import Flow, act
from returns.future import FutureResult

from perdure import App, Backoff, Defect, Do, Retry, Workflow, WorkflowContext, effect, program
from perdure.kinds.workflow.header import CancelRequest, Ended, FailingStep, Header, ParkedChild, Wait, written
from perdure.programs import gather, sleep
from perdure.testing import Crash, WorkerDied, World
from perdure.values.answer import Done, WasCancelled
from perdure.values.event import JobNoted
from perdure.values.instance import Instance
from perdure.values.outcome import Failed
from perdure.values.status import FailureRecord

FAILED = FailureRecord(form="defect", error_type="ValueError", message="no")
STORES = ["memory://", "sqlite"]


def url(store: str, folder: Path) -> str | Path:
    return store if store == "memory://" else folder / "jobs.db"


@attrs.define
class Bench:
    """Raises while it is broken."""

    broken: bool = True


@effect
def build(bench: Bench, number: int) -> FutureResult[int, str]:
    if bench.broken:
        raise RuntimeError("the bench is broken")
    return FutureResult.from_value(number * 2)


@program
def building(ctx: WorkflowContext[int]) -> Do[int, str, Bench]:
    number = yield from ctx.state
    yield from sleep("1 minute")
    return (yield from build(number))


@program
def acting_first(ctx: WorkflowContext[int]) -> Do[int, str, Bench]:
    number = yield from ctx.state
    yield from act(number)
    return (yield from build(number))


@program
def ordering(ctx: WorkflowContext[int]) -> Do[int, str | Defect]:
    count = yield from ctx.state
    return sum((yield from gather(*[child.call(f"c{number}", number) for number in range(1, count + 1)])))


def builder(run: Any = building) -> Flow:
    return Workflow("builder", state=int, run=run, keep=None, retry_defects=Retry(2, Backoff.constant("1 second")))


child: Flow = builder()
parent: Flow = Workflow("parent", state=int, run=ordering, keep=None)


def parked(world: World, id_: str = "p") -> tuple[str | None, list[str], list[str]]:
    """Return the phase of a parent, its parked children as facts, and as steps."""
    instance = world.instance(parent, id_)
    assert instance is not None
    facts = [str(fact.value) for fact in parent.display_fields_of(instance) if fact.label == "parked child"]
    steps = [step.name for step in world.run(world.handle(parent).steps(id_)) if step.status == "parked"]
    return world.run(world.handle(parent).status(id_)).phase, facts, steps


def notes(world: World, id_: str = "p") -> list[tuple[str, str]]:
    """Return the events of its own that a parent recorded, the oldest first."""
    oldest_first = reversed(world.history(parent, id_))
    return [(each.name, each.data) for each in oldest_first if isinstance(each, JobNoted)]


def note(word: str, reason: str) -> tuple[str, str]:
    return f"child.{word}", f'{{"child":"workflow:builder:c1","reason":"{reason}"}}'


def next_worker(world: World) -> None:
    """Open the next worker if none is open, and let two minutes pass."""
    if not world.is_open:
        world.open()
    world.advance("2 minutes")


NOTHING: tuple[str | None, list[str], list[str]] = (None, [], [])


@pytest.mark.parametrize("store", STORES)
def test_a_parent_shows_a_child_that_is_parked_and_waits_for_its_resumption(store: str, tmp_path: Path) -> None:
    bench = Bench()
    with World(App(bench).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        world.run(world.handle(parent).start("p", 1))
        world.advance("30 seconds")
        assert (parked(world), notes(world)) == (NOTHING, [])
        world.advance("1 minute")
        fact = "workflow:builder:c1, retries_exhausted"
        assert parked(world) == ("child_parked", [fact], ["child builder:c1"])
        assert notes(world) == [note("parked", "retries_exhausted")]
        bench.broken = False
        world.run(world.handle(child).resume("c1"))
        world.advance("1 second")
        assert world.run(world.handle(parent).outcome("p")) == Done(value=2)
        assert parked(world) == ("done", [], [])
        assert notes(world) == [note("parked", "retries_exhausted"), note("resumed", "retries_exhausted")]


@pytest.mark.parametrize("store", STORES)
def test_a_parent_shows_a_child_whose_code_cannot_follow_its_journal(store: str, tmp_path: Path) -> None:
    with World(App(Bench(broken=False)).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        world.run(world.handle(parent).start("p", 1))
        world.advance("1 second")
        world.restart(App(Bench(broken=False)).with_jobs(parent, builder(acting_first)))
        world.advance("1 minute")
        fact = "workflow:builder:c1, left"
        assert parked(world) == ("child_parked", [fact], ["child builder:c1"])
        world.restart(App(Bench(broken=False)).with_jobs(parent, child))
        world.advance("1 second")
        assert world.run(world.handle(parent).outcome("p")) == Done(value=2)
        assert notes(world) == [note("parked", "left"), note("resumed", "left")]


@pytest.mark.parametrize("store", STORES)
def test_a_parent_shows_a_child_whose_step_killed_three_processes(store: str, tmp_path: Path) -> None:
    with World(App(Bench(broken=False)).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        world.inject(*(Crash("build", when="after", call=call) for call in (1, 2, 3)))
        world.run(world.handle(parent).start("p", 1))
        for _ in range(3):
            with pytest.raises(WorkerDied):
                next_worker(world)
        world.open()
        world.advance("1 second")
        fact = "workflow:builder:c1, recovery_exhausted"
        assert parked(world) == ("child_parked", [fact], ["child builder:c1"])
        world.run(world.handle(child).resume("c1"))
        world.advance("1 minute")
        assert world.run(world.handle(parent).outcome("p")) == Done(value=2)
        assert notes(world) == [note("parked", "recovery_exhausted"), note("resumed", "recovery_exhausted")]


@pytest.mark.parametrize("store", STORES)
def test_the_end_of_a_parked_child_is_no_longer_shown_by_its_parent(store: str, tmp_path: Path) -> None:
    with World(App(Bench()).with_jobs(parent, child), store=url(store, tmp_path)) as world:
        world.run(world.handle(parent).start("p", 2))
        world.advance("2 minutes")
        assert len(parked(world)[1]) == 2
        world.run(world.handle(parent).pause("p"))
        world.run(world.handle(child).terminate("c1", "given up"))
        world.advance("1 second")
        facts = ["workflow:builder:c2, retries_exhausted"]
        assert parked(world) == ("child_parked", facts, ["child builder:c2"])
        world.run(world.handle(parent).resume("p"))
        world.advance("1 second")
        outcome = world.run(world.handle(parent).outcome("p"))
        assert outcome == Failed(Defect("ChildCancelled", "given up"))
        assert parked(world)[1] == []


@pytest.mark.parametrize("store", STORES)
def test_a_parent_that_ended_or_is_gone_ignores_a_parked_child(store: str, tmp_path: Path) -> None:
    @program
    def leaving(ctx: WorkflowContext[int]) -> Do[int, str | Defect]:
        return (yield from child.call(f"c{(yield from ctx.state)}", 1, when_cancelled="leave"))

    leaver: Flow = Workflow("parent", state=int, run=leaving, keep=None)
    with World(App(Bench()).with_jobs(leaver, child), store=url(store, tmp_path)) as world:
        for id_, number in (("p", 1), ("gone", 2)):
            world.run(world.handle(leaver).start(id_, number))
        world.advance("1 second")
        world.run(world.handle(leaver).cancel("p", "why"))
        world.run(world.handle(leaver).terminate("gone", "why"))
        world.advance("2 minutes")
        assert world.run(world.handle(child).status("c1")).parked == "retries_exhausted"
        assert world.run(world.handle(leaver).outcome("p")) == WasCancelled(reason="why")
        assert (world.run(world.handle(leaver).status("p")).phase, notes(world)) == ("cancelled", [])
        assert world.run(world.handle(leaver).status("gone")).status == "not_found"


def test_a_paused_child_is_not_parked() -> None:
    with World(App(Bench(broken=False)).with_jobs(parent, child)) as world:
        world.run(world.handle(parent).start("p", 1))
        world.advance("1 second")
        world.run(world.handle(child).pause("c1"))
        world.advance("2 minutes")
        assert parked(world) == NOTHING
        world.run(world.handle(child).resume("c1"))
        world.advance("1 second")
        assert (world.run(world.handle(parent).outcome("p")), notes(world)) == (Done(value=2), [])


@pytest.mark.parametrize("count", [20, 21])
def test_a_parent_names_twenty_parked_children_and_records_all(count: int) -> None:
    with World(App(Bench()).with_jobs(parent, child)) as world:
        world.run(world.handle(parent).start("p", count))
        world.advance("2 minutes")
        assert (len(parked(world)[1]), len(notes(world))) == (20, count)


def facts_of(header: Header) -> list[tuple[str, str]]:
    data = written(header)
    row = Instance(address=parent.address("p"), created_ms=1, updated_ms=1, data=data, journal_length=1_234)
    return [(fact.label, str(fact.value)) for fact in parent.display_fields_of(row)]


def test_tools_show_why_a_workflow_waits_and_how_it_ended() -> None:
    """Nothing of a workflow that has just begun but the length of its journal."""
    begun = Header(run_id="r", started_ms=1)
    length = ("journal rows", "1,234")
    assert facts_of(begun) == [length]
    failing = FailingStep(path="1", name="pay", attempts=3, first_failed_ms=1, at_ms=None, error=FAILED)
    waits = attrs.evolve(
        begun,
        waits_for=(Wait(path="2", name="approval"), Wait(path="3", name="sleep", at_ms=5)),
        failing=(failing,),
        parked=(ParkedChild(path="4", address="workflow:builder:c", reason="retries_exhausted"),),
        waiting=1_000,
        cancel=CancelRequest(reason="enough"),
    )
    assert facts_of(waits) == [
        length,
        ("waits for", "approval, sleep"),
        ("failing step", "pay, attempt 3"),
        ("parked child", "workflow:builder:c, retries_exhausted"),
        ("signals not received", "1,000"),
        ("cancelled", "enough"),
    ]
    ended = attrs.evolve(begun, ended=Ended(form="done", value="3", at_ms=5))
    assert facts_of(ended) == [length, ("ended", "done"), ("value", "3")]
    failed = attrs.evolve(begun, ended=Ended(form="failed", value="{}", at_ms=5))
    assert facts_of(failed) == [length, ("ended", "failed")]


@program
def who_called(ctx: WorkflowContext[int]) -> Do[str]:
    if (yield from ctx.state) == 0:
        yield from ctx.start_over(1)
    return f"{ctx.id} of {ctx.parent}"


asked = Workflow("asked", state=int, run=who_called, keep=None)


@program
def calling(ctx: WorkflowContext[int]) -> Do[str, Defect]:
    yield from sleep("1 hour")
    return (yield from asked.call(f"{ctx.id}-child", 0))


caller = Workflow("caller", state=int, run=calling, keep=None)


def test_a_child_knows_its_parent_and_shows_it() -> None:
    """Also after it started over. A workflow that a caller started has none, nor has the fork of a child."""
    with World(App(None).with_jobs(asked, caller)) as world:
        child = world.handle(asked)
        world.run(world.handle(caller).start("p", 0))
        world.advance("1 hour")
        assert world.run(world.handle(caller).outcome("p")) == Done(value="p-child of workflow:caller:p")
        assert world.run(child.status("p-child")).parent == "workflow:caller:p"
        row = world.instance(asked, "p-child")
        assert row is not None
        assert ("parent", "workflow:caller:p") in [(one.label, one.value) for one in asked.display_fields_of(row)]
        assert world.run(child.start_and_wait("alone", 1)) == Done(value="alone of None")
        assert world.run(child.status("alone")).parent is None
