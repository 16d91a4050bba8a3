"""A file that another program holds in a transaction: nothing is acknowledged, and the engine continues afterwards."""

import asyncio
import sqlite3
from contextlib import closing, contextmanager

import pytest
from one_by_one import committed
from returns.result import Failure, Success
from watched_disk import WatchedDisk

from perdure import App, Task, attempt
from perdure.stores.contract import commit_one, load_one
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import StoreUnavailable

counter = Task(
    "counter",
    state=int,
    event=int,
    initial=0,
    on_event=lambda ctx, event: ctx.update_state(lambda total: total + event),
    execute=lambda ctx: ctx.update_state(lambda total: total + 100),
)


async def _impatient(path):
    """Open a store that does not wait for others, so that the test need not: the setting is the connection's."""
    disk = WatchedDisk()
    store = await disk.open(path)
    await disk.execute("PRAGMA busy_timeout = 0")
    return store, disk


@contextmanager
def _held(path, *, writes=False):
    """Be the other program: begin a transaction, and take it back in the end."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        if writes:
            other.execute("UPDATE instances SET state = '\"theirs\"'")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("writes", [False, True])
def test_a_locked_file_acknowledges_nothing_and_works_again_when_it_is_free(tmp_path, writes):
    path = tmp_path / "jobs.db"

    async def main():
        store, _ = await _impatient(path)
        fence = await created(store, address("a"))
        with _held(path, writes=writes):
            refused = await answer(commit_one(store, put(address("a"), fence)))
            there = (await value(load_one(store, address("a")))).instance
            is_lost = store.lost.done()
        again = await answer(commit_one(store, put(address("a"), fence)))
        await value(store.close())
        return refused, there, is_lost, again

    refused, there, is_lost, again = asyncio.run(main())
    assert isinstance(refused, Failure)
    assert isinstance(refused.failure(), StoreUnavailable)
    assert "locked; if another program (a shell, a tool) is in a transaction on this file, end that" in str(
        refused.failure()
    )
    assert (there.version, is_lost) == (1, False)  # committed rows can be read meanwhile
    assert isinstance(again, Success)


def test_a_group_waits_once_for_the_program_that_holds_the_file(tmp_path):
    """Not once for each of its commits: they would be refused one after the other, five seconds each."""
    path = tmp_path / "jobs.db"

    async def main():
        store, disk = await _impatient(path)
        waits = 0

        def count(moment, statement):
            nonlocal waits
            waits += moment == "before" and statement.startswith("BEGIN")

        disk.on_statement = count
        with _held(path):
            answers = await committed(store, [put(address(str(number))) for number in range(50)])
        await value(store.close())
        return answers, waits

    answers, waits = asyncio.run(main())
    assert all(isinstance(one, Failure) and isinstance(one.failure(), StoreUnavailable) for one in answers)
    assert waits == 1


def test_a_commit_waits_five_seconds_for_another_program(tmp_path):
    """As SQLite does with the connection's setting, which the other tests set to 0."""

    async def main():
        disk = WatchedDisk()
        store = await disk.open(tmp_path / "jobs.db")
        found = await disk.execute("PRAGMA busy_timeout")
        await value(store.close())
        return found

    assert asyncio.run(main()) == [(5_000,)]


def test_the_engine_continues_when_the_file_is_free(tmp_path):
    path = tmp_path / "jobs.db"

    async def main():
        store, _ = await _impatient(path)
        async with App(None).with_jobs(counter).open(store) as jobs:
            counters = jobs.handle(counter)
            await counters.send("a", 1)
            with _held(path):
                refused = [await attempt(counters.send("a", 10)), await attempt(counters.trigger("a"))]
            await counters.send("a", 1)
            return refused, await counters.get_state("a"), await counters.status("a")

    refused, state, status = asyncio.run(main())
    assert [type(one.failure()) for one in refused] == [StoreUnavailable, StoreUnavailable]
    assert (state, status.status) == (2, "idle")
