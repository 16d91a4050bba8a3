"""Only the owner of the lock rebuilds a file, and only where there is room."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from crashed import crash

from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.backup import free_on_disk, vacuum
from perdure.stores.sqlite.reader import read_from_outside
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import StoreCorrupt, StoreLocked, StoreUnavailable
from perdure.values.transition import Purge, Transition

BIG = f'"{"x" * 3_000}"'


async def fill_and_purge(path: Path, rows: int = 300) -> None:
    """Most rows go again, and leave their pages behind."""
    store = await open_sqlite(path)
    places = [address(str(number)) for number in range(rows)]
    fences = [await value(commit_one(store, put(at, state=BIG, alarm_ms=at_ms))) for at_ms, at in enumerate(places)]
    for at, fence in list(zip(places, fences, strict=True))[10:]:
        await value(commit_one(store, Transition(address=at, expected=fence, write=Purge(own_messages="dropped"))))
    await value(store.close())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"
    asyncio.run(fill_and_purge(path))
    return path


def contents(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        tables = ("instances", "counters", "keys", "messages", "dead_letters", "events")
        rows = [row for table in tables for row in database.execute(f"SELECT * FROM {table}")]  # noqa: S608
        return [*rows, *database.execute("PRAGMA user_version"), *database.execute("PRAGMA application_id")]


def test_it_reclaims_the_pages_of_purged_rows_and_nothing_else(path: Path) -> None:
    before, size = contents(path), path.stat().st_size
    done = vacuum(path)
    assert done.before_bytes == size
    assert done.after_bytes == path.stat().st_size < size / 5
    assert not done.reader
    assert contents(path) == before

    async def opened() -> int:
        store = await open_sqlite(path)
        fence = await created(store, address("new"))
        await value(store.close())
        return fence.incarnation

    assert asyncio.run(opened()) == 301  # numbers never go back


def test_commits_in_the_log_of_a_crash_are_kept(path: Path, tmp_path: Path) -> None:
    crashed = tmp_path / "crashed.db"
    asyncio.run(crash(path, crashed))
    vacuum(crashed)
    assert contents(crashed) == contents(path)


def test_an_owned_file_is_refused_and_left_alone(path: Path) -> None:
    async def beside() -> None:
        store = await open_sqlite(path)
        with pytest.raises(StoreLocked, match="stop that engine first"):
            vacuum(path)
        await created(store, address("after"))  # the engine does not notice
        await value(store.close())

    asyncio.run(beside())


def test_the_lock_is_released(path: Path) -> None:
    vacuum(path)

    async def opened() -> None:
        await value((await open_sqlite(path)).close())

    asyncio.run(opened())
    vacuum(path)


def test_too_little_room_is_said_before_anything_is_written(path: Path) -> None:
    before = path.read_bytes()
    asked: dict[Path, int] = {}

    def tight(folder: Path) -> int:
        asked[folder] = free_on_disk(folder)
        return 20_000

    with pytest.raises(StoreUnavailable, match="and 20,000 are free; free space there first"):
        vacuum(path, free_bytes=tight)
    assert path.read_bytes() == before
    assert asked


def test_a_reader_that_keeps_the_file_from_shrinking_is_reported(path: Path) -> None:
    before, size = contents(path), path.stat().st_size
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM counters").fetchall()
        done = vacuum(path)
        assert done.reader
        assert path.stat().st_size == size
        other.execute("COMMIT")
    assert contents(path) == before
    assert not vacuum(path).reader
    assert path.stat().st_size < size / 5


def test_a_file_that_is_not_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no such file"):
        vacuum(tmp_path / "nowhere.db")
    (tmp_path / "text").write_bytes(b"no database, but long enough to have a header of its own" * 20)
    with pytest.raises(StoreCorrupt):
        vacuum(tmp_path / "text")
    assert [file.name for file in tmp_path.iterdir()] == ["text"]  # no lock file either


def test_the_space_is_counted_from_the_page_counts_of_the_reader(path: Path) -> None:
    with read_from_outside(path) as reader:
        ((free_pages,),) = reader.rows("PRAGMA freelist_count")
        ((page_bytes,),) = reader.rows("PRAGMA page_size")
    done = vacuum(path)
    gained = done.before_bytes - done.after_bytes
    assert gained >= free_pages * page_bytes * 0.95
