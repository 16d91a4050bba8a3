"""Dispatches requests to instances: one queue each, one turn at a time, different instances concurrently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.admission_queue import AdmissionQueue, overload
from perdure.engine.apart_runs import ApartRuns
from perdure.engine.at_work import AtWork
from perdure.engine.cancellation import is_cancelled
from perdure.engine.claimed_runs import ClaimedRuns
from perdure.engine.claims_left import ClaimsLeft
from perdure.engine.commits import Commits
from perdure.engine.event_batch import EventBatch
from perdure.engine.flight import Flight, Stored, is_foldable, taken_apart
from perdure.engine.in_flight import InFlight
from perdure.engine.incident import defect_in
from perdure.engine.item import Item
from perdure.engine.reporting import Reporting
from perdure.engine.resident import NOTHING_WAITS, Resident
from perdure.engine.residents import Residents
from perdure.engine.runner import Runner
from perdure.engine.turn import TurnTaker
from perdure.engine.turn_outcome import (
    Begun,
    Claimable,
    FenceLost,
    Reading,
    Rest,
    RunsApart,
    TurnAnswer,
    TurnAnswered,
    Verdict,
)
from perdure.engine.unstored import is_lost
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AHEAD, RECOVER, Recover, Request, Terminate
from perdure.jobs.step import Commit, Defer, RecoverFirst
from perdure.programs.exit import ENDS_PROCESS, is_closing
from perdure.runtime.record import Future, Runtime
from perdure.runtime.tasks import start_eagerly
from perdure.values.address import Address
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown
from perdure.values.limits import Limits
from perdure.values.transition import KeepInstance, Loaded, Put

MAX_TURNS_IN_A_ROW = 64
"""Turns that run synchronously in a row before the event loop gets a chance to run."""

_Wait: TypeAlias = Literal["over", "reading"] | tuple[Item, Rest | Claimable]
"""Why no turns are executed now: none are left, or the store's answer, a run or the rest of a turn comes first."""


@attrs.define(eq=False)
class Dispatcher:
    """Owns the queues of all instances.

    Attributes:
        runtime: the only interface to time, waiting and task creation.
        limits: the engine's limits.
        jobs: the served definitions, by kind and name.
        turns: executes the turns; set with their runner, right after construction.
        runs: claims, begins and settles runs; set with it.
        door: whether requests of callers are accepted.
        asked: number of requests so far, except the engine's own.
        fence_lost: called when the store turns out to have another writer.
        reporting: tells sinks of requests.
        residents: the instances in this process.
        at_work: those of them with work in progress.
    """

    runtime: Runtime
    limits: Limits
    jobs: Mapping[tuple[str, str], AnyDefinition]
    fence_lost: Callable[[str], None]
    reporting: Reporting
    residents: Residents
    turns: TurnTaker = attrs.field(init=False)
    runs: ClaimedRuns = attrs.field(init=False)
    _commits: Commits = attrs.field(init=False)
    _apart: ApartRuns = attrs.field(init=False)
    _batch: EventBatch = attrs.field(init=False)
    door: Literal["open", "closed"] = "open"
    asked: int = 0
    at_work: AtWork = attrs.Factory(lambda self: AtWork(self.runtime), takes_self=True)
    _admission: AdmissionQueue = attrs.field(init=False)
    _pending: int = 0  # requests of callers that wait or are being served
    _in_a_row: int = 0
    _claims_left: ClaimsLeft = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._admission = AdmissionQueue(self.runtime)
        self._claims_left = ClaimsLeft(self.runtime, self.recover)

    def with_runner(self, runner: Runner) -> Self:
        """Set the runner of programs; once, right after construction."""
        self._commits, self.turns = runner.commits, TurnTaker(runner)
        self._apart = ApartRuns(self.runtime, runner, self._enqueue, self._broken, self._apart_is_over)
        self.runs = ClaimedRuns(self.runtime, runner, self._run_ended, self._end, self._broken)
        self._batch = EventBatch(
            self.runtime, runner.commits, self.residents, self._decide_undecided, self._serve_begun
        )
        return self

    def post(self, job: AnyDefinition, address: Address, request: Request, *, counts: int = 1) -> Future[TurnAnswer]:
        """Put a request into its instance's mailbox, and return the future of its result.

        Cancelling that removes the request, unless its turn has begun. The engine's own commands count nothing towards
        ``max_pending``: they have limits of their own.
        """
        answer = self.runtime.future()
        self.put(job, address, Item(request, answer, counts=counts))
        return answer

    def put(self, job: AnyDefinition, address: Address, item: Item, resident: Resident | None = None) -> None:
        """Put a request into its instance's mailbox, with a reply that need not be a future."""
        if resident is None:
            resident = self.residents.get(address)
        if self.reporting.sinks.told:
            self.reporting.accepted(item, address)
        if self.door == "closed" or self._pending >= self.limits.max_pending or (resident and resident.waiting):
            refused = EngineClosed() if self.door == "closed" else overload(item, resident, self._pending, self.limits)
            if refused is not None:
                self.reporting.refused(address, refused)
                item.reply(Failure(refused))
                return
        resident = resident or self.residents.at(job, address)
        if item.counts:
            resident.use = "once" if resident.use == "never" else "again"
        command = item.request.command
        self._enqueue(resident, item, "head" if type(command) in AHEAD else "tail")
        if type(command) is Terminate and command.when == "interrupt":
            resident.stop_runs("interrupted")

    def fire(self, job: AnyDefinition, address: Address, item: Item) -> None:
        """Begin the run of a due alarm, at once if nothing about it is special."""
        resident = self.residents.get(address)
        if resident is not None and self.door == "open":
            self.at_work.residents[resident] = None
        if resident is None or self.door == "closed" or not self.runs.begin_plain(resident, item):
            self.put(job, address, item)

    def recover(self, job: AnyDefinition, address: Address) -> Future[TurnAnswer]:
        """Put the recovery of a claim at the head of its mailbox."""
        return self.post(job, address, RECOVER, counts=0)

    async def room_for(self, address: Address) -> None:
        """Wait for room in the instance's mailbox and in the engine. A post right afterwards is not rejected."""
        while self.door == "open":
            resident = self.residents.get(address)
            if resident is not None and len(resident.waiting) >= self.limits.mailbox_size:
                await self._admission.wait(address)
            elif self._pending >= self.limits.max_pending:
                await self._admission.wait(None)
            else:
                return

    def _enqueue(self, resident: Resident, item: Item, place: Literal["head", "tail"]) -> None:
        self.at_work.residents[resident] = None
        self._pending += item.counts
        self.asked += item.counts
        flight, folding = resident.flight, self.turns.folding
        if resident.state != "idle" or resident.waiting or (flight is not None and not folding.allows(resident, item)):
            resident.put(item, place)
            if resident.state == "idle" and flight is None:
                self._serve_or_later(resident)
        elif self._batch.take(resident, item):
            pass  # it is decided at the end of this step
        elif self._in_a_row < MAX_TURNS_IN_A_ROW:
            self._serve_now(resident, item)
        else:
            resident.put(item, place)
            self._serve_later(resident)

    def _decide_undecided(self, resident: Resident) -> tuple[Item, Begun | Reading] | None:
        """Decide the turn of an event at the end of the step in which it arrived; None if it is queued or over."""
        item, resident.undecided = resident.undecided, None
        self._in_a_row = 0
        try:
            if item is not None:
                is_next = resident.flight is None or self.turns.folding.allows(resident, item)
                if is_next and not item.answer.done():
                    return item, self._begun(resident, item)
                resident.put(item, "head")
            self._serve(resident)
        except BaseException as defect:  # noqa: BLE001 - as below
            self._derailed(resident, () if item is None else (item,), defect)
        return None

    def _serve_now(self, resident: Resident, item: Item) -> None:
        """Execute the turn of a request that finds an empty queue, as far as it goes synchronously."""
        resident.state = "busy"
        self._in_a_row += 1
        self._serve_begun(resident, item, self._begun(resident, item))

    def _serve_begun(self, resident: Resident, item: Item, begun: Begun | Reading) -> None:
        """Conclude a turn that is decided, and continue."""
        try:
            wait = self._carry_out(resident, item, begun)
            if wait is None and resident.flight is not None and not resident.waiting:
                resident.state = "idle"
            else:
                self._continue_after(resident, wait)
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            self._derailed(resident, (item,), defect)

    def _continue_after(self, resident: Resident, wait: _Wait | None) -> None:
        """Continue after a turn: with its wait, or with the next ones."""
        if wait is None and not resident.waiting:
            wait = "over"
        if wait is None:
            self._serve(resident)
        elif wait == "over":
            if resident.flight is None:
                self._make_idle(resident)
            else:
                resident.state = "idle"
        elif wait != "reading":
            item, rest = wait
            try:
                self._begin_wait(resident, item, rest)
            except BaseException as defect:  # noqa: BLE001 - as above
                resident.end_serving(item)
                self._derailed(resident, (item,), defect)

    def _serve_or_later(self, resident: Resident) -> None:
        """Serve now; after some turns in a row later: a caller in a tight loop must not starve all others."""
        resident.state = "busy"
        self._in_a_row += 1
        if self._in_a_row <= MAX_TURNS_IN_A_ROW:
            self._serve(resident)
        else:
            self._serve_later(resident)

    def _serve_later(self, resident: Resident) -> None:
        resident.state = "busy"
        self._in_a_row = 0
        try:
            self.runtime.call_soon(lambda: self._serve(resident))
        except BaseException as defect:  # noqa: BLE001 - as below
            while resident.waiting:
                self._fail(resident, resident.waiting.popleft(), defect)
            self._make_idle(resident)

    def _serve(self, resident: Resident) -> None:
        """Execute turns synchronously until nothing waits, or a turn must wait."""
        try:
            self._continue_after(resident, self._serve_until_wait(resident))
        except BaseException as defect:  # noqa: BLE001 - as above
            self._derailed(resident, (), defect)

    def _serve_until_wait(self, resident: Resident) -> _Wait:
        """Execute turns until one must wait: for its rest, in a task; for the store; or until nothing waits."""
        while resident.waiting:
            if resident.flight is not None and not self.turns.folding.allows(resident, resident.waiting[0]):
                return "over"
            item = self._next(resident)
            if item is None:
                continue
            wait = self._carry_out(resident, item, self._begun(resident, item))
            if wait is not None:
                return wait
        return "over"

    def _begun(self, resident: Resident, item: Item) -> Begun | Reading:
        try:
            if self._admission.queues:  # it needs no room from now on, so another caller gets it
                self._admission.call(resident.address)
            if item.report is not None:
                item.report.begun()
            if item.ended is not None:
                return Rest(self._apart.settle(resident, *item.ended))
            return self.turns.begin(resident, item, self._loaded)
        except BaseException as defect:  # noqa: BLE001 - as above
            return self._broken(resident, defect)

    def _loaded(self, resident: Resident, item: Item, loaded: Result[Loaded, Any]) -> None:
        """Continue a turn with the instance that the store has read."""
        if resident.undecided is not item:  # it was answered when the engine stopped
            self._uncount(item)
            return
        resident.undecided = None
        try:
            begun: Begun = self.turns.decide(resident, item, loaded)
        except BaseException as defect:  # noqa: BLE001 - as above
            begun = self._broken(resident, defect)
        self._serve_begun(resident, item, begun)

    def _carry_out(self, resident: Resident, item: Item, begun: Begun | Reading) -> _Wait | None:
        """Carry out the decision of a turn; return its wait, if it waits for something."""
        try:
            if type(begun) is Commit:
                write = begun.transition.write
                if type(write) is Put and write.changes == "state":  # no run can begin with it
                    self._commits.begin(resident, item, begun, self._landed)
                    if resident.flight is not None:  # a store that answers within the call has waited for nothing
                        self._in_a_row = 0
                    return None
            match begun:
                case Commit() if resident.flight is None and self.runs.accepts(resident, item, begun):
                    return "reading"
                case Commit() if resident.flight is None or is_foldable(begun.transition):
                    self._commit(resident, item, begun)
                case "reading":
                    self._in_a_row = 0
                    resident.undecided = item
                    return "reading"
                case Commit() | "after_flight":
                    resident.put(item, "head")
                    return "over"
                case Rest() | Claimable():
                    return item, begun
                case _:
                    self._end(resident, item, begun)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._fail(resident, item, defect)
        return None

    def _commit(self, resident: Resident, item: Item, commit: Commit) -> None:
        """Commit a turn as a value: it waits for the disk without a task or a frame."""
        if type(commit.transition.write) is KeepInstance and resident.flight is None:
            answered = self._commits.unwritten(commit)
            if answered is not None:
                self._end(resident, item, answered)
                return
        self._commits.begin(resident, item, commit, self._landed)
        if resident.flight is not None:
            self._in_a_row = 0

    def _landed(self, flight: Flight, stored: Stored) -> None:
        """Conclude the turns of a flight. The next ones start later: user code does not run in the store's callback."""
        resident = flight.resident
        if resident is None:
            return
        resident.flight = None
        result: TurnAnswer | None = None
        try:
            self._commits.landed(flight, stored)
        except BaseException as defect:  # noqa: BLE001 - as above
            result = self._broken(resident, defect).result
        try:
            if result is None and type(stored) is not Success:
                if isinstance(stored.failure(), Conflict):
                    self._again(resident, [item for item, _ in flight.steps])
                    return
                resident.queue_undecided()
                resident.put_first(taken_apart(flight, stored))
                result = stored
            for item, commit in flight.steps:
                self._conclude(resident, item, result or commit.result)
            if resident.deferred and not resident.running:
                self._wake_deferred(resident)
            if resident.state == "idle" and not resident.waiting:
                self._make_idle(resident)
            else:
                self._continue(resident)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._derailed(resident, [item for item, _ in flight.steps], defect)

    def _again(self, resident: Resident, items: Sequence[Item]) -> None:
        """Decide the turns of requests again, in order, because they met a conflict before their first effects."""
        self.residents.note_conflict(items)
        resident.queue_undecided()
        for item in reversed(items):
            if item.conflicts > self.turns.most_conflicts(item):
                self._end(resident, item, TurnAnswered(Failure(Conflict(str(resident.address)))))
            else:
                resident.put(item, "head")
        self._continue(resident)

    def _continue(self, resident: Resident) -> None:
        """Serve the requests that wait, in the next step of the event loop, unless turns are being executed."""
        if resident.state != "idle":
            return
        if resident.waiting:
            self._serve_later(resident)
        else:
            self._make_idle(resident)

    def _begin_wait(self, resident: Resident, item: Item, rest: Rest | Claimable) -> None:
        """Begin the run of a turn, which needs no task, or the rest of it, in one."""
        if isinstance(rest, Claimable):
            self._in_a_row = 0
            self.runs.begin(resident, item, rest)
            return
        resident.worker = start_eagerly(self._in_task(resident, item, rest), self.runtime, name="turns of an instance")
        self._in_a_row = 0 if resident.worker else self._in_a_row

    async def _in_task(self, resident: Resident, item: Item, rest: Rest) -> None:
        """Execute a turn that must wait, then other turns, until nothing waits or a turn waits as a value."""
        wait: _Wait = (item, rest)
        try:
            while isinstance(wait, tuple) and isinstance(wait[1], Rest):
                await self._await_rest(resident, wait[0], wait[1])
                wait = self._serve_until_wait(resident)
        except BaseException as raised:
            if not is_closing(raised):
                self.runtime.call_soon(lambda: self._resume(resident))
            wait = "over"
            raise
        finally:
            resident.worker = None
            if isinstance(wait, tuple):
                self._begin_wait(resident, *wait)
            elif wait == "over":
                self._make_idle(resident)

    def _run_ended(self, resident: Resident, item: Item, verdict: Verdict | None) -> None:
        """Conclude the turn of a run, and continue with the next ones."""
        resident.state = "idle"
        try:
            if type(verdict) is TurnAnswered:
                self._answer(resident, item, verdict.result)
                if item.counts:
                    self._uncount(item)
            elif verdict is None:
                self._again(resident, (item,))
                return
            else:
                self._end(resident, item, verdict)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._fail(resident, item, defect)
        self._continue(resident)

    def _resume(self, resident: Resident) -> None:
        """Serve the requests that wait, unless turns are being executed."""
        if resident.waiting and resident.state == "idle":
            self._serve_or_later(resident)

    async def _await_rest(self, resident: Resident, item: Item, rest: Rest) -> None:
        """Execute the rest of a turn, and conclude the turn."""
        verdict: Verdict | Literal["again"] | None
        resident.begin_serving(item)
        try:
            verdict = await rest.work
        except BaseException as raised:
            if is_closing(raised):
                raise
            resident.end_serving(item)
            if is_cancelled(self.runtime, raised):
                self._end(resident, item, TurnAnswered(Failure(OutcomeUnknown("the task of this turn was cancelled"))))
                raise
            verdict = self._broken(resident, raised)
        else:
            resident.end_serving(item)
        try:
            if verdict == "again":
                resident.put(item, "head")
            elif verdict is None:
                self._again(resident, (item,))
            else:
                self._end(resident, item, verdict)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._fail(resident, item, defect)

    def _next(self, resident: Resident) -> Item | None:
        """Remove the request at the head and return it; None if its caller has cancelled it."""
        item = resident.waiting.popleft()
        if item.answer.done() and item.ended is None:
            if self._admission.queues:
                self._admission.call(resident.address)
            item.note_cancelled()
            self._uncount(item)
            return None
        return item

    def _end(self, resident: Resident, item: Item, verdict: Verdict) -> None:
        self._react(resident, item, verdict)
        if not isinstance(verdict, Defer):
            self._uncount(item)

    def _make_idle(self, resident: Resident) -> None:
        """Mark a mailbox as idle, and drop it if it is empty."""
        resident.state, resident.worker = "idle", None
        if resident.waiting:
            return
        resident.waiting = NOTHING_WAITS
        if not (resident.deferred or resident.running or resident.apart) and resident.flight is None:
            if resident.weight == 0 or resident.use == "never" or self.residents.size_bytes > self.residents.max_bytes:
                self.residents.rest(resident)
            self.at_work.forget(resident)

    def _conclude(self, resident: Resident, item: Item, result: TurnAnswer) -> None:
        """Answer a request whose turn is durable."""
        try:
            if item.report is not None or item.span is not None or type(item.request.command) is Recover:
                self._answer(resident, item, result)
            elif not item.answer.done():
                item.answer.set_result(result)
        except BaseException as defect:  # noqa: BLE001 - of the engine: its neighbours are answered
            self._broken(resident, defect)
        self._pending -= item.counts
        if self._admission.queues:
            self._admission.call(None)

    def _uncount(self, item: Item) -> None:
        """Count a request as finished: there is room for another one."""
        self._pending -= item.counts
        if self._admission.queues:
            self._admission.call(None)

    def _react(self, resident: Resident, item: Item, verdict: Verdict) -> None:
        """Act on the outcome of a turn."""
        match verdict:
            case TurnAnswered(result):
                self._answer(resident, item, result)
            case RunsApart(execute):
                self._apart.begin(resident, item, execute)
            case Defer():
                self._defer(resident, item)
            case RecoverFirst():
                self._recover_first(resident, item)
            case FenceLost(address):
                item.reply(Failure(OutcomeUnknown(f"another writer changed {address} during its run")))
                if not self.turns.runner.others:
                    self.fence_lost(address)
                elif resident.deferred and not resident.running:
                    self._wake_deferred(resident)
            case _:
                assert_never(verdict)

    def _answer(self, resident: Resident, item: Item, result: TurnAnswer) -> None:
        item.reply(result)
        if type(item.request.command) is Recover and is_lost(result):
            self.claim_left(resident)
        if resident.deferred and not resident.running:
            self._wake_deferred(resident)

    def _defer(self, resident: Resident, item: Item) -> None:
        """Keep a request until the run in progress has ended; if another engine runs it, look again: ever later."""
        resident.deferred = (*resident.deferred, item)
        if resident.running and item.ended is None:
            return  # the end of that run wakes it
        self.runtime.call_later(item.next_look_ms(self.runtime.random()), lambda: self._wake_deferred(resident))

    def _recover_first(self, resident: Resident, item: Item) -> None:
        """Settle the abandoned run, then serve the request; not a message, because that run may be its own."""
        if item.request.inbound is not None or item.recovered == "once":
            item.reply(Failure(OutcomeUnknown("an abandoned run is recovered first")))
        else:
            item.recovered = "once"
            self._enqueue(resident, item, "head")
        self._enqueue(resident, Item(RECOVER, self.runtime.future(), counts=0), "head")

    def _apart_is_over(self, resident: Resident) -> None:
        self._wake_deferred(resident)
        if resident.state == "idle" and resident.is_empty:
            self._make_idle(resident)

    def _wake_deferred(self, resident: Resident) -> None:
        resident.wake_deferred()
        self._resume(resident)

    def claim_left(self, resident: Resident) -> None:
        """Recover the instance after a pause, in case it has a claim that no run holds. This counts no crash."""
        if self.door == "open":  # otherwise the next start recovers it
            self._claims_left.add(resident)

    def in_flight(self) -> InFlight:
        """Count the accepted and unfinished work. Any thread may call this."""
        waiting_for_room, claims_left = self._admission.waiting, self._claims_left.count
        return self.at_work.counted(self.turns.runner.gates, self._pending, waiting_for_room, claims_left)

    def close_door(self) -> None:
        """Accept no more requests. Waiting requests fail with ``EngineClosed``; runs in progress continue."""
        self.door = "closed"
        self._admission.call_all()
        self._claims_left.close()
        self.at_work.close_door()

    # ------------------------------------------------------------ defects of the engine
    def _fail(self, resident: Resident, item: Item, defect: BaseException) -> None:
        """Answer a request in whose turn the engine failed."""
        result = self._broken(resident, defect).result
        try:
            self._answer(resident, item, result)
        except BaseException as again:  # noqa: BLE001 - as above
            self._broken(resident, again)
        self._uncount(item)
        item.counts = 0  # should a later step end it again

    def _derailed(self, resident: Resident, items: Sequence[Item], defect: BaseException) -> None:
        """Answer requests after a defect between two turns, and serve the next ones of the instance."""
        for item in items:
            if not item.answer.done():
                self._fail(resident, item, defect)
        if not items:
            self._broken(resident, defect)
        if not (resident.served or resident.worker or resident.undecided):
            resident.state = "idle"
            self._continue(resident)

    def _broken(self, resident: Resident, defect: BaseException) -> TurnAnswered:
        if isinstance(defect, ENDS_PROCESS):
            self.turns.runner.process_ends(defect)
        self.runtime.log(defect_in("turn", resident.address, defect))
        return TurnAnswered(Failure(OutcomeUnknown(f"the engine failed in this turn: {defect!r}")))
