"""A backup of a store in use: its content, and the files that remain when it fails."""

from __future__ import annotations

import asyncio
import gc
import shutil
import sqlite3
import stat
import subprocess
import sys
import weakref
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from watched_disk import WatchedDisk

from perdure import App, Client, Program, Task, TaskContext, attempt, effect, tell
from perdure.client.local_gateway import engine_of
from perdure.stores.contract import Store, commit_one
from perdure.stores.memory import memory_store
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.thread import ConnectionLoan, WorkConnection
from perdure.stores.values import Backup, BackupProgress, OnBackupProgress, Query
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import BackupFailed, OutcomeUnknown, OwnershipLost, StoreError, StoreUnavailable

BIG = f'"{"x" * 3_000}"'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of some fifty pages."""
    path = tmp_path / "jobs.db"

    async def fill() -> None:
        store = await open_sqlite(path)
        await asyncio.gather(*(value(commit_one(store, put(address(str(number)), state=BIG))) for number in range(40)))
        await value(store.close())

    asyncio.run(fill())
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "copy.db"


async def opened(path: Path) -> tuple[Store, WatchedDisk]:
    """Open a store that backs up a page at a time, so that there is something between the steps."""
    disk = WatchedDisk()
    return await disk.open(path, backup_pages=1), disk


def backed_up(store: Store, target: Path, progress: OnBackupProgress) -> FutureResult[Backup, StoreError]:
    assert store.backup is not None
    return store.backup.make(target, progress)


def ids(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {id_ for (id_,) in database.execute("SELECT id FROM instances")}


def test_commits_continue_between_the_steps_and_are_in_the_copy(path: Path, target: Path) -> None:
    seen: list[BackupProgress] = []
    tasks: list[asyncio.Future[object]] = []

    async def main() -> Result[Backup, StoreError]:
        store, _ = await opened(path)

        def meanwhile(progress: BackupProgress) -> None:
            seen.append(progress)
            tasks.append(asyncio.ensure_future(created(store, address(f"new {len(seen)}"))))

        made = await answer(backed_up(store, target, meanwhile))
        await asyncio.gather(*tasks)
        await value(store.close())
        return made

    made = asyncio.run(main())
    assert made == Success(Backup(str(target), target.stat().st_size))
    assert len(seen) > 40
    assert [one.copied_bytes for one in seen] == sorted(one.copied_bytes for one in seen)
    assert seen[-1].copied_bytes == seen[-1].total_bytes == target.stat().st_size
    copied = ids(target)
    assert {str(number) for number in range(40)} <= copied
    assert "new 1" in copied
    assert copied < ids(path)
    assert [file.name for file in target.parent.iterdir() if file.suffix == ".partial"] == []


def test_the_log_is_checkpointed_while_a_backup_is_made(path: Path, target: Path) -> None:
    """No reader holds the log up: it is moved whole between two steps."""
    moved: list[tuple[int, int, int]] = []

    async def main() -> None:
        store, disk = await opened(path)

        async def commit_and_checkpoint() -> None:
            await created(store, address("new"))
            moved.extend(await disk.execute("PRAGMA wal_checkpoint(PASSIVE)"))

        def meanwhile(progress: BackupProgress) -> None:
            if progress.copied_bytes == progress.total_bytes // 2 // 4096 * 4096:
                tasks.append(asyncio.ensure_future(commit_and_checkpoint()))

        tasks: list[asyncio.Future[Any]] = []
        await value(backed_up(store, target, meanwhile))
        await asyncio.gather(*tasks)
        await value(store.close())

    asyncio.run(main())
    ((busy, in_log, checkpointed),) = moved
    assert (busy, in_log) == (0, checkpointed)


@pytest.mark.parametrize("at", [1, 20])
def test_a_cancelled_backup_leaves_no_file_and_the_store_continues(path: Path, target: Path, at: int) -> None:
    async def main() -> None:
        store, _ = await opened(path)
        reported: list[BackupProgress] = []

        def meanwhile(progress: BackupProgress) -> None:
            reported.append(progress)
            if len(reported) == at:
                task.cancel()

        task = asyncio.ensure_future(answer(backed_up(store, target, meanwhile)))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(target.parent.iterdir()) == []
        await created(store, address("after"))
        await value(store.backup.make(target, reported.append))  # type: ignore[misc]
        await value(store.close())

    asyncio.run(main())
    assert "after" in ids(target)


def test_a_callback_that_breaks_breaks_the_backup_and_nothing_else(path: Path, target: Path) -> None:
    async def main() -> None:
        store, _ = await opened(path)
        with pytest.raises(ZeroDivisionError):
            await answer(backed_up(store, target, lambda _: 1 // 0))
        await created(store, address("after"))
        await value(store.close())

    asyncio.run(main())
    assert list(target.parent.iterdir()) == []


def test_a_closed_store_ends_its_backups_and_releases_the_file(path: Path, target: Path) -> None:
    async def main() -> Result[Backup, StoreError]:
        store, _ = await opened(path)
        closing: list[asyncio.Future[Any]] = []

        def meanwhile(_: BackupProgress) -> None:
            if not closing:
                closing.append(asyncio.ensure_future(value(store.close())))

        made = await answer(backed_up(store, target, meanwhile))
        await closing[0]
        await value((await open_sqlite(path)).close())
        return made

    made = asyncio.run(main())
    assert isinstance(made.failure(), StoreUnavailable)
    assert list(target.parent.iterdir()) == []
    assert not Path(f"{path}-wal").exists()  # the last connection to the file is closed


def test_a_connection_that_is_replaced_ends_the_backup_on_it(path: Path, target: Path) -> None:
    async def main() -> Result[Backup, StoreError]:
        store, disk = await opened(path)
        broken: list[asyncio.Future[Any]] = []

        def meanwhile(_: BackupProgress) -> None:
            if not broken:
                disk.fail_next("COMMIT")
                broken.append(asyncio.ensure_future(answer(commit_one(store, put(address("broken"))))))

        made = await answer(backed_up(store, target, meanwhile))
        assert isinstance((await broken[0]).failure(), OutcomeUnknown)
        await created(store, address("after"))
        await value(store.close())
        return made

    made = asyncio.run(main())
    assert "reopened" in str(made.failure())
    assert list(target.parent.iterdir()) == []


def test_a_store_that_is_lost_ends_its_backups_at_once(path: Path, target: Path) -> None:
    async def main() -> Result[Backup, StoreError]:
        store, _ = await opened(path)
        tasks: list[asyncio.Future[Any]] = []

        def meanwhile(_: BackupProgress) -> None:
            if not tasks:
                shutil.move(f"{path}.lock", f"{path}.elsewhere")
                tasks.append(asyncio.ensure_future(answer(commit_one(store, put(address("late"))))))

        made = await answer(backed_up(store, target, meanwhile))
        assert isinstance((await tasks[0]).failure(), OwnershipLost)
        await value(store.close())
        return made

    made = asyncio.run(main())
    assert isinstance(made.failure(), OwnershipLost)
    assert list(target.parent.iterdir()) == []


def test_an_existing_file_remains_unchanged(path: Path, target: Path) -> None:
    partial = target.with_name("copy.db.partial")

    async def main(at: Path) -> str:
        store = await open_sqlite(path)
        made = await answer(store.backup.make(at, lambda _: None))  # type: ignore[misc]
        await value(store.close())
        assert isinstance(made.failure(), BackupFailed)
        return str(made.failure())

    target.write_text("mine")
    assert "a file of that name exists" in asyncio.run(main(target))
    assert target.read_text() == "mine"
    target.unlink()
    partial.write_text("another's")
    assert "copy.db.partial exists: another backup is running" in asyncio.run(main(target))
    assert partial.read_text() == "another's"
    assert "its folder must exist" in asyncio.run(main(target.parent / "nowhere" / "copy.db"))
    assert "a file of that name exists" in asyncio.run(main(path))


def test_a_file_that_comes_meanwhile_is_left_alone(path: Path, target: Path) -> None:
    async def main() -> Result[Backup, StoreError]:
        store, _ = await opened(path)
        made = await answer(backed_up(store, target, lambda _: None if target.exists() else target.touch()))
        await value(store.close())
        return made

    assert isinstance(asyncio.run(main()), Failure)
    assert target.read_bytes() == b""
    assert list(target.parent.iterdir()) == [target]


def test_a_backup_is_readable_by_the_readers_of_the_store_only(path: Path, target: Path) -> None:
    path.chmod(0o600)

    async def main() -> None:
        store = await open_sqlite(path)
        await value(store.backup.make(target, lambda _: None))  # type: ignore[misc]
        await value(store.close())

    asyncio.run(main())
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


FULL_DISK = """
import asyncio, resource, sys
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import answer

async def main(path, target):
    store = await open_sqlite(path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    print((await answer(store.backup.make(target, lambda _: None))).failure())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print((await answer(store.health())).unwrap().state)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_full_disk_leaves_nothing_half(path: Path, target: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(path), str(target)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    failure, health = ran.stdout.splitlines()
    assert failure.startswith(f"no file was written to {target}: ")
    assert health == "ok"
    assert list(target.parent.iterdir()) == []


def test_a_store_that_makes_no_backups_says_so(target: Path) -> None:
    async def main() -> Result[Backup, StoreError]:
        async with App(None).open(memory_store()) as jobs:
            return await attempt(jobs.backup(target))

    assert "memory:// has no backup" in str(asyncio.run(main()).failure())


# ---------------------------------------------------------------- a whole app, restored
Reached = tuple[asyncio.Event, asyncio.Event]


@effect
def reach_out(services: Reached, event: int) -> FutureResult[None, object]:
    async def reach() -> Result[None, object]:
        reached, may_continue = services
        reached.set()
        await may_continue.wait()
        return Success(None)

    return FutureResult(reach())


def on_event(ctx: TaskContext[int], event: int) -> Program[Any, Any, Any]:
    if event < 0:
        return reach_out(event).bind(lambda _: ctx.set_state(event))
    return ctx.update_state(lambda state: state + event).bind(lambda _: tell(LEDGER, "book").send(event))


PLAIN = Task("plain", state=int, event=int, initial=0, on_event=on_event)
LEDGER = Task(
    "ledger", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.update_state(lambda n: n + event)
)


def services() -> Reached:
    return asyncio.Event(), asyncio.Event()


def test_a_backup_opens_and_continues_from_the_state_of_the_store(tmp_path: Path, target: Path) -> None:
    """Runs are recovered, keys return their answers again, messages are applied once, alarms remain."""

    async def original() -> None:
        reached, may_continue = given = services()
        async with App(given).with_jobs(PLAIN, LEDGER).open(f"sqlite:///{tmp_path / 'jobs.db'}") as jobs:
            await jobs.handle(PLAIN).send("a", 5, idempotency_key="k")
            running = asyncio.ensure_future(jobs.handle(PLAIN).send("b", -1))
            await reached.wait()
            await jobs.backup(target)
            await jobs.handle(PLAIN).send("a", 100)
            may_continue.set()
            await running

    async def settled(jobs: Client) -> int | None:
        while (await jobs.handle(LEDGER).get_state("book")) != 5:  # noqa: ASYNC110 - a delivery notifies no caller
            await asyncio.sleep(0)
        return await jobs.handle(PLAIN).get_state("b")

    async def restored() -> None:
        reached, may_continue = given = services()
        may_continue.set()
        async with App(given).with_jobs(PLAIN, LEDGER).open(f"sqlite:///{target}") as jobs:
            assert engine_of(jobs).store.epoch == 2
            await reached.wait()  # the run that was in progress is delivered again
            await jobs.handle(PLAIN).send("a", 5, idempotency_key="k")
            assert await jobs.handle(PLAIN).get_state("a") == 5
            await settled(jobs)
            assert await jobs.handle(PLAIN).send("b", 0)  # behind the recovered run
            assert await jobs.handle(PLAIN).get_state("b") == -1
            assert len(await value(engine_of(jobs).store.find(Query()))) == 3

    asyncio.run(original())
    asyncio.run(restored())


def test_a_loan_that_is_over_is_forgotten_with_the_next_one() -> None:
    with closing(sqlite3.connect(":memory:", factory=WorkConnection)) as connection:
        loans = [ConnectionLoan(is_over=at < 2) for at in range(3)]
        known = [weakref.ref(loan) for loan in loans]
        for loan in loans:
            connection.lend(loan)
        del loans, loan
        gc.collect()
        assert [loan() is None for loan in known] == [True, True, False]
