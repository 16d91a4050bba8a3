"""``perdure stats`` and ``perdure vacuum``: the content of a store, its size, and the reclaimable space."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from perdure.cli.commands import run_command
from perdure.cli.inspection.stats import (
    LEAST_DEAD_ROWS,
    LEAST_GAIN_BYTES,
    PAGE,
    Counts,
    FileSize,
    SchemaSize,
    TableSize,
    count,
    lines_of,
)
from perdure.cli.output import size_text
from perdure.stores.contract import commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import ERROR, address, message, message_id, put, remembered, started
from perdure.values.limits import KeepHistory
from perdure.values.message import DeadLettered
from perdure.values.transition import Transition

A, B = address("a"), address("b", name="mails")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Three instances of two jobs, two messages, a dead letter, two keys, three events."""
    path = tmp_path / "jobs.db"

    async def main() -> None:
        store = await open_sqlite(path)
        await value(commit_one(store, put(A, alarm_ms=5_000)))
        await value(commit_one(store, put(address("c"), alarm_ms=2_000_000)))
        await value(commit_one(store, put(B)))
        for payload, key in (("1", "k"), ("2", "l"), ("3", None)):
            remember = () if key is None else (remembered(key, expires_ms=50 if key == "k" else 5_000_000),)
            sent, events = (message(A, B, payload),), (started(A, at_ms=9_000),)
            await value(commit_one(store, Transition(address=A, messages=sent, remember=remember, events=events)))
        fate = DeadLettered(message_id=await message_id(store, "1"), deliveries=10, error=ERROR)
        await value(commit_one(store, Transition(address=B, inbound=fate)))
        await value(store.close())

    asyncio.run(main())
    return path


def free_bytes_of(path: Path) -> int:
    """Return the free pages of a file as bytes: a migration has left some, which dropped an index."""
    with closing(sqlite3.connect(path)) as database:
        ((pages,), (page_bytes,)) = (
            database.execute(f"PRAGMA {of}").fetchone() for of in ("freelist_count", "page_size")
        )
    return int(pages) * int(page_bytes)


def counts_of(path: Path, now_ms: int = 1_000_000) -> Counts:
    with read_from_outside(path) as reader:
        return count(reader, now_ms)


@pytest.mark.parametrize(("now_ms", "due", "expired"), [(49, 0, 0), (50, 0, 1), (4_999, 0, 1), (5_000, 1, 1)])
def test_due_and_expired_are_exact_to_the_millisecond(path: Path, now_ms: int, due: int, expired: int) -> None:
    counts = counts_of(path, now_ms)
    assert (counts.due, counts.expired_keys) == (due, expired)


def test_everything_is_counted(path: Path) -> None:
    counts = counts_of(path)
    assert counts.openings == 1
    assert counts.instances == {"task:mails": {"idle": 1}, "task:orders": {"scheduled": 2}}
    assert (counts.due, counts.due_since_ms) == (1, 5_000)
    assert (counts.messages, counts.oldest_message_ms, counts.dead_letters) == (2, 3, 1)
    assert (counts.keys, counts.expired_keys) == (2, 1)
    assert (counts.events, counts.oldest_event_ms) == (3, 9_000)
    assert counts.size == FileSize(file_bytes=path.stat().st_size, wal_bytes=0, free_bytes=free_bytes_of(path))


def test_kept_events_are_counted_by_job(path: Path) -> None:
    async def main() -> None:
        store = await open_sqlite(path)
        assert store.histories is not None
        long = KeepHistory(age="1 day")
        await value(store.histories.declare({("task", "orders"): long, ("task", "mails"): long}))
        await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=1)))
        await value(store.close())

    assert counts_of(path).kept_events == {}
    asyncio.run(main())
    counts = counts_of(path)
    assert (counts.events, counts.kept_events) == (1, {"task:mails": 0, "task:orders": 2})
    lines = list(lines_of(counts, "sqlite:///jobs.db"))
    assert lines[lines.index("events        1, since 1970-01-01T00:00:09Z") + 1 :][:2] == [
        "  task:mails  0 kept longer than the log",
        "  task:orders  2 kept longer than the log",
    ]


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        await value((await open_sqlite(tmp_path / "new.db")).close())

    asyncio.run(main())
    counts = counts_of(tmp_path / "new.db")
    assert (counts.instances, counts.due, counts.messages, counts.keys, counts.events) == ({}, 0, 0, 0, 0)
    assert (counts.due_since_ms, counts.oldest_message_ms, counts.oldest_event_ms) == (None, None, None)


def test_it_counts_beside_the_owner_over_pages(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def main() -> Counts:
        store = await open_sqlite(path)
        rows = (commit_one(store, put(address(str(number)))) for number in range(PAGE + 3))
        await asyncio.gather(*map(value, rows))
        counts = await asyncio.to_thread(counts_of, path)
        await value(store.close())
        return counts

    counts = asyncio.run(main())
    assert counts.instances == {"task:orders": {"idle": PAGE + 3}}
    assert counts.size.wal_bytes > 0


@pytest.mark.parametrize(
    ("file_bytes", "free_bytes", "worth"),
    [
        (LEAST_GAIN_BYTES * 4, LEAST_GAIN_BYTES, True),
        (LEAST_GAIN_BYTES * 4, LEAST_GAIN_BYTES - 1, False),
        (LEAST_GAIN_BYTES * 4 + 4, LEAST_GAIN_BYTES, False),
        (LEAST_GAIN_BYTES, LEAST_GAIN_BYTES - 1, False),
    ],
)
def test_when_a_vacuum_is_worth_it(file_bytes: int, free_bytes: int, worth: object) -> None:
    size = FileSize(file_bytes=file_bytes, wal_bytes=0, free_bytes=free_bytes)
    assert size.is_worth_a_vacuum is worth


@pytest.mark.parametrize(
    ("rows", "dead_rows", "bloated"),
    [
        (0, LEAST_DEAD_ROWS, True),
        (0, LEAST_DEAD_ROWS - 1, False),
        (1_000_000, 300_000, True),
        (1_000_000, 299_999, False),
        (1_000_000, LEAST_DEAD_ROWS, False),
    ],
)
def test_when_a_table_is_bloated(rows: int, dead_rows: int, bloated: object) -> None:
    table = TableSize(table="events", rows=rows, dead_rows=dead_rows, table_bytes=0, index_bytes=0, vacuumed_ms=None)
    assert table.is_bloated is bloated
    assert SchemaSize(tables=(attrs.evolve(table, dead_rows=0), table)).is_worth_a_vacuum is bloated


def test_the_text(path: Path) -> None:
    lines = list(lines_of(counts_of(path), "sqlite:///jobs.db"))
    assert lines[:-3] == [
        "sqlite:///jobs.db  opened 1 time",
        "",
        "instances     3",
        "  task:mails  1 idle",
        "  task:orders  2 scheduled",
        "due           1, since 1970-01-01T00:00:05Z",
        "messages      2, since 1970-01-01T00:00:00Z",
        "dead letters  1",
        "keys          2, 1 expired",
        "events        3, since 1970-01-01T00:00:09Z",
        "",
    ]
    assert lines[-3:] == [
        f"file          {size_text(path.stat().st_size)}, {size_text(free_bytes_of(path))} free",
        "wal           0",
        "vacuum        not needed: free pages will be reused",
    ]


def test_the_advice_is_good_and_the_vacuum_does_it(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"sqlite:///{path}"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO keys VALUES ('task:orders:a', 'big', 'send', 'f', zeroblob(0) || ?, 1, 1, 0)", ("x" * 2**26,)
        )
        database.commit()
        database.execute("DELETE FROM keys WHERE key = 'big'")
        database.commit()
    assert run_command(["stats", "--store", store]) == 0
    advice = capsys.readouterr().out.splitlines()[-1]
    assert advice == "vacuum        worth it: reclaims 64.1 MiB (100%); stop the engine and run perdure vacuum"
    before = path.stat().st_size
    assert run_command(["vacuum", "--store", store]) == 0
    assert (
        capsys.readouterr().out == f"{store}: {before / 2**20:.1f} MiB before, {path.stat().st_size // 1024} KiB now\n"
    )
    assert run_command(["stats", "--store", store, "--json"]) == 0
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (data["vacuum"], data["instances"]["task:orders"]) == ("not needed", {"scheduled": 2})
    assert run_command(["stats", "--store", f"sqlite:///{tmp_path}/nowhere.db"]) == 2
    assert run_command(["vacuum", "--store", f"sqlite:///{tmp_path}/nowhere.db"]) == 2
    assert capsys.readouterr().err.count("there is no such file") == 2


def test_a_vacuum_beside_an_owner_is_refused(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> int:
        store = await open_sqlite(path)
        code = await asyncio.to_thread(run_command, ["vacuum", "--store", f"sqlite:///{path}"])
        await value(store.close())
        return code

    assert asyncio.run(main()) == 2
    assert "stop that engine first" in capsys.readouterr().err
