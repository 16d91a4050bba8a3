"""Runs that hold their mailbox: a commit claims each, a second one settles it, and no task waits for either.

Runs whose claims are durable together begin together, and their ends are committed together. Services that answer at
once are called in one task for all of these runs, in a context of their own; at the first one that must be awaited,
the run continues in a task of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Failure, Success

from perdure.engine.accepted_runs import AcceptedRun, Accepts, accepted_run, is_plain
from perdure.engine.checkpoints import RunLost
from perdure.engine.commits import result_of
from perdure.engine.concurrency_limit import Company
from perdure.engine.flight import Flight, Stored
from perdure.engine.item import Item
from perdure.engine.lane_limit import lane_of
from perdure.engine.resident import Resident
from perdure.engine.run_now import run_now
from perdure.engine.runner import Runner
from perdure.engine.turn_outcome import Claimable, RunsApart, TurnAnswered, Verdict
from perdure.engine.unstored import is_interrupt
from perdure.jobs.fast_paths import begin_fast_run
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Execute
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended
from perdure.programs.exit import is_closing
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import start_eagerly
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import NO_OTHERS

Ended: TypeAlias = Callable[[Resident, Item, Verdict | None], None]
"""Called with the outcome of a run for its resident; None: there was a conflict, and the request is decided again."""


_Performed: TypeAlias = tuple[Execute, Exit[Any, Any]] | TurnAnswered | None


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
        accepting: the request of a job that is accepted by the commit of the claim, until that is answered.
    """

    resident: Resident
    item: Item
    execute: Execute
    company: Company
    slot: Literal["none", "held"] = "none"
    state: Literal["in progress", "over"] = "in progress"
    accepting: Item | None = None


@attrs.define(eq=False)
class ClaimedRuns:
    """Claims, begins and settles runs.

    Attributes:
        runtime: starts the tasks of services.
        runner: runs the programs, and commits their claims and ends.
        ended: called at the end of each.
        accepted: called with the answer to a request whose run goes on.
        alarms: count the runs of jobs that are accepted for now; None before alarms fire.
        broken: logs a defect of the engine, and returns the answer to it.
    """

    runtime: Runtime
    runner: Runner
    ended: Ended
    accepted: Callable[[Resident, Item, Verdict], None]
    broken: Callable[[Resident, BaseException], TurnAnswered]
    alarms: Accepts | None = None
    _claimed: list[_Run] = attrs.Factory(list[_Run])

    def begin(self, resident: Resident, item: Item, claimable: Claimable) -> None:
        """Claim a run when it has a slot, and begin it once its claim is durable."""
        run = _Run(resident, item, claimable.execute, claimable.execute.alone)
        resident.begin_serving(item)
        try:
            if claimable.slot == "none":
                self._claim(run)
            elif self.runner.gates.try_enter(resident.job_name, run.company, resident.address):
                self._admitted(run)
            else:
                start_eagerly(self._wait_for_slot(run), self.runtime, name=f"slot of {resident.address}")
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            self._break(run, defect)

    def begin_plain(self, resident: Resident, item: Item) -> bool:
        """Claim the run of a due alarm at once, if nothing about it is special; return whether it is begun.

        The decision is that of any turn. A hook that raises is left to the turn, which reports.
        """
        runner, loaded = self.runner, resident.loaded
        if loaded is None or resident.state == "busy" or not resident.is_empty:
            return False
        if not is_plain(runner):
            return False
        try:
            inputs = runner.inputs_of(resident, resident.decoded)
            execute = begin_fast_run(resident.job, loaded.instance, item.request, inputs)
        except Exception:  # noqa: BLE001 - it raises again in the turn
            return False
        if execute is None or not runner.gates.try_enter(resident.job_name, "beside_others", resident.address):
            return False
        run = _Run(resident, item, execute, "beside_others", slot="held")
        if not runner.residents.may_use_rows:
            item.basis = "kept"
        resident.state, resident.served = "busy", (item,)
        try:
            self._claim(run)
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the alarms
            self._break(run, defect)
        return True

    def accepts(self, resident: Resident, item: Item, commit: Commit) -> bool:
        """Begin the run of a job that is accepted for now, if it need not wait; return whether it is begun."""
        if self.alarms is None:
            return False
        try:
            accepted = accepted_run(self.runner, self.alarms, resident, commit)
        except BaseException as defect:  # noqa: BLE001 - as above
            self.ended(resident, item, self.broken(resident, defect))
            return True
        if accepted is None:
            return False
        execute = accepted.execute
        run = _Run(resident, accepted.item, execute, execute.alone, slot="held", accepting=item)
        resident.begin_serving(accepted.item)
        resident.begin_serving(item)
        try:
            self._accept(run, commit, accepted)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._break(run, defect)
        return True

    def _accept(self, run: _Run, commit: Commit, accepted: AcceptedRun) -> None:
        """Commit the acceptance of a job with the claim of its run, answer the request, and begin the run."""
        run.resident.running = (*run.resident.running, run.execute.claim.run_id)
        answer = partial(self._take_acceptance, run, commit, accepted)
        self.runner.commits.fly(accepted.transition, run.resident, answer)

    def _take_acceptance(
        self, run: _Run, commit: Commit, accepted: AcceptedRun, flight: Flight, stored: Stored
    ) -> None:
        """Take the store's answer to the acceptance and claim of a run."""
        resident, execute, transition = run.resident, run.execute, accepted.transition
        try:
            answer = self.runner.commits.taken(flight, stored, transition)
            recorded = self.runner.recorded(resident, transition, execute.claim.run_id, answer)
            if isinstance(recorded, Success):
                if run.accepting is not None:
                    self.accepted(resident, run.accepting, TurnAnswered(commit.result))
                    resident.end_serving(run.accepting)
                    run.accepting = None
                self._begin_later(run, execute.recorded(recorded.unwrap()))
                return
            refused: Any = recorded.failure()
            self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))
        except BaseException as defect:  # noqa: BLE001 - as above
            self._break(run, defect)

    async def _wait_for_slot(self, run: _Run) -> None:
        try:
            resident, lane = run.resident, lane_of(run.resident.job, run.execute)
            await self.runner.gates.enter(resident.job_name, run.company, resident.address, lane)
        except BaseException as raised:
            if not is_closing(raised):
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this turn was cancelled"))))
            raise
        try:
            self._admitted(run)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._break(run, defect)

    def _admitted(self, run: _Run) -> None:
        run.slot = "held"
        refused = self.runner.refused(run.resident, run.execute)
        if refused is None:
            self._claim(run)
        else:
            self._end(run, refused)

    def _claim(self, run: _Run) -> None:
        """Record the claim of a run."""
        resident, execute = run.resident, run.execute
        transition = execute.claiming
        if transition is None or self.runner.others is not NO_OTHERS:
            transition = self.runner.claiming(execute)
        if type(transition.write) is not Put:
            self._begin_later(run, execute)
            return
        resident.running = (*resident.running, execute.claim.run_id)
        self.runner.commits.fly(transition, resident, partial(self._take_claim, run, transition))

    def _take_claim(self, run: _Run, transition: Transition, flight: Flight, stored: Stored) -> None:
        """Take the store's answer to a claim."""
        resident, execute = run.resident, run.execute
        try:
            answer = self.runner.commits.taken(flight, stored, transition)
            recorded = self.runner.recorded(resident, transition, execute.claim.run_id, answer)
            if isinstance(recorded, Success):
                if self.runner.reporting.sinks.told:
                    self.runner.reporting.claimed(execute)
                self._begin_later(run, execute.recorded(recorded.unwrap()))
                return
            refused: Any = recorded.failure()
            self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))
        except BaseException as defect:  # noqa: BLE001 - it must not break the store's callback
            self._break(run, defect)

    def _begin_later(self, run: _Run, execute: Execute) -> None:
        """Begin a claimed run in the next step of the event loop, not in the store's callback."""
        run.execute = execute
        self._claimed.append(run)
        if len(self._claimed) == 1:
            start_eagerly(self._begin_claimed(), self.runtime, name="perdure:runs")

    async def _begin_claimed(self) -> None:
        try:
            await self.runtime.sleep(0)  # until all claims of the commit are known
        finally:
            claimed, self._claimed = self._claimed, []
            for run in claimed:
                try:
                    self._begin(run)
                except BaseException as defect:  # noqa: BLE001 - it must not break the runs beside it
                    self._break(run, defect)

    def _begin(self, run: _Run) -> None:
        item, execute = run.item, run.execute
        if execute.claim.cause != "event":
            if item.request.wait_for == "start" and not item.answer.done():
                found: Literal["created", "exists"] = "created" if execute.claim.created == "here" else "exists"
                item.reply_early(Success(running_answer(found)))
            if run.resident.job.occupancy == "claim_only":
                self._end(run, RunsApart(execute))
                return
        self._execute(run)

    def _execute(self, run: _Run) -> None:
        """Run a program to its exit: at once, unless it waits, or must be stopped."""
        resident, execute, context = run.resident, run.execute, copy_context()
        interrupted = bool(resident.waiting) and resident.is_interrupted
        begun = None if interrupted else context.run(run_now, self.runner, resident, execute)
        if type(begun) is Raised and isinstance(begun.cause, RunLost):
            self._end(run, self.runner.not_recorded(resident, execute, begun.cause))
            return
        if begun is not None and not isinstance(begun, Suspended) and not is_interrupt(begun):
            self._exited(run, execute, begun)
            return
        try:
            task = context.run(self._continued, resident, execute, begun)
        except BaseException:
            if isinstance(begun, Suspended):
                begun.drop()
            raise
        if task.done():
            self._performed(run, task)
        else:
            task.add_done_callback(partial(self._performed, run))

    def _continued(
        self, resident: Resident, execute: Execute, begun: Suspended[Any, Any] | Exit[Any, Any] | None
    ) -> SpawnedTask[_Performed]:
        """Run a claimed program to its exit, in a task of its own."""
        return self.runtime.spawn_eagerly(self._in_task(resident, execute, begun), name=f"run of {resident.address}")

    async def _in_task(
        self, resident: Resident, execute: Execute, begun: Suspended[Any, Any] | Exit[Any, Any] | None
    ) -> _Performed:
        resident.worker = self.runtime.current_task()
        return await self.runner.run_program(resident, execute, "worker", begun)

    def _performed(self, run: _Run, task: SpawnedTask[_Performed]) -> None:
        run.resident.worker = None
        try:
            if task.cancelled():
                self.runner.forget_run(run.resident, run.execute)  # its claim stays: the next request recovers it
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this run was cancelled"))))
                return
            ended = task.result()
            if isinstance(ended, tuple):
                self._exited(run, *ended)
            else:
                self._end(run, ended)
        except BaseException as defect:  # noqa: BLE001 - as in `_begin_claimed`
            self._break(run, defect)

    def _exited(self, run: _Run, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Commit the end of a program, or run the hook that follows it."""
        step = self.runner.finish(run.resident, execute, exit_)
        run.execute = execute if isinstance(step, Commit) else step
        if isinstance(step, Execute):
            self._execute(run)
            return
        if run.item.ending is not None:
            run.item.ending()
        commits = self.runner.commits
        unwritten = commits.unwritten(step)
        if unwritten is None:
            commits.fly(step.transition, run.resident, partial(self._take_end, run, step))
        else:
            self._end(run, self.runner.settled(run.resident, execute, unwritten))

    def _take_end(self, run: _Run, step: Commit, flight: Flight, stored: Stored) -> None:
        """Take the store's answer to the end of a run."""
        try:
            answer = self.runner.commits.taken(flight, stored, step.transition)
            self._end(run, self.runner.settled(run.resident, run.execute, result_of(step, answer)))
        except BaseException as defect:  # noqa: BLE001 - as in `_take_claim`
            self._break(run, defect)

    def _break(self, run: _Run, defect: BaseException) -> None:
        """End a run because of a defect of the engine: its claim stays, and is recovered."""
        run.resident.worker = None
        self.runner.forget_run(run.resident, run.execute)
        self.runner.left_claimed(run.resident)
        self._end(run, self.broken(run.resident, defect))

    def _end(self, run: _Run, verdict: Verdict | None) -> None:
        if run.state == "over":
            return  # a defect in the steps after its end
        if isinstance(verdict, RunsApart):
            run.slot = "none"  # the run keeps it
        self._leave(run)
        item = run.item
        if run.accepting is not None:  # the job is not accepted, or perhaps not: the answer is its caller's
            item, run.accepting = run.accepting, None
            run.resident.end_serving(item)
            if self.alarms is not None:
                self.alarms.withdraw(run.item)
        self.ended(run.resident, item, verdict)

    def _leave(self, run: _Run) -> None:
        run.state = "over"
        if run.slot == "held":
            self.runner.gates.leave(run.resident.job_name, run.company, run.resident.address)
        run.resident.end_serving(run.item)
