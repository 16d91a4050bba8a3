"""How long to wait after a failure, as a pure function of how many there were."""

from __future__ import annotations

import math
from typing import ClassVar

import attrs

from perdure.values.duration import MAX_DURATION_MS, Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError

MAX_FACTOR = 100


@attrs.frozen(kw_only=True)
class Backoff:
    """The wait after the n-th failure: ``(base + step * (n - 1)) * factor ** (n - 1)``, at most ``max``.

    Make one with ``Backoff.constant``, ``Backoff.linear`` or ``Backoff.exponential``, or take a preset:

    ============  ===========  ========  ==========
    preset        first wait   factor    longest
    ============  ===========  ========  ==========
    aggressive    100 ms       2         5 s
    standard      1 s          2         30 s
    patient       30 s         2         1 h
    ============  ===========  ========  ==========

    Attributes:
        base_ms: the first wait.
        step_ms: what each further failure adds.
        factor: what each further failure multiplies by.
        max_ms: no wait is longer.
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
        """Wait the same time after each failure.

        Raises:
            DefinitionError: it is no duration of 1 ms to 100 years.
        """
        return cls(base_ms=duration_ms(delay, what="delay of a backoff"))

    @classmethod
    def linear(
        cls,
        base: Duration,
        *,
        step: Duration | None = None,
        max: Duration = "1 day",  # noqa: A002 - the word that users read in a backoff
    ) -> Backoff:
        """Wait a fixed time longer after each failure.

        Args:
            base: the first wait.
            step: what each further failure adds; as much as ``base`` when left out.
            max: no wait is longer.

        Raises:
            DefinitionError: one is no duration, or ``max`` is less than ``base``.
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
        max: Duration = "1 day",  # noqa: A002 - the word that users read in a backoff
    ) -> Backoff:
        """Wait a number of times longer after each failure.

        Args:
            base: the first wait.
            factor: above 1, at most 100.
            max: no wait is longer.

        Raises:
            DefinitionError: one is no duration, ``max`` is less than ``base``, or the factor is out of range.
        """
        base_ms = duration_ms(base, what="base of an exponential backoff")
        max_ms = duration_ms(max, what="max of an exponential backoff")
        return cls(base_ms=base_ms, factor=_check_factor(factor), max_ms=max_ms)

    def delay_ms(self, failed_attempt: int) -> int:
        """Give the wait after an attempt that failed, before jitter.

        Args:
            failed_attempt: its number, from 1; a large one costs no more than a small one.

        Returns:
            Whole milliseconds, from 1 to ``max_ms``, never less than for the attempt before.
        """
        failures_before = failed_attempt - 1
        linear_ms = self.base_ms + self.step_ms * failures_before
        growth = self._growth(failures_before)
        return min(int(linear_ms * growth), self.max_ms)

    def _growth(self, failures_before: int) -> float:
        # Compared as logarithms first: a power of a large exponent is an overflow, and the cap makes it needless.
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
