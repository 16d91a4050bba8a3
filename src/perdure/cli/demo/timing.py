"""The duration of each part of the demo, from its total duration."""

from __future__ import annotations

from datetime import timedelta

import attrs

from perdure.examples.order_processor import Patience
from perdure.examples.paced import Pace

USUAL_SECONDS = 20.0

START_LIMIT_S = 30.0
"""A worker that is not ready after this time is reported as stuck."""

SETTLE_LIMIT_S = 30.0
"""Batches and retries that have not completed after this time are reported as they are."""


@attrs.frozen
class Timing:
    """All durations of one demo, in proportion to its length.

    Attributes:
        seconds: the approximate length.
    """

    seconds: float

    @property
    def feed_s(self) -> float:
        """The time for sending the events, without the crash."""
        return 0.7 * self.seconds

    @property
    def latency_ms(self) -> tuple[float, float]:
        """The range of the services' latencies."""
        return 60 * self._scale, 350 * self._scale

    @property
    def pace(self) -> Pace:
        """The durations of the jobs. Orders wait for payment at least 5 s, so that a slow restart makes none unpaid."""
        return Pace(
            refresh_every=self._scaled(3.0),
            flush_after=self._scaled(1.5),
            max_events=8,
            pause=self._scaled(2.5),
            retry_delay=self._scaled(0.4),
            patience=Patience(payment=self._scaled(8.0, least_s=5.0), parcel=self._scaled(4.0)),
        )

    @property
    def _scale(self) -> float:
        return self.seconds / USUAL_SECONDS

    def _scaled(self, seconds: float, *, least_s: float = 0.001) -> timedelta:
        return timedelta(milliseconds=round(1000 * max(seconds * self._scale, least_s)))
