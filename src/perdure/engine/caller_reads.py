"""Callers that read beside turns: an instance's row now, or its status when a transition reaches it.

Each is answered, also if the store does not answer before the engine stops. A durable transition wakes those that wait
for a status: nothing polls.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.jobs.redaction import shown_status
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, Runtime
from perdure.stores.contract import Store
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, Overloaded
from perdure.values.instance import Instance
from perdure.values.status import InstanceStatus
from perdure.values.status_wait import Awaited, NeverStored, NotReached, Reached, WaitCondition, ticket_parts
from perdure.values.transition import Loaded, Purge, Put, Transition

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
        task = self.runtime.spawn_eagerly(_awaited(read), name="perdure:read")
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
        job: the instance's definition.
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
        status = shown_status(self.job, instance)
        if self.wanted.ticket:
            is_over = instance is None or self.job.has_answered(instance, ticket_parts(self.wanted.ticket))
            return status if is_over else None
        if self.wanted.published:
            found = None if instance is None else self.job.published_in(instance, self.wanted.published)
            return status if found is None or found.form != "waiting" else None
        over = instance is not None and self.job.is_over(instance)
        return status if self.wanted.ends_with(status, over=over) else None


@attrs.define
class StatusWaiters:
    """The callers that wait, at most so many.

    Attributes:
        store: holds the log.
        reads: reads the instances and the log.
        runtime: makes futures and timers.
        limit: how many callers may wait.
        intake: whether callers may wait.
        count: how many callers wait.
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
            if wait.reached is not None:
                return Success(wait.reached)
            if wait.time == "engine_stops":
                return Failure(EngineClosed())
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
