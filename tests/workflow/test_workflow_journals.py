"""The kit for journals: laws, replays after each step, recorded journals."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import pytest
from flow_apps import reordered
from flows import Approval, Order, Shop, act, approval, double, fulfilment, number
from hypothesis import Phase, settings
from hypothesis import strategies as st

from perdure import App, Do, Workflow, WorkflowContext, program
from perdure.cli.commands import run_command
from perdure.programs import asks, gather, race, sleep
from perdure.testing import InvariantViolated, JobLaws, World
from perdure.testing.journal import JournalBroken, check_journal, recorded_journals, replay_journal
from perdure.values.errors import InvalidInput

FEW = settings(max_examples=20, deadline=None)
UNSHRUNK = settings(FEW, phases=[Phase.generate])
"""To shrink a failure of a program that draws takes long, and the message is the same."""


# ---------------------------------------------------------------- the law
@program
def wide(ctx: WorkflowContext[int]) -> Do[int, str]:
    total = yield from ctx.state
    for turn in range(3):
        one, other = yield from gather(act(total), double(turn))
        total = yield from act(one + other)
        yield from ctx.set_state(total)
    won = yield from race(act(100), double(200))
    return won + total


@pytest.mark.parametrize("failures", ["drawn", "never"])
def test_every_prefix_of_a_journal_continues_to_the_same_end(failures: Any) -> None:
    """The answers of the services, and so the journals, are drawn."""
    job = Workflow("wide", state=int, run=wide, keep=None)
    check_journal(job, lambda flow: flow.start(5), failures=failures, settings=FEW)
    check_journal(fulfilment, lambda flow: flow.start(Order("book", 7)), failures=failures, settings=FEW)


def counting(numbers: Iterator[int]) -> Workflow[Any, Any, Any, Any]:
    """A workflow that changes a value of its own: each replay sees another one."""

    @program
    def counted(ctx: WorkflowContext[int]) -> Do[int, str]:
        yield from act(0)
        yield from act(next(numbers))
        return 1

    return Workflow("counted", state=int, run=counted, keep=None)


@attrs.frozen
class Configured:
    both: bool = True


def choosing() -> Workflow[Any, Any, Any, Any]:
    """A workflow that reads its services: a replay for a check has none, and another process has others."""

    @program
    def chosen(ctx: WorkflowContext[int]) -> Do[int, str, Any]:
        yield from act(0)
        if (yield from asks(lambda services: services.both)):
            yield from act(1)
        return (yield from act(2))

    return Workflow("chosen", state=int, run=chosen, keep=None)


def test_a_changing_value_is_reported_with_its_line() -> None:
    with pytest.raises(JournalBroken, match=r"test_workflow_journals\.py:\d+ in counted: step 1 act\(") as caught:
        check_journal(counting(count()), lambda flow: flow.start(5), failures="never", settings=FEW)
    assert "two replays wait for different steps" in str(caught.value)


@program
def clock_in_front(ctx: WorkflowContext[int]) -> Do[int, str]:
    return (yield from act(1 if datetime.now(UTC).year < 3000 else 2))


@program
def random_argument(ctx: WorkflowContext[int]) -> Do[int, str]:
    return (yield from act(uuid4().int))


@program
def clock_behind_a_signal(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from number.receive()
    if time.time() > 0:
        return (yield from act(given))
    return (yield from double(given))


@program
def random_behind_a_sleep(ctx: WorkflowContext[int]) -> Do[int, str]:
    yield from sleep("1 hour")
    if uuid4().int % 2:
        return (yield from act(1))
    return (yield from double(1))


@program
def random_behind_two_waits(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from number.receive()
    given = yield from act(given)
    yield from number.receive().timeout("1 hour").attempt()
    return (yield from act(given + random.randrange(1_000)))  # noqa: S311 - the mistake that is found


@program
def raised_by_a_value(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from number.receive()
    yield from gather(sleep("1 hour"), number.receive().timeout("2 hours").attempt())
    logging.getLogger("flow").info("received %s", given)  # a log record has the time: it decides nothing
    return (yield from act(given))


def flow_of(run: Any) -> Workflow[Any, Any, Any, Any]:
    return Workflow("planted", state=int, run=run, signals=(number,), keep=None)


@pytest.mark.parametrize(
    ("run", "called"),
    [
        (clock_in_front, "now"),
        (random_argument, "urandom"),
        (clock_behind_a_signal, "time"),
        (random_behind_a_sleep, "urandom"),
        (random_behind_two_waits, "getrandbits"),
    ],
)
def test_a_read_of_a_clock_or_of_randomness_is_found_wherever_it_is(run: Any, called: str) -> None:
    with pytest.raises(JournalBroken, match=rf"the program calls {called}\(\) at .*test_workflow_journals\.py:\d+"):
        check_journal(flow_of(run), lambda flow: flow.start(5), failures="never", settings=UNSHRUNK)


def test_a_program_that_reads_nothing_of_its_own_passes_behind_its_waits() -> None:
    received: list[object] = []

    @program
    def noting(ctx: WorkflowContext[int]) -> Do[int, str]:
        received.append((yield from number.receive()))
        return (yield from raised_by_a_value(ctx))

    check_journal(
        flow_of(noting),
        lambda flow: flow.start(5),
        signals={"number": st.integers(40, 50)},
        failures="never",
        settings=FEW,
    )
    assert received
    assert set(received) <= set(range(40, 51))


def test_the_laws_of_a_job_replay_its_journal_after_each_step() -> None:
    """A read of services is found in the world, where they are there when the program runs."""
    for job, services in ((counting(count()), Shop()), (choosing(), Configured())):
        with World(App(services).with_jobs(job)) as world:
            laws = JobLaws(world, job)
            world.run(world.handle(job).start("a", 1))
            with pytest.raises(InvariantViolated, match="a program follows its own journal"):
                laws.check()
    with World(App(Shop()).with_jobs(fulfilment)) as world:
        laws = JobLaws(world, fulfilment)
        world.run(world.handle(fulfilment).start("a", Order("book", 1)))
        laws.check()


# ---------------------------------------------------------------- recorded journals
@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    with World(App(Shop()).with_jobs(fulfilment), store=path) as world:
        flow = world.handle(fulfilment)
        world.run(flow.start("customer-7", Order("book", 100)))
        world.settle()
        world.run(flow.signal("customer-7", approval, Approval("ann")))
        world.settle()
        world.close()
    output = tmp_path / "rows.json"
    assert run_command(["snapshot", "--store", f"sqlite:///{path}", "--output", str(output)]) == 0
    return output


def test_a_recorded_journal_is_replayed_step_by_step(snapshot: Path) -> None:
    """At each position the kit knows the steps that the program waits for, and their lines: a debugger stops there."""
    (recorded,) = recorded_journals(fulfilment, snapshot)
    assert recorded.instance.address.id == "1"
    positions = list(replay_journal(fulfilment, recorded.instance, recorded.rows))
    assert [position.answered.name if position.answered else None for position in positions] == [
        "charge",
        "reserve",
        "signal approval",
        None,
    ]
    assert [position.number for position in positions] == [0, 1, 2, 3]
    assert positions[0].line is not None
    assert "flows.py" in positions[0].line
    assert positions[-1].waiting[0].name == "sleep"


def test_a_recorded_journal_refuses_other_code(snapshot: Path) -> None:
    (job,) = reordered.served.values()
    (recorded,) = recorded_journals(job, snapshot)
    with pytest.raises(InvalidInput, match="the journal holds 'charge', and the program performs 'reserve'"):
        list(replay_journal(job, recorded.instance, recorded.rows))
