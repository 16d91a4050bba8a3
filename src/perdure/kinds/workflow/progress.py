"""The progress of a run since its last commit, as a value, and a failed step's next attempt. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

import attrs

from perdure.jobs.checkpoint import NoProgress
from perdure.kinds.workflow.commands import JournalFull, NotInWorkflow, NotRecordable
from perdure.kinds.workflow.header import FailingStep, Header, Publication, Wait
from perdure.kinds.workflow.journal import row_of
from perdure.kinds.workflow.tree import Tree
from perdure.values.excerpt import fields_in_line
from perdure.values.message import Message
from perdure.values.retry import Retry, RetryAt
from perdure.values.status import FailureRecord, Suspension

NOT_RETRYABLE: Final = (NotRecordable, NotInWorkflow, JournalFull)
"""Defects that another attempt would only repeat, after it has performed the effect again."""

FULL_ERRORS: Final = 20
"""How many steps that fail at the same time keep the traceback of their error: each commit writes them again."""


def shortened_error(step: FailingStep) -> FailingStep:
    """Return a failing step without its error's traceback. The attempt's event has it."""
    return attrs.evolve(step, error=attrs.evolve(step.error, traceback=""))


def after_failure(
    policy: Retry[Any] | None,
    before: FailingStep | None,
    *,
    path: str,
    name: str,
    defect: object,
    error: FailureRecord,
    now_ms: int,
    jitter: float,
) -> FailingStep:
    """Return a step after a failed attempt.

    Args:
        policy: the definition's retry policy.
        before: the step after its last failed attempt, if this is not the first.
        path: the step's path.
        name: the step's name.
        defect: this attempt's exception.
        error: the exception, recorded.
        now_ms: when the attempt failed.
        jitter: a random number in [0, 1).
    """
    attempts = 1 if before is None else before.attempts + 1
    uncounted = 0 if before is None else before.uncounted
    # Only attempts since the last resumption count towards the policy.
    counted = attempts - uncounted
    # A resumed step begins a new series, whose time limit counts from now.
    first_failed_ms = now_ms if before is None or counted == 1 else before.first_failed_ms
    at_ms, reason = None, "not_retryable"
    # Before the policy: another attempt would perform the effect again, and then fail in the same way.
    if not isinstance(defect, NOT_RETRYABLE):
        reason = "max_attempts"
        if policy is not None:
            decided = policy.after_defect(
                attempt=counted, first_failed_ms=first_failed_ms, now_ms=now_ms, jitter=jitter
            )
            if isinstance(decided, RetryAt):
                at_ms, reason = decided.at_ms, ""
            else:
                reason = decided.reason
    return FailingStep(
        path=path,
        name=name,
        attempts=attempts,
        uncounted=uncounted,
        first_failed_ms=first_failed_ms,
        at_ms=at_ms,
        reason=reason,
        error=error,
    )


@attrs.frozen
class StepFailure:
    """A failed attempt.

    Attributes:
        step: the step after it.
        took_ms: how long the attempt took.
    """

    step: FailingStep
    took_ms: int


@attrs.frozen
class Known:
    """A header, encoded and decoded.

    Attributes:
        data: as the store keeps it.
        header: the same, decoded.
    """

    __repr__ = fields_in_line

    data: str
    header: Header


@attrs.frozen(kw_only=True)
class RunProgress:
    """The data that one commit adds to the stored workflow.

    Attributes:
        bodies: new rows in the journal.
        replied: the numbers of the updates that were answered.
        published: the values that the program published.
        received: how many signals the program received. The ends of children do not count.
        messages: the messages to other jobs.
        state: the state as JSON. None if the program has not set it.
        failing: the steps whose last attempt failed.
        waits_for: the signals, children and timers in the stored header that the program still waits for.
        failures: the attempts that failed since the last commit.
        emptied: the rows of the journal that lose a part that nothing names.
        logged: the log records that the program has written.
        cancelled: whether the program has received the request to cancel it.
        known: the header that the run read last, so that it need not be decoded again.
    """

    __repr__ = fields_in_line

    bodies: tuple[str, ...]
    replied: tuple[int, ...] = ()
    published: tuple[Publication, ...] = ()
    received: int
    messages: tuple[Message, ...]
    state: str | None
    failing: tuple[FailingStep, ...]
    waits_for: tuple[Wait, ...]
    failures: tuple[StepFailure, ...]
    emptied: tuple[tuple[int, str], ...] = ()
    logged: int
    cancelled: bool
    known: Known

    def after(self, earlier: RunProgress | None) -> RunProgress:
        """Return this progress with an earlier one of the same run, whose commit was refused."""
        if earlier is None:
            return self
        return attrs.evolve(
            self,
            # Earlier rows first: the journal's order is the order in which the program received them.
            bodies=earlier.bodies + self.bodies,
            replied=earlier.replied + self.replied,
            published=earlier.published + self.published,
            received=earlier.received + self.received,
            messages=earlier.messages + self.messages,
            failures=earlier.failures + self.failures,
            emptied=earlier.emptied + self.emptied,
        )


@attrs.frozen
class Parts(NoProgress):
    """A large outcome's parts, for one commit.

    Attributes:
        known: the header that the run read last.
        emptied: the rows of the journal that lose a part that nothing names.
    """

    __repr__ = fields_in_line

    names: tuple[str, ...]
    bodies: tuple[str, ...]
    known: Known
    emptied: tuple[tuple[int, str], ...]


@attrs.frozen
class News:
    """A checkpoint's result, with the requests that were stored meanwhile.

    Attributes:
        known: the stored data, after the checkpoint.
        suspension: why the instance is suspended, if it is.
        arrived: the journal's length before the checkpoint's own rows: those before are known to the run, or have
            arrived.
        length: the journal's length after it.
    """

    known: Known
    suspension: Suspension | None
    arrived: int
    length: int


@attrs.frozen(kw_only=True)
class LeftProgram:
    """The end of a run that keeps its program, as its commit stores it.

    Attributes:
        bodies: the last rows, which that commit appends.
        place: the first one's place in the journal.
    """

    __repr__ = fields_in_line

    header: Header
    state: str
    bodies: tuple[str, ...]
    place: int

    def arrived(self, header: Header, state: str, first: int, rows: Sequence[str]) -> list[str] | None:
        """Return the rows that others have appended. None if the store does not hold the rows of the run.

        Another engine may have run the workflow, or the commit may have been refused: then the program in memory is not
        the stored one.

        Args:
            header: the stored header.
            state: the stored state.
            first: the place from which the run does not know the rows.
            rows: the stored rows from that place on.
        """
        # The rows that the run has written, at the place that its commit assigned.
        own = slice(self.place - first, self.place - first + len(self.bodies))
        if state != self.state or tuple(rows[own]) != self.bodies or _own(header) != _own(self.header):
            return None
        others = [*rows[: own.start], *rows[own.stop :]]
        # A row that is no arrival is another run's: it has continued the workflow.
        return others if all(row_of(body).form in {"arrived", "part"} for body in others) else None


def _own(header: Header) -> Header:
    """Return the part of a header that only runs write."""
    # Callers and other workflows change these fields between runs.
    return attrs.evolve(header, signals=0, waiting=0, parked=(), unanswered=(), shared=None)


def waits_of(tree: Tree, most: int = 10) -> tuple[Wait, ...]:
    """Return the signals, children and timers that a program waits for, for tools."""
    waiting = (asked for asked in tree.asked.values() if asked.path not in tree.steps)
    return tuple(
        Wait(path=each.path, name=each.name, at_ms=each.wake_ms, began_ms=each.begun_ms)
        for each in islice(waiting, most)
    )
