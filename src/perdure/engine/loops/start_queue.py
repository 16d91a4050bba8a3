"""Begins a job's queued starts, the oldest first, while fewer instances than its ``concurrency`` are under way.

The instances that have a place are an entry of the store, written only over the entry that was read. A start gets its
place there before it begins, and an instance that has ended leaves its place to the next one. The rows decide whether
an instance is still under way: an engine that finds no room reads them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.dispatcher import Dispatcher
from perdure.engine.loops.lane_feeder import FiredTurn
from perdure.engine.loops.waker import Waker
from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswer
from perdure.engine.runs.concurrency import Holds
from perdure.engine.runs.named_limits import answers_of
from perdure.engine.runs.permits import FOREVER_MS
from perdure.jobs.definition import START_LANE, AnyDefinition
from perdure.jobs.request import ALARM, AlarmDue, Request
from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store, StoredLanes, commit_one, load_one
from perdure.stores.values import LoadRequest, Query
from perdure.values.address import Address, Job
from perdure.values.errors import Conflict, InvalidInput, StoreError, StoreUnavailable
from perdure.values.instance import Instance
from perdure.values.status import Status
from perdure.values.times import from_ms
from perdure.values.transition import Loaded, NewKeys, Remembered, Transition

LOOK_MS: Final = 1_000
"""How long after an error of the store, or a start that did not begin, the queue is read again."""

ROW_MS: Final = 10
"""The rows of other engines are read again at most once in this time for each of them, and once in `LOOK_MS`."""

MAX_TRIES: Final = 20
"""How often an entry is written over those of other engines before this one waits a moment."""

KEY: Final = "under way"
"""The idempotency key of an entry."""

_STATUSES: Final[tuple[Status, ...]] = ("running", "retrying", "paused", "parked", "left", "scheduled", "idle")
"""The statuses of instances that may be under way."""


@attrs.define(eq=False, kw_only=True)
class StartQueue:
    """The loop that begins one job's queued starts.

    Attributes:
        runtime: the only interface to time and waiting.
        job: the job. Without a ``concurrency``, it begins all that other code has queued.
        store: has the rows, and remembers the places.
    """

    runtime: Runtime
    dispatcher: Dispatcher
    job: AnyDefinition
    holds: Holds
    store: Store
    lanes: StoredLanes
    wake: Waker
    _places: dict[str, str] = attrs.Factory(dict[str, str])  # the entry: the start's name, by the instance's id
    _others: dict[str, str] = attrs.Factory(dict[str, str])  # under way, and not in the entry that was read
    _ended: dict[str, str] = attrs.Factory(dict[str, str])  # no longer under way
    _begun: set[str] = attrs.Factory(set[str])  # with a place, until the claim is durable
    _entry: Literal["unread", "read"] = "unread"
    _seen_ms: int = 0  # the end of the entry that was read: it grows with each write
    _counted: Literal["none", "some", "all"] = "none"
    _checked_ms: float = -math.inf
    _again_ms: float = math.inf
    _phase: Literal["open", "closed"] = "open"

    @property
    def name(self) -> Job:
        """The job, by kind and name."""
        return self.job.kind, self.job.name

    @property
    def under_way(self) -> int:
        """How many starts have a place, and have not begun."""
        return len(self._begun)

    # ------------------------------------------------------------ changes
    def notice(self, address: Address, after: Instance | None) -> None:
        """Note that an instance was written, or deleted."""
        id_ = address.id
        token = self._places.get(id_, self._others.get(id_))
        if token is not None and not self._is_under_way(after, token):
            self._ended[id_] = token
            self.wake.notify()
        if after is not None and after.lane is not None:
            if after.rank_ms is not None:
                self.wake.notify()
        else:
            # It was claimed, or deleted.
            self._begun.discard(id_)

    def doubt(self) -> None:
        """Read the store again, because it may hold queued starts, and ends, that were not noticed."""
        # An engine that is alone notices all ends, except those of a commit in doubt.
        if self.store.sharing is None:
            self._checked_ms = -math.inf
        self.wake.notify()

    def close(self) -> None:
        """Begin nothing more."""
        self._phase = "closed"

    # ------------------------------------------------------------ the loop
    async def is_needed(self) -> bool:
        """Return whether it must run: for a job without a ``concurrency`` only if other code queues starts."""
        if self.job.most_under_way is not None or self.store.sharing is not None:
            return True
        found = await answer_of(self.lanes.queued(self.name, (START_LANE,), 1))
        # After an error, too: other code may have queued starts.
        return not isinstance(found, Success) or any(lane.instances for lane in found.unwrap())

    async def run(self) -> None:
        """Begin queued starts until the task is cancelled."""
        while True:
            self._again_ms = math.inf
            if self._phase == "open" and self.name not in self.holds.jobs:
                await self._look()
            await self.wake.wait_until(None if self._again_ms == math.inf else int(self._again_ms))

    async def _look(self) -> None:
        most = self.job.most_under_way
        page = self.dispatcher.limits.lane_page
        # Without a limit, the answers of the starts make room for the next ones.
        free = page - len(self._begun) if most is None else most - len(self._holders())
        wanted = max(1, min(page, free))
        # Those that have begun are returned until their claims are durable.
        found = await answer_of(self.lanes.queued(self.name, (START_LANE,), len(self._begun) + wanted))
        if not isinstance(found, Success):
            self._failed("queued starts not read", found.failure())
            return
        rows = [row for lane in found.unwrap() for row in lane.instances if row.address.id not in self._begun]
        if not rows:
            return
        tokens = {row.address: self._token(row) for row in rows}
        known = [row.address for row in rows if tokens[row.address] is not None]
        if most is not None:
            known = await self._placed(known, tokens, most)
        # A row that this code cannot read needs no place: the turn leaves it to other code.
        begin = [*known, *(address for address, token in tokens.items() if token is None)]
        for address in begin:
            self._begin(address, tokens[address] or "")
        # Behind those there may be others that have a place, or need one.
        if begin:
            self.wake.notify()

    def _begin(self, address: Address, token: str) -> None:
        self._begun.add(address.id)
        request = Request(command=AlarmDue(token), action=ALARM.action)
        entry = MailboxEntry(request, FiredTurn(address, self._answered), pending_weight=0)
        self.dispatcher.put(self.job, address, entry)

    def _answered(self, address: Address, _: TurnAnswer) -> None:
        """Read the queue again after a start that has not begun: the store refused its claim, or the job was held."""
        # One that has begun was removed by `notice`.
        if address.id in self._begun:
            self._begun.discard(address.id)
            self._rest()

    def _rest(self) -> None:
        self._again_ms = self.runtime.now_ms() + LOOK_MS
        self.wake.bring_forward(int(self._again_ms))

    def _failed(self, text: str, failure: object) -> None:
        self.runtime.log(LogRecord("error", text, {"error": str(failure)}))
        self._rest()

    # ------------------------------------------------------------ places
    def _token(self, row: Instance) -> str | None:
        try:
            return self.job.queued_start(row)
        except InvalidInput:
            return None

    def _is_under_way(self, row: Instance | None, token: str) -> bool:
        """Return whether an instance needs its place: it has begun, or is the start that got it."""
        if row is None or row.ended_ms is not None:
            return False
        return row.run_count > 0 if row.lane is None else self._token(row) == token

    def _holders(self) -> dict[str, str]:
        """Return the instances that have a place, as far as is known."""
        found = {**self._others, **self._places}
        return {id_: token for id_, token in found.items() if self._ended.get(id_) != token}

    async def _placed(
        self, queued: Sequence[Address], tokens: Mapping[Address, str | None], most: int
    ) -> list[Address]:
        """Return the queued starts that have a place, after the first ones got the free ones."""
        for _ in range(MAX_TRIES):
            if not await self._is_known(most):
                return []
            holders = self._holders()
            waiting = [address for address in queued if holders.get(address.id) != tokens[address]]
            room = most - len(holders)
            if waiting and room <= 0 and self._may_check(holders):
                if not await self._check(holders):
                    return []
                continue
            if waiting and room > 0:
                # All that are under way must be known before a place is taken, not only as many as fill the limit.
                if self._counted != "all":
                    self._counted = "none"
                    continue
                found = {address.id: tokens[address] or "" for address in waiting[:room]}
                stored = await self._write({**holders, **found})
                if stored == "conflict":
                    continue
                if stored == "failed":
                    return []
            return [address for address in queued if self._places.get(address.id) == tokens[address]]
        self._rest()
        return []

    async def _is_known(self, most: int) -> bool:
        """Read the entry, and at the opening the rows that are under way without it."""
        if self._entry == "unread" and not await self._read():
            return False
        return self._counted != "none" or await self._count(most)

    def _may_check(self, holders: Mapping[str, str]) -> bool:
        """Return whether the rows may say more than is known: ends before the opening, or in other engines."""
        pause_ms = math.inf if self.store.sharing is None else max(LOOK_MS, ROW_MS * len(holders))
        may = self._checked_ms + pause_ms <= self.runtime.monotonic_ms() or self._checked_ms == -math.inf
        return may and bool(holders)

    async def _check(self, holders: Mapping[str, str]) -> bool:
        """Read the rows with a place, and note which are no longer under way."""
        self._checked_ms = self.runtime.monotonic_ms()
        ids = list(holders)
        page = self.dispatcher.limits.recovery_page
        for start in range(0, len(ids), page):
            some = ids[start : start + page]
            loads = tuple(LoadRequest(self.job.address(id_)) for id_ in some)
            answers: Sequence[Result[Loaded, StoreError]] = await answers_of(
                self.runtime, partial(self.store.load, loads)
            )
            for id_, answer in zip(some, answers, strict=True):
                if isinstance(answer, Success):
                    if not self._is_under_way(answer.unwrap().instance, holders[id_]):
                        self._ended[id_] = holders[id_]
                # Any other error is that of one row, which keeps its place.
                elif isinstance(answer.failure(), StoreUnavailable):
                    self._failed("instances under way not read", answer.failure())
                    return False
        return True

    async def _count(self, most: int) -> bool:
        """Read the rows that are under way without a place, such as those that began before the job had a limit."""
        found, full, self._others = dict[str, str](), False, {}
        for status in _STATUSES:
            after: Address | None = None
            while not full:
                query = Query(
                    kind=self.job.kind,
                    name=self.job.name,
                    status=status,
                    after=after,
                    limit=self.dispatcher.limits.recovery_page,
                )
                page = await answer_of(self.store.find(query))
                if not isinstance(page, Success):
                    self._failed("instances under way not read", page.failure())
                    return False
                rows: tuple[Instance, ...] = page.unwrap()
                found.update(self._without_place(rows))
                full = len({**found, **self._holders()}) >= most
                if len(rows) < query.limit:
                    break
                after = rows[-1].address
        # One of them may have ended since: the next look without room reads them.
        self._others, self._counted, self._checked_ms = found, "some" if full else "all", -math.inf
        return True

    def _without_place(self, rows: Iterable[Instance]) -> dict[str, str]:
        ids = (row.address.id for row in rows if row.lane is None and self._is_under_way(row, ""))
        return {id_: "" for id_ in ids if id_ not in self._places}

    # ------------------------------------------------------------ the entry
    @property
    def _address(self) -> Address:
        return Address("under_way", self.job.name, self.job.kind)

    async def _read(self) -> bool:
        found: Result[Loaded, StoreError] = await answer_of(
            load_one(self.store, self._address, KEY, self.runtime.now_ms())
        )
        if not isinstance(found, Success):
            self._failed("places not read", found.failure())
            return False
        entry = found.unwrap().remembered
        self._places = {} if entry is None else json.loads(entry.answer)
        self._seen_ms = 0 if entry is None else entry.expires_ms
        self._entry, self._checked_ms = "read", -math.inf
        return True

    async def _write(self, places: dict[str, str]) -> Literal["stored", "conflict", "failed"]:
        """Write the entry over the one that was read."""
        # Later than that of the entry below it: by its end, the store knows which one was read.
        expires_ms = max(FOREVER_MS, self._seen_ms + 1)
        answer = json.dumps(places, separators=(",", ":"))
        entry = Remembered(key=KEY, action=KEY, fingerprint="", answer=answer, expires_ms=expires_ms)
        unread = NewKeys((KEY,), self._seen_ms) if self.store.sharing is not None else None
        write = Transition(address=self._address, remember=(entry,), new_keys=unread)
        stored: Result[Any, Any] = await answer_of(commit_one(self.store, write))
        if isinstance(stored, Success):
            self._places, self._seen_ms, self._others = places, expires_ms, {}
            self._ended = {id_: token for id_, token in self._ended.items() if places.get(id_) == token}
            return "stored"
        self._entry = "unread"  # it may also have been stored
        if isinstance(stored.failure(), Conflict):
            return "conflict"
        self._failed("places not stored", stored.failure())
        return "failed"

    async def oldest(self) -> Result[datetime | None, StoreError]:
        """Return when the first queued start was created."""
        found = await answer_of(self.lanes.queued(self.name, (START_LANE,), 1))
        if not isinstance(found, Success):
            return Failure(found.failure())
        created = [row.created_ms for lane in found.unwrap() for row in lane.instances]
        return Success(from_ms(min(created)) if created else None)


def start_queues(
    dispatcher: Dispatcher, jobs: Mapping[Job, AnyDefinition], store: Store, holds: Holds
) -> dict[Job, StartQueue]:
    """Create the loops of the jobs that may have queued starts.

    Raises:
        StoreUnavailable: the store has no lanes, and a job has a ``concurrency``.
    """
    found: dict[Job, StartQueue] = {}
    for at, job in jobs.items():
        if not job.queues_starts:
            continue
        if store.lanes is not None:
            found[at] = StartQueue(
                runtime=dispatcher.runtime,
                dispatcher=dispatcher,
                job=job,
                holds=holds,
                store=store,
                lanes=store.lanes,
                wake=Waker(dispatcher.runtime),
            )
        elif job.most_under_way is not None:
            raise StoreUnavailable("open the app", f"{store.name} has no lanes, which the concurrency of {job!r} needs")
    return found
