"""Decides the events together that arrive within one event-loop step."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context

import attrs

from perdure.engine.commits.turn_commits import Commits
from perdure.engine.mailbox.entry import Begun, MailboxEntry, Reading
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell
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
        cells: the instances whose events are decided when the step ends.
    """

    runtime: Runtime
    commits: Commits
    rows: InstanceCache
    decide: Callable[[InstanceCell], tuple[MailboxEntry, Begun | Reading] | None]
    conclude: Callable[[InstanceCell, MailboxEntry, Begun | Reading], None]
    _has_groups: bool = attrs.field(init=False)
    _largest: int = attrs.field(init=False)
    cells: list[InstanceCell] = attrs.Factory(list[InstanceCell])
    _context: Context = attrs.Factory(copy_context)  # of the engine: the batch is of no single caller

    def __attrs_post_init__(self) -> None:
        self._has_groups, self._largest = self.commits.has_groups, self.runtime.sizes.batch

    def take(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Take an event whose instance is in memory, to decide it at the end of this step; return whether it is one.

        A store that never waits gets each commit at once, so nothing is gained by a batch. Neither is where other
        engines write the same instances: their rows are read again, and each read would wait for the end of the step.
        """
        if type(entry.request.command) is not cell.job.event or not self._has_groups:
            return False
        if cell.loaded is None and cell.pending is None:
            return False
        if not self.rows.may_use_rows and not self.rows.are_current:
            return False
        # Busy from now on: a request that arrives in the same step queues behind this one.
        cell.state, cell.undecided = "busy", entry
        is_first = not self.cells
        self.cells.append(cell)
        if is_first:
            self._decide_soon()
        return True

    def _decide_soon(self) -> None:
        try:
            self.runtime.at_step_end(self._end_step)
        except Exception as defect:  # noqa: BLE001 - of the engine: a batch that is never decided blocks its callers
            self.runtime.log(LogRecord("error", "internal error before a batch", {"error": repr(defect)}))
            self._end_step()

    def _end_step(self) -> None:
        # The rest in the next step: a batch without a bound would keep timers and sockets waiting.
        batch, self.cells = self.cells[: self._largest], self.cells[self._largest :]
        if self.cells:
            self._decide_soon()
        self._context.copy().run(self._decide, batch)  # a variable that a handler sets reaches no later batch

    def _decide(self, batch: list[InstanceCell]) -> None:
        self.commits.hold_back()
        # Decide all, then commit all: turn and commit code do not fit together into the innermost processor cache.
        try:
            decided = [self.decide(cell) for cell in batch]
            for cell, turn in zip(batch, decided, strict=True):
                if turn is not None:
                    self.conclude(cell, *turn)
        finally:
            self.commits.flush()
