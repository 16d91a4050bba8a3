"""The program of a run: replays the program of the workflow, performs its steps, and commits their outcomes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from returns.result import Failure, Success

from perdure.jobs.checkpoint import ReadJournal
from perdure.jobs.context import EndInstance
from perdure.jobs.failures import record_failure
from perdure.kinds.workflow.commands import REASON
from perdure.kinds.workflow.crew import Crew
from perdure.kinds.workflow.draft import GetDraft
from perdure.kinds.workflow.errors import JournalFull, NotRecordable
from perdure.kinds.workflow.instructions import StartOver, WorkflowCancelled
from perdure.kinds.workflow.outcome_codecs import recordable
from perdure.kinds.workflow.progress import Known
from perdure.kinds.workflow.replay import Replay
from perdure.kinds.workflow.steps import NOW, Steps, commit_progress, write_logs
from perdure.kinds.workflow.stored import FAILURE, Ended, header_of
from perdure.kinds.workflow.tree import OpenStep, deadlines_around
from perdure.programs import Do, Halted, Program, Raised, asks, perform, program
from perdure.programs.concurrency import supervised
from perdure.programs.instructions import Sleep
from perdure.values.errors import InvalidInput

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow
    from perdure.values.instance import Instance

_YIELD: Final[Program[None]] = perform(Sleep(0))
"""Let the other work of the event loop run. `sleep` refuses 0 ms, which in a program of yours is a mistake."""


@program
def advancing(job: AnyWorkflow, instance: Instance) -> Do[None, Any, Any]:
    """Replay a workflow, and perform its next steps.

    Args:
        job: its definition.
        instance: the claimed instance.
    """
    services: Any = yield from asks(_same)
    draft = yield from perform(GetDraft())
    try:
        bodies = yield from _journal(instance.journal_length, draft.limits.journal_page)
        now_ms = yield from NOW
        known = Known(instance.data, header_of(instance))
        deliveries = 1 if instance.claim is None else instance.claim.deliveries
        draft.replay = replay = Replay(known, bodies, draft, job.signals, job.max_steps, now_ms, deliveries)
        replay.begin(job.main(instance), services)
        while replay.advance(draft.limits.replay_chunk):
            yield from _YIELD
            replay.now_ms = yield from NOW  # no wait that the replay reaches may begin before it does
        if draft.noticed is not None:  # a request that came during the replay
            row = draft.noticed
            replay.notice(Known(row.data, header_of(row)), row.suspension, replay.now_ms)
        yield from _living(Steps(job, instance, replay, services))
    except InvalidInput as problem:
        draft.problem = problem


@program
def _journal(length: int, page_rows: int) -> Do[list[str], Any, Any]:
    bodies: list[str] = []
    while len(bodies) < length:
        page = yield from perform(ReadJournal(len(bodies), page_rows))
        if not page:  # a replay of fewer rows would perform steps again
            raise InvalidInput("journal of a workflow", (f"expected {length} rows, the store has {len(bodies)}",))
        bodies += page
    return bodies


@program
def _living(steps: Steps) -> Do[None, Any, Any]:
    """Perform steps until the program waits for something else, or ends."""
    replay = steps.replay
    now_ms = yield from NOW
    while True:
        replay.pass_time(now_ms)
        if replay.lines:
            yield from write_logs(replay)
        calls: list[OpenStep] = replay.calls() if replay.exit is None else []
        if (replay.suspended and not calls) or replay.state == "stopped":
            break
        if replay.exit is None and replay.stopped is None and (replay.needs_commit or (calls and replay.unsaved())):
            news = yield from commit_progress(replay)
            now_ms = yield from NOW
            if news is not None:
                replay.notice(news.known, news.suspension, now_ms)
            continue
        if not calls:
            break
        if len(calls) == len(replay.tree.asked) == 1 and not deadlines_around(calls[0].branch):
            now_ms = yield from steps.performed(calls[0])
        else:
            yield from supervised(Crew(steps))
            now_ms = yield from NOW
    if replay.state == "running":
        yield from _over(steps.job, steps, replay)


@program
def _over(job: AnyWorkflow, steps: Steps, replay: Replay) -> Do[None, Any, Any]:
    """Encode the end of the program; one that has no form is a defect of the program."""
    now_ms = yield from NOW
    name, most = f"{job.kind}:{job.name}", replay.draft.limits.payload_bytes
    problem: Exception | Halted | None = JournalFull(replay.limit) if replay.is_full else replay.stopped
    try:
        match replay.exit:
            case Success(value):
                encoded = recordable(name, job.results.encode(value), most)
                replay.end = Ended(form="done", value=encoded.decode(), at_ms=now_ms)
            case Failure() as failure:
                record = record_failure(failure, job.plan.errors, secrets=steps.secrets())
                recordable(name, (record.data or "").encode(), most)
                replay.end = Ended(form="failed", value=FAILURE.encode(record).decode(), at_ms=now_ms)
            case Halted(WorkflowCancelled(reason)):
                replay.end = Ended(form="cancelled", value=REASON.encode(reason).decode(), at_ms=now_ms)
            case Halted(StartOver(state)):
                replay.fresh = job.encode_state(state, replay.draft.limits)
            case Halted(EndInstance()):
                pass
            case Halted() as halted:
                problem = halted
            case Raised(cause):
                problem = cast("Exception", cause)
            case _:
                pass
    except (InvalidInput, NotRecordable) as not_encoded:
        problem = not_encoded
    if problem is not None:
        replay.end = replay.fresh = None
        yield from steps.failed("", "run", problem, 0, now_ms)


def _same(services: Any) -> Any:
    return services
