"""No window holds more than the rate allows, and the limit wastes nothing."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.rate_limit import LaneRates, RateLimit
from perdure.jobs.lanes import Rate

GAPS = st.lists(st.integers(0, 400), max_size=80)


@given(runs=st.integers(1, 7), window=st.integers(1, 1_000), gaps=GAPS)
def test_no_window_holds_more_runs_than_the_rate(runs: int, window: int, gaps: list[int]) -> None:
    limit, now, begun = RateLimit(Rate(runs, window)), 0.0, list[float]()
    for gap in gaps:
        now += gap
        if limit.free_ms(now) <= now:
            limit.begin(now)
            begun.append(now)
        else:
            assert sum(now - window < at for at in begun) == runs  # it refuses only a full window
    assert all(sum(start <= at < start + window for at in begun) <= runs for start in begun)


@given(runs=st.integers(1, 7), window=st.integers(1, 1_000), start=st.integers(0, 9))
def test_a_new_limit_lets_no_burst_through(runs: int, window: int, start: int) -> None:
    limit, now = RateLimit(Rate(runs, window), float(start)), float(start)
    for number in range(1, 2 * runs):
        now = limit.free_ms(now)
        limit.begin(now)
        assert now >= start + window * number / runs - 1e-6


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
            rates.begin(lane, now)
            begun[lane].append(now)
    rates.free_ms("", now + window)
    assert rates.remembered == 0
    assert len(rates._lanes) == 0  # pyright: ignore[reportPrivateUsage]


def test_beyond_its_memory_it_waits() -> None:
    rates = LaneRates(Rate(1, 1_000), most=3)
    for number in range(3):
        assert rates.free_ms(f"l{number}", number) == number
        rates.begin(f"l{number}", number)
    assert rates.free_ms("another", 5) == 1_000
    assert rates.free_ms("another", 1_000) == 1_000
