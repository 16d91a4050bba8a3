"""An engine whose file was taken away, whatever its lock says: it writes nothing, stops and says why."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import chdir, closing

import pytest
from one_by_one import committed
from returns.result import Failure, Success
from watched_disk import WatchedDisk

from perdure import App, Task, attempt
from perdure.client.local_gateway import engine_of
from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite.database import File, open_database
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import EngineClosed, OutcomeUnknown, OwnershipLost, StoreLocked

A, B = address("a"), address("b")
_DISKS: list[WatchedDisk] = []


async def _watched(path, **options):
    disk = WatchedDisk()
    _DISKS.append(disk)
    return await disk.open(path, **options), disk


async def _opened(path):
    return (await _watched(path))[0]


async def _commit_in_doubt(store, disk):
    """Let a COMMIT fail, after which the store replaces its connection."""
    disk.fail_next("COMMIT")
    assert isinstance(await _refused(commit_one(store, put(address("in doubt"))), OutcomeUnknown), OutcomeUnknown)


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind():
    """Here a file is lost on purpose: a test that fails on the way must not leave a thread, for Python waits for it."""
    yield
    while _DISKS:
        _DISKS.pop().stop()


async def _refused(asked, kind=OwnershipLost):
    found = await answer(asked)
    assert isinstance(found, Failure), found
    assert isinstance(found.failure(), kind), found
    return found.failure()


def _part(path, suffix):
    return path.with_name(path.name + suffix)


def _write_behind(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE instances SET state = '\"theirs\"'")
        database.commit()


def _replace(path, suffix=""):
    copy = _part(path, ".copy")
    shutil.copy(_part(path, suffix), copy)
    copy.replace(_part(path, suffix))


def _write_over(path):
    path.write_bytes(path.read_bytes() + bytes(4096))


MISHAPS = {
    "another connection wrote to it": _write_behind,
    "another program wrote into the file itself": _write_over,
    "it was deleted": lambda path: path.unlink(),
    "another file was put in its place": _replace,
    "its write-ahead log was deleted": lambda path: _part(path, "-wal").unlink(),
    "in the place of its write-ahead log": lambda path: _replace(path, "-wal"),
    "its lock file was deleted": lambda path: _part(path, ".lock").unlink(),
    "another lock file was put": lambda path: _replace(path, ".lock"),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


def _rows(path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return database.execute("SELECT id, version, state FROM instances ORDER BY id").fetchall()


@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_lost_file_is_noticed_at_the_next_commit_and_nothing_is_written(path, mishap):
    async def main():
        store = await _opened(path)
        fence = await value(commit_one(store, put(A, state='"ours"')))
        MISHAPS[mishap](path)
        refused = await _refused(commit_one(store, put(A, fence, state='"more"')))
        beside = await asyncio.gather(*(answer(commit_one(store, put(address(str(number))))) for number in range(3)))
        read = await answer(load_one(store, A))
        health = await value(store.health())
        lost = store.lost.result()
        await value(store.close())
        return refused, beside, read, health, lost

    refused, beside, read, health, lost = asyncio.run(main())
    assert mishap in refused.reason
    assert lost == str(refused)
    assert [one.failure() for one in (*beside, read)] == [refused] * 4
    assert (health.state, health.detail) == ("failed", str(refused))
    if path.exists() and mishap != "another file was put in its place":
        theirs = mishap == "another connection wrote to it"
        assert _rows(path) == [("a", 1, '"theirs"' if theirs else '"ours"')]


@pytest.mark.parametrize(
    "operation",
    [
        lambda store: store.redrive(1),
        lambda store: store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)),
    ],
)
def test_every_writing_operation_notices(path, operation):
    async def main():
        store = await _opened(path)
        path.unlink()
        await _refused(operation(store))
        await value(store.close())

    asyncio.run(main())


async def _opened_without_a_lock(path):
    """Open a file as an engine does on a disk whose locks do not lock."""
    descriptor = os.open(path, os.O_RDONLY)
    file = File(path=str(path), lock=f"{path}.lock", store="second", synchronous="FULL", descriptor=descriptor)
    return await open_database(file), descriptor


def test_a_second_engine_that_no_lock_stops_deposes_the_first(path):
    def taken_over(cursor, _):
        return Success(cursor.execute("UPDATE instances SET state = '\"second\"'").rowcount)

    async def main():
        first = await _opened(path)
        await value(commit_one(first, put(A, state='"first"')))
        second, descriptor = await _opened_without_a_lock(path)
        written = await second.write([taken_over])
        await _refused(commit_one(first, put(B)))
        await value(first.close())
        written += await second.write([taken_over])
        await second.close()
        os.close(descriptor)
        return written

    assert asyncio.run(main()) == [Success(1), Success(1)]
    assert _rows(path) == [("a", 1, '"second"')]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the lock belongs to the path alone")
@pytest.mark.parametrize("where", ["in this process", "in another process"])
@pytest.mark.parametrize("name", ["hard link", "renamed folder", "deleted lock file"])
def test_a_file_has_one_owner_whatever_the_path_it_is_opened_by(path, name, where):
    served = path.parent / "served" / "jobs.db"
    served.parent.mkdir()

    def other_name():
        match name:
            case "hard link":
                path.hardlink_to(served)
                return path
            case "renamed folder":
                moved = served.parent.rename(path.parent / "moved")
                served.parent.mkdir()
                return moved / "jobs.db"
            case _:
                _part(served, ".lock").unlink()
                return served

    async def main():
        store = await _opened(served)
        try:
            fence = await created(store, A)
            other = other_name()
            if where == "in this process":
                with pytest.raises(StoreLocked):
                    await _opened(other)
            else:
                assert "StoreLocked" in await asyncio.to_thread(_elsewhere, OPEN.format(other))
            if name == "hard link":  # the attempt took nothing from the owner
                await value(commit_one(store, put(A, fence)))
                assert "database is locked" in await asyncio.to_thread(_elsewhere, SEIZE.format(served))
        finally:
            await value(store.close())

    asyncio.run(main())


OPEN = """
import asyncio
from perdure.stores.sqlite import open_sqlite

async def main():
    store = await open_sqlite('{}')
    await store.close()  # a process does not end while its store is open

asyncio.run(main())
"""
SEIZE = "import sqlite3; sqlite3.connect('{}', timeout=0).execute('PRAGMA journal_mode = DELETE')"
"""Succeeds if SQLite's own locks on the file are gone."""


def _elsewhere(script):
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stderr  # noqa: S603


def test_the_engine_of_a_deleted_file_does_not_touch_its_successor(path):
    async def main():
        first = await _opened(path)
        await created(first, A)
        for suffix in ("", "-wal", ".lock"):
            _part(path, suffix).unlink()
        second = await _opened(path)
        await value(commit_one(second, put(B, state='"second"')))
        await _refused(commit_one(first, put(A)))
        await value(first.close())
        for suffix in ("", "-wal"):  # as a crash at this moment would leave them
            shutil.copy(_part(path, suffix), path.with_name(f"crashed.db{suffix}"))
        await value(second.close())

    asyncio.run(main())
    assert _rows(path.with_name("crashed.db")) == [("b", 1, '"second"')]


def test_the_log_of_a_replaced_file_is_set_aside(path):
    """Left in its place, it would be read as the log of the file that was put there."""

    async def main():
        store = await _opened(path)
        await value(commit_one(store, put(A, state='"old"')))
        with closing(sqlite3.connect(path.with_name("backup.db"))) as backup, closing(sqlite3.connect(path)) as source:
            source.backup(backup)
            backup.execute("UPDATE instances SET state = '\"restored\"'")
            backup.commit()
        path.with_name("backup.db").replace(path)
        await _refused(commit_one(store, put(B)))
        await value(store.close())
        again = await _opened(path)
        found = await value(again.find(Query()))
        await value(again.close())
        return [one.state for one in found]

    assert asyncio.run(main()) == ['"restored"']
    assert [file.name for file in path.parent.glob("*.lost-*")] == ["jobs.db-wal.lost-1"]


def test_a_backup_that_is_copied_over_the_file_of_an_engine_is_kept(path):
    """`cp` leaves the file's name and identity alone: the engine must not continue or move its log into the backup."""

    async def main():
        store = await _opened(path)
        fence = await value(commit_one(store, put(A, state=f'"{"old" * 5_000}"')))
        backup = await value(store.backup.make(path.with_name("backup.db"), lambda _: None))
        await value(commit_one(store, put(A, fence, state='"new"')))
        shutil.copyfile(backup.path, path)
        refused = await _refused(commit_one(store, put(B)))
        await value(store.close())
        kept = path.read_bytes() == path.with_name("backup.db").read_bytes()
        again = await _opened(path)
        found = await value(again.find(Query()))
        await value(again.close())
        return refused, kept, [one.state[:4] for one in found]

    refused, kept, found = asyncio.run(main())
    assert "a copy over it" in refused.reason
    assert kept
    assert found == ['"old']
    assert [file.name for file in path.parent.glob("*.lost-*")] == ["jobs.db-wal.lost-1"]


async def _busy(store, fences, rounds):
    """Commit so much that the log is moved into the file several times; return the refusal, if there was one."""
    for number in range(rounds):
        found = await answer(commit_one(store, put(A, fences.get(A), state=f'"{str(number % 10) * 9_000}"')))
        if not isinstance(found, Success):
            return found.failure()
        fences[A] = found.unwrap()
    return None


OVERWRITES = {
    "truncated": lambda path: os.truncate(path, 0),
    "a backup": lambda path: shutil.copyfile(path.with_name("backup.db"), path),
    "a copy from before it was opened": lambda path: shutil.copyfile(path.with_name("older.db"), path),
}


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("overwrite", OVERWRITES)
def test_a_file_that_is_overwritten_during_a_checkpoint_acknowledges_nothing(path, overwrite, moment):
    """The checkpoint changes the file as well: only the bytes that it wrote distinguish them."""
    happened = []

    def overwritten(now, sql):
        if (now, sql) == (moment, "PRAGMA wal_checkpoint(PASSIVE)") and not happened:
            OVERWRITES[overwrite](path)
            happened.append(now)

    async def opened():
        return await _watched(path, cache_bytes=0, checkpoint_pages=20)

    async def main():
        (store, _), fences = await opened(), {}
        assert await _busy(store, fences, 20) is None
        await value(store.close())
        shutil.copyfile(path, path.with_name("older.db"))
        store, disk = await opened()
        assert await _busy(store, fences, 20) is None
        await value(store.backup.make(path.with_name("backup.db"), lambda _: None))
        assert await _busy(store, fences, 20) is None
        disk.on_statement = overwritten
        refused = await _busy(store, fences, 40)
        assert happened
        await _refused(commit_one(store, put(B)))
        await value(store.close())
        return refused

    refused = asyncio.run(main())
    assert isinstance(refused, OutcomeUnknown)
    assert "another program wrote into the file itself" in str(refused)


def test_a_log_that_another_program_cuts_is_noticed(path):
    async def main():
        store = await _opened(path)
        fence = await created(store, A)
        os.truncate(_part(path, "-wal"), 0)
        refused = await _refused(commit_one(store, put(A, fence)))
        await value(store.close())
        return refused

    assert "wrote into its write-ahead log" in asyncio.run(main()).reason


def test_a_checkpoint_from_outside_is_noticed_and_costs_nothing(path):
    async def main():
        store = await _opened(path)
        await value(commit_one(store, put(A, state=f'"{"x" * 5_000}"')))
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA wal_checkpoint")
        refused = await _refused(commit_one(store, put(B)))
        await value(store.close())
        return refused

    assert "a checkpoint from outside" in asyncio.run(main()).reason
    assert [row[:2] for row in _rows(path)] == [("a", 1)]


def test_a_backup_that_is_copied_over_is_kept_whatever_is_noticed_first(path):
    """The write of another connection is found before the copy, and closing the store must still move nothing."""

    async def main():
        store = await _opened(path)
        fence = await value(commit_one(store, put(A, state=f'"{"old" * 5_000}"')))
        backup = await value(store.backup.make(path.with_name("backup.db"), lambda _: None))
        await value(commit_one(store, put(A, fence, state='"new"')))
        _write_behind(path)
        shutil.copyfile(backup.path, path)
        refused = await _refused(commit_one(store, put(B)))
        await value(store.close())
        return refused

    assert "another connection wrote" in asyncio.run(main()).reason
    assert path.read_bytes() == path.with_name("backup.db").read_bytes()
    assert [file.name for file in path.parent.glob("*.lost-*")] == ["jobs.db-wal.lost-1"]


def test_a_file_that_is_no_longer_a_database_remains_unchanged(path):
    async def main():
        store = await _opened(path)
        await created(store, A)
        path.write_bytes(b"rubbish")
        await _refused(commit_one(store, put(B)))
        await value(store.close())

    asyncio.run(main())
    assert path.read_bytes() == b"rubbish"
    assert [file.name for file in path.parent.glob("*.lost-*")] == ["jobs.db-wal.lost-1"]


def test_the_engines_own_checkpoints_take_nothing_away(path):
    async def main():
        store = await _opened(path)
        sizes = set()
        for number in range(6):
            await asyncio.gather(
                *(
                    value(commit_one(store, put(address(f"{number}-{one}"), state=f'"{"x" * 9_000}"')))
                    for one in range(100)
                )
            )
            sizes.add(path.stat().st_size)
        await value(store.close())
        return sizes

    assert len(asyncio.run(main())) > 1


def test_a_file_that_goes_while_a_commit_is_on_its_way_acknowledges_nothing(path):
    async def main():
        store, disk = await _watched(path)
        disk.on_statement = lambda moment, sql: path.unlink() if (moment, sql) == ("before", "COMMIT") else None
        answers = await committed(store, (put(A), put(B)))  # in one transaction
        lost = store.lost.done()
        await value(store.close())
        return answers, lost

    answers, lost = asyncio.run(main())
    assert all(isinstance(one, Failure) and isinstance(one.failure(), OutcomeUnknown) for one in answers)
    assert lost


@pytest.mark.parametrize(
    ("mishap", "said"),
    [
        (lambda path: path.unlink(), "it was deleted"),
        (_replace, "another file was put in its place"),
        (lambda path: _count_an_opening(path), "another connection or program wrote"),  # noqa: PLW0108 - it is made below
    ],
)
def test_a_connection_that_is_replaced_finds_the_same_file_or_none(path, mishap, said):
    async def main():
        store, disk = await _watched(path)
        await created(store, A)
        await _commit_in_doubt(store, disk)
        mishap(path)
        existed = path.exists()
        refused = await _refused(commit_one(store, put(B)))
        assert path.exists() == existed
        lost = store.lost.result()
        await value(store.close())
        return refused, lost

    refused, lost = asyncio.run(main())
    assert said in refused.reason
    assert lost == str(refused)


def _count_an_opening(path):
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE counters SET epoch = epoch + 1")
        database.commit()


def test_a_replaced_connection_continues_with_its_own_file(path):
    async def main():
        store, disk = await _watched(path)
        for id_ in ("a", "b"):
            await _commit_in_doubt(store, disk)
            await created(store, address(id_))
        await value(store.close())

    asyncio.run(main())
    assert [row[0] for row in _rows(path)] == ["a", "b"]


def test_looking_at_the_file_from_outside_takes_nothing_away(path):
    async def main():
        store = await _opened(path)
        fence = await created(store, A)
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
            assert reader.execute("SELECT count(*) FROM instances").fetchone() == (1,)
            fence = await value(commit_one(store, put(A, fence)))
        await value(commit_one(store, put(A, fence)))
        await value(store.close())

    asyncio.run(main())


def test_a_change_of_the_working_directory_takes_nothing_away(tmp_path):
    async def main():
        with chdir(tmp_path):
            store = await _opened("jobs.db")
        await created(store, A)
        await value(store.close())

    asyncio.run(main())


def test_a_file_has_one_owner_whatever_the_name_it_is_opened_by(path):
    path.with_name("link.db").symlink_to(path)

    async def main():
        store = await _opened(path.with_name("link.db"))
        with pytest.raises(StoreLocked):
            await _opened(path)
        await created(store, A)
        await value(store.close())

    asyncio.run(main())
    assert path.exists()


def test_the_engine_stops_and_says_why(path):
    counter = Task("counter", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event))

    async def main():
        async with App(None).with_jobs(counter).open(f"sqlite:///{path}") as jobs:
            await jobs.handle(counter).send("a", 1)
            MISHAPS["it was deleted"](path)
            refused = (await attempt(jobs.handle(counter).send("a", 2))).failure()
            reason = await engine_of(jobs).stopped
            assert isinstance((await attempt(jobs.handle(counter).send("a", 3))).failure(), EngineClosed)
        return refused, reason

    refused, reason = asyncio.run(main())
    assert reason == str(refused)
