"""A process that is killed in the middle of its commits loses nothing that it acknowledged."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from perdure.stores.contract import load_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.values.address import Address

WRITER = """
import asyncio, sys
from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import message, remembered, started
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Put, Transition

async def client(store, number):
    at, version = Address("task", "orders", str(number)), 0
    fence = (await value(load_one(store, at))).instance
    fence = None if fence is None else fence.fence
    while True:
        version = 1 if fence is None else fence.version + 1
        fence = await value(commit_one(store, Transition(
            address=at, expected=fence,
            write=Put(Instance(
                address=at, created_ms=1, updated_ms=1, version=version, alarm_ms=version, state=str(version)
            )),
            remember=(remembered("k", str(version)),),
            messages=(message(at, Address("task", "sink", str(number)), str(version)),),
            events=(started(at, at_ms=version),),
        )))
        print(number, fence.version, flush=True)

async def main(path, durability):
    store = await open_sqlite(path, durability=durability)
    await asyncio.gather(*(client(store, number) for number in range(8)))

asyncio.run(main(*sys.argv[1:]))
"""
_ROUNDS = 3
_ACKNOWLEDGEMENTS = 200


def _run_and_kill(path, durability, acknowledged):
    command = [sys.executable, "-c", WRITER, str(path), durability]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:  # noqa: S603 - our own script
        for _ in range(_ACKNOWLEDGEMENTS):
            number, version = writer.stdout.readline().split()
            acknowledged[number] = int(version)
        writer.send_signal(signal.SIGKILL)
        # The lines still in the pipe were acknowledged as well; a last line may be cut.
        for line in writer.stdout.read().splitlines(keepends=True):
            if line.endswith("\n"):
                number, version = line.split()
                acknowledged[number] = int(version)


async def _check(path, acknowledged):
    store = await open_sqlite(path)
    for number, version in acknowledged.items():
        at = Address("task", "orders", number)
        loaded = await value(load_one(store, at, "k", 0))
        assert loaded.instance.version >= version
        assert loaded.instance.state == loaded.remembered.answer == str(loaded.instance.version)
        assert loaded.instance.alarm_ms == loaded.instance.version
        newest, *_ = await value(store.history(at, None, 1))
        assert newest.event.at_ms == loaded.instance.version
    await value(store.close())


def _sent(path):
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        sql = "SELECT sender, count(*), max(cast(payload AS INTEGER)) FROM messages GROUP BY sender"
        return {sender: (count, newest) for sender, count, newest in database.execute(sql)}


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_nothing_acknowledged_is_lost_and_nothing_is_half_written(tmp_path, durability):
    path = tmp_path / "jobs.db"
    acknowledged = {}
    for _ in range(_ROUNDS):
        _run_and_kill(path, durability, acknowledged)
        asyncio.run(_check(path, acknowledged))
        assert all(count == newest for count, newest in _sent(path).values())
    assert len(acknowledged) == 8
