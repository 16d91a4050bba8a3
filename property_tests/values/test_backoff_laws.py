"""Laws of backoffs: from 1 ms to the cap, never shrinking, at any attempt."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.retry import Backoff

delays = st.integers(1, 10**9).map(lambda length_ms: timedelta(milliseconds=length_ms))
factors = st.integers(2, 100) | st.floats(1, 100, exclude_min=True)
attempts = st.integers(1, 1_000) | st.integers(1, 10**6)


@st.composite
def backoffs(draw):
    base, longest = sorted((draw(delays), draw(delays)))
    match draw(st.sampled_from(["constant", "linear", "exponential", "preset"])):
        case "constant":
            return Backoff.constant(base)
        case "linear":
            return Backoff.linear(base, step=draw(st.none() | delays), max=longest)
        case "exponential":
            return Backoff.exponential(base, factor=draw(factors), max=longest)
        case _:
            return draw(st.sampled_from([Backoff.aggressive, Backoff.standard, Backoff.patient]))


@given(backoffs())
def test_the_first_delay_is_the_base(backoff):
    assert backoff.delay_ms(1) == backoff.base_ms


@given(backoffs(), attempts)
def test_a_delay_is_between_1_ms_and_the_cap(backoff, attempt):
    delay_ms = backoff.delay_ms(attempt)
    assert type(delay_ms) is int
    assert 1 <= delay_ms <= backoff.max_ms


@given(backoffs(), attempts, attempts)
def test_a_delay_never_shrinks(backoff, one, other):
    earlier, later = sorted((one, other))
    assert backoff.delay_ms(earlier) <= backoff.delay_ms(later)


@given(delays, st.integers(2, 100), st.integers(1, 30))
def test_a_whole_factor_is_exact_below_the_cap(base, factor, attempt):
    backoff = Backoff.exponential(base, factor=factor, max="36525d")
    assert backoff.delay_ms(attempt) == min(backoff.base_ms * factor ** (attempt - 1), backoff.max_ms)


@given(delays, delays, attempts)
def test_a_linear_backoff_adds_its_step_each_time(base, step, attempt):
    backoff = Backoff.linear(base, step=step, max="36525d")
    assert backoff.delay_ms(attempt + 1) in (backoff.delay_ms(attempt) + backoff.step_ms, backoff.max_ms)
