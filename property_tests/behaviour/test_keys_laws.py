"""Idempotency against a table of keys: a keyed request is applied once within its window, and refused where it must.

A busy instance keeps the keys of one day: the profile `nightly` sends it a million in each of two days.
"""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Add, Total, app, machine, steps
from returns.result import Failure, Success
from world import World, play

from perdure import App, Decision, Limits, Task
from perdure.testing import Clock
from perdure.testing import World as TheWorld
from perdure.values.errors import AnswerNotKept, IdempotencyConflict, Overloaded

WINDOW_MS = 1_000
ROOM = 3
ANSWERS = 2

FORGET = 0
"""The amount that stands for a key that an operator clears."""

requests = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from("klmn"),
    st.integers(FORGET, 2),
    st.one_of(st.integers(0, 1_500), st.sampled_from([WINDOW_MS - 1, WINDOW_MS, 0])),
)


@given(st.lists(requests, max_size=12))
@example([("a", "k", 1, 0), ("a", "k", 1, WINDOW_MS)])
@example([("a", "k", 1, 0), ("a", "k", 1, WINDOW_MS - 1)])
@example([("a", "k", 1, 0), ("a", "k", 2, 0)])
@example([("a", "k", 1, 0), ("a", "l", 1, 0), ("a", "m", 1, 0), ("a", "n", 1, 0)])
@example([("a", "k", 1, 0), ("a", "l", 1, 0), ("a", "m", 1, 0), ("a", "k", 1, 0), ("a", "l", 1, 0)])
@example([("b", "k", 1, 0), ("b", "l", 1, 0), ("a", "k", 2, 0)])
@example([("a", "k", 1, 0), ("a", "k", FORGET, 0), ("a", "k", 2, 0), ("a", "k", 2, 0)])
@example([("a", "k", 1, 0), ("a", "l", FORGET, 0), ("b", "k", FORGET, 0), ("a", "k", 1, 0)])
@example([("a", "k", 1, 0), ("a", "k", FORGET, WINDOW_MS), ("a", "k", 1, 0)])
def test_a_key_is_applied_once_within_its_window(given_requests):
    """A repeat within the window changes nothing, also without its answer; another request conflicts, and each address
    has its own keys, which count until they are deleted. A key that is cleared is a new one, and no other key is."""

    async def scenario(world: World) -> None:
        limits = {"keys_per_address": ROOM, "answers_per_address": ANSWERS}
        client = await world.open(app(world.outside, idempotency_ttl=f"{WINDOW_MS} ms", **limits))
        jobs = client.handle(machine)
        tables: dict[str, dict[str, tuple[int, int]]] = {"a": {}, "b": {}}  # the amount, and when it is forgotten
        full: dict[str, list[bool]] = {"a": [], "b": []}  # of each key in the order of first use: has it an answer?
        totals = {"a": 0, "b": 0}
        for id_, key, amount, later_ms in given_requests:
            await world.advance(ms=later_ms)
            table, answers = tables[id_], full[id_]
            place = list(table).index(key) if key in table else len(table)
            is_live = key in table and world.now_ms < table[key][1]
            if amount == FORGET:
                forgotten = await world.run(client.forget_key(machine, id_, key))
                assert forgotten == ("forgotten" if is_live else "not_found")
                table.update({key: (FORGET, 0)} if is_live else {})
                continue
            answer = await world.attempt(jobs.send(id_, steps(Add(amount)), idempotency_key=key))
            if is_live and table[key][0] != amount:
                assert isinstance(answer.failure(), IdempotencyConflict)
            elif is_live and not answers[place]:
                assert isinstance(answer.failure(), AnswerNotKept)
            elif not is_live and len(table) == ROOM:
                assert isinstance(answer.failure(), Overloaded)
            elif not is_live:
                answers[place:] = [True, *answers[place + 1 :]]
                if place >= ANSWERS:
                    answers[place - ANSWERS] = False
                table[key] = amount, world.now_ms + WINDOW_MS
                totals[id_] += amount
                assert isinstance(answer, Success)
            else:
                assert isinstance(answer, Success)
            for each, total in totals.items():
                assert (await world.run(jobs.get_state(each)) or Total()).total == total

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- a busy instance
NIGHTLY = settings.get_current_profile_name() == "nightly"
SHIFTS, REQUESTS = (24, 1_000_000 // 24 + 1) if NIGHTLY else (3, 200)
"""The parts of a day, and how many keyed requests one instance receives in each."""

LIMITS = Limits() if NIGHTLY else Limits(answers_per_address=40, keys_per_address=5 * REQUESTS)
TOGETHER = 500 if NIGHTLY else 20
"""Requests of one moment."""

counter = Task(
    "counter",
    state=int,
    event=int,
    initial=0,
    decide=lambda total, event: Success(Decision(total + event)),
)


@frozen
class Day:
    """The store after a day.

    Attributes:
        keys: rows of keys.
        answers: those that have their answers.
        used: bytes of the file that are in use.
    """

    keys: int
    answers: int
    used: int


def day_after(path: Path) -> Day:
    """Read the store of an engine that has ended."""
    with closing(sqlite3.connect(path)) as file:
        ((keys, answers),) = file.execute("SELECT count(*), sum(answer != '') FROM keys")
        pages, free, size = (
            file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
    return Day(keys, answers, (pages - free) * size)


def one_shift(path: Path, clock: Clock, shift: int) -> None:
    """Send the keyed requests of a shift, and repeat the newest one and one whose answer is no longer kept."""
    with TheWorld(App(None, limits=LIMITS).with_jobs(counter), store=path, clock=clock, requests="grouped") as world:
        handle = world.handle(counter)
        keys = [f"webhook {shift} {number}" for number in range(REQUESTS)]
        moments = range(0, REQUESTS, TOGETHER)
        for first in moments:
            sends = [handle.send("busy", 1, idempotency_key=key) for key in keys[first : first + TOGETHER]]
            assert [each for each in world.concurrently(*sends) if isinstance(each, Failure)] == []
            world.advance(timedelta(days=1) / SHIFTS / len(moments))
        assert isinstance(world.attempt(handle.send("busy", 1, idempotency_key=keys[-1])), Success)
        late = world.attempt(handle.send("busy", 1, idempotency_key=keys[0]))
        assert isinstance(late, Failure)
        assert isinstance(late.failure(), AnswerNotKept)
        assert world.run(handle.get_state("busy")) == (shift + 1) * REQUESTS, "each request is applied once"


def test_a_busy_instance_keeps_the_keys_of_one_day(tmp_path: Path) -> None:
    """No request is refused, and neither the rows nor the bytes grow with the second day."""
    path, clock, days = tmp_path / "jobs.db", Clock(), list[Day]()
    for shift in range(2 * SHIFTS):
        one_shift(path, clock, shift)
        if shift % SHIFTS == SHIFTS - 1:
            days.append(day_after(path))
    for day in days:
        assert (SHIFTS - 1) * REQUESTS <= day.keys <= (SHIFTS + 1) * REQUESTS, "the keys of a day, and no older ones"
        assert day.answers == LIMITS.answers_per_address
    assert days[1].used <= 1.1 * days[0].used
