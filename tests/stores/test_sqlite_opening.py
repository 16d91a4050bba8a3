import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from contextlib import closing
from pathlib import Path

import pytest
from watched_disk import WatchedDisk

from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.lock import acquire
from perdure.stores.sqlite.schema import _migrate, migrations, version_of
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created
from perdure.values.errors import (
    DefinitionError,
    StoreCorrupt,
    StoreLocked,
    StoreMissing,
    StoreTooNew,
    StoreUnavailable,
)


async def _open_and_close(path, **options):
    store = await open_sqlite(path, **options)
    await store.close()
    return store


def _refusal(path, kind):
    with pytest.raises(kind) as caught:
        asyncio.run(_open_and_close(path))
    return str(caught.value)


def _execute(path, *statements):
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def _query(path, sql):
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def test_a_new_file_is_marked_as_ours_and_has_a_write_ahead_log(tmp_path):
    path = tmp_path / "jobs.db"
    asyncio.run(_open_and_close(path))
    assert _query(path, "PRAGMA journal_mode") == [("wal",)]
    assert _query(path, "PRAGMA application_id") == [(0x70657264,)]
    assert _query(path, "PRAGMA user_version") == [(len(migrations()),)]
    strict = _query(
        path, "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%'"
    )
    assert strict
    assert all(is_strict for _, is_strict in strict)


def test_a_row_can_be_read_by_a_person(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        await created(store, address("42"), alarm_ms=7)
        await store.close()

    asyncio.run(main())
    row = _query(tmp_path / "jobs.db", "SELECT kind, name, id, status, due_ms, state FROM instances")
    assert row == [("task", "orders", "42", "scheduled", 7, "{}")]


def test_a_second_opener_learns_the_owner_of_the_file(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        with pytest.raises(StoreLocked) as caught:
            await open_sqlite(tmp_path / "jobs.db")
        await store.close()
        return caught.value

    error = asyncio.run(main())
    assert f"process {os.getpid()} on " in error.owner
    asyncio.run(_open_and_close(tmp_path / "jobs.db"))


def test_a_lock_is_released_at_once_even_if_a_child_shares_it(tmp_path):
    names = {"path": str(tmp_path / "lock"), "database": str(tmp_path / "jobs.db")}
    lock = acquire(**names, store="one")
    shared = [os.dup(lock.fileno()), os.dup(lock.database)]  # which a child has until its hook has run
    lock.release()
    acquire(**names, store="two").release()
    for descriptor in shared:
        os.close(descriptor)


def test_a_file_of_the_future_is_left_alone(tmp_path):
    path = tmp_path / "jobs.db"
    asyncio.run(_open_and_close(path))
    _execute(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew) as caught:
        asyncio.run(_open_and_close(path))
    assert (caught.value.found, caught.value.supported) == (99, len(migrations()))
    assert path.read_bytes() == before


def test_a_migration_that_breaks_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "jobs.db"
    asyncio.run(_open_and_close(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        before = list(database.iterdump())
        with pytest.raises(sqlite3.Error):
            _migrate(database.cursor(), "CREATE TABLE half (x); CREATE TABLE half (x);", 99)
        assert version_of(database.cursor(), store="jobs") == len(migrations())
        assert list(database.iterdump()) == before


def test_the_database_of_another_application_is_left_alone(tmp_path):
    path = tmp_path / "theirs.db"
    _execute(path, "CREATE TABLE theirs (x)")
    before = path.read_bytes()
    assert "another application (application_id 0)" in _refusal(path, StoreCorrupt)
    assert path.read_bytes() == before


def test_a_file_that_is_not_a_database_remains_unchanged(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database at all, whatever it is called\n" * 100)
    before = path.read_bytes()
    assert "not a database" in _refusal(path, StoreCorrupt)
    assert path.read_bytes() == before


def _missing(path, **options):
    with pytest.raises(StoreMissing) as caught:
        asyncio.run(_open_and_close(path, **options))
    return str(caught.value)


@pytest.mark.parametrize("on_locked", ["raise", "wait"])
@pytest.mark.parametrize("content", [None, b""])
def test_a_file_that_must_exist_is_not_created(tmp_path, content, on_locked):
    path = tmp_path / "jobs.db"
    if content is not None:
        path.write_bytes(content)
    before = list(tmp_path.iterdir())
    assert "check the path" in _missing(path, if_missing="refuse", on_locked=on_locked)
    assert list(tmp_path.iterdir()) == before
    asyncio.run(_open_and_close(path, if_missing="create", on_locked=on_locked))
    asyncio.run(_open_and_close(path, if_missing="refuse", on_locked=on_locked))
    with pytest.raises(DefinitionError, match="'create' or 'refuse'"):
        asyncio.run(_open_and_close(path, if_missing="ask"))


@pytest.mark.parametrize("suffix", ["-wal", "-wal.lost-7"])
@pytest.mark.parametrize("content", [None, b""])
def test_no_empty_store_is_created_beside_the_log_of_a_lost_one(tmp_path, content, suffix):
    """SQLite deletes the log beside an empty file: it may hold the last commits."""
    path, left = tmp_path / "jobs [1].db", tmp_path / f"jobs [1].db{suffix}"
    left.write_bytes(b"commits")
    if content is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    assert f"its engine left {left.name}; put the file back, or move {left.name} away" in _missing(path)
    assert sorted(tmp_path.iterdir()) == before
    left.rename(tmp_path / "elsewhere")
    asyncio.run(_open_and_close(path))


def test_a_lost_log_does_not_concern_a_file_with_content_or_another_file(tmp_path):
    path = tmp_path / "jobs.db"
    (tmp_path / "other.db-wal.lost-7").write_bytes(b"commits")
    asyncio.run(_open_and_close(path))
    (tmp_path / "jobs.db-wal.lost-7").write_bytes(b"commits")
    asyncio.run(_open_and_close(path))


def test_the_file_is_missed_under_the_lock_as_well(tmp_path):
    """A standby waits: meanwhile the file may go."""
    database = str(tmp_path / "jobs.db")
    with pytest.raises(StoreMissing):
        acquire(f"{database}.lock", store="jobs", database=database, if_missing="refuse")
    acquire(f"{database}.lock", store="jobs", database=database).release()


def test_a_missing_folder_is_named(tmp_path):
    assert "missing/jobs.db" in _refusal(tmp_path / "missing" / "jobs.db", StoreUnavailable)


def test_a_failed_opening_leaves_the_lock_free(tmp_path):
    path = tmp_path / "jobs.db"
    asyncio.run(_open_and_close(path))
    _execute(path, "PRAGMA user_version = 99")
    _refusal(path, StoreTooNew)
    _execute(path, f"PRAGMA user_version = {len(migrations())}")
    asyncio.run(_open_and_close(path))


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("relaxed", 1)])
def test_durability_decides_when_commits_reach_the_disk(tmp_path, durability, synchronous):
    async def main():
        disk = WatchedDisk()
        store = await disk.open(tmp_path / "jobs.db", durability=durability)
        assert store.capabilities.durability == durability
        found = await disk.execute("PRAGMA synchronous")  # a setting of the connection, seen by no other
        await store.close()
        return found

    assert asyncio.run(main()) == [(synchronous,)]


def test_an_unknown_durability_is_refused(tmp_path):
    with pytest.raises(DefinitionError, match="'full' or 'relaxed'"):
        asyncio.run(_open_and_close(tmp_path / "x.db", durability="none"))


def test_the_epoch_grows_with_every_opening(tmp_path):
    stores = [asyncio.run(_open_and_close(tmp_path / "jobs.db")) for _ in range(3)]
    assert [store.epoch for store in stores] == [1, 2, 3]


def test_the_log_of_a_crash_is_in_the_file_before_anything_is_built_on_it(tmp_path):
    """A log that was read may still not be on the disk: its sync may have failed, which is no longer known."""
    path, crashed, file_alone = tmp_path / "jobs.db", tmp_path / "crashed.db", tmp_path / "alone.db"

    async def main():
        store = await open_sqlite(path)
        await created(store, address("42"))
        for suffix in ("", "-wal"):
            shutil.copy(f"{path}{suffix}", f"{crashed}{suffix}")
        await store.close()
        store = await open_sqlite(crashed)
        shutil.copy(crashed, file_alone)  # without its log
        await store.close()

    asyncio.run(main())
    assert _query(file_alone, "SELECT id FROM instances") == [("42",)]


def test_a_missing_driver_names_the_extra_to_install(tmp_path):
    script = """
import asyncio, sys
sys.modules["aiosqlite"] = None
from perdure.stores.sqlite import open_sqlite
try:
    asyncio.run(open_sqlite("jobs.db"))
except Exception as error:
    print(type(error).__name__, error)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)  # noqa: S603 - our own script
    assert ran.stdout.startswith("DefinitionError")
    assert "pip install 'perdure[sqlite]'" in ran.stdout


def test_a_file_that_cannot_be_written_is_unavailable(tmp_path):
    script = """
import asyncio, os, sys
from perdure.stores.sqlite import open_sqlite

async def open_and_close(path):
    await (await open_sqlite(path)).close()

asyncio.run(open_and_close("warm-up.db"))  # imports modules that the user below may not be allowed to read
if os.geteuid() == 0:
    os.setuid(65534)  # permissions do not bind root
try:
    asyncio.run(open_and_close(sys.argv[1]))
except Exception as error:
    print(type(error).__name__, error)
"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.db"
        asyncio.run(_open_and_close(path))
        Path(f"{path}.lock").chmod(0o666)
        path.chmod(0o444)
        Path(folder).chmod(0o777)
        command = [sys.executable, "-c", script, str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)  # noqa: S603 - our own script
    assert ran.stdout.startswith("StoreUnavailable"), ran
    assert "Permission denied" in ran.stdout


FULL = """
import asyncio, resource, signal, sys
from perdure.stores.sqlite import open_sqlite
from perdure.values.errors import StoreUnavailable

async def open_and_close(path):
    await (await open_sqlite(path)).close()

asyncio.run(open_and_close("warm-up.db"))
for room in (0, 4096):
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))  # files that cannot grow
    try:
        asyncio.run(open_and_close(sys.argv[1]))
    except StoreUnavailable as error:
        said = str(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(said)
asyncio.run(open_and_close(sys.argv[1]))
"""


def test_a_disk_that_is_full_at_the_opening_is_unavailable_and_leaves_the_lock_free(tmp_path):
    command = [sys.executable, "-c", FULL, str(tmp_path / "jobs.db")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=60)  # noqa: S603 - our own script
    lock, file = ran.stdout.splitlines()
    assert "its lock file cannot be written" in lock
    assert "the store could not open" in file


def test_closing_ends_the_drivers_thread(tmp_path):
    before = set(threading.enumerate())

    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        await value(store.close())
        _execute(tmp_path / "jobs.db", "PRAGMA user_version = 99")
        with pytest.raises(StoreTooNew):
            await open_sqlite(tmp_path / "jobs.db")

    asyncio.run(main())
    for thread in set(threading.enumerate()) - before:
        thread.join(120)  # it answers a moment before it ends
        assert not thread.is_alive()


STOPPED = """
import asyncio, sys
from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import answer
from perdure.testing.conformance.histories import address, put

async def main(path):
    store = await open_sqlite(path)
    asked = [asyncio.ensure_future(answer(commit_one(store, put(address(str(number)))))) for number in range(3)]
    await asyncio.sleep(0)  # they ask
    await asyncio.sleep(0)  # their group leaves
    print(*[one.done() for one in asked])
    return store  # with a group in progress; the remaining tasks of the loop are cancelled

store = asyncio.run(main(sys.argv[1]))
print("stopped")
"""


def test_a_loop_that_stops_in_the_middle_of_a_commit_leaves_no_thread(tmp_path):
    command = [sys.executable, "-c", STOPPED, str(tmp_path / "jobs.db")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own script
    assert (ran.stdout, ran.stderr) == ("False False False\nstopped\n", "")
