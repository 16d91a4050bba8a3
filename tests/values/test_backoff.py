"""Examples of backoffs: their curves, their presets, and their refusals."""

import pytest

from perdure.values.errors import DefinitionError
from perdure.values.retry import Backoff


@pytest.mark.parametrize(
    ("backoff", "delays_ms"),
    [
        (Backoff.constant("5s"), [5_000, 5_000, 5_000]),
        (Backoff.linear("5s"), [5_000, 10_000, 15_000]),
        (Backoff.linear("5s", step="1s", max="6s"), [5_000, 6_000, 6_000]),
        (Backoff.exponential("1 second", max="3 seconds"), [1_000, 2_000, 3_000]),
        (Backoff.exponential("1ms", factor=1.5), [1, 1, 2]),
        (Backoff.aggressive, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]),
        (Backoff.standard, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]),
        (Backoff.patient, [30_000, 60_000, 120_000, 240_000, 480_000, 960_000, 1_920_000, 3_600_000, 3_600_000]),
    ],
)
def test_the_first_delays(backoff, delays_ms):
    assert [backoff.delay_ms(attempt) for attempt in range(1, len(delays_ms) + 1)] == delays_ms


@pytest.mark.parametrize("factor", [1, 0, -2, 100.5, float("inf"), float("nan"), True, "2", None])
def test_refuses_a_factor_that_does_not_grow_or_grows_without_sense(factor):
    with pytest.raises(DefinitionError, match="a number above 1, at most 100") as refused:
        Backoff.exponential("1s", factor=factor)
    assert refused.value.got is factor


def test_refuses_a_cap_below_the_first_delay():
    with pytest.raises(DefinitionError, match="at least the first delay, 2s; got '1s'"):
        Backoff.exponential("2s", max="1s")


@pytest.mark.parametrize("build", [Backoff.constant, Backoff.linear, Backoff.exponential])
def test_refuses_a_number_without_a_unit(build):
    with pytest.raises(DefinitionError, match=r"backoff: .*a bare number has no unit"):
        build(5)
