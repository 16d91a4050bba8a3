"""A workflow's commits: during a run, and at its end. Pure."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
import orjson
from returns.result import Success

from perdure.jobs.context import EndInstance
from perdure.jobs.draft import Draft
from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import secrets_of_run
from perdure.jobs.run import executed, run_answer
from perdure.jobs.step import Commit, Execute
from perdure.jobs.suspension import leave
from perdure.jobs.transitions import EventRecorder, answered, purge, put, stored
from perdure.kinds.workflow.children import has_secret_end, is_child_signal, report_end, report_parking, told
from perdure.kinds.workflow.commands import REASON, ChildEnd
from perdure.kinds.workflow.handler import answer_to
from perdure.kinds.workflow.header import (
    DEADLINE_PASSED,
    END,
    FAILURE,
    REPLY_TO,
    CancelRequest,
    Ended,
    FailingStep,
    Header,
    Watcher,
    header_of,
    shared_in,
    with_published,
    with_shared,
    written,
)
from perdure.kinds.workflow.journal import body_of, interrupt, is_reply, reply_numbered, row_of, stops_when_cancelled
from perdure.kinds.workflow.progress import Known, LeftProgram, News, Parts, RunProgress, after_failure, waits_of
from perdure.kinds.workflow.replay import Replay, cancel, end_dropped
from perdure.kinds.workflow.run_program import WorkflowDraft, policy_for, progress_of
from perdure.kinds.workflow.tree import can_stop
from perdure.programs import Exit, Halted, Raised
from perdure.values.answer import OutcomeRecord
from perdure.values.event import (
    Event,
    JobFailed,
    JobNoted,
    JobParked,
    JobResumed,
    JobRetryExhausted,
    JobTerminated,
    Parking,
)
from perdure.values.instance import Instance, PendingRetry
from perdure.values.message import Message
from perdure.values.status import FailureRecord, failed_for_good
from perdure.values.transition import JournalChange
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow


MAX_KEPT_REPLIES: Final = 100
"""Replies to updates that outlast `start_over`, the newest: their callers may not have read them yet."""


def may_stop(replay: Replay) -> bool:
    """Return whether a run may be stopped now: all its steps in progress, and those that a crash interrupted."""
    perhaps = (asked for asked in replay.tree.asked.values() if asked.path in replay.perhaps_begun)
    return all(map(can_stop, (*replay.in_progress, *perhaps)))


def _all_stop(replay: Replay) -> bool:
    """Return whether there are steps in progress, and any cancellation stops each of them."""
    return bool(replay.in_progress) and all(map(stops_when_cancelled, replay.in_progress)) and not replay.perhaps_begun


def cut(replay: Replay, request: CancelRequest) -> None:
    """Record that a stopped run's program is cancelled, and that its steps were interrupted. Continue no step."""
    if not replay.cancelled:
        cancel(replay, request.reason)
    interrupt(replay.tree, every=request.interrupt)
    for asked in [asked for asked in replay.tree.dropping.values() if asked.begun_ms is not None]:
        replay.record(asked, "interrupted")
        replay.tree.stopped(asked, begun=True)
    while end_dropped(replay):
        pass


_CHILD_CANCELLED = "terminated"


def checkpoint(execute: Execute, progress: RunProgress | Parts, inputs: TurnInputs) -> Commit:
    """Commit a run's progress, or parts of an outcome, over the present row."""
    before, known = execute.instance, progress.known
    if isinstance(progress, Parts):
        replay = cast("WorkflowDraft", execute.draft).replay
        if replay is not None:
            replay.parts.decide(progress.names, before.journal_length)
        transition = put(before, inputs.now_ms, journal=JournalChange(progress.bodies, rewritten=progress.emptied))
        length = before.journal_length + len(progress.bodies)
        return answered(transition, News(known, before.suspension, before.journal_length, length))
    # The row, and not the run's copy: requests that were stored meanwhile must survive the commit.
    # Equal text: the header that the run decoded is still the stored one, and need not be decoded again.
    stored_header = known.header if before.data == known.data else header_of(before)
    header = advanced(stored_header, progress, before)
    data = before.data if header is stored_header else written(header)
    progress = with_news(progress, stored_header, before, inputs)
    events: tuple[Event, ...] = ()
    if progress.failures:
        events = _failures(EventRecorder(inputs, before.address, before.run_count), execute, progress)
    transition = put(
        before,
        inputs.now_ms,
        events=events,
        messages=progress.messages,
        state=before.state if progress.state is None else progress.state,
        data=data,
        journal=_appended(progress),
    )
    after = stored(transition)
    length = before.journal_length if after is None else after.journal_length
    return answered(transition, News(Known(data, header), before.suspension, before.journal_length, length))


def advanced(header: Header, progress: RunProgress, before: Instance) -> Header:
    """Return the header with a run's progress."""
    cancel = header.cancel
    # Each field that `attrs.evolve` changes below must be named here: a change without its condition is not written.
    if not (
        (progress.state is not None and header.first is None)
        or progress.logged != header.logged
        or progress.received
        or progress.replied
        or progress.published
        or progress.failing != header.failing
        or progress.waits_for != header.waits_for
        or (progress.cancelled and (cancel is None or not cancel.delivered))
    ):
        return header
    if progress.published or progress.replied:
        header = _after_news(header, progress)
    return attrs.evolve(
        header,
        # A replay begins with the state of the start: the present one would apply its changes a second time.
        first=before.state if progress.state is not None and header.first is None else header.first,
        logged=progress.logged,
        # Subtracted, because signals may have arrived since the run read the number.
        waiting=header.waiting - progress.received,
        failing=progress.failing,
        waits_for=progress.waits_for,
        unanswered=tuple(each for each in header.unanswered if each not in progress.replied)
        if progress.replied
        else header.unanswered,
        cancel=_delivered(cancel) if progress.cancelled else cancel,
    )


def _delivered(cancel: CancelRequest | None) -> CancelRequest:
    """Return a request that the program has received. Without one, its deadline has cancelled it."""
    return attrs.evolve(cancel or CancelRequest(reason=DEADLINE_PASSED), delivered=True)


def with_news(progress: RunProgress, header: Header, before: Instance, inputs: TurnInputs) -> RunProgress:
    """Return a run's progress with the messages to the workflows that wait for the values that it publishes.

    Args:
        progress: the progress.
        header: the stored header: workflows may have begun to wait since the run read it.
        before: the stored instance.
        inputs: the clock.
    """
    if not (progress.published or progress.replied) or header.shared is None:
        return progress
    after = _after_news(header, progress)
    watchers = tuple(each for each in header.shared.watchers if each not in shared_in(after).watchers)
    replies = [row_of(body) for body in progress.bodies if is_reply(body)] if watchers else []
    ends = {f"{REPLY_TO}{reply_numbered(row)[0]}": row for row in replies}

    def found(watcher: Watcher) -> ChildEnd:
        row = ends.get(watcher.wants)
        if row is None:
            return _answered(after, watcher)
        _, form, value = reply_numbered(row)
        return ChildEnd(call=watcher.call, form=form, value=value, secret=row.secret)

    news = told(watchers, before.address, found, inputs.now_ms)
    return attrs.evolve(progress, messages=(*progress.messages, *news))


def _after_news(header: Header, progress: RunProgress) -> Header:
    """Return the header with a run's published values, and without the watchers that this run answers."""
    after = with_published(header, progress.published) if progress.published else header
    if not progress.replied or after.shared is None:
        return after
    replied = {f"{REPLY_TO}{number}" for number in progress.replied}
    return with_shared(after, watchers=tuple(each for each in after.shared.watchers if each.wants not in replied))


def _answered(header: Header, watcher: Watcher) -> ChildEnd:
    """Return the answer to a workflow that waits for something of one that publishes it, or ends."""
    return answer_to(header, watcher) or ChildEnd(call=watcher.call, form="ended", value="null")


def _appended(progress: RunProgress) -> JournalChange | None:
    changes = progress.bodies or progress.emptied
    return JournalChange(progress.bodies, rewritten=progress.emptied) if changes else None


def _failures(log: EventRecorder, execute: Execute, progress: RunProgress) -> tuple[Event, ...]:
    """Record the failed attempts."""
    return tuple(
        log.add(
            JobFailed,
            run_id=execute.claim.run_id,
            hook=failure.step.name,
            attempt=failure.step.attempts,
            delivery=execute.claim.deliveries,
            duration_ms=failure.took_ms,
            error=failure.step.error,
            retry_at_ms=failure.step.at_ms,
        )
        for failure in progress.failures
    )


# ---------------------------------------------------------------- the end of a run
def _last_progress(draft: Draft, replay: Replay) -> RunProgress:
    """Return the progress that a run ends with.

    The run's end is decided again if its commit is refused, because a request was stored in between. The progress of
    the refused commit is no longer in the replay: without it, the outcome of a step would be lost.
    """
    of_run = cast("WorkflowDraft", draft)
    of_run.ending = progress_of(replay).after(of_run.ending)
    return of_run.ending


def settled(job: AnyWorkflow, execute: Execute, replay: Replay, inputs: TurnInputs) -> Commit:
    """Commit a run's end: the workflow ended, waits, is retried, or is parked."""
    # Generators that are left open would run their `finally` blocks when they are collected, at any moment.
    if not replay.is_kept:
        replay.tree.close()
    stored_header = header_of(execute.instance)
    progress = with_news(_last_progress(execute.draft, replay), stored_header, execute.instance, inputs)
    header = advanced(stored_header, progress, execute.instance)
    if replay.end is not None:
        return _ended(job, execute, header, progress, replay.end, inputs, replay=replay)
    if replay.fresh is not None:
        return _started_over(execute, header, progress, replay, replay.fresh, inputs)
    exit_ = replay.tree.exit
    if isinstance(exit_, Halted) and isinstance(exit_.signal, EndInstance):
        return _terminated(execute, progress, exit_.signal.reason, inputs)
    waits = waits_of(replay.tree)
    if waits != header.waits_for:
        header = attrs.evolve(header, waits_for=waits)
    stopped = next((step for step in header.failing if step.at_ms is None), None)
    # A request to cancel comes first: a parked workflow would not undo its steps.
    if stopped is not None and not _is_cancelled_next(header, replay, inputs):
        has_policy = policy_for(job, replay, stopped.path) is not None
        return _given_up(job, execute, header, progress, stopped, inputs, is_exhausted=has_policy)
    return _waiting(execute, header, progress, replay, inputs)


def _is_cancelled_next(header: Header, replay: Replay, inputs: TurnInputs) -> bool:
    """Return whether the next run delivers a request to cancel the workflow. This one began before it."""
    if header.cancel is not None:
        return not header.cancel.delivered and replay.header.cancel is None
    deadline_ms = replay.deadline_ms()
    return deadline_ms is not None and deadline_ms <= inputs.now_ms and not replay.suspended


def _waiting(execute: Execute, header: Header, progress: RunProgress, replay: Replay, inputs: TurnInputs) -> Commit:
    before = execute.instance
    wakes = [replay.wake_ms(), replay.deadline_ms(), *(step.at_ms for step in header.failing)]
    due = [at_ms for at_ms in wakes if at_ms is not None]
    if (
        # A request that was stored during the run has set no alarm, because the row was claimed.
        replay.has_more(header, before.journal_length)
        or _is_cancelled_next(header, replay, inputs)
        or replay.interrupted
    ):
        due.append(inputs.now_ms)
    alarm_ms = min(due, default=None)
    retried = next((step for step in header.failing if step.at_ms is not None and step.at_ms == alarm_ms), None)
    log = EventRecorder(inputs, before.address, before.run_count)
    failures = _failures(log, execute, progress)
    transition = put(
        before,
        inputs.now_ms,
        events=failures or executed(log, execute, inputs),
        messages=progress.messages,
        journal=_appended(progress),
        state=before.state if progress.state is None else progress.state,
        data=written(header),
        alarm_ms=alarm_ms,
        claim=None,
        pending_retry=None if retried is None else _pending(execute, retried),
        last_error=None if retried is None else retried.error,
    )
    # The next run continues this program only if the store holds exactly these rows.
    if replay.is_kept:
        state = before.state if progress.state is None else progress.state
        replay.left = LeftProgram(header=header, state=state, bodies=progress.bodies, place=before.journal_length)
    outcome = OutcomeRecord(form="completed")
    if retried is not None:
        outcome = OutcomeRecord(form="retrying", error=retried.error, at_ms=retried.at_ms)
    return answered(transition, run_answer(execute, stored(transition), outcome))


def _pending(execute: Execute, step: FailingStep) -> PendingRetry:
    """Return the retry that the row shows: the retry for the step that is due first."""
    claim = execute.claim
    return PendingRetry(
        run_id=claim.run_id,
        cause=claim.cause,
        attempt=claim.attempt + 1,
        first_failed_ms=step.first_failed_ms,
        at_ms=step.at_ms or 0,
        error=step.error,
        uncounted=claim.uncounted,
    )


def _given_up(
    job: AnyWorkflow,
    execute: Execute,
    header: Header,
    progress: RunProgress,
    step: FailingStep,
    inputs: TurnInputs,
    *,
    is_exhausted: bool,
) -> Commit:
    """Park a workflow at a step that failed for good, or purge it, if the policy says so."""
    before = execute.instance
    log = EventRecorder(inputs, before.address, before.run_count)
    events: tuple[Event, ...] = _failures(log, execute, progress)
    if is_exhausted:
        exhausted = log.add(
            JobRetryExhausted,
            run_id=execute.claim.run_id,
            attempt=step.attempts,
            delivery=execute.claim.deliveries,
            reason=step.reason,
            error=step.error,
        )
        events = (*events, exhausted)
    outcome = OutcomeRecord(form="failed", error=step.error)
    suspension = failed_for_good(step.reason)
    if job.plan.exhausted == "purge":
        events = (*events, log.add(JobTerminated, reason=suspension))
        # The parent waits for an end, of whatever form.
        messages = (*progress.messages, *_parents(header, before, _CHILD_CANCELLED, '"retries exhausted"', inputs))
        return answered(purge(before, events=events, messages=messages), run_answer(execute, None, outcome))
    events = (*events, log.add(JobParked, reason=suspension, detail=f"step {step.name}: {step.error.message}"))
    transition = put(
        before,
        inputs.now_ms,
        events=events,
        messages=progress.messages,
        journal=_appended(progress),
        state=before.state if progress.state is None else progress.state,
        data=written(header),
        alarm_ms=None,
        claim=None,
        # The claim's attempts do not count after a resumption: `rearmed` does the same for the step.
        pending_retry=attrs.evolve(_pending(execute, step), at_ms=inputs.now_ms, uncounted=execute.claim.attempt),
        suspension=suspension,
        last_error=step.error,
    )
    return answered(transition, run_answer(execute, stored(transition), outcome))


def _ended(
    job: AnyWorkflow,
    execute: Execute,
    header: Header,
    progress: RunProgress,
    ended: Ended,
    inputs: TurnInputs,
    *,
    replay: Replay,
) -> Commit:
    before = execute.instance
    unwatched = header if header.shared is None else with_shared(header, watchers=())
    final = attrs.evolve(unwatched, ended=ended, failing=(), waits_for=(), parked=())
    log = EventRecorder(inputs, before.address, before.run_count)
    error = FAILURE.decode(ended.value.encode()) if ended.form == "failed" else None
    events: tuple[Event, ...] = _failures(log, execute, progress)
    if error is None:
        events = (*events, *executed(log, execute, inputs))
    else:
        events = (*events, _failed(log, execute, error, inputs))
    # The sender has the answer that its signal is stored: the log must say that the program never received it.
    if header.waiting > 0:
        events = (*events, log.add(JobNoted, name="signals.unreceived", data=_unreceived(header.waiting, replay)))
    messages = (
        *progress.messages,
        *_parents(header, before, ended.form, ended.value, inputs, secret=has_secret_end(job)),
    )
    outcome = OutcomeRecord(form="completed" if error is None else "failed", error=error)
    # A message to its own id may start the next workflow of this id.
    if job.keep_ms == 0:
        transition = purge(before, events=events, messages=messages, own_messages="kept")
        return answered(transition, run_answer(execute, None, outcome))
    transition = put(
        before,
        inputs.now_ms,
        events=events,
        messages=messages,
        journal=_appended(progress),
        state=before.state if progress.state is None else progress.state,
        data=written(final),
        # This alarm deletes the row: without it, ended workflows would fill the store.
        alarm_ms=None if job.keep_ms is None else inputs.now_ms + job.keep_ms,
        ended_ms=inputs.now_ms,
        claim=None,
        pending_retry=None,
        last_error=error,
    )
    return answered(transition, run_answer(execute, stored(transition), outcome))


def _unreceived(count: int, replay: Replay, most: int = 10) -> str:
    """Return the event data about signals that the program never received: how many, and their names."""
    names = {row.name: None for row in replay.inbox.waiting() if not is_child_signal(row.name)}
    return orjson.dumps({"count": count, "names": list(names)[:most]}).decode()


def _failed(log: EventRecorder, execute: Execute, error: FailureRecord, inputs: TurnInputs) -> JobFailed:
    return log.add(
        JobFailed,
        run_id=execute.claim.run_id,
        hook="run",
        attempt=execute.claim.attempt,
        delivery=execute.claim.deliveries,
        duration_ms=max(0, inputs.now_ms - execute.started_ms),
        error=error,
    )


def _started_over(
    execute: Execute, header: Header, progress: RunProgress, replay: Replay, state: str, inputs: TurnInputs
) -> Commit:
    """Begin again with the signals that wait, and without the journal's other rows."""
    before = execute.instance
    journal = _journal_of_fresh(before, progress, replay)
    kept = before.journal_length + len(journal.bodies)
    if journal.earlier == "cut":
        kept = sum(map(is_reply, journal.bodies))  # they come first
    waiting = {row.signal for row in replay.inbox.waiting()} if header.unanswered else set[int]()
    dropped = {f"{REPLY_TO}{each}" for each in header.unanswered if each not in waiting}
    watchers = shared_in(header).watchers
    askers = tuple(each for each in watchers if each.wants in dropped)
    if askers:
        header = with_shared(header, watchers=tuple(each for each in watchers if each not in askers))
    fresh = Header(
        run_id=inputs.id(),
        started_ms=inputs.now_ms,
        signals=header.signals,
        waiting=header.waiting,
        skips=kept,
        # Those that the program had received are over: nothing will answer them.
        unanswered=tuple(each for each in header.unanswered if each in waiting),
        # Not delivered: the fresh program has not been halted yet, and the caller has the answer that it will be.
        cancel=None if header.cancel is None else attrs.evolve(header.cancel, delivered=False),
        parent=header.parent,
        shared=header.shared,
        deadline_ms=header.deadline_ms,
    )
    log = EventRecorder(inputs, before.address, before.run_count)
    transition = put(
        before,
        inputs.now_ms,
        events=(*_failures(log, execute, progress), *executed(log, execute, inputs)),
        messages=(*progress.messages, *told(askers, before.address, partial(_answered, header), inputs.now_ms)),
        journal=journal,
        state=state,
        data=written(fresh),
        alarm_ms=inputs.now_ms,
        claim=None,
        pending_retry=None,
        last_error=None,
    )
    return answered(transition, run_answer(execute, stored(transition), OutcomeRecord(form="completed")))


def _journal_of_fresh(before: Instance, progress: RunProgress, replay: Replay) -> JournalChange:
    """Return the journal for a workflow that starts over: empty, except for the signals that wait.

    They are written again only if they are no more than the rows that this deletes, so that a signal's cost does
    not depend on how many wait. Otherwise, and if a signal has arrived that this run has not read, all rows are kept,
    and the next replays skip the old ones.
    """
    waiting = [row for row in replay.inbox.waiting() if not is_child_signal(row.name)]
    # Their callers may not have read them yet.
    replies = [*filter(is_reply, replay.bodies), *replay.replies][-MAX_KEPT_REPLIES:]
    # Rows that this run has not read may be signals: a cut would delete them.
    kept = len(waiting) + len(replies)
    if before.journal_length > replay.read_to or 2 * kept > before.journal_length + len(progress.bodies):
        # The next run empties the old rows' parts: it reads none of these rows' outcomes.
        return JournalChange(progress.bodies, rewritten=progress.emptied)
    return JournalChange((*replies, *map(body_of, waiting)), "cut")


def _terminated(execute: Execute, progress: RunProgress, reason: str, inputs: TurnInputs) -> Commit:
    before = execute.instance
    log = EventRecorder(inputs, before.address, before.run_count)
    events = (*_failures(log, execute, progress), *log.optional(JobTerminated, reason=reason))
    messages = (*progress.messages, *last_messages(before, reason, inputs))
    outcome = OutcomeRecord(form="terminated", reason=reason)
    return answered(purge(before, events=events, messages=messages), run_answer(execute, None, outcome))


def last_messages(instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the messages in a workflow that is purged before its end: its parent must not wait for ever."""
    header = header_of(instance)
    # Its parent knows: the end was reported with the commit of the end.
    if header.ended is not None:
        return ()
    return _parents(header, instance, _CHILD_CANCELLED, REASON.encode(reason).decode(), inputs)


def parking_messages(instance: Instance, event: Parking, inputs: TurnInputs) -> tuple[Message, ...]:
    """Return the message that notifies a workflow's parent that it is parked, or was resumed."""
    header = header_of(instance)
    # A pause is no news to the parent: nothing is wrong with the child.
    if header.parent is None or header.ended is not None or (isinstance(event, JobResumed) and event.was == "paused"):
        return ()
    return (report_parking(instance.address, header.parent, event, inputs.now_ms),)


def _over(header: Header, end: ChildEnd, watcher: Watcher) -> ChildEnd:
    return attrs.evolve(end, call=watcher.call) if watcher.wants == END else _answered(header, watcher)


def _parents(
    header: Header, before: Instance, form: str, value: str, inputs: TurnInputs, *, secret: bool = False
) -> tuple[Message, ...]:
    """Return the messages to the workflows that wait for the end, or for values that it never published."""
    others: tuple[Message, ...] = ()
    if header.shared is not None:
        end = ChildEnd(call="", form=form, value=value, secret=secret)
        found = partial(_over, header, end)
        others = told(header.shared.watchers, before.address, found, inputs.now_ms)
    if header.parent is None:
        return others
    return (*others, report_end(before.address, header.parent, form, value, inputs.now_ms, secret=secret))


# ---------------------------------------------------------------- a run that was cut short
def interrupts(draft: object, row: Instance) -> bool:
    """Return whether a request in a row stops a run in progress, which then changes nothing more.

    A run that still replays reads the request afterwards. A run with a step that must not be stopped reads the request
    with that step's commit.
    """
    request = header_of(row).cancel
    if not isinstance(draft, WorkflowDraft) or request is None:
        return False
    replay = draft.replay
    # During a replay the tree is not that of the present: stopping it would halt branches at an old place.
    if replay is None or not replay.is_live:
        draft.noticed = row
        return False
    known = replay.header.cancel
    if known is not None and (known.interrupt or not request.interrupt):
        return False
    # All or nothing: a step whose outcome is needed must end, and with it the run.
    if not may_stop(replay) or not (request.interrupt or _all_stop(replay)):
        return False
    replay.interrupted = True
    return True


def _interrupted(execute: Execute, replay: Replay, inputs: TurnInputs) -> Commit:
    """Commit the end of a run that a request stopped: the next run continues immediately, with the compensations."""
    header = header_of(execute.instance)
    replay.known, replay.header = Known(execute.instance.data, header), header
    replay.now_ms = max(replay.now_ms, inputs.now_ms)
    # The program may have ended between the request and this commit: the cancellation was accepted first.
    replay.end = replay.fresh = None
    replay.is_kept = False
    replay.parts.storing.clear()
    if replay.tree.exit is None and header.cancel is not None:
        cut(replay, header.cancel)
    replay.tree.close()
    progress = with_news(_last_progress(execute.draft, replay), header, execute.instance, inputs)
    header = attrs.evolve(advanced(header, progress, execute.instance), waits_for=waits_of(replay.tree))
    return _waiting(execute, header, progress, replay, inputs)


def cut_short(job: AnyWorkflow, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | None:
    """Settle a run whose program was stopped: its steps in progress failed, and everything else is kept.

    Returns:
        The commit. None if the replay had not begun.
    """
    draft = execute.draft
    if not isinstance(draft, WorkflowDraft) or draft.replay is None:
        return None
    if draft.replay.interrupted:
        return _interrupted(execute, draft.replay, inputs)
    if isinstance(exit_, Success):
        return None
    replay = draft.replay
    if draft.cut_by is exit_:  # the commit was refused: the same failures are committed over the present row
        return settled(job, execute, replay, inputs)
    draft.cut_by = exit_
    replay.parts.storing.clear()  # no step is in progress any more
    defect = exit_.cause if isinstance(exit_, Raised) else exit_
    record = record_failure(exit_, job.plan.errors, secrets=secrets_of_run(job, execute))
    failed = [(asked.path, asked.name, asked.begun_ms or 0) for asked in replay.in_progress]
    replay.end = replay.fresh = None
    replay.is_kept = False
    # Without a step in progress, the program's own code used up the time.
    for path, name, began_ms in failed or [("", "run", execute.started_ms)]:
        step = after_failure(
            policy_for(job, replay, path),
            replay.failing.get(path) if path else replay.program_failure,
            path=path,
            name=name,
            defect=defect,
            error=record,
            now_ms=inputs.now_ms,
            jitter=inputs.jitter,
        )
        replay.failed(step, max(0, inputs.now_ms - began_ms))
    return settled(job, execute, replay, inputs)


def concluded(job: AnyWorkflow, execute: Execute, inputs: TurnInputs) -> Commit:
    """Commit a run's end, or leave a workflow whose journal this code cannot follow.

    Raises:
        TypeError: the run had no replay, which is a defect of this kind.
    """
    draft = execute.draft
    if isinstance(draft, WorkflowDraft) and draft.problem is not None:
        if draft.replay is not None:
            draft.replay.tree.close()
        # Left, and not failed: the code is wrong for this journal, and the right code continues it with all its steps.
        return leave(job, execute.instance, draft.problem, inputs, ended=execute.claim.run_id)
    if not isinstance(draft, WorkflowDraft) or draft.replay is None:
        raise TypeError(f"a run of {job!r} ended without a replay")
    return settled(job, execute, draft.replay, inputs)
