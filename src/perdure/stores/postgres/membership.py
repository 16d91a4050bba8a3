"""The membership of an opening: the lease of a shared schema."""

from __future__ import annotations

from typing import Any

from perdure.stores.postgres.connections import PostgresConnections, connect
from perdure.stores.postgres.settings import PostgresSettings


class Lease:
    """The membership of an opening, in place of the lock of an owner."""

    def __init__(self, connections: PostgresConnections, settings: PostgresSettings) -> None:
        self._connections = connections
        self._settings = settings
        self._listening: Any = None

    async def connection(self) -> Any:
        """Open a connection, for notifications."""
        self._listening = await connect(self._settings.dsn)
        return self._listening

    async def close(self, epoch: int) -> None:
        """End the membership. If the server cannot be reached, the lease ends by itself."""
        if self._listening is not None:
            self._listening.terminate()
        sql = f"UPDATE {self._settings.quoted}.engines SET state = 'closed' WHERE epoch = $1 AND state = 'open'"  # noqa: S608 - the name is checked
        await self._connections.write("leave", sql, epoch)
