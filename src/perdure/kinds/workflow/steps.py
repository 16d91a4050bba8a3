"""Performs the steps of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from perdure.jobs.checkpoint import Checkpoint, ReadJournal
from perdure.jobs.failures import record_failure
from perdure.jobs.redaction import has_secrets, secrets_of_instance
from perdure.kinds.workflow.instructions import OneStep
from perdure.kinds.workflow.progress import News
from perdure.kinds.workflow.replay import Replay
from perdure.kinds.workflow.retrying import after_failure
from perdure.kinds.workflow.tree import OpenStep
from perdure.programs import Do, Halted, Program, Raised, perform, program, sandbox
from perdure.programs.instructions import Jitter, Now
from perdure.values.excerpt import fields_in_line

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow
    from perdure.values.instance import Instance


NOW: Final[Program[int]] = perform(Now())
_JITTER: Final[Program[float]] = perform(Jitter())


@program
def write_logs(replay: Replay) -> Do[None, Any, Any]:
    """Write the log records of the program: once, because a replay repeats none."""
    lines, replay.lines = replay.lines, []
    for line in lines:
        yield from perform(line)


@program
def read_arrivals(replay: Replay, length: int) -> Do[None, Any, Any]:
    """Read the rows that others have appended to the journal since the run has read it.

    Args:
        replay: the replay of the run.
        length: up to this place.
    """
    while replay.read_to < length:
        first = replay.read_to
        page = yield from perform(ReadJournal(first, min(replay.draft.limits.journal_page, length - first)))
        if not page:  # purged meanwhile
            return
        replay.arrived(first, page)


@program
def commit_progress(replay: Replay) -> Do[News | None, Any, Any]:
    """Commit the progress of the run, and read the rows that have arrived since its last commit."""
    news: News | None = yield from perform(Checkpoint(replay.take))
    if news is not None:
        yield from read_arrivals(replay, news.arrived)
        replay.read_to = max(replay.read_to, news.length)  # its own rows
    return news


@attrs.define
class Steps:
    """Performs the steps of one run.

    Attributes:
        job: the definition.
        instance: the claimed instance.
        replay: the replay of the run.
        services: the services of the run.
    """

    __repr__ = fields_in_line

    job: AnyWorkflow
    instance: Instance
    replay: Replay
    services: Any  # the user's own record

    def secrets(self) -> frozenset[str]:
        """Return the secrets that the program had."""
        if not has_secrets(self.job):
            return frozenset()
        drafted = self.replay.draft.encoded
        known = secrets_of_instance(self.job, self.instance)
        return known if drafted is None else known | self.job.plan.state.secrets(drafted.encode())

    @program
    def performed(self, asked: OpenStep) -> Do[int, Any, Any]:
        """Perform a step, run the program of the workflow on, and return the time of the end."""
        replay = self.replay
        began_ms = yield from NOW
        replay.begin_step(asked, began_ms)
        exit_ = yield from sandbox(self._call(asked))
        now_ms = yield from NOW
        defect = replay.performed(asked, exit_, now_ms)
        if defect is not None:
            yield from self.failed(asked.path, asked.name, defect, now_ms - began_ms, now_ms)
        if replay.lines:
            yield from write_logs(replay)
        return now_ms

    def _call(self, asked: OpenStep) -> Program[Any, Any, Any]:
        instruction = asked.instruction
        inner: Program[Any, Any, Any] = instruction.make() if instruction.__class__ is OneStep else perform(instruction)
        return inner if asked.scope is self.services else inner.provide(asked.scope)

    @program
    def failed(self, path: str, name: str, defect: Exception | Halted, took_ms: int, now_ms: int) -> Do[None, Any, Any]:
        """Note a failed attempt."""
        jitter = yield from _JITTER
        record = record_failure(defect if isinstance(defect, Halted) else Raised(defect), None, secrets=self.secrets())
        before = self.replay.failing.get(path) if path else self.replay.program_failure
        step = after_failure(
            self.job.plan.retry, before, path=path, name=name, defect=defect, error=record, now_ms=now_ms, jitter=jitter
        )
        self.replay.failed(step, max(0, took_ms))
