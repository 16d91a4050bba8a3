"""A run's program: replays the workflow's program, performs its steps, and commits their outcomes.

A `WorkflowDraft` holds the run's replay. `Steps` performs one step, `ParallelSteps` those in parallel branches.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from returns.result import Failure, Success

from perdure.codecs import Opened
from perdure.jobs.checkpoint import AwaitChange, Checkpoint, KeepProgram, ReadJournal, TakeProgram
from perdure.jobs.context import EndInstance
from perdure.jobs.draft import Draft, EarlierRun, EmittingStep, GetDraft
from perdure.jobs.hooks import record_failure
from perdure.jobs.parts import parts_of, read_rows, reference_to, row_of_part, take_up
from perdure.jobs.redaction import has_secrets, secrets_of_instance
from perdure.jobs.request import within
from perdure.kinds.workflow.commands import REASON, JournalFull, NotRecordable
from perdure.kinds.workflow.header import FAILURE, Ended, Header, header_of
from perdure.kinds.workflow.instructions import OneStep, StartOver, WorkflowCancelled
from perdure.kinds.workflow.journal import (
    PARTS_IN_COMMIT,
    SIGNAL,
    UPDATE,
    Large,
    body_of,
    is_reply,
    recordable,
)
from perdure.kinds.workflow.progress import Known, News, Parts, RunProgress, after_failure
from perdure.kinds.workflow.replay import Replay
from perdure.kinds.workflow.tree import DROPPED, AnyExit, OpenStep, deadlines_around
from perdure.programs import Do, Halted, Program, Raised, asks, perform, program, sandbox, sleep
from perdure.programs.constructors import supervised
from perdure.programs.instructions import Jitter, Now, Orders, Sleep
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Claim, Instance

if TYPE_CHECKING:
    from perdure.kinds.workflow.context import AnyWorkflow
    from perdure.values.retry import Retry


@attrs.define(kw_only=True)
class WorkflowDraft(Draft):
    """A run's draft.

    Attributes:
        replay: the run's replay. None before the journal is read.
        problem: why this code cannot follow the journal.
        noticed: the row with a request that was stored during the replay.
        stored: the stored state with the members that newer code wrote, if the workflow has changed its first state.
        ending: the progress that the run ends with, from the first decision on its end on.
        cut_by: the exit that cut the run short, whose steps in progress are noted as failed.
    """

    __repr__ = fields_in_line

    replay: Replay | None = None
    problem: InvalidInput | None = None
    noticed: Instance | None = None
    stored: Opened[Any] | None = None
    ending: RunProgress | None = None
    cut_by: AnyExit | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the workflow's program has ended with a value."""
        return self.replay is not None and isinstance(self.replay.tree.exit, Success)

    def closed(self, state: object, opened: Opened[Any]) -> tuple[bytes, Opened[Any] | None]:
        """Encode a state of a replay, which begins with the first state: the stored one has the newest members."""
        data, after = super().closed(state, opened)
        # A replay sets old states again: joined with the members of those, the newest ones would be lost.
        return data, self.stored or after

    def emitting(self, claim: Claim, instruction: object) -> EmittingStep:
        """Return the step that an effect belongs to: the effect itself, or the step in progress around it."""
        replay = self.replay
        if replay is None:
            return super().emitting(claim, instruction)
        begun = [each for each in replay.tree.steps.values() if each.begun_ms is not None]
        found = [each for each in begun if each.instruction is instruction]
        around = found or [each for each in begun if type(each.instruction) is OneStep]
        # Of several steps in progress, nothing tells which one an effect inside a step belongs to.
        name = f"{around[0].path} {around[0].name}" if len(around) == 1 else getattr(instruction, "name", "")
        again = any(each.path in replay.perhaps_begun or each.path in replay.failing for each in around)
        attempt = max((each.begun_ms or 0 for each in around), default=0) if len(around) == 1 else 0
        return EmittingStep(
            name=name,
            attempt=attempt,
            form="again" if again else "first",
            run_id=replay.header.run_id,
            effect="whole" if len(found) == 1 else "part" if len(around) == 1 else "unknown",
            before=_before(replay.header, around[0].path) if len(around) == 1 else None,
        )


def _before(header: Header, path: str) -> EarlierRun | None:
    """Return the stopped run of the workflow that this one was forked from, if it had performed a part of the step."""
    stopped, forked = header.continued, header.forked
    if stopped is None or forked is None or path not in stopped.paths:
        return None
    return EarlierRun(forked.address, stopped.incarnation, stopped.run_id)


NOW: Final[Program[int]] = perform(Now())
_JITTER: Final[Program[float]] = perform(Jitter())
_DRAFT: Final[Program[Any]] = perform(GetDraft())
_KEPT: Final[Program[Any]] = perform(TakeProgram())
_CHANGED: Final[Program[Any]] = perform(AwaitChange())


def write_logs(replay: Replay) -> Do[None, Any, Any]:
    """Write the program's log records: once, because a replay repeats none."""
    # Taken before the first one is written: a record that is written twice cannot be taken back.
    lines, replay.lines = replay.lines, []
    for line in lines:
        yield from perform(line)


def read_arrivals(replay: Replay, length: int) -> Do[None, Any, Any]:
    """Read the rows that others have appended to the journal since the run has read it.

    Args:
        replay: the run's replay.
        length: up to this place.
    """
    while replay.read_to < length:
        first = replay.read_to
        page = yield from perform(ReadJournal(first, min(replay.draft.limits.journal_page, length - first)))
        if not page:  # purged meanwhile
            return
        replay.arrived(first, page)


def progress_of(replay: Replay) -> RunProgress:
    """Return a run's progress since the last commit, for a commit that is written in any case.

    Its messages are removed from the draft: they are sent once.
    """
    note = replay.timers.note() if replay.is_live else None
    if note is not None:
        # A note of waits is no answer: it must not use up `max_steps`.
        replay.answers -= 1
        replay.new.append(note)
    rows, replay.saved = replay.new[replay.saved :], len(replay.new)
    failures, replay.failures = tuple(replay.failures), []
    draft = replay.draft
    bodies = tuple(map(body_of, rows))
    if replay.replied:
        replay.replies += filter(is_reply, bodies)
    messages = tuple(draft.messages)
    draft.messages.clear()
    replied, replay.replied = tuple(replay.replied), []
    published, replay.published = tuple(replay.published), []
    return RunProgress(
        replied=replied,
        published=published,
        bodies=bodies,
        received=sum(1 for row in rows if row.signal and row.name.startswith((SIGNAL, UPDATE))),
        messages=messages,
        state=draft.encoded,
        failing=tuple(replay.failing.values()),
        waits_for=tuple(wait for wait in replay.header.waits_for if wait.path in replay.tree.asked),
        failures=failures,
        emptied=_take_unnamed(replay),
        logged=max(replay.logged, replay.header.logged),
        cancelled=replay.cancelled,
        known=replay.known,
    )


def _unsaved(replay: Replay) -> RunProgress | None:
    """Return a run's progress since the last commit. None if there is none."""
    return progress_of(replay) if replay.unsaved() else None


def commit_progress(replay: Replay) -> Do[News | None, Any, Any]:
    """Commit the run's progress, and read the rows that have arrived since its last commit."""
    # Collected when the commit has its turn: steps that end until then are in the same commit.
    news: News | None = yield from perform(Checkpoint(partial(_unsaved, replay)))
    if news is not None:
        # Before `read_to` moves past the run's own rows: those of others lie before them.
        yield from read_arrivals(replay, news.arrived)
        replay.read_to = max(replay.read_to, news.length)  # its own rows
    return news


def store_parts(replay: Replay, path: str, outcome: Large) -> Do[Large, Any, Any]:
    """Store an outcome that is larger than a row, a few parts in each commit, and return the reference to it.

    The row that names them comes with the run's next commit. A crash before it leaves parts that no row names: the next
    run empties them, or uses them if the outcome is the same.

    Args:
        replay: the run's replay.
        path: the step's path. Empty for the workflow's value.
        outcome: the outcome.
    """
    names = replay.parts.storing[path] = list[str]()
    new: dict[str, str] = {}
    for part in parts_of(outcome.value, replay.draft.limits.payload_bytes):
        name, body = row_of_part(part, replay.now_ms, secret=outcome.secret)
        names.append(name)
        if name not in replay.parts.places:
            new[name] = body
        if len(new) == PARTS_IN_COMMIT:
            yield from _commit_parts(replay, new)
            new = {}
    if new:
        yield from _commit_parts(replay, new)
    return Large(reference_to(outcome.value, names), outcome.secret)


def _commit_parts(replay: Replay, parts: dict[str, str]) -> Do[None, Any, Any]:
    news: News = yield from perform(
        Checkpoint(lambda: Parts(tuple(parts), tuple(parts.values()), replay.known, _take_unnamed(replay)))
    )
    yield from read_arrivals(replay, news.arrived)
    replay.read_to = max(replay.read_to, news.length)
    # After the commit: a part that is not stored must not be left out of another outcome.
    replay.parts.settle()


def _take_unnamed(replay: Replay) -> tuple[tuple[int, str], ...]:
    """Return the rows that empty the parts that nothing names, for a commit that is written in any case."""
    parts = replay.parts
    # The common case: a workflow without large outcomes.
    if not (parts.places or parts.decided[0]) or not replay.is_live:
        return ()
    return parts.take_unnamed({"", *(asked.path for asked in replay.in_progress)})


def policy_for(job: AnyWorkflow, replay: Replay, path: str) -> Retry[Any] | None:
    """Return the retry policy for the defects of a step, or of the program itself."""
    asked = replay.tree.asked.get(path)
    own = asked.instruction.retry if asked is not None and isinstance(asked.instruction, OneStep) else None
    return own or job.plan.retry


@attrs.define
class Steps:
    """Performs one run's steps."""

    __repr__ = fields_in_line

    job: AnyWorkflow
    instance: Instance
    replay: Replay
    services: Any  # the user's own record

    def secrets(self) -> frozenset[str]:
        """Return the secrets that the program had."""
        # Without secrets in the definition no state needs to be decoded.
        if not has_secrets(self.job):
            return frozenset()
        drafted = self.replay.draft.encoded
        known = secrets_of_instance(self.job, self.instance) | self.replay.draft.secrets
        return known if drafted is None else known | self.job.plan.state.secrets(drafted.encode())

    def performed(self, asked: OpenStep, began_ms: int) -> Do[int, Any, Any]:
        """Perform a step, run the program of the workflow on, and return the end's time."""
        replay = self.replay
        replay.begin_step(asked, began_ms)
        # Each exit is an outcome of the step, a defect too: raised here, it would end the run of all other steps.
        exit_ = yield from sandbox(self._call(asked))
        now_ms = yield from NOW
        defect = replay.performed(asked, exit_, now_ms)
        if isinstance(defect, Large):
            reference = yield from store_parts(replay, asked.path, defect)
            defect = replay.performed(asked, exit_, now_ms, reference)
        if defect is not None:
            problem = cast("Exception", defect)
            yield from self.failed(asked.path, asked.name, problem, now_ms - began_ms, now_ms)
        if replay.lines:
            yield from write_logs(replay)
        return now_ms

    @program
    def in_branch(self, asked: OpenStep) -> Do[int, Any, Any]:
        """Perform a step beside others."""
        return (yield from self.performed(asked, self.replay.now_ms))

    def _call(self, asked: OpenStep) -> Program[Any, Any, Any]:
        instruction, inner = asked.instruction, cast("Program[Any, Any, Any]", None)
        if instruction.__class__ is not OneStep:
            inner = perform(instruction)
        else:
            inner = instruction.make(self.replay.taken.key(asked.path)) if instruction.is_keyed else instruction.make()
        return inner if asked.scope is self.services else inner.provide(asked.scope)

    def failed(self, path: str, name: str, defect: Exception | Halted, took_ms: int, now_ms: int) -> Do[None, Any, Any]:
        """Note a failed attempt."""
        jitter = yield from _JITTER
        record = record_failure(defect if isinstance(defect, Halted) else Raised(defect), None, secrets=self.secrets())
        before = self.replay.failing.get(path) if path else self.replay.program_failure
        policy = policy_for(self.job, self.replay, path)
        step = after_failure(
            policy, before, path=path, name=name, defect=defect, error=record, now_ms=now_ms, jitter=jitter
        )
        self.replay.failed(step, max(0, took_ms))


_TIMER: Final = "timer"
_COMMIT: Final = "commit"
_CHANGE: Final = "change"


@attrs.define(eq=False)
class ParallelSteps:
    """Performs parallel steps: starts each when its predecessors are committed, and cancels those that lost.

    Attributes:
        timer_ms: when the running timer ends.
        sees_changes: whether requests that arrive meanwhile are read. A dry run has none.
        stopping: whether no further step may begin, because the claim is lost.
    """

    steps: Steps
    running: set[object] = attrs.Factory(set[object])
    timer_ms: int | None = None
    stopping: bool = False
    sees_changes: bool = True
    cancelling: set[object] = attrs.Factory(set[object])

    def begun(self) -> Orders:
        """Start the first steps: their predecessors are committed."""
        return self._orders(self.steps.replay.calls())

    def ended(self, key: object, exit_: Any, now_ms: int) -> Orders:
        """Start the steps that can begin after a program's end."""
        replay = self.steps.replay
        self.running.discard(key)
        self.cancelling.discard(key)
        # Steps end with values, also those that fail: this is a defect or the cancellation of the run itself.
        if isinstance(exit_, Raised):
            raise exit_.cause
        self._note(key, exit_, now_ms)
        if self.stopping or replay.tree.exit is not None or replay.stopped is not None:
            return self._orders([])
        calls = replay.calls()
        # Steps that follow begin after this commit: a crash would otherwise repeat their predecessors beside their
        # effects. Rows count as saved when their commit is sent: until it is answered, nothing that follows begins.
        if _COMMIT in self.running or replay.unsaved() or replay.needs_commit:
            waits = _COMMIT in self.running or not (calls or replay.needs_commit or self._is_settled)
            return self._orders([], commit=not waits)
        return self._orders(calls)

    @property
    def _is_settled(self) -> bool:
        """Whether no cancelled step is about to end, whose row the same commit can hold."""
        return not any(
            asked.path in self.running for asked in self.steps.replay.tree.dropping.values() if not asked.ending
        )

    def _note(self, key: object, exit_: Any, now_ms: int) -> None:
        """Run the program of the workflow on after a program's end."""
        replay = self.steps.replay
        if key == _TIMER:
            # Also after a cancellation: `_timer` starts the next one then.
            self.timer_ms = None
            if isinstance(exit_, Success):
                replay.pass_time(now_ms)
        elif key in {_COMMIT, _CHANGE}:
            self._see(key, exit_, now_ms)
        elif isinstance(exit_, Halted):  # the claim is lost while a step stores its outcome
            self.stopping = True
        elif exit_ is None:  # a step that was cancelled
            asked = replay.tree.dropping.get(cast("str", key))
            if asked is not None:
                replay.performed(asked, DROPPED, replay.now_ms)

    def _see(self, key: object, exit_: Any, now_ms: int) -> None:
        """Take over the requests that a commit, or a change of the row, has shown."""
        if isinstance(exit_, Halted):  # the claim is lost
            self.stopping = True
        if not isinstance(exit_, Success):
            return
        seen = cast("Success[News | None]", exit_).unwrap()
        if seen is not None:
            self.steps.replay.notice(seen.known, seen.suspension, now_ms)
        # None: a dry run has no changes. To wait again would end immediately, for ever.
        elif key == _CHANGE:
            self.sees_changes = False

    def _orders(self, calls: list[OpenStep], *, commit: bool = False) -> Orders:
        start: list[tuple[object, Program[Any, Any, Any]]] = []
        if commit:
            start.append((_COMMIT, _COMMITTING(self.steps.replay)))
        replay = self.steps.replay
        for asked in calls:
            replay.begin_step(asked, replay.now_ms)
            start.append((asked.path, self.steps.in_branch(asked)))
        self.running.update(key for key, _ in start)
        stopped = (asked.path for asked in replay.tree.dropping.values() if not asked.ending)
        # Once each: a second cancellation would interrupt the cleanup of the first.
        cancel = [path for path in stopped if path in self.running and path not in self.cancelling]
        self.cancelling.update(cancel)
        timer, change = self._timer(), self._change()
        return Orders((*start, *timer.start, *change.start), (*cancel, *timer.cancel, *change.cancel))

    @property
    def _is_busy(self) -> bool:
        """Whether steps or a commit are in progress, and more may follow."""
        over = self.stopping or self.steps.replay.suspended or self.steps.replay.tree.exit is not None
        return not over and bool(self.running - {_TIMER, _CHANGE})

    def _change(self) -> Orders:
        """Wait for requests that change what the program waits for, while steps are in progress."""
        # Without this, a signal would wait for the longest step in progress, which may take days.
        wanted = self._is_busy and self.sees_changes and self.steps.replay.tree.waits_beside_steps
        if wanted == (_CHANGE in self.running):
            return Orders()
        if wanted:
            self.running.add(_CHANGE)
            return Orders(start=((_CHANGE, _changed(self.steps.replay)),))
        if _CHANGE in self.cancelling:
            return Orders()
        self.cancelling.add(_CHANGE)
        return Orders(cancel=(_CHANGE,))

    def _timer(self) -> Orders:
        """Keep a timer for the next instant at which the program continues by itself, while steps are in progress."""
        # As above: a time limit must pass while a step runs. Between steps, the alarm of the row does it.
        wanted_ms = self.steps.replay.wake_ms() if self._is_busy else None
        if wanted_ms == self.timer_ms:
            return Orders()
        if _TIMER in self.running:
            if _TIMER in self.cancelling:
                return Orders()
            self.cancelling.add(_TIMER)
            return Orders(cancel=(_TIMER,))
        if wanted_ms is None:
            return Orders()
        self.timer_ms = wanted_ms
        self.running.add(_TIMER)
        return Orders(start=((_TIMER, _until(wanted_ms)),))


_COMMITTING: Final = program(commit_progress)


@program
def _changed(replay: Replay) -> Do[News | None, Any, Any]:
    """Wait for a change of the row, and read the rows that have arrived. None in a dry run."""
    row: Instance | None = yield from _CHANGED
    if row is None:
        return None
    yield from read_arrivals(replay, row.journal_length)
    return News(Known(row.data, header_of(row)), row.suspension, row.journal_length, row.journal_length)


@program
def _until(at_ms: int) -> Do[None, Any, Any]:
    now_ms = yield from NOW
    if now_ms < at_ms:
        yield from sleep(timedelta(milliseconds=at_ms - now_ms))


_SERVICES: Final[Program[Any, Any, Any]] = asks(lambda services: services)

_YIELD: Final[Program[None]] = perform(Sleep(0))
"""Let the other work of the event loop run. `sleep` refuses 0 ms, which in a program of yours is a mistake."""


@program
def continue_workflow(job: AnyWorkflow, instance: Instance) -> Do[None, Any, Any]:
    """Replay a workflow, and perform its next steps."""
    services: Any = yield from _SERVICES
    draft: WorkflowDraft = yield from _DRAFT
    try:
        # Programs are kept only from the second run on, so a workflow without a journal has none.
        replay = (yield from _kept(instance, draft, services)) if instance.journal_length else None
        if replay is None:
            bodies = yield from read_rows(instance.journal_length, draft.limits.journal_page)
            take_up(job, draft, bodies)
            now_ms = yield from NOW
            known = Known(instance.data, header_of(instance))
            deliveries = 1 if instance.claim is None else instance.claim.deliveries
            replay = Replay(known, bodies, draft, job.received, job.max_steps, now_ms, deliveries)
            replay.parts.name(instance.state if known.header.first is None else known.header.first)
            replay.begin(job.main(instance), services)
        draft.replay = replay
        # In chunks: a replay of a long journal would block all other work of the event loop.
        while replay.advance(draft.limits.replay_chunk):
            yield from _YIELD
            replay.now_ms = yield from NOW  # no wait that the replay reaches may begin before it does
        if draft.noticed is not None:  # a request that came during the replay
            row = draft.noticed
            replay.notice(Known(row.data, header_of(row)), row.suspension, replay.now_ms)
        yield from _living(Steps(job, instance, replay, services))
    except InvalidInput as problem:
        draft.problem = problem


def _kept(instance: Instance, draft: WorkflowDraft, services: Any) -> Do[Replay | None, Any, Any]:
    """Continue the program that an earlier run has kept, if the store holds the rows of that run, and arrivals."""
    replay: Replay | None = yield from _KEPT
    if replay is None:
        return None
    left, first, header = replay.left, replay.read_to, header_of(instance)
    # A run that is delivered again must find the steps that the dead one may have begun, which only a replay does.
    is_first = instance.claim is not None and instance.claim.deliveries == 1
    # An inspected run has to see the complete program. Newer code has written members that it has not read.
    is_whole = draft.inspection is None and draft.stored is None and draft.opened is None and draft.carried is None
    if left is not None and is_first and is_whole and replay.services is services:
        rows: list[str] = yield from read_rows(instance.journal_length, draft.limits.journal_page, first)
        arrived = left.arrived(header, instance.state, first, rows)
        if arrived is not None:
            now_ms = yield from NOW
            replay.resume(draft, Known(instance.data, header), arrived, instance.journal_length, now_ms)
            return replay
    replay.close()
    return None


def _living(steps: Steps) -> Do[None, Any, Any]:
    """Perform steps until the program waits for something else, or ends."""
    replay = steps.replay
    now_ms = replay.now_ms
    while True:
        replay.pass_time(now_ms)
        if replay.lines:
            yield from write_logs(replay)
        is_over = replay.tree.exit is not None
        calls: list[OpenStep] = [] if is_over else replay.calls()
        if (replay.suspended and not calls) or replay.interrupted:
            break
        # The rows of predecessors are committed before a step begins. Otherwise a crash repeats more than the steps in
        # progress.
        if not is_over and replay.stopped is None and (replay.needs_commit or (calls and replay.unsaved())):
            news = yield from commit_progress(replay)
            now_ms = yield from NOW
            if news is not None:
                replay.notice(news.known, news.suspension, now_ms)
            continue
        if not calls:
            break
        # The common case, one step at a time, needs no scheduler: nothing can lose a race or run out of time.
        is_alone = len(calls) == len(replay.tree.asked) == 1
        if is_alone and (one := calls[0].instruction).__class__ is OneStep:
            # A deadline must be able to stop it.
            is_alone = one.when_cancelled == "end"
        if is_alone and not deadlines_around(calls[0].branch):
            now_ms = yield from steps.performed(calls[0], now_ms)
        else:
            yield from supervised(ParallelSteps(steps))
            now_ms = yield from NOW
    if not replay.interrupted:
        yield from _over(steps.job, steps, replay, now_ms)
        yield from _keep(steps.instance, replay)


def _may_be_kept(replay: Replay) -> bool:
    """Return whether the next run may continue a program: it only waits, and nothing went wrong."""
    draft, header, tree = replay.draft, replay.header, replay.tree
    if header.failing or header.cancel is not None or header.forked is not None or replay.suspended:
        return False
    if replay.cancelled or replay.failing or tree.steps or tree.dropping or tree.exit is not None:
        return False
    # The members that newer code wrote are joined with those of the stored state, which this program has not read.
    return replay.is_live and replay.stopped is None and draft.opened is None and draft.carried is None


def _keep(instance: Instance, replay: Replay) -> Do[None, Any, Any]:
    """Keep a program that waits in this process, from its second run on: most programs end in the first one."""
    if instance.journal_length and _may_be_kept(replay) and (yield from perform(KeepProgram(replay, replay.rows))):
        replay.keep()


def _over(job: AnyWorkflow, steps: Steps, replay: Replay, now_ms: int) -> Do[None, Any, Any]:
    """Encode the program's end. One that has no form is a program defect."""
    name, most = f"{job.kind}:{job.name}", replay.draft.limits.payload_bytes
    problem: Exception | Halted | None = JournalFull(replay.limit) if replay.is_full else replay.stopped
    try:
        match replay.tree.exit:
            case Success(value):
                data = replay.draft.encode_result(job.results, value)
                end = _recordable_end(name, replay, data).decode()
                if len(data) > most and problem is None:
                    end = (yield from store_parts(replay, "", Large(end, job.results.secret))).value
                    replay.parts.name(end)
                replay.end = Ended(form="done", value=end, at_ms=now_ms)
            case Failure() as failure:
                record = record_failure(failure, job.plan.errors, secrets=steps.secrets(), encode=replay.draft.encode)
                recordable(name, (record.data or "").encode(), most)
                replay.end = Ended(form="failed", value=FAILURE.encode(record).decode(), at_ms=now_ms)
            case Halted(WorkflowCancelled(reason)):
                replay.end = Ended(form="cancelled", value=REASON.encode(reason).decode(), at_ms=now_ms)
            case Halted(StartOver(state)):
                data = replay.draft.encode_result(job.plan.state, state)
                replay.fresh = within(data, replay.draft.limits.state_bytes, what=job.plan.state.what)
            case Halted(signal) as halted if not isinstance(signal, EndInstance):
                problem = halted
            case Raised(cause):
                problem = cast("Exception", cause)
            case _:
                pass
    except (InvalidInput, NotRecordable) as not_encoded:
        problem = not_encoded
    if problem is not None:
        # An end that was set before the problem was found must not be committed with it.
        replay.end = replay.fresh = None
        yield from steps.failed("", "run", problem, 0, now_ms)


def _recordable_end(name: str, replay: Replay, data: bytes) -> bytes:
    limits = replay.draft.limits
    if replay.header.parent is None:
        return recordable(name, data, limits.outcome_bytes, "outcome_bytes")
    # One commit of the parent stores it.
    return recordable(name, data, limits.input_bytes, "input_bytes, for a parent")
