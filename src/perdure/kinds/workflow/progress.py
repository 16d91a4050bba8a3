"""The progress of a run since its last commit, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING

import attrs

from perdure.kinds.workflow.names import SIGNAL
from perdure.kinds.workflow.row import Row, body_of
from perdure.kinds.workflow.stored import FailingStep, Header, Wait
from perdure.kinds.workflow.tree import Tree
from perdure.values.excerpt import fields_in_line
from perdure.values.message import Message
from perdure.values.status import Suspension

if TYPE_CHECKING:
    from perdure.kinds.workflow.replay import Replay


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


def progress_of(replay: Replay, rows: Sequence[Row], failures: tuple[StepFailure, ...]) -> RunProgress:
    """Return the progress of a run, and remove its messages from the draft: they are sent once.

    Args:
        replay: the replay of the run.
        rows: its rows since the last commit.
        failures: its failed attempts since then.
    """
    draft = replay.draft
    messages = tuple(draft.messages)
    draft.messages.clear()
    return RunProgress(
        bodies=tuple(map(body_of, rows)),
        received=sum(1 for row in rows if row.signal and row.name.startswith(SIGNAL)),
        messages=messages,
        state=draft.encoded,
        failing=tuple(replay.failing.values()),
        waits_for=tuple(wait for wait in replay.header.waits_for if wait.path in replay.tree.asked),
        failures=failures,
        logged=max(replay.logged, replay.header.logged),
        cancelled=replay.cancelled,
        known=replay.known,
    )


def waits_of(tree: Tree, most: int = 10) -> tuple[Wait, ...]:
    """Return the signals, children and timers that a program waits for, for tools."""
    waiting = (asked for asked in tree.asked.values() if asked.path not in tree.steps)
    return tuple(
        Wait(path=each.path, name=each.name, at_ms=each.wake_ms, began_ms=each.begun_ms)
        for each in islice(waiting, most)
    )
