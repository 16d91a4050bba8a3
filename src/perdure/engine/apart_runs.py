"""Runs beside the mailbox of their instance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs
from returns.result import Failure

from perdure.engine.cancellation import is_cancelled
from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.engine.turn import TurnTaker
from perdure.engine.turn_outcome import TurnAnswered
from perdure.jobs.step import Execute
from perdure.programs import Exit
from perdure.programs.exit import is_closing
from perdure.runtime.record import Runtime
from perdure.values.errors import OutcomeUnknown


class Enqueue(Protocol):
    """Queues the end of a run."""

    def __call__(self, resident: Resident, item: Item, place: Literal["head", "tail"], /) -> None:
        """Queue it."""
        ...


@attrs.frozen
class ApartRuns:
    """Runs user code while its instance handles other requests.

    Attributes:
        runtime: knows whether a task was cancelled.
        turns: runs the programs.
        enqueue: puts the end of a run at the head of the mailbox.
        broken: logs a defect of the engine, and returns the answer to it.
        over: called when a run has no end to handle.
    """

    runtime: Runtime
    turns: TurnTaker
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
            ended = await self.turns.run_program(resident, execute, "apart")
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
        self.turns.gates.leave(resident.job_name, execute.alone, resident.address)

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
        self.turns.forget_run(resident, execute)
        self.turns.left_claimed(resident)
        item.reply(self.broken(resident, defect).result)
        self.over(resident)
