"""A program that stays in memory between two runs continues only if the store holds its rows."""

from __future__ import annotations

import attrs
import pytest
from returns.future import FutureResult

from perdure import App, Do, Signal, Workflow, WorkflowContext, effect, program
from perdure.jobs.checkpoint import KeptPrograms
from perdure.kinds.workflow.header import Header
from perdure.kinds.workflow.journal import Row, body_of
from perdure.kinds.workflow.progress import LeftProgram
from perdure.kinds.workflow.waits import arrival
from perdure.runtime.record import Sizes
from perdure.testing import World
from perdure.testing.cluster import Cluster
from perdure.testing.cluster import with_sizes as with_cluster_sizes
from perdure.testing.world.world import with_sizes
from perdure.values.address import Address
from perdure.values.answer import Done

word = Signal("word", str)
SIZES = Sizes(replayed_rows=1)


@attrs.define
class Counting:
    """Counts how often a program begins from the top."""

    begun: int = 0


@effect
def shout(_: object, text: str) -> FutureResult[str, str]:
    return FutureResult.from_value(text.upper())


counting = Counting()


@program
def listening(ctx: WorkflowContext[int]) -> Do[str, str]:
    counting.begun += 1
    count = yield from ctx.state
    heard: list[str] = []
    for _ in range(count):
        text = yield from word.receive()
        heard.append((yield from shout(text)))
        yield from ctx.set_state(count)
    return "".join(heard)


job = Workflow("listening", state=int, run=listening, signals=(word,), keep=None)


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    counting.begun = 0


def test_a_program_is_begun_once_and_replayed_once() -> None:
    with with_sizes(World(App(None).with_jobs(job), debug=False), SIZES) as world:
        flow = world.handle(job)
        world.run(flow.start("w", 9))
        for text in "abcdefghi":
            world.run(flow.signal("w", word, text))
            world.advance("1 second")
        assert world.run(flow.outcome("w")) == Done(value="ABCDEFGHI")
    assert counting.begun == 2  # the second run replays: most programs end in their first


def test_a_short_program_is_replayed() -> None:
    with World(App(None).with_jobs(job), debug=False) as world:
        flow = world.handle(job)
        world.run(flow.start("w", 9))
        for text in "abcdefghi":
            world.run(flow.signal("w", word, text))
            world.advance("1 second")
    assert counting.begun == 10


def test_the_debug_mode_replays_each_run_so_that_it_sees_all_of_it() -> None:
    with with_sizes(World(App(None).with_jobs(job), debug=True), SIZES) as world:
        flow = world.handle(job)
        world.run(flow.start("w", 3))
        for text in "abc":
            world.run(flow.signal("w", word, text))
            world.advance("1 second")
    assert counting.begun == 4


def test_another_life_of_the_id_begins_from_the_top() -> None:
    with with_sizes(World(App(None).with_jobs(job), debug=False), SIZES) as world:
        flow = world.handle(job)
        world.run(flow.start("w", 9))
        for text in "abc":
            world.run(flow.signal("w", word, text))
            world.advance("1 second")
        world.run(flow.terminate("w"))
        world.run(flow.start("w", 2))
        for text in "xy":
            world.run(flow.signal("w", word, text))
            world.advance("1 second")
        assert world.run(flow.outcome("w")) == Done(value="XY")


def test_an_engine_continues_from_the_rows_of_another_one() -> None:
    with with_cluster_sizes(Cluster(App(None).with_jobs(job), debug=False), SIZES) as cluster:
        first, second = cluster.open(), cluster.open()
        cluster.run_on(first, lambda client: client.handle(job).start("w", 8))
        begun: list[int] = []
        for number, text in enumerate("abcdefgh"):  # the engine that accepts a signal runs the workflow
            engine = (first, second)[number // 2 % 2]
            cluster.run_on(engine, lambda client: client.handle(job).signal("w", word, text))  # noqa: B023
            cluster.advance("5 seconds")
            begun.append(counting.begun)
        outcome = cluster.run_on(first, lambda client: client.handle(job).outcome("w"))
    assert outcome == Done(value="ABCDEFGH")
    # Each has the program of its last run, and drops it if the other one has run it since.
    assert begun == [2, 2, 3, 3, 4, 4, 5, 5]


# ------------------------------------------------------------ the rows that the store must hold
HEADER = Header(run_id="r", started_ms=0)
OWN = (body_of(Row(path="0", name="a", form="done", at_ms=1, began_ms=1)),)
SIGNAL = body_of(arrival(1, "word", '"a"', 1, secret=False))
LEFT = LeftProgram(header=HEADER, state="1", bodies=OWN, place=6)


def test_rows_that_others_appended_are_the_news() -> None:
    arrived = attrs.evolve(HEADER, signals=2, waiting=2)
    assert LEFT.arrived(arrived, "1", 5, [SIGNAL, *OWN, SIGNAL]) == [SIGNAL, SIGNAL]
    assert LEFT.arrived(HEADER, "1", 6, list(OWN)) == []


@pytest.mark.parametrize(
    ("header", "state", "rows"),
    [
        (HEADER, "1", []),  # the commit of its end was refused
        (HEADER, "1", [SIGNAL]),
        (HEADER, "1", [*OWN, *OWN]),  # another engine has run it since
        (HEADER, "2", list(OWN)),  # an operator has changed its state
        (attrs.evolve(HEADER, run_id="s"), "1", list(OWN)),  # it has started over
        (attrs.evolve(HEADER, logged=1), "1", list(OWN)),
        (attrs.evolve(HEADER, skips=1), "1", list(OWN)),
    ],
)
def test_a_program_is_not_continued_if_the_store_holds_anything_else(
    header: Header, state: str, rows: list[str]
) -> None:
    assert LEFT.arrived(header, state, 6, rows) is None


# ------------------------------------------------------------ the bound
@attrs.define(eq=False)
class Kept:
    state: str = "open"

    def close(self) -> None:
        self.state = "closed"


class Broken(Kept):
    def close(self) -> None:
        raise ValueError("a finalizer of the program")


def at(number: int) -> Address:
    return Address("workflow", "w", str(number))


def test_programs_stay_within_the_bound_and_the_one_kept_longest_is_closed() -> None:
    programs, kept = KeptPrograms(max_rows=10, min_rows=2), [Kept() for _ in range(5)]
    assert not programs.keep(at(0), kept[0], 1)
    assert not programs.keep(at(0), kept[0], 11)
    assert programs.keep(at(1), kept[1], 2)
    assert programs.keep(at(2), kept[2], 8)
    assert [each.state for each in kept] == ["open"] * 5
    assert programs.keep(at(3), kept[3], 2)
    assert [each.state for each in kept] == ["open", "closed", "open", "open", "open"]
    assert programs.take(at(1)) is None
    assert programs.take(at(2)) is kept[2]
    assert programs.rows == 2
    assert programs.keep(at(3), kept[4], 10)
    assert kept[3].state == "closed"
    programs.close()
    assert kept[4].state == "closed"
    assert (programs.rows, programs.keep(at(3), kept[3], 2)) == (0, False)


def test_a_finalizer_that_raises_ends_no_run_of_another_instance() -> None:
    programs = KeptPrograms(max_rows=2, min_rows=2)
    programs.keep(at(1), Broken(), 2)
    assert programs.keep(at(2), Kept(), 2)
