"""Counts are exact at once after a clean close, after a crash once they are counted, and never go stale."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.listings import StoreCounts
from perdure.values.transition import Purge, Transition


def opened(path: Path, body: Callable[[Store], Awaitable[StoreCounts]]) -> StoreCounts:
    async def main() -> StoreCounts:
        store = await open_sqlite(path)
        try:
            return await body(store)
        finally:
            await value(store.close())

    return asyncio.run(main())


async def counts(store: Store) -> StoreCounts:
    assert store.counts is not None
    return await value(store.counts.instances())


def many(path: Path, number: int) -> None:
    """Write instances as a crashed engine leaves them: without their counts."""

    async def one(store: Store) -> StoreCounts:
        await created(store, address("first"))
        return StoreCounts()

    opened(path, one)
    columns = (
        "version, kind, name, id, status, state, state_version, data, run_count, event_count, created_ms, updated_ms"
    )
    with closing(sqlite3.connect(path)) as file:
        file.execute(
            f"""
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
            INSERT INTO instances ({columns})
            SELECT 1, 'task', 'orders', 'n' || i, 'idle', '{{}}', 1, '', 0, 0, 1, 1 FROM n
            """,  # noqa: S608 - made of constants
            (number,),
        )
        file.execute("UPDATE counters SET incarnation = (SELECT max(incarnation) FROM instances)")
        file.commit()


AT_ONCE = DEFAULT_SIZES.counted_parts * DEFAULT_SIZES.counted_rows


def test_a_large_store_is_counted_over_several_calls(tmp_path: Path) -> None:
    number = AT_ONCE + 10
    many(tmp_path / "jobs.db", number)

    async def body(store: Store) -> StoreCounts:
        first = await counts(store)
        assert not first.complete
        assert first.total == AT_ONCE
        await created(store, address("late"))
        return await counts(store)

    last = opened(tmp_path / "jobs.db", body)
    assert (last.complete, last.by_status()) == (True, {"idle": number + 2})


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_store_that_is_closed_before_all_are_counted_is_counted_again(tmp_path: Path, calls: int) -> None:
    """Saved counts would be taken for those of all instances, and nothing would correct them."""
    number = AT_ONCE + 10
    many(tmp_path / "jobs.db", number)

    async def some(store: Store) -> StoreCounts:
        for _ in range(calls):
            await counts(store)
        return StoreCounts()

    async def body(store: Store) -> StoreCounts:
        first = await counts(store)
        assert first.complete == (calls == 2)
        return await counts(store)

    opened(tmp_path / "jobs.db", some)
    last = opened(tmp_path / "jobs.db", body)
    assert (last.complete, last.total) == (True, number + 1)


def test_a_closed_store_is_not_counted_again(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def body(store: Store) -> StoreCounts:
        await created(store, address("a"))
        return await counts(store)

    before = opened(path, body)
    with closing(sqlite3.connect(path)) as file:  # a mark that only saved counts can show
        file.execute("UPDATE instance_counts SET number = 7")
        file.commit()
    after = opened(path, counts)
    assert (before.total, after.total) == (1, 7)


def test_saved_counts_are_gone_once_an_engine_has_opened_the_file(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def body(store: Store) -> StoreCounts:
        await created(store, address("a"))
        return await counts(store)

    opened(path, body)

    async def look(store: Store) -> StoreCounts:
        with closing(sqlite3.connect(path)) as file:
            assert file.execute("SELECT count(*) FROM instance_counts").fetchone() == (0,)
        return await counts(store)

    assert opened(path, look).total == 1


def test_changes_of_rows_that_the_caller_does_not_know_are_counted(tmp_path: Path) -> None:
    async def body(store: Store) -> StoreCounts:
        await counts(store)
        a, b = await created(store, address("a")), await created(store, address("b"))
        assert (await counts(store)).by_status() == {"idle": 2}
        await value(commit_one(store, put(address("a"), a, alarm_ms=9)))
        await value(commit_one(store, Transition(address=address("b"), expected=b, write=Purge())))
        return await counts(store)

    async def main() -> StoreCounts:
        store = await open_sqlite(tmp_path / "jobs.db")
        try:
            return await body(store)
        finally:
            await value(store.close())

    found = asyncio.run(main())
    assert (found.by_status(), found.oldest_due_ms) == ({"scheduled": 1}, 9)


@pytest.mark.parametrize(("number", "counted"), [(9_999, 9_999), (10_000, 10_000), (10_001, 10_000)])
def test_messages_and_dead_letters_are_counted_up_to_ten_thousand(number: int, counted: int, tmp_path: Path) -> None:
    opened(tmp_path / "jobs.db", counts)
    columns = "sender, target, action, payload, sent_ms, attempts"
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        for table, more, values in (("messages", ", not_before_ms, place", ", 0, 'behind'"), ("dead_letters", "", "")):
            file.execute(
                f"""
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
                INSERT INTO {table} ({columns}{more}) SELECT 'task:a:1', 'task:b:1', 'send', '', 0, 0{values} FROM n
                """,  # noqa: S608 - made of constants
                (number,),
            )
        file.commit()
    found = opened(tmp_path / "jobs.db", counts)
    assert (found.messages, found.dead_letters) == (counted, counted)
