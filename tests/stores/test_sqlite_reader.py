"""A look at a file from outside: beside its owner, after a crash, and never a trace of it."""

import asyncio
import shutil
import signal
import sqlite3
from contextlib import closing

import pytest

from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.sqlite.schema import migrations
from perdure.testing.conformance.histories import address, created
from perdure.values.errors import StoreCorrupt, StoreTooNew, StoreUnavailable

IDS = "SELECT id FROM instances ORDER BY incarnation LIMIT 10"


async def written(path, look):
    """Write an instance, and look at the file while its owner has it."""
    store = await open_sqlite(path)
    await created(store, address("first"))
    seen = look()
    await created(store, address("second"))
    await store.close()
    return seen


def test_it_reads_beside_the_owner_without_the_lock(tmp_path):
    path = tmp_path / "jobs.db"

    def look():
        with read_from_outside(path) as reader:
            assert reader.schema_version == len(migrations())
            return reader.rows(IDS)

    assert asyncio.run(written(path, look)) == [("first",)]
    with read_from_outside(path) as reader:
        assert reader.rows(IDS) == [("first",), ("second",)]


def test_a_long_look_does_not_stop_the_owner_from_writing_and_checkpointing(tmp_path):
    path = tmp_path / "jobs.db"

    async def main():
        store = await open_sqlite(path)
        await created(store, address("first"))
        with read_from_outside(path) as reader:
            reader.rows(IDS)
            await created(store, address("second"))
            with closing(sqlite3.connect(path)) as other:
                busy, in_log, moved = other.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
            assert (busy, in_log) == (0, moved)
            assert reader.rows(IDS) == [("first",), ("second",)]
        await store.close()

    asyncio.run(main())


def test_it_leaves_file_and_log_as_they_are_after_a_crash(tmp_path):
    path, crashed = tmp_path / "jobs.db", tmp_path / "crashed.db"

    def crash():
        shutil.copy(path, crashed)
        shutil.copy(f"{path}-wal", f"{crashed}-wal")

    asyncio.run(written(path, crash))
    log = crashed.with_name("crashed.db-wal")
    before = crashed.read_bytes(), log.read_bytes()
    assert before[1]
    with read_from_outside(crashed) as reader:
        assert reader.rows(IDS) == [("first",)]
    assert (crashed.read_bytes(), log.read_bytes()) == before


@pytest.mark.parametrize("statement", ["DELETE FROM instances", "PRAGMA user_version = 7", "VACUUM"])
def test_it_cannot_write(tmp_path, statement):
    path = tmp_path / "jobs.db"
    asyncio.run(written(path, lambda: None))
    before = path.read_bytes()
    with read_from_outside(path) as reader, pytest.raises(StoreUnavailable):
        reader.rows(statement)
    assert path.read_bytes() == before


def test_it_reports_the_problem_of_a_file(tmp_path):
    path = tmp_path / "jobs?.db"
    with pytest.raises(StoreUnavailable, match="there is no such file"), read_from_outside(path):
        pass
    path.write_bytes(b"")
    with pytest.raises(StoreCorrupt, match="it is empty"), read_from_outside(path):
        pass
    path.write_bytes(b"this is no database, but a text that is long enough to have a header" * 20)
    with pytest.raises(StoreCorrupt, match="not a database"), read_from_outside(path):
        pass
    path.unlink()
    asyncio.run(written(path, lambda: None))
    with read_from_outside(path) as reader, pytest.raises(StoreUnavailable, match="no such table"):
        reader.rows("SELECT * FROM nowhere")
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreTooNew), read_from_outside(path):
        pass


class Interrupting(int):
    """A limit whose first comparison interrupts the process, as a user may do while SQLite works."""

    compared = 0

    def __lt__(self, other: object) -> bool:
        self.compared += 1
        if self.compared == 1:
            signal.raise_signal(signal.SIGINT)
        return False


def test_an_interrupt_while_sqlite_checks_the_file_arrives(tmp_path):
    """The driver drops an exception of a progress handler, and reports an interrupted statement."""
    path = tmp_path / "jobs.db"
    asyncio.run(written(path, lambda: None))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE many (n)")
        rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000) SELECT i FROM n"
        connection.execute(f"INSERT INTO many {rows}")
        connection.execute("CREATE INDEX by_n ON many (n)")
        connection.commit()
    # A program in the background of a shell ignores this signal, and so would the test.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with read_from_outside(path) as reader, pytest.raises(KeyboardInterrupt):
            reader.findings(max_log_growth_bytes=Interrupting(1))
    finally:
        signal.signal(signal.SIGINT, before)
