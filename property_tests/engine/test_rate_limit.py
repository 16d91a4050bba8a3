"""No window holds more than the rate allows, and the limit wastes nothing."""

from __future__ import annotations

from collections import defaultdict
from itertools import accumulate
from math import inf

from hypothesis import example, given
from hypothesis import strategies as st

from perdure.engine.loops.rate_limits import LaneRates, RateLimit, packed
from perdure.jobs.plan import Rate

GAPS = st.lists(st.integers(0, 400), max_size=80)


@given(runs=st.integers(1, 7), window=st.integers(1, 1_000), gaps=GAPS)
def test_no_window_holds_more_runs_than_the_rate(runs: int, window: int, gaps: list[int]) -> None:
    limit, now, begun = RateLimit(Rate(runs, window)), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if limit.free_ms(now) <= now:
            limit.take_place()
            limit.begin(now)
            begun.append(now)
        else:
            assert sum(now - window < at for at in begun) == runs  # it refuses only a full window
    assert all(sum(start <= at < start + window for at in begun) <= runs for start in begun)


@given(
    runs=st.integers(1, 4),
    window=st.integers(1, 1_000),
    steps=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["take", "take", "begin", "give up"])), max_size=80),
)
def test_a_run_keeps_its_place_in_the_rate_however_long_it_waits(
    runs: int, window: int, steps: list[tuple[int, str]]
) -> None:
    limits, now = LaneRates(Rate(runs, window)), 0.0
    begun, waiting = list[float](), 0
    for gap, step in steps:
        now += gap
        if step == "take":
            taken, free = waiting + sum(now - window < at for at in begun), limits.free_ms("l", now)
            assert (free <= now) == (taken < runs)
            assert (free == inf) == (waiting == runs)
            if taken < runs:
                limits.take_place("l")
                waiting += 1
        elif waiting:
            waiting -= 1
            if step == "begin":
                limits.begin("l", now)
                begun.append(now)
            else:
                limits.free_place("l", now)
    assert all(sum(start <= at < start + window for at in begun) <= runs for start in begun)
    for _ in range(waiting):
        limits.free_place("l", now)
    limits.free_ms("l", now + window)
    assert (limits.remembered, len(limits._lanes)) == (0, 0)  # pyright: ignore[reportPrivateUsage]


@given(
    runs=st.integers(1, 200),
    window=st.integers(1, 10_000),
    gaps=st.lists(st.integers(0, 400), max_size=300),
    most=st.integers(1, 64),
)
@example(runs=200, window=10_000, gaps=[1] * 200, most=2)
def test_the_stored_form_of_the_runs_is_small_and_makes_none_earlier(
    runs: int, window: int, gaps: list[int], most: int
) -> None:
    begun = list(accumulate(gaps))[-runs:]
    begun = [at for at in begun if at > begun[-1] - window]
    parts = packed(((at, 1) for at in begun), window, most)
    assert len(parts) <= most
    restored = [at for at, number in parts for _ in range(number)]
    assert len(restored) == len(begun)
    assert all(0 <= later - at <= window / most for at, later in zip(begun, restored, strict=True))


@given(runs=st.integers(1, 7), window=st.integers(1, 1_000), before=GAPS, after=GAPS)
def test_a_limit_that_takes_over_earlier_runs_keeps_their_window(
    runs: int, window: int, before: list[int], after: list[int]
) -> None:
    first, now, begun = RateLimit(Rate(runs, window)), 0.0, list[float]()
    second = RateLimit(Rate(runs, window))
    for number, gap in enumerate([*before, *after]):
        now += gap
        if number == len(before):
            second.restore(first.begun)
        limit = first if number < len(before) else second
        if limit.free_ms(now) <= now:
            limit.take_place()
            limit.begin(now)
            begun.append(now)
    assert all(sum(start <= at < start + window for at in begun) <= runs for start in begun)


@given(
    runs=st.integers(1, 4), window=st.integers(1, 500), steps=st.lists(st.tuples(GAPS.map(sum), st.sampled_from("abc")))
)
def test_each_lane_has_its_own_limit_and_is_forgotten(runs: int, window: int, steps: list[tuple[int, str]]) -> None:
    rates, now = LaneRates(Rate(runs, window)), 0.0
    begun: defaultdict[str, list[float]] = defaultdict(list)
    for gap, lane in steps:
        now += gap
        inside = [at for at in begun[lane] if at > now - window]
        free = rates.free_ms(lane, now)
        assert (free <= now) == (len(inside) < runs)
        if free <= now:
            rates.take_place(lane)
            rates.begin(lane, now)
            begun[lane].append(now)
    rates.free_ms("", now + window)
    assert rates.remembered == 0
    assert len(rates._lanes) == 0  # pyright: ignore[reportPrivateUsage]


def test_beyond_its_memory_it_waits() -> None:
    rates = LaneRates(Rate(1, 1_000), most=3)
    for number in range(3):
        assert rates.free_ms(f"l{number}", number) == number
        rates.take_place(f"l{number}")
        rates.begin(f"l{number}", number)
    assert rates.free_ms("another", 5) == 1_000
    assert rates.free_ms("another", 1_000) == 1_000
    rates.take_place("another")  # it waits for a slot
    assert rates.free_ms("a third", 1_000) == 1_001
    assert rates.free_ms("another", 1_001) == inf
