"""The steps and a workflow's data, as tools show them: without secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import orjson

from perdure.codecs import Codec
from perdure.jobs.redaction import redacted_failure
from perdure.jobs.step import NextStep
from perdure.kinds.workflow.header import (
    FAILURE,
    PUBLISHED,
    Ended,
    FailingStep,
    Header,
    Publication,
    Wait,
    with_shared,
)
from perdure.kinds.workflow.instructions import AwaitPromise, Receive
from perdure.kinds.workflow.journal import ASK, CHILD, REPLY, STARTED, Row, line_of, row_of
from perdure.kinds.workflow.replay import Replay
from perdure.values.excerpt import REFERENCE, shown_value
from perdure.values.listings import StepRecord
from perdure.values.secret import HIDDEN, Hide

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow


def redacted_header(job: AnyWorkflow, header: Header, hide: Hide) -> Header:
    """Return the header without its outcome's secrets."""
    if header.shared is not None:
        shown = tuple(attrs.evolve(each, value=_published(job, each, hide)) for each in header.shared.published)
        header = with_shared(header, published=shown)
    return header if header.ended is None else attrs.evolve(header, ended=_ended(job, header.ended, hide))


def _published(job: AnyWorkflow, value: Publication, hide: Hide) -> str:
    codec = job.received.get(f"{PUBLISHED}{value.name}")
    if codec is not None:
        return _redacted(codec, value.value, hide)
    return _HIDDEN if value.secret else value.value


def _ended(job: AnyWorkflow, ended: Ended, hide: Hide) -> Ended:
    match ended.form:
        case "done" if ended.value[:1] == REFERENCE:
            return ended
        case "done":
            return attrs.evolve(ended, value=_redacted(job.results, ended.value, hide))
        case "failed":
            record = redacted_failure(job, FAILURE.decode(ended.value.encode()), hide=hide)
            return attrs.evolve(ended, value=FAILURE.encode(record).decode())
        case "cancelled":
            return ended


def _redacted(codec: Codec[Any], encoded: str, hide: Hide) -> str:
    return codec.redact(encoded.encode(), hide=hide).decode()


_HIDDEN: Final = f'"{HIDDEN}"'


def next_steps(replay: Replay) -> tuple[NextStep, ...]:
    """Return the steps that a replayed program waits for, ordered by paths."""
    # As numbers: as texts, 10 comes before 2.
    waiting = sorted(replay.tree.asked.values(), key=lambda asked: _numbers(asked.path))
    return tuple(
        NextStep(
            path=each.path,
            name=each.name,
            instruction=each.instruction,
            line=line_of(each.branch.loop),
            request=_request_of(each.instruction),
        )
        for each in waiting
    )


def _request_of(instruction: object) -> str | None:
    if isinstance(instruction, AwaitPromise):
        return f"complete.{instruction.promise.name}"
    if not isinstance(instruction, Receive):
        return None
    return f"{'update' if instruction.is_update else 'signal'}.{instruction.name}"


def steps_of(header: Header, bodies: Sequence[str]) -> tuple[StepRecord, ...]:
    """Return a journal's steps ordered by ends, then those that are retried or waited for.

    Raises:
        InvalidInput: a row cannot be decoded.
    """
    rows = _answers(header, bodies)
    started = {row.path.removesuffix(STARTED): row for row in rows if row.path.endswith(STARTED)}
    # Removed with its answer: the starts that are left are those of open steps.
    answered = [_recorded(row, started.pop(row.path, None)) for row in rows if not row.path.endswith(STARTED)]
    failing = {step.path for step in header.failing}
    parked = {child.path for child in header.parked}
    # A step that fails is listed once, with its error.
    waits = [_waited(wait, started.pop(wait.path, None)) for wait in header.waits_for if wait.path not in failing]
    status = "waiting" if header.ended is None else "left"  # by a branch that no longer waited
    children = [
        attrs.evolve(_waited(Wait(path=path, name=row.name), row), status=status) for path, row in started.items()
    ]
    open_ = [attrs.evolve(step, status="parked") if step.path in parked else step for step in (*waits, *children)]
    return (*answered, *map(_failing, header.failing), *open_)


def _answers(header: Header, bodies: Sequence[str]) -> list[Row]:
    """Return a journal's answers, each receipt with the value that had arrived."""
    arrived: dict[int, str] = {}
    answers: list[Row] = []
    for place, body in enumerate(bodies):
        row = row_of(body)
        if row.form == "arrived":
            arrived[row.signal] = row.value
        elif place >= header.skips and row.form not in ("waiting", "part"):
            answers.append(attrs.evolve(row, value=arrived.pop(row.signal)) if row.signal in arrived else row)
    return answers


def answers_in(header: Header, bodies: Sequence[str]) -> int:
    """Return how many answers to steps a journal holds."""
    return sum(1 for row in _answers(header, bodies) if not row.path.endswith(STARTED))


def has_secrets(bodies: Sequence[str]) -> bool:
    """Return whether an outcome in a journal has secrets."""
    return any(row_of(body).secret for body in bodies)


def _recorded(row: Row, start: Row | None) -> StepRecord:
    if row.form == "done" and row.name.startswith((CHILD, ASK)) and row.value[:1] == REFERENCE:
        row = attrs.evolve(row, value=orjson.dumps({"form": "done", "value": shown_value(row.value)}).decode())
    if row.form == "done" and row.name.startswith(CHILD):
        return _child(row, row if start is None else start)
    value = orjson.dumps(orjson.loads(row.value)[0]).decode() if row.form == "cancelled" else row.value
    if row.form == "done" and row.name.startswith(ASK):
        value = orjson.loads(row.value)["value"]
    if row.form == "done" and row.name.startswith(REPLY):
        value = orjson.loads(row.value)[2]
    if row.value[:1] == REFERENCE:
        value = shown_value(row.value)
    return StepRecord(
        path=row.path,
        name=row.name,
        status="done" if row.form == "mark" else row.form,
        attempts=row.attempts,
        began_ms=row.began_ms,
        at_ms=row.at_ms,
        value=(_HIDDEN if row.secret else value) or None,
    )


def _child(row: Row, start: Row) -> StepRecord:
    """Return the step of a child that ended: its own value or error."""
    ended: dict[str, str] = orjson.loads(row.value)
    form, value = ended["form"], ended["value"]
    error = FAILURE.decode(value.encode()) if form == "failed" else None
    if error is not None and row.secret:
        # Only the child's definition knows which parts are secret, so all data is left out.
        error = attrs.evolve(error, data=None)  # its text never holds a secret
    return StepRecord(
        path=row.path,
        name=row.name,
        status=form,
        attempts=row.attempts,
        began_ms=start.at_ms,
        at_ms=row.at_ms,
        value=None if form in {"failed", "exists"} else _HIDDEN if row.secret and form == "done" else value,
        error=error,
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


def _waited(wait: Wait, start: Row | None) -> StepRecord:
    """Return a step that is waited for. A child has a row of its start."""
    return StepRecord(
        path=wait.path,
        name=wait.name,
        status="waiting",
        attempts=0,
        began_ms=wait.began_ms if start is None else start.at_ms,
        at_ms=wait.at_ms,
    )


def _numbers(path: str) -> tuple[int, ...]:
    return tuple(map(int, path.split(".")))
