"""Clients of an engine in another process: `connect`, and `connect_sync` for code without an event loop."""

from perdure.remote.connecting import connect
from perdure.remote.sync import SyncClient, connect_sync

__all__ = ["SyncClient", "connect", "connect_sync"]
