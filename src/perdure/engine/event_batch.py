"""Decides the events of one step of the event loop together, when it ends."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context

import attrs

from perdure.engine.commits import Commits
from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.engine.store_groups import LARGEST
from perdure.engine.turn_outcome import Begun, Reading
from perdure.runtime.record import LogRecord, Runtime


@attrs.define(eq=False)
class EventBatch:
    """The events of instances in memory that arrived in this step of the event loop.

    The code of a turn and that of its caller do not fit into the innermost cache of a processor together: decided one
    after the other, the same calls take a fifth less time. The commits of the batch leave as one group, at once.

    Attributes:
        runtime: ends the step.
        commits: writes the transitions of the turns.
        rows: know whether rows in memory are mostly the stored ones.
        decide: decides the turn of an instance's event; None if there is nothing to conclude. It raises nothing.
        conclude: begins to commit a turn that is decided; it raises nothing.
    """

    runtime: Runtime
    commits: Commits
    rows: Residents
    decide: Callable[[Resident], tuple[Item, Begun | Reading] | None]
    conclude: Callable[[Resident, Item, Begun | Reading], None]
    _has_groups: bool = attrs.field(init=False)
    _residents: list[Resident] = attrs.Factory(list[Resident])
    _context: Context = attrs.Factory(copy_context)  # of the engine: the batch is of no single caller

    def __attrs_post_init__(self) -> None:
        self._has_groups = self.commits.waits

    def take(self, resident: Resident, item: Item) -> bool:
        """Take an event whose instance is in memory, to decide it at the end of this step; return whether it is one.

        A store that never waits gets each commit at once, so nothing is gained by a batch. Neither is where other
        engines write the same instances: their rows are read again, and each read would wait for the end of the step.
        """
        if type(item.request.command) is not resident.job.fast_event or not self._has_groups:
            return False
        if (resident.loaded is None and resident.flight is None) or not self.rows.are_current:
            return False
        resident.state, resident.undecided = "busy", item
        self._residents.append(resident)
        if len(self._residents) == 1:
            self._decide_soon()
        return True

    def _decide_soon(self) -> None:
        try:
            self.runtime.at_step_end(self._end_step)
        except Exception as defect:  # noqa: BLE001 - of the engine: a batch that is never decided blocks its callers
            self.runtime.log(LogRecord("error", "internal error before a batch", {"error": repr(defect)}))
            self._end_step()

    def _end_step(self) -> None:
        batch, self._residents = self._residents[:LARGEST], self._residents[LARGEST:]
        if self._residents:
            self._decide_soon()
        self._context.copy().run(self._decide, batch)  # a variable that a handler sets reaches no later batch

    def _decide(self, batch: list[Resident]) -> None:
        self.commits.gather()
        try:
            decided = [self.decide(resident) for resident in batch]
            for resident, turn in zip(batch, decided, strict=True):
                if turn is not None:
                    self.conclude(resident, *turn)
        finally:
            self.commits.leave()
