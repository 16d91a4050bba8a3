import asyncio
import subprocess
import sys
from pathlib import Path

import attrs
from one_by_one import committed
from returns.result import Failure, Success
from watched_disk import WatchedDisk

from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Query
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import address, created, message, put, started
from perdure.values.errors import Conflict, StoreUnavailable

_HEADER, _FRAME_HEADER = 32, 24


def _transactions(path: Path) -> int:
    """Count the commit marks in a write-ahead log: https://sqlite.org/fileformat.html#the_write_ahead_log."""
    log = Path(f"{path}-wal").read_bytes()
    page_size = int.from_bytes(log[8:12])
    salts = log[16:24]
    frames = range(_HEADER, len(log), _FRAME_HEADER + page_size)
    return sum(1 for at in frames if log[at + 8 : at + 16] == salts and int.from_bytes(log[at + 4 : at + 8]) > 0)


async def _limit_pages(disk, pages):
    """Make the disk full: the limit is the connection's, so it is set on the very connection of the store."""
    await disk.execute(f"PRAGMA max_page_count = {pages}")


def test_hundreds_of_commits_share_a_few_transactions(tmp_path):
    async def main():
        path = tmp_path / "jobs.db"
        store = await open_sqlite(path)
        before = _transactions(path)
        answers = await committed(store, [put(address(str(number))) for number in range(500)])
        after = _transactions(path)
        await store.close()
        return answers, after - before

    answers, transactions = asyncio.run(main())
    assert all(isinstance(one, Success) for one in answers)
    assert transactions == 1


def test_a_lone_commit_does_not_wait_for_company(tmp_path):
    async def main():
        path = tmp_path / "jobs.db"
        store = await open_sqlite(path)
        before = _transactions(path)
        for number in range(5):
            await created(store, address(str(number)))
        after = _transactions(path)
        await store.close()
        return after - before

    assert asyncio.run(main()) == 5


def test_one_conflict_among_a_hundred_neighbours(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        await created(store, address("50"))
        answers = await committed(store, [put(address(str(number))) for number in range(101)])
        await store.close()
        return answers

    answers = asyncio.run(main())
    ((number, error),) = [(number, one.failure()) for number, one in enumerate(answers) if isinstance(one, Failure)]
    assert number == 50
    assert isinstance(error, Conflict)
    assert error.address == "task:orders:50"


def test_one_value_that_cannot_be_written_fails_alone(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        transitions = [
            attrs.evolve(put(address(str(number))), events=(started(address(str(number))),)) for number in range(10)
        ]
        transitions[5] = put(address("5"), alarm_ms=2**70)
        transitions[6] = attrs.evolve(transitions[6], messages=(message(address("6"), address("7"), "\ud800"),))
        try:
            answers = await committed(store, transitions)
            loaded = [(await value(load_one(store, address(str(number))))).instance for number in range(10)]
            logged = [one.sequence for one in await value(store.events(0, 99))]
        finally:
            await store.close()
        return answers, loaded, logged

    answers, loaded, logged = asyncio.run(main())
    assert logged == list(range(1, 9))  # no holes: retention counts by sequence number
    assert [one.incarnation for one in loaded if one is not None] == list(range(1, 9))
    failed = [number for number, one in enumerate(answers) if isinstance(one, Failure)]
    assert failed == [5, 6]
    assert all(isinstance(answers[number].failure(), StoreUnavailable) for number in failed)
    assert [number for number, one in enumerate(loaded) if one is None] == failed


def test_a_write_that_fails_takes_no_other_of_its_transaction_with_it(tmp_path):
    """Commits and other requests that arrive together share a transaction."""

    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        transitions = [put(address("good")), put(address("bad"), alarm_ms=2**70), put(address("fine"))]
        try:
            *commits, held = await asyncio.gather(
                *(answer(commit_one(store, each)) for each in transitions),
                answer(store.set_hold(("task", "orders"), "held")),
            )
            return commits, held, await value(store.holds())
        finally:
            await store.close()

    (good, bad, fine), held, holds = asyncio.run(main())
    assert isinstance(bad.failure(), StoreUnavailable)
    assert all(isinstance(each, Success) for each in (good, fine, held))
    assert holds == (("task", "orders"),)


def test_commits_of_one_instance_may_be_queued_behind_each_other(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        fence = await created(store, address("a"))
        queued = [attrs.evolve(fence, version=version) for version in range(1, 20)]
        answers = await committed(store, [put(address("a"), expected) for expected in queued])
        await store.close()
        return [one.unwrap().version for one in answers]

    assert asyncio.run(main()) == list(range(2, 21))


def test_a_cancelled_caller_does_not_disturb_the_others(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        tasks = [asyncio.ensure_future(answer(commit_one(store, put(address(str(number)))))) for number in range(10)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        again = await answer(commit_one(store, put(address("more"))))
        await value(store.close())
        return answers, again

    answers, again = asyncio.run(main())
    assert [number for number, one in enumerate(answers) if not isinstance(one, Success)] == [3]
    assert isinstance(again, Success)


def test_an_alarm_is_written_even_if_the_answer_before_was_lost(tmp_path):
    """A caller that was cancelled learns no fence; the cached row must not mislead it."""

    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        first = await created(store, address("a"), alarm_ms=10)
        lost = asyncio.ensure_future(answer(commit_one(store, put(address("a"), first, alarm_ms=20))))
        await asyncio.sleep(0)
        lost.cancel()
        await asyncio.wait([lost])
        second = (await value(store.find(Query())))[0].fence
        await value(commit_one(store, put(address("a"), second, alarm_ms=10)))
        due = await value(store.due(10, 9))
        await value(store.close())
        return second.version, [one.alarm_ms for one in due]

    assert asyncio.run(main()) == (2, [10])


def test_closing_waits_for_running_operations(tmp_path):
    async def main():
        store = await open_sqlite(tmp_path / "jobs.db")
        asked = [asyncio.ensure_future(answer(commit_one(store, put(address(str(number)))))) for number in range(10)]
        await asyncio.sleep(0)
        await value(store.close())
        return [one.result() for one in asked]  # all done when close answers

    assert all(isinstance(one, Success) for one in asyncio.run(main()))


FULL_DISK = """
import asyncio, resource, sys
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.sqlite.ownership import Disk
from perdure.stores.sqlite.opening import open_file
from perdure.stores.contract import commit_one, load_one
from perdure.stores.sqlite.thread import connect
from perdure.testing.conformance.assertions import answer
from perdure.testing.conformance.histories import address, put
from returns.result import Success

def kind(one):
    return "ok" if isinstance(one, Success) else type(one.failure()).__name__

async def main(path):
    opened = []

    async def connected(path):
        opened.append(path)
        return await connect(path)

    options = {"durability": "full", "cache_bytes": 0, "on_locked": "raise", "runtime": asyncio_runtime()}
    store = await open_file(path, **options, disk=Disk(connect=connected))
    print(kind(await answer(commit_one(store, put(address("before"))))))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    told = asyncio.get_running_loop().create_future()
    store.commit([put(address(str(number))) for number in range(3)], told.set_result)
    print(*[kind(one) for one in await told])
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    print(kind(await answer(commit_one(store, put(address("after"))))))
    for id_ in ("before", "0", "1", "2", "after"):
        print((await answer(load_one(store, address(id_)))).unwrap().instance is not None, end=" ")
    print((await answer(store.health())).unwrap().state)
    print(len(opened))
    await store.close()

asyncio.run(main(sys.argv[1]))
"""


def test_a_commit_that_breaks_on_its_way_to_the_disk_has_an_unknown_outcome(tmp_path):
    """The kernel refuses to write to the log: COMMIT itself fails."""
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path / "jobs.db")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own script
    before, during, after, found, connections = ran.stdout.splitlines()
    assert before == "ok"
    assert during == "OutcomeUnknown OutcomeUnknown OutcomeUnknown"
    assert after == "ok"
    *there, health = found.split()
    assert there[0] == there[4] == "True"
    assert len(set(there[1:4])) == 1  # one transaction: all or none
    assert health == "ok"
    assert connections == "2"  # the store replaced the first


def test_a_full_database_acknowledges_nothing_and_works_again_afterwards(tmp_path):
    path = tmp_path / "jobs.db"

    async def main():
        store = await open_sqlite(path)
        await created(store, address("before"))
        await value(store.close())
        disk = WatchedDisk()
        store = await disk.open(path)
        await _limit_pages(disk, 40)
        big = '"' + "x" * 20_000 + '"'
        answers = await committed(store, [put(address(str(number)), state=big) for number in range(30)])
        found = [(await value(load_one(store, address(str(number))))).instance is not None for number in range(30)]
        await value(store.close())
        store = await open_sqlite(path)
        again = await answer(commit_one(store, put(address("after"), state=big)))
        await value(store.close())
        return answers, found, again

    answers, found, again = asyncio.run(main())
    assert [isinstance(one, Success) for one in answers] == found
    refused = [one.failure() for one in answers if isinstance(one, Failure)]
    assert refused
    assert all(isinstance(one, StoreUnavailable) for one in refused)
    assert isinstance(again, Success)
