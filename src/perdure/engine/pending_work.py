"""The work that the engine has accepted and not finished, as the dispatcher counts it.

Callers wait here for room, an engine that stops waits here until no instance is busy, and claims that no run holds
wait here for their recovery.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.mailbox.instance_cell import NOTHING_WAITS, InstanceCell
from perdure.engine.runs.concurrency import ConcurrencyLimits
from perdure.engine.runs.run_executor import broken_run_rule
from perdure.jobs.definition import AnyDefinition
from perdure.runtime.record import Future, Runtime, Timer
from perdure.values.address import Address
from perdure.values.errors import Overloaded
from perdure.values.limits import Limits
from perdure.values.listings import InFlight

Before: TypeAlias = Address | None
"""The full queue: an instance's mailbox, or None for the engine's own."""


@attrs.define
class AdmissionQueue:
    """One first-in-first-out queue per full mailbox, and one for the engine.

    A caller that is admitted checks again whether there is room, and waits in the other queue if that one is full.

    Attributes:
        runtime: creates the futures that callers wait for.
        queues: the callers that wait.
    """

    runtime: Runtime
    queues: dict[Before, deque[Future[Any]]] = attrs.Factory(dict[Before, deque[Future[Any]]])

    @property
    def waiting(self) -> int:
        """How many callers wait."""
        return sum(not called.done() for queue in self.queues.values() for called in queue)

    async def wait(self, before: Before) -> None:
        """Wait to be admitted. A caller that is cancelled after its admission admits the next one."""
        called = self.runtime.future()
        self.queues.setdefault(before, deque()).append(called)
        try:
            await called
        except self.runtime.cancelled:
            # Its admission would be lost with it, and the next caller would wait for room that is there.
            if called.done() and not called.cancelled():
                self.call(before)
            raise

    def call(self, before: Before) -> None:
        """Admit a queue's first caller, because there is room for one."""
        queue = self.queues.get(before)
        while queue:
            called = queue.popleft()
            if not queue:
                del self.queues[before]
            # A caller that was cancelled leaves its future in the queue: the next one is admitted instead.
            if not called.done():
                called.set_result(None)
                return

    def call_all(self) -> None:
        """Admit all callers: the engine accepts no more requests, which they find out themselves."""
        for before in tuple(self.queues):
            while before in self.queues:
                self.call(before)


def overload(entry: MailboxEntry, cell: InstanceCell | None, pending: int, limits: Limits) -> Overloaded | None:
    """Return why there is no room for a request. None if there is.

    Args:
        entry: the request. Requests that count nothing have other limits.
        cell: its instance, if it is in memory.
        pending: the requests that wait or are being served.
        limits: the engine's limits.
    """
    if not entry.pending_weight:
        return None
    if cell is not None and len(cell.waiting) >= limits.mailbox_size:
        return Overloaded(f"mailbox of {cell.address}", limits.mailbox_size)
    if pending >= limits.max_pending and entry.request.inbound is None:  # the outbox has its own limit
        return Overloaded("the engine's queue", limits.max_pending)
    return None


@attrs.define(eq=False)
class BusyInstances:
    """The instances with a waiting request, a turn or a run in progress, or a pending commit that is not durable.

    Attributes:
        runtime: makes the futures for callers that wait until all work has ended.
    """

    runtime: Runtime
    cells: dict[InstanceCell, None] = attrs.Factory(dict[InstanceCell, None])
    _emptied: list[Future[None]] = attrs.Factory(list[Future[None]])

    def forget(self, cell: InstanceCell) -> None:
        """Note that an instance has no work."""
        self.cells.pop(cell, None)
        if not self.cells:
            self._tell()

    async def emptied(self) -> None:
        """Wait until no instance has work."""
        if self.cells:
            self._emptied.append(emptied := self.runtime.future())
            await emptied

    def broken_rule(self, cache: InstanceCache, pending: int, batch: Collection[InstanceCell] = ()) -> str | None:
        """Return the first rule that an engine's cells break, with the cell. None if all are legal.

        Beside each cell's rules, `cells` are exactly those with work: one that is missing is dropped from memory
        with its requests, and one that stays keeps the engine from stopping. Each is its instance's only cell: a
        second one would execute turns beside the first. The engine counts the requests that the cells hold: a count
        that is too high rejects callers while nothing waits.

        Args:
            cache: the engine's cells.
            pending: how many requests the engine counts.
            batch: the cells whose turns begin when the step ends.
        """
        for cell in {**dict.fromkeys(cache.all_cells()), **self.cells}:
            rule = broken_cell_rule(cell)
            # Its event was queued again behind those of a commit that failed; the end of the step serves them.
            if rule == SERVES and cell.waiting and cell in batch:
                rule = None
            if rule is None and (cell in self.cells) != (cell.state == "busy" or not cell.is_empty):
                rule = "the busy instances are those with work"
            if rule is None and cache.get(cell.address) is not cell:
                rule = "an instance with work is in memory once"
            if rule is not None:
                return f"{rule}: {cell.summary}"
        held = sum(cell.pending_weight for cell in self.cells)
        return None if held == pending else f"each request is counted once: {pending} are counted, {held} are held"

    def close_intake(self) -> None:
        """Answer the requests that wait, because the engine stops."""
        for cell in self.cells:
            cell.close_intake()

    def stop_runs(self) -> None:
        """Cancel every run in progress and release its claim."""
        # A copy: a cell without work leaves the dict.
        for cell in tuple(self.cells):
            cell.stop_runs("released")

    def leave(self) -> tuple[Address, ...]:
        """Abandon the runs that ignored their cancellation, and return their instances.

        Their claims stay in the store. Their callers receive ``OutcomeUnknown``. Other requests have changed nothing,
        and fail with ``EngineClosed``.
        """
        left = tuple(self.cells)
        for cell in left:
            cell.leave()
        # Cleared although work remains: the stop waits for these cells, and their runs ignore every cancellation.
        self.cells.clear()
        self._tell()
        return tuple(cell.address for cell in left)

    def counted(self, gates: ConcurrencyLimits, requests: int, waiting_for_room: int, claims_left: int) -> InFlight:
        """Count the accepted and unfinished work. Any thread may call this.

        Args:
            gates: the concurrency limits.
            requests: how many requests are pending.
            waiting_for_room: how many callers wait for room.
            claims_left: how many claims are recovered soon.
        """
        # A copy, made at once: another thread may ask, and the engine changes the dict meanwhile.
        busy = tuple(self.cells)
        return InFlight(
            instances=tuple(cell.address for cell in busy),
            requests=requests,
            programs=sum(len(cell.runs) for cell in busy),
            slots=gates.held,
            waiting_for_slot=gates.waiting,
            waiting_for_room=waiting_for_room,
            claims_to_recover=claims_left,
        )

    def _tell(self) -> None:
        emptied, self._emptied = self._emptied, []
        for future in emptied:
            if not future.done():
                future.set_result(None)


def broken_cell_rule(cell: InstanceCell) -> str | None:
    """Return the first rule in `CELL_RULES` that an instance's cell breaks, or in `RUN_RULES` one of its runs. Or None.

    These states are legal between two event loop steps, when no call that is due soon is left. ``held`` are the
    entries in `served` except the one in `background`.

    ========================================  =====  ==========  =========  ======  =============  ========
    what happens                              state  held        undecided  run     pending        waiting
    ========================================  =====  ==========  =========  ======  =============  ========
    nothing                                   idle   -           -          -       -              -
    a commit is not durable                   idle   -           -          -       set            any
    the row is read, perhaps after rivals on  busy   -           an entry   -       set, or not    any
    a shared store, or the step ends soon
    a run: its slot, claim, program or end    busy   an entry    -          a run   -              any
    a job is accepted together with its run   busy   2 entries   -          a run   -              any
    ========================================  =====  ==========  =========  ======  =============  ========

    An event that waits for the end of the step may wait in `waiting` instead of `undecided`, if the commit that it
    found pending has failed. `BusyInstances.broken_rule` knows those cells.

    Beside each state a run may be in progress in the background: then `background` is that run, and `served` holds its
    entry. When it has ended, its end waits in `waiting` or in `deferred`. `deferred` is not empty only while a run is
    in progress, or a timer looks again for another engine's run. `RunExecutor` has the states of a run.

    The testing kit's worlds assert this before each step. An engine in production never calls it.
    """
    broken = next((rule for rule, holds in CELL_RULES if not holds(cell)), None)
    runs = [run for run in (cell.run, cell.background) if run is not None]
    return broken or next(filter(None, map(broken_run_rule, runs)), None)


def _programs(cell: InstanceCell, place: Literal["mailbox", "background"]) -> int:
    return sum(run.place == place for run in cell.runs)


SERVES: Final = "a busy cell serves a request, or reads its row for one"

CELL_RULES: Final[tuple[tuple[str, Callable[[InstanceCell], bool]], ...]] = (
    (
        "an idle cell has no turn in progress",
        lambda cell: cell.state == "busy" or (cell.run is None and cell.undecided is None and cell.held == 0),
    ),
    (
        SERVES,
        lambda cell: cell.state == "idle" or (cell.held > 0) != (cell.undecided is not None),
    ),
    (
        "a run holds the mailbox only while it answers a request",
        lambda cell: cell.run is None or cell.held > 0,
    ),
    (
        "requests wait only behind a turn or a pending commit",
        lambda cell: cell.state == "busy" or not cell.waiting or cell.pending is not None,
    ),
    (
        "a pending commit is of this cell, and of at least one turn",
        lambda cell: cell.pending is None or (cell.pending.cell is cell and bool(cell.pending.steps)),
    ),
    (
        "a program runs on a committed row",
        lambda cell: cell.pending is None or not _programs(cell, "mailbox"),
    ),
    (
        "the mailbox has at most one program, and the background another one",
        lambda cell: (
            _programs(cell, "mailbox") <= (cell.run is not None)
            and _programs(cell, "background") <= (cell.background is not None)
        ),
    ),
    (
        "a claim in progress has a turn, a task or an end that settles it",
        lambda cell: not cell.running or cell.settles_claims,
    ),
    (
        # A background run that ends while the engine stops has no claim in progress any more. Its end wakes them.
        "requests are deferred only while a claim or a background run is in progress, or until a timer queues them",
        lambda cell: (
            cell.background is not None
            or all(cell.running or entry.is_end or entry.elsewhere_retries for entry in cell.deferred)
        ),
    ),
    (
        "a request is in one place",
        lambda cell: len({id(entry) for entry in cell.entries}) == len(cell.entries),
    ),
    (
        "a kept decoded state is the one of the kept row",
        lambda cell: cell.decoded is None or (cell.row is not None and cell.decoded.text == cell.row.state),
    ),
    (
        "a cell without a row weighs nothing, and one with a row is counted",
        lambda cell: (cell.weight > 0) == (cell.row is not None),
    ),
    (
        "a cell without work has no queue and no program",
        lambda cell: cell.state == "busy" or not cell.is_empty or (cell.waiting is NOTHING_WAITS and not cell.runs),
    ),
)
"""What holds for each cell between two event loop steps: the rule, and whether a cell keeps it."""


CLAIM_LEFT_RETRY_MS = 1_000
"""How long after a failed commit the engine tries to settle the run again."""


@attrs.define
class ClaimsLeft:
    """The instances whose claims are recovered soon."""

    runtime: Runtime
    recover: Callable[[AnyDefinition, Address], object]
    _timers: dict[Address, Timer] = attrs.Factory(dict["Address", "Timer"])

    @property
    def count(self) -> int:
        """How many instances wait."""
        return len(self._timers)

    def add(self, cell: InstanceCell) -> None:
        """Recover an instance after a pause, unless it is already waiting for that."""
        address = cell.address
        # One timer for each instance: a store that is down would otherwise collect one for each failed commit.
        if address in self._timers:
            return

        def again() -> None:
            # First: the recovery may fail again, and sets the next timer.
            del self._timers[address]
            self.recover(cell.job, address)

        self._timers[address] = self.runtime.call_later(CLAIM_LEFT_RETRY_MS, again)

    def close(self) -> None:
        """Recover none: the next start does."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
