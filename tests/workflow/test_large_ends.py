"""Workflows that wait for a large value of a child, of another workflow, or of a pool's item: they receive it whole."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest
from flows import bodies
from postgres_harness import PostgresHarness
from returns.result import Failure

from perdure import App, Do, ItemContext, Limits, WorkerPool, Workflow, WorkflowContext, program
from perdure.cli.commands import run_command
from perdure.jobs.parts import names_in, reference_to
from perdure.kinds.workflow.children import answer_of_ask, answer_of_child
from perdure.kinds.workflow.instructions import AskInstance, CallChild
from perdure.kinds.workflow.journal import Row, body_of, row_of
from perdure.programs import gather, sleep
from perdure.stores.encryption import Encryption, Key
from perdure.stores.url import open_store
from perdure.testing import Crash, WorkerDied, World
from perdure.values.answer import Done
from perdure.values.status import Defect

LIMITS = Limits(payload_bytes=400, input_bytes=4_000, outcome_bytes=8_000, journal_page=3)
KEY = Encryption(primary=Key("k1", bytes(range(64))))


def text_of(size: int) -> str:
    """Return a text whose parts differ."""
    return "".join(f"{number}," for number in range(size))[:size]


@program
def write(ctx: ItemContext[int]) -> Do[str]:
    size = yield from ctx.item
    yield from sleep("1 ms")
    return text_of(size)


@program
def make(ctx: WorkflowContext[int]) -> Do[str]:
    size = yield from ctx.state
    yield from sleep("1 minute")
    return text_of(size)


pool = WorkerPool("pool", item=int, work=write, keep=None)
maker = Workflow("maker", state=int, run=make, keep=None)


@program
def collect(ctx: WorkflowContext[int]) -> Do[list[str], Any]:
    size = yield from ctx.state
    texts = yield from gather(pool.done("i"), maker.until_ended("m"), maker.call(f"{ctx.id}-c", size))
    yield from sleep("1 hour")
    return [text if len(text) < 10 else f"{len(text)} {text == text_of(len(text))}" for text in texts]


collector = Workflow("collector", state=int, run=collect, keep=None)
JOBS: Any = (pool, maker, collector)


def audit(world: World, id_: str) -> tuple[int, int, int]:
    """Return how many parts a workflow's journal has, how many nothing names, and how many names have no part."""
    if world.instance(collector, id_) is None:
        return 0, 0, 0
    rows = list(map(row_of, bodies(world, collector, id_)))
    stored = {row.name for row in rows if row.form == "part" and row.name}
    named = {name for row in rows if row.form != "part" for name in names_in(row.value)}
    return len(stored), len(stored - named), len(named - stored)


@pytest.mark.parametrize("first", ["the waits", "the ends"])
def test_a_workflow_receives_large_values_of_others_whole(first: str) -> None:
    with World(App(None, limits=LIMITS).with_jobs(*JOBS)) as world:
        world.run(world.handle(pool).put("i", 1_000, after="1 hour"))
        world.run(world.handle(maker).start("m", 1_500))
        if first == "the ends":
            world.advance("2 hours")
        world.run(world.handle(collector).start("f", 2_000))
        world.advance("90 minutes")
        assert audit(world, "f")[1:] == (0, 0)
        world.restart()  # a replay reads them from its own journal
        world.advance("2 hours")
        whole = Done(value=["1000 True", "1500 True", "2000 True"])
        assert world.run(world.handle(collector).outcome("f")) == whole
        # The texts begin alike, so the replay has emptied three parts that the journal held twice.
        assert audit(world, "f") == (8, 0, 0)
        shown = [step.value for step in world.run(world.handle(collector).steps("f"))][:3]
        assert all("characters of JSON in" in str(value) for value in shown)
        # The values are its own: also a fork has them after the others are gone.
        for job, id_ in ((pool, "i"), (maker, "m"), (maker, "f-c")):
            assert world.run(world.handle(job).terminate(id_)).terminated
        world.run(world.handle(collector).fork("g", "f", step="sleep"))
        world.advance("2 hours")
        assert world.run(world.handle(collector).outcome("g")) == whole
        assert audit(world, "g") == (8, 0, 0)


@pytest.mark.parametrize(("size", "is_whole"), [(3_998, True), (3_999, False)])
def test_an_end_has_at_most_input_bytes(size: int, is_whole: bool) -> None:  # noqa: FBT001 - of a parameter
    @program
    def wait(ctx: WorkflowContext[int]) -> Do[str, Any]:
        yield from ctx.state
        return str((yield from maker.until_ended("m").attempt()))[:150]

    waiter = Workflow("waiter", state=int, run=wait, keep=None)
    with World(App(None, limits=LIMITS).with_jobs(maker, waiter)) as world:
        world.run(world.handle(maker).start("m", size))
        world.run(world.handle(waiter).start("w", 0))
        world.advance("1 hour")
        found = world.run(world.handle(waiter).outcome("w"))
        assert isinstance(found, Done)
        assert ("larger than input_bytes" in found.value) != is_whole
        # A caller still receives it from the workflow itself.
        assert world.run(world.handle(maker).outcome("m")) == Done(value=text_of(size))


@pytest.mark.parametrize(("size", "is_whole"), [(3_998, True), (3_999, False)])
def test_a_child_has_a_value_of_at_most_input_bytes_for_its_parent(size: int, is_whole: bool) -> None:  # noqa: FBT001
    @program
    def call(ctx: WorkflowContext[int]) -> Do[int, Any]:
        return len((yield from maker.call(f"{ctx.id}-c", (yield from ctx.state))))

    parent = Workflow("parent", state=int, run=call, keep=None)
    with World(App(None, limits=LIMITS).with_jobs(maker, parent)) as world:
        world.run(world.handle(parent).start("p", size))
        world.advance("1 hour")
        found = world.run(world.handle(parent).outcome("p"))
        child = world.run(world.handle(maker).status("p-c"))
        if is_whole:
            assert found == Done(value=size)
        else:
            assert (found, child.parked) == (None, "not_retryable")
            assert child.last_error is not None
            assert "input_bytes, for a parent (4000)" in child.last_error.message


def test_a_sender_that_is_gone_before_the_delivery_is_no_value() -> None:
    @program
    def wait(ctx: WorkflowContext[int]) -> Do[str, Any]:
        yield from ctx.state
        return str((yield from pool.done("i").attempt()))

    waiter = Workflow("waiter", state=int, run=wait, keep=None)
    with World(App(None, limits=LIMITS).with_jobs(pool)) as world:
        world.run(world.handle(pool).put("i", 1_000, after="1 hour"))
        world.restart(App(None, limits=LIMITS).with_jobs(pool, waiter))
        world.run(world.handle(waiter).start("w", 0))
        world.settle()
        world.restart(App(None, limits=LIMITS).with_jobs(pool))  # no engine delivers the message
        world.advance("2 hours")
        assert world.run(world.handle(pool).terminate("i")).terminated
        world.restart(App(None, limits=LIMITS).with_jobs(pool, waiter))
        world.advance("1 hour")
        found = world.run(world.handle(waiter).outcome("w"))
        assert isinstance(found, Done)
        assert "no longer kept" in found.value


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 15))
def test_a_death_at_any_commit_leaves_each_value_whole(number: int, when: Any) -> None:
    def use(world: World) -> None:
        world.run(world.handle(pool).put("i", 1_000))
        world.run(world.handle(maker).start("m", 1_500))
        world.run(world.handle(collector).start("f", 2_000))
        world.advance("2 hours")

    with World(App(None, limits=LIMITS).with_jobs(*JOBS)) as world:
        world.inject(Crash("store.commit", call=number, when=when))
        with suppress(WorkerDied):
            use(world)
        assert not world.is_open
        world.open()
        assert audit(world, "f")[1:] == (0, 0)
        use(world)
        world.advance("2 hours")
        assert world.run(world.handle(collector).outcome("f")) == Done(value=["1000 True", "1500 True", "2000 True"])
        assert audit(world, "f")[0] >= 8
        assert audit(world, "f")[1:] == (0, 0)


# ---------------------------------------------------------------- engines of earlier code
def test_earlier_code_cannot_decode_an_arrival_in_parts_and_leaves_the_workflow() -> None:
    row = Row(
        path="", name="child r:1", form="arrived", at_ms=7, began_ms=7, value=reference_to("x" * 9, ["n"]), signal=3
    )
    assert body_of(row).startswith('["","child r:1","arrived",7,null,1,0,3]\n')
    assert row_of(body_of(row)) == row
    # One in a row is as before.
    assert body_of(attrs.evolve(row, value="{}")).startswith('["","child r:1","arrived",7,0,1,0,3]\n')


def test_a_reference_that_an_earlier_engine_has_stored_is_no_value() -> None:
    """It delivers the message as it is, and stores the reference in the end."""
    stored = orjson.dumps({"form": "done", "value": reference_to("x" * 1_000, ["n"])}).decode()
    answers = [
        answer_of_child(CallChild(maker, "m", 1, "cancel"), stored, attrgetter("value")),
        answer_of_ask(AskInstance(pool.address("i"), "end", lambda *given: given), stored, attrgetter("value")),
    ]
    assert isinstance(answers[0], Failure)
    assert "no longer kept" in answers[0].failure().message
    assert answers[1][:2] == ("too large", "null")


# ---------------------------------------------------------------- real stores
@pytest.mark.parametrize("encryption", [None, KEY])
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_stores_keep_large_ends(store: str, encryption: Encryption | None, tmp_path: Path, postgres_url: str) -> None:
    @program
    def call(ctx: WorkflowContext[int]) -> Do[int, Defect]:
        size = yield from ctx.state
        text = yield from writer.call(f"{ctx.id}-c", size)
        return len(text) if text == text_of(size) else -1

    @program
    def at_once(ctx: WorkflowContext[int]) -> Do[str]:
        return text_of((yield from ctx.state))

    writer = Workflow("writer", state=int, run=at_once)
    caller = Workflow("caller", state=int, run=call)
    harness = PostgresHarness(postgres_url, "full") if store == "postgresql" else None
    url = f"sqlite:///{tmp_path / 'jobs.db'}" if harness is None else harness.url
    app = App(None, encryption=encryption).with_jobs(writer, caller)

    async def main() -> object:
        async with app.open(await open_store(url)) as client:
            found = await client.handle(caller).start_and_wait("p", 600_000)
        if encryption is None:
            assert await asyncio.to_thread(run_command, ["verify", "--store", url]) == 0
        if harness is not None:
            await harness.discard()
        return found

    assert asyncio.run(main()) == Done(value=600_000)
