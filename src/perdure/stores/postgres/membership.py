"""The membership of an opening: the lease of a shared schema."""

from __future__ import annotations

from perdure.stores.postgres.connections import PostgresConnections


class Lease:
    """The membership of an opening, in place of the lock of an owner."""

    def __init__(self, connections: PostgresConnections, schema: str) -> None:
        self._connections = connections
        self._schema = schema

    def when_ended(self, listener: object) -> None:
        """Do nothing: a lease does not depend on a connection."""

    async def close(self, epoch: int) -> None:
        """End the membership. If the server cannot be reached, the lease ends by itself."""
        sql = f"UPDATE {self._schema}.engines SET state = 'closed' WHERE epoch = $1 AND state = 'open'"  # noqa: S608 - the name is checked
        await self._connections.write("leave", sql, epoch)
