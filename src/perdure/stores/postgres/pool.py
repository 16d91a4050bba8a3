"""The connections of an opening: a few, the last used first, more only while all others are busy.

A pool of the driver would try to connect while one of its connections is free again, and fail if the server has none
left; statements of an engine then failed although it has a connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.runtime.eager_task import ended
from perdure.runtime.record import Future, Runtime, SpawnedTask, Timer
from perdure.stores.postgres.driver import asyncpg
from perdure.stores.postgres.failures import DRIVER_ERRORS, is_worth_waiting

MOST: Final = 4
"""Connections, and one more for urgent statements."""

IDLE_MS: Final = 300_000
"""After which a connection that was not used is closed."""

REFUSED_MS: Final = 1_000
"""How long statements wait for the connections that there are, after the server had none free."""

CLOSE_S: Final = 10
"""How long the end of a connection may take, with the cancellation of its statement."""

Urgency: TypeAlias = Literal["usual", "urgent"]


@attrs.define(eq=False)
class ConnectionPool:
    """Connections that keep nothing between statements.

    Attributes:
        runtime: how it waits.
        make: connects. Raises one of `DRIVER_ERRORS`.
    """

    runtime: Runtime
    make: Callable[[], Awaitable[Any]]
    _open: dict[Any, int] = attrs.Factory(dict[Any, int])
    """All connections, with their generation."""

    _idle: list[tuple[Any, float]] = attrs.Factory(list[tuple[Any, float]])
    """Those without a statement, and since when; the last used is the last one."""

    _ending: dict[Any, SpawnedTask[None]] = attrs.Factory(dict[Any, SpawnedTask[None]])
    _waiting: deque[Future[Any]] = attrs.Factory(deque[Future[Any]])
    _connecting: int = 0
    _generation: int = 0
    _refused_until_ms: float = 0.0
    _phase: Literal["open", "closed"] = "open"
    _timer: Timer | None = None

    async def acquire(self, urgency: Urgency = "usual") -> Any:
        """Return a connection for one statement, as soon as there is one; an urgent statement is first.

        Raises:
            Exception: one of `DRIVER_ERRORS`: there is none, and the server accepts none; or the pool is closed.
        """
        while True:
            if self._phase == "closed":
                raise asyncpg.InterfaceError("the connections of the store are closed")
            connection = self._unused()
            if connection is None and self._may_connect(urgency):
                connection = await self._connected()
            if connection is None:
                connection = await self._released(urgency)
            if connection is not None:
                return connection

    def _unused(self) -> Any:
        """Return the connection that was used last, if one is free."""
        while self._idle:
            connection, _ = self._idle.pop()
            if self._is_usable(connection):
                return connection
        return None

    def _is_usable(self, connection: Any) -> bool:
        """Return whether a connection can be used; end one that cannot."""
        if self._phase == "open" and self._open[connection] == self._generation and not connection.is_closed():
            return True
        self._end(connection)
        return False

    def _may_connect(self, urgency: Urgency) -> bool:
        number = len(self._open) + self._connecting
        if not number:
            return True
        refused = self.runtime.monotonic_ms() < self._refused_until_ms
        return number < MOST + (urgency == "urgent") and not refused

    async def _connected(self) -> Any:
        """Connect; return None if the server has no free connection, and others of this pool will be free."""
        self._connecting += 1
        generation = self._generation
        try:
            connection = await self.make()
        except DRIVER_ERRORS as error:
            if is_worth_waiting(error) and self._open:
                self._refused_until_ms = self.runtime.monotonic_ms() + REFUSED_MS
                return None
            self._wake()  # the next one may be answered otherwise
            raise
        except BaseException:
            self._wake()
            raise
        finally:
            self._connecting -= 1
        self._open[connection] = generation
        return connection

    async def _released(self, urgency: Urgency) -> Any:
        """Wait for a connection; None if the caller has to look again."""
        if self._idle:
            return None
        waiter = self.runtime.future()
        if urgency == "urgent":
            self._waiting.appendleft(waiter)
        else:
            self._waiting.append(waiter)
        try:
            return await waiter
        except BaseException:  # the event loop is stopping
            if not waiter.done() or waiter.cancelled():
                waiter.cancel()
            elif waiter.result() is None:
                self._wake()
            else:
                self.release(waiter.result())
            raise

    def release(self, connection: Any) -> None:
        """Pass a connection on."""
        if not self._is_usable(connection):
            self._wake()
            return
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
            return
        self._idle.append((connection, self.runtime.monotonic_ms()))
        if self._timer is None:
            self._timer = self.runtime.call_later(IDLE_MS, self._end_idle)

    def discard(self, connection: Any) -> None:
        """End a connection whose statement may still be executed, which the server then cancels."""
        self._end(connection)
        self._wake()

    def expire(self) -> None:
        """Use none of the present connections again."""
        self._generation += 1

    def terminate(self) -> None:
        """End all connections at once, and make no others: the statements under way fail."""
        self._phase = "closed"
        for connection in (*self._open, *self._ending):
            connection.terminate()

    async def close(self) -> None:
        """Close all connections; no statement is under way."""
        self._phase = "closed"
        if self._timer is not None:
            self._timer.cancel()
        for connection in tuple(self._open):
            self._end(connection)
        for ending in tuple(self._ending.values()):
            await ended(ending, self.runtime)

    # ------------------------------------------------------------ those that wait
    def _next_waiter(self) -> Future[Any] | None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                return waiter
        return None

    def _wake(self) -> None:
        """Let one that waits look again."""
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)

    # ------------------------------------------------------------ ends
    def _end(self, connection: Any) -> None:
        if self._open.pop(connection, None) is None:
            return
        ending = self._ending[connection] = self.runtime.spawn(_close(connection), name="perdure:end of a connection")
        ending.add_done_callback(lambda _: self._ending.pop(connection))

    def _end_idle(self) -> None:
        self._timer = None
        until_ms = self.runtime.monotonic_ms() - IDLE_MS
        idle, self._idle = self._idle, []
        for connection, since_ms in idle:
            if since_ms <= until_ms:
                self._end(connection)
            else:
                self._idle.append((connection, since_ms))
        if self._idle:
            self._timer = self.runtime.call_later(IDLE_MS, self._end_idle)


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=CLOSE_S)
    except DRIVER_ERRORS:
        connection.terminate()
