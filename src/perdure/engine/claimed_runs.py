"""Runs that hold their mailbox: a commit claims each, a second one settles it, and no task waits for either.

What becomes durable together begins together, and what ends meanwhile is committed together. The program of a run
begins in a callback, as long as it only changes its draft; its services run in a task of its own, which ends at once
if they do.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias, assert_never

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.accepted_runs import AcceptedRun, Accepts, accepted_run
from perdure.engine.concurrency_limit import Company
from perdure.engine.item import Item
from perdure.engine.lane_limit import lane_of
from perdure.engine.resident import Resident
from perdure.engine.turn import TurnTaker
from perdure.engine.turn_outcome import Claimable, RunsApart, TurnAnswered, Verdict
from perdure.engine.unstored import is_interrupt
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Execute
from perdure.programs import Exit
from perdure.programs.drivers import Suspended
from perdure.programs.exit import is_closing
from perdure.runtime.eager_task import start_eagerly
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Fence
from perdure.values.transition import Put

Ended: TypeAlias = Callable[[Resident, Item, Verdict | None], None]
"""Called with the outcome of a run for its resident; None: there was a conflict, and the request is decided again."""


@attrs.define(eq=False)
class _Run:
    """One run.

    Attributes:
        resident: the instance.
        item: the request that it answers.
        execute: the program in progress.
        company: whether no other run may have a slot.
        slot: whether it holds a slot of the concurrency limits.
        state: whether the run has ended.
    """

    resident: Resident
    item: Item
    execute: Execute
    company: Company
    slot: Literal["none", "held"] = "none"
    state: Literal["in progress", "over"] = "in progress"


@attrs.define(eq=False)
class ClaimedRuns:
    """Claims, begins and settles runs.

    Attributes:
        runtime: starts the tasks of services.
        turns: decides.
        ended: called at the end of each.
        accepted: called with the answer to a request whose run goes on.
        alarms: count the runs of jobs that are accepted for now; None before alarms fire.
        broken: logs a defect of the engine, and returns the answer to it.
    """

    runtime: Runtime
    turns: TurnTaker
    ended: Ended
    accepted: Callable[[Resident, Item, Verdict], None]
    broken: Callable[[Resident, BaseException], TurnAnswered]
    alarms: Accepts | None = None
    _claimed: list[_Run] = attrs.Factory(list[_Run])

    def begin(self, resident: Resident, item: Item, claimable: Claimable) -> None:
        """Claim a run when it has a slot, and begin it once its claim is durable."""
        run = _Run(resident, item, claimable.execute, claimable.execute.alone)
        resident.begin_serving(item)
        if claimable.slot == "none":
            self._guarded(run, lambda: self._claim(run))
        elif self.turns.gates.try_enter(resident.job_name, run.company):
            self._guarded(run, lambda: self._admitted(run))
        else:
            start_eagerly(self._wait_for_slot(run), self.runtime, name=f"slot of {resident.address}")

    def accepts(self, resident: Resident, item: Item, commit: Commit) -> bool:
        """Begin the run of a job that is accepted for now, if it need not wait; return whether it is begun."""
        if self.alarms is None:
            return False
        try:
            accepted = accepted_run(self.turns, self.alarms, resident, commit)
            if accepted is not None:
                self._begin_accepted(resident, item, commit, accepted)
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            self.ended(resident, item, self.broken(resident, defect))
            return True
        return accepted is not None

    def _begin_accepted(self, resident: Resident, item: Item, commit: Commit, accepted: AcceptedRun) -> None:
        """Commit the acceptance of a job with the claim of its run, answer the request, and begin the run."""
        execute, run_id = accepted.execute, accepted.execute.claim.run_id
        run = _Run(resident, accepted.item, execute, execute.alone, slot="held")
        resident.begin_serving(accepted.item)
        resident.running = (*resident.running, run_id)

        def take(answer: Result[Fence, Any]) -> None:
            recorded = self.turns.recorded(resident, accepted.transition, run_id, answer)
            if isinstance(recorded, Success):
                self.accepted(resident, item, TurnAnswered(commit.result))
                self._recorded(run, recorded.map(execute.recorded))
                return
            self._leave(run)
            accepted.withdraw(accepted.item)
            conflict = isinstance(recorded.failure(), Conflict)
            self.ended(resident, item, None if conflict else TurnAnswered(Failure(recorded.failure())))

        self.turns.commits.write(accepted.transition, lambda answer: self._guarded(run, partial(take, answer)))

    async def _wait_for_slot(self, run: _Run) -> None:
        try:
            resident, lane = run.resident, lane_of(run.resident.job, run.execute)
            await self.turns.gates.enter(resident.job_name, run.company, resident.address, lane)
        except BaseException as raised:
            if not is_closing(raised):
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this turn was cancelled"))))
            raise
        self._guarded(run, lambda: self._admitted(run))

    def _admitted(self, run: _Run) -> None:
        run.slot = "held"
        refused = self.turns.refused(run.resident, run.execute)
        if refused is None:
            self._claim(run)
        else:
            self._end(run, refused)

    def _claim(self, run: _Run) -> None:
        """Record the claim of a run."""
        resident, execute = run.resident, run.execute
        transition = self.turns.claiming(execute)
        if not isinstance(transition.write, Put):
            self._recorded(run, Success(execute))
            return
        run_id = execute.claim.run_id
        resident.running = (*resident.running, run_id)

        def take(answer: Result[Fence, Any]) -> None:
            recorded = self.turns.recorded(resident, transition, run_id, answer)
            if isinstance(recorded, Success) and self.turns.reporting.sinks.told:
                self.turns.reporting.claimed(execute)
            self._recorded(run, recorded.map(execute.recorded))

        self.turns.commits.write(transition, lambda answer: self._guarded(run, partial(take, answer)))

    def _recorded(self, run: _Run, claimed: Result[Execute, Any]) -> None:
        """Take the answer to a claim. The program begins in the next step of the event loop, not in this callback."""
        if isinstance(claimed, Success):
            run.execute = claimed.unwrap()
            self._claimed.append(run)
            if len(self._claimed) == 1:
                start_eagerly(self._begin_claimed(), self.runtime, name="perdure:runs")
            return
        refused: Any = claimed.failure()
        self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))

    async def _begin_claimed(self) -> None:
        try:
            await self.runtime.sleep(0)  # until all claims of the commit are known
        finally:
            claimed, self._claimed = self._claimed, []
            for run in claimed:
                self._guarded(run, partial(self._begin, run))

    def _begin(self, run: _Run) -> None:
        item, execute, by_event = run.item, run.execute, run.execute.claim.cause == "event"
        if item.request.wait_for == "start" and not by_event and not item.answer.done():
            item.reply_early(Success(running_answer("created" if execute.claim.created == "here" else "exists")))
        if run.resident.job.occupancy == "claim_only" and not by_event:
            self._end(run, RunsApart(execute))
        else:
            self._execute(run)

    def _execute(self, run: _Run) -> None:
        """Run a program to its exit: synchronously, unless it needs services, waits, or must be stopped."""
        resident, execute = run.resident, run.execute
        begun = None if resident.is_interrupted else self.turns.begun(resident, execute)
        if begun is not None and not isinstance(begun, Suspended) and not is_interrupt(begun):
            self._exited(run, execute, begun)
            return
        performing = self._in_task(resident, execute, begun)
        task = self.runtime.spawn_eagerly(performing, name=f"run of {resident.address}")
        if task.done():
            self._performed(run, task)
        else:
            task.add_done_callback(lambda task: self._guarded(run, partial(self._performed, run, task)))

    async def _in_task(
        self, resident: Resident, execute: Execute, begun: Suspended[Any, Any] | Exit[Any, Any] | None
    ) -> tuple[Execute, Exit[Any, Any]] | TurnAnswered | None:
        """Run a claimed program to its exit, in a task of its own."""
        resident.worker = self.runtime.current_task()
        return await self.turns.run_program(resident, execute, "worker", begun)

    def _performed(self, run: _Run, task: SpawnedTask[tuple[Execute, Exit[Any, Any]] | TurnAnswered | None]) -> None:
        run.resident.worker = None
        if task.cancelled():
            self.turns.forget_run(run.resident, run.execute)  # its claim stays: the next request or start recovers it
            self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this run was cancelled"))))
            return
        ended = task.result()
        if isinstance(ended, tuple):
            self._exited(run, *ended)
        else:
            self._end(run, ended)

    def _exited(self, run: _Run, execute: Execute, exit_: Exit[Any, Any]) -> None:
        step = self.turns.finish(run.resident, execute, exit_)
        match step:
            case Execute():
                run.execute = step
                self._execute(run)
            case Commit():
                if run.item.ending is not None:
                    run.item.ending()
                self.turns.commits.settle(step, partial(self._settled, run, execute))
            case _:
                assert_never(step)

    def _settled(self, run: _Run, execute: Execute, verdict: TurnAnswered | None) -> None:
        self._guarded(run, lambda: self._end(run, self.turns.settled(run.resident, execute, verdict)))

    def _guarded(self, run: _Run, work: Callable[[], None]) -> None:
        """Take a step of a run. A defect of the engine ends it: its claim stays, and is recovered."""
        try:
            work()
        except BaseException as defect:  # noqa: BLE001 - it must not break the resident, or the runs beside it
            run.resident.worker = None
            self.turns.forget_run(run.resident, run.execute)
            self._end(run, self.broken(run.resident, defect))

    def _end(self, run: _Run, verdict: Verdict | None) -> None:
        if run.state == "over":
            return  # a defect in the steps after its end
        if isinstance(verdict, RunsApart):
            run.slot = "none"  # the run keeps it
        self._leave(run)
        self.ended(run.resident, run.item, verdict)

    def _leave(self, run: _Run) -> None:
        run.state = "over"
        if run.slot == "held":
            self.turns.gates.leave(run.resident.job_name, run.company, run.resident.address)
        run.resident.end_serving(run.item)
