"""The progress of a run since its last commit, as a value."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.jobs.draft import Draft
from perdure.kinds.workflow.row import Row, body_of
from perdure.kinds.workflow.stored import FailingStep, Header
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Suspension
from perdure.values.message import Message


@attrs.frozen
class StepFailure:
    """A failed attempt.

    Attributes:
        step: the step after it.
        took_ms: how long the attempt took.
    """

    step: FailingStep
    took_ms: int


@attrs.frozen(kw_only=True)
class RunProgress:
    """The data that one commit adds to the stored workflow.

    Attributes:
        bodies: new rows of the journal.
        taken: the numbers of the signals that the program received.
        messages: the messages to other jobs.
        state: the state as JSON; None if the program has not set it.
        failing: the steps whose last attempt failed.
        failures: the attempts that failed since the last commit.
        logged: the log records that the program has written.
        cancelled: whether the program has received the request to cancel it.
    """

    __repr__ = fields_in_line

    bodies: tuple[str, ...]
    taken: frozenset[int]
    messages: tuple[Message, ...]
    state: str | None
    failing: tuple[FailingStep, ...]
    failures: tuple[StepFailure, ...]
    logged: int
    cancelled: bool


@attrs.frozen
class News:
    """The result of a checkpoint: what requests stored meanwhile.

    Attributes:
        header: the stored data, after the checkpoint.
        suspension: why the instance is suspended, if it is.
    """

    header: Header
    suspension: Suspension | None


def progress_of(  # noqa: PLR0917 - the parts of a replay
    draft: Draft,
    rows: Sequence[Row],
    failures: tuple[StepFailure, ...],
    failing: tuple[FailingStep, ...],
    taken: frozenset[int],
    logged: int,
    cancelled: bool,  # noqa: FBT001 - as it is stored
) -> RunProgress:
    """Return the progress of a run, and remove its messages from the draft: they are sent once."""
    messages = tuple(draft.messages)
    draft.messages.clear()
    return RunProgress(
        bodies=tuple(map(body_of, rows)),
        taken=taken,
        messages=messages,
        state=draft.encoded,
        failing=failing,
        failures=failures,
        logged=logged,
        cancelled=cancelled,
    )
