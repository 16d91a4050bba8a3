"""The checkpoints and the journal of a run that nothing stores: of a dry run, or of a simulation."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from returns.result import Success

from perdure.jobs.checkpoint import AwaitChange, Checkpoint, ReadJournal, checkpointed
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.values.transition import JournalChange, Put, Transition
from perdure.values.turn_inputs import TurnInputs


@attrs.define(eq=False)
class DryJournal:
    """Answers the checkpoints of one run and its reads of the journal, in memory.

    Attributes:
        job: the definition of the instance.
        execute: the run on the row as the last checkpoint left it.
        rows: the rows of the journal.
        inputs: collects the inputs of a decision.
        transitions: the commits so far, in order.
    """

    job: AnyDefinition
    execute: Execute
    rows: list[str]
    inputs: Callable[[], TurnInputs]
    transitions: list[Transition] = attrs.Factory(list[Transition])

    def answer(self, instruction: Checkpoint | ReadJournal | AwaitChange) -> object:
        """Answer an instruction as the engine does."""
        if isinstance(instruction, ReadJournal):
            return Success(tuple(self.rows[instruction.first : instruction.first + instruction.limit]))
        if isinstance(instruction, AwaitChange):
            return Success(None)
        value = instruction.take()
        if value is None:
            return Success(None)
        commit = checkpointed(self.job, self.execute, value, self.inputs())
        write = commit.transition.write
        if isinstance(write, Put):
            self.transitions.append(commit.transition)
            self._change(commit.transition.journal)
            self.execute = self.execute.recorded(write.instance)
        return commit.result

    def _change(self, change: JournalChange | None) -> None:
        if change is None:
            return
        if change.earlier == "cut":
            self.rows.clear()
        self.rows += change.bodies
