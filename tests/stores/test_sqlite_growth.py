"""The engine's own queries cost the same, however much is stored: all callers wait for them."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from perdure.runtime.record import DEFAULT_SIZES
from perdure.stores.contract import commit_one
from perdure.stores.rows import CorruptRows, key_values
from perdure.stores.sqlite import changes, counters, open_sqlite, queries
from perdure.stores.sqlite.changes import prune
from perdure.stores.sqlite.counters import StatusCounts
from perdure.stores.sqlite.queries import Search
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Remembered

NOW_MS = 10**12
BUSY = Address("task", "a", "1")
NEW_KEY = Remembered(key="new", action="send", fingerprint="", answer="{}", expires_ms=NOW_MS, full_answers=2)
KEPT = {
    "keys": "INSERT INTO keys VALUES ('task:a:1', :number, 'send', '', '{}', :now_ms + 1, :number, 0)",
    "dead letters": """
    INSERT INTO dead_letters VALUES (:number, 'task:a:1', 'task:b:1', 'send', '', :now_ms, 10, NULL, NULL)
    """,
    "events": "INSERT INTO events VALUES (:number, 'task:a:1', 'job.started', :now_ms, '{}')",
    "journals": "INSERT INTO journal VALUES (:number, 0, '{}'), (1, :number + 100, '{}')",
    "instances": """
    INSERT INTO instances SELECT :number + 1, version, kind, name, 'id' || :number, status, :now_ms + :number, NULL,
      state, state_version, data, :now_ms + :number, suspension, pending_retry, claim, event_claim, run_count,
      event_count, last_error, created_ms, updated_ms, alarm_trace, journal_length, NULL, NULL, NULL,
      NULL, NULL, NULL
    FROM instances WHERE incarnation = 1
    """,
}
QUESTIONS: dict[str, Callable[[sqlite3.Cursor], object]] = {
    "beyond retention": lambda cursor: prune(cursor, counters.read(cursor, StatusCounts()), RETENTION),
    "a key of an instance with many": lambda cursor: queries.load(cursor, BUSY, "new", NOW_MS).remembered,
    "a new key of an instance with many": lambda cursor: (
        changes.remember(cursor, (*key_values(BUSY, NEW_KEY), 0)) and None
    ),
    "which runs were left behind": lambda cursor: queries.claimed(cursor, CorruptRows(), 0, 500),
    "left instances": lambda cursor: found(cursor, Query(status="left")),
    "instances that are left to this code": lambda cursor: queries.left_to(
        cursor, CorruptRows(), {("task", "a"): "b"}, 99
    ),
    "retrying instances": lambda cursor: found(cursor, Query(status="retrying")),
    "running instances": lambda cursor: found(cursor, Query(status="running")),
    "paused instances": lambda cursor: found(cursor, Query(status="paused")),
    "the same, of one job": lambda cursor: found(cursor, Query(kind="task", name="orders", status="paused")),
    "the last page of a job": lambda cursor: found(
        cursor, Query(kind="task", name="orders", after=address("zzz"), id_prefix="id")
    ),
    "the same, of a name": lambda cursor: found(cursor, Query(name="unknown", id_prefix="z", due_before_ms=1)),
    "what belongs to other jobs": lambda cursor: found(cursor, Query(except_jobs=(("task", "orders"), ("a", "b")))),
    "what belongs to another job": lambda cursor: found(cursor, Query(jobs=(("task", "p"), ("task", "a")))),
    "due instances": lambda cursor: queries.due(cursor, CorruptRows(), NOW_MS, 500),
    "when the next alarm is": lambda cursor: queries.next_alarm(cursor, NOW_MS),
    "which messages wait": lambda cursor: queries.messages(cursor, CorruptRows(), NOW_MS, 500),
    "the journal of an instance without one": lambda cursor: queries.journal(cursor, address("first"), 10**9, 0, 10),
    "until when a message waits": lambda cursor: queries.next_message(cursor, NOW_MS),
}
T = TypeVar("T")

RETENTION = Retention(now_ms=NOW_MS, events_since_ms=NOW_MS, max_events=10**6, dead_letters_since_ms=NOW_MS)


def found(cursor: sqlite3.Cursor, query: Query) -> tuple[Instance, ...]:
    instances, _ = Search.of(query, 2_000).portion(cursor, CorruptRows(), 500)
    return instances


async def _made(path: Path) -> None:
    store = await open_sqlite(path)
    await created(store, address("first"))
    await store.close()


@contextmanager
def holding(path: Path, rows: int) -> Iterator[sqlite3.Connection]:
    """A file with a number of rows of everything, none of which is queried."""
    asyncio.run(_made(path))
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN")
        for statement in KEPT.values():
            file.executemany(statement, [{"number": number, "now_ms": NOW_MS} for number in range(1, rows + 1)])
        file.execute("UPDATE counters SET sequence = ?, incarnation = ?", (rows, rows + 1))
        yield file


def instructions(file: sqlite3.Connection, ask: Callable[[sqlite3.Cursor], T]) -> tuple[int, T]:
    """Count what SQLite does to answer."""
    done = 0

    def count() -> int:
        nonlocal done
        done += 1
        return 0

    file.set_progress_handler(count, 1)
    answer = ask(file.cursor())
    return done, answer


def cost(path: Path, rows: int, ask: Callable[[sqlite3.Cursor], object]) -> int:
    """Count what SQLite does to find that there is nothing, or one thing."""
    with holding(path, rows) as file:
        done, answer = instructions(file, ask)
    assert answer in (0, (), None, NOW_MS + 1)
    return done


@pytest.mark.parametrize("question", QUESTIONS)
def test_unused_features_cost_nothing(tmp_path: Path, question: str) -> None:
    few, many = (cost(tmp_path / f"{rows}.db", rows, QUESTIONS[question]) for rows in (3_000, 9_000))
    assert many < few + 100


@pytest.mark.parametrize("others", [(), (("task", "unknown"),)])
def test_a_page_of_due_instances_costs_the_same_behind_many_of_its_instant(
    tmp_path: Path, others: tuple[tuple[str, str], ...]
) -> None:
    costs: list[int] = []
    for rows in (300, 3_000):
        after = (NOW_MS, rows)
        with holding(tmp_path / f"{rows}.db", rows) as file:
            file.execute("UPDATE instances SET due_ms = ?", (NOW_MS,))
            done, page = instructions(
                file, lambda cursor, at=after: queries.due(cursor, CorruptRows(), NOW_MS, 64, at, others)
            )
        assert [one.incarnation for one in page] == [rows + 1]
        costs.append(done)
    assert costs[1] < costs[0] + 100


def test_rare_rows_are_found_in_chunks_and_other_requests_run_between(tmp_path: Path) -> None:
    with holding(tmp_path / "jobs.db", 3 * DEFAULT_SIZES.searched_rows) as file:
        file.execute("UPDATE instances SET status = 'scheduled' WHERE incarnation % 1900 = 0")
        file.execute("COMMIT")

    async def main() -> tuple[list[int], list[str]]:
        store = await open_sqlite(tmp_path / "jobs.db")
        order: list[str] = []

        async def look() -> list[int]:
            rare = await value(store.find(Query(status="scheduled", limit=3)))
            order.append("found")
            return [one.incarnation for one in rare]

        async def commit() -> None:
            for number in range(2):
                await value(commit_one(store, put(address(f"new {number}"))))
                order.append("committed")

        numbers, _ = await asyncio.gather(look(), commit())
        await value(store.close())
        return numbers, order

    numbers, order = asyncio.run(main())
    assert sorted(numbers) == [1_900, 3_800, 5_700]
    assert order == ["committed", "committed", "found"]
