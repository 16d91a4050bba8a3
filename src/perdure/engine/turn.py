"""One turn: load, decide, claim, run the user's program, decide again, commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.claims import ClaimFailed, LazyClaim, Perform, perform_plainly
from perdure.engine.draw import draw
from perdure.engine.gate import Gates
from perdure.engine.mailbox import Item, Mailbox, RunInProgress, Stop
from perdure.engine.time_limit import TimeLimit
from perdure.jobs.event_run import claim_event
from perdure.jobs.recovery import release
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Defer, Execute, RecoverFirst
from perdure.jobs.turn import begin, finish, interrupted, rejoin
from perdure.program import Died, Exit, run_async, sandbox
from perdure.program.container import result_inside
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.store import Store
from perdure.values.errors import Conflict, Crashed, EngineClosed, OutcomeUnknown, RunTimedOut, StoreError
from perdure.values.facts import Facts
from perdure.values.instance import Fence
from perdure.values.limits import Limits
from perdure.values.transition import Loaded, Put, Transition

MAX_CONFLICTS = 5
"""How often a turn that had no effect yet begins again after a conflict."""

TurnAnswer: TypeAlias = Result[Any, Any]  # the answer, or a CallError


@attrs.frozen
class Answered:
    """The turn is over."""

    result: TurnAnswer


@attrs.frozen
class RunsApart:
    """The run is claimed and goes on without the mailbox."""

    execute: Execute


@attrs.frozen
class FenceLost:
    """Somebody else wrote an instance of a store that this engine owns."""

    address: str


Verdict: TypeAlias = Answered | RunsApart | Defer | RecoverFirst | FenceLost


@attrs.define
class TurnTaker:
    """Takes turns. Everything it decides, ``begin`` and ``finish`` decide; here is only what waits and writes.

    Attributes:
        store: where instances live.
        runtime: the only door to time, waiting, dice and ids.
        services: what the user's programs need.
        limits: the engine's bounds.
        gates: how many runs go on at the same time.
        phase: whether runs may begin.
        committed: told of every transition that became durable.
        left_claimed: told of an instance that may be left with a claim that nobody runs.
        perform: performs the effects of runs.
    """

    store: Store
    runtime: Runtime
    services: Any  # the user's own record
    limits: Limits
    gates: Gates
    committed: Callable[[Transition, Fence], None]
    left_claimed: Callable[[Mailbox], None]
    phase: Literal["open", "closing"] = "open"
    perform: Perform = perform_plainly

    # ------------------------------------------------------------ the turn
    async def take(self, mailbox: Mailbox, item: Item) -> Verdict:
        """Take the turn of one request."""
        for _ in range(MAX_CONFLICTS + 1):
            verdict = await self._once(mailbox, item)
            if verdict is not None:
                return verdict
        return Answered(Failure(Conflict(str(mailbox.address))))

    async def _once(self, mailbox: Mailbox, item: Item) -> Verdict | None:
        """Take the turn once; None: there was a conflict before any effect, so begin again."""
        match await self._load(mailbox, item):
            case Success(loaded):
                step = self._begin(mailbox, item, loaded)
            case failure:
                return Answered(failure)
        match step:
            case Commit():
                return await self._conclude(step)
            case Execute():
                return await self._execute(mailbox, item, step)
            case Answered() | Defer() | RecoverFirst():
                return step
            case _:
                assert_never(step)

    def _begin(
        self, mailbox: Mailbox, item: Item, loaded: Loaded
    ) -> Commit | Execute | Defer | RecoverFirst | Answered:
        try:
            return begin(mailbox.job, mailbox.address, loaded, item.request, self._facts(mailbox))
        except Exception as defect:  # noqa: BLE001 - a hook that breaks before it gives a program
            return Answered(Failure(self._crashed(mailbox, defect)))

    async def _load(self, mailbox: Mailbox, item: Item) -> Result[Loaded, Any]:
        key = item.request.idempotency_key
        now_ms = 0 if key is None else self.runtime.now_ms()
        return result_inside(await self.store.load(mailbox.address, key, now_ms))

    # ------------------------------------------------------------ runs
    async def _execute(self, mailbox: Mailbox, item: Item, execute: Execute) -> Verdict | None:
        """Run user code for this turn, in a place of the gates.

        An event of a kind whose runs let others be decided meanwhile takes no place: it waits for nobody's run.
        """
        if execute.claimed == "before_effect" and mailbox.job.occupancy == "claim_only" and self.phase == "open":
            return await self._run_here(mailbox, execute)
        await self.gates.enter(mailbox.job_name, execute.alone)
        verdict: Verdict | None = None
        try:
            verdict = await self._claim_and_run(mailbox, item, execute)
        finally:
            if not isinstance(verdict, RunsApart):
                self.gates.leave(mailbox.job_name, execute.alone)
        return verdict

    async def _claim_and_run(self, mailbox: Mailbox, item: Item, execute: Execute) -> Verdict | None:
        """Run user code, now that there is a place for it."""
        if self.phase == "closing":
            return Answered(Failure(EngineClosed()))
        if mailbox.is_interrupted:
            return Answered(Success(interrupted(mailbox.job, execute)))
        if execute.claimed != "before_run":
            return await self._run_here(mailbox, execute)
        match await self._claim(mailbox, execute):
            case Success(claimed):
                return await self._run_claimed(mailbox, item, claimed)
            case Failure(Conflict()):
                return None
            case failure:
                return Answered(failure)

    async def _run_claimed(self, mailbox: Mailbox, item: Item, execute: Execute) -> Verdict | None:
        if item.request.wait == "claim" and not item.answer.done():
            found: Literal["created", "exists"] = "created" if execute.claim.created == "here" else "exists"
            item.answer.set_result(Success(running_answer(found)))
        if mailbox.job.occupancy == "claim_only" and execute.claim.cause != "event":
            return RunsApart(execute)
        return await self._run_here(mailbox, execute)

    async def _run_here(self, mailbox: Mailbox, execute: Execute) -> Verdict | None:
        step: Commit | Execute = execute
        while isinstance(step, Execute):
            ended = await self.run_program(mailbox, step, "worker")
            if not isinstance(ended, tuple):
                return ended
            execute, exit_ = ended
            try:
                step = self._finish(mailbox, execute, exit_)
            except Exception:
                self._forget_run(mailbox, execute)  # nobody runs it: the next request, or the next start, recovers it
                raise
        return await self._settle(mailbox, execute, step)

    def _finish(self, mailbox: Mailbox, execute: Execute, exit_: Exit[Any, Any]) -> Commit | Execute:
        try:
            return finish(mailbox.job, execute, exit_, self._facts(mailbox))
        except Exception as defect:  # noqa: BLE001 - a policy that breaks is a defect of the run
            return finish(mailbox.job, execute, Died(defect), self._facts(mailbox))

    async def run_program(
        self, mailbox: Mailbox, execute: Execute, by: Literal["worker", "apart"]
    ) -> tuple[Execute, Exit[Any, Any]] | Answered | None:
        """Run a program to its exit.

        Returns:
            What was run, claimed by now if it reached outside, with its exit; None when its claim met a conflict; or
            the answer of a run that was cancelled.
        """
        if by == "worker" and execute.claimed == "recorded":
            await self._in_own_task(mailbox)
        claim = LazyClaim(
            execute,
            lambda step: self._claim(mailbox, step),
            lambda: self._in_own_task(mailbox),
            self.runtime,
            self.perform,
        )
        run = run_async(
            sandbox(execute.program, execute.draft), self.services, runtime=self.runtime, handler=claim.handle
        )
        if mailbox.is_interrupted:
            run.close()
            return await self._stopped(mailbox, execute, "interrupted")
        progress = RunInProgress(by)
        mailbox.runs.append(progress)
        limit_ms = mailbox.job.plan.max_run_ms
        try:
            exit_ = await TimeLimit(run, limit_ms, self.runtime, lambda: mailbox.stop(progress, "timed_out"))
            return claim.execute, exit_.unwrap() if isinstance(exit_, Success) else exit_
        except ClaimFailed as failed:
            return None if isinstance(failed.reason, Conflict) else Answered(Failure(failed.reason))
        except self.runtime.cancelled as cancellation:
            if progress.stop is not None:
                self.runtime.current_task().uncancel()
                await claim.settled()
                return await self._stopped(mailbox, claim.execute, progress.stop)
            if self.runtime.current_task().cancelling():
                raise  # the engine itself is being cancelled
            return claim.execute, Died(cancellation)  # something that a service waited for was cancelled
        finally:
            mailbox.runs.remove(progress)

    async def _in_own_task(self, mailbox: Mailbox) -> None:
        """Wait once, if this turn was begun by a plain call: the user's services run in a task of the engine's own."""
        if mailbox.worker is None:
            await self.runtime.sleep(0)

    async def _stopped(
        self, mailbox: Mailbox, execute: Execute, why: Stop
    ) -> tuple[Execute, Exit[Any, Any]] | Answered:
        """A run was cancelled on purpose: by its time limit, by a terminate, or by the shutdown."""
        match why:
            case "timed_out":
                return execute, Died(RunTimedOut(mailbox.job.plan.max_run_ms))
            case "interrupted":
                self._forget_run(mailbox, execute)
                self.left_claimed(mailbox)  # should the terminate that interrupted it be withdrawn, or not be stored
                return Answered(Success(interrupted(mailbox.job, execute)))
            case "released":
                await self.release(mailbox, execute)
                return Answered(Failure(EngineClosed()))
            case _:
                assert_never(why)

    async def release(self, mailbox: Mailbox, execute: Execute) -> None:
        """Give the claim back, so that the next start delivers the run again without counting a crash.

        It is given back in what is stored by now: beside a run that did not hold the mailbox, others have written.
        """
        self._forget_run(mailbox, execute)
        if execute.claimed != "recorded":
            return
        for _ in range(MAX_CONFLICTS + 1):
            loaded = result_inside(await self.store.load(mailbox.address, None, 0))
            instance = loaded.unwrap().instance if isinstance(loaded, Success) else None
            if instance is None:
                return
            if await self._conclude(release(instance, execute.claim.run_id, self._facts(mailbox))) is not None:
                return

    async def _claim(self, mailbox: Mailbox, execute: Execute) -> Result[Execute, Any]:
        """Record the claim of a run."""
        transition = execute.claiming or claim_event(execute)
        if not isinstance(transition.write, Put):
            return Success(execute)
        await self._in_own_task(mailbox)
        mailbox.running = (*mailbox.running, execute.claim.run_id)
        match await self._commit(transition):
            case Success(fence):
                stored = attrs.evolve(transition.write.instance, incarnation=fence.incarnation)
                return Success(attrs.evolve(execute, instance=stored, claimed="recorded"))
            case refused:
                self._forget_run(mailbox, execute)
                if isinstance(refused.failure(), OutcomeUnknown):
                    self.left_claimed(mailbox)
                return Failure(refused.failure())

    async def _settle(self, mailbox: Mailbox, execute: Execute, step: Commit) -> Verdict | None:
        """Commit the end of a run."""
        reached_outside = execute.claimed == "recorded"
        verdict = await self._conclude(step)
        self._forget_run(mailbox, execute)
        match verdict:
            case None if reached_outside:
                return FenceLost(str(mailbox.address))
            case Answered(Failure(StoreError() | OutcomeUnknown() as error)) if reached_outside:
                self.left_claimed(mailbox)
                return Answered(Failure(OutcomeUnknown(f"the run ended, and its result could not be stored: {error}")))
            case _:
                return verdict

    async def settle_apart(self, mailbox: Mailbox, execute: Execute, exit_: Exit[Any, Any]) -> Verdict | Execute:
        """Commit the end of a run that did not hold the mailbox, over what is stored by now."""
        for _ in range(MAX_CONFLICTS + 1):
            match result_inside(await self.store.load(mailbox.address, None, 0)):
                case Success(loaded):
                    joined = rejoin(execute, loaded)
                case failure:
                    self.left_claimed(mailbox)
                    self._forget_run(mailbox, execute)
                    return Answered(failure)
            step = joined if isinstance(joined, Commit) else self._finish(mailbox, joined, exit_)
            if isinstance(step, Execute):
                return step
            verdict = await self._settle(mailbox, execute, step)
            if not isinstance(verdict, FenceLost):
                return verdict if verdict is not None else Answered(Failure(Conflict(str(mailbox.address))))
        return FenceLost(str(mailbox.address))

    # ------------------------------------------------------------ writing
    async def _conclude(self, step: Commit) -> Answered | None:
        """Commit, and give the result; None: there was a conflict."""
        if step.transition.is_empty:
            return Answered(step.result)
        match await self._commit(step.transition):
            case Success():
                return Answered(step.result)
            case Failure(Conflict()):
                return None
            case failure:
                return Answered(failure)

    async def _commit(self, transition: Transition) -> Result[Fence, Any]:
        result = result_inside(await self.store.commit(transition))
        if isinstance(result, Success):
            self.committed(transition, result.unwrap())
        return result

    @staticmethod
    def _forget_run(mailbox: Mailbox, execute: Execute) -> None:
        if mailbox.running:
            mailbox.running = tuple(run_id for run_id in mailbox.running if run_id != execute.claim.run_id)

    def _facts(self, mailbox: Mailbox) -> Facts:
        return draw(self.runtime, self.store, self.limits, running=mailbox.running)

    def _crashed(self, mailbox: Mailbox, defect: Exception) -> Crashed:
        died = Died(defect)
        fields = {"instance": str(mailbox.address), "error": repr(defect)}
        self.runtime.log(LogRecord("error", "a hook broke before it gave a program", fields))
        return Crashed(type(defect).__name__, str(defect), died.formatted())
