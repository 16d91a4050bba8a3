"""The job whose alarms the benchmarks let fire: it notes when its run began, and changes its state."""

from __future__ import annotations

import time
from typing import Never, Protocol

from attrs import define, evolve, field, frozen
from returns.result import Result, Success

from perdure import Do, Task, TaskContext, effect, program


@frozen
class Reminder:
    """A state of ordinary size."""

    customer: str = "customer-00000042"
    text: str = "your table is booked for tonight, eight o'clock; reply to this message to change it"
    reminded: int = 0


@frozen
class Noted:
    """Something that changes a reminder, and does not move its alarm."""

    text: str


@define
class Journal:
    """Where runs are noted.

    Attributes:
        began: the id of the instance, and the wall clock in nanoseconds, of each run.
    """

    began: list[tuple[str, int]] = field(factory=list[tuple[str, int]])

    @property
    def journal(self) -> Journal:
        """It serves as the whole services record."""
        return self


class HasJournal(Protocol):
    """Services with a journal."""

    @property
    def journal(self) -> Journal:
        """Where runs are noted."""
        ...


@effect
def note(services: HasJournal, id_: str) -> Result[None, Never]:
    """Note that a run began: its claim is durable by now."""
    services.journal.began.append((id_, time.time_ns()))
    return Success(None)


@program
def on_event(ctx: TaskContext[Reminder], event: Noted) -> Do[None]:
    """Change the text."""
    yield from ctx.set_state(evolve((yield from ctx.state), text=event.text))


@program
def execute(ctx: TaskContext[Reminder]) -> Do[None, Never, HasJournal]:
    """Remind: claim, effect, commit."""
    yield from note(ctx.id)
    reminder = yield from ctx.state
    yield from ctx.set_state(evolve(reminder, reminded=reminder.reminded + 1))


reminders = Task("reminders", state=Reminder, event=Noted, initial=Reminder(), on_event=on_event, execute=execute)
