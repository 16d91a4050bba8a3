"""The answers of a SQLite store to errors of SQLite, by the statement that fails, beside the rows that are stored then.

SQLite itself raises each error: the tests deny it a statement, fill the file, or let a trigger refuse a row.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Literal, TypeAlias

import attrs
import pytest
from one_by_one import committed
from returns.result import Failure, Success
from watched_disk import WatchedDisk

from perdure.stores.contract import Store, commit_one, load_one
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import OutcomeUnknown, StoreCorrupt, StoreUnavailable

A, B, C = address("a"), address("b"), address("c")
BIG = f'"{"x" * 200_000}"'

Fate: TypeAlias = Literal["all are refused", "one is refused", "not known"]

TRIGGER = "CREATE TEMP TRIGGER refuse BEFORE {on} ON main.instances WHEN NEW.id = 'b' BEGIN SELECT {raises}; END"


def deny(action: int, *named: str) -> Any:
    """Return a function that lets a connection refuse an action, and counts how often it did."""

    def set_up(connection: sqlite3.Connection, denied: list[str]) -> None:
        def decide(wanted: int, first: str | None, *_: object) -> int:
            if wanted == action and (not named or first in named):
                denied.append(str(first))
                return sqlite3.SQLITE_DENY
            return sqlite3.SQLITE_OK

        connection.set_authorizer(decide)

    return set_up


def run(*statements: str) -> Any:
    """Return a function that executes statements on a connection."""

    def set_up(connection: sqlite3.Connection, _: list[str]) -> None:
        for statement in statements:
            connection.execute(statement)

    return set_up


def interrupt(connection: sqlite3.Connection, denied: list[str]) -> None:
    """Interrupt each statement that writes a row, as an operator's tool or a progress handler does."""

    def stop() -> int:
        denied.append("interrupted")
        return 1

    connection.set_progress_handler(stop, 1)


def fill(connection: sqlite3.Connection, _: list[str]) -> None:
    """Leave four pages: too few for the large row."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")


def repair(connection: sqlite3.Connection) -> None:
    connection.set_authorizer(None)
    connection.set_progress_handler(None, 0)
    connection.execute("DROP TRIGGER IF EXISTS temp.refuse")
    connection.execute("PRAGMA query_only = off")
    connection.execute("PRAGMA max_page_count = 1000000")


@attrs.frozen
class Case:
    """An error, and the answers that it must have.

    Attributes:
        name: the error.
        set_up: provokes it.
        fate: the answers to a group of three writes, of which the second one may be the cause.
        connection: whether the store replaces its connection.
        denied: how often SQLite refused; None: not counted.
    """

    name: str
    set_up: Any
    fate: Fate
    connection: Literal["kept", "replaced"] = "kept"
    denied: int | None = None


BEGIN, COMMIT, ROLLBACK = (deny(sqlite3.SQLITE_TRANSACTION, word) for word in ("BEGIN", "COMMIT", "ROLLBACK"))

CASES = (
    Case("BEGIN is refused", BEGIN, "all are refused", denied=1),
    Case("COMMIT is refused", COMMIT, "not known", "replaced", denied=1),
    Case(
        "a trigger ends the statement", run(TRIGGER.format(on="INSERT", raises="RAISE(ABORT, 'no')")), "one is refused"
    ),
    Case("a trigger leaves rows", run(TRIGGER.format(on="INSERT", raises="RAISE(FAIL, 'no')")), "one is refused"),
    Case(
        "a trigger ends the transaction",
        run(TRIGGER.format(on="INSERT", raises="RAISE(ROLLBACK, 'no')")),
        "one is refused",
    ),
    Case("the file is full", fill, "one is refused"),
    Case("the file is read-only", run("PRAGMA query_only = on"), "all are refused"),
    Case("the table may not be written", deny(sqlite3.SQLITE_INSERT, "instances"), "all are refused"),
    Case("statements are interrupted", interrupt, "all are refused"),
)


def play(disk: WatchedDisk, scenario: Coroutine[Any, Any, None]) -> None:
    """Run a scenario; one that fails leaves no thread."""
    try:
        asyncio.run(scenario)
    finally:
        disk.stop()


async def on_connection(disk: WatchedDisk, work: Any) -> None:
    await disk.threads[-1].thread.run(lambda cursor: work(cursor.connection))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_answers_to_a_group_of_writes(tmp_path: Path, case: Case) -> None:
    disk, denied = WatchedDisk(), list[str]()

    async def main() -> None:
        store = await disk.open(tmp_path / "jobs.db")
        kept = await created(store, address("kept"))
        await on_connection(disk, lambda connection: case.set_up(connection, denied))
        answers = await committed(store, (put(A), put(B, state=BIG), put(C)))
        if case.connection == "kept":
            await on_connection(disk, repair)
        stored = [(await value(load_one(store, one))).instance is not None for one in (A, B, C)]
        assert len(disk.threads) == (1 if case.connection == "kept" else 2)
        if case.denied is not None:
            assert len(denied) == case.denied, "the store repeats a statement that fails for all"
        check(case.fate, answers, stored)
        await value(commit_one(store, put(address("kept"), kept)))  # the store writes again, over the row from before
        await value(store.close())

    play(disk, main())


def test_batches_that_wait_together_begin_one_transaction(tmp_path: Path) -> None:
    """If it cannot begin, all are refused at once: each would wait as long for the other program."""
    disk, denied = WatchedDisk(), list[str]()
    (case,) = [each for each in CASES if each.name == "BEGIN is refused"]

    async def main() -> None:
        store = await disk.open(tmp_path / "jobs.db")
        await on_connection(disk, lambda connection: case.set_up(connection, denied))
        parts = await asyncio.gather(*(committed(store, [put(one)]) for one in (A, B, C)))
        await on_connection(disk, repair)
        stored = [(await value(load_one(store, one))).instance is not None for one in (A, B, C)]
        assert len(denied) == 2, "the first one begins at once, and the others together"
        check(case.fate, [answer for part in parts for answer in part], stored)
        await value(store.close())

    play(disk, main())


def check(fate: Fate, answers: list[Any], stored: list[bool]) -> None:
    kinds = [None if isinstance(one, Success) else type(one.failure()) for one in answers]
    match fate:
        case "all are refused":
            assert (kinds, stored) == ([StoreUnavailable] * 3, [False] * 3)
        case "one is refused":
            assert (kinds, stored) == ([None, StoreUnavailable, None], [True, False, True])
        case "not known":
            assert kinds == [OutcomeUnknown] * 3
            assert len(set(stored)) == 1, "one transaction: all or none"


def test_a_transaction_that_cannot_be_ended_is_refused_and_its_connection_replaced(tmp_path: Path) -> None:
    """SQLite refuses the statement and then the ROLLBACK: nothing later may join that transaction."""
    disk, denied = WatchedDisk(), list[str]()

    async def main() -> None:
        store = await disk.open(tmp_path / "jobs.db")
        await created(store, address("kept"))
        refuse = run(TRIGGER.format(on="INSERT", raises="RAISE(ABORT, 'no')"))
        await on_connection(disk, lambda connection: (refuse(connection, denied), ROLLBACK(connection, denied)))
        answers = await committed(store, [put(one) for one in (A, B, C)])
        assert [type(one.failure()) for one in answers if isinstance(one, Failure)] == [StoreUnavailable] * 3
        stored = [(await value(load_one(store, one))).instance is not None for one in (A, B, C)]
        assert (stored, len(disk.threads)) == ([False] * 3, 2)
        await value(commit_one(store, put(A)))
        await value(store.close())

    play(disk, main())


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (sqlite3.OperationalError("disk I/O error"), StoreUnavailable),
        (sqlite3.OperationalError("database is locked"), StoreUnavailable),
        (sqlite3.OperationalError("interrupted"), StoreUnavailable),
        (sqlite3.DatabaseError("database disk image is malformed"), StoreCorrupt),
        (sqlite3.DatabaseError("file is not a database"), StoreCorrupt),
        (OverflowError("Python int too large to convert to SQLite INTEGER"), StoreUnavailable),
    ],
    ids=str,
)
def test_the_answer_to_a_read_that_fails(tmp_path: Path, raised: Exception, expected: type) -> None:
    """Damage is read twice: a disk may fail for a moment. The store then answers the next read."""

    disk = WatchedDisk()

    async def main() -> None:
        store: Store = await disk.open(tmp_path / "jobs.db")
        await created(store, A)
        reads = list[str]()

        def refuse(moment: str, sql: str) -> None:
            if moment == "before" and sql.lstrip().startswith("SELECT"):
                reads.append(sql)
                raise raised

        disk.on_statement = refuse
        refused = await answer(load_one(store, B))
        disk.on_statement = lambda *_: None
        assert isinstance(refused, Failure)
        assert type(refused.failure()) is expected
        assert len(reads) == (2 if expected is StoreCorrupt else 1)
        assert (await value(load_one(store, A))).instance is not None
        await value(store.close())

    play(disk, main())
