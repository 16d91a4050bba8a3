"""Examples of retry decisions, and of the policies that are refused."""

import pytest

from perdure.values.errors import DefinitionError
from perdure.values.retry import Backoff, Exhausted, Retry, RetryAt


class TransientError(Exception): ...


class FatalError(Exception): ...


def is_transient(error: Exception) -> bool:
    return isinstance(error, TransientError)


STEADY = Retry(3, Backoff.constant("10s"), jitter=False)


def decide(retry, *, error=None, attempt=1, now_ms=1_000, first_failed_ms=1_000, jitter=0.5):
    return retry.after_failure(
        error or TransientError(), attempt=attempt, now_ms=now_ms, first_failed_ms=first_failed_ms, jitter=jitter
    )


def test_counts_the_delay_from_the_failure():
    assert decide(STEADY, attempt=2, now_ms=50_000) == RetryAt(60_000, 10_000)


def test_counts_executions_the_first_included():
    assert decide(STEADY, attempt=3) == Exhausted("max_attempts")
    assert decide(Retry(1), attempt=1) == Exhausted("max_attempts")


def test_does_not_retry_an_error_that_retry_if_declines():
    retry = Retry(3, retry_if=is_transient)
    assert decide(retry, error=FatalError()) == Exhausted("not_retryable")
    assert isinstance(decide(retry, error=TransientError()), RetryAt)


def test_says_not_retryable_even_of_the_last_attempt():
    assert decide(Retry(3, retry_if=is_transient), error=FatalError(), attempt=3) == Exhausted("not_retryable")


def test_retries_a_defect_without_asking_retry_if():
    retry = Retry(3, Backoff.constant("10s"), jitter=False, retry_if=lambda _: False)
    assert retry.after_defect(attempt=1, first_failed_ms=0, now_ms=0, jitter=0.0) == RetryAt(10_000, 10_000)


def test_an_exception_of_retry_if_is_raised():
    with pytest.raises(ZeroDivisionError):
        decide(Retry(3, retry_if=lambda _: 1 // 0))


@pytest.mark.parametrize(
    ("now_ms", "decision"),
    [(51_000, RetryAt(61_000, 10_000)), (51_001, Exhausted("max_duration"))],
)
def test_exhausts_at_once_when_the_delay_would_overshoot_the_duration(now_ms, decision):
    retry = Retry(100, Backoff.constant("10s"), jitter=False, max_duration="1 minute")
    assert decide(retry, now_ms=now_ms, first_failed_ms=1_000) == decision


def test_takes_a_clock_that_went_back_as_no_time_elapsed():
    retry = Retry(100, Backoff.constant("10s"), jitter=False, max_duration="10s")
    assert decide(retry, now_ms=1_000, first_failed_ms=99_000) == RetryAt(11_000, 10_000)


@pytest.mark.parametrize(("jitter", "delay_ms"), [(0.0, 9_000), (0.5, 10_000), (0.9999999, 11_000)])
def test_spreads_a_delay_by_a_tenth_either_way(jitter, delay_ms):
    assert decide(Retry(3, Backoff.constant("10s")), jitter=jitter) == RetryAt(1_000 + delay_ms, delay_ms)


@pytest.mark.parametrize(("jitter", "delay_ms"), [(0.0, 27_000), (0.5, 28_500), (0.9999999, 30_000)])
def test_spreads_a_capped_delay_below_the_cap(jitter, delay_ms):
    assert decide(Retry(99), attempt=50, jitter=jitter) == RetryAt(1_000 + delay_ms, delay_ms)


def test_returns_the_bare_delay_for_a_loop_in_memory():
    inputs = {"first_failed_ms": 0, "now_ms": 0, "jitter": 0.0}
    assert STEADY.next_delay_ms(TransientError(), attempt=2, **inputs) == 10_000
    assert STEADY.next_delay_ms(TransientError(), attempt=3, **inputs) is None


@pytest.mark.parametrize("attempts", [0, -1, 1_001, 3.0, True, "3", None])
def test_refuses_a_number_of_attempts_out_of_range(attempts):
    with pytest.raises(DefinitionError, match="max_attempts of a retry: expected a whole number from 1 to 1000"):
        Retry(attempts)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("delay", "5s", "Backoff.constant"),
        ("jitter", 0.1, "True or False"),
        ("retry_if", TransientError(), "a function of the error"),
        ("on_exhausted", "stop", "'continue', 'park', 'purge' or None"),
        ("on_exhausted", [], "'continue', 'park', 'purge' or None"),
        ("max_duration", 60, "a bare number has no unit"),
        ("max_duration", "800ms", "at least the first delay, 900ms"),
    ],
)
def test_refuses_a_wrong_option_when_it_is_defined(option, value, expected):
    with pytest.raises(DefinitionError, match=expected) as refused:
        Retry(3, **{option: value})
    assert (refused.value.what, refused.value.got) == (f"{option} of a retry", value)


def test_a_single_attempt_may_have_any_duration():
    assert Retry(1, max_duration="1ms").max_duration_ms == 1
