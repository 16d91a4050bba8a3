"""A store whose jobs keep events longer than the log, in ``kept_N.sql``: change the jobs only as a user would."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from perdure import App, KeepHistory, Limits, Task
from perdure.testing import Clock, World

START = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(history_retention="1 hour", idempotency_ttl="36500 days")


def count(ctx: Any, _: int) -> Any:
    return ctx.update_state(lambda total: total + 1)


def job_of(name: str, history: KeepHistory | None) -> Task[int, int, Any, object]:
    return Task(name, state=int, event=int, initial=0, on_event=count, accepted_in_events="payload", history=history)


long = job_of("long", KeepHistory(age="90 days"))
few = job_of("few", KeepHistory(age="36500 days", events=3))
plain = job_of("plain", None)
app = App(None, limits=LIMITS).with_jobs(long, few, plain)


def write_kept(path: Path) -> None:
    """Leave events in the log, kept events of two jobs, and deleted ones."""
    with World(app, store=path, clock=Clock(START), at_end="leave") as world:
        for day in range(2):
            for job in (long, few, plain):
                for number in range(2):
                    world.run(world.handle(job).send("a", 10 * day + number))
            world.advance("1 day")
        for job in (long, few, plain):
            world.run(world.handle(job).send("a", 20))
        world.crash()
