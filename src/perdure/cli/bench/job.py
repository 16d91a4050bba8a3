"""The job that the measurement calls: it counts, without effects."""

from __future__ import annotations

from attrs import frozen
from returns.result import Result, Success

from perdure.app import App
from perdure.jobs.context import Decision
from perdure.kinds.task import Task


@frozen
class Counter:
    """The state of an instance: the number of its events."""

    events: int = 0


@frozen
class Count:
    """An event."""


def decide(state: Counter, _: Count) -> Result[Decision[Counter], None]:
    """Count an event."""
    return Success(Decision(state=Counter(state.events + 1)))


counter = Task("perdure-bench", state=Counter, event=Count, initial=Counter(), decide=decide)
app = App(None).with_jobs(counter)
