"""A copy from outside is one moment of the file, and it delays the owner's checkpoint for a bounded time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from crashed import crash
from returns.result import Success

from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.backup import copy_from_outside
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.values import Backup, BackupProgress
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import BackupFailed, StoreUnavailable

BIG = f'"{"x" * 3_000}"'
ROWS = 1_500  # more than one step of a copy

Meanwhile = Callable[[asyncio.AbstractEventLoop], Callable[[BackupProgress], None]]


async def filled(path: Path) -> None:
    store = await open_sqlite(path)
    await asyncio.gather(*(value(commit_one(store, put(address(str(number)), state=BIG))) for number in range(ROWS)))
    await value(store.close())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    asyncio.run(filled(path))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


def ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {id_ for (id_,) in database.execute("SELECT id FROM instances")}


def beside_an_owner(path: Path, target: Path, allowed_bytes: int) -> Backup:
    """Copy while an owner commits a row in each step of the copy."""

    async def main() -> Backup:
        store, loop = await open_sqlite(path), asyncio.get_running_loop()

        def meanwhile(progress: BackupProgress) -> None:
            number = progress.copied_bytes
            asyncio.run_coroutine_threadsafe(created(store, address(f"new {number}")), loop).result()

        try:
            await created(store, address("before"))
            return await asyncio.to_thread(
                copy_from_outside, path, target, meanwhile, max_log_growth_bytes=allowed_bytes
            )
        finally:
            assert isinstance(await answer(commit_one(store, put(address("after")))), Success)
            await value(store.close())

    return asyncio.run(main())


def test_a_copy_beside_an_owner_is_the_file_at_one_moment(path: Path, target: Path) -> None:
    made = beside_an_owner(path, target, 1_000_000)
    assert made == Backup(str(target), target.stat().st_size)
    assert ids(target) == {*map(str, range(ROWS)), "before"}
    assert len(ids(path)) > ROWS + 3


def test_it_gives_up_when_the_owners_log_grows_too_much(path: Path, target: Path) -> None:
    with pytest.raises(StoreUnavailable, match="its write-ahead log grew by more than 1,000 bytes meanwhile"):
        beside_an_owner(path, target, 1_000)
    assert list(target.parent.iterdir()) == []


def test_a_copy_of_the_files_after_a_crash(path: Path, target: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed.db"
    asyncio.run(crash(path, crashed))
    copy_from_outside(crashed, target, lambda _: None)
    assert "in the log" in ids(target)


def test_the_copy_opens_as_a_store(path: Path, target: Path) -> None:
    copy_from_outside(path, target, lambda _: None)

    async def opened() -> int:
        store = await open_sqlite(target)
        await created(store, address("new"))
        await value(store.close())
        return store.epoch

    assert asyncio.run(opened()) == 2


def test_a_file_that_is_not_a_store_is_not_copied(tmp_path: Path, target: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no such file"):
        copy_from_outside(tmp_path / "nowhere.db", target, lambda _: None)
    assert list(target.parent.iterdir()) == []


def test_an_existing_file_remains_unchanged(path: Path, target: Path) -> None:
    target.write_text("mine")
    with pytest.raises(BackupFailed, match="a file of that name exists"):
        copy_from_outside(path, target, lambda _: None)
    assert target.read_text() == "mine"


def test_findings_give_up_when_the_log_grows_too_much(path: Path) -> None:
    with read_from_outside(path) as reader:
        assert reader.findings() == []
        with pytest.raises(StoreUnavailable, match="its write-ahead log grew by more than"):
            reader.findings(max_log_growth_bytes=-1)
        assert len(reader.rows("SELECT id FROM instances LIMIT 3")) == 3  # the reader continues
