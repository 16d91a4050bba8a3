"""Harnesses for the conformance suite: a memory store and a SQLite file behind `encrypted_store`."""

from __future__ import annotations

from perdure.stores.contract import Store
from perdure.stores.encryption import Encryption, Key, encrypted_store
from perdure.testing.conformance import MemoryHarness, SqliteHarness

OLD, NEW = Key("old", bytes(range(64))), Key("new", bytes(range(64, 128)))
WITH_OLD, WITH_NEW = Encryption(primary=OLD), Encryption(primary=NEW)
WITH_BOTH = Encryption(primary=NEW, older=(OLD,))


class EncryptedMemory(MemoryHarness):
    """A memory store."""

    async def open(self) -> Store:
        return encrypted_store(await super().open(), WITH_OLD)


class EncryptedSqlite(SqliteHarness):
    """A SQLite file."""

    async def open(self) -> Store:
        return encrypted_store(await super().open(), WITH_OLD)
