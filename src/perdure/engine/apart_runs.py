"""Runs beside the mailbox of their instance.

Other turns may write the row meanwhile, so the end of a run is committed on the present one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs
from returns.result import Failure, Success

from perdure.engine.cancellation import is_cancelled
from perdure.engine.conflict_backoff import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, back_off
from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.engine.runner import Runner
from perdure.engine.turn_outcome import FenceLost, TurnAnswered, Verdict
from perdure.engine.unstored import not_stored
from perdure.jobs.recovery import is_event_between
from perdure.jobs.step import Defer, Execute
from perdure.jobs.turn import rejoin
from perdure.programs import Exit
from perdure.programs.exit import is_closing
from perdure.runtime.record import Runtime
from perdure.values.errors import Conflict, OutcomeUnknown


class Enqueue(Protocol):
    """Queues the end of a run."""

    def __call__(self, resident: Resident, item: Item, place: Literal["head", "tail"], /) -> None:
        """Queue it."""
        ...


@attrs.frozen
class ApartRuns:
    """Runs user code while its instance handles other requests, and settles it in a turn of its own.

    Attributes:
        runtime: knows whether a task was cancelled.
        runner: runs the programs.
        enqueue: puts the end of a run at the head of the mailbox.
        broken: logs a defect of the engine, and returns the answer to it.
        over: called when a run has no end to handle.
    """

    runtime: Runtime
    runner: Runner
    enqueue: Enqueue
    broken: Callable[[Resident, BaseException], TurnAnswered]
    over: Callable[[Resident], None]

    def begin(self, resident: Resident, item: Item, execute: Execute) -> None:
        """Run user code beside the mailbox, then put the end of the run at its head."""
        run = self._run(resident, item, execute)
        try:
            resident.apart = self.runtime.spawn(run, name=f"run of {resident.address}")
        except BaseException as defect:  # noqa: BLE001 - a defect of the engine must not break the queue
            run.close()
            self._leave(resident, item, execute)
            self._break(resident, item, execute, defect)

    async def _run(self, resident: Resident, item: Item, execute: Execute) -> None:
        resident.begin_serving(item)
        try:
            ended = await self.runner.run_program(resident, execute, "apart")
        except BaseException as raised:
            if is_closing(raised):
                raise
            self._leave(resident, item, execute)
            self._break(resident, item, execute, raised)
            if is_cancelled(self.runtime, raised):
                raise
            return
        self._leave(resident, item, execute)
        try:
            self._take(resident, item, ended)
        except BaseException as defect:  # noqa: BLE001 - as above
            self._break(resident, item, execute, defect)

    def _leave(self, resident: Resident, item: Item, execute: Execute) -> None:
        resident.apart = None
        resident.end_serving(item)
        self.runner.gates.leave(resident.job_name, execute.alone, resident.address)

    def _take(
        self, resident: Resident, item: Item, ended: tuple[Execute, Exit[Any, Any]] | TurnAnswered | None
    ) -> None:
        """Queue the end of a run, or conclude one that has none."""
        if isinstance(ended, tuple):
            end = Item(item.request, item.answer, ended, span=item.span, report=item.report, counts=item.counts)
            self.enqueue(resident, end, "head")
            return
        item.reply(ended.result if ended is not None else Failure(OutcomeUnknown("the claim was lost")))
        self.over(resident)

    def _break(self, resident: Resident, item: Item, execute: Execute, defect: BaseException) -> None:
        """End a run because of a defect of the engine: its claim stays, and is recovered."""
        self.runner.forget_run(resident, execute)
        self.runner.left_claimed(resident)
        item.reply(self.broken(resident, defect).result)
        self.over(resident)

    # ------------------------------------------------------------ the end of a run
    async def settle(self, resident: Resident, execute: Execute, exit_: Exit[Any, Any]) -> Verdict:
        """Settle a run whose end is at the head of the mailbox, and run the hooks that follow it."""
        runner = self.runner
        try:
            verdict = await self._committed(resident, execute, exit_)
            while isinstance(verdict, Execute):
                ended = await runner.run_program(resident, verdict, "worker")
                if not isinstance(ended, tuple):
                    return ended or TurnAnswered(Failure(OutcomeUnknown("the claim was lost")))
                verdict = await self._committed(resident, *ended)
        except BaseException:
            runner.forget_run(resident, execute)
            raise
        return verdict

    async def _committed(self, resident: Resident, execute: Execute, exit_: Exit[Any, Any]) -> Verdict | Execute:
        """Commit the end of a program on the present row; or return the hook that follows it."""
        runner = self.runner
        for tried in range(MAX_SHARED_CONFLICTS if runner.others else MAX_CONFLICTS + 1):
            await back_off(self.runtime, tried, runner.others)
            match await runner.residents.load(resident.address):
                case Success(loaded) if is_event_between(loaded.instance, resident.running, runner.others):
                    return Defer()
                case Success(loaded):
                    joined = rejoin(execute, loaded, runner.others)
                case failure:
                    runner.left_claimed(resident)
                    runner.forget_run(resident, execute)
                    return TurnAnswered(Failure(not_stored(failure.failure())))
            step = runner.finish(resident, joined, exit_) if isinstance(joined, Execute) else joined
            if isinstance(step, Execute):
                return step
            verdict = await runner.settle(resident, execute, step)
            if not isinstance(verdict, FenceLost):
                return verdict if verdict is not None else TurnAnswered(Failure(Conflict(str(resident.address))))
        return FenceLost(str(resident.address))
