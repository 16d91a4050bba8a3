"""Two engines on one PostgreSQL schema."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from datetime import timedelta
from typing import Any, Never

import attrs
import pytest
from postgres_harness import SharedPostgresHarness
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Decision,
    Do,
    ItemContext,
    Limit,
    Stream,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
)
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.programs.future import answer_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.contract import Sharing, Store, commit_one, load_one
from perdure.stores.postgres.schema import migrations
from perdure.testing.conformance.histories import address, created, put
from perdure.values.errors import OwnershipLost, StoreTooNew


@attrs.frozen
class Added:
    cents: int


@attrs.frozen
class Sum:
    cents: int = 0
    count: int = 0


def decide(total: Sum, event: Added) -> Success[Decision[Sum]]:
    return Success(Decision(Sum(total.cents + event.cents, total.count + 1)))


SUMS = Task("sums", state=Sum, event=Added, initial=Sum(), decide=decide, execute=lambda ctx: ctx.terminate())
REQUESTS = 120


def test_requests_through_two_engines_are_each_applied_once(postgres_url: str):
    """Both take requests for the same few instances; then one leaves, and the other continues with all of them."""
    harness = SharedPostgresHarness(postgres_url)
    app = App(None).with_jobs(SUMS)

    async def main() -> None:
        async with app.open(harness.url) as here:
            async with app.open(harness.url) as there:
                handles = [jobs.handle(SUMS) for jobs in (here, there)]
                sends = [
                    handles[number % 2].send(f"{number % 5}", Added(number), idempotency_key=f"{number}")
                    for number in range(REQUESTS)
                ]
                await asyncio.gather(*sends)
            sums = [await here.handle(SUMS).get_state(f"{number}") for number in range(5)]
            assert sum(each.count for each in sums if each is not None) == REQUESTS
            assert sum(each.cents for each in sums if each is not None) == sum(range(REQUESTS))
            await here.handle(SUMS).send("0", Added(1))
        await harness.discard()

    asyncio.run(main())


def test_a_key_that_one_engine_clears_is_new_to_the_other(postgres_url: str):
    """Both have answered a request with it, so that both may know it."""
    harness = SharedPostgresHarness(postgres_url)
    app = App(None).with_jobs(SUMS)

    async def main() -> None:
        async with app.open(harness.url) as here, app.open(harness.url) as there:
            for jobs in (here, there, here):
                await jobs.handle(SUMS).send("a", Added(1), idempotency_key="k")
            assert await there.forget_key(SUMS, "a", "k") == "forgotten"
            assert await here.forget_key(SUMS, "a", "k") == "not_found"
            for jobs in (here, there, here):
                await jobs.handle(SUMS).send("a", Added(1), idempotency_key="k")
            assert (await there.handle(SUMS).get_state("a")) == Sum(2, 2)
        await harness.discard()

    asyncio.run(main())


def sharing(store: Store) -> Sharing:
    assert store.sharing is not None
    return store.sharing


def test_a_writer_that_is_stuck_blocks_no_other_engine(postgres_url: str):
    """An operator has locked a row; the engine that writes it dies meanwhile, and is declared dead afterwards."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        here, there, third = [await harness.open() for _ in range(3)]
        row, other = address("a"), address("b")
        fence, own = await created(there, row), await created(here, other)
        async with harness.transaction() as operator:
            await operator.execute(harness.sql("SELECT FROM perdure.instances WHERE id = 'a' FOR UPDATE"))
            stuck = asyncio.ensure_future(answer_of(commit_one(there, put(row, fence))))
            await harness.until_blocked()
            await harness.execute("UPDATE perdure.engines SET lease_until = now() WHERE epoch = $1", there.epoch)
            members = (await answer_of(sharing(here).heartbeat({}))).unwrap()
            assert there.epoch in members.epochs, "its commit may still succeed"
            (await answer_of(sharing(third).heartbeat({}))).unwrap()
            (await answer_of(commit_one(here, put(other, own)))).unwrap()
        assert isinstance(await stuck, Success)
        assert (await answer_of(sharing(here).heartbeat({}))).unwrap().epochs == {here.epoch, third.epoch}
        lost = (await answer_of(commit_one(there, put(row, None)))).failure()
        assert isinstance(lost, OwnershipLost)
        assert "its lease ended, and another engine declared it dead; start it again" in lost.reason
        for store in (here, there, third):
            await store.close()
        await harness.discard()

    asyncio.run(main())


def test_only_an_open_engine_without_a_lease_is_declared_dead(postgres_url: str):
    """The engine that declares another one dead has waited for its writers, and it may have renewed its lease since."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        living, dead, closed = [await harness.open() for _ in range(3)]
        ended = "UPDATE perdure.engines SET lease_until = now() WHERE epoch = $1"
        await closed.close()
        for store in (dead, closed):
            await harness.execute(ended, store.epoch)
        for epoch in (living.epoch, dead.epoch, closed.epoch, 10**6):
            await harness.execute("SELECT perdure.declare_dead($1)", epoch)
        states = "SELECT string_agg(state, ' ' ORDER BY epoch) FROM perdure.engines WHERE epoch = ANY($1)"
        epochs = [living.epoch, dead.epoch, closed.epoch]
        assert await harness.value(states, epochs) == f"open dead {closed_state}"
        at = address("a")
        await created(living, at)
        lost = (await answer_of(commit_one(dead, put(at, None)))).failure()
        assert isinstance(lost, OwnershipLost)
        for store in (living, dead):
            await store.close()
        await harness.discard()

    closed_state = "closed"
    asyncio.run(main())


def test_engines_whose_leases_have_both_ended_do_not_wait_for_each_other(postgres_url: str):
    """Each tries to declare the other dead. A third one, which cannot be declared dead yet, lets both begin: the server
    would find a deadlock after a second, and undo the heartbeat of one of them."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        here, there, third = [await harness.open() for _ in range(3)]
        await asyncio.gather(*(answer_of(sharing(store).heartbeat({})) for store in (here, there)))
        async with harness.transaction() as writer:  # a commit of the third one is under way
            await harness.pass_time(60_000)
            await writer.execute(harness.sql(f"SELECT pg_advisory_xact_lock_shared(perdure.writers_of({third.epoch}))"))
            answers = await asyncio.gather(*(answer_of(sharing(store).heartbeat({})) for store in (here, there)))
        lost = [answer.failure() for answer in answers if isinstance(answer, Failure)]
        assert len(lost) < 2
        assert all(isinstance(error, OwnershipLost) for error in lost), lost
        for store in (here, there, third):
            await store.close()
        await harness.discard()

    asyncio.run(main())


A = address("a")


def test_a_heartbeat_waits_for_no_other_statement(postgres_url: str):
    """An operator has locked two tables: all other connections of the engine wait."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        store = await harness.open()
        async with harness.transaction() as operator:
            tables = harness.sql("perdure.events, perdure.instances")
            await operator.execute(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE")
            reads = [asyncio.ensure_future(answer_of(store.events(0, 9))) for _ in range(4)]
            reads += [
                asyncio.ensure_future(answer_of(call)) for call in (load_one(store, A), commit_one(store, put(A)))
            ]
            await harness.until_blocked(4)
            assert (await answer_of(sharing(store).heartbeat({}))).unwrap().epochs == {store.epoch}
            assert not any(read.done() for read in reads)
        await asyncio.gather(*reads)
        await store.close()
        await harness.discard()

    asyncio.run(main())


WORKERS, ITEMS = 2, 24


@attrs.define
class Desk:
    """The services of one engine: its items end when the test lets them."""

    free: asyncio.Semaphore = attrs.field(factory=lambda: asyncio.Semaphore(0))
    busy: int = 0
    most: int = 0
    full: asyncio.Event = attrs.field(factory=asyncio.Event)


@effect
async def hold(desk: Desk, number: int) -> Result[int, str]:
    desk.busy += 1
    desk.most = max(desk.most, desk.busy)
    if desk.busy == WORKERS:
        desk.full.set()
    await desk.free.acquire()
    desk.busy -= 1
    return Success(number)


@program
def work(ctx: ItemContext[int]) -> Do[int, str, Desk]:
    return (yield from hold((yield from ctx.item)))


POOL = WorkerPool("desk", item=int, work=work, workers=WORKERS)


def test_the_workers_of_a_pool_count_in_each_engine(postgres_url: str):
    """Both engines fill their own workers from one queue, and none exceeds them."""
    harness = SharedPostgresHarness(postgres_url)

    async def main() -> None:
        desks = [Desk(), Desk()]
        here, there = [App(desk).with_jobs(POOL) for desk in desks]
        async with asyncio.timeout(120), here.open(harness.url) as jobs, there.open(harness.url):
            pool = jobs.handle(POOL)
            await pool.put_many((f"{number}", number) for number in range(ITEMS))
            await asyncio.gather(*(desk.full.wait() for desk in desks))
            for desk in desks:
                for _ in range(ITEMS):
                    desk.free.release()
            while (await pool.count()).by_status.get("done", 0) < ITEMS:  # noqa: ASYNC110 - it asks the store
                await asyncio.sleep(0.02)
        assert [desk.most for desk in desks] == [WORKERS, WORKERS]
        await harness.discard()

    asyncio.run(main())


@attrs.define
class Begun:
    """Notes the items that begin, and whether the rate is used up."""

    items: list[int] = attrs.Factory(list[int])
    used_up: asyncio.Event = attrs.Factory(asyncio.Event)


@effect
def note(begun: Begun, item: int) -> FutureResult[None, Never]:
    begun.items.append(item)
    if len(begun.items) == 5:
        begun.used_up.set()
    return FutureResult.from_value(None)


@program
def noted(ctx: ItemContext[int]) -> Do[None, Never, Begun]:
    yield from note((yield from ctx.item))


def key_of(item: int) -> str:
    return str(item % 4)


RATED = WorkerPool("rated", item=int, work=noted, key=key_of, workers=4, rate=(5, "1 hour"), rate_per_key=(2, "1 hour"))


def test_a_rate_counts_the_runs_of_both_engines(postgres_url: str):
    """Both begin items together, and a third engine opens later: five in an hour over all, two of a key."""
    harness, begun = SharedPostgresHarness(postgres_url), Begun()
    app = App(begun).with_jobs(RATED)

    async def main() -> None:
        async with asyncio.timeout(120), app.open(harness.url) as jobs, app.open(harness.url) as others:
            pool = jobs.handle(RATED)
            # Before it knows of the other one, an engine begins items of both. A run that is counted and refused leaves
            # the rate used up with fewer runs.
            while not all(engine_of(each).runner.others.living for each in (jobs, others)):  # noqa: ASYNC110 - it asks
                await asyncio.sleep(0.02)
            await pool.put_many((f"{number}", number) for number in range(ITEMS))
            await begun.used_up.wait()
            async with app.open(harness.url):
                for _ in range(20):  # the engines look again meanwhile
                    await asyncio.sleep(0.02)
            assert len(begun.items) == 5
            assert max(Counter(map(key_of, begun.items)).values()) == 2
        await harness.discard()

    asyncio.run(main())


@attrs.define
class Phones:
    """Counts the items in progress over all engines of this process."""

    running: Counter[int] = attrs.Factory(Counter[int])
    most: int = 0
    most_of_key: int = 0
    ended: int = 0
    all_ended: asyncio.Event = attrs.Factory(asyncio.Event)


@effect
async def on_the_phone(phones: Phones, item: int) -> Result[None, Never]:
    phones.running[key_number(item)] += 1
    phones.most = max(phones.most, phones.running.total())
    phones.most_of_key = max(phones.most_of_key, *phones.running.values())
    await asyncio.sleep(0.01)
    phones.running[key_number(item)] -= 1
    phones.ended += 1
    if phones.ended == ITEMS:
        phones.all_ended.set()
    return Success(None)


def key_number(item: int) -> int:
    return item % 4


def key_of_item(item: int) -> str:
    return str(key_number(item))


@program
def phone(ctx: ItemContext[int]) -> Do[None, Never, Phones]:
    item = yield from ctx.item
    yield from on_the_phone(item)


PHONES = Limit("phones", concurrency=3, concurrency_per_key=1)
LIMITED = WorkerPool("limited", item=int, work=phone, key=key_of_item, workers=4, limits=[PHONES])


def test_a_named_limit_counts_the_runs_of_both_engines(postgres_url: str):
    """Three at the same time over both, and one of a key."""
    harness, called = SharedPostgresHarness(postgres_url), Phones()
    app = App(called).with_jobs(LIMITED)

    async def main() -> None:
        async with asyncio.timeout(120), app.open(harness.url) as jobs, app.open(harness.url):
            await jobs.handle(LIMITED).put_many((f"{number}", number) for number in range(ITEMS))
            await called.all_ended.wait()
            assert (called.most, called.most_of_key) == (3, 1)
        await harness.discard()

    asyncio.run(main())


@program
def set_alarm(ctx: TaskContext[int], delay_ms: int) -> Do[None]:
    yield from ctx.schedule(after=timedelta(milliseconds=delay_ms))


@attrs.define
class Bells:
    """Notes when each alarm fires, and whether all have."""

    wanted: int
    rung: dict[str, float] = attrs.Factory(dict[str, float])
    all_rung: asyncio.Event = attrs.Factory(asyncio.Event)


@effect
def ring(bells: Bells, id_: str) -> FutureResult[None, str]:
    bells.rung.setdefault(id_, time.monotonic())
    if len(bells.rung) == bells.wanted:
        bells.all_rung.set()
    return FutureResult.from_value(None)


@program
def fire(ctx: TaskContext[int]) -> Do[None, str, Bells]:
    yield from ring(ctx.id)


BELLS = Task("bells", state=int, event=int, initial=0, on_event=set_alarm, execute=fire)


@pytest.mark.parametrize("skew_ms", [30_000, -30_000])
def test_an_engine_with_a_wrong_clock_fires_no_alarm_early_and_none_late(postgres_url: str, skew_ms: int) -> None:
    """The server's clock decides for both engines; a shift of 30 s would be seen as that many seconds."""
    harness, bells, asked = SharedPostgresHarness(postgres_url), Bells(wanted=16), dict[str, float]()
    app = App(bells).with_jobs(BELLS)
    right = asyncio_runtime()
    wrong = attrs.evolve(right, now_ms=lambda: right.now_ms() + skew_ms)

    async def main() -> None:
        async with app.open(harness.url, runtime=wrong) as off, app.open(harness.url) as good:
            for number in range(bells.wanted):
                handle = (off, good)[number % 2].handle(BELLS)
                asked[f"{number}"] = time.monotonic()
                await handle.send(f"{number}", 2_000)
            await asyncio.wait_for(bells.all_rung.wait(), timeout=25)
        await harness.discard()

    asyncio.run(main())
    took = [bells.rung[id_] - asked[id_] for id_ in asked]
    assert min(took) >= 1.9, took  # less the time that the answer to a heartbeat took
    assert max(took) < 20, took


LATER = """
    ALTER TABLE perdure.instances ADD COLUMN later text;
    ALTER TABLE perdure.keys ADD COLUMN later text;
    INSERT INTO perdure.migrations (version, name) VALUES ($1, 'later')"""


def test_an_engine_continues_after_a_newer_library_has_migrated_its_tables(postgres_url: str):
    """It answers old and new requests. It cannot open again."""
    harness = SharedPostgresHarness(postgres_url)
    newer = len(migrations()) + 1
    app = App(None).with_jobs(SUMS)

    async def main() -> None:
        async with app.open(harness.url) as jobs:
            sums = jobs.handle(SUMS)
            await sums.send("a", Added(1), idempotency_key="first")
            for statement in LATER.split(";"):
                await harness.execute(statement, *([newer] if "$1" in statement else []))
            for number in range(3):
                await sums.send("a", Added(1), idempotency_key=f"{number}")
                await sums.send("a", Added(1), idempotency_key="first")
            await sums.send("b", Added(1))
            assert await sums.get_state("a") == Sum(4, 4)
            with pytest.raises(StoreTooNew) as caught:
                async with app.open(harness.url):
                    pass
            assert (caught.value.found, caught.value.supported) == (newer, newer - 1)
        await harness.discard()

    asyncio.run(main())


words = Stream("words", str)


@effect
async def say(_: object, count: int) -> Result[int, str]:
    for number in range(count):
        words.emit_now(f"w{number}")
        await asyncio.sleep(0)
    return Success(count)


@program
def talk(ctx: WorkflowContext[int]) -> Do[int, str]:
    yield from words.emit("begin")
    return (yield from say((yield from ctx.state)))


TALKER = Workflow("talker", state=int, run=talk, streams=[words])


def test_readers_at_both_engines_see_each_chunk_and_a_purge_by_older_code_deletes_them(postgres_url: str):
    harness = SharedPostgresHarness(postgres_url)
    app = App(None).with_jobs(TALKER)
    rows = "SELECT count(*) FROM perdure.streams"
    knowing = "SELECT count(*) FROM pg_proc WHERE proname LIKE 'commit%' AND prosrc LIKE '%streams%'"

    async def main() -> None:
        async def read(jobs: Client, id_: str) -> list[Any]:
            return [item async for item in jobs.handle(TALKER).stream(id_, words)]

        async with app.open(harness.url) as here, app.open(harness.url) as there:
            ids = [f"{number}" for number in range(6)]
            reading = [asyncio.ensure_future(read(jobs, id_)) for jobs in (here, there) for id_ in ids]
            for number, id_ in enumerate(ids):
                await (here, there)[number % 2].handle(TALKER).start(id_, 40)
            expected = ["begin", *(f"w{number}" for number in range(40))]
            for items in await asyncio.gather(*reading):
                assert [item.value for item in items] == expected
                assert [item.offset for item in items] == list(range(41))
            assert await harness.value(rows) > 0
            for id_ in ids:
                await there.handle(TALKER).terminate(id_)
            assert await harness.value(rows) == 0
        # Nothing but the foreign key deletes them: the functions that purge are those of engines without streams.
        assert await harness.value(knowing) == 0
        await harness.discard()

    asyncio.run(main())


def test_an_engine_hears_that_another_one_held_or_released_a_job(postgres_url: str):
    """By a notification, and not only when it reads the held jobs again."""
    harness = SharedPostgresHarness(postgres_url)
    app = App(None).with_jobs(SUMS)

    async def main() -> None:
        async with asyncio.timeout(60), app.open(harness.url) as here, app.open(harness.url) as there:
            handle, heard = here.handle(SUMS), asyncio.Event()
            engine_of(there).store.watch_holds(heard.set)
            # Several times: a connection that begins to listen is a reason to read them, too.
            for _ in range(4):
                assert (await handle.hold()).changed
                await heard.wait()
                heard.clear()
                assert (await handle.release()).changed
                await heard.wait()
                heard.clear()
        await harness.discard()

    asyncio.run(main())
