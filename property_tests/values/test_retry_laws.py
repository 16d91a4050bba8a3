"""Laws of retry decisions."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from perdure.values.retry import Backoff, Exhausted, Retry, RetryAt

backoffs = st.sampled_from(
    [
        Backoff.standard,
        Backoff.aggressive,
        Backoff.patient,
        Backoff.constant("1ms"),
        Backoff.constant("36525d"),
        Backoff.linear("7ms", step="3s"),
        Backoff.exponential("1ms", factor=1.1, max="95ms"),
    ]
)
retries = st.builds(Retry, st.integers(1, 20), backoffs, jitter=st.booleans())
failures = st.fixed_dictionaries(
    {
        "attempt": st.integers(1, 20),
        "first_failed_ms": st.integers(0, 10**9),
        "now_ms": st.integers(0, 10**9),
        "jitter": st.floats(0, 1, exclude_max=True),
    }
)


@given(retries, failures)
def test_there_are_as_many_executions_as_allowed_and_no_more(retry, failure):
    exhausted = retry.after_defect(**failure) == Exhausted("max_attempts")
    assert exhausted == (failure["attempt"] >= retry.max_attempts)


@given(retries, failures)
def test_a_retry_lies_within_a_tenth_of_its_delay_and_never_past_the_cap(retry, failure):
    match retry.after_defect(**failure):
        case RetryAt(at_ms, delay_ms):
            nominal_ms = retry.delay.delay_ms(failure["attempt"])
            tenth_ms = nominal_ms // 10 if retry.jitter else 0
            assert type(delay_ms) is int
            assert at_ms - failure["now_ms"] == delay_ms
            assert abs(delay_ms - nominal_ms) <= tenth_ms
            assert 1 <= delay_ms <= retry.delay.max_ms
        case Exhausted(reason):
            assert reason == "max_attempts"


@given(backoffs, failures, st.integers(0, 10**6))
def test_no_retry_comes_later_than_max_duration_after_the_first_failure(backoff, failure, extra_ms):
    limit = timedelta(milliseconds=min(backoff.base_ms + extra_ms, 36_525 * 86_400_000))
    free, bounded = Retry(1_000, backoff), Retry(1_000, backoff, max_duration=limit)
    at = free.after_defect(**failure)
    assert isinstance(at, RetryAt)
    elapsed_ms = max(0, failure["now_ms"] - failure["first_failed_ms"])
    overshoots = elapsed_ms + at.delay_ms > bounded.max_duration_ms
    assert bounded.after_defect(**failure) == (Exhausted("max_duration") if overshoots else at)


@given(retries, failures, st.booleans())
def test_retry_if_only_ever_takes_retries_away(retry, failure, answer):
    asked = Retry(retry.max_attempts, retry.delay, jitter=retry.jitter, retry_if=lambda _: answer)
    expected = retry.after_defect(**failure) if answer else Exhausted("not_retryable")
    assert asked.after_failure("error", **failure) == expected
    assert asked.after_defect(**failure) == retry.after_defect(**failure)


@given(retries, failures)
def test_the_bare_delay_is_the_decision_without_its_reason(retry, failure):
    decision = retry.after_failure("error", **failure)
    delay_ms = decision.delay_ms if isinstance(decision, RetryAt) else None
    assert retry.next_delay_ms("error", **failure) == delay_ms
