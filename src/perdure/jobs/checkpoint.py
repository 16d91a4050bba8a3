"""Checkpoints: commits during a run, after which the run continues.

A `DryJournal` holds a run's checkpoints when nothing stores them: in a dry run, or in a simulation.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Never, Protocol

import attrs
from returns.result import Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.redaction import redacted_events
from perdure.jobs.step import Commit, Execute
from perdure.jobs.transitions import with_state, with_trace
from perdure.programs import Instruction
from perdure.runtime.record import Sizes
from perdure.values.address import Address, Job
from perdure.values.errors import PerdureError
from perdure.values.instance import Claim, Instance
from perdure.values.transition import JournalChange, KeepInstance, Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs


@attrs.frozen
class Checkpoint(Instruction[Any, Never]):
    """Commit the run's progress, and continue with that commit's result.

    The engine answers it in a run with a claim: it calls ``Definition.checkpoint`` with the value that `take` returns,
    and commits the transition over the present row. It commits one checkpoint after the other, so that parallel
    branches' checkpoints that wait for their turn can be committed together.

    Attributes:
        take: returns the progress since the last checkpoint, when this one has its turn. None if there is none, because
            an earlier checkpoint has committed it: then the program continues with None.
    """

    take: Callable[[], object | None] = attrs.field(eq=False, repr=False)


@attrs.frozen
class ReadJournal(Instruction[tuple[str, ...], Never]):
    """Read the instance's journal rows, in order. Fewer than the limit at the journal's end.

    Attributes:
        first: the first row's place.
        limit: at most this many rows, 1 to 1,000.
    """

    first: int
    limit: int


@attrs.frozen
class AwaitChange(Instruction[Instance | None, Never]):
    """Wait until another turn has written the run's instance, and continue with the row as it is stored now.

    The engine answers it in a run with a claim. A dry run and a simulation, which nothing changes, answer None.
    """


@attrs.frozen
class TakeProgram(Instruction[Any, Never]):
    """Take the program that an earlier run of the instance kept in this process. None if there is none.

    The engine answers it in a run with a claim. The run must prove from the store that nothing has happened in between:
    another engine may have run the instance. A dry run and a simulation answer None.
    """


@attrs.frozen
class KeepProgram(Instruction[bool, Never]):
    """Keep a program in this process for the instance's next run. Return whether the engine keeps it.

    A program that is kept is closed when it is taken, replaced or dropped, which may be at any moment.

    Attributes:
        program: the program, with a method ``close``.
        rows: how many rows of the journal the next run need not replay.
    """

    program: Closes = attrs.field(eq=False, repr=False)
    rows: int


@attrs.frozen
class HasWork(Instruction[bool, Never]):
    """Read whether a job has work, as `StoredCounts.has_work` says it.

    The engine answers it in a run with a claim. A dry run and a simulation answer True.
    """

    job: Job


OF_A_CLAIMED_RUN: Final = frozenset({Checkpoint, ReadJournal, AwaitChange, TakeProgram, KeepProgram, HasWork})
"""The instructions that the engine answers in a run with a claim."""


@attrs.frozen
class NoProgress:
    """A checkpoint's value whose commit ends no step: the process deaths that are counted stay counted."""


@attrs.frozen
class ClaimLost:
    """The `Halted` signal that ends a run at a checkpoint: its instance or its claim no longer exists."""


@attrs.frozen(repr=False)
class NotACheckpoint(PerdureError, TypeError):
    """A job kind returned a commit for a checkpoint that ends its run. A defect in the kind."""

    got: object

    def _text(self) -> str:
        return (
            f"checkpoint returned {self.got!r}; expected a transition that puts the instance with the claim of the "
            "run, or writes nothing"
        )


def present(execute: Execute, loaded: Loaded) -> Execute | None:
    """Return a run on the row as it is stored now. None if the instance or the run's claim no longer exists."""
    instance = loaded.instance
    if instance is None or _claim_of(execute, instance) is None:
        return None
    return execute.recorded(instance)


def checkpointed(job: AnyDefinition, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
    """Decide on a run's checkpoint. Pure.

    A committed checkpoint is progress: the process deaths that were counted against the run are forgotten.

    Args:
        job: the instance's definition.
        execute: the run on the stored row.
        value: the value that `Checkpoint.take` returned.
        inputs: the clock, the random value and the ids.

    Raises:
        NotACheckpoint: the kind returned a transition that ends the run.
    """
    commit = job.checkpoint(execute, value, inputs)
    write = commit.transition.write
    # Nothing is written, so the claim stays as it is.
    if isinstance(write, KeepInstance):
        return commit
    claim = _claim_of(execute, write.instance) if isinstance(write, Put) else None
    # A checkpoint that ended the claim would let another engine begin the run while this one continues it.
    if not isinstance(write, Put) or claim is None:
        raise NotACheckpoint(commit.transition)
    # Progress was made: three crashes over a year of steps are not a run that kills its process. But a process that
    # dies of one large outcome writes parts of it each time, and would perform its step for ever.
    is_counted = claim.recoveries == 0 or isinstance(value, NoProgress)
    transition = commit.transition if is_counted else _without_deaths(commit.transition, write, claim)
    traced = with_trace(Commit(transition, commit.result), execute.instance, execute.claim.trace)
    shown = with_state(job, traced)
    if not isinstance(shown, Commit):
        raise NotACheckpoint(shown)
    return Commit(redacted_events(job, shown.transition), shown.result)


def _claim_of(execute: Execute, instance: Instance) -> Claim | None:
    claim = instance.event_claim if execute.claim.cause == "event" else instance.claim
    mine = execute.claim
    # With the number of the delivery: another engine may have recovered the same run, which keeps its id.
    if claim is None or (claim.run_id, claim.deliveries) != (mine.run_id, mine.deliveries):
        return None
    return claim


def _without_deaths(transition: Transition, write: Put, claim: Claim) -> Transition:
    field = "claim" if write.instance.claim is claim else "event_claim"
    return attrs.evolve(transition, write=Put(write.instance.changed(**{field: attrs.evolve(claim, recoveries=0)})))


@attrs.define(eq=False)
class DryJournal:
    """Answers one run's checkpoints and journal reads, in memory.

    Attributes:
        execute: the run on the row as the last checkpoint left it.
        transitions: the commits so far, in order.
    """

    job: AnyDefinition
    execute: Execute
    rows: list[str]
    inputs: Callable[[], TurnInputs]
    transitions: list[Transition] = attrs.Factory(list[Transition])

    def answer(
        self, instruction: Checkpoint | ReadJournal | AwaitChange | TakeProgram | KeepProgram | HasWork
    ) -> object:
        """Answer an instruction as the engine does."""
        if isinstance(instruction, ReadJournal):
            return Success(tuple(self.rows[instruction.first : instruction.first + instruction.limit]))
        if isinstance(instruction, AwaitChange | TakeProgram):
            return Success(None)
        if isinstance(instruction, HasWork):
            return Success(True)  # noqa: FBT003 - the answer
        if isinstance(instruction, KeepProgram):
            return Success(False)  # noqa: FBT003 - the answer
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
        if change is not None:
            self.rows[:] = change.after(self.rows)


# ---------------------------------------------------------------- programs in memory
class Closes(Protocol):
    """A program that can be closed."""

    def close(self) -> None:
        """Drop it."""
        ...


@attrs.define
class KeptPrograms:
    """Keeps programs between two runs of their instances, those whose replay costs most, within a bound.

    Attributes:
        max_rows: how many rows of journals all of them stand for, at most. The one kept longest leaves first.
        min_rows: a program that stands for fewer is not kept: it is replayed in less than a millisecond.
        rows: how many rows they stand for.
    """

    max_rows: int
    min_rows: int
    rows: int = 0
    _kept: dict[Address, tuple[Closes, int]] = attrs.Factory(dict[Address, "tuple[Closes, int]"])

    @staticmethod
    def of(sizes: Sizes) -> KeptPrograms:
        """Return a store of programs with the bounds of these sizes."""
        return KeptPrograms(sizes.kept_rows, sizes.replayed_rows)

    def keep(self, address: Address, program: Closes, rows: int) -> bool:
        """Keep a program, in the place of an earlier one. Return whether it is kept."""
        # The earlier program has ended with the run that it belonged to.
        self.drop(address)
        # A replay of few rows costs less than the memory of a program. One of too many would push out all others.
        if not self.min_rows <= rows <= self.max_rows:
            return False
        self._kept[address] = program, rows
        self.rows += rows
        # The oldest first: its instance has waited for the longest time.
        while self.rows > self.max_rows:
            self.drop(next(iter(self._kept)))
        return True

    def take(self, address: Address) -> Closes | None:
        """Remove a program, and return it. None if there is none."""
        program, rows = self._kept.pop(address, (None, 0))
        self.rows -= rows
        return program

    def drop(self, address: Address) -> None:
        """Close a program, if it is kept."""
        program = self.take(address)
        if program is not None:
            # The program of another instance, of which nothing more is expected: its run has ended.
            with suppress(Exception):
                program.close()

    def close(self) -> None:
        """Close all programs, and keep none from now on."""
        # First: a program that is kept while the others are closed would stay.
        self.max_rows = 0
        for address in tuple(self._kept):
            self.drop(address)
