"""The progress of a run since its last commit, as a value."""

from __future__ import annotations

from itertools import islice

import attrs

from perdure.kinds.workflow.stored import FailingStep, Header, Wait
from perdure.kinds.workflow.tree import Tree
from perdure.values.excerpt import fields_in_line
from perdure.values.message import Message
from perdure.values.status import Suspension


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
        bodies: new rows of the journal.
        received: how many signals the program received; the ends of children do not count.
        messages: the messages to other jobs.
        state: the state as JSON; None if the program has not set it.
        failing: the steps whose last attempt failed.
        waits_for: the signals, children and timers of the stored header that the program still waits for.
        failures: the attempts that failed since the last commit.
        logged: the log records that the program has written.
        cancelled: whether the program has received the request to cancel it.
        known: the header that the run read last, so that it need not be decoded again.
    """

    __repr__ = fields_in_line

    bodies: tuple[str, ...]
    received: int
    messages: tuple[Message, ...]
    state: str | None
    failing: tuple[FailingStep, ...]
    waits_for: tuple[Wait, ...]
    failures: tuple[StepFailure, ...]
    logged: int
    cancelled: bool
    known: Known


@attrs.frozen
class News:
    """The result of a checkpoint, with the requests that were stored meanwhile.

    Attributes:
        known: the stored data, after the checkpoint.
        suspension: why the instance is suspended, if it is.
        arrived: the length of the journal before the checkpoint's own rows: those before are known to the run, or have
            arrived.
        length: the length of the journal after it.
    """

    known: Known
    suspension: Suspension | None
    arrived: int
    length: int


def waits_of(tree: Tree, most: int = 10) -> tuple[Wait, ...]:
    """Return the signals, children and timers that a program waits for, for tools."""
    waiting = (asked for asked in tree.asked.values() if asked.path not in tree.steps)
    return tuple(
        Wait(path=each.path, name=each.name, at_ms=each.wake_ms, began_ms=each.begun_ms)
        for each in islice(waiting, most)
    )
