"""Idempotency against a table of keys: a keyed request is applied once within its window, and refused where it must."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from machine import Add, Total, app, machine, steps
from returns.result import Success
from world import World, play

from perdure.values.errors import AnswerNotKept, IdempotencyConflict, Overloaded

WINDOW_MS = 1_000
ROOM = 3
ANSWERS = 2

requests = st.tuples(
    st.sampled_from("ab"),
    st.sampled_from("klmn"),
    st.integers(1, 2),
    st.one_of(st.integers(0, 1_500), st.sampled_from([WINDOW_MS - 1, WINDOW_MS, 0])),
)


@given(st.lists(requests, max_size=12))
@example([("a", "k", 1, 0), ("a", "k", 1, WINDOW_MS)])
@example([("a", "k", 1, 0), ("a", "k", 1, WINDOW_MS - 1)])
@example([("a", "k", 1, 0), ("a", "k", 2, 0)])
@example([("a", "k", 1, 0), ("a", "l", 1, 0), ("a", "m", 1, 0), ("a", "n", 1, 0)])
@example([("a", "k", 1, 0), ("a", "l", 1, 0), ("a", "m", 1, 0), ("a", "k", 1, 0), ("a", "l", 1, 0)])
@example([("b", "k", 1, 0), ("b", "l", 1, 0), ("a", "k", 2, 0)])
def test_a_key_is_applied_once_within_its_window(given_requests):
    """A repeat within the window changes nothing, also without its answer; another request conflicts, and each address
    has its own keys, which count until they are deleted."""

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
