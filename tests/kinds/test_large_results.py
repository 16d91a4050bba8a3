"""Results of a pool's items that are larger than one row: the commit of the item's end stores them in parts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import pytest
from flows import bodies
from hypothesis import example, given, settings
from hypothesis import strategies as st
from postgres_harness import PostgresHarness
from returns.result import Failure, Success

from perdure import App, Backoff, Do, Limits, PoolBatch, Retry, Secret, WorkerPool, Workflow, WorkflowContext, program
from perdure.cli.commands import run_command
from perdure.client.gateway import attempt
from perdure.jobs.code_fingerprint import code_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.parts import Reference, parts_in
from perdure.kinds.worker_pool.items import ItemContext, data_of
from perdure.programs import sleep
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.stores.encryption import Encryption, Key
from perdure.stores.url import open_store
from perdure.testing import Crash, WorkerDied, World
from perdure.values.answer import Done
from perdure.values.errors import InvalidInput, Undecodable
from perdure.values.excerpt import REFERENCE
from perdure.values.outcome import Failed
from perdure.values.status import Defect

ROW = 100
LIMITS = Limits(payload_bytes=ROW, input_bytes=4_000, journal_page=7)
LETTERS = 'abcäöüß水\U0001f600"\\'
KEY = Encryption(primary=Key("k1", bytes(range(64))))


def text_of(size: int) -> str:
    """Return a text whose parts differ."""
    return "".join(f"{number}," for number in range(size))[:size]


@program
def writing(ctx: ItemContext[int]) -> Do[str]:
    return text_of((yield from ctx.item))


RETRY: Retry[Any] = Retry(2, Backoff.constant("1 minute"))
pool = WorkerPool("pool", item=int, work=writing, keep=None, retry=RETRY)


def opened(*jobs: AnyDefinition, limits: Limits = LIMITS, **options: Any) -> World:
    return World(App(None, limits=limits).with_jobs(*(jobs or (pool,))), **options)


def audited(world: World, job: AnyDefinition, id_: str) -> tuple[int, int, int]:
    """Return how many parts an item has, how many nothing names, and how many names have no part."""
    row = world.instance(job, id_)
    if row is None:
        return 0, 0, 0
    rows = bodies(world, job, id_)
    stored, named = set(parts_in(rows)), set[str]()
    for value in (row.state, data_of(row).result or ""):
        named |= set(Reference.of(value).names) if value.startswith(REFERENCE) else set()
    assert len(rows) == len(stored), "a part is stored twice"
    return len(stored), len(stored - named), len(named - stored)


def test_a_large_result_is_read_whole_and_goes_with_its_item() -> None:
    short = WorkerPool("short", item=int, work=writing, keep="1 hour")
    with opened(pool, short) as world:
        for job in (pool, short):
            world.run(world.handle(job).put("i", 3_000))
            world.settle()
            assert audited(world, job, "i") == (31, 0, 0)
            assert world.run(world.handle(job).outcome("i")) == Done(value=text_of(3_000))
        world.restart()
        assert world.run(world.handle(pool).outcome("i")) == Done(value=text_of(3_000))
        assert world.run(world.handle(pool).put_and_wait("i", 3_000)) == Done(value=text_of(3_000))
        world.advance("2 hours")
        assert world.instance(short, "i") is None
        assert world.run(world.handle(short).outcome("i")) is None
        assert world.run(world.handle(pool).terminate("i")).terminated
        world.run(world.handle(pool).put("i", 5))
        world.settle()
        assert audited(world, pool, "i") == (0, 0, 0)
        assert world.run(world.handle(pool).outcome("i")) == Done(value=text_of(5))


@pytest.mark.parametrize(("size", "parts"), [(ROW, 0), (ROW + 1, 2), (4_000, 40), (4_001, None)])
def test_a_result_has_at_most_input_bytes_and_nothing_repeats_the_work_for_a_larger_one(
    size: int, parts: int | None
) -> None:
    worked: list[str] = []

    @program
    def noting(ctx: ItemContext[int]) -> Do[str]:
        worked.append(ctx.id)
        return text_of((yield from ctx.item) - 2)

    job = WorkerPool("pool", item=int, work=noting, keep=None, retry=RETRY)
    with opened(job) as world:
        world.run(world.handle(job).put("i", size))
        world.advance("1 hour")
        found = world.run(world.handle(job).outcome("i"))
        assert worked == ["i"]
        if parts is not None:
            assert found == Done(value=text_of(size - 2))
            assert audited(world, job, "i") == (parts, 0, 0)
        else:
            assert isinstance(found, Failed)
            assert isinstance(found.error, Defect)
            assert found.error.error_type == "ResultNotStored"
            assert "expected at most 4000 bytes when encoded, got 4001" in found.error.message
            assert audited(world, job, "i") == (0, 0, 0)


def test_a_result_within_a_row_is_limited_by_state_bytes() -> None:
    with opened(limits=Limits(payload_bytes=ROW, state_bytes=50, input_bytes=4_000)) as world:
        world.run(world.handle(pool).put("a", 60))
        world.run(world.handle(pool).put("b", 600))
        world.advance("1 hour")
        assert isinstance(world.run(world.handle(pool).outcome("a")), Failed)
        assert world.run(world.handle(pool).outcome("b")) == Done(value=text_of(600))


def test_a_result_shares_the_parts_of_an_item_with_the_same_content() -> None:
    @program
    def copying(ctx: ItemContext[str]) -> Do[str]:
        return (yield from ctx.item)

    job = WorkerPool("copies", item=str, work=copying, keep=None)
    with opened(job) as world:
        world.run(world.handle(job).put("i", text_of(1_000)))
        world.settle()
        assert audited(world, job, "i") == (11, 0, 0)
        assert world.run(world.handle(job).outcome("i")) == Done(value=text_of(1_000))
        assert world.run(world.handle(job).get_state("i")) == text_of(1_000)


@given(text=st.text(alphabet=LETTERS, max_size=500), room=st.integers(8, 300))
@example(text="水" * 300, room=8)
@example(text="a" * 298, room=300)
@settings(max_examples=20)
def test_any_result_comes_back_as_it_was(text: str, room: int) -> None:
    @program
    def returning(_: ItemContext[int]) -> Do[str]:
        yield from sleep("1 ms")
        return text

    job = WorkerPool("pool", item=int, work=returning, keep=None)
    with opened(job, limits=Limits(payload_bytes=room, journal_page=3)) as world:
        assert world.run(world.handle(job).put_and_wait("i", 1)) == Done(value=text)
        stored, *wrong = audited(world, job, "i")
        assert wrong == [0, 0]
        assert bool(stored) == (len(f'"{text}"'.encode()) + text.count('"') + text.count("\\") > room)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 4))
def test_a_death_at_any_commit_leaves_all_parts_or_none(number: int, when: Any) -> None:
    def use(world: World) -> None:
        world.run(world.handle(pool).put_and_wait("i", 1_000))
        world.run(world.handle(pool).put("j", 1))

    with opened() as world:
        world.inject(Crash("store.commit", call=number, when=when))
        with pytest.raises(WorkerDied):
            use(world)
        world.open()
        assert audited(world, pool, "i") in ((0, 0, 0), (11, 0, 0))
        world.run(world.handle(pool).put("i", 1_000))  # the first answer may be lost
        world.advance("3 hours")
        assert world.run(world.handle(pool).outcome("i")) == Done(value=text_of(1_000))
        assert audited(world, pool, "i") == (11, 0, 0)


# ---------------------------------------------------------------- batches, workflows and tools
def test_a_batch_counts_an_item_with_a_large_result() -> None:
    batch = PoolBatch("batch", pool=pool)
    with opened(pool, batch, limits=Limits(payload_bytes=300)) as world:
        world.run(world.handle(batch).put("b", [("i", 1_500), ("j", 5)]))
        progress = world.run(world.handle(batch).seal_and_wait("b"))
        assert (progress.done, progress.failed) == (2, 0)
        assert audited(world, pool, "i") == (6, 0, 0)
        assert world.run(world.handle(pool).outcome("i")) == Done(value=text_of(1_500))


@pytest.mark.parametrize("first", ["the wait", "the end"])
def test_a_workflow_that_waits_receives_a_large_result(first: str) -> None:
    @program
    def waiting(ctx: WorkflowContext[int]) -> Do[str, Any]:
        yield from ctx.state
        return str((yield from pool.done("i").attempt()))

    flow = Workflow("flow", state=int, run=waiting, keep=None)
    with opened(pool, flow, limits=Limits(payload_bytes=400)) as world:
        world.run(world.handle(pool).put("i", 1_000, after="1 hour"))
        if first == "the end":
            world.advance("2 hours")
        world.run(world.handle(flow).start("f", 0))
        world.advance("2 hours")
        found = world.run(world.handle(flow).outcome("f"))
        assert isinstance(found, Done)
        assert found.value == f"<Success: {text_of(1_000)}>"
        assert audited(world, pool, "i")[1:] == (0, 0)


def test_tools_show_the_size_of_a_large_result() -> None:
    size = "<502 characters of JSON in 6 parts>"
    with opened() as world:
        world.run(world.handle(pool).put("i", 500))
        world.settle()
        named = world.jobs.handle_by_name("pool", "pool")
        shown = world.run(named.shown_outcome("i"))
        assert shown is not None
        assert shown.value == f'"{size}"'
        row, rows = world.instance(pool, "i"), bodies(world, pool, "i")
        assert row is not None
        assert any(size in str(field.value) for field in pool.display_fields_of(row))
        with pytest.raises(InvalidInput, match="1 of the 6 parts"):
            pool.reply_in(row, rows[1:], 0)


def test_parts_of_secret_results_are_marked() -> None:
    @program
    def issuing(_: ItemContext[int]) -> Do[Annotated[str, Secret()]]:
        yield from sleep("1 ms")
        return "xyzzy" * 100

    job = WorkerPool("tokens", item=int, work=issuing, keep=None)
    with opened(job) as world:
        world.run(world.handle(job).put("i", 1))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("i")) == Done(value="xyzzy" * 100)
        assert job.has_secret_rows(bodies(world, job, "i"))
        assert "xyzzy" not in repr(world.run(world.jobs.handle_by_name("pool", "tokens").shown_outcome("i")))
        assert "xyzzy" not in repr(world.history(job, "i"))


# ---------------------------------------------------------------- earlier code
class EarlierPool(WorkerPool[int, str, Any, object]):
    """As an engine that knows no results in parts: it decodes the data of an item in a batch."""

    journal_format = 2

    def begin(self, address: Any, instance: Any, request: Any, inputs: Any) -> Any:
        self._check(instance)
        return super().begin(address, instance, request, inputs)

    def check_data(self, instance: Any) -> None:
        self._check(instance)
        super().check_data(instance)

    @staticmethod
    def _check(instance: Any) -> None:
        from perdure.kinds.worker_pool.items import BATCH_ITEM_DATA  # noqa: PLC0415 - as that engine reads it

        if instance is not None and instance.data.startswith("[") and not instance.data.startswith("[["):
            BATCH_ITEM_DATA.read(instance.data)


def test_an_earlier_engine_leaves_such_an_item_and_a_newer_one_takes_it_up() -> None:
    earlier = EarlierPool("pool", item=int, work=writing, keep=None, retry=RETRY)
    assert code_of(earlier) != code_of(pool)
    with opened() as world:
        world.run(world.handle(pool).put("i", 500))
        world.run(world.handle(pool).put("small", 5))
        world.settle()
        world.restart(App(None, limits=LIMITS).with_jobs(earlier))
        refused = world.run(attempt(world.handle(earlier).outcome("i")))
        assert isinstance(refused, Failure)
        assert isinstance(refused.failure(), Undecodable)
        assert isinstance(world.run(attempt(world.handle(earlier).put("i", 500))), Failure)
        assert world.run(world.handle(earlier).outcome("small")) == Done(value=text_of(5))
        assert world.run(world.handle(earlier).status("i")).left is not None
        assert audited(world, pool, "i") == (6, 0, 0)
        world.restart(App(None, limits=LIMITS).with_jobs(pool))
        world.settle()
        assert world.run(world.handle(pool).status("i")).left is None
        assert world.run(world.handle(pool).outcome("i")) == Done(value=text_of(500))


# ---------------------------------------------------------------- real stores, copies, and callers of another process
@pytest.mark.parametrize("encryption", [None, KEY])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_stores_keep_large_results(
    store: str, encryption: Encryption | None, tmp_path: Path, postgres_url: str
) -> None:
    harness = PostgresHarness(postgres_url, "full") if store == "postgresql" else None
    url = f"sqlite:///{tmp_path / 'jobs.db'}" if harness is None else harness.url
    app = App(None, limits=Limits(payload_bytes=10_000), encryption=encryption).with_jobs(pool)

    async def main() -> list[object]:
        async with app.open(await open_store(url)) as client:
            found: list[object] = [await client.handle(pool).put_and_wait("i", 300_000)]
        if encryption is None:
            copied = f"sqlite:///{tmp_path / 'copied.db'}"
            for command in (["verify", "--store", url], ["copy", url, copied], ["verify", "--store", copied]):
                assert await asyncio.to_thread(run_command, command) == 0
            async with app.open(copied) as client:
                found.append(await client.handle(pool).outcome("i"))
        async with app.open(await open_store(url)) as client:
            found.append(await client.handle(pool).outcome("i"))
        if harness is not None:
            await harness.discard()
        return found

    found = asyncio.run(main())
    assert found == [Done(value=text_of(300_000))] * len(found)


def test_a_client_of_another_process_reads_the_same() -> None:
    app = App(None, limits=Limits(payload_bytes=10_000, input_bytes=500_000)).with_jobs(pool)

    async def main() -> tuple[object, object]:
        async with (
            app.open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], pool) as remote,
        ):
            found = await remote.handle(pool).put_and_wait("i", 450_000)
            return found, await attempt(local.handle(pool).outcome("i"))

    found, local = asyncio.run(main())
    assert found == Done(value=text_of(450_000))
    assert local == Success(found)
