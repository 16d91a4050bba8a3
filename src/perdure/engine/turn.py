"""One turn: load, decide, claim, run the user's program, decide again, commit."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.cancellation import stop_from_outside, take_cancellation_back, uncancel
from perdure.engine.checkpoints import Checkpoints, RunLost
from perdure.engine.claims import ClaimFailed, LazyClaim, Perform, perform_directly
from perdure.engine.commits import Commits
from perdure.engine.concurrency_limit import ConcurrencyLimits
from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.folding import Folding
from perdure.engine.holds import Holds
from perdure.engine.hook_raised import answer_of_hook
from perdure.engine.inputs import traced_inputs
from perdure.engine.item import Item, RunInProgress, Stop
from perdure.engine.lane_limit import lane_of
from perdure.engine.mistakes import MistakeFound, report_mistakes
from perdure.engine.plain_events import PlainEvents, RunEnded, plain_events
from perdure.engine.reads import Reads
from perdure.engine.release_claim import release_claim
from perdure.engine.reporting import Reporting
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.engine.time_limit import TimeLimit
from perdure.engine.tracing import Tracing
from perdure.engine.turn_outcome import Begun, Claimable, FenceLost, Reading, Rest, RunsApart, TurnAnswered, Verdict
from perdure.engine.unstored import is_interrupt, not_stored
from perdure.jobs.event_run import claim_event
from perdure.jobs.inspection import Inspection
from perdure.jobs.recovery import keeping, withdraw
from perdure.jobs.request import Recover
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst, run_of
from perdure.jobs.turn import begin, begin_marked, finish, interrupted
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended
from perdure.programs.exit import ENDS_PROCESS, is_closing
from perdure.programs.interpreter import interpret
from perdure.programs.straight import until_asked
from perdure.programs.watched_loop import watched
from perdure.runtime.record import Runtime
from perdure.runtime.run_context import InRun, enter_run, leave_run, outside_runs, run_around
from perdure.stores.store import Store
from perdure.values.decoded import Decoded
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, RunTimeout, StoreError
from perdure.values.instance import Fence, Instance
from perdure.values.limits import Limits
from perdure.values.other_engines import NO_OTHERS, OtherEngines
from perdure.values.transition import AS_EXPECTED, Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs

OnTurnLoaded: TypeAlias = Callable[[Resident, Item, Result[Loaded, Any]], None]


@attrs.define
class TurnTaker:
    """Executes turns: waits and writes. The pure functions ``begin`` and ``finish`` decide.

    Attributes:
        store: stores the instances.
        runtime: the only interface to time, waiting, randomness and ids.
        services: the services of user programs.
        limits: the engine's limits.
        gates: limits the number of concurrent runs.
        commits: writes the transitions.
        residents: the instances in this process.
        reporting: tells sinks of claims and rejected events.
        holds: the held jobs.
        left_claimed: called with an instance that may have a claim that no run holds.
        perform: performs the effects of runs.
        run_ended: called with the end of every program.
        mistake_found: called with each mistake that the debug mode finds; None disables the mode.
        tracing: traces turns; None if no sink does.
        phase: whether runs may start.
        code: ``trusted``: an event is claimed before its first effect, so that one without effects costs one commit;
            ``suspect``: all code of jobs is claimed before it runs, so that the deaths of the process are counted.
        others: the other engines that share the store; those of the last heartbeat.
        folding: decides which turns join a flight.
        process_ends: called when the code of a job raises `SystemExit` or `KeyboardInterrupt`; set right afterwards.
    """

    store: Store
    runtime: Runtime
    services: Any  # the user's own record
    limits: Limits
    gates: ConcurrencyLimits
    commits: Commits
    residents: Residents
    reporting: Reporting
    holds: Holds
    left_claimed: Callable[[Resident], None]
    perform: Perform = perform_directly
    run_ended: RunEnded | None = None
    mistake_found: MistakeFound | None = None
    tracing: Tracing | None = None
    phase: Literal["open", "closing"] = "open"
    code: Literal["trusted", "suspect"] = "trusted"
    others: OtherEngines = NO_OTHERS
    process_ends: Callable[[BaseException], None] = attrs.field(init=False)
    folding: Folding = attrs.Factory(lambda turns: Folding(turns.residents), takes_self=True)
    reads: Reads = attrs.field(init=False)
    _keeps_history: bool = attrs.field(init=False)
    _plain: PlainEvents | None = attrs.Factory(plain_events, takes_self=True)

    def __attrs_post_init__(self) -> None:
        self.reads = Reads(self.store, self.runtime)
        self._keeps_history = self.limits.keeps_history

    # ------------------------------------------------------------ the turn
    def begin(self, resident: Resident, item: Item, tell: OnTurnLoaded) -> Begun | Reading:
        """Execute the turn of one request as far as it goes synchronously.

        Args:
            resident: the instance.
            item: the request.
            tell: called with both and the stored instance, in a later step of the event loop; it must call `decide`.

        Returns:
            The turn's only commit, which waits for the disk as a value; or its outcome; or the rest of it, if it must
            wait for something else first; or "reading", if the instance is read first.
        """
        if item.conflicts > item.backed_off and self.others:
            item.backed_off = item.conflicts
            return Rest(self._back_off(item))
        if (flight := resident.flight) is not None:
            return self._decide(resident, item, flight.loaded, flight.decoded)
        key = item.request.idempotency_key
        if resident.loaded is not None and key is None and self.residents.may_use_rows:
            return self._decide(resident, item, resident.loaded, resident.decoded)
        if resident.loaded is not None and self.residents.may_decide(resident, item):
            begun = self._decide(resident, item, resident.loaded, resident.decoded)
            if self.residents.may_stand(item, begun):
                return begun
        now_ms = 0 if key is None else self.runtime.now_ms()
        loaded = self.reads.load(resident.address, key, now_ms, partial(tell, resident, item))
        return "reading" if loaded is None else self.decide(resident, item, loaded)

    async def _back_off(self, item: Item) -> Literal["again"]:
        """Let rivals on a shared store succeed first."""
        await back_off(self.runtime, item.conflicts, self.others)
        return "again"

    def most_conflicts(self, item: Item) -> int:
        """Return how often the turn of a request may meet conflicts before its first effect."""
        return MAX_SHARED_CONFLICTS if self.others and item.request.inbound is None else MAX_CONFLICTS

    def decide(self, resident: Resident, item: Item, loaded: Result[Loaded, Any]) -> Begun:
        """Continue synchronously with a turn whose instance was loaded."""
        if not isinstance(loaded, Success):
            return TurnAnswered(loaded)
        found = loaded.unwrap()
        self.residents.loaded(resident, found)
        if item.request.idempotency_key is None and not self.residents.may_use_rows and resident.loaded is not None:
            found = resident.loaded  # the same row, of which the state may be decoded
        return self._decide(resident, item, found, resident.decoded)

    def _decide(self, resident: Resident, item: Item, loaded: Loaded, decoded: Decoded | None) -> Begun:
        if self._plain is None or self.code == "suspect" or run_around() is not None:
            return self._decide_any(resident, item, loaded, decoded)
        try:
            handled = self._plain.handle(resident, item.request, loaded.instance, decoded)
        except BaseException as defect:  # noqa: BLE001 - a hook that raises before it returns a program
            return self._not_begun(resident, item, loaded.instance, defect)
        if isinstance(handled, tuple):
            execute, ended = handled
            if execute.draft.encoded is None and resident.decoded is None:
                self.residents.note_decoded(resident, execute)
            return self._handle(resident, item, execute, self.inputs_of(resident), ended)
        return self._decide_any(resident, item, loaded, decoded) if handled is None else handled

    def _decide_any(self, resident: Resident, item: Item, loaded: Loaded, decoded: Decoded | None) -> Begun:
        inputs = self.inputs_of(resident, decoded)
        if self.tracing is not None:
            inputs = traced_inputs(self.tracing, resident.address, item, loaded, inputs)
        around = outside_runs()
        try:
            step = begin(resident.job, resident.address, loaded, item.request, inputs)
        except BaseException as defect:  # noqa: BLE001 - a hook that raises before it returns a program
            return self._not_begun(resident, item, loaded.instance, defect)
        finally:
            if around is not None:
                leave_run(around)
        if self.reporting.sinks.told:
            self.reporting.decided(resident, item, loaded.instance, step)
        if isinstance(step, Execute):
            if item.span is not None:
                item.span.runs(step.claim)
            if resident.decoded is None:
                self.residents.note_decoded(resident, step)
            if step.claimed == "before_effect" and self.code == "trusted":
                return self._handle(resident, item, step, inputs)
        return step if isinstance(step, Commit) else self._wait_first(resident, item, step)

    def _wait_first(self, resident: Resident, item: Item, step: Execute | Mark | Defer | RecoverFirst) -> Begun:
        """Continue with what must wait, on a committed row."""
        if resident.flight is not None or (item.basis == "kept" and type(step) is not Execute):
            return "after_flight"
        match step:
            case Mark():
                return Rest(self._in_a_slot(resident, step, lambda: self._mark_and_begin(resident, item, step)))
            case Execute():
                suspect_event = step.claimed == "before_effect"  # claimed before its handler runs, as a run is
                takes_no_slot = suspect_event and resident.job.occupancy == "claim_only" and self.phase == "open"
                return Claimable(step, "none" if takes_no_slot else "needed")
            case _:
                return step

    def _not_begun(
        self, resident: Resident, item: Item, instance: Instance | None, defect: BaseException
    ) -> TurnAnswered:
        """Answer a request whose turn raised before there was a program."""
        broken = Raised(defect)
        self._note_end(broken)
        return answer_of_hook(self.runtime, resident.job, resident.address, item.request, instance, broken)

    async def _mark_and_begin(self, resident: Resident, item: Item, mark: Mark) -> Verdict | None:
        """Record a claim, then run the code of the job that decides the rest of the turn."""
        if isinstance(item.request.command, Recover) and resident.is_interrupted:
            return TurnAnswered(Success(None))
        match await self._record(resident, mark.transition, mark.claim.run_id):
            case Success(marked):
                return await self._begin_marked(resident, item, mark, marked)
            case Failure(Conflict()):
                return None
            case failure:
                return TurnAnswered(failure)

    async def _begin_marked(self, resident: Resident, item: Item, mark: Mark, marked: Instance) -> Verdict | None:
        step: Commit | Execute
        around = outside_runs()
        try:
            step = begin_marked(resident.job, mark, marked, item.request, self.inputs_of(resident))
        except BaseException as defect:  # noqa: BLE001 - as in `decide`
            resident.forget(mark.claim.run_id)  # its claim stays: the next request or start recovers it
            answer = self._not_begun(resident, item, marked, defect)
            if isinstance(defect, ENDS_PROCESS):
                await self.commits.conclude(withdraw(marked, mark.claim, defect, self.inputs_of(resident)))
            return answer
        finally:
            if around is not None:
                leave_run(around)
        if isinstance(step, Execute):
            if item.span is not None:
                item.span.runs(step.claim)
            if self.reporting.sinks.told:
                self.reporting.claimed(step)
            return await self._run_claimed(resident, item, step)
        try:
            verdict = await self.commits.conclude(step)
        finally:
            resident.forget(mark.claim.run_id)
        match verdict:
            case TurnAnswered(Failure(StoreError() | OutcomeUnknown())):
                self.left_claimed(resident)
            case TurnAnswered(Success()) if mark.claim.cause == "upgrade":
                return None  # decide the request again, on the upgraded state
            case _:
                pass
        return verdict

    # ------------------------------------------------------------ events
    def _handle(
        self,
        resident: Resident,
        item: Item,
        execute: Execute,
        inputs: TurnInputs,
        ended: Exit[Any, Any] | Suspended[Any, Any] | None = None,
    ) -> Begun:
        """Handle an event. As long as its program neither waits nor has effects, it needs no slot, claim or task."""
        step: Commit | Execute = execute
        while isinstance(step, Execute):
            execute = step
            around = enter_run(run_of(execute))
            try:
                begun, ended = ended or self.until_effect(resident, execute), None
                if isinstance(begun, Suspended):
                    return self._has_effect(resident, item, execute, begun)
                if type(begun) is Raised and is_interrupt(begun):
                    self._note_end(begun)
                    return TurnAnswered(Failure(EngineClosed()))
                if self.runtime.now_ms() != inputs.now_ms:
                    inputs = self.inputs_of(resident)
                step = self._decide_end(resident, execute, begun, inputs)
            finally:
                leave_run(around)
        return step

    def begun(self, resident: Resident, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
        """Run a program until its first effect or wait."""
        around = enter_run(run_of(execute))
        try:
            return self.until_effect(resident, execute)
        finally:
            leave_run(around)

    def until_effect(self, resident: Resident, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
        """Run a program until its first effect or wait.

        Any exception here belongs to the program, also a cancellation: the engine cancels a task only where it waits.
        """
        draft = execute.draft
        if self.mistake_found is None:
            return until_asked(interpret(execute.program, self.services, (draft,)))
        inspection = draft.inspection = Inspection.of(resident.job, execute)
        return until_asked(watched(interpret(execute.program, self.services, (inspection,)), inspection.watch))

    def _has_effect(self, resident: Resident, item: Item, execute: Execute, begun: Suspended[Any, Any]) -> Begun:
        """Continue an event that has an effect: on the committed row, so that its claim can be recorded over it."""
        if resident.flight is None and item.basis == "read":
            return Rest(self._continue_event(resident, execute, begun))
        begun.drop()
        self.folding.note_effect(resident, execute.request)
        return "after_flight"

    async def _continue_event(self, resident: Resident, execute: Execute, begun: Suspended[Any, Any]) -> Verdict | None:
        """Continue an event whose program has an effect or waits, in a slot of the concurrency limits.

        An event of a kind whose runs do not hold the mailbox takes no slot: it waits for no other run.
        """
        try:
            if resident.job.occupancy == "claim_only" and self.phase == "open":
                return await self._run_here(resident, execute, begun)
            return await self._in_a_slot(resident, execute, lambda: self._run_here(resident, execute, begun))
        finally:
            begun.drop()

    # ------------------------------------------------------------ runs
    def refused(self, resident: Resident, step: Execute | Mark) -> TurnAnswered | None:
        """Return the answer to a run that has a slot and must not begin any more."""
        if self.phase == "closing":
            return TurnAnswered(Failure(EngineClosed()))
        if resident.is_interrupted and isinstance(step, Execute):
            return TurnAnswered(Success(interrupted(resident.job, step)))
        return None

    async def _in_a_slot(
        self, resident: Resident, step: Execute | Mark, run: Callable[[], Awaitable[Verdict | None]]
    ) -> Verdict | None:
        """Run user code when there is a slot for it."""
        await self.gates.enter(resident.job_name, step.alone, resident.address, lane_of(resident.job, step))
        verdict: Verdict | None = None
        try:
            verdict = self.refused(resident, step) or await run()
        finally:
            if not isinstance(verdict, RunsApart):
                self.gates.leave(resident.job_name, step.alone, resident.address)
        return verdict

    async def _run_claimed(self, resident: Resident, item: Item, execute: Execute) -> Verdict | None:
        by_event = execute.claim.cause == "event"
        if item.request.wait_for == "start" and not by_event and not item.answer.done():
            found: Literal["created", "exists"] = "created" if execute.claim.created == "here" else "exists"
            item.reply_early(Success(running_answer(found)))
        if resident.job.occupancy == "claim_only" and not by_event:
            return RunsApart(execute)
        return await self._run_here(resident, execute)

    async def _run_here(
        self, resident: Resident, execute: Execute, begun: Suspended[Any, Any] | None = None
    ) -> Verdict | None:
        step: Commit | Execute = execute
        try:
            while isinstance(step, Execute):
                ended = await self.run_program(resident, step, "worker", begun)
                if not isinstance(ended, tuple):
                    return ended
                execute, exit_ = ended
                begun = None
                step = self.finish(resident, execute, exit_)
            return await self.settle(resident, execute, step)
        except BaseException:
            self.forget_run(resident, execute)  # its claim stays: the next request or start recovers it
            raise

    def finish(self, resident: Resident, execute: Execute, exit_: Exit[Any, Any]) -> Commit | Execute:
        """Decide on the end of a program."""
        around = enter_run(run_of(execute))
        try:
            return self._decide_end(resident, execute, exit_, self.inputs_of(resident))
        finally:
            leave_run(around)

    def _decide_end(
        self, resident: Resident, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs
    ) -> Commit | Execute:
        if type(exit_) is Raised:
            self._note_end(exit_)
        if self.run_ended is not None:
            self.run_ended(execute, exit_)
        if self.mistake_found is not None:
            report_mistakes(resident.job, execute, exit_, self.mistake_found)
        try:
            step = finish(resident.job, execute, exit_, inputs)
        except BaseException as defect:  # noqa: BLE001 - a policy that raises is a defect of the run
            broken = Raised(defect)
            self._note_end(broken)
            return finish(resident.job, execute, broken, inputs)
        if self.reporting.sinks.told:
            self.reporting.finished(resident, execute, exit_, step)
        if isinstance(step, Commit):
            self.residents.note_drafted(resident, execute)
        return step

    def _note_end(self, exit_: Exit[Any, Any]) -> None:
        """Stop the engine if the code of a job raised an exception that ends the process."""
        if isinstance(exit_, Raised) and isinstance(exit_.cause, ENDS_PROCESS):
            self.process_ends(exit_.cause)

    async def run_program(
        self,
        resident: Resident,
        execute: Execute,
        by: Literal["worker", "apart"],
        begun: Suspended[Any, Any] | Exit[Any, Any] | None = None,
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered | None:
        """Run a program to its exit.

        Args:
            resident: the instance's resident.
            execute: the run.
            by: the task that runs it.
            begun: the program itself, if it has already begun.

        Returns:
            The run, claimed by now if it had an effect, with its exit; None if its claim met a conflict; or the answer
            to a run that was cancelled or interrupted.
        """
        if by == "worker" and execute.claimed == "recorded":
            await self._in_own_task(resident)
        if resident.is_interrupted:
            return await self._stopped(resident, execute, "interrupted", begun)
        program = self.begun(resident, execute) if begun is None else begun
        if not isinstance(program, Suspended):
            return await self._exited(resident, execute, program)
        inputs = partial(self.inputs_of, resident)
        claim = LazyClaim(
            execute,
            lambda step: self._claim(resident, step),
            lambda: self._in_own_task(resident),
            self.runtime,
            lambda: Checkpoints(resident.job, self.store, self.residents, self.runtime, self.commits, inputs),
            self.perform,
        )
        resident.runs = (*resident.runs, progress := RunInProgress(by, claim.claimed))
        limit_ms = resident.job.plan.run_timeout_ms
        try:
            work = InRun(program.resume(runtime=self.runtime, handler=claim.handle), run_of(execute))
            claim.limit = TimeLimit(work, limit_ms, self.runtime, lambda: resident.stop(progress, "timed_out"))
            exit_: Exit[Any, Any] = await claim.limit
        except (ClaimFailed, RunLost) as failed:
            return self.not_recorded(resident, execute, failed)
        except self.runtime.cancelled as cancellation:
            stop: Stop | None = progress.stop or await stop_from_outside(self.runtime, self.phase)
            if stop is not None:
                uncancel(self.runtime)
                await claim.settled()
                return await self._stopped(resident, claim.execute, stop)
            exit_ = Raised(cancellation)
        except BaseException as raised:
            if is_closing(raised):
                raise
            exit_ = Raised(raised)
        finally:
            resident.runs, claim.limit = tuple(run for run in resident.runs if run is not progress), None  # no cycle
        if progress.stop is not None:
            await take_cancellation_back(self.runtime)
        await claim.settled()
        return await self._exited(resident, claim.execute, exit_)

    def not_recorded(self, resident: Resident, execute: Execute, failed: ClaimFailed | RunLost) -> TurnAnswered | None:
        """Conclude a run whose claim or checkpoint was not stored; a claim that was stored before stays."""
        if isinstance(failed, ClaimFailed):
            return None if isinstance(failed.reason, Conflict) else TurnAnswered(Failure(failed.reason))
        self.forget_run(resident, execute)
        self.left_claimed(resident)
        return TurnAnswered(Failure(not_stored(failed.reason)))

    async def _exited(
        self, resident: Resident, execute: Execute, exit_: Exit[Any, Any]
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered:
        if is_interrupt(exit_):
            self._note_end(exit_)
            return await self._stopped(resident, execute, "released")
        return execute, exit_

    async def _in_own_task(self, resident: Resident) -> None:
        """Wait once if this turn began synchronously: the user's services run in a task of the engine."""
        if resident.worker is None:
            await self.runtime.sleep(0)

    async def _stopped(
        self,
        resident: Resident,
        execute: Execute,
        why: Stop,
        begun: Suspended[Any, Any] | Exit[Any, Any] | None = None,
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered:
        """Conclude a run that was cancelled by its timeout, by a terminate, or by the shutdown."""
        if isinstance(begun, Suspended):
            begun.drop()
        match why:
            case "timed_out":
                return execute, Raised(RunTimeout(resident.job.plan.run_timeout_ms))
            case "interrupted":
                self.forget_run(resident, execute)
                self.left_claimed(resident)  # should the terminate that interrupted it be withdrawn, or not be stored
                return TurnAnswered(Success(interrupted(resident.job, execute)))
            case "released":
                await release_claim(self, resident, execute)
                return TurnAnswered(Failure(EngineClosed()))
            case _:
                assert_never(why)

    def claiming(self, execute: Execute) -> Transition:
        """Return the transition that claims a run. On a shared store, its message must be living."""
        transition = execute.claiming or claim_event(execute)
        return keeping(transition, execute.claim) if self.others else transition

    async def _claim(self, resident: Resident, execute: Execute) -> Result[Execute, Any]:
        """Record the claim of a run."""
        transition = self.claiming(execute)
        if not isinstance(transition.write, Put):
            return Success(execute)
        stored = await self._record(resident, transition, execute.claim.run_id)
        if isinstance(stored, Success) and self.reporting.sinks.told:
            self.reporting.claimed(execute)
        return stored.map(execute.recorded)

    async def _record(self, resident: Resident, transition: Transition, run_id: str) -> Result[Instance, Any]:
        """Commit a claim, and return the instance with it."""
        resident.running = (*resident.running, run_id)
        try:
            stored = await self.commits.record(transition)
        except BaseException:
            resident.forget(run_id)
            raise
        return self.recorded(resident, transition, run_id, stored)

    def recorded(
        self, resident: Resident, transition: Transition, run_id: str, stored: Result[Fence, Any]
    ) -> Result[Instance, Any]:
        """Return the instance with a claim, from the store's answer."""
        match stored, transition.write:
            case _, Put(instance) if stored is AS_EXPECTED:
                return Success(instance)
            case Success(fence), Put(instance):
                known = instance.incarnation == fence.incarnation
                return Success(instance if known else instance.changed(incarnation=fence.incarnation))
            case refused, _:
                resident.forget(run_id)
                if isinstance(refused.failure(), OutcomeUnknown):
                    self.left_claimed(resident)
                return Failure(refused.failure())

    async def settle(self, resident: Resident, execute: Execute, step: Commit) -> Verdict | None:
        """Commit the end of a run that holds the mailbox."""
        return self.settled(resident, execute, await self.commits.conclude(step))

    def settled(self, resident: Resident, execute: Execute, verdict: TurnAnswered | None) -> Verdict | None:
        """Return the outcome of a run whose end was committed."""
        if execute.claimed != "recorded":
            return verdict
        self.forget_run(resident, execute)
        match verdict:
            case None:
                self.left_claimed(resident)  # if the claim is still this engine's, no other engine recovers it
                return FenceLost(str(resident.address))
            case TurnAnswered(Failure(StoreError() | OutcomeUnknown() as error)):
                self.left_claimed(resident)
                return TurnAnswered(Failure(not_stored(error)))
            case _:
                return verdict

    def forget_run(self, resident: Resident, execute: Execute) -> None:
        """Note that this process no longer runs a claim."""
        resident.forget(execute.claim.run_id)

    def inputs_of(self, resident: Resident, decoded: Decoded | None = None) -> TurnInputs:
        """Collect the inputs of a decision."""
        return TurnInputs(
            now_ms=self.runtime.now_ms(),
            jitter=self.runtime.random(),
            id_base=self.runtime.new_id(),
            epoch=self.store.epoch,
            limits=self.limits,
            running=resident.running,
            code=self.code,
            events="wanted" if self._keeps_history or self.reporting.sinks.told else "unread",
            hold=self.holds.of(resident.job.kind, resident.job.name) if self.holds.jobs else "released",
            decoded=decoded,
            others=self.others,
        )
