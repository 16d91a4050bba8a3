"""Dispatches requests to instances: one queue each, one turn at a time, different instances concurrently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, Self, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.commits import Commits
from perdure.engine.mailbox.entry import (
    FenceLost,
    MailboxEntry,
    Reading,
    TurnAnswer,
    TurnAnswered,
    Verdict,
    is_lost,
)
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import (
    NOTHING_WAITS,
    Begun,
    EngineRun,
    InstanceCell,
    PendingCommit,
    Stored,
    is_coalescible,
    taken_apart,
)
from perdure.engine.pending_work import AdmissionQueue, BusyInstances, ClaimsLeft, overload
from perdure.engine.reporting import Reporting, defect_in
from perdure.engine.runs.run_executor import RunExecutor
from perdure.engine.runs.runner import Runner
from perdure.engine.turns import EventBatch, TurnExecutor
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AHEAD, RECOVER, Recover, Request, Terminate
from perdure.jobs.step import Commit, Defer, RecoverFirst
from perdure.programs.instructions import ENDS_PROCESS
from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown
from perdure.values.limits import Limits
from perdure.values.listings import InFlight
from perdure.values.transition import KeepInstance, Loaded, Put

_Wait: TypeAlias = Literal["over", "elsewhere"] | EngineRun
"""Why no turns are executed now: none are left, a callback continues them, or a run comes first."""


@attrs.define(eq=False)
class Dispatcher:
    """Owns the queues of all instances.

    Attributes:
        runtime: the only interface to time, waiting and task creation.
        limits: the engine's limits.
        jobs: the served definitions, by kind and name.
        turns: executes the turns. Set with their runner, right after construction.
        runs: claims, begins and settles runs. Set with it.
        intake: whether requests of callers are accepted.
        asked: how many requests so far, except the engine's own.
        fence_lost: called when the store turns out to have another writer.
        reporting: tells sinks of requests.
        cache: keeps this process's instances.
        busy: those of them with work in progress.
    """

    runtime: Runtime
    limits: Limits
    jobs: Mapping[tuple[str, str], AnyDefinition]
    fence_lost: Callable[[str], None]
    reporting: Reporting
    cache: InstanceCache
    turns: TurnExecutor = attrs.field(init=False)
    runs: RunExecutor = attrs.field(init=False)
    _commits: Commits = attrs.field(init=False)
    _batch: EventBatch = attrs.field(init=False)
    intake: Literal["open", "closed"] = "open"
    asked: int = 0
    busy: BusyInstances = attrs.Factory(lambda self: BusyInstances(self.runtime), takes_self=True)
    _admission: AdmissionQueue = attrs.field(init=False)
    _pending: int = 0  # requests of callers that wait or are being served
    _in_a_row: int = 0
    _max_in_a_row: int = attrs.field(init=False)
    _claims_left: ClaimsLeft = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._max_in_a_row = self.runtime.sizes.turns_in_a_row
        self._admission = AdmissionQueue(self.runtime)
        self._claims_left = ClaimsLeft(self.runtime, self.recover)

    def with_runner(self, runner: Runner) -> Self:
        """Set the runner of programs. Once, right after construction."""
        self._commits, self.turns = runner.commits, TurnExecutor(runner)
        self.runs = RunExecutor(
            self.runtime,
            runner,
            ended=self._run_ended,
            accepted=self._end,
            left_mailbox=self._run_left_mailbox,
            enqueue=self._enqueue,
            over=self._background_is_over,
            internal_error=self._internal_error,
        )
        self._batch = EventBatch(self.runtime, runner.commits, self.cache, self._decide_undecided, self._serve_begun)
        return self

    def post(
        self, job: AnyDefinition, address: Address, request: Request, *, pending_weight: int = 1
    ) -> Future[TurnAnswer]:
        """Put a request into its instance's mailbox, and return its result's future.

        Cancelling that removes the request, unless its turn has begun. The engine's own commands count nothing towards
        ``max_pending``: they have limits of their own.
        """
        answer = self.runtime.future()
        self.put(job, address, MailboxEntry(request, answer, pending_weight=pending_weight))
        return answer

    def put(self, job: AnyDefinition, address: Address, entry: MailboxEntry, cell: InstanceCell | None = None) -> None:
        """Put a request into its instance's mailbox, with a reply that need not be a future."""
        if cell is None:
            cell = self.cache.get(address)
        if self.reporting.sinks.told:
            self.reporting.accepted(entry, address)
        if self.intake == "closed" or self._pending >= self.limits.max_pending or (cell and cell.waiting):
            refused = EngineClosed() if self.intake == "closed" else overload(entry, cell, self._pending, self.limits)
            if refused is not None:
                self.reporting.refused(address, refused)
                entry.reply(Failure(refused))
                return
        cell = cell or self.cache.at(job, address)
        if entry.pending_weight:
            cell.use = "once" if cell.use == "never" else "again"
        command = entry.request.command
        # A terminate or a recovery at the tail would wait for runs that it is to interrupt or to settle.
        self._enqueue(cell, entry, "head" if type(command) in AHEAD else "tail")
        if type(command) is Terminate and command.when == "interrupt":
            cell.stop_runs("interrupted")

    def fire(self, job: AnyDefinition, address: Address, entry: MailboxEntry) -> None:
        """Begin a due alarm's run, at once if nothing about it is special."""
        cell = self.cache.get(address)
        if cell is None or self.intake == "closed":
            self.put(job, address, entry)
            return
        try:
            # `begin_plain` bypasses the mailbox, so the cell must be among the busy ones first: a stop waits for those
            # alone.
            self.busy.cells[cell] = None
            if not self.runs.begin_plain(cell, entry):
                self.put(job, address, entry)
        except BaseException as defect:  # noqa: BLE001 - raised, it would end the alarm loop, and so the engine
            self._recover_mailbox(cell, (entry,), defect)

    def recover(self, job: AnyDefinition, address: Address) -> Future[TurnAnswer]:
        """Put a claim's recovery at its mailbox's head."""
        return self.post(job, address, RECOVER, pending_weight=0)

    async def room_for(self, address: Address) -> None:
        """Wait for room in the instance's mailbox and in the engine. A post right afterwards is not rejected."""
        while self.intake == "open":
            cell = self.cache.get(address)
            if cell is not None and len(cell.waiting) >= self.limits.mailbox_size:
                await self._admission.wait(address)
            elif self._pending >= self.limits.max_pending:
                await self._admission.wait(None)
            else:
                return

    def _enqueue(self, cell: InstanceCell, entry: MailboxEntry, place: Literal["head", "tail"]) -> None:
        # Counted first: `_recover_mailbox` counts it as finished.
        self._pending += entry.pending_weight
        try:
            self.busy.cells[cell] = None
            self.asked += entry.pending_weight
            pending, coalescing = cell.pending, self.turns.coalescing
            # A turn never overtakes the queue: two requests of one caller are applied in their order.
            if cell.state != "idle" or cell.waiting or (pending is not None and not coalescing.allows(cell, entry)):
                cell.put(entry, place)
                if cell.state == "idle" and pending is None:
                    self._serve_or_later(cell)
            elif self._batch.take(cell, entry):
                pass  # it is decided at the end of this step
            elif self._in_a_row < self._max_in_a_row:
                self._serve_now(cell, entry)
            else:
                cell.put(entry, place)
                self._serve_later(cell)
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            self._recover_mailbox(cell, (entry,), defect)

    def _decide_undecided(self, cell: InstanceCell) -> tuple[MailboxEntry, Begun | Reading] | None:
        """Decide an event's turn at the step's end in which it arrived. None if it is queued or over."""
        entry = cell.undecided
        try:
            cell.undecided = None
            self._in_a_row = 0
            if entry is not None:
                # A commit may have become pending since the event arrived, and its outcome may be one that this event
                # must not join.
                is_next = cell.pending is None or self.turns.coalescing.allows(cell, entry)
                if is_next and not entry.answer.done():
                    return entry, self._start(cell, entry)
                cell.put(entry, "head")
            if not cell.has_turn:  # a defect between two turns has begun the next one
                self._serve(cell)
        except BaseException as defect:  # noqa: BLE001 - raised here, it would drop the other events of the batch
            self._recover_mailbox(cell, () if entry is None else (entry,), defect)
        return None

    def _serve_now(self, cell: InstanceCell, entry: MailboxEntry) -> None:
        """Execute the turn of a request that finds an empty queue, as far as it goes synchronously."""
        cell.state = "busy"
        self._in_a_row += 1
        self._serve_begun(cell, entry, self._start(cell, entry))

    def _serve_begun(self, cell: InstanceCell, entry: MailboxEntry, begun: Begun | Reading) -> None:
        """Conclude a turn that is decided, and continue."""
        try:
            wait = self._apply(cell, entry, begun)
            if wait is None and cell.pending is not None and not cell.waiting:
                cell.state = "idle"
            else:
                self._continue_after(cell, wait)
        # A `KeyboardInterrupt` can arrive at any line here. Without this the cell remains busy: its requests are never
        # answered, and the engine never stops.
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            self._drop(cell, entry, begun)
            self._recover_mailbox(cell, (entry,), defect)

    def _continue_after(self, cell: InstanceCell, wait: _Wait | None) -> None:
        """Continue after a turn: with its wait, or with the next ones."""
        try:
            if wait is None and not cell.waiting:
                wait = "over"
            if wait is None:
                self._serve(cell)
            elif wait == "over":
                if cell.pending is None:
                    self._make_idle(cell)
                else:
                    cell.state = "idle"
            elif wait != "elsewhere":
                self._begin_run(wait)
        except BaseException as defect:  # noqa: BLE001 - only this answers a turn that was to wait
            self._recover_mailbox(cell, self._dropped(cell, wait), defect)

    def _serve_or_later(self, cell: InstanceCell) -> None:
        """Serve now. After some turns in a row later: a caller in a tight loop must not starve all others."""
        cell.state = "busy"
        self._in_a_row += 1
        # Without a bound, one caller in a loop on a store that never waits would block all timers and sockets.
        if self._in_a_row <= self._max_in_a_row:
            self._serve(cell)
        else:
            self._serve_later(cell)

    def _serve_later(self, cell: InstanceCell) -> None:
        cell.state = "busy"
        self._in_a_row = 0
        try:
            self.runtime.call_soon(partial(self._serve, cell))
        except BaseException as defect:  # noqa: BLE001 - no call will serve these requests: answer them now
            while cell.waiting:
                self._fail(cell, cell.waiting.popleft(), defect)
            self._make_idle(cell)

    def _serve(self, cell: InstanceCell) -> None:
        """Execute turns synchronously until nothing waits, or a turn must wait."""
        try:
            self._continue_after(cell, self._serve_until_wait(cell))
        except BaseException as defect:  # noqa: BLE001 - an event loop logs it, and the cell would remain busy
            self._recover_mailbox(cell, (), defect)

    def _serve_until_wait(self, cell: InstanceCell) -> _Wait:
        """Execute turns until one must wait: for its rest, in a task. For the store, or until nothing waits."""
        while cell.waiting:
            # Known before it leaves the queue: after an exception between the two, nothing else would answer it.
            entry = cell.waiting[0]
            try:
                # An entry that cannot join the pending commit keeps its position.
                if cell.pending is not None and not self.turns.coalescing.allows(cell, entry):
                    return "over"
                if self._leaves_queue(cell, entry):
                    wait = self._apply(cell, entry, self._start(cell, entry))
                    if wait is not None:
                        return wait
            except BaseException as defect:  # noqa: BLE001 - of the engine: the next requests have their turns
                cell.leave_queue(entry)  # an entry that always fails would keep the others from their turns
                self._fail(cell, entry, defect)
        return "over"

    def _start(self, cell: InstanceCell, entry: MailboxEntry) -> Begun | Reading:
        """Begin a turn. User codecs and hooks run here, and may raise any class: each caller recovers the mailbox."""
        if self._admission.queues:  # it needs no room from now on, so another caller gets it
            self._admission.call(cell.address)
        if entry.report is not None:
            entry.report.begun()
        if entry.is_end and cell.background is not None:
            return cell.background
        return self.turns.begin(cell, entry, self._loaded)

    def _loaded(self, cell: InstanceCell, entry: MailboxEntry, loaded: Result[Loaded, Any]) -> None:
        """Continue a turn with the instance that the store has read."""
        try:
            if cell.undecided is not entry:  # it was answered when the engine stopped, or after a defect
                self._uncount(entry)
                return
            cell.undecided = None
            self._serve_begun(cell, entry, self.turns.decide(cell, entry, loaded))
        except BaseException as defect:  # noqa: BLE001 - nothing else answers an entry that was read
            self._recover_mailbox(cell, (entry,), defect)

    def _apply(self, cell: InstanceCell, entry: MailboxEntry, begun: Begun | Reading) -> _Wait | None:
        """Carry out a turn's decision. Return its wait, if it waits for something."""
        try:
            if type(begun) is Commit:
                write = begun.transition.write
                # The common case first: an event that changes only the state of an instance skips the checks below.
                if type(write) is Put and write.changes == "state":  # no run can begin with it
                    self._commits.begin(cell, entry, begun, self._on_committed)
                    if cell.pending is not None:  # a store that answers within the call has waited for nothing
                        self._in_a_row = 0
                    return None
            match begun:
                case Commit() if cell.pending is None and self.runs.accepts(cell, entry, begun):
                    return "elsewhere"
                case Commit() if cell.pending is None or is_coalescible(begun.transition):
                    self._commit(cell, entry, begun)
                case "reading":
                    self._in_a_row = 0
                    cell.undecided = entry
                    return "elsewhere"
                # The entry was decided on an outcome that is not stored, and needs the stored row: it is decided again.
                case Commit() | "after_flight":
                    cell.put(entry, "head")
                    return "over"
                case EngineRun():
                    return begun
                case _:
                    self._end(cell, entry, begun)
        except BaseException as defect:  # noqa: BLE001 - the entry has left the queue: only this answers it
            self._drop(cell, entry, begun)
            self._fail(cell, entry, defect)
        return None

    def _commit(self, cell: InstanceCell, entry: MailboxEntry, commit: Commit) -> None:
        """Commit a turn as a value: it waits for the disk without a task or a frame."""
        if type(commit.transition.write) is KeepInstance and cell.pending is None:
            answered = self._commits.result_without_write(commit)
            if answered is not None:
                self._end(cell, entry, answered)
                return
        self._commits.begin(cell, entry, commit, self._on_committed)
        if cell.pending is not None:
            self._in_a_row = 0

    def _on_committed(self, pending: PendingCommit, stored: Stored) -> None:
        """Conclude a commit's turns. The next ones start later: user code does not run in the store's callback."""
        cell = pending.cell
        if cell is None:
            return
        try:
            # First of all: the requests below are decided again, and must not join a commit that is over.
            cell.pending = None
            result = self._after_answer(cell, pending, stored)
            if result is None and type(stored) is not Success:
                if isinstance(stored.failure(), Conflict):
                    self._again(cell, [entry for entry, _ in pending.steps])
                    return
                # The undecided event came last. Queue it before the entries that go in front of it.
                cell.queue_undecided()
                cell.put_first(taken_apart(pending, stored))
                result = stored
            for entry, commit in pending.steps:
                self._conclude(cell, entry, result or commit.result)
            if cell.deferred and not cell.running:
                self._wake_deferred(cell)
            if cell.state == "idle" and not cell.waiting:
                self._make_idle(cell)
            else:
                self._continue(cell)
        except BaseException as defect:  # noqa: BLE001 - raised in the store's callback, it would reach other cells
            if cell.pending is pending:
                cell.pending = None
            self._in_doubt(cell)
            self._recover_mailbox(cell, [entry for entry, _ in pending.steps], defect)

    def _after_answer(self, cell: InstanceCell, pending: PendingCommit, stored: Stored) -> TurnAnswer | None:
        """Take the store's answer to a commit. Return the result of its turns if the engine failed in that."""
        try:
            self._commits.on_answer(pending, stored)
        except BaseException as defect:  # noqa: BLE001 - the callers of this commit and its neighbours wait for answers
            self._in_doubt(cell)
            return self._internal_error(cell, defect).result
        return None

    def _in_doubt(self, cell: InstanceCell) -> None:
        """Read again the row, the alarms and the messages that a commit has stored."""
        self.cache.doubt(cell)
        self._commits.in_doubt()

    def _again(self, cell: InstanceCell, entries: Sequence[MailboxEntry]) -> None:
        """Decide the turns of requests again, in order, because they met a conflict before their first effects."""
        self.cache.note_conflict(entries)
        cell.queue_undecided()
        # Reversed, since each goes to the head: otherwise the requests of one caller would change their order.
        for entry in reversed(entries):
            if entry.conflicts > self.turns.most_conflicts(entry):
                self._end(cell, entry, TurnAnswered(Failure(Conflict(str(cell.address)))))
            else:
                cell.put(entry, "head")
        self._continue(cell)

    def _continue(self, cell: InstanceCell) -> None:
        """Serve the requests that wait, in the event loop's next step, unless turns are being executed."""
        if cell.state != "idle":
            return
        if cell.waiting:
            self._serve_later(cell)
        else:
            self._make_idle(cell)

    def _begin_run(self, run: EngineRun) -> None:
        """Begin the run of a turn, or commit the end of one that was in the background."""
        self._in_a_row = 0
        if run.state == "finishing":
            self.runs.take_turn(run)
        else:
            self.runs.begin(run)

    def _run_ended(self, cell: InstanceCell, entry: MailboxEntry, verdict: Verdict | None) -> None:
        """Conclude a run's turn, and continue with the next ones."""
        try:
            cell.state = "idle"
            if type(verdict) is TurnAnswered:
                self._answer(cell, entry, verdict.result)
                if entry.pending_weight:
                    self._uncount(entry)
            elif verdict is None:
                self._again(cell, (entry,))
                return
            else:
                self._end(cell, entry, verdict)
            self._continue(cell)
        except BaseException as defect:  # noqa: BLE001 - or the requests behind this run wait for ever
            self._recover_mailbox(cell, (entry,), defect)

    def _run_left_mailbox(self, cell: InstanceCell, entry: MailboxEntry) -> None:
        """Continue with the next turns, beside a run in the background."""
        try:
            cell.state = "idle"
            self._uncount(entry)
            self._continue(cell)
        except BaseException as defect:  # noqa: BLE001 - or the requests behind this run wait for ever
            self._recover_mailbox(cell, (), defect)

    def _resume(self, cell: InstanceCell) -> None:
        """Serve the requests that wait, unless turns are being executed."""
        try:
            if cell.waiting and cell.state == "idle":
                self._serve_or_later(cell)
        except BaseException as defect:  # noqa: BLE001 - an event loop logs it, and the cell would remain busy
            self._recover_mailbox(cell, (), defect)

    def _leaves_queue(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Remove the request at the head. Return whether it has a turn: not if its caller has cancelled it."""
        cell.waiting.popleft()
        # The end of a run is settled even if its caller has left: its effects have happened.
        if not entry.answer.done() or entry.is_end:
            return True
        if self._admission.queues:
            self._admission.call(cell.address)
        entry.note_cancelled()
        self._uncount(entry)
        return False

    def _end(self, cell: InstanceCell, entry: MailboxEntry, verdict: Verdict) -> None:
        # A request that waits again is still pending: it keeps its room until its turn.
        if self._react(cell, entry, verdict) == "over":
            self._uncount(entry)

    def _make_idle(self, cell: InstanceCell) -> None:
        """Mark a mailbox as idle, and drop it if it is empty."""
        cell.state = "idle"
        if cell.waiting:
            return
        # An idle instance is mostly its row: an empty deque for each would double what many of them take.
        cell.waiting = NOTHING_WAITS
        if not (cell.deferred or cell.running or cell.background) and cell.pending is None:
            if cell.weight == 0 or cell.use == "never" or self.cache.size_bytes > self.cache.max_bytes:
                self.cache.rest(cell)
            self.busy.forget(cell)

    def _conclude(self, cell: InstanceCell, entry: MailboxEntry, result: TurnAnswer) -> None:
        """Answer a request whose turn is durable."""
        try:
            if entry.report is not None or entry.span is not None or type(entry.request.command) is Recover:
                self._answer(cell, entry, result)
            elif not entry.answer.done():
                entry.answer.set_result(result)
        except BaseException as defect:  # noqa: BLE001 - of the engine: its neighbours are answered
            self._fail(cell, entry, defect)
        self._pending, entry.pending_weight = self._pending - entry.pending_weight, 0
        if self._admission.queues:
            self._admission.call(None)

    def _uncount(self, entry: MailboxEntry) -> None:
        """Count a request as finished, once: there is room for another one."""
        self._pending, entry.pending_weight = self._pending - entry.pending_weight, 0
        if self._admission.queues:
            self._admission.call(None)

    def _react(self, cell: InstanceCell, entry: MailboxEntry, verdict: Verdict) -> Literal["over", "waits"]:
        """Act on a turn's outcome. Return whether its request waits for another turn."""
        match verdict:
            case TurnAnswered(result):
                self._answer(cell, entry, result)
            case Defer():
                self._defer(cell, entry)
                return "waits"
            case RecoverFirst():
                return self._recover_first(cell, entry)
            case FenceLost(address):
                entry.reply(Failure(OutcomeUnknown(f"another writer changed {address} during its run")))
                # No other engine may write an owned store. Another writer means that this engine is no longer the
                # owner: stop.
                if not self.turns.runner.others:
                    self.fence_lost(address)
                elif cell.deferred and not cell.running:
                    self._wake_deferred(cell)
            case _:
                assert_never(verdict)
        return "over"

    def _answer(self, cell: InstanceCell, entry: MailboxEntry, result: TurnAnswer) -> None:
        entry.reply(result)
        if type(entry.request.command) is Recover and is_lost(result):
            self.claim_left(cell)
        if cell.deferred and not cell.running:
            self._wake_deferred(cell)

    def _defer(self, cell: InstanceCell, entry: MailboxEntry) -> None:
        """Keep a request until the run in progress has ended. If another engine runs it, look again: ever later."""
        if not cell.running or entry.is_end:  # otherwise the end of that run wakes it
            delay_ms = entry.next_elsewhere_retry_ms(self.runtime.random())
            self.runtime.call_later(delay_ms, partial(self._wake_deferred, cell))
        cell.deferred = (*cell.deferred, entry)

    def _recover_first(self, cell: InstanceCell, entry: MailboxEntry) -> Literal["over", "waits"]:
        """Settle the abandoned run, then serve the request. Not a message, because that run may be its own."""
        # Once only: a recovery that fails each time would keep the request, and its caller, for ever.
        recovery = MailboxEntry(RECOVER, self.runtime.future(), pending_weight=0)
        if entry.request.inbound is not None or entry.recovered == "once":
            entry.reply(Failure(OutcomeUnknown("an abandoned run is recovered first")))
            cell.put(recovery, "head")
            return "over"
        entry.recovered = "once"
        cell.put_first((recovery, entry))
        return "waits"

    def _background_is_over(self, cell: InstanceCell) -> None:
        self._wake_deferred(cell)
        if cell.state == "idle" and cell.is_empty:
            self._make_idle(cell)

    def _wake_deferred(self, cell: InstanceCell) -> None:
        cell.wake_deferred()
        self._resume(cell)

    def claim_left(self, cell: InstanceCell) -> None:
        """Recover the instance after a pause, in case it has a claim that no run holds. This counts no crash."""
        if self.intake == "open":  # otherwise the next start recovers it
            self._claims_left.add(cell)

    def in_flight(self) -> InFlight:
        """Count the accepted and unfinished work. Any thread may call this."""
        waiting_for_room, claims_left = self._admission.waiting, self._claims_left.count
        return self.busy.counted(self.turns.runner.gates, self._pending, waiting_for_room, claims_left)

    def broken_rule(self) -> str | None:
        """Return the first rule that the instances break between two steps of the event loop. None if all are legal."""
        return self.busy.broken_rule(self.cache, self._pending, self._batch.cells)

    def close_intake(self) -> None:
        """Accept no more requests. Waiting requests fail with ``EngineClosed``. Runs in progress continue."""
        self.intake = "closed"
        self._admission.call_all()
        self._claims_left.close()
        self.busy.close_intake()

    # ------------------------------------------------------------ defects of the engine
    def _fail(self, cell: InstanceCell, entry: MailboxEntry, defect: BaseException) -> None:
        """Answer a request in whose turn the engine failed, unless it waits, is served, or is in the pending commit.

        A claim that no code settles any more is recovered.
        """
        result = self._internal_error(cell, defect).result
        if cell.undecided is entry:
            cell.undecided = None
        if cell.holds(entry):
            return
        if entry.is_end:
            cell.background = None
        if cell.running and not cell.settles_claims:
            cell.running = ()
            self.turns.runner.left_claimed(cell)
        try:
            self._answer(cell, entry, result)
        except BaseException as again:  # noqa: BLE001 - the count below must follow: a request that stays is never free
            self._internal_error(cell, again)
        self._uncount(entry)

    def _drop(self, cell: InstanceCell, entry: MailboxEntry, begun: Begun | Reading) -> None:
        """Close the code that was to continue a turn, unless it has begun."""
        if cell.holds(entry):
            return
        if type(begun) is EngineRun and begun.begun is not None:
            begun.begun.drop()

    def _dropped(self, cell: InstanceCell, wait: _Wait | None) -> tuple[MailboxEntry, ...]:
        """Drop the code that was to continue a turn, and return the request of that."""
        if not isinstance(wait, EngineRun):
            return ()
        self._drop(cell, wait.entry, wait)
        return (wait.entry,)

    def _recover_mailbox(self, cell: InstanceCell, entries: Sequence[MailboxEntry], defect: BaseException) -> None:
        """Answer the requests that a defect between two turns has left in no queue, and serve the next ones.

        Whatever the defect has interrupted, the cell is busy afterwards only if a turn is in progress.
        """
        for entry in entries:
            self._fail(cell, entry, defect)
        if not entries:
            self._internal_error(cell, defect)
        if not cell.has_turn:
            cell.state = "idle"
            if cell.deferred and not cell.running:
                cell.wake_deferred()
            self._continue(cell)

    def _internal_error(self, cell: InstanceCell, defect: BaseException) -> TurnAnswered:
        if isinstance(defect, ENDS_PROCESS):
            self.turns.runner.process_ends(defect)
        self.runtime.log(defect_in("turn", cell.address, defect))
        return TurnAnswered(Failure(OutcomeUnknown(f"the engine failed in this turn: {defect!r}")))
