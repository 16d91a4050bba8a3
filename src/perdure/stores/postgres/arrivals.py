"""Notifications that a transaction of another process has written messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.postgres.failures import DRIVER_ERRORS, reason_of

AGAIN_MS: Final = (50, 500, 5_000)
"""When a listener is called again after a notification: one of several transactions that commit at once sends it."""


class Arrivals:
    """Listens on a connection, and calls the engine.

    Args:
        runtime: how the later calls wait.
        connection: returns a connection that stays open, and is not pooled.
        schema: the quoted name of the schema.
    """

    def __init__(self, runtime: Runtime, connection: Callable[[], Awaitable[Any]], schema: str) -> None:
        self._runtime = runtime
        self._connect = connection
        self._schema = schema

    def listen(self, listener: Callable[[], None], /) -> None:
        """Call a listener whenever another process may have written messages."""
        self._runtime.spawn(self._listen(listener), name="perdure:arrivals")

    async def _listen(self, listener: Callable[[], None]) -> None:
        def notified(*_: object) -> None:
            listener()
            for delay_ms in AGAIN_MS:
                self._runtime.call_later(delay_ms, listener)

        channel = f"SELECT 'perdure_' || '{self._schema}.instances'::regclass::oid"
        try:
            connection = await self._connect()
            await connection.add_listener(await connection.fetchval(channel), notified)
        except DRIVER_ERRORS as error:
            fields = {"error": reason_of(error)}
            self._runtime.log(LogRecord("warning", "notifications of the store are not received", fields))
