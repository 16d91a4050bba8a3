"""The write-ahead log: it stays small by itself, and a blocking reader is reported, not waited for."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.schema import CHECKPOINT_PAGES, LOG_LIMIT_BYTES, complaint_about, log_of, size_of
from perdure.stores.values import Health
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import address, put
from perdure.values.instance import Fence

FRAME_BYTES = 4_096 + 24
MIB = 1024 * 1024


@contextmanager
def reader_of(path: Path) -> Iterator[sqlite3.Connection]:
    """A reader of the file in one long transaction."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM counters").fetchall()
        yield reader


async def write(store: Store, fence: Fence | None, size: int) -> Fence:
    other = "xy"[fence is not None and fence.version % 2]  # SQLite does not write a page that stays as it is
    return await value(commit_one(store, put(address("a"), fence, state=f'"{other * size}"')))


def test_without_readers_it_is_never_much_longer_than_a_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def main() -> list[int]:
        store, fence = await open_sqlite(path), None
        sizes: list[int] = []
        for _ in range(CHECKPOINT_PAGES // 2):
            fence = await write(store, fence, 30_000)  # eight pages or nine
            sizes.append(size_of(log_of(path)))
        await value(store.close())
        return sizes

    sizes = asyncio.run(main())
    assert max(sizes) > CHECKPOINT_PAGES * FRAME_BYTES
    assert max(sizes) < (CHECKPOINT_PAGES + 20) * FRAME_BYTES


def test_a_blocking_reader_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def main() -> tuple[list[Health], list[int]]:
        store = await open_sqlite(path)
        fence = await write(store, None, 10)
        healths, sizes = [await value(store.health())], []
        with reader_of(path) as reader:
            while size_of(log_of(path)) <= LOG_LIMIT_BYTES:
                fence = await write(store, fence, MIB)  # each is answered all the same
            healths.append(await value(store.health()))
            sizes.append(size_of(log_of(path)))
            assert reader.execute("SELECT version FROM instances").fetchall() == [(1,)]
        for _ in range(3):  # the first moves the log into the file, the next begins it again
            fence = await write(store, fence, 10)
        healths.append(await value(store.health()))
        sizes.append(size_of(log_of(path)))
        await value(store.close())
        return healths, sizes

    healths, (held_up, afterwards) = asyncio.run(main())
    assert [health.state for health in healths] == ["ok", "degraded", "ok"]
    assert "a reader in one long transaction" in healths[1].detail
    assert held_up > LOG_LIMIT_BYTES >= afterwards


def test_the_limit_is_met_to_the_byte(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.truncate(LOG_LIMIT_BYTES)
        assert complaint_about(log) == ""
        file.truncate(LOG_LIMIT_BYTES + 1)
        assert complaint_about(log).startswith("its write-ahead log has 67,108,865 bytes, expected up to 67,108,864")
    log.unlink()
    assert complaint_about(log) == ""
