"""``perdure backup``: a copy that opens as a store, or a word on why there is none."""

import asyncio
import signal
import sqlite3
from contextlib import closing

import pytest

from perdure.cli.maintenance import backup
from perdure.cli.process import UsageError
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.histories import address, created

SHOP = """
from perdure import Continuous, App, every

ticker = Continuous("ticker", state=int, schedule=every("1 hour"), execute=lambda ctx: ctx.set_state(1))
app = App(None).with_jobs(ticker)
"""
RUN = ("run", "shop:app", "--store", "sqlite:///jobs.db")
BACKUP = ("backup", "--store", "sqlite:///jobs.db", "--output", "copy.db")


def fill(path):
    async def main():
        store = await open_sqlite(path)
        await created(store, address("a"))
        await store.close()

    asyncio.run(main())


def ids(path):
    with closing(sqlite3.connect(path)) as database:
        return [id_ for (id_,) in database.execute("SELECT id FROM instances")]


@pytest.mark.parametrize("owned", [False, True])
def test_a_backup_of_an_idle_store_and_beside_its_owner(start, tmp_path, owned):
    (tmp_path / "shop.py").write_text(SHOP)
    fill(tmp_path / "jobs.db")
    owner = start(*RUN) if owned else None
    if owner is not None:
        owner.line("serving")
    command = start(*BACKUP)
    assert command.end() == 0, command.story
    assert command.seen == [f"copy.db: {(tmp_path / 'copy.db').stat().st_size // 1024} KiB"]
    assert command.error == ""  # no terminal, so no progress
    assert ids(tmp_path / "copy.db") == ["a"]
    if owner is not None:
        owner.signal(signal.SIGTERM)
        assert owner.end() == 0
    restored = start("run", "shop:app", "--store", "sqlite:///copy.db")
    restored.line("serving 1 job")


def test_an_impossible_request_is_reported(start, tmp_path):
    fill(tmp_path / "jobs.db")
    (tmp_path / "copy.db").write_text("mine")
    runs = {
        "taken": start(*BACKUP),
        "nowhere": start("backup", "--store", "sqlite:///nowhere.db", "--output", "new.db"),
        "memory": start("backup", "--store", "memory://", "--output", "new.db"),
    }
    assert [run.end() for run in runs.values()] == [2, 2, 2], [run.story for run in runs.values()]
    assert "a file of that name exists" in runs["taken"].error
    assert "there is no such file" in runs["nowhere"].error
    assert "only a file can be read without" in runs["memory"].error
    assert (tmp_path / "copy.db").read_text() == "mine"
    assert not (tmp_path / "new.db").exists()


def test_a_limit_below_nothing(tmp_path):
    with pytest.raises(UsageError, match="--max-wal-mib -1: expected a number from 0"):
        backup(store="sqlite:///jobs.db", output=tmp_path / "copy.db", max_wal_mib=-1)
