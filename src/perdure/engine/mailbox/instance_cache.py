"""The instances in this process: found by their address, and bounded in bytes. Beside them, the keys that it knows.

A request whose idempotency key is here is answered from here. Any other is decided as if its key were new, and the
store refuses the commit if it is not: then the engine looks the key up, and decides again.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs
from returns.result import Result, Success

from perdure.engine.mailbox.entry import MailboxEntry
from perdure.engine.mailbox.instance_cell import (
    DECODED_FACTOR,
    OVERHEAD_BYTES,
    Begun,
    EngineRun,
    InstanceCell,
    PendingCommit,
    Stored,
)
from perdure.jobs.checkpoint import KeptPrograms
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AlarmDue
from perdure.jobs.step import Commit, Execute
from perdure.programs.future import answer_of, converted
from perdure.runtime.record import DEFAULT_SIZES, Future, Sizes
from perdure.stores.contract import Store, load_one, overlay
from perdure.stores.values import Health
from perdure.values.address import Address, Job
from perdure.values.errors import StoreError
from perdure.values.excerpt import REFERENCE
from perdure.values.instance import Fence, Instance
from perdure.values.transition import AS_EXPECTED, KeepInstance, Loaded, Put, Remembered
from perdure.values.turn_inputs import Decoded

NO_INSTANCE = Loaded()

MOST_CURRENT = 0.9
"""The part of turns that must find a current row, so that they are decided on kept rows.

A refused commit costs more than a read, and few turns beside many that read make the groups of both smaller.
"""


@attrs.define
class InstanceCache:
    """Keeps the rows of instances that had a turn, so that the next turn and a read find them in memory.

    No other process writes to an owned store, so a row that a commit wrote is the stored one until the next commit.
    After a conflict or an unknown outcome it is read again. Of a shared store a kept row may be out of date: a turn is
    decided on it if its commit compares the version, while most turns find a current row.

    Attributes:
        store: stores the instances.
        size_bytes: the size of all rows and decoded states.
        phase: whether rows are kept.
        watched: the instances whose next change a run waits for, each with the futures that are told.
        max_bytes: the bound. Rows of instances with turns in progress count, and are not dropped.
        max_unasked: the bound of the instances at rest of which no caller asked anything.
        may_use_rows: whether a kept row is the stored one: nothing else writes to an owned store.
        sizes: the internal sizes.
        programs: the programs that runs have kept for the next ones.
    """

    store: Store
    size_bytes: int = 0
    phase: Literal["open", "closed"] = "open"
    max_bytes: int = attrs.field(init=False)
    sizes: Sizes = DEFAULT_SIZES
    # Few: the read of due alarms brings the row of each, so a kept row saves only the decoding of its state. Instances
    # whose alarm fires once would fill the memory, and the garbage collector would look at each several times.
    max_unasked: int = attrs.field(init=False)
    may_use_rows: bool = attrs.field(init=False)
    _jobs: dict[Job, dict[str, InstanceCell]] = attrs.Factory(dict[Job, dict[str, InstanceCell]])
    watched: dict[Address, tuple[Future[None], ...]] = attrs.Factory(dict[Address, "tuple[Future[None], ...]"])
    _line: OrderedDict[InstanceCell, None] = attrs.Factory(OrderedDict[InstanceCell, None])  # in the order of dropping
    _unasked: OrderedDict[InstanceCell, None] = attrs.Factory(OrderedDict[InstanceCell, None])  # those at rest
    _reads: list[set[Address]] = attrs.Factory(list[set[Address]])
    _current: float = 1.0  # the part of turns for which a current row was kept, lately
    _lately: int = attrs.field(init=False)
    programs: KeptPrograms = attrs.Factory(lambda cache: KeptPrograms.of(cache.sizes), takes_self=True)

    def __attrs_post_init__(self) -> None:
        self.may_use_rows = self.store.capabilities.ownership == "owned"
        self.max_bytes = self.store.cache_bytes
        self.max_unasked, self._lately = self.sizes.unasked_instances, self.sizes.lately

    # ------------------------------------------------------------ one instance
    def get(self, address: Address) -> InstanceCell | None:
        """Return an instance; None if this process has nothing of it."""
        cells = self._jobs.get((address.kind, address.name))
        return None if cells is None else cells.get(address.id)

    def find(self, job: AnyDefinition, id_: object) -> InstanceCell | None:
        """Return an instance by its id, which was checked if it is here; None if this process has nothing of it."""
        cells = self._jobs.get((job.kind, job.name))
        return cells.get(id_) if cells is not None and type(id_) is str else None

    def at(self, job: AnyDefinition, address: Address) -> InstanceCell:
        """Return an instance, from now on in this process."""
        cells = self._jobs.get((address.kind, address.name))
        if cells is None:
            cells = self._jobs[address.kind, address.name] = {}
        cell = cells.get(address.id)
        if cell is None:
            cell = cells[address.id] = InstanceCell(address, job)
        return cell

    def all_cells(self) -> list[InstanceCell]:
        """Return every instance in this process."""
        return [cell for cells in self._jobs.values() for cell in cells.values()]

    def keep(self, cell: InstanceCell, loaded: Loaded, decoded: Decoded | None = None) -> None:
        """Keep the committed row of an instance."""
        if self._reads:
            self._note_change(cell.address)
        instance = loaded.instance
        weight = 0
        if instance is not None:
            weight = (size := len(instance.state)) + OVERHEAD_BYTES
            if instance.data:
                weight += len(instance.data)
            if decoded is not None:
                weight += DECODED_FACTOR * size
        before, cell.weight = cell.weight, weight
        self.size_bytes += weight - before
        cell.loaded, cell.decoded = loaded, decoded
        if not before and weight:
            self._line[cell] = None
        elif before and not weight:
            self._line.pop(cell, None)

    def row(self, address: Address) -> Instance | None:
        """Return the committed row of an instance, if it is in memory."""
        cell = self.get(address)
        return None if cell is None else cell.row

    def running(self, address: Address) -> tuple[str, ...]:
        """Return the ids of the runs of an instance that are in progress in this process."""
        cell = self.get(address)
        return () if cell is None else cell.running

    def waits_outside(self, address: Address) -> bool:
        """Whether a program of the instance is in progress. A caller on the event loop sees it only while it waits."""
        cell = self.get(address)
        return cell is not None and bool(cell.runs)

    def loaded(self, cell: InstanceCell, loaded: Loaded) -> None:
        """Keep the row that was read for a turn, unless it is known or a commit has written a newer one meanwhile."""
        instance, kept = loaded.instance, cell.loaded
        # A commit that was answered during the read has written a newer row than the read may have found.
        if kept is not None and self.may_use_rows:
            return
        # The read may be older than a background run's commit, whose row was doubted since.
        if cell.is_doubted:
            return
        if kept is not None and version_of(kept.instance) == version_of(instance):
            self._note_current(1.0)
            return
        self._note_current(0.0)
        self.keep(cell, NO_INSTANCE if instance is None else Loaded(instance=instance))

    # ------------------------------------------------------------ rows that may be out of date
    @property
    def are_current(self) -> bool:
        """Whether the rows that are kept are the stored ones, or have mostly been, lately."""
        return self.may_use_rows or self._current >= MOST_CURRENT

    def may_decide(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Return whether a turn may be decided on the row that is kept. On a shared store, note that it is.

        The row of an alarm was read a moment ago, by the engine that fires it.
        """
        if cell.loaded is None or entry.request.idempotency_key is not None:
            return False
        if self.may_use_rows:
            return True
        if type(entry.request.command) is not AlarmDue:
            if not self.are_current:
                return False
            self._note_current(1.0)
        entry.row_source = "kept"
        return True

    def may_stand(self, entry: MailboxEntry, begun: Begun) -> bool:
        """Return whether a decision made on a cached row is safe to keep; if not, reload and decide again.

        A commit compares the row's version. An answer without a commit would rely on a row that another engine may have
        changed.
        """
        if entry.row_source == "read" or type(begun) is EngineRun:
            return True
        if type(begun) is Commit and type(begun.transition.write) is not KeepInstance:
            return True
        entry.row_source = "read"
        return False

    def note_conflict(self, entries: Sequence[MailboxEntry]) -> None:
        """Count a conflict of turns, unless they were decided on a kept row: that was out of date, without a rival."""
        # An outdated row is no rival: counted, a few of them would fail a request that competes with none.
        rivals = 1 if entries[0].row_source == "read" else 0
        entries[0].row_source = "read"
        for entry in entries:
            entry.conflicts += rivals

    def _note_current(self, found: float) -> None:
        self._current += (found - self._current) / self._lately

    def on_answer(self, pending: PendingCommit, answer: Stored) -> None:
        """Keep the row that a pending commit wrote; or read it again, unless the outcome is certain."""
        write, cell = pending.transition.write, pending.cell
        if cell is None or type(write) is KeepInstance:
            return
        # After a conflict or an unknown outcome the kept row proves nothing. Kept, each later turn would conflict too.
        if not isinstance(answer, Success):
            self.doubt(cell)
        elif type(write) is Put:
            expected = pending.transition.expected
            if answer is AS_EXPECTED and expected is not None:
                fence = Fence(expected.incarnation, expected.version + 1)
            else:
                fence = answer.unwrap()
            instance = as_stored(write.instance, fence)
            loaded = pending.loaded if instance is write.instance else Loaded(instance=instance)
            self.keep(cell, loaded, pending.decoded)
            if cell.runs and pending.steps:
                cell.interrupt_by([entry for entry, _ in pending.steps], instance)
        else:
            self.programs.drop(cell.address)
            self.keep(cell, NO_INSTANCE)
        if self.watched:
            self._tell_of(cell.address)

    # ------------------------------------------------------------ changes that runs wait for
    def watch(self, address: Address, change: Future[None]) -> Future[None]:
        """Complete a future at the next change of an instance that has a run."""
        self.watched[address] = (*self.watched.get(address, ()), change)
        return change

    def unwatch(self, address: Address, change: Future[None]) -> None:
        """Forget a future."""
        left = tuple(other for other in self.watched.pop(address, ()) if other is not change)
        if left:
            self.watched[address] = left

    def others_wrote(self) -> None:
        """Let all runs that watch read their rows again, because another engine may have written them."""
        for address in tuple(self.watched):
            self._tell_of(address)

    def _tell_of(self, address: Address) -> None:
        for change in self.watched.pop(address, ()):
            if not change.done():
                change.set_result(None)

    # ------------------------------------------------------------ decoded states
    def note_decoded(self, cell: InstanceCell, execute: Execute) -> None:
        """Keep the state that a turn has decoded."""
        row, draft = cell.row, execute.draft
        if row is None or cell.decoded is not None or cell.pending is not None or not self.max_bytes:
            return
        if execute.instance.state != row.state or row.state[:1] == REFERENCE:
            return  # it was read for a key, and a checkpoint has been written meanwhile
        if cell.job.state_of_run(row, execute.claim) is row.state and draft.codec.may_be_kept(draft.state):
            self.keep(cell, Loaded(instance=row), Decoded(row.state, draft.state, draft.opened))

    def doubt_all(self) -> None:
        """Read all rows again before their next turns, those too that are being read or that did not exist."""
        # Reads in progress may return rows from before the doubt: without this, `end_read` would keep them.
        self._reads.clear()
        for cell in self.all_cells():
            self.doubt(cell)
            if cell.state == "idle" and cell.is_empty:
                self._remove(cell)

    def doubt(self, cell: InstanceCell) -> None:
        """Read the row again before its next turn: it may have changed."""
        if self._reads:
            self._note_change(cell.address)
        cell.is_doubted = True
        self.size_bytes -= cell.weight
        cell.loaded, cell.decoded, cell.weight, cell.keys, cell.keys_held = None, None, 0, None, None
        self._line.pop(cell, None)

    def rest(self, cell: InstanceCell) -> None:
        """Drop rows beyond the bounds, now that an instance has no turn in progress."""
        if cell.weight == 0:
            self._remove(cell)
        elif cell.use == "never":
            unasked = self._unasked
            if cell in unasked:
                unasked.move_to_end(cell)
            else:
                unasked[cell] = None
                if len(unasked) > self.max_unasked:
                    self._drop_unasked()
        if self.size_bytes > self.max_bytes:
            self._drop_rows()

    def _drop_unasked(self) -> None:
        """Drop the row that has been kept longest without a request of a caller, unless its instance is at work."""
        cell, _ = self._unasked.popitem(last=False)
        # A cell with work is in the queue of its own turns: dropped, the next request would make a second cell.
        if cell.use == "never" and cell.state == "idle" and cell.is_empty:
            self._drop(cell)

    def _drop(self, cell: InstanceCell) -> None:
        """Forget an instance without work."""
        self.size_bytes -= cell.weight
        cell.loaded, cell.decoded, cell.weight, cell.keys, cell.keys_held = None, None, 0, None, None
        self._line.pop(cell, None)
        self._remove(cell)

    def close(self) -> None:
        """Drop all rows, and keep none from now on: the store may have another owner."""
        self.phase, self.max_bytes = "closed", 0
        self.programs.close()
        self._drop_rows()

    def _drop_rows(self) -> None:
        """Drop rows of instances without turns until the bound is met: first those of which no caller asked again."""
        limit, looks = self.max_bytes, 2 * len(self._line)
        # `looks` bounds the walk: if all rows are in use, the bound is exceeded instead of an endless loop.
        while self.size_bytes > limit and looks:
            looks -= 1
            cell = next(iter(self._line))
            if cell.state == "idle" and cell.is_empty and (cell.use != "again" or limit == 0):
                self._drop(cell)
            else:
                cell.use = "once"
                self._line.move_to_end(cell)

    def _remove(self, cell: InstanceCell) -> None:
        address = cell.address
        cells = self._jobs.get((address.kind, address.name))
        # Another cell of the address may have taken its place since: removing that one would lose its queue.
        if cells is not None and cells.get(address.id) is cell:
            del cells[address.id]
            self._unasked.pop(cell, None)

    # ------------------------------------------------------------ reads beside turns
    def loaded_row(self, address: Address) -> Loaded | None:
        """Return the committed row of an instance if it is in memory, and no other engine may have written it."""
        cell = self.get(address)
        return cell.loaded if cell is not None and self._is_owned else None

    async def load(self, address: Address) -> Result[Loaded, StoreError]:
        """Read the committed row of an instance, from memory if it is there."""
        cell = self.get(address)
        if cell is not None and cell.loaded is not None and self._is_owned:
            return Success(cell.loaded)
        return await answer_of(load_one(self.store, address))

    def begin_read(self) -> set[Address]:
        """Begin a read of several rows, and return the set of the instances that change meanwhile; end it."""
        changed = set[Address]()
        self._reads.append(changed)
        return changed

    def end_read(self, changed: set[Address], jobs: Mapping[Job, AnyDefinition], rows: Iterable[Instance]) -> None:
        """Keep the rows that were read, for the turns that follow, except those that have changed since.

        None is kept if all were doubted meanwhile.

        Args:
            changed: the result of `begin_read`.
            jobs: the served definitions, by kind and name.
            rows: the rows.
        """
        # A row that changed during the read may be older than the kept one, or than a commit on its way.
        reads, self._reads = self._reads, [other for other in self._reads if other is not changed]
        for row in rows if self.max_bytes and len(self._reads) < len(reads) else ():
            address = row.address
            job = jobs.get((address.kind, address.name))
            if job is not None and address not in changed:
                cell = self.at(job, address)
                if cell.state == "idle" and (cell.loaded is None or self._is_newer(row, cell)):
                    self.keep(cell, Loaded(instance=row))
        if self.size_bytes > self.max_bytes:
            self._drop_rows()

    def _is_newer(self, row: Instance, cell: InstanceCell) -> bool:
        return not self.may_use_rows and version_of(row) > version_of(cell.row)

    @property
    def _is_owned(self) -> bool:
        lost = self.store.lost
        return self.phase == "open" and self.may_use_rows and (lost is None or not lost.done())

    def _note_change(self, address: Address) -> None:
        for changed in self._reads:
            changed.add(address)

    # ------------------------------------------------------------ health
    def shown(self) -> Store:
        """Return the store with the size of the rows in memory in its health."""
        health = self.store.health
        return overlay(self.store, health=lambda: converted(health(), self._sized))

    def _sized(self, health: Health) -> Health:
        return attrs.evolve(health, cache_bytes=self.size_bytes, max_cache_bytes=self.max_bytes)


def version_of(row: Instance | None) -> tuple[int, int]:
    """Return the incarnation and the version of a row, in their order."""
    return (0, 0) if row is None else (row.incarnation, row.version)


def as_stored(instance: Instance, fence: Fence) -> Instance:
    """Return an instance as its row is now: the store assigns the incarnation of a new one."""
    if instance.incarnation == fence.incarnation and instance.version == fence.version:
        return instance
    return instance.changed(incarnation=fence.incarnation, version=fence.version)


MOST_NEW = 0.9
"""The part of keyed requests that must bring a new key, so that they are decided before their keys are looked up.

A commit that is refused because of a known key costs more than a read, and its group is written one by one.
"""


@attrs.define
class KnownKeys:
    """Keeps the keys that commits of this process have stored, at their instances.

    Attributes:
        cache: knows whether other engines may store keys, too.
        max_keys: how many keys an address may hold.
    """

    cache: InstanceCache
    max_keys: int
    _kept: deque[tuple[dict[str, Remembered], str]] = attrs.Factory(deque[tuple[dict[str, Remembered], str]])
    _new: float = 1.0  # the part of keyed requests whose key was new, lately
    _sizes: Sizes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sizes = self.cache.sizes

    def may_skip(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Return whether a keyed request may be decided before its key is looked up in the store."""
        # After a conflict the key may be a known one: decided again as a new one, it would conflict for ever.
        if cell.keys_held is None or entry.conflicts or not self.cache.may_use_rows or self._new < MOST_NEW:
            return False
        pending = 0 if cell.pending is None else len(cell.pending.transition.remember)
        return cell.keys_held + pending < self.max_keys

    def find(self, cell: InstanceCell, key: str, now_ms: int) -> Remembered | None:
        """Return the result of a key that is here and has not expired."""
        known = None if cell.pending is None else cell.pending.remembered(key)
        if known is None and cell.keys is not None:
            known = cell.keys.get(key)
        return known if known is not None and now_ms < known.expires_ms else None

    def looked_up(self, cell: InstanceCell, loaded: Loaded) -> None:
        """Note the result of a look at a key in the store, and how many keys its address holds."""
        # A run in progress may store one more.
        cell.keys_held = loaded.keys_held + len(cell.running)
        self._note(1.0 if loaded.remembered is None else 0.0)

    def stored(self, cell: InstanceCell, remembered: Sequence[Remembered]) -> None:
        """Keep the keys that a durable commit has stored."""
        if cell.keys_held is not None:
            cell.keys_held += len(remembered)
        if not self.cache.max_bytes or not self.cache.may_use_rows:
            return
        if cell.keys is None:
            cell.keys = {}
        for one in remembered:
            self._note(1.0)
            self._keep(cell.keys, one)
        while len(self._kept) > self._sizes.known_keys:
            keys, key = self._kept.popleft()
            keys.pop(key, None)

    def _keep(self, keys: dict[str, Remembered], remembered: Remembered) -> None:
        keys.pop(remembered.key, None)
        if len(remembered.answer) > self._sizes.known_answer:
            return
        keys[remembered.key] = remembered
        self._kept.append((keys, remembered.key))
        # The store has emptied the answers of older ones, and a repeat must not depend on this memory.
        if len(keys) > remembered.full_answers:
            del keys[next(iter(keys))]

    def _note(self, new: float) -> None:
        self._new += (new - self._new) / self._sizes.lately
