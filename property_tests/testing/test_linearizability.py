"""The checker of histories agrees with a search through all orders, and knows the classic good and bad histories."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from perdure.testing.linearizability import (
    UNKNOWN,
    NotLinearizable,
    TimedCall,
    TooManyOrders,
    check_linearizable,
)


def register(state: int, asked: tuple[str, int]) -> tuple[int, int | None]:
    """A register: a write has no answer, a swap has the value before, a read has the value."""
    match asked:
        case ("write", value):
            return value, None
        case ("swap", value):
            return value, state
        case _:
            return state, state


def call(asked: str, value: int, at: float, until: float | None, answer: Any = None, of: str = "a") -> TimedCall:
    return TimedCall(of=of, asked=(asked, value), called_at=at, answered_at=until, answer=answer)


def is_linearizable(calls: list[TimedCall]) -> bool:
    try:
        check_linearizable(calls, initial=0, apply=register)
    except NotLinearizable:
        return False
    return True


def is_explained(calls: list[TimedCall]) -> bool:
    """Try every order of every choice of calls that contains the answered ones."""
    answered = [one for one in calls if one.answered_at is not None]
    open_ = [one for one in calls if one.answered_at is None]
    for chosen in range(1 << len(open_)):
        part = answered + [one for number, one in enumerate(open_) if chosen >> number & 1]
        if any(_explains(order) for order in permutations(part)):
            return True
    return False


def _explains(order: tuple[TimedCall, ...]) -> bool:
    state = 0
    for number, one in enumerate(order):
        if any(later.answered_at is not None and later.answered_at < one.called_at for later in order[number + 1 :]):
            return False
        state, answer = register(state, one.asked)
        if one.answered_at is not None and one.answer is not UNKNOWN and answer != one.answer:
            return False
    return True


@st.composite
def histories(draw: st.DrawFn) -> list[TimedCall]:
    """Draw up to five calls of a register, some without an answer."""
    calls = list[TimedCall]()
    for _ in range(draw(st.integers(1, 5))):
        asked = draw(st.sampled_from(["write", "read", "swap"]))
        began, lasts = draw(st.integers(0, 8)), draw(st.none() | st.integers(0, 5))
        answers = st.none() if asked == "write" else st.integers(0, 2) | st.just(UNKNOWN)
        until = None if lasts is None else began + lasts
        calls.append(call(asked, draw(st.integers(1, 2)), began, until, draw(answers)))
    return calls


@given(histories())
def test_the_verdict_is_that_of_a_search_through_all_orders(calls: list[TimedCall]) -> None:
    found = is_linearizable(calls)
    event("linearizable" if found else "not linearizable")
    assert found == is_explained(calls)


@given(st.lists(st.tuples(st.sampled_from(["write", "read", "swap"]), st.integers(1, 3)), max_size=30), st.data())
def test_calls_that_are_executed_one_by_one_are_linearizable(asked: list[tuple[str, int]], data: st.DataObject) -> None:
    """Each call has its effect at an instant between its call and its answer; a wrong answer is found."""
    state, calls = 0, list[TimedCall]()
    for at, one in enumerate(asked):
        state, answer = register(state, one)
        early, late = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
        calls.append(TimedCall(asked=one, called_at=at - early, answered_at=at + late + 0.5, answer=answer))
    assert is_linearizable(data.draw(st.permutations(calls)))
    reads = [number for number, one in enumerate(calls) if one.asked[0] != "write"]
    assume(reads)
    number = data.draw(st.sampled_from(reads))
    calls[number] = TimedCall(
        asked=calls[number].asked, called_at=calls[number].called_at, answered_at=calls[number].answered_at, answer=9
    )
    assert not is_linearizable(calls)


GOOD = {
    "concurrent writes in either order": [
        call("write", 1, 0, 10),
        call("write", 2, 0, 10),
        call("read", 0, 11, 12, 1),
        call("read", 0, 13, 14, 1),
    ],
    "a write without an answer appears late": [
        call("write", 1, 0, None),
        call("read", 0, 1, 2, 0),
        call("read", 0, 50, 51, 1),
    ],
    "a write without an answer never appears": [call("write", 1, 0, None), call("read", 0, 50, 51, 0)],
    "apart": [call("write", 1, 0, 1, of="a"), call("read", 0, 2, 3, 0, of="b")],
}
BAD = {
    "a stale read": [call("write", 1, 0, 1), call("read", 0, 2, 3, 0)],
    "a lost write": [call("write", 1, 0, 1), call("write", 2, 2, 3), call("read", 0, 4, 5, 1)],
    "a write that is seen, then gone": [
        call("write", 1, 0, None),
        call("read", 0, 1, 2, 1),
        call("read", 0, 3, 4, 0),
    ],
    "two winners of one swap": [call("swap", 1, 0, 9, 0), call("swap", 2, 0, 9, 0)],
    "a write before it was called": [call("read", 0, 0, 1, 1), call("write", 1, 2, 3)],
}


@pytest.mark.parametrize("calls", GOOD.values(), ids=GOOD)
def test_good_histories(calls: list[TimedCall]) -> None:
    assert is_linearizable(calls)


@pytest.mark.parametrize("calls", BAD.values(), ids=BAD)
def test_bad_histories(calls: list[TimedCall]) -> None:
    assert not is_linearizable(calls)


def test_the_error_shows_the_longest_order_and_the_call_that_it_does_not_reach() -> None:
    calls = [call("write", 1, 0, 1), call("write", 2, 2, 3), call("read", 0, 4, 5, 1)]
    with pytest.raises(NotLinearizable) as found:
        check_linearizable(calls, initial=0, apply=register)
    assert (found.value.of, found.value.call, found.value.order, found.value.state) == ("a", calls[2], (*calls[:2],), 2)
    assert str(found.value) == (
        "no order of the calls of 'a' explains ('read', 0), called 4, answered 5: 1; the longest order that explains "
        "its answers is\n"
        "  ('write', 1), called 0, answered 1: None\n"
        "  ('write', 2), called 2, answered 3: None\n"
        "  and leads to 2"
    )


def test_a_long_history_takes_as_many_placings_as_calls() -> None:
    calls = [call("swap", number, number, number + 1.5, number - 1) for number in range(1, 2_000)]
    check_linearizable(calls, initial=0, apply=register, max_placings=3 * len(calls))


def test_the_checker_gives_up_in_time() -> None:
    calls = [call("write", number, 0, 100) for number in range(30)] + [call("read", 0, 101, 102, 99)]
    with pytest.raises(TooManyOrders, match="after 5000 placings there is no verdict"):
        check_linearizable(calls, initial=0, apply=register, max_placings=5_000)
