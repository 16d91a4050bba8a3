"""The steps of a workflow, for tools."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.jobs.replayed import NextStep
from perdure.kinds.workflow.line import line_of
from perdure.kinds.workflow.replay import Replay
from perdure.kinds.workflow.row import Row, row_of
from perdure.kinds.workflow.stored import FailingStep, Header, Wait
from perdure.values.secret import HIDDEN
from perdure.values.step_record import StepRecord


def next_steps(replay: Replay) -> tuple[NextStep, ...]:
    """Return the steps that a replayed program waits for, in the order of their paths."""
    waiting = sorted(replay.tree.asked.values(), key=lambda asked: _numbers(asked.path))
    return tuple(
        NextStep(path=each.path, name=each.name, instruction=each.instruction, line=line_of(each.branch.loop))
        for each in waiting
    )


def steps_of(header: Header, bodies: Sequence[str]) -> tuple[StepRecord, ...]:
    """Return the steps of a journal in the order of their ends, then those that are retried or waited for.

    Raises:
        InvalidInput: a row cannot be decoded.
    """
    rows = [_recorded(row) for row in map(row_of, bodies)]
    failing = {step.path for step in header.failing}
    waits = [_waited(wait) for wait in header.waits_for if wait.path not in failing]
    return (*rows, *map(_failing, header.failing), *waits)


def has_secrets(bodies: Sequence[str]) -> bool:
    """Return whether an outcome in a journal has secrets."""
    return any(row_of(body).secret for body in bodies)


def _recorded(row: Row) -> StepRecord:
    return StepRecord(
        path=row.path,
        name=row.name,
        status="done" if row.form == "mark" else row.form,
        attempts=row.attempts,
        began_ms=row.began_ms,
        at_ms=row.at_ms,
        value=(f'"{HIDDEN}"' if row.secret else row.value) or None,
    )


def _failing(step: FailingStep) -> StepRecord:
    return StepRecord(
        path=step.path,
        name=step.name,
        status="parked" if step.at_ms is None else "retrying",
        attempts=step.attempts,
        at_ms=step.at_ms,
        error=step.error,
    )


def _waited(wait: Wait) -> StepRecord:
    return StepRecord(path=wait.path, name=wait.name, status="waiting", attempts=0, at_ms=wait.at_ms)


def _numbers(path: str) -> tuple[int, ...]:
    return tuple(map(int, path.split(".")))
