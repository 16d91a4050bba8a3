"""The legal states of an instance cell: each world of the testing kit asserts them before each step."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from machine import Add, OnAlarm, Say, machine, steps
from mailbag import Letter, mailbag
from returns.result import Success
from world import World, on_each_store

from perdure import App
from perdure.client.local_gateway import engine_of
from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cell import EngineRun, InstanceCell, PendingCommit
from perdure.engine.pending_work import CELL_RULES, broken_cell_rule
from perdure.engine.runs.run_executor import RUN_RULES
from perdure.jobs.request import RECOVER
from perdure.jobs.transitions import nothing
from perdure.runtime.simulated import Simulation
from perdure.testing.world.errors import EngineInIllegalState
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import Decoded

SIMULATION = Simulation()


def an_entry(**fields: Any) -> MailboxEntry:
    return MailboxEntry(RECOVER, SIMULATION.runtime.future(), **fields)


def a_commit(cell: InstanceCell, *entries: MailboxEntry) -> PendingCommit:
    commit: Any = None
    return PendingCommit(
        nothing(cell.address), cell, Loaded(), None, lambda _, __: None, [(entry, commit) for entry in entries]
    )


def a_run(cell: InstanceCell, entry: MailboxEntry, **fields: Any) -> EngineRun:
    claim: Any = SimpleNamespace(run_id="run")
    execute: Any = SimpleNamespace(claim=claim, claimed="recorded")
    fields = {"slot": "held", "task": object(), "state": "running"} | fields
    return EngineRun(cell, entry, execute, "beside_others", **fields)


def idle(cell: InstanceCell) -> None:
    pass


def committing(cell: InstanceCell) -> None:
    cell.pending = a_commit(cell, an_entry())
    cell.put(an_entry(), "tail")


def reading(cell: InstanceCell) -> None:
    cell.state, cell.undecided = "busy", an_entry()


def running(cell: InstanceCell) -> None:
    cell.state, cell.served, cell.running = "busy", (an_entry(),), ("run",)
    cell.run = a_run(cell, cell.served[0])
    cell.runs, cell.deferred = (cell.run,), (an_entry(),)


def in_the_background(cell: InstanceCell) -> None:
    cell.served, cell.running = (an_entry(),), ("run",)
    cell.background = a_run(cell, cell.served[0], place="background", beside=True)
    cell.runs = (cell.background,)


@pytest.mark.parametrize("state", [idle, committing, reading, running, in_the_background])
def test_the_states_of_the_table_are_legal(state: Callable[[InstanceCell], None]) -> None:
    cell = InstanceCell(machine.address("a"), machine)
    state(cell)
    assert broken_cell_rule(cell) is None


def busy_without_a_turn(cell: InstanceCell) -> None:
    cell.state = "busy"


def idle_with_a_run(cell: InstanceCell) -> None:
    running(cell)
    cell.state = "idle"


def a_run_without_a_request(cell: InstanceCell) -> None:
    reading(cell)
    cell.run = a_run(cell, an_entry())


def forgotten_requests(cell: InstanceCell) -> None:
    cell.put(an_entry(), "tail")


def a_commit_of_no_turn(cell: InstanceCell) -> None:
    cell.pending = a_commit(cell)


def a_program_on_a_pending_commit(cell: InstanceCell) -> None:
    running(cell)
    cell.pending = a_commit(cell, an_entry())


def two_programs(cell: InstanceCell) -> None:
    in_the_background(cell)
    cell.runs *= 2


def an_abandoned_claim(cell: InstanceCell) -> None:
    cell.running = ("run",)


def deferred_for_ever(cell: InstanceCell) -> None:
    cell.deferred = (an_entry(),)


def answered_twice(cell: InstanceCell) -> None:
    committing(cell)
    cell.waiting *= 2


def a_state_of_no_row(cell: InstanceCell) -> None:
    cell.decoded = Decoded("1", 1)


def an_uncounted_row(cell: InstanceCell) -> None:
    cell.weight = 1


def an_empty_queue_that_is_kept(cell: InstanceCell) -> None:
    forgotten_requests(cell)
    cell.waiting.clear()


BROKEN = (
    idle_with_a_run,
    busy_without_a_turn,
    a_run_without_a_request,
    forgotten_requests,
    a_commit_of_no_turn,
    a_program_on_a_pending_commit,
    two_programs,
    an_abandoned_claim,
    deferred_for_ever,
    answered_twice,
    a_state_of_no_row,
    an_uncounted_row,
    an_empty_queue_that_is_kept,
)


@pytest.mark.parametrize(("broken", "rule"), list(zip(BROKEN, CELL_RULES, strict=True)))
def test_each_rule_forbids_a_state(broken: Callable[[InstanceCell], None], rule: tuple[str, Any]) -> None:
    cell = InstanceCell(machine.address("a"), machine)
    broken(cell)
    assert broken_cell_rule(cell) == rule[0], cell.summary


def waiting_for_its_turn(cell: InstanceCell) -> None:
    end = an_entry(is_end=True)
    cell.state, cell.undecided, cell.running = "busy", an_entry(), ("run",)
    cell.put(end, "head")
    cell.background = a_run(cell, end, beside=True, state="finishing", slot="none", task=None)


def committing_its_end(cell: InstanceCell) -> None:
    cell.state, cell.served, cell.running = "busy", (an_entry(),), ("run",)
    cell.run = a_run(cell, cell.served[0], state="committing", task=None)


@pytest.mark.parametrize("state", [waiting_for_its_turn, committing_its_end])
def test_a_run_that_has_ended_is_legal_until_its_end_is_stored(state: Callable[[InstanceCell], None]) -> None:
    cell = InstanceCell(machine.address("a"), machine)
    state(cell)
    assert broken_cell_rule(cell) is None


def over(run: EngineRun) -> None:
    run.state = "over"


def in_no_place(run: EngineRun) -> None:
    run.beside = True


def without_its_request(run: EngineRun) -> None:
    run.entry = an_entry()


def beside_the_mailbox_while_it_commits(run: EngineRun) -> None:
    cell = run.cell
    run.beside, run.place, run.state, run.task = True, "background", "finishing", None
    cell.run, cell.background, cell.runs, cell.state, cell.deferred = None, run, (), "idle", ()


def still_waiting_for_its_slot(run: EngineRun) -> None:
    run.slot = "needed"


def without_its_claim(run: EngineRun) -> None:
    run.cell.running, run.state, run.task = (), "committing", None
    run.cell.runs = run.cell.deferred = ()


def performing_after_its_end(run: EngineRun) -> None:
    run.state = "committing"


def with_an_answer_that_never_comes(run: EngineRun) -> None:
    run.claim_answer = SIMULATION.runtime.future()


def with_the_exit_of_another(run: EngineRun) -> None:
    run.exit_ = Success(None)


ILLEGAL = (
    over,
    in_no_place,
    without_its_request,
    beside_the_mailbox_while_it_commits,
    still_waiting_for_its_slot,
    without_its_claim,
    performing_after_its_end,
    with_an_answer_that_never_comes,
    with_the_exit_of_another,
)


@pytest.mark.parametrize(("illegal", "rule"), list(zip(ILLEGAL, RUN_RULES, strict=True)))
def test_each_rule_of_a_run_forbids_a_state(illegal: Callable[[EngineRun], None], rule: tuple[str, Any]) -> None:
    cell = InstanceCell(machine.address("a"), machine)
    running(cell)
    assert cell.run is not None
    illegal(cell.run)
    assert broken_cell_rule(cell) == rule[0], cell.summary


@on_each_store
async def test_a_world_reports_a_cell_that_is_busy_with_nothing(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(machine))
    await world.run(jobs.handle(machine).send("a", steps(Add())))
    cell = engine_of(jobs).cache.get(machine.address("a"))
    assert cell is not None
    cell.state = "busy"
    with pytest.raises(EngineInIllegalState, match=r"a busy cell serves a request.*task:machine:a is busy, with noth"):
        await world.settle()
    cell.state = "idle"


@on_each_store
async def test_turns_of_each_kind_keep_the_rules(world: World) -> None:
    bag = mailbag()
    jobs = await world.open(App(world.outside).with_jobs(machine, bag))
    calls, bags = jobs.handle(machine), jobs.handle(bag)
    answers = await world.all(
        calls.send("a", steps(Add())),
        calls.send("a", steps(Say("w"))),
        calls.send("a", steps(Add())),
        calls.send("b", OnAlarm(0, (Say("x"),))),
        calls.send("c", OnAlarm(10, (Say("y"),))),
        bags.add("d", Letter("1")),
        bags.add("d", Letter("2")),
        bags.flush("d"),
        bags.add("d", Letter("3")),
    )
    assert all(isinstance(answer, Success) for answer in answers), answers
    await world.advance(minutes=2)
    assert engine_of(jobs).in_flight().is_empty
