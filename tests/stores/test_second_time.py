"""The second time: a hold, a prune, a redrive, a takeover, a loss and a close of a store, on a file and on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from postgres_harness import PostgresHarness, SharedPostgresHarness, states
from returns.result import Success

from perdure import Decision, Task, tell
from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.postgres.enqueue import enqueue_async
from perdure.stores.shares import ServedCode
from perdure.stores.sqlite import open_sqlite
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import ERROR, FAR_MS, address, created, put, started, told
from perdure.testing.conformance.sharing_cases import sharing
from perdure.values.errors import Conflict, OwnershipLost, StoreUnavailable
from perdure.values.message import DeadLettered
from perdure.values.transition import Transition
from perdure.values.turn_inputs import OtherEngines

A, B = address("a"), address("b")
JOB = (A.kind, A.name)
SUMS = Task(
    "orders",
    state=int,
    event=int,
    initial=0,
    decide=lambda total, event: Success(Decision(total + event)),
    execute=lambda ctx: ctx.terminate(),
)
Open = Callable[[], Coroutine[Any, Any, Store]]


@pytest.fixture(params=["sqlite", "postgres", "postgres+shared"])
def opening(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """How to open a store, several times."""
    if request.param == "sqlite":
        yield lambda: open_sqlite(tmp_path / "jobs.db")
        return
    url = request.getfixturevalue("postgres_url")
    harness = (SharedPostgresHarness if "shared" in request.param else PostgresHarness)(url)
    yield harness.open
    asyncio.run(harness.discard())


def test_a_job_is_held_and_released_each_time(opening: Open) -> None:
    async def main() -> None:
        for _time in range(3):
            store = await opening()
            assert [await value(store.set_hold(JOB, "held")) for _ in range(2)] == ["changed", "unchanged"]
            assert await value(store.holds()) == (JOB,)
            assert [await value(store.set_hold(JOB, "released")) for _ in range(2)] == ["changed", "unchanged"]
            assert await value(store.holds()) == ()
            await store.close()

    asyncio.run(main())


def test_the_log_is_pruned_each_time(opening: Open) -> None:
    """And in pages: each call deletes so many rows at most, and later events are pruned as the first ones were."""

    async def main() -> None:
        store = await opening()
        for _time in range(3):
            for number in range(5):
                events = (started(A, id_=f"e{number}"),)
                await value(commit_one(store, Transition(address=A, events=events)))
            numbers = [logged.sequence for logged in await value(store.events(0, 99))]
            assert numbers == sorted(numbers)
            counts = list[int]()
            while not counts or counts[-1] == 2:
                counts.append(await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=1, limit=2))))
            assert sum(counts) == len(numbers) - 1
            assert [logged.sequence for logged in await value(store.events(0, 99))] == numbers[-1:]
        await store.close()

    asyncio.run(main())


def test_a_message_is_a_dead_letter_and_is_redriven_each_time(opening: Open) -> None:
    async def main() -> None:
        store = await opening()
        await told(store, A, B, "1")
        for _time in range(3):
            (stored,) = await value(store.messages(FAR_MS, 9))
            fate = DeadLettered(message_id=stored.message_id, deliveries=9, error=ERROR)
            await value(commit_one(store, Transition(address=B, inbound=fate)))
            assert await value(store.messages(FAR_MS, 9)) == ()
            assert isinstance(
                (await answer(commit_one(store, Transition(address=B, inbound=fate)))).failure(), Conflict
            )
            redrives = [await value(store.redrive(stored.message_id)) for _ in range(2)]
            assert redrives == ["redriven", "not_found"]
        await store.close()

    asyncio.run(main())


def test_every_close_returns_and_every_opening_knows_of_the_one_before(opening: Open) -> None:
    async def main() -> None:
        epochs = list[int]()
        for time in range(3):
            store = await opening()
            assert store.previous_exit == "closed"
            epochs.append(store.epoch)
            fence = await created(store, address(f"{time}"))
            committing = asyncio.ensure_future(answer(commit_one(store, put(address(f"{time}"), fence))))
            await asyncio.sleep(0)
            await asyncio.gather(*(value(store.close()) for _ in range(3)))
            await value(store.close())
            assert committing.done()
            assert isinstance((await answer(load_one(store, A))).failure(), StoreUnavailable)
        assert epochs == sorted(set(epochs))

    asyncio.run(main())


def test_the_work_of_each_member_that_dies_is_taken_over(postgres_url: str) -> None:
    """Three members die one after the other; each is declared dead, and writes nothing from then on."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        survivor = await harness.open()
        for time in range(3):
            member = await harness.open()
            at = address(f"{time}")
            fence = await created(member, at)
            await harness.execute("UPDATE perdure.engines SET lease_until = now() WHERE epoch = $1", member.epoch)
            found = await value(sharing(survivor).heartbeat({JOB: ServedCode(1)}))
            assert found.epochs == {survivor.epoch}
            others = OtherEngines(found.epochs - {survivor.epoch}, found.last_epoch, survivor.epoch)
            assert member.epoch not in others
            for _again in range(2):
                lost = (await answer(commit_one(member, put(at, fence)))).failure()
                assert isinstance(lost, OwnershipLost)
                assert isinstance((await answer(sharing(member).heartbeat({}))).failure(), OwnershipLost)
            await value(commit_one(survivor, put(at, fence)))
            await member.close()
        await survivor.close()
        await harness.discard()

    asyncio.run(main())


def test_an_owner_hears_of_messages_after_each_loss_of_its_connection(postgres_url: str) -> None:
    """The connection of its lock is the one that listens: no notification is lost with the second one either."""
    harness = PostgresHarness(postgres_url)

    async def main() -> None:
        owner = await harness.open()
        ownership, heard = states(owner), asyncio.Event()
        assert owner.listen is not None
        owner.listen(heard.set)
        connection = await asyncpg.connect(harness.database)
        async with asyncio.timeout(45):
            await heard.wait()  # it listens
            for time in range(3):
                await harness.lose_the_lock()
                assert [await ownership.get(), await ownership.get()] == ["in_doubt", "sure"]
                await heard.wait()  # it looks, because some may have come meanwhile
                heard.clear()
                await enqueue_async(connection, tell(SUMS, f"{time}").send(1), schema=harness.schema)
                await heard.wait()
        await connection.close()
        await owner.close()
        await harness.discard()

    asyncio.run(main())
