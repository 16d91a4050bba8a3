"""The delay after a failure, as a pure function of the number of failures."""

from __future__ import annotations

import math
from typing import ClassVar

from perdure.values.duration import MAX_DURATION_MS, Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError
from perdure.values.frozen import frozen

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
            DefinitionError: the delay is not a duration of 1 ms to 100 years.
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
            step: added for each further failure; ``base`` by default.
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
            DefinitionError: a delay is not a duration, ``max`` is less than ``base``, or the factor is out of range.
        """
        base_ms = duration_ms(base, what="base of an exponential backoff")
        max_ms = duration_ms(max, what="max of an exponential backoff")
        return cls(base_ms=base_ms, factor=_check_factor(factor), max_ms=max_ms)

    def delay_ms(self, failed_attempt: int) -> int:
        """Return the delay after a failed attempt, before jitter.

        Args:
            failed_attempt: the number of the attempt, from 1. The cost does not depend on it.

        Returns:
            Whole milliseconds, from 1 to ``max_ms``, never less than after the previous attempt.
        """
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
