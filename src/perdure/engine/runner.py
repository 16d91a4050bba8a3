"""Runs: the program of a turn, from its begin to the commit of its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.cancellation import stop_from_outside, take_cancellation_back, uncancel
from perdure.engine.checkpoints import Checkpoints, RunLost
from perdure.engine.claims import ClaimFailed, LazyClaim
from perdure.engine.commits import Commits
from perdure.engine.concurrency_limit import ConcurrencyLimits
from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.holds import Holds
from perdure.engine.hook_checks import HookChecks, run_inspected
from perdure.engine.item import RunInProgress, Stop
from perdure.engine.lane_limit import lane_of
from perdure.engine.perform import Perform, perform_directly
from perdure.engine.reporting import Reporting
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.engine.time_limit import TimeLimit
from perdure.engine.tracing import Tracing
from perdure.engine.turn_outcome import FenceLost, RunsApart, TurnAnswered, Verdict
from perdure.engine.unstored import is_interrupt, not_stored
from perdure.jobs.context import RunInterrupted
from perdure.jobs.recovery import keeping, release
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute, Mark, run_of
from perdure.jobs.turn import finish, interrupted
from perdure.programs import Exit, Halted, Raised
from perdure.programs.drivers import Suspended
from perdure.programs.exit import ENDS_PROCESS, is_closing
from perdure.programs.inline import run_to_first_effect
from perdure.programs.interpreter import interpret
from perdure.runtime.record import LogRecord, Runtime
from perdure.runtime.run_context import InRun, enter_run, leave_run
from perdure.stores.contract import Store
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, RunTimeout, StoreError
from perdure.values.instance import Fence, Instance
from perdure.values.limits import Limits
from perdure.values.transition import AS_EXPECTED, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded, OtherEngines, TurnInputs

RunEnded: TypeAlias = Callable[[Execute, Exit[Any, Any]], object]
"""Called with the end of every user program, before the engine decides on it."""


@attrs.define
class Runner:
    """Runs the programs of turns: claims them, limits their time, and commits their ends.

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
        hook_checks: inspect a sample of the runs; None without the debug mode.
        tracing: traces turns; None if no sink does.
        phase: whether runs may start.
        code: ``trusted``: an event is claimed before its first effect, so that one without effects costs one commit;
            ``suspect``: all code of jobs is claimed before it runs, so that the deaths of the process are counted.
        others: the other engines that share the store; those of the last heartbeat.
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
    hook_checks: HookChecks | None = None
    tracing: Tracing | None = None
    phase: Literal["open", "closing"] = "open"
    code: Literal["trusted", "suspect"] = "trusted"
    others: OtherEngines = NO_OTHERS
    process_ends: Callable[[BaseException], None] = attrs.field(init=False)
    _keeps_history: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keeps_history = self.limits.keeps_history

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
            reads=self.store.reads,
        )

    # ------------------------------------------------------------ slots
    def refused(self, resident: Resident, step: Execute | Mark) -> TurnAnswered | None:
        """Return the answer to a run that has a slot and must not begin any more."""
        if self.phase == "closing":
            return TurnAnswered(Failure(EngineClosed()))
        if resident.is_interrupted and isinstance(step, Execute):
            return TurnAnswered(Success(interrupted(resident.job, step)))
        return None

    async def in_slot(
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

    # ------------------------------------------------------------ programs
    def _begun(self, resident: Resident, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
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
        checks, job = self.hook_checks, resident.job
        if checks is not None and checks.samples(job, execute.hook, execute.request.command):
            return run_inspected(job, execute, self.services)
        return run_to_first_effect(interpret(execute.program, self.services, (execute.draft,)))

    async def run_to_end(
        self, resident: Resident, execute: Execute, begun: Suspended[Any, Any] | None = None
    ) -> Verdict | None:
        """Run a program and the hooks that follow it, and commit the end, in this task.

        Args:
            resident: the instance.
            execute: the run.
            begun: the program itself, if it has already begun.

        Returns:
            The outcome of its turn; None if there was a conflict before its first effect.
        """
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
            return self.decide_end(resident, execute, exit_, self.inputs_of(resident))
        finally:
            leave_run(around)

    def decide_end(
        self, resident: Resident, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs
    ) -> Commit | Execute:
        """Decide on the end of a program with these inputs, in its context."""
        if type(exit_) is Raised:
            self.note_end(exit_)
        if self.run_ended is not None:
            self.run_ended(execute, exit_)
        if self.hook_checks is not None:
            self.hook_checks.report(resident.job, execute, exit_)
        try:
            step = finish(resident.job, execute, exit_, inputs)
        except BaseException as defect:  # noqa: BLE001 - a policy that raises is a defect of the run
            broken = Raised(defect)
            self.note_end(broken)
            return finish(resident.job, execute, broken, inputs)
        if self.reporting.sinks.told:
            self.reporting.finished(resident, execute, exit_, step)
        if isinstance(step, Commit):
            self.residents.note_drafted(resident, execute)
        return step

    def note_end(self, exit_: Exit[Any, Any]) -> None:
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
        program = self._begun(resident, execute) if begun is None else begun
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
            self.note_end(exit_)
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
            case "cancelled":
                return execute, Halted(RunInterrupted())
            case "interrupted":
                self.forget_run(resident, execute)
                self.left_claimed(resident)  # should the terminate that interrupted it be withdrawn, or not be stored
                return TurnAnswered(Success(interrupted(resident.job, execute)))
            case "released":
                await self._release_claim(resident, execute)
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
        stored = await self.record(resident, transition, execute.claim.run_id)
        if isinstance(stored, Success) and self.reporting.sinks.told:
            self.reporting.claimed(execute)
        return stored.map(execute.recorded)

    async def record(self, resident: Resident, transition: Transition, run_id: str) -> Result[Instance, Any]:
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

    async def _release_claim(self, resident: Resident, execute: Execute) -> None:
        """Release the claim, so that the next start delivers the run again without counting a crash.

        The claim is released in the present row: other turns may have written it while the run was apart. One that
        cannot be released is recovered as after a crash: after a pause if this engine continues, otherwise by the next
        one.
        """
        self.forget_run(resident, execute)
        if execute.claimed != "recorded" or await self._is_released(resident, execute):
            return
        self.runtime.log(LogRecord("warning", "claim not released", {"instance": str(resident.address)}))
        self.left_claimed(resident)

    async def _is_released(self, resident: Resident, execute: Execute) -> bool:
        """Release a claim; return whether the store has it no longer."""
        for tried in range(MAX_SHARED_CONFLICTS if self.others else MAX_CONFLICTS + 1):
            await back_off(self.runtime, tried, self.others)
            loaded = await self.residents.load(resident.address)
            if not isinstance(loaded, Success):
                return False
            instance = loaded.unwrap().instance
            if instance is None:
                return True
            stored = await self.commits.conclude(release(instance, execute.claim.run_id, self.inputs_of(resident)))
            if stored is not None:
                return isinstance(stored.result, Success)
        return False
