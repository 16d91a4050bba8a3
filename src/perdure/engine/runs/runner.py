"""Runs a turn's program, from its begin to its end's commit, in its caller's task.

It also collects the inputs of decisions: the clock, a random value and an id.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.commits import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, Commits, back_off
from perdure.engine.mailbox.entry import FenceLost, TurnAnswered, Verdict, is_interrupt, not_stored
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import EngineRun, InstanceCell, Stop
from perdure.engine.reporting import HookChecks, Reporting, run_inspected
from perdure.engine.runs.concurrency import ConcurrencyLimits, Holds
from perdure.engine.runs.effects import (
    Checkpoints,
    ClaimFailed,
    Claims,
    Perform,
    RunEffects,
    RunLost,
    TimeLimit,
    perform_directly,
)
from perdure.engine.sinks import Tracing
from perdure.jobs.context import RunInterrupted
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.recovery import keeping, release
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Execute, Mark, run_of
from perdure.jobs.turn import finish, interrupted
from perdure.programs import Exit, Halted, Raised
from perdure.programs.drivers import Suspended, run_inline
from perdure.programs.instructions import ENDS_PROCESS, is_closing
from perdure.runtime.record import Draws, LogRecord, Runtime
from perdure.runtime.tasks import InRun, enter_run, leave_run
from perdure.stores.contract import Store
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, RunTimeout, StoreError
from perdure.values.instance import Fence, Instance
from perdure.values.limits import Limits
from perdure.values.status import Hold
from perdure.values.transition import AS_EXPECTED, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded, NotDrawn, OtherEngines, TurnInputs


def is_cancelled(runtime: Runtime, raised: BaseException) -> bool:
    """Return whether the running task was cancelled, and not only an awaitable that it waited for."""
    return isinstance(raised, runtime.cancelled) and runtime.current_task().cancelling() > 0


async def stop_from_outside(runtime: Runtime, phase: Literal["open", "closing"]) -> Literal["released"] | None:
    """Return why a run was cancelled that the engine did not cancel.

    If an awaitable of the program was cancelled, or the program cancelled its own task, it is a defect of the run. If
    the event loop cancels every task because it ends, the engine is being stopped at the same moment.
    """
    if runtime.current_task().cancelling():
        uncancel(runtime)
        await runtime.sleep(0)
    return "released" if phase == "closing" else None


async def take_cancellation_back(runtime: Runtime) -> None:
    """Remove the cancellation of a program that ended nevertheless: this task's next turn must not see it."""
    with suppress(runtime.cancelled):
        await runtime.sleep(0)
    uncancel(runtime)


_new = object.__new__


def unchanged_state(job: AnyDefinition, execute: Execute) -> str | None:
    """Return the row's state text if an event has left it unchanged. None if the event worked on another state."""
    instance, claim = execute.instance, execute.claim
    if claim.cause != "event" or job.state_of_run(instance, claim) is not instance.state:
        return None
    return instance.state


def uncancel(runtime: Runtime) -> None:
    """Undo every cancellation request of the running task."""
    task = runtime.current_task()
    while task.cancelling():
        task.uncancel()


def inputs_beside_turns(
    runtime: Runtime, store: Store, limits: Limits, *, running: tuple[str, ...] = (), hold: Hold = "released"
) -> TurnInputs:
    """Read the clock, draw a random value and create an id, for a decision that is no turn of an instance.

    Args:
        runtime: the source of all three.
        store: provides its ownership's epoch.
        limits: the engine's limits.
        running: the ids of the instance's runs that are in progress in this process.
        hold: whether runs of the job may begin.
    """
    return TurnInputs(
        now_ms=runtime.now_ms(),
        jitter=runtime.random(),
        id_base=runtime.new_id(),
        epoch=store.epoch,
        running=running,
        limits=limits,
        hold=hold,
        reads=store.reads,
    )


RunEnded: TypeAlias = Callable[[Execute, Exit[Any, Any]], object]
"""Called with the end of every user program, before the engine decides on it."""


@attrs.define
class Runner:
    """Runs the programs of turns: claims them, limits their time, and commits their ends.

    Attributes:
        runtime: the only interface to time, waiting, randomness and ids.
        cache: keeps this process's instances.
        reporting: tells sinks of claims and rejected events.
        left_claimed: called with an instance that may have a claim that no run holds.
        run_ended: called with every program's end.
        hook_checks: inspect a sample of the runs. None without the debug mode.
        tracing: traces turns. None if no sink does.
        draws: draw random numbers and ids instead of the runtime. None: the runtime draws them.
        phase: whether runs may start.
        stops_runs: whether runs are cancelled: the claim of one that has not begun is released.
        code: ``trusted``: an event is claimed before its first effect, so that one without effects costs one commit.
            ``suspect``: all code of jobs is claimed before it runs, so that the process's deaths are counted.
        others: the other engines that share the store. Those of the last heartbeat.
        process_ends: called when the code of a job raises `SystemExit` or `KeyboardInterrupt`. Set right afterwards.
    """

    store: Store
    runtime: Runtime
    services: Any  # the user's own record
    limits: Limits
    gates: ConcurrencyLimits
    commits: Commits
    cache: InstanceCache
    reporting: Reporting
    holds: Holds
    left_claimed: Callable[[InstanceCell], None]
    perform: Perform = perform_directly
    run_ended: RunEnded | None = None
    hook_checks: HookChecks | None = None
    tracing: Tracing | None = None
    draws: Draws | None = None
    phase: Literal["open", "closing"] = "open"
    stops_runs: bool = False
    code: Literal["trusted", "suspect"] = "trusted"
    others: OtherEngines = NO_OTHERS
    process_ends: Callable[[BaseException], None] = attrs.field(init=False)
    _keeps_history: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keeps_history = self.limits.keeps_history

    def inputs_of(self, cell: InstanceCell, decoded: Decoded | None = None, row: Instance | None = None) -> TurnInputs:
        """Collect a decision's inputs. The random number and the id are drawn when they are read."""
        runtime, store = self.runtime, self.store
        # Spelled out, because each turn collects some: the generated `__init__` would need what is not drawn yet.
        inputs: Any = _new(TurnInputs)
        inputs.now_ms = now_ms = runtime.now_ms()
        own = self.draws
        inputs.draw_jitter, inputs.draw_id = (runtime.random, runtime.new_id) if own is None else own(cell.address)
        inputs.epoch = store.epoch
        inputs.running = cell.running
        inputs.limits = self.limits
        inputs.wants_events = self._keeps_history or self.reporting.sinks.told != ()
        inputs.trace = None
        inputs.code = self.code
        inputs.hold = self.holds.of(cell.job.kind, cell.job.name) if self.holds.jobs else "released"
        inputs.others = self.others
        inputs.reads = store.reads
        inputs.decoded = decoded
        inputs.row = row
        inputs.ahead_ms = self.gates.ahead_ms(cell.job_name, now_ms) if self.gates.lanes else 0
        collected: TurnInputs = inputs
        return collected

    # ------------------------------------------------------------ slots
    def refused(self, cell: InstanceCell, step: Execute | Mark) -> TurnAnswered | None:
        """Return the answer to a run that has a slot and must not begin any more."""
        if self.phase == "closing":
            return TurnAnswered(Failure(EngineClosed()))
        if cell.is_interrupted and isinstance(step, Execute):
            return TurnAnswered(Success(interrupted(cell.job, step)))
        return None

    # ------------------------------------------------------------ programs
    def _begun(self, cell: InstanceCell, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
        """Run a program until its first effect or wait."""
        around = enter_run(run_of(execute))
        try:
            return self.until_effect(cell, execute)
        finally:
            leave_run(around)

    def until_effect(self, cell: InstanceCell, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
        """Run a program until its first effect or wait.

        Any exception here belongs to the program, also a cancellation: the engine cancels a task only where it waits.
        """
        checks, job = self.hook_checks, cell.job
        if checks is not None and checks.samples(job, execute.hook, execute.request.command):
            return run_inspected(job, execute, self.services)
        return run_inline(execute.program, self.services, execute.draft)

    def finish(self, cell: InstanceCell, execute: Execute, exit_: Exit[Any, Any]) -> Commit | Execute:
        """Decide on a program's end."""
        around = enter_run(run_of(execute))
        try:
            return self.decide_end(cell, execute, exit_, self.inputs_of(cell))
        finally:
            leave_run(around)

    def decide_end(
        self, cell: InstanceCell, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs
    ) -> Commit | Execute:
        """Decide on the end of a program with these inputs, in its context."""
        if type(exit_) is Raised:
            self.note_end(exit_)
        if self.run_ended is not None:
            self.run_ended(execute, exit_)
        if self.hook_checks is not None and execute.draft.inspection is not None:
            self.hook_checks.report(cell.job, execute, exit_)
        try:
            step = finish(cell.job, execute, exit_, inputs)
        # Of the engine: to end the run by it would park an instance whose code has no fault.
        except NotDrawn:
            raise
        except BaseException as defect:  # noqa: BLE001 - a user policy raised, perhaps `SystemExit`: the run ends by it
            broken = Raised(defect)
            self.note_end(broken)
            return finish(cell.job, execute, broken, inputs)
        if self.reporting.sinks.told:
            self.reporting.finished(cell, execute, exit_, step)
        if type(step) is Commit:
            text = execute.draft.encoded or unchanged_state(cell.job, execute)
            codec, state = execute.draft.codec, execute.draft.state
            if text is not None and (codec.always_kept or codec.may_be_kept(state)):
                cell.drafted = Decoded(text, state, execute.draft.opened)
        return step

    def note_end(self, exit_: Exit[Any, Any]) -> None:
        """Stop the engine if the code of a job raised an exception that ends the process."""
        if isinstance(exit_, Raised) and isinstance(exit_.cause, ENDS_PROCESS):
            self.process_ends(exit_.cause)

    async def run_program(
        self, run: EngineRun, claim: Claims, begun: Suspended[Any, Any] | Exit[Any, Any] | None = None
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered | None:
        """Run a program to its exit, in a task of its own.

        Args:
            run: the run.
            claim: claims it, if its program reaches an effect without a claim.
            begun: the program itself, if it has already begun.

        Returns:
            The program, claimed by now if it had an effect, with its exit. None if its claim met a conflict. Or the
            answer to a run that was cancelled or interrupted.
        """
        cell, execute = run.cell, run.execute
        if cell.is_interrupted:
            return await self.stopped(cell, execute, "interrupted", begun)
        program = self._begun(cell, execute) if begun is None else begun
        if not isinstance(program, Suspended):
            return await self._exited(cell, execute, program)
        inputs = partial(self.inputs_of, cell)
        effects = RunEffects(
            run,
            claim,
            self.runtime,
            lambda: Checkpoints(cell.job, self.store, self.cache, self.runtime, self.commits, inputs),
            self.perform,
        )
        cell.runs, run.stop = (*cell.runs, run), None
        limit_ms = cell.job.plan.run_timeout_ms
        try:
            work = InRun(program.resume(runtime=self.runtime, handler=effects.handle), run_of(execute))
            effects.limit = TimeLimit(work, limit_ms, self.runtime, lambda: cell.stop(run, "timed_out"))
            execute.draft.lives = effects.limit.restart
            exit_: Exit[Any, Any] = await effects.limit
        except (ClaimFailed, RunLost) as failed:
            return self.not_recorded(cell, execute, failed)
        except self.runtime.cancelled as cancellation:
            # Distinguish the engine's cancellation from one that the program raised: only the first releases the claim.
            stop: Stop | None = run.stop or await stop_from_outside(self.runtime, self.phase)
            if stop is not None:
                uncancel(self.runtime)
                await effects.settled()
                return await self.stopped(cell, run.execute, stop)
            exit_ = Raised(cancellation)
        # The program may raise any class, and its end must be recorded whatever it is. A frame that is being closed is
        # none: the claim stays, and the next start delivers the run again.
        except BaseException as raised:
            if is_closing(raised):
                raise
            exit_ = Raised(raised)
        finally:
            cell.runs = tuple(other for other in cell.runs if other is not run)
            effects.limit = execute.draft.lives = None  # no cycle
        # The program caught its cancellation. Left in the task, it would end the next turn instead.
        if run.stop is not None:
            await take_cancellation_back(self.runtime)
        await effects.settled()
        return await self._exited(cell, run.execute, exit_)

    def not_recorded(self, cell: InstanceCell, execute: Execute, failed: ClaimFailed | RunLost) -> TurnAnswered | None:
        """Conclude a run whose claim or checkpoint was not stored. A claim that was stored before stays."""
        if isinstance(failed, ClaimFailed):
            return None if isinstance(failed.reason, Conflict) else TurnAnswered(Failure(failed.reason))
        cell.forget(execute.claim.run_id)
        self.left_claimed(cell)
        return TurnAnswered(Failure(not_stored(failed.reason)))

    async def _exited(
        self, cell: InstanceCell, execute: Execute, exit_: Exit[Any, Any]
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered:
        if is_interrupt(exit_):
            self.note_end(exit_)
            return await self.stopped(cell, execute, "released")
        return execute, exit_

    async def stopped(
        self,
        cell: InstanceCell,
        execute: Execute,
        why: Stop,
        begun: Suspended[Any, Any] | Exit[Any, Any] | None = None,
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered:
        """Conclude a run that was cancelled by its timeout, by a terminate, or by the shutdown."""
        if isinstance(begun, Suspended):
            begun.drop()
        match why:
            case "timed_out":
                return execute, Raised(RunTimeout(cell.job.plan.run_timeout_ms))
            case "cancelled":
                return execute, Halted(RunInterrupted())
            case "interrupted":
                cell.forget(execute.claim.run_id)
                self.left_claimed(cell)  # should the terminate that interrupted it be withdrawn, or not be stored
                return TurnAnswered(Success(interrupted(cell.job, execute)))
            case "released":
                await self._release_claim(cell, execute)
                return TurnAnswered(Failure(EngineClosed()))
            case _:
                assert_never(why)

    def claiming(self, execute: Execute) -> Transition:
        """Return the transition that claims a run. On a shared store, its message must be living."""
        transition = execute.claiming or claim_event(execute)
        return keeping(transition, execute.claim) if self.others else transition

    def recorded(
        self, cell: InstanceCell, transition: Transition, run_id: str, stored: Result[Fence, Any]
    ) -> Result[Instance, Any]:
        """Return the instance with a claim, from the store's answer."""
        match stored, transition.write:
            case _, Put(instance) if stored is AS_EXPECTED:
                return Success(instance)
            case Success(fence), Put(instance):
                known = instance.incarnation == fence.incarnation
                return Success(instance if known else instance.changed(incarnation=fence.incarnation))
            case refused, _:
                # A claim that was refused is not in the store, and one in doubt must be found by the recovery.
                cell.forget(run_id)
                if isinstance(refused.failure(), OutcomeUnknown):
                    self.left_claimed(cell)
                return Failure(refused.failure())

    def settled(self, cell: InstanceCell, execute: Execute, verdict: TurnAnswered | None) -> Verdict | None:
        """Return the outcome of a run whose end was committed."""
        if execute.claimed != "recorded":
            return verdict
        # Also if the end was not stored: then the claim is, and the next request delivers the run again.
        cell.forget(execute.claim.run_id)
        match verdict:
            case None:
                self.left_claimed(cell)  # if the claim is still this engine's, no other engine recovers it
                return FenceLost(str(cell.address))
            case TurnAnswered(Failure(StoreError() | OutcomeUnknown() as error)):
                self.left_claimed(cell)
                return TurnAnswered(Failure(not_stored(error)))
            case _:
                return verdict

    async def _release_claim(self, cell: InstanceCell, execute: Execute) -> None:
        """Release the claim, so that the next start delivers the run again without counting a crash.

        The claim is released in the present row: other turns may have written it beside the run. One that
        cannot be released is recovered as after a crash: after a pause if this engine continues, otherwise by the next
        one.
        """
        # Before the commit: if that fails, the claim must look abandoned, or nothing would recover it.
        cell.forget(execute.claim.run_id)
        if execute.claimed != "recorded" or await self._is_released(cell, execute):
            return
        self.runtime.log(LogRecord("warning", "claim not released", {"instance": str(cell.address)}))
        self.left_claimed(cell)

    async def _is_released(self, cell: InstanceCell, execute: Execute) -> bool:
        """Release a claim. Return whether the store has it no longer."""
        for tried in range(MAX_SHARED_CONFLICTS if self.others else MAX_CONFLICTS + 1):
            await back_off(self.runtime, tried, self.others)
            loaded = await self.cache.load(cell.address)
            if not isinstance(loaded, Success):
                return False
            instance = loaded.unwrap().instance
            if instance is None:
                return True
            stored = await self.commits.conclude(release(instance, execute.claim.run_id, self.inputs_of(cell)))
            if stored is not None:
                return isinstance(stored.result, Success)
        return False
