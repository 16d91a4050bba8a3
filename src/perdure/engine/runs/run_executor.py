"""The machine of a run: it takes a slot, claims, performs and ends every run of an engine, wherever that continues.

A commit claims each run, a second one stores its end, and no task waits for either. Runs whose claims are durable
together begin together, and their ends are committed together. Services that answer at once are called in one task for
all of these runs, in a context of their own; at the first one that must be awaited, the run continues in a task of its
own. A job that is accepted for now is claimed by the commit that accepts it.

Beside a run in the background, other turns may write the row: so its end waits for a turn of its own, and is committed
on the present row. That needs a task only if the row must be read, after a conflict.

====================  =====================================  ========  ===========  ==========  ====================
state                 it waits for                           slot      its request  its claim   it continues as
====================  =====================================  ========  ===========  ==========  ====================
admitted              a slot                                 needed    is served    is none     claiming, running [1]
claiming              the store                              held [2]  is served    in doubt    running, over [3]
running, mailbox      its program                            held [2]  is served    stored [4]  finishing, over [5]
running, background   its program                            held      is served    stored      finishing, over [5]
finishing, mailbox    a row to read                          held [6]  is served    stored      committing, running
finishing, beside     the turn of its end                    returned  waits        stored      committing, running
committing            the store                              held [6]  is served    stored      over, finishing [7]
over                  nothing                                returned  is answered  settled     -
====================  =====================================  ========  ===========  ==========  ====================

1. An event that waits before its first effect runs without a claim until then; it is ``claiming`` meanwhile.
2. Or none: an event of a kind whose runs leave the mailbox takes no slot.
3. The claim met a conflict: the request is decided again. Or it was not stored.
4. Except of an event before its first effect.
5. Its claim is released, lost or left for a recovery: there is no end to commit.
6. Returned already, if it was in the background.
7. Other turns have written the row of a run that was in the background.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from typing import Any, Final, Literal, Protocol, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.commits import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off, result_of
from perdure.engine.mailbox.entry import (
    MailboxEntry,
    TurnAnswered,
    Verdict,
    answer_of_hook,
    is_interrupt,
    not_stored,
)
from perdure.engine.mailbox.instance_cell import EngineRun, InstanceCell, PendingCommit, Stored
from perdure.engine.runs.concurrency import lane_of
from perdure.engine.runs.effects import RunLost
from perdure.engine.runs.runner import Runner
from perdure.jobs.checkpoint import OF_A_CLAIMED_RUN
from perdure.jobs.recovery import is_event_between, withdraw
from perdure.jobs.request import ALARM, Recover
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Defer, Execute, Mark, run_of
from perdure.jobs.transitions import accepted_instance, as_found, with_claim
from perdure.jobs.turn import begin, begin_marked, merge_background_run
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended, run_while_answered
from perdure.programs.instructions import ENDS_PROCESS, is_closing
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import enter_run, leave_run, outside_runs, start_eagerly
from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, StoreError
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import NO_OTHERS, Decoded

UNDECIDED: Final[Any] = None
"""The program of a mark, until the code that decides it has run."""


def run_of_mark(cell: InstanceCell, entry: MailboxEntry, mark: Mark) -> EngineRun:
    """Return the run of a claim that is stored before any code decides the rest."""
    return EngineRun(cell, entry, UNDECIDED, mark.alone, "needed", mark)


def broken_run_rule(run: EngineRun) -> str | None:
    """Return the first rule in `RUN_RULES` that a run breaks between two event loop steps. None if it is legal."""
    return next((rule for rule, holds in RUN_RULES if not holds(run)), None)


def _is_served(run: EngineRun) -> bool:
    return any(entry is run.entry for entry in run.cell.served)


RUN_RULES: Final[tuple[tuple[str, Callable[[EngineRun], bool]], ...]] = (
    (
        "a run that is over is in no cell",
        lambda run: run.state != "over",
    ),
    (
        "a run holds the mailbox, continues beside it, or waits for the turn of its end",
        lambda run: (
            run.cell.run is run
            if not run.beside
            else run.cell.background is run
            and (run.place == "mailbox" or run.cell.run is not run)
            and (run.cell.run is run or run.state in {"running", "finishing"})
        ),
    ),
    (
        "a run answers a request that is served, or the end of one that is queued",
        lambda run: _is_served(run) or (run.beside and run.entry.is_end and run.cell.holds(run.entry)),
    ),
    (
        "only a run in the background continues without the mailbox",
        lambda run: run.place == "mailbox" or (run.beside and run.state == "running"),
    ),
    (
        "a run has its slot from its admission to its end, or to its return to the mailbox",
        lambda run: (
            (run.slot != "needed" or run.state == "admitted")
            and (run.slot != "held" or not run.beside or run.place == "background")
        ),
    ),
    (
        "a run that commits a claim, or has one, is in progress",
        lambda run: (
            run.state == "admitted"
            or run.run_id in run.cell.running
            or (run.state != "claiming" and run.claimed() is None)
            or (run.state == "running" and (run.stop is not None or run not in run.cell.runs))
        ),
    ),
    (
        "a task performs a program, and nothing else",
        lambda run: run.task is None or run.state == "running" or run.claim_answer is not None,
    ),
    (
        "a program that waits for its claim has an answer to come",
        lambda run: run.claim_answer is None or run.state == "claiming",
    ),
    (
        "the exit of a program is kept for the turn of its end",
        lambda run: run.exit_ is None or run.beside,
    ),
)
"""What holds for each run between two steps of the event loop: the rule, and whether a run keeps it."""


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


class OnTurnOver(Protocol):
    """Concludes the turn of a run."""

    def __call__(self, cell: InstanceCell, entry: MailboxEntry, verdict: Verdict | None, /) -> None:
        """Take the outcome. None: there was a conflict, and the request is decided again."""
        ...


class Enqueue(Protocol):
    """Queues the end of a run."""

    def __call__(self, cell: InstanceCell, entry: MailboxEntry, place: Literal["head", "tail"], /) -> None:
        """Queue it."""
        ...


_Performed: TypeAlias = tuple[Execute, Exit[Any, Any]] | TurnAnswered | None


@attrs.define(eq=False)
class RunExecutor:
    """Claims, begins and ends runs.

    Attributes:
        runtime: starts the tasks of services.
        runner: runs the programs, and decides on their ends.
        ended: called at the end of each that has the mailbox.
        accepted: called with the answer to a request whose run continues.
        left_mailbox: called when a run continues in the background.
        enqueue: puts the end of such a run at the head of the mailbox.
        over: called when such a run has no end to commit.
        internal_error: logs a defect of the engine, and returns the answer to it.
        alarms: count the runs of jobs that are accepted for now; None before alarms fire.
    """

    runtime: Runtime
    runner: Runner
    ended: OnTurnOver
    accepted: Callable[[InstanceCell, MailboxEntry, Verdict], None]
    left_mailbox: Callable[[InstanceCell, MailboxEntry], None]
    enqueue: Enqueue
    over: Callable[[InstanceCell], None]
    internal_error: Callable[[InstanceCell, BaseException], TurnAnswered]
    alarms: Accepts | None = None
    _claimed: list[EngineRun] = attrs.Factory(list[EngineRun])

    # ------------------------------------------------------------ admitted
    def begin(self, run: EngineRun) -> None:
        """Claim a run when it has a slot, and begin it once its claim is durable."""
        cell = run.cell
        if run.begun is not None:
            run.context = copy_context()
        cell.begin_serving(run.entry)
        cell.run = run
        try:
            if run.slot == "none" or self.runner.gates.try_enter(cell.job_name, run.company, cell.address):
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
        run = EngineRun(cell, entry, execute, execute.alone, "held")
        # The claim compares the version, so a row that is out of date costs a conflict, never a run twice.
        if not runner.cache.may_use_rows:
            entry.row_source = "kept"
        cell.state, cell.served, cell.run = "busy", (entry,), run
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
        run = EngineRun(
            cell, accepted.entry, execute, execute.alone, "held", accepting=entry, answer=TurnAnswered(commit.result)
        )
        # Two entries: the request is answered when the claim is durable, the alarm when the run has ended.
        cell.begin_serving(accepted.entry)
        cell.begin_serving(entry)
        cell.run = run
        try:
            self._commit_claim(run, accepted.transition)
        except BaseException as defect:  # noqa: BLE001 - or both entries remain served, and the slot taken
            self._break(run, defect)
        return True

    async def _wait_for_slot(self, run: EngineRun) -> None:
        try:
            cell, lane = run.cell, lane_of(run.cell.job, run.mark or run.execute)
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

    def _admitted(self, run: EngineRun) -> None:
        mark = run.mark
        if run.slot == "needed":
            run.slot = "held"
            refused = self.runner.refused(run.cell, mark or run.execute)
            if refused is not None:
                self._end(run, refused)
                return
        if mark is not None:
            if isinstance(run.entry.request.command, Recover) and run.cell.is_interrupted:
                self._end(run, TurnAnswered(Success(None)))
            else:
                self._commit_claim(run, mark.transition)
        elif run.claims == "first":
            self._claim(run)
        else:
            self._execute(run)

    # ------------------------------------------------------------ claiming
    def _claim(self, run: EngineRun) -> None:
        """Record the claim of a run before its program continues."""
        transition = run.execute.claiming
        if transition is None or self.runner.others is not NO_OTHERS:
            transition = self.runner.claiming(run.execute)
        if type(transition.write) is Put:
            self._commit_claim(run, transition)
        else:
            self._begin_later(run)

    async def claim_at_effect(self, run: EngineRun) -> Result[Execute, Any]:
        """Record the claim of a run whose program waits for it, and return the claimed program."""
        execute, transition = run.execute, self.runner.claiming(run.execute)
        if type(transition.write) is not Put:
            return Success(execute)
        run.claim_answer = answer = self.runtime.future()
        self._commit_claim(run, transition)
        # A cancelled wait may have stored the claim. Forget it, so that a recovery finds a claim without a run.
        try:
            recorded: Result[Instance, Any] = answer.result() if answer.done() else await answer
        except BaseException:
            run.cell.forget(run.run_id)
            raise
        finally:
            run.state, run.claim_answer = "running", None
        if isinstance(recorded, Success) and self.runner.reporting.sinks.told:
            self.runner.reporting.claimed(execute)
        return recorded.map(execute.recorded)

    def _commit_claim(self, run: EngineRun, transition: Transition) -> None:
        """Commit the claim of a run: of each run, here alone."""
        cell, run.state = run.cell, "claiming"
        # Before the commit leaves: once it is stored, a claim that is not in `running` counts as abandoned, and a
        # recovery would deliver the run a second time.
        cell.running = (*cell.running, run.run_id)
        self.runner.commits.submit(transition, cell, partial(self._take_claim, run, transition))

    def _take_claim(self, run: EngineRun, transition: Transition, pending: PendingCommit, stored: Stored) -> None:
        """Take the store's answer to a claim."""
        cell, runner = run.cell, self.runner
        try:
            answer = runner.commits.accept_answer(pending, stored, transition)
            recorded = runner.recorded(cell, transition, run.run_id, answer)
            if run.claim_answer is not None:
                if not run.claim_answer.done():  # the wait for it may be cancelled by now
                    run.claim_answer.set_result(recorded)
                return
            if not isinstance(recorded, Success):
                refused: Any = recorded.failure()
                self._end(run, None if isinstance(refused, Conflict) else TurnAnswered(Failure(refused)))
                return
            instance = recorded.unwrap()
            if run.mark is not None:
                run.marked = instance
            else:
                if runner.reporting.sinks.told:
                    runner.reporting.claimed(run.execute)
                run.execute = run.execute.recorded(instance)
                if run.accepting is not None:
                    self._answer_accepted(run, run.accepting)
            self._begin_later(run)
        except BaseException as defect:  # noqa: BLE001 - the store calls back for other commits next
            self._break(run, defect)

    def _answer_accepted(self, run: EngineRun, entry: MailboxEntry) -> None:
        """Answer the request that was accepted by the commit of a claim."""
        if run.answer is not None:
            self.accepted(run.cell, entry, run.answer)
        run.cell.end_serving(entry)
        run.accepting = run.answer = None

    def _begin_later(self, run: EngineRun) -> None:
        """Begin a claimed run in the next step of the event loop, not in the store's callback."""
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
                    if run.mark is not None and run.marked is not None:
                        self._decide_marked(run, run.mark, run.marked)
                    else:
                        self._begin(run)
                except BaseException as defect:  # noqa: BLE001 - it must not break the runs beside it
                    self._break(run, defect)

    def _decide_marked(self, run: EngineRun, mark: Mark, marked: Instance) -> None:
        """Run the code that decides a marked turn, and continue with its program or its commit."""
        cell, entry = run.cell, run.entry
        inputs = self.runner.inputs_of(cell)
        # In a context of its own: a variable that the code sets must not reach the runs that begin in this task.
        around, decide = outside_runs(), partial(begin_marked, cell.job, mark, marked, entry.request, inputs)
        try:
            step: Commit | Execute = copy_context().run(decide)
        except BaseException as defect:  # noqa: BLE001 - a hook may raise any class; its caller gets `HookRaised`
            self._not_decided(run, mark, marked, defect)
            return
        finally:
            if around is not None:
                leave_run(around)
        if isinstance(step, Commit):
            self._commit_end(run, step)
            return
        run.execute, run.mark, run.marked = step, None, None
        if entry.span is not None:
            entry.span.runs(step.claim)
        if self.runner.reporting.sinks.told:
            self.runner.reporting.claimed(step)
        self._begin(run)

    def _not_decided(self, run: EngineRun, mark: Mark, marked: Instance, defect: BaseException) -> None:
        """End a marked turn whose code raised. Its claim stays: the next request or start recovers it."""
        cell, broken = run.cell, Raised(defect)
        cell.forget(mark.claim.run_id)
        self.runner.note_end(broken)
        answer = answer_of_hook(self.runtime, cell.job, cell.address, run.entry.request, marked, broken)
        if isinstance(defect, ENDS_PROCESS):
            run.answer = answer
            self._commit_end(run, withdraw(marked, mark.claim, defect, self.runner.inputs_of(cell)))
        else:
            self._end(run, answer)

    # ------------------------------------------------------------ running
    def _begin(self, run: EngineRun) -> None:
        entry, execute = run.entry, run.execute
        if execute.claim.cause != "event":
            if entry.request.wait_for == "start" and not entry.answer.done():
                entry.reply_early(Success(running_answer(created=execute.claim.created == "here")))
            # The claim is durable: from here on the instance takes other turns beside the run.
            if run.cell.job.occupancy == "claim_only":
                self._leave_mailbox(run)
        self._execute(run)

    def _leave_mailbox(self, run: EngineRun) -> None:
        cell, run.place, run.beside = run.cell, "background", True
        cell.run, cell.background = None, run
        self.left_mailbox(cell, run.entry)

    def _execute(self, run: EngineRun) -> None:
        """Run a program to its exit: at once, unless it waits, or must be stopped."""
        # A context for each run: a variable that one sets must not reach the others of its commit, but must outlive its
        # waits.
        cell, execute, context = run.cell, run.execute, run.context or copy_context()
        suspended, run.begun, run.context, run.state = run.begun, None, None, "running"
        begun: Suspended[Any, Any] | Exit[Any, Any] | None = suspended
        # Its claim became durable after the runs in progress were cancelled: begun now, it would outlive the stop.
        is_released = self.runner.stops_runs and not run.is_begun
        run.is_begun = True
        if not is_released and run.claims == "first" and not (cell.waiting and cell.is_interrupted):
            begun = context.run(run_synchronously, self.runner, cell, execute, suspended)
        if type(begun) is Raised and isinstance(begun.cause, RunLost):
            self._end(run, self.runner.not_recorded(cell, execute, begun.cause))
            return
        if begun is not None and not isinstance(begun, Suspended) and not is_interrupt(begun):
            self._exited(run, execute, begun)
            return
        try:
            task = context.run(self._continued, run, begun, is_released=is_released)
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
        self, run: EngineRun, begun: Suspended[Any, Any] | Exit[Any, Any] | None, *, is_released: bool
    ) -> SpawnedTask[_Performed]:
        """Run a program to its exit, or release its claim, in a task of its own."""
        rest = self._in_task(run, begun, is_released=is_released)
        return self.runtime.spawn_eagerly(rest, name=f"run of {run.cell.address}")

    async def _in_task(
        self, run: EngineRun, begun: Suspended[Any, Any] | Exit[Any, Any] | None, *, is_released: bool
    ) -> _Performed:
        run.task = self.runtime.current_task()
        if is_released:
            return await self.runner.stopped(run.cell, run.execute, "released", begun)
        return await self.runner.run_program(run, partial(self.claim_at_effect, run), begun)

    def _performed(self, run: EngineRun, task: SpawnedTask[_Performed]) -> None:
        run.task = None
        try:
            if task.cancelled():
                # Its claim stays, and is recovered.
                run.cell.forget(run.run_id)
                self.runner.left_claimed(run.cell)
                self._end(run, TurnAnswered(Failure(OutcomeUnknown("the task of this run was cancelled"))))
                return
            ended = task.result()
            if isinstance(ended, tuple):
                self._exited(run, *ended)
            else:
                self._end(run, ended)
        except BaseException as defect:  # noqa: BLE001 - a task's callback: the event loop would only log it
            self._break(run, defect)

    # ------------------------------------------------------------ finishing
    def _exited(self, run: EngineRun, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Decide on the end of a program. Of a run beside which turns write the row: on the present one."""
        run.execute, run.state = execute, "finishing"
        if not run.beside:
            self._finish(run, execute, exit_)
            return
        run.exit_, run.conflicts = exit_, 0
        if run.place == "background":
            self._return_to_mailbox(run)
        else:
            self._join(run)

    def _return_to_mailbox(self, run: EngineRun) -> None:
        """Put the end of a run at the head of the mailbox, with the request that waits for it."""
        cell, entry = run.cell, run.entry
        run.place = "mailbox"
        self._return_slot(run)
        cell.end_serving(entry)
        end = MailboxEntry(entry.request, entry.answer, is_end=True, span=entry.span, report=entry.report)
        end.pending_weight, run.entry = entry.pending_weight, end
        self.enqueue(cell, end, "head")

    def take_turn(self, run: EngineRun) -> None:
        """Commit the end of a run that was in the background, in a turn of its own."""
        cell = run.cell
        cell.begin_serving(run.entry)
        cell.run = run
        try:
            self._join(run)
        except BaseException as defect:  # noqa: BLE001 - the entry is served: only the end of the run releases the cell
            self._break(run, defect)

    def _join(self, run: EngineRun) -> None:
        """Decide on the end of a run over the row in memory; after a conflict over the stored one, in a task."""
        row = None if run.conflicts else self.runner.cache.loaded_row(run.cell.address)
        if row is None:
            start_eagerly(self._read_row(run), self.runtime, name=f"end of {run.cell.address}")
        else:
            self._finish_on(run, row)

    async def _read_row(self, run: EngineRun) -> None:
        cell, runner = run.cell, self.runner
        try:
            if run.conflicts:
                await self.runtime.sleep(0)  # out of the store's callback: code of the job runs below
            await back_off(self.runtime, run.conflicts, runner.others)
            loaded = await runner.cache.load(cell.address)
            if isinstance(loaded, Success):
                self._finish_on(run, loaded.unwrap())
                return
            cell.forget(run.run_id)
            runner.left_claimed(cell)
            self._end(run, TurnAnswered(Failure(not_stored(loaded.failure()))))
        # A cancellation too: as long as the claim counts as running here, nothing recovers it.
        except BaseException as raised:
            if is_closing(raised):
                raise
            self._break(run, raised)

    def _finish_on(self, run: EngineRun, row: Loaded) -> None:
        cell, others, exit_ = run.cell, self.runner.others, run.exit_
        # An event of a claimed run is between its claim and its commit: settling now would make that commit a conflict,
        # after its effects.
        if is_event_between(row.instance, cell.running, others):
            cell.end_serving(run.entry)
            cell.run = None
            self.ended(cell, run.entry, Defer())
            return
        joined = merge_background_run(run.execute, row, others)
        if isinstance(joined, Execute) and exit_ is not None:
            self._finish(run, joined, exit_)
        elif isinstance(joined, Commit):
            self._commit_end(run, joined)

    def _finish(self, run: EngineRun, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Decide on the end of a program: commit it, or run the hook that follows."""
        step = self.runner.finish(run.cell, execute, exit_)
        if isinstance(step, Execute):
            run.execute = step
            self._execute(run)
            return
        run.execute = execute
        # Before the commit: the claims of the next alarms then travel in the same group as this end.
        if run.entry.on_finishing is not None:
            run.entry.on_finishing()
        self._commit_end(run, step)

    # ------------------------------------------------------------ committing
    def _commit_end(self, run: EngineRun, step: Commit) -> None:
        """Commit the end of a run: of each run, here alone."""
        commits, run.state = self.runner.commits, "committing"
        unwritten = commits.result_without_write(step)
        if unwritten is None:
            commits.submit(step.transition, run.cell, partial(self._take_end, run, step))
        else:
            self._end(run, self._settled(run, unwritten))

    def _take_end(self, run: EngineRun, step: Commit, pending: PendingCommit, stored: Stored) -> None:
        """Take the store's answer to the end of a run. After a conflict, one that was in the background joins again."""
        try:
            answered = result_of(step, self.runner.commits.accept_answer(pending, stored, step.transition))
            if answered is None and run.beside:
                run.conflicts += 1
                if run.conflicts <= (MAX_SHARED_CONFLICTS if self.runner.others else MAX_CONFLICTS):
                    run.state = "finishing"
                    self._join(run)
                    return
            self._end(run, self._settled(run, answered))
        except BaseException as defect:  # noqa: BLE001 - as in `_take_claim`: the neighbours' answers come next
            self._break(run, defect)

    def _settled(self, run: EngineRun, answered: TurnAnswered | None) -> Verdict | None:
        """Return the outcome of a run whose end was committed; None if its request is decided again."""
        mark = run.mark
        if mark is None:
            return self.runner.settled(run.cell, run.execute, answered)
        run.cell.forget(mark.claim.run_id)
        if run.answer is not None:
            return run.answer
        match answered:
            case TurnAnswered(Failure(StoreError() | OutcomeUnknown())):
                self.runner.left_claimed(run.cell)
            case TurnAnswered(Success()) if mark.claim.cause == "upgrade":
                return None  # decide the request again, on the upgraded state
            case _:
                pass
        return answered

    # ------------------------------------------------------------ over
    def _break(self, run: EngineRun, defect: BaseException) -> None:
        """End a run because of a defect of the engine: its claim stays, and is recovered."""
        run.task = None
        run.cell.forget(run.run_id)
        # The claim may be stored, and its alarm is not due again: without this, the run waits for the next request or
        # start.
        self.runner.left_claimed(run.cell)
        self._end(run, self.internal_error(run.cell, defect))

    def _end(self, run: EngineRun, verdict: Verdict | None) -> None:
        if run.state == "over":
            return  # a defect in the steps after its end
        run.state = "over"
        if run.begun is not None:  # its claim is refused
            run.begun.drop()
            run.begun = None
        self._return_slot(run)
        cell, entry = run.cell, run.entry
        cell.end_serving(entry)
        if cell.run is run:
            cell.run = None
        if run.accepting is not None:  # the job is not accepted, or perhaps not: the answer is its caller's
            if self.alarms is not None:
                self.alarms.withdraw(entry)
            entry, run.accepting = run.accepting, None
            cell.end_serving(entry)
        if run.beside:
            cell.background = None
            # Its request was decided long ago, so it is not decided again.
            if verdict is None:
                verdict = TurnAnswered(Failure(OutcomeUnknown("the claim was lost")))
            if run.place == "background" and isinstance(verdict, TurnAnswered):
                entry.reply(verdict.result)
                self.over(cell)
                return
        self.ended(cell, entry, verdict)

    def _return_slot(self, run: EngineRun) -> None:
        # Returned twice, more runs than the limit would be in progress.
        if run.slot == "held":
            run.slot = "none"
            self.runner.gates.leave(run.cell.job_name, run.company, run.cell.address)
