"""Rows of a job in every status, made by its own decisions: without an engine, and without the user's hooks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import attrs
from returns.result import Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ALARM, PAUSE, CommandSpec, Request
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute, Step
from perdure.jobs.turn import begin, finish
from perdure.programs import Exit, Raised
from perdure.testing.typed import NoSample, examples_of
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs

START_MS: Final = 1_767_225_600_000
"""The time of the rows: the beginning of 2026."""

HOUR_MS: Final = 3_600_000

MAX_HOOKS: Final = 3
"""Hooks of one turn: the handler, ``on_error``, ``on_idle``."""


def facts_at(now_ms: int) -> TurnInputs:
    """Return the inputs of a decision at an instant."""
    return TurnInputs(now_ms=now_ms, jitter=0.5, id_base=now_ms << 80, epoch=1)


def rows_of(job: AnyDefinition) -> dict[str, Instance]:
    """Return rows of a job, by their labels: ``scheduled``, ``running (alarm)``, ``paused``, and so on.

    Commands that create an instance are decided, and their runs are settled, as an engine would: a run that succeeds
    without a change, one that fails. Then alarms fire, and the instance is paused.

    Args:
        job: the definition.

    Returns:
        One row of each kind; empty if no input of a creating command can be constructed.
    """
    rows: dict[str, Instance] = {}
    for born in _born(job):
        for row in (born, *_later(job, born)):
            rows.setdefault(label_of(row), row)
    return rows


def label_of(row: Instance) -> str:
    """Return the label of a row, in a word or two."""
    claim, pending_retry = row.claim or row.event_claim, row.pending_retry
    if claim is not None:
        return f"running ({claim.cause})"
    if row.suspension is not None:
        return f"{row.status} ({row.suspension})"
    return f"{row.status} ({pending_retry.cause})" if pending_retry is not None else row.status


def _born(job: AnyDefinition) -> Iterator[Instance]:
    for spec in job.plan.commands.values():
        if spec.absent != "creates":
            continue
        for request in _requests(job, spec):
            yield from _rows(job, begin(job, job.address("made-up"), Loaded(), request, facts_at(START_MS)), START_MS)


def _requests(job: AnyDefinition, spec: CommandSpec[Any]) -> Iterator[Request]:
    """Yield the requests of a command, one for each member of its input's union."""
    if spec.input is None:
        yield job.parse(spec.name, "")
        return
    try:
        for sample in examples_of(spec.input.form):
            yield job.parse(spec.name, spec.input.encode(sample).decode())
    except (NoSample, InvalidInput):
        return


def _later(job: AnyDefinition, row: Instance) -> Iterator[Instance]:
    """Yield the next rows of a row without a run: its alarm fires, or it is paused."""
    if row.claim is not None or row.event_claim is not None or row.suspension is not None:
        return
    armed = row if row.due_ms is not None else row.changed(alarm_ms=row.updated_ms + HOUR_MS)
    yield armed
    due_ms = armed.due_ms or START_MS
    yield from _rows(job, begin(job, armed.address, Loaded(instance=armed), ALARM, facts_at(due_ms)), due_ms)
    pause = Request(command=PAUSE.command(), action=PAUSE.name)
    yield from _rows(job, begin(job, armed.address, Loaded(instance=armed), pause, facts_at(START_MS)), START_MS)


def _rows(job: AnyDefinition, step: Step, now_ms: int) -> Iterator[Instance]:
    """Yield the rows that a decision results in: during its run, after a success, after a failure."""
    match step:
        case Commit(transition):
            yield from _put(transition)
        case Execute():
            claimed = next(_put(step.claiming or claim_event(step)))
            yield claimed
            running = attrs.evolve(step, instance=claimed, claimed="recorded")
            for exit_ in (Success(None), Raised(RuntimeError("made up"))):
                yield from _put(_ended(job, running, exit_, now_ms))
        case _:
            return


def _ended(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], now_ms: int) -> Transition:
    step = _finish(job, execute, exit_, now_ms)
    for _ in range(MAX_HOOKS):
        if isinstance(step, Commit):
            return step.transition
        step = _finish(job, step, exit_, now_ms)
    return Transition(address=execute.instance.address)


def _finish(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], now_ms: int) -> Commit | Execute:
    """Decide on a made-up exit as the engine does: a kind that does not accept its value has a defect."""
    try:
        return finish(job, execute, exit_, facts_at(now_ms))
    except Exception as defect:  # noqa: BLE001 - of whatever class
        return finish(job, execute, Raised(defect), facts_at(now_ms))


def _put(transition: Transition) -> Iterator[Instance]:
    if isinstance(transition.write, Put):
        yield transition.write.instance.changed(incarnation=1)
