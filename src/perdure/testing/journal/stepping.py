"""Replays a journal step by step: the steps that the program waited for before each recorded answer, with lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from perdure.jobs.definition import AnyDefinition, check_definition
from perdure.jobs.step import NextStep
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.listings import StepRecord


@attrs.frozen(kw_only=True)
class ReplayedStep:
    """The position of a program behind a part of its journal.

    Attributes:
        number: how many recorded answers the program has received.
        waiting: the steps that it waits for, each with its line.
        answered: the recorded step whose answer comes next; None at the end of the journal.
    """

    __repr__ = fields_in_line

    number: int
    waiting: tuple[NextStep, ...]
    answered: StepRecord | None

    @property
    def line(self) -> str | None:
        """The line of the program that receives the next answer, or else that of the first waiting step."""
        name = None if self.answered is None else self.answered.path
        lines = [step.line for step in self.waiting if step.path == name] or [step.line for step in self.waiting]
        return next(iter(lines), None)


def replay_journal(definition: AnyDefinition, instance: Instance, rows: Sequence[str]) -> Iterator[ReplayedStep]:
    """Replay a journal with this code, one step after the other. Nothing is performed.

    Put a breakpoint into the program, and step through it: each position replays the program from its beginning.

    Args:
        definition: the job.
        instance: the instance, as `recorded_journals` reads it from a file of ``perdure snapshot``.
        rows: the rows of its journal.

    Raises:
        InvalidInput: this code cannot follow the journal; the problem names the step and the line.
    """
    job = check_definition(definition)
    recorded = job.steps(instance, rows)[: job.answers_in(instance, rows)]
    last = -1
    for length in range(len(rows) + 1):
        number = job.answers_in(instance, rows[:length])
        if number == last:
            continue
        last, answered = number, recorded[number] if number < len(recorded) else None
        yield ReplayedStep(number=number, waiting=job.replayed(instance, rows[:length]), answered=answered)
