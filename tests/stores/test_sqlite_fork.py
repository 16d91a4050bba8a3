"""A forked child leaves its parent's file alone, in life and in death."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import value

FORK = """
import asyncio, os, sys
from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite import open_sqlite
from perdure.testing.conformance.assertions import answer
from perdure.testing.conformance.histories import address, put

async def main(path):
    store = await open_sqlite(path)
    await answer(commit_one(store, put(address("parent"))))
    if os.fork() == 0:
        print(os.getpid(), await answer(load_one(store, address("parent"))), flush=True)
        print(await answer(commit_one(store, put(address("child")))), flush=True)
        await answer(store.close())
        sys.stdin.read()  # until the test is done
        os._exit(0)
    await asyncio.sleep(3600)

asyncio.run(main(sys.argv[1]))
"""


@contextmanager
def _parent_and_child(path):
    command = [sys.executable, "-c", FORK, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:  # noqa: S603 - our own script
        child, _, said = parent.stdout.readline().partition(" ")
        try:
            yield parent, int(child), said + parent.stdout.readline()
        finally:
            parent.kill()


async def _open_and_close(path):
    store = await open_sqlite(path)
    await value(store.close())


def test_a_child_is_refused_with_the_reason(tmp_path):
    with _parent_and_child(tmp_path / "jobs.db") as (_, _, said):
        assert said.count("it belongs to the process that this one was forked from") == 2


def test_a_child_does_not_keep_the_lock_of_a_dead_parent(tmp_path):
    with _parent_and_child(tmp_path / "jobs.db") as (parent, child, _):
        parent.kill()
        parent.wait()
        os.kill(child, 0)  # the child is alive
        asyncio.run(_open_and_close(tmp_path / "jobs.db"))
        os.kill(child, signal.SIGKILL)


CONNECTION = """
import os, signal, sys
from perdure.stores.sqlite.thread import WorkConnection

connection = WorkConnection(sys.argv[1])
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE kept (x)")
if os.fork() != 0:
    os.kill(os.getpid(), signal.SIGKILL)
# The child's interpreter ends as usual, and clears everything.
"""


def test_a_child_that_ends_does_not_close_the_file(tmp_path):
    """Closed by the last connection, the file would swallow its log: the child would have written to it."""
    command = [sys.executable, "-c", CONNECTION, str(tmp_path / "jobs.db")]
    subprocess.run(command, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own script; waits for the child too
    assert (tmp_path / "jobs.db-wal").stat().st_size > 0
