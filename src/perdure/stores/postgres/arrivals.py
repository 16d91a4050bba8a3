"""Notifications that a transaction of another process has written messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeAlias, TypeVar

from returns.result import Result, Success

from perdure.runtime.record import Future, LogRecord, Runtime, SpawnedTask
from perdure.stores.postgres.connections import is_pooled
from perdure.stores.postgres.failures import DRIVER_ERRORS, reason_of

AGAIN_MS: Final = (50, 500, 5_000)
"""When a listener is called again after a notification: one of several transactions that commit at once sends it."""

POLL_MS: Final = 200
"""How often the listener is called where notifications do not arrive."""

TRIAL_MS: Final = 1_000
"""How long a notification that this engine sends itself may take: a pooler in transaction mode never passes it on."""

RETRY_MS: Final = 60_000
"""How long it polls, before it tries to listen again."""


T = TypeVar("T")

_Trial: TypeAlias = Literal["heard", "late"]


class Arrivals:
    """Listens on a connection, and calls the engine; without notifications it calls the engine periodically.

    Args:
        runtime: how it waits.
        connect: returns a connection that stays open, and is not pooled.
        execute: executes a statement on another connection.
        schema: the quoted name of the schema.
        epoch: the number of this opening.
    """

    def __init__(
        self,
        runtime: Runtime,
        connect: Callable[[], Awaitable[Any]],
        execute: Callable[..., Awaitable[Result[Any, Any]]],
        schema: str,
        epoch: int,
    ) -> None:
        self._runtime = runtime
        self._connect = connect
        self._execute = execute
        self._schema = schema
        self._own = f"engine {epoch}"
        self._task: SpawnedTask[Any] | None = None
        self._heard: Future[_Trial] | None = None

    def listen(self, listener: Callable[[], None], /) -> None:
        """Call a listener whenever another process may have written messages."""
        self._task = self._runtime.spawn(self._listen(listener), name="perdure:arrivals")

    def end(self) -> None:
        """Call it no more."""
        if self._task is not None:
            self._task.cancel()

    async def _listen(self, listener: Callable[[], None]) -> None:
        while True:
            ended = await self._connected(listener)
            if ended is None:
                await self._poll(listener)
            else:
                listener()  # messages that were sent before are not notified again
                await ended
                listener()

    async def _connected(self, listener: Callable[[], None]) -> Future[None] | None:
        """Listen, and return a future that is done when the connection ends; None if no notification arrives."""
        ended: Future[None] = self._runtime.future()

        def over(_: object) -> None:
            _settle(ended, None)

        def notified(_connection: object, _pid: object, _channel: object, payload: str) -> None:
            self._notified(payload, listener)

        try:
            connection = await self._connect()
            connection.add_termination_listener(over)
            channel = await connection.fetchval(f"SELECT 'perdure_' || '{self._schema}.instances'::regclass::oid")
            await connection.add_listener(channel, notified)
            arrive = not await is_pooled(connection) or await self._hears(channel)
        except DRIVER_ERRORS as error:
            self._warn(reason_of(error))
            return None
        if arrive:
            return ended
        connection.terminate()
        self._warn("none arrives, perhaps because of a pooler in transaction mode")
        return None

    async def _hears(self, channel: str) -> bool:
        """Send a notification to this engine, from another connection, and wait for it."""
        heard = self._heard = self._runtime.future()
        timer = self._runtime.call_later(TRIAL_MS, lambda: _settle(heard, "late"))
        sent = await self._execute("try a notification", "SELECT pg_notify($1, $2)", channel, self._own)
        answer: _Trial = await heard if isinstance(sent, Success) else "late"
        timer.cancel()
        return answer == "heard"

    def _notified(self, payload: str, listener: Callable[[], None]) -> None:
        if payload == self._own and self._heard is not None:
            _settle(self._heard, "heard")
        if payload:  # of an engine that has just opened the store
            return
        listener()
        for delay_ms in AGAIN_MS:
            self._runtime.call_later(delay_ms, listener)

    def _warn(self, reason: str) -> None:
        fields = {"error": reason, "poll_ms": str(POLL_MS)}
        self._runtime.log(LogRecord("warning", "notifications of the store are not received", fields))

    async def _poll(self, listener: Callable[[], None]) -> None:
        for _ in range(RETRY_MS // POLL_MS):
            await self._runtime.sleep(POLL_MS)
            listener()


def _settle(future: Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
