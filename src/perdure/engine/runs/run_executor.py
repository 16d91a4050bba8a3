"""Executes claimed runs: those that hold their mailbox, and those in the background of their instance.

A commit claims each run that holds its mailbox, a second one settles it, and no task waits for either. Runs whose
claims are durable together begin together, and their ends are committed together. Services that answer at once are
called in one task for all of these runs, in a context of their own; at the first one that must be awaited, the run
continues in a task of its own. A job that is accepted for now is claimed by the commit that accepts it.

Beside a run in the background, other turns may write the row: so its end is committed on the present one. That needs a
task only if the row must be read, after a conflict, and for a hook that follows.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias

import attrs
from returns.result import Failure, Success

from perdure.engine.commits import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off, result_of
from perdure.engine.mailbox.entry import (
    BackgroundEnd,
    Claimable,
    FenceLost,
    MailboxEntry,
    Rest,
    RunInBackground,
    TurnAnswered,
    Verdict,
    is_interrupt,
    not_stored,
)
from perdure.engine.mailbox.instance_cell import InstanceCell, PendingCommit, Stored
from perdure.engine.runs.concurrency import Company, lane_of
from perdure.engine.runs.effects import RunLost
from perdure.engine.runs.runner import Runner, is_cancelled
from perdure.jobs.checkpoint import OF_A_CLAIMED_RUN
from perdure.jobs.recovery import is_event_between
from perdure.jobs.request import ALARM
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Defer, Execute, run_of
from perdure.jobs.transitions import accepted_instance, as_found, with_claim
from perdure.jobs.turn import begin, merge_background_run
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended, run_while_answered
from perdure.programs.instructions import is_closing
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import enter_run, leave_run, outside_runs, start_eagerly
from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded


class Accepts(Protocol):
    """The alarms of an engine, for those that are due when they are set."""

    def accept(self, address: Address, due_ms: int) -> MailboxEntry | None:
        """Count an alarm as fired, unless others wait for their turn; return its request."""
        ...

    def withdraw(self, entry: MailboxEntry) -> None:
        """Take that back: the alarm was not set."""
        ...


@attrs.frozen
class AcceptedRun:
    """A run that is claimed by the commit that accepts it. It has a slot.

    Attributes:
        execute: the run.
        transition: the acceptance and the claim.
        entry: the request of its alarm.
    """

    execute: Execute
    transition: Transition
    entry: MailboxEntry


def accepted_run(runner: Runner, alarms: Accepts, cell: InstanceCell, commit: Commit) -> AcceptedRun | None:
    """Return the run that an accepted job begins at once.

    None if its alarm is not due, if it must wait for a slot or for earlier alarms, or if more must be known of its turn
    than its row: then the alarm fires after the commit, as any other.
    """
    instance = accepted_instance(commit, runner.runtime.now_ms())
    if instance is None or instance.due_ms is None or not _is_plain(runner, cell):
        return None
    entry = alarms.accept(cell.address, instance.due_ms)
    if entry is None:
        return None
    accepted: AcceptedRun | None = None
    try:
        run = _decided(runner, cell, Loaded(instance=as_found(instance)))
        transition = None if run is None else with_claim(commit, run)
        if run is not None and transition is not None:
            entered = runner.gates.try_enter(cell.job_name, run.alone, cell.address)
            accepted = AcceptedRun(run, transition, entry) if entered else None
    # Not only on an exception: without a run or a slot the alarm fires after the commit, as any other.
    finally:
        if accepted is None:
            alarms.withdraw(entry)
    return accepted


def _is_plain(runner: Runner, cell: InstanceCell) -> bool:
    """Whether no other engine shares the store, no other request waits, and nothing observes each turn."""
    if runner.others is not NO_OTHERS:
        return False
    return not (cell.waiting or cell.running or cell.deferred) and is_plain(runner)


def is_plain(runner: Runner) -> bool:
    """Return whether runs may start, and nothing observes each turn or must be known of it besides its row."""
    if runner.tracing is not None or runner.reporting.sinks.told:
        return False
    return runner.phase == "open" and runner.code == "trusted"


def _decided(runner: Runner, cell: InstanceCell, loaded: Loaded, decoded: Decoded | None = None) -> Execute | None:
    """Return the run of a due alarm; None if it begins none, or if a hook raised."""
    inputs = runner.inputs_of(cell, decoded, loaded.instance)
    around = outside_runs()
    try:
        step = begin(cell.job, cell.address, loaded, ALARM, inputs)
    except Exception:  # noqa: BLE001 - a hook raised; the alarm's own turn reports that
        return None
    finally:
        if around is not None:
            leave_run(around)
    return step if isinstance(step, Execute) else None


def run_synchronously(
    runner: Runner, cell: InstanceCell, execute: Execute, begun: Suspended[Any, Any] | None
) -> Exit[Any, Any] | Suspended[Any, Any]:
    """Run a claimed program until its end, or until it must wait for something.

    It changes the context variables of its caller, who calls it in a context of the run.

    Args:
        runner: the services, and how to perform their effects.
        cell: the instance.
        execute: the run.
        begun: its program, if that has gone as far as its first effect.
    """
    enter_run(run_of(execute))
    program = runner.until_effect(cell, execute) if begun is None else begun
    if not isinstance(program, Suspended):
        return program
    perform = runner.perform
    try:
        return run_while_answered(
            program, lambda asked, services: perform(asked, services, execute), partial(_must_wait, cell)
        )
    except BaseException as raised:  # noqa: BLE001 - raised here, it would end the runs of the same commit too
        return Raised(raised)


def _must_wait(cell: InstanceCell, asked: type) -> bool:
    """Return whether an instruction needs a task: checkpoints do, and the end of a run that a terminate interrupts."""
    return asked in OF_A_CLAIMED_RUN or (bool(cell.waiting) and cell.is_interrupted)


Ended: TypeAlias = Callable[[InstanceCell, MailboxEntry, Verdict | None], None]
"""Called with the outcome of a run for its cell; None: there was a conflict, and the request is decided again."""


_Performed: TypeAlias = tuple[Execute, Exit[Any, Any]] | TurnAnswered | None


@attrs.define(eq=False)
class _Run:
    """One run.

    Attributes:
        cell: the instance.
        entry: the request that it answers.
        execute: the program in progress.
        company: whether no other run may have a slot.
        slot: whether it holds a slot of the concurrency limits.
        state: whether the run has ended.
        begun: its program, while that waits at its first effect for the claim.
        context: the context variables of that program; None if it has not begun.
        is_begun: whether a program of it has called a service, or may have.
        accepting: the request of a job that is accepted by the commit of the claim, until that is answered.
    """

    cell: InstanceCell
    entry: MailboxEntry
    execute: Execute
    company: Company
    slot: Literal["none", "held"] = "none"
    state: Literal["in progress", "over"] = "in progress"
    accepting: MailboxEntry | None = None
    begun: Suspended[Any, Any] | None = None
    context: Context | None = None
    is_begun: bool = False


@attrs.define(eq=False)
class RunExecutor:
    """Claims, begins and settles runs.

    Attributes:
        runtime: starts the tasks of services.
        runner: runs the programs, and commits their claims and ends.
        ended: called at the end of each.
        accepted: called with the answer to a request whose run goes on.
        alarms: count the runs of jobs that are accepted for now; None before alarms fire.
        internal_error: logs a defect of the engine, and returns the answer to it.
    """

    runtime: Runtime
    runner: Runner
    ended: Ended
    accepted: Callable[[InstanceCell, MailboxEntry, Verdict], None]
    internal_error: Callable[[InstanceCell, BaseException], TurnAnswered]
    alarms: Accepts | None = None
    _claimed: list[_Run] = attrs.Factory(list[_Run])

    def begin(self, cell: InstanceCell, entry: MailboxEntry, claimable: Claimable) -> None:
        """Claim a run when it has a slot, and begin it once its claim is durable."""
        run = _Run(cell, entry, claimable.execute, claimable.execute.alone)
        if claimable.begun is not None:
            run.begun, run.context = claimable.begun, copy_context()
        cell.begin_serving(entry)
        try:
            if claimable.slot == "none":
                self._claim(run)
            elif self.runner.gates.try_enter(cell.job_name, run.company, cell.address):
                self._admitted(run)
            else:
                start_eagerly(self._wait_for_slot(run), self.runtime, name=f"slot of {cell.address}")
        except BaseException as defect:  # noqa: BLE001 - the entry is served: only the end of its run releases the cell
            self._break(run, defect)

    def begin_plain(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Claim the run of a due alarm at once, if nothing about it is special; return whether it is begun.

        The decision is that of any turn. A hook that raises is left to the turn, which reports.
        """
        runner, loaded = self.runner, cell.loaded
        if loaded is None or cell.state == "busy" or not cell.is_empty:
            return False
        if not is_plain(runner):
            return False
        execute = _decided(runner, cell, loaded, cell.decoded)
        # Any other decision is the turn's: it may need to wait, or to answer.
        if execute is None or execute.claimed != "before_run":
            return False
        if not runner.gates.try_enter(cell.job_name, execute.alone, cell.address):
            return False
        if cell.decoded is None:
            runner.cache.note_decoded(cell, execute)
        run = _Run(cell, entry, execute, execute.alone, slot="held")
        # The claim compares the version, so a row that is out of date costs a conflict, never a run twice.
        if not runner.cache.may_use_rows:
            entry.row_source = "kept"
        cell.state, cell.served = "busy", (entry,)
        try:
            self._claim(run)
        except BaseException as defect:  # noqa: BLE001 - raised, it would end the alarm loop, and so the engine
            self._break(run, defect)
        return True

    def accepts(self, cell: InstanceCell, entry: MailboxEntry, commit: Commit) -> bool:
        """Begin the run of a job that is accepted for now, if it need not wait; return whether it is begun."""
        if self.alarms is None:
            return False
        try:
            accepted = accepted_run(self.runner, self.alarms, cell, commit)
        except BaseException as defect:  # noqa: BLE001 - hooks of the alarm run here, for the caller of another request
            self.ended(cell, entry, self.internal_error(cell, defect))
            return True
        if accepted is None:
            return False
        execute = accepted.execute
        run = _Run(cell, accepted.entry, execute, execute.alone, slot="held", accepting=entry)
        # Two entries: the request is answered when the claim is durable, the alarm when the run has ended.
        cell.begin_serving(accepted.entry)
        cell.begin_serving(entry)
        try:
            self._accept(run, commit, accepted)
        except BaseException as defect:  # noqa: BLE001 - or both entries remain served, and the slot taken
            self._break(run, defect)
        return True

    def _accept(self, run: _Run, commit: Commit, accepted: AcceptedRun) -> None:
        """Commit the acceptance of a job with the claim of its run, answer the request, and begin the run."""
        # Before the commit leaves: once it is stored, a claim that is not in `running` counts as abandoned.
        run.cell.running = (*run.cell.running, run.execute.claim.run_id)
        answer = partial(self._take_acceptance, run, commit, accepted)
        self.runner.commits.submit(accepted.transition, run.cell, answer)

    def _take_acceptance(
        self, run: _Run, commit: Commit, accepted: AcceptedRun, pending: PendingCommit, stored: Stored
    ) -> None:
        """Take the store's answer to the acceptance and claim of a run."""
        cell, execute, transition = run.cell, run.execute, accepted.transition
        try:
            answer = self.runner.commits.accept_answer(pending, stored, transition)
            recorded = self.runner.recorded(cell, transition, execute.claim.run_id, answer)
            if isinstance(recorded, Success):
                if run.accepting is not None:
                    self.accepted(cell, run.accepting, TurnAnswered(commit.result))
                    cell.end_serving(run.accepting)
                    run.accepting = None
                self._begin_later(run, execute.recorded(recorded.unwrap()))
                return
            refused: Any = recorded.failure()
            self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))
        except BaseException as defect:  # noqa: BLE001 - the store calls back for other commits next
            self._break(run, defect)

    async def _wait_for_slot(self, run: _Run) -> None:
        try:
            cell, lane = run.cell, lane_of(run.cell.job, run.execute)
            await self.runner.gates.enter(cell.job_name, run.company, cell.address, lane)
        # A cancelled wait has no slot to return, but its request is served: end it, or the cell remains busy.
        except BaseException as raised:
            if not is_closing(raised):
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this turn was cancelled"))))
            raise
        try:
            self._admitted(run)
        except BaseException as defect:  # noqa: BLE001 - the slot is taken: only the end of the run returns it
            self._break(run, defect)

    def _admitted(self, run: _Run) -> None:
        run.slot = "held"
        refused = self.runner.refused(run.cell, run.execute)
        if refused is None:
            self._claim(run)
        else:
            self._end(run, refused)

    def _claim(self, run: _Run) -> None:
        """Record the claim of a run."""
        cell, execute = run.cell, run.execute
        transition = execute.claiming
        if transition is None or self.runner.others is not NO_OTHERS:
            transition = self.runner.claiming(execute)
        if type(transition.write) is not Put:
            self._begin_later(run, execute)
            return
        # As in `_accept`: before the commit leaves, or a recovery may deliver the run a second time.
        cell.running = (*cell.running, execute.claim.run_id)
        self.runner.commits.submit(transition, cell, partial(self._take_claim, run, transition))

    def _take_claim(self, run: _Run, transition: Transition, pending: PendingCommit, stored: Stored) -> None:
        """Take the store's answer to a claim."""
        cell, execute = run.cell, run.execute
        try:
            answer = self.runner.commits.accept_answer(pending, stored, transition)
            recorded = self.runner.recorded(cell, transition, execute.claim.run_id, answer)
            if isinstance(recorded, Success):
                if self.runner.reporting.sinks.told:
                    self.runner.reporting.claimed(execute)
                self._begin_later(run, execute.recorded(recorded.unwrap()))
                return
            refused: Any = recorded.failure()
            self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))
        except BaseException as defect:  # noqa: BLE001 - the store calls back for other commits next
            self._break(run, defect)

    def _begin_later(self, run: _Run, execute: Execute) -> None:
        """Begin a claimed run in the next step of the event loop, not in the store's callback."""
        run.execute = execute
        self._claimed.append(run)
        if len(self._claimed) == 1:
            self._begin_soon()

    def _begin_soon(self) -> None:
        start_eagerly(self._begin_claimed(), self.runtime, name="perdure:runs")

    async def _begin_claimed(self) -> None:
        try:
            await self.runtime.sleep(0)  # until all claims of the commit are known
        # Also if this task is cancelled: the runs are claimed, and no other code knows them.
        finally:
            # The rest in the next step: services that answer at once would keep timers and sockets waiting.
            most = self.runtime.sizes.runs_in_a_row
            claimed, self._claimed = self._claimed[:most], self._claimed[most:]
            if self._claimed:
                self._begin_soon()
            for run in claimed:
                try:
                    self._begin(run)
                except BaseException as defect:  # noqa: BLE001 - it must not break the runs beside it
                    self._break(run, defect)

    def _begin(self, run: _Run) -> None:
        entry, execute = run.entry, run.execute
        if execute.claim.cause != "event":
            if entry.request.wait_for == "start" and not entry.answer.done():
                entry.reply_early(Success(running_answer(created=execute.claim.created == "here")))
            # The claim is durable: from here on the instance takes other turns beside the run.
            if run.cell.job.occupancy == "claim_only":
                self._end(run, RunInBackground(execute))
                return
        self._execute(run)

    def _execute(self, run: _Run) -> None:
        """Run a program to its exit: at once, unless it waits, or must be stopped."""
        # A context for each run: a variable that one sets must not reach the others of its commit, but must outlive its
        # waits.
        cell, execute, context = run.cell, run.execute, run.context or copy_context()
        suspended, run.begun, run.context = run.begun, None, None
        begun: Suspended[Any, Any] | Exit[Any, Any] | None = suspended
        # Its claim became durable after the runs in progress were cancelled: begun now, it would outlive the stop.
        is_released = self.runner.stops_runs and not run.is_begun
        run.is_begun = True
        if not is_released and not (cell.waiting and cell.is_interrupted):
            begun = context.run(run_synchronously, self.runner, cell, execute, suspended)
        if type(begun) is Raised and isinstance(begun.cause, RunLost):
            self._end(run, self.runner.not_recorded(cell, execute, begun.cause))
            return
        if begun is not None and not isinstance(begun, Suspended) and not is_interrupt(begun):
            self._exited(run, execute, begun)
            return
        try:
            task = context.run(self._continued, cell, execute, begun, is_released=is_released)
        # No task owns the suspended program: drop it here, or its ``finally`` blocks run whenever it is
        # garbage-collected.
        except BaseException:
            if isinstance(begun, Suspended):
                begun.drop()
            raise
        if task.done():
            self._performed(run, task)
        else:
            task.add_done_callback(partial(self._performed, run))

    def _continued(
        self,
        cell: InstanceCell,
        execute: Execute,
        begun: Suspended[Any, Any] | Exit[Any, Any] | None,
        *,
        is_released: bool,
    ) -> SpawnedTask[_Performed]:
        """Run a claimed program to its exit, or release its claim, in a task of its own."""
        rest = self._in_task(cell, execute, begun, is_released=is_released)
        return self.runtime.spawn_eagerly(rest, name=f"run of {cell.address}")

    async def _in_task(
        self,
        cell: InstanceCell,
        execute: Execute,
        begun: Suspended[Any, Any] | Exit[Any, Any] | None,
        *,
        is_released: bool,
    ) -> _Performed:
        cell.worker = self.runtime.current_task()
        if is_released:
            return await self.runner.stopped(cell, execute, "released", begun)
        return await self.runner.run_program(cell, execute, "worker", begun)

    def _performed(self, run: _Run, task: SpawnedTask[_Performed]) -> None:
        run.cell.worker = None
        try:
            if task.cancelled():
                run.cell.forget(run.execute.claim.run_id)  # its claim stays: the next request recovers it
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this run was cancelled"))))
                return
            ended = task.result()
            if isinstance(ended, tuple):
                self._exited(run, *ended)
            else:
                self._end(run, ended)
        except BaseException as defect:  # noqa: BLE001 - a task's callback: the event loop would only log it
            self._break(run, defect)

    def _exited(self, run: _Run, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Commit the end of a program, or run the hook that follows it."""
        step = self.runner.finish(run.cell, execute, exit_)
        run.execute = execute if isinstance(step, Commit) else step
        if isinstance(step, Execute):
            self._execute(run)
            return
        # Before the commit: the claims of the next alarms then travel in the same group as this end.
        if run.entry.on_finishing is not None:
            run.entry.on_finishing()
        commits = self.runner.commits
        unwritten = commits.result_without_write(step)
        if unwritten is None:
            commits.submit(step.transition, run.cell, partial(self._take_end, run, step))
        else:
            self._end(run, self.runner.settled(run.cell, execute, unwritten))

    def _take_end(self, run: _Run, step: Commit, pending: PendingCommit, stored: Stored) -> None:
        """Take the store's answer to the end of a run."""
        try:
            answer = self.runner.commits.accept_answer(pending, stored, step.transition)
            self._end(run, self.runner.settled(run.cell, run.execute, result_of(step, answer)))
        except BaseException as defect:  # noqa: BLE001 - as in `_take_claim`: the neighbours' answers come next
            self._break(run, defect)

    def _break(self, run: _Run, defect: BaseException) -> None:
        """End a run because of a defect of the engine: its claim stays, and is recovered."""
        run.cell.worker = None
        run.cell.forget(run.execute.claim.run_id)
        # The claim may be stored, and its alarm is not due again: without this, the run waits for the next request or
        # start.
        self.runner.left_claimed(run.cell)
        self._end(run, self.internal_error(run.cell, defect))

    def _end(self, run: _Run, verdict: Verdict | None) -> None:
        if run.state == "over":
            return  # a defect in the steps after its end
        if run.begun is not None:  # its claim is refused
            run.begun.drop()
            run.begun = None
        if isinstance(verdict, RunInBackground):
            # `BackgroundRuns` returns the slot. Returned twice, more runs than the limit would be in progress.
            run.slot = "none"  # the run keeps it
        self._leave(run)
        entry = run.entry
        if run.accepting is not None:  # the job is not accepted, or perhaps not: the answer is its caller's
            entry, run.accepting = run.accepting, None
            run.cell.end_serving(entry)
            if self.alarms is not None:
                self.alarms.withdraw(run.entry)
        self.ended(run.cell, entry, verdict)

    def _leave(self, run: _Run) -> None:
        run.state = "over"
        if run.slot == "held":
            self.runner.gates.leave(run.cell.job_name, run.company, run.cell.address)
        run.cell.end_serving(run.entry)


class Enqueue(Protocol):
    """Queues the end of a run."""

    def __call__(self, cell: InstanceCell, entry: MailboxEntry, place: Literal["head", "tail"], /) -> None:
        """Queue it."""
        ...


@attrs.frozen
class BackgroundRuns:
    """Runs user code while its instance handles other requests, and settles it in a turn of its own.

    Attributes:
        runtime: knows whether a task was cancelled.
        runner: runs the programs.
        enqueue: puts the end of a run at the head of the mailbox.
        ended: called when the end of a run is committed, unless that takes a task.
        internal_error: logs a defect of the engine, and returns the answer to it.
        over: called when a run has no end to handle.
    """

    runtime: Runtime
    runner: Runner
    enqueue: Enqueue
    ended: Ended
    internal_error: Callable[[InstanceCell, BaseException], TurnAnswered]
    over: Callable[[InstanceCell], None]

    def begin(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute) -> None:
        """Run user code beside the mailbox, then put the end of the run at its head."""
        run = self._run(cell, entry, execute, copy_context())
        cell.begin_serving(entry)
        try:
            cell.background = self.runtime.spawn(run, name=f"run of {cell.address}")
        except BaseException as defect:  # noqa: BLE001 - there is no task that would return the slot and answer
            run.close()
            self._leave(cell, entry, execute)
            self._break(cell, entry, execute, defect)

    async def _run(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute, around: Context) -> None:
        try:
            if self.runner.stops_runs:  # as in `RunExecutor`
                ended: _Performed = await self.runner.stopped(cell, execute, "released")
            else:
                ended = await self.runner.run_program(cell, execute, "background")
        # Whatever ends this task, the slot returns and the caller is answered. A cancellation ends it as cancelled; a
        # frame that is being closed must not touch the mailbox.
        except BaseException as raised:
            if is_closing(raised):
                raise
            self._leave(cell, entry, execute)
            self._break(cell, entry, execute, raised)
            if is_cancelled(self.runtime, raised):
                raise
            return
        self._leave(cell, entry, execute)
        try:
            # Outside of the program's context: its variables would reach the runs that the same commit begins.
            around.run(self._take, cell, entry, ended)
        except BaseException as defect:  # noqa: BLE001 - the run is over and its caller not answered: only this does it
            self._break(cell, entry, execute, defect)

    def _leave(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute) -> None:
        cell.background = None
        cell.end_serving(entry)
        self.give_up(cell, execute)

    def give_up(self, cell: InstanceCell, execute: Execute) -> None:
        """Return the slot of a run that has ended, or does not begin."""
        self.runner.gates.leave(cell.job_name, execute.alone, cell.address)

    def _take(
        self, cell: InstanceCell, entry: MailboxEntry, ended: tuple[Execute, Exit[Any, Any]] | TurnAnswered | None
    ) -> None:
        """Queue the end of a run, or conclude one that has none."""
        if isinstance(ended, tuple):
            end = MailboxEntry(
                entry.request,
                entry.answer,
                ended,
                span=entry.span,
                report=entry.report,
                pending_weight=entry.pending_weight,
            )
            self.enqueue(cell, end, "head")
            return
        entry.reply(ended.result if ended is not None else Failure(OutcomeUnknown("the claim was lost")))
        self.over(cell)

    def _break(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute, defect: BaseException) -> None:
        """End a run because of a defect of the engine: its claim stays, and is recovered."""
        cell.forget(execute.claim.run_id)
        self.runner.left_claimed(cell)
        entry.reply(self.internal_error(cell, defect).result)
        self.over(cell)

    # ------------------------------------------------------------ the end of a run
    def settle(self, cell: InstanceCell, entry: MailboxEntry, end: BackgroundEnd) -> Rest | None:
        """Commit the end of a run over the row in memory, without a task.

        Returns:
            None if that is begun. Otherwise what needs a task: a row to read, rivals to wait for, or a hook to run.
        """
        runner, loaded = self.runner, self.runner.cache.loaded_row(cell.address)
        execute, exit_ = end.execute, end.exit_
        # After a conflict there is a rival, which the task waits for.
        if loaded is None or entry.conflicts or is_event_between(loaded.instance, cell.running, runner.others):
            return Rest(self._settled(cell, execute, exit_, tried=entry.conflicts))
        joined = merge_background_run(execute, loaded, runner.others)
        if not isinstance(joined, Execute):
            return Rest(self._settled(cell, execute, exit_))
        step = runner.finish(cell, joined, exit_)
        if isinstance(step, Execute):
            return Rest(self._settled(cell, joined, exit_, hook=step))
        unwritten = runner.commits.result_without_write(step)
        if unwritten is not None:
            self.ended(cell, entry, runner.settled(cell, joined, unwritten))
            return None
        cell.begin_serving(entry)
        try:
            runner.commits.submit(step.transition, cell, partial(self._take_end, cell, entry, joined, step))
        except BaseException as defect:  # noqa: BLE001 - the entry is served: only this ends that
            self._fail_end(cell, entry, joined, defect)
        return None

    def _take_end(
        self,
        cell: InstanceCell,
        entry: MailboxEntry,
        execute: Execute,
        step: Commit,
        pending: PendingCommit,
        stored: Stored,
    ) -> None:
        """Take the store's answer to the end of a run. After a conflict it is decided again."""
        try:
            answered = result_of(step, self.runner.commits.accept_answer(pending, stored, step.transition))
            cell.end_serving(entry)
            self.ended(cell, entry, None if answered is None else self.runner.settled(cell, execute, answered))
        except BaseException as defect:  # noqa: BLE001 - the store calls back to others next
            self._fail_end(cell, entry, execute, defect)

    def _fail_end(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute, defect: BaseException) -> None:
        """End a run whose end the engine failed to commit: its claim may be stored, and is recovered."""
        cell.end_serving(entry)
        cell.forget(execute.claim.run_id)
        self.runner.left_claimed(cell)
        self.ended(cell, entry, self.internal_error(cell, defect))

    async def _settled(
        self,
        cell: InstanceCell,
        execute: Execute,
        exit_: Exit[Any, Any],
        *,
        tried: int = 0,
        hook: Execute | None = None,
    ) -> Verdict:
        """Settle a run in a task, and run the hooks that follow it.

        Args:
            cell: the instance.
            execute: the run.
            exit_: the exit of its program.
            tried: how often its commit met a conflict.
            hook: the hook that follows, if that is decided.
        """
        runner = self.runner
        try:
            verdict = hook or await self._committed(cell, execute, exit_, tried)
            while isinstance(verdict, Execute):
                ended = await runner.run_program(cell, verdict, "worker")
                if not isinstance(ended, tuple):
                    return ended or TurnAnswered(Failure(OutcomeUnknown("the claim was lost")))
                verdict = await self._committed(cell, *ended)
        # A cancellation here leaves the claim stored. As long as it counts as running here, nothing recovers it.
        except BaseException:
            cell.forget(execute.claim.run_id)
            raise
        return verdict

    async def _committed(
        self, cell: InstanceCell, execute: Execute, exit_: Exit[Any, Any], tried: int = 0
    ) -> Verdict | Execute:
        """Commit the end of a program on the present row; or return the hook that follows it."""
        runner = self.runner
        for number in range(tried, MAX_SHARED_CONFLICTS if runner.others else MAX_CONFLICTS + 1):
            await back_off(self.runtime, number, runner.others)
            match await runner.cache.load(cell.address):
                # An event of a claimed run is between its claim and its commit: settling now would make that commit a
                # conflict, after its effects.
                case Success(loaded) if is_event_between(loaded.instance, cell.running, runner.others):
                    return Defer()
                case Success(loaded):
                    joined = merge_background_run(execute, loaded, runner.others)
                case failure:
                    runner.left_claimed(cell)
                    cell.forget(execute.claim.run_id)
                    return TurnAnswered(Failure(not_stored(failure.failure())))
            step = runner.finish(cell, joined, exit_) if isinstance(joined, Execute) else joined
            if isinstance(step, Execute):
                return step
            verdict = await runner.settle(cell, execute, step)
            if not isinstance(verdict, FenceLost):
                return verdict if verdict is not None else TurnAnswered(Failure(Conflict(str(cell.address))))
        return FenceLost(str(cell.address))
