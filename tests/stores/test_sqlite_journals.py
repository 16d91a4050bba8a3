"""Journals of a SQLite file: damage is noticed, and rows are encrypted for their place."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import attrs
import pytest

from perdure.stores.contract import Store, commit_one
from perdure.stores.encryption import Encryption, Key, encrypted_store
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, instance
from perdure.values.errors import StoreCorrupt
from perdure.values.secret import Unreadable
from perdure.values.transition import JournalChange, Put, Transition

A = address("a")


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    """The store of a file, closed also when a test fails."""
    store = await open_sqlite(path)
    try:
        yield store
    finally:
        await value(store.close())


async def write(store: Store) -> int:
    row = attrs.evolve(instance(A), journal_length=3)
    fence = await value(
        commit_one(store, Transition(address=A, write=Put(row), journal=JournalChange(("0", "1", "2"))))
    )
    return fence.incarnation


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(statement)


@pytest.mark.parametrize("place", [0, 1])
def test_a_missing_row_is_reported_and_not_read_over(tmp_path: Path, place: int) -> None:
    asyncio.run(read_with_a_gap(tmp_path, place))


async def read_with_a_gap(tmp_path: Path, place: int) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        incarnation = await write(store)
    change(path, f"DELETE FROM journal WHERE place = {place}")  # noqa: S608 - a number
    async with opened(path) as store:
        assert store.journal is not None
        error = (await answer(store.journal.read(A, incarnation, 0, 10))).failure()
    assert isinstance(error, StoreCorrupt)
    assert f"expected a row at place {place}" in str(error)


def test_rows_are_encrypted_for_their_place(tmp_path: Path) -> None:
    """Rows that change places do not decrypt."""
    asyncio.run(read_exchanged(tmp_path))


async def read_exchanged(tmp_path: Path) -> None:
    path, keys = tmp_path / "jobs.db", Encryption(primary=Key("k", bytes(range(64))))
    async with opened(path) as store:
        incarnation = await write(encrypted_store(store, keys))
        journal = encrypted_store(store, keys).journal
        assert journal is not None
        assert store.journal is not None
        assert await value(journal.read(A, incarnation, 1, 10)) == ("1", "2")
        assert all(body.startswith("enc:") for body in await value(store.journal.read(A, incarnation, 0, 10)))
    change(path, "UPDATE journal SET place = 10 WHERE place = 0")
    change(path, "UPDATE journal SET place = 0 WHERE place = 1")
    change(path, "UPDATE journal SET place = 1 WHERE place = 10")
    async with opened(path) as store:
        journal = encrypted_store(store, keys).journal
        assert journal is not None
        rows = await value(journal.read(A, incarnation, 0, 10))
    assert [type(row) for row in rows] == [Unreadable, Unreadable, str]
