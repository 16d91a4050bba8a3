from __future__ import annotations

import attrs

from perdure.jobs.context import JobContext


@attrs.frozen
class Wish:
    """Send a reminder of this text in a minute."""

    text: str


@attrs.frozen
class Snooze:
    """Remind a number of milliseconds later."""

    by_ms: int


@attrs.frozen(repr=False)
class ReminderContext(JobContext[str]):
    """What `remind` sees: what every context has."""
