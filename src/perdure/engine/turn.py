"""Turns: load the instance, decide, and begin what the decision wants."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.folding import Folding
from perdure.engine.hook_raised import answer_of_hook
from perdure.engine.inputs import traced_inputs
from perdure.engine.item import Item
from perdure.engine.plain_events import PlainEvents, plain_events
from perdure.engine.reads import Reads
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.engine.runner import Runner
from perdure.engine.turn_outcome import Begun, Claimable, Reading, Rest, RunsApart, TurnAnswered, Verdict
from perdure.engine.unstored import is_interrupt
from perdure.jobs.recovery import withdraw
from perdure.jobs.request import Recover
from perdure.jobs.run import running_answer
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst, run_of
from perdure.jobs.turn import begin, begin_marked
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended
from perdure.programs.exit import ENDS_PROCESS
from perdure.runtime.record import Runtime
from perdure.runtime.run_context import enter_run, leave_run, outside_runs, run_around
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, StoreError
from perdure.values.instance import Instance
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import Decoded, TurnInputs

OnTurnLoaded: TypeAlias = Callable[[Resident, Item, Result[Loaded, Any]], None]


@attrs.define
class TurnTaker:
    """Executes turns: waits and writes. The pure functions ``begin`` and ``finish`` decide.

    Attributes:
        runner: runs the programs of turns.
        runtime: the only interface to time and waiting.
        residents: the instances in this process.
        folding: decides which turns join a flight.
        reads: reads the instances of turns.
    """

    runner: Runner
    runtime: Runtime = attrs.field(init=False)
    residents: Residents = attrs.field(init=False)
    folding: Folding = attrs.field(init=False)
    reads: Reads = attrs.field(init=False)
    _plain: PlainEvents | None = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.runtime, self.residents = self.runner.runtime, self.runner.residents
        self.folding, self.reads = Folding(self.residents), Reads(self.runner.store, self.runtime)
        self._plain = plain_events(self.runner)

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
        if item.conflicts > item.backed_off and self.runner.others:
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
        await back_off(self.runtime, item.conflicts, self.runner.others)
        return "again"

    def most_conflicts(self, item: Item) -> int:
        """Return how often the turn of a request may meet conflicts before its first effect."""
        return MAX_SHARED_CONFLICTS if self.runner.others and item.request.inbound is None else MAX_CONFLICTS

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
        if self._plain is None or self.runner.code == "suspect" or run_around() is not None:
            return self._decide_any(resident, item, loaded, decoded)
        try:
            handled = self._plain.handle(resident, item.request, loaded.instance, decoded)
        except BaseException as defect:  # noqa: BLE001 - a hook that raises before it returns a program
            return self._not_begun(resident, item, loaded.instance, defect)
        if isinstance(handled, tuple):
            execute, ended = handled
            if execute.draft.encoded is None and resident.decoded is None:
                self.residents.note_decoded(resident, execute)
            return self._handle(resident, item, execute, None, ended)
        return self._decide_any(resident, item, loaded, decoded) if handled is None else handled

    def _decide_any(self, resident: Resident, item: Item, loaded: Loaded, decoded: Decoded | None) -> Begun:
        """Decide the turn as any, with ``begin``."""
        runner = self.runner
        inputs = runner.inputs_of(resident, decoded)
        if runner.tracing is not None:
            inputs = traced_inputs(runner.tracing, resident.address, item, loaded, inputs)
        around = outside_runs()
        try:
            step = begin(resident.job, resident.address, loaded, item.request, inputs)
        except BaseException as defect:  # noqa: BLE001 - a hook that raises before it returns a program
            return self._not_begun(resident, item, loaded.instance, defect)
        finally:
            if around is not None:
                leave_run(around)
        if runner.reporting.sinks.told:
            runner.reporting.decided(resident, item, loaded.instance, step)
        if isinstance(step, Execute):
            if item.span is not None:
                item.span.runs(step.claim)
            if resident.decoded is None:
                self.residents.note_decoded(resident, step)
            if step.claimed == "before_effect" and runner.code == "trusted":
                return self._handle(resident, item, step, inputs)
        return step if isinstance(step, Commit) else self._wait_first(resident, item, step)

    def _wait_first(self, resident: Resident, item: Item, step: Execute | Mark | Defer | RecoverFirst) -> Begun:
        """Continue with what must wait, on a committed row."""
        if resident.flight is not None or (item.basis == "kept" and type(step) is not Execute):
            return "after_flight"
        match step:
            case Mark():
                return Rest(self.runner.in_slot(resident, step, lambda: self._mark_and_begin(resident, item, step)))
            case Execute():
                suspect_event = step.claimed == "before_effect"  # claimed before its handler runs, as a run is
                takes_no_slot = suspect_event and resident.job.occupancy == "claim_only" and self.runner.phase == "open"
                return Claimable(step, "none" if takes_no_slot else "needed")
            case _:
                return step

    def _not_begun(
        self, resident: Resident, item: Item, instance: Instance | None, defect: BaseException
    ) -> TurnAnswered:
        """Answer a request whose turn raised before there was a program."""
        broken = Raised(defect)
        self.runner.note_end(broken)
        return answer_of_hook(self.runtime, resident.job, resident.address, item.request, instance, broken)

    # ------------------------------------------------------------ marked turns
    async def _mark_and_begin(self, resident: Resident, item: Item, mark: Mark) -> Verdict | None:
        """Record a claim, then run the code of the job that decides the rest of the turn."""
        if isinstance(item.request.command, Recover) and resident.is_interrupted:
            return TurnAnswered(Success(None))
        match await self.runner.record(resident, mark.transition, mark.claim.run_id):
            case Success(marked):
                return await self._begin_marked(resident, item, mark, marked)
            case Failure(Conflict()):
                return None
            case failure:
                return TurnAnswered(failure)

    async def _begin_marked(self, resident: Resident, item: Item, mark: Mark, marked: Instance) -> Verdict | None:
        runner = self.runner
        step: Commit | Execute
        around = outside_runs()
        try:
            step = begin_marked(resident.job, mark, marked, item.request, runner.inputs_of(resident))
        except BaseException as defect:  # noqa: BLE001 - as in `decide`
            resident.forget(mark.claim.run_id)  # its claim stays: the next request or start recovers it
            answer = self._not_begun(resident, item, marked, defect)
            if isinstance(defect, ENDS_PROCESS):
                await runner.commits.conclude(withdraw(marked, mark.claim, defect, runner.inputs_of(resident)))
            return answer
        finally:
            if around is not None:
                leave_run(around)
        if isinstance(step, Execute):
            if item.span is not None:
                item.span.runs(step.claim)
            if runner.reporting.sinks.told:
                runner.reporting.claimed(step)
            return await self._run_claimed(resident, item, step)
        try:
            verdict = await runner.commits.conclude(step)
        finally:
            resident.forget(mark.claim.run_id)
        match verdict:
            case TurnAnswered(Failure(StoreError() | OutcomeUnknown())):
                runner.left_claimed(resident)
            case TurnAnswered(Success()) if mark.claim.cause == "upgrade":
                return None  # decide the request again, on the upgraded state
            case _:
                pass
        return verdict

    async def _run_claimed(self, resident: Resident, item: Item, execute: Execute) -> Verdict | None:
        """Continue with the run of a marked turn: here, or beside the mailbox."""
        by_event = execute.claim.cause == "event"
        if item.request.wait_for == "start" and not by_event and not item.answer.done():
            found: Literal["created", "exists"] = "created" if execute.claim.created == "here" else "exists"
            item.reply_early(Success(running_answer(found)))
        if resident.job.occupancy == "claim_only" and not by_event:
            return RunsApart(execute)
        return await self.runner.run_to_end(resident, execute)

    # ------------------------------------------------------------ events
    def _handle(
        self,
        resident: Resident,
        item: Item,
        execute: Execute,
        inputs: TurnInputs | None,
        ended: Exit[Any, Any] | Suspended[Any, Any] | None = None,
    ) -> Begun:
        """Handle an event. As long as its program neither waits nor has effects, it needs no slot, claim or task.

        Inputs are collected when they are read: each collection draws an id, and a dry run draws as many.
        """
        step: Commit | Execute = execute
        while isinstance(step, Execute):
            execute = step
            around = enter_run(run_of(execute))
            try:
                begun, ended = ended or self.runner.until_effect(resident, execute), None
                if isinstance(begun, Suspended):
                    return self._has_effect(resident, item, execute, begun)
                if type(begun) is Raised and is_interrupt(begun):
                    self.runner.note_end(begun)
                    return TurnAnswered(Failure(EngineClosed()))
                if inputs is None or self.runtime.now_ms() != inputs.now_ms:
                    inputs = self.runner.inputs_of(resident)
                step = self.runner.decide_end(resident, execute, begun, inputs)
            finally:
                leave_run(around)
        return step

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
            if resident.job.occupancy == "claim_only" and self.runner.phase == "open":
                return await self.runner.run_to_end(resident, execute, begun)
            return await self.runner.in_slot(
                resident, execute, lambda: self.runner.run_to_end(resident, execute, begun)
            )
        finally:
            begun.drop()
