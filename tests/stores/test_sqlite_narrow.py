"""A transition that changes few columns writes the row that it would write as a whole, and its status is counted."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from narrow_changes import write_both

from perdure.programs.container import result_inside
from perdure.stores.sqlite import open_sqlite

WITHOUT_NAMES = "version, status, state, state_version, data, alarm_ms, suspension, pending_retry, claim, event_claim"
THE_REST = (
    "run_count, event_count, last_error, created_ms, updated_ms, alarm_trace, journal_length, lane, ended_ms, due_ms, "
    "owner, rank_ms"
)


def rows(path: Path, job: str) -> list[tuple[Any, ...]]:
    """All columns of a job's rows but those that name it, and the events of its instances."""
    bodies = "(SELECT group_concat(body) FROM events WHERE address = kind || ':' || name || ':' || id)"
    with closing(sqlite3.connect(path)) as file:
        sql = f"SELECT id, {WITHOUT_NAMES}, {THE_REST}, {bodies} FROM instances WHERE name = ? ORDER BY id"  # noqa: S608
        return file.execute(sql, (job,)).fetchall()


@pytest.mark.parametrize("group", ["agreeing", "mixed"])
@pytest.mark.parametrize("counted", ["before", "after"])
def test_a_narrow_write_is_that_of_the_whole_row(tmp_path: Path, group: str, counted: str) -> None:
    path = tmp_path / "jobs.db"

    async def main() -> dict[tuple[str, str], int]:
        store = await open_sqlite(path)
        assert store.counts is not None
        if counted == "before":
            await store.counts.instances()
        await write_both(store, group)
        counts = result_inside(await store.counts.instances()).unwrap()
        await store.close()
        return {(count.name, count.status): count.number for count in counts.instances}

    numbers = asyncio.run(main())
    assert rows(path, "narrow") == rows(path, "whole")
    with closing(sqlite3.connect(path)) as file:
        found = file.execute("SELECT name, status, count(*) FROM instances GROUP BY name, status").fetchall()
    assert numbers == {(name, status): number for name, status, number in found}
