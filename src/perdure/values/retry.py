"""Whether and when a failed run is retried: pure decisions over their arguments.

A `Backoff` is the delay after the n-th failure. A `Retry` decides with one whether there is another attempt.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import ClassVar, Generic, Literal, TypeAlias, get_args

import attrs
from typing_extensions import TypeVar

from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen
from perdure.values.times import MAX_DURATION_MS, Duration, duration_ms, format_duration

MAX_FACTOR = 100


@frozen(kw_only=True)
class Backoff:
    """The delay after the n-th failure: ``(base + step * (n - 1)) * factor ** (n - 1)``, at most ``max``.

    Make one with ``Backoff.constant``, ``Backoff.linear`` or ``Backoff.exponential``, or use a preset:

    ============  ===========  ========  ==========
    preset        first delay  factor    longest
    ============  ===========  ========  ==========
    aggressive    100 ms       2         5 s
    standard      1 s          2         30 s
    patient       30 s         2         1 h
    ============  ===========  ========  ==========

    Attributes:
        base_ms: the first delay.
        step_ms: added for each further failure.
        factor: the multiplier for each further failure.
        max_ms: the longest delay.
    """

    base_ms: int
    step_ms: int = 0
    factor: float = 1
    max_ms: int = MAX_DURATION_MS

    aggressive: ClassVar[Backoff]
    standard: ClassVar[Backoff]
    patient: ClassVar[Backoff]

    def __attrs_post_init__(self) -> None:
        if self.max_ms < self.base_ms:
            longest, first = format_duration(self.max_ms), format_duration(self.base_ms)
            raise DefinitionError("max of a backoff", longest, f"at least the first delay, {first}")

    @classmethod
    def constant(cls, delay: Duration) -> Backoff:
        """Return a backoff that waits the same time after each failure.

        Raises:
            DefinitionError: the delay is not a duration from 1 ms to 100 years.
        """
        return cls(base_ms=duration_ms(delay, what="delay of a backoff"))

    @classmethod
    def linear(
        cls,
        base: Duration,
        *,
        step: Duration | None = None,
        max: Duration = "1 day",  # noqa: A002 - the name that users expect in a backoff
    ) -> Backoff:
        """Return a backoff whose delay grows by a fixed step.

        Args:
            base: the first delay.
            step: added for each further failure. ``base`` by default.
            max: the longest delay.

        Raises:
            DefinitionError: an argument is not a duration, or ``max`` is less than ``base``.
        """
        base_ms = duration_ms(base, what="base of a linear backoff")
        step_ms = base_ms if step is None else duration_ms(step, what="step of a linear backoff")
        return cls(base_ms=base_ms, step_ms=step_ms, max_ms=duration_ms(max, what="max of a linear backoff"))

    @classmethod
    def exponential(
        cls,
        base: Duration,
        *,
        factor: float = 2,
        max: Duration = "1 day",  # noqa: A002 - the name that users expect in a backoff
    ) -> Backoff:
        """Return a backoff whose delay is multiplied after each failure.

        Args:
            base: the first delay.
            factor: above 1, at most 100.
            max: the longest delay.

        Raises:
            DefinitionError: a delay is not a duration, ``max`` is less than ``base``, or the factor is outside its
                range.
        """
        base_ms = duration_ms(base, what="base of an exponential backoff")
        max_ms = duration_ms(max, what="max of an exponential backoff")
        return cls(base_ms=base_ms, factor=_check_factor(factor), max_ms=max_ms)

    def delay_ms(self, failed_attempt: int) -> int:
        """Return the delay after a failed attempt, before jitter.

        Args:
            failed_attempt: the attempt's number, from 1. The cost does not depend on it.

        Returns:
            Whole milliseconds, from 1 to ``max_ms``, never less than after the previous attempt.
        """
        # Attempts count from 1: the first delay is the base itself.
        failures_before = failed_attempt - 1
        linear_ms = self.base_ms + self.step_ms * failures_before
        growth = self._growth(failures_before)
        return min(int(linear_ms * growth), self.max_ms)

    def _growth(self, failures_before: int) -> float:
        # Compare logarithms first: the power of a large exponent would overflow, and the cap makes it unnecessary.
        if failures_before * math.log(self.factor) > math.log(self.max_ms):
            return self.max_ms
        return self.factor**failures_before


def _check_factor(value: object) -> float:
    if isinstance(value, int | float) and 1 < value <= MAX_FACTOR:
        return value
    expected = f"a number above 1, at most {MAX_FACTOR}; or take Backoff.constant"
    raise DefinitionError("factor of an exponential backoff", value, expected)


Backoff.aggressive = Backoff.exponential("100 ms", max="5s")
Backoff.standard = Backoff.exponential("1s", max="30s")
Backoff.patient = Backoff.exponential("30s", max="1h")


MAX_ATTEMPTS = 1_000
JITTER_DIVISOR = 10

GiveUp: TypeAlias = Literal["max_attempts", "max_duration", "not_retryable"]
"""Why a run is not retried."""

OnExhausted: TypeAlias = Literal["continue", "park", "purge"]
"""The action when an instance's retries are used up: wait for the next tick, park it, or delete it."""


@frozen
class RetryAt:
    """Retry the run.

    Attributes:
        at_ms: when, integer milliseconds UTC.
        delay_ms: the delay after the failure.
    """

    at_ms: int
    delay_ms: int


@frozen
class Exhausted:
    """Do not retry the run."""

    reason: GiveUp


E_contra = TypeVar("E_contra", contravariant=True, default=object)


def _max_duration_ms(value: Duration | None) -> int | None:
    return None if value is None else duration_ms(value, what="max_duration of a retry")


@frozen
class Retry(Generic[E_contra]):
    """A retry policy: how often, after which delay and for which errors a failed run is retried.

    Attributes:
        max_attempts: one run's executions, the first included: 1 to 1,000.
        delay: the delay after each failure.
        jitter: whether the delay is spread by ±10 %, so that runs that failed together are not retried together.
        max_duration_ms: passed as ``max_duration``. No retry is made later than this after the first failure. None: no
            such limit.
        retry_if: a pure function that returns whether a typed error is worth a retry. All are by default. It is not
            called for defects: they are always retried.
        on_exhausted: the action after the last attempt. None: the kind's default (``continue`` for a continuous job,
            ``park`` for the others).

    Raises:
        DefinitionError: a value is out of its range, or no retry could ever be made.
    """

    max_attempts: int
    delay: Backoff = Backoff.standard
    jitter: bool = attrs.field(default=True, kw_only=True)
    max_duration_ms: int | None = attrs.field(
        default=None, kw_only=True, alias="max_duration", converter=_max_duration_ms
    )
    retry_if: Callable[[E_contra], bool] | None = attrs.field(default=None, kw_only=True)
    on_exhausted: OnExhausted | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        _check_max_attempts(self.max_attempts)
        _check_delay(self.delay)
        _check_jitter(self.jitter)
        _check_retry_if(self.retry_if)
        _check_on_exhausted(self.on_exhausted)
        self._check_max_duration()

    def after_failure(
        self, error: E_contra, *, attempt: int, first_failed_ms: int, now_ms: int, jitter: float
    ) -> RetryAt | Exhausted:
        """Decide whether to retry an attempt that failed with a typed error.

        Args:
            error: the error, which is passed to ``retry_if``.
            attempt: the failed attempt's number, from 1.
            first_failed_ms: when the run's first attempt failed. The same as ``now_ms`` for the first.
            now_ms: when this attempt failed.
            jitter: a random number from [0, 1).

        Raises:
            Exception: raised by ``retry_if``. It is a job defect, and the caller must record it.
        """
        # Only for typed errors: a defect says nothing about whether a repetition can succeed.
        if self.retry_if is not None and not self.retry_if(error):
            return Exhausted("not_retryable")
        return self.after_defect(attempt=attempt, first_failed_ms=first_failed_ms, now_ms=now_ms, jitter=jitter)

    def after_defect(self, *, attempt: int, first_failed_ms: int, now_ms: int, jitter: float) -> RetryAt | Exhausted:
        """Decide whether to retry an attempt that raised or timed out. ``retry_if`` is not called.

        It takes the same arguments as ``after_failure``.
        """
        # The first execution counts as an attempt.
        if attempt >= self.max_attempts:
            return Exhausted("max_attempts")
        delay_ms = self._jittered_ms(attempt, jitter)
        # The wall clock may have gone back since the first failure: elapsed time is never negative.
        elapsed_ms = max(0, now_ms - first_failed_ms)
        # With the delay: a retry that would begin after the limit is not made.
        if self.max_duration_ms is not None and elapsed_ms + delay_ms > self.max_duration_ms:
            return Exhausted("max_duration")
        return RetryAt(now_ms + delay_ms, delay_ms)

    def next_delay_ms(
        self, error: E_contra, *, attempt: int, first_failed_ms: int, now_ms: int, jitter: float
    ) -> int | None:
        """Return the delay before the next attempt, in milliseconds. None when the run is not retried.

        It takes the same arguments as ``after_failure``.
        """
        match self.after_failure(error, attempt=attempt, first_failed_ms=first_failed_ms, now_ms=now_ms, jitter=jitter):
            case RetryAt(_, delay_ms):
                return delay_ms
            case Exhausted():
                return None

    def _jittered_ms(self, attempt: int, jitter: float) -> int:
        """Spread the delay evenly over ±10 %, below the cap: many delays equal to the cap would end together."""
        delay_ms = self.delay.delay_ms(attempt)
        if not self.jitter:
            return delay_ms
        stagger_ms = delay_ms // JITTER_DIVISOR
        # The spread ends at the cap, which is a promise; so it reaches down instead.
        lowest_ms, highest_ms = delay_ms - stagger_ms, min(delay_ms + stagger_ms, self.delay.max_ms)
        return min(lowest_ms + int(jitter * (highest_ms - lowest_ms + 1)), highest_ms)

    def _check_max_duration(self) -> None:
        if self.max_duration_ms is None or self.max_attempts == 1:
            return
        soonest_ms = self._jittered_ms(1, jitter=0.0)
        if self.max_duration_ms < soonest_ms:
            raise DefinitionError(
                "max_duration of a retry",
                format_duration(self.max_duration_ms),
                f"at least the first delay, {format_duration(soonest_ms)}: no retry could ever be made",
            )


def _check_max_attempts(value: object) -> None:
    if type(value) is not int or not 1 <= value <= MAX_ATTEMPTS:
        raise DefinitionError(
            "max_attempts of a retry", value, f"a whole number from 1 to {MAX_ATTEMPTS}, the first attempt included"
        )


def _check_delay(value: object) -> None:
    if not isinstance(value, Backoff):
        raise DefinitionError("delay of a retry", value, "a backoff, such as Backoff.constant('5s')")


def _check_jitter(value: object) -> None:
    if not isinstance(value, bool):
        raise DefinitionError("jitter of a retry", value, "True or False")


def _check_retry_if(value: object) -> None:
    if value is not None and (not callable(value) or inspect.iscoroutinefunction(value)):  # a coroutine is true
        raise DefinitionError(
            "retry_if of a retry", value, "a function of the error that returns True or False, not `async def`"
        )


def _check_on_exhausted(value: object) -> None:
    if value is not None and value not in get_args(OnExhausted):
        raise DefinitionError("on_exhausted of a retry", value, "'continue', 'park', 'purge' or None")
