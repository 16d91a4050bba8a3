"""Callers that read beside turns: an instance's row now, its status when a transition reaches it, and named limits.

Each is answered, also if the store does not answer before the engine stops. A durable transition wakes those that wait
for a status: nothing polls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.named_limits import KEY, MAX_CONFLICTS, NamedLimits, answers_of
from perdure.engine.runs.permits import (
    FOREVER_MS,
    NOTHING_STORED,
    PermitsName,
    StoredPermits,
    numbers_address,
    read_numbers,
    totals_of,
    write_numbers,
)
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.redaction import shown_status
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, Runtime
from perdure.stores.contract import NotCommitted, Store
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import Conflict, EngineClosed, InvalidArgument, Overloaded, StoreUnavailable, UnknownLimit
from perdure.values.instance import Fence, Instance
from perdure.values.limits import Rate
from perdure.values.listings import KeyUse, LimitNumbers, NamedLimit
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached, WaitCondition, ticket_parts
from perdure.values.transition import Loaded, NewKeys, Purge, Put, Remembered, Transition

A = TypeVar("A")


@attrs.define(eq=False)
class DirectReads:
    """The store reads that callers wait for.

    Attributes:
        cache: keeps this process's instances.
        runtime: starts the tasks that read.
        phase: whether the engine waits for reads. If not, a read that the store does not answer immediately fails.
    """

    cache: InstanceCache
    runtime: Runtime
    phase: Literal["open", "left"] = "open"
    _open: dict[Future[None], None] = attrs.Factory(dict["Future[None]", None])
    _unawaited: dict[Future[None], None] = attrs.Factory(dict["Future[None]", None])
    _over: list[Future[None]] = attrs.Factory(list[Future[None]])

    async def load(self, address: Address) -> Result[Loaded, Any]:
        """Read an instance's committed row, from memory if it is there."""
        kept = self.cache.loaded_row(address)
        return await self.answer(lambda: self.cache.load(address)) if kept is None else Success(kept)

    async def answer(
        self,
        read: Callable[[], Awaitable[Result[A, Any]]],
        unanswered: Callable[[], Exception] = EngineClosed,
        *,
        is_awaited: bool = True,
    ) -> Result[A, Any]:
        """Return the store's answer, or an error, if the engine stops before it arrives.

        Args:
            read: begins the read. Cancelling this wait cancels it.
            unanswered: makes that error.
            is_awaited: whether an engine that stops waits for the answer, as it waits for runs.
        """
        # A task of its own: an engine that stops answers the caller, whatever the store does with the read.
        task = self.runtime.spawn_eagerly(_awaited(read), name="perdure:read")
        # A store that answers in the first step needs no future.
        if not task.done():
            end: Future[None] = self.runtime.future()
            waits = self._open if is_awaited else self._unawaited
            waits[end] = None
            task.add_done_callback(lambda _: _tell(end))
            try:
                if self.phase == "open":
                    await end
            finally:
                waits.pop(end, None)
                self._report_answered()
                task.cancel()  # no effect if it is done
        return task.result() if task.done() else Failure(unanswered())

    def _report_answered(self) -> None:
        if not self._open:
            over, self._over = self._over, []
            for waiting in over:
                _tell(waiting)

    async def answered(self) -> None:
        """Wait until no read is in progress."""
        if self._open:
            self._over.append(over := self.runtime.future())
            await over

    def leave(self) -> None:
        """Answer the reads in progress with `EngineClosed`."""
        # First: a read that begins now must not wait for its answer.
        self.phase = "left"
        for end in (*self._open, *self._unawaited):
            _tell(end)


async def _awaited(read: Callable[[], Awaitable[Result[A, Any]]]) -> Result[A, Any]:
    """Begin the task's read inside, so that nothing waits unread if that never takes a step."""
    return await read()


def _tell(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)


@attrs.define(eq=False)
class _Wait:
    """One caller that waits.

    Attributes:
        wanted: the statuses that end the wait.
        wake: done when the caller must act.
        reached: a wanted status that a transition wrote.
        time: whether the caller may still wait.
    """

    job: AnyDefinition
    wanted: WaitCondition
    wake: Future[None]
    reached: Reached | None = None
    time: Literal["left", "up", "engine_stops"] = "left"

    def notify(self) -> None:
        if not self.wake.done():
            self.wake.set_result(None)

    def end(self, time: Literal["up", "engine_stops"]) -> None:
        self.time = time
        self.notify()

    def see(self, instance: Instance | None) -> InstanceStatus | None:
        """Return the committed status if it ends the wait."""
        job, wanted = self.job, self.wanted
        if wanted.ticket:
            is_over = instance is None or job.has_answered(instance, ticket_parts(wanted.ticket))
        elif wanted.published:
            found = None if instance is None else job.published_in(instance, wanted.published)
            is_over = found is None or found.form != "waiting"
        else:
            is_over = instance is not None and job.is_over(instance)
            # Most callers wait for the end: the commits before it need no status for them.
            if wanted.is_end and instance is not None and not is_over:
                return None
            status = shown_status(job, instance)
            return status if wanted.ends_with(status, over=is_over) else None
        return shown_status(job, instance) if is_over else None


@attrs.define
class StatusWaiters:
    """The callers that wait, at most so many.

    Attributes:
        reads: reads the instances and the log.
        runtime: makes futures and timers.
        intake: whether callers may wait.
    """

    store: Store
    reads: DirectReads
    runtime: Runtime
    limit: int
    intake: Literal["open", "closed"] = "open"
    count: int = 0
    _at: dict[Address, tuple[_Wait, ...]] = attrs.Factory(dict[Address, tuple[_Wait, ...]])

    async def until(
        self, job: AnyDefinition, address: Address, wanted: WaitCondition, timeout_ms: int
    ) -> Result[Awaited, CallError]:
        """Wait until the instance has a wanted status.

        Args:
            job: the instance's definition.
            address: the instance.
            wanted: the statuses that end the wait.
            timeout_ms: how long to wait. 0 to answer immediately.
        """
        if self.intake == "closed":
            return Failure(EngineClosed())
        if self.count >= self.limit:
            return Failure(Overloaded("the list of callers that wait for a status", self.limit))
        # Registered before the first read: a commit between the read and the wait would be missed.
        wait = _Wait(job, wanted, self.runtime.future())
        self.count += 1
        self._at[address] = (*self._at.get(address, ()), wait)
        timer = self.runtime.call_later(timeout_ms, lambda: wait.end("up"))
        try:
            return await self._answer(address, wait)
        finally:
            timer.cancel()
            self._forget(address, wait)

    async def _answer(self, address: Address, wait: _Wait) -> Result[Awaited, CallError]:
        while True:
            # A status that a commit has shown counts, also if the time is up by now.
            if wait.reached is not None:
                return Success(wait.reached)
            if wait.time == "engine_stops":
                return Failure(EngineClosed())
            # Before the read: time that runs out during it must lead to one more read.
            time_is_up = wait.time == "up"
            loaded: Result[Any, CallError] = await self.reads.load(address)
            if not isinstance(loaded, Success):
                return Failure(loaded.failure())
            instance: Instance | None = loaded.unwrap().instance
            status = wait.see(instance)
            if status is not None:
                return await self._read(address, wait, status)
            if time_is_up:
                return Success(NotReached(shown_status(wait.job, instance)))
            await wait.wake
            # Before the next read: a commit in between wakes it.
            wait.wake = self.runtime.future()

    async def _read(self, address: Address, wait: _Wait, status: InstanceStatus) -> Result[Awaited, CallError]:
        """Answer with a status that was read. The log knows whether an absent instance has existed."""
        wanted = wait.wanted
        if status.status != "not_found" or wanted.ticket or wanted.published or "not_found" in wanted.statuses:
            return Success(Reached(status))
        logged: Result[Any, CallError] = await self.reads.answer(
            lambda: answer_of(self.store.history(address, None, 1))
        )
        return logged.map(lambda events: Reached(status) if events else NeverStored())

    def _forget(self, address: Address, wait: _Wait) -> None:
        self.count -= 1
        # By identity: two callers may wait for the same.
        left = tuple(other for other in self._at[address] if other is not wait)
        if left:
            self._at[address] = left
        else:
            del self._at[address]

    # ------------------------------------------------------------ events of the engine
    def committed(self, transition: Transition) -> None:
        """Wake the callers that wait for the status that a durable transition writes."""
        waits = self._at.get(transition.address)
        if waits is None:
            return
        write = transition.write
        if type(write) is Put:
            for wait in waits:
                self._show(wait, write.instance)
        elif type(write) is Purge:
            for wait in waits:
                self._show(wait, None)

    @staticmethod
    def _show(wait: _Wait, instance: Instance | None) -> None:
        try:
            reached = wait.see(instance)
        except Exception:  # noqa: BLE001 - of the kind: the caller reads the row itself, and gets the exception
            wait.notify()
            return
        if reached is not None:
            # The first status counts: the caller may run only after later ones.
            wait.reached = wait.reached or Reached(reached)
            wait.notify()

    def doubt(self) -> None:
        """Let all callers read again, because a transition with an unknown outcome may be durable."""
        for wait in self._all():
            wait.notify()

    def close(self) -> None:
        """Answer all callers with `EngineClosed`, and accept no more."""
        self.intake = "closed"
        for wait in self._all():
            wait.end("engine_stops")

    def _all(self) -> tuple[_Wait, ...]:
        return tuple(wait for waits in self._at.values() for wait in waits)


BUSIEST: Final = 10
"""Keys of a limit that a report names."""


@attrs.frozen
class LimitCalls:
    """Reads and changes named limits for callers.

    Attributes:
        store: has the numbers that were changed, and the permits of all engines.
        named: the limits of this engine.
    """

    store: Store
    runtime: Runtime
    named: NamedLimits

    async def reports(self) -> Result[tuple[NamedLimit, ...], Any]:
        """Return the limits that the engine knows, by name, with their use."""
        names = tuple(PermitsName(name, None) for name in sorted(self.named.declared))
        found = await self._read(names)
        if not isinstance(found, Success):
            return Failure(found.failure())
        use, stored = self.named.use(), found.unwrap()
        return Success(tuple(self._report(name.limit, stored[name], use) for name in names))

    def _report(self, limit: str, stored: StoredPermits, use: Mapping[PermitsName, tuple[int, int]]) -> NamedLimit:
        current, me = self.named.limits[limit], self.store.epoch
        of_keys = [
            KeyUse(key=name.key, in_use=used, waiting=waiting)
            for name, (used, waiting) in use.items()
            if name.limit == limit and name.key is not None and (used or waiting)
        ]
        used, _ = use.get(PermitsName(limit, None), (0, 0))
        in_use, waiting = totals_of(use).get(limit, (0, 0))
        living, own = stored.living(me, self.named.others()), stored.of(me)
        # Its own use may be ahead of its entry, which is written in blocks.
        leased = sum(living.held.values()) + max(used, *own.held.values(), 0)
        oldest_ms = self.runtime.now_ms() - (0 if current.rate is None else current.rate.window_ms)
        return NamedLimit(
            name=limit,
            declared=LimitNumbers.of(self.named.declared[limit]),
            current=current,
            in_use=in_use,
            waiting=waiting,
            keys=len(of_keys),
            busiest=tuple(sorted(of_keys, key=lambda one: (-one.waiting, -one.in_use, one.key))[:BUSIEST]),
            leased=0 if current.concurrency is None else leased,
            wanted=sum(wish.permits for wish in (*living.wants.values(), *own.wants.values())),
            begun=0 if current.rate is None else sum(number for at, number, _ in stored.begun if at > oldest_ms),
        )

    async def waits_for(self, job: str, subject: str) -> Result[tuple[str, ...], Any]:
        """Return the limits that a run would wait for if it began now.

        Args:
            job: the job, printed ``kind:name``.
            subject: the instance's id, or an item's lane.
        """
        if job not in self.named.jobs:
            return Success(())
        needs = self.named.demand_of(job, subject).needs
        found = await self._read([name for name, _ in needs])
        if not isinstance(found, Success):
            return Failure(found.failure())
        stored = found.unwrap()
        waits = [name.limit for name, cost in needs if not self.named.would_begin(name, cost, stored[name])]
        return Success(tuple(dict.fromkeys(waits)))

    async def change(
        self, name: str, numbers: Mapping[str, int | Rate], others: Literal["stay", "reset"]
    ) -> Result[LimitNumbers, Any]:
        """Change numbers of a limit, for all engines on the store. The change is durable when this returns.

        Args:
            name: the limit.
            numbers: the numbers that change.
            others: whether the other numbers stay as they are, or are those of the code again.
        """
        limit = self.named.declared.get(name)
        if limit is None:
            return Failure(UnknownLimit(name, tuple(sorted(self.named.declared))))
        declared = LimitNumbers.of(limit).given
        for each in numbers:
            if each not in declared:
                expected = f"a number that the code declares: {', '.join(declared)}"
                return Failure(InvalidArgument(f"number of limit {name}", each, expected))
        # Each try reads again: the condition of the write is the entry that was read.
        for _ in range(MAX_CONFLICTS):
            stored = await self._stored([numbers_address(name)])
            if not isinstance(stored, Success):
                return Failure(stored.failure())
            (before,) = stored.unwrap()
            kept = {} if before is None or others == "reset" else read_numbers(before.answer)
            written = await self._write(name, {**kept, **numbers}, 0 if before is None else before.expires_ms)
            if isinstance(written, Success):
                self.named.note_numbers(name, written.unwrap())
                return Success(self.named.limits[name])
            if not isinstance(written.failure(), Conflict):
                return Failure(written.failure())
        return Failure(StoreUnavailable(f"change limit {name}", "other callers changed it meanwhile; try again"))

    async def _write(
        self, name: str, numbers: Mapping[str, int | Rate], seen_ms: int
    ) -> Result[Remembered, NotCommitted]:
        # By its end, which grows with each change, an engine knows which of two is the later one.
        expires_ms = max(FOREVER_MS, seen_ms + 1)
        text = write_numbers(numbers)
        remembered = Remembered(key=KEY, action=KEY, fingerprint="", answer=text, expires_ms=expires_ms)
        # Only over the change that was read: another caller may have changed the numbers meanwhile.
        unread = NewKeys((KEY,), max(self.runtime.now_ms(), seen_ms))
        change = Transition(address=numbers_address(name), remember=(remembered,), new_keys=unread)
        answers: Sequence[Result[Fence | None, NotCommitted]] = await answers_of(
            self.runtime, lambda tell: self.store.commit((change,), tell)
        )
        return answers[0].map(lambda _: remembered)

    async def _read(self, names: Sequence[PermitsName]) -> Result[Mapping[PermitsName, StoredPermits], Any]:
        """Read permits, and the numbers of their limits, which are in effect then."""
        limits = tuple(dict.fromkeys(name.limit for name in names))
        # In one read: permits and numbers of two instants would not fit each other.
        found = await self._stored([*(name.address for name in names), *map(numbers_address, limits)])
        if not isinstance(found, Success):
            return Failure(found.failure())
        rows = found.unwrap()
        for name, numbers in zip(limits, rows[len(names) :], strict=True):
            self.named.note_numbers(name, numbers)
        stored = [NOTHING_STORED if row is None else StoredPermits.read(row.answer) for row in rows[: len(names)]]
        return Success(dict(zip(names, stored, strict=True)))

    async def _stored(self, addresses: Iterable[Address]) -> Result[Sequence[Remembered | None], Any]:
        loads = tuple(LoadRequest(address, KEY, self.runtime.now_ms()) for address in addresses)
        if not loads:
            return Success(())
        load = partial(self.store.load, loads)
        answers: Sequence[Result[Loaded, Any]] = await answers_of(self.runtime, load)
        failed = next((answer.failure() for answer in answers if not isinstance(answer, Success)), None)
        return Success([one.unwrap().remembered for one in answers]) if failed is None else Failure(failed)
