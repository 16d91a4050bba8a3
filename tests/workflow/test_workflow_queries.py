"""Queries: questions about a workflow's committed state, which write nothing and read no journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import pytest
from attrs import evolve, frozen

from perdure import App, Do, Limits, Secret, Signal, StateQuery, Workflow, WorkflowContext, program
from perdure.cli.commands import run_command
from perdure.client.client import Client
from perdure.remote import connect
from perdure.server.serving import serving
from perdure.stores.contract import overlay
from perdure.stores.memory import memory_store
from perdure.testing import World
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, HookRaised, InvalidArgument, InvalidInput, UnknownAction

go = Signal("go", int)


@frozen
class Basket:
    items: tuple[str, ...] = ()
    card: Annotated[str, Secret] = "4111-1111"


def count(basket: Basket, item: str) -> int:
    if item == "raise":
        raise RuntimeError(f"no such item for {basket.card}")
    if item == "long":
        return 10**40
    return basket.items.count(item)


counted = StateQuery("counted", str, int, count)


def longest_item(basket: Basket, least: int) -> str:
    return max((item for item in basket.items if len(item) >= least), default="")


longest = StateQuery("longest", int, str, longest_item)


@program
def collect(ctx: WorkflowContext[Basket]) -> Do[int]:
    number = yield from go.receive()
    yield from ctx.update_state(lambda basket: evolve(basket, items=(*basket.items, "tea" * number)))
    return number + (yield from go.receive())


flow = Workflow("flow", state=Basket, run=collect, signals=(go,), queries=(counted, longest), keep="1 hour")
plain = Workflow("plain", state=Basket, run=collect, signals=(go,))


@pytest.mark.parametrize("store", ["memory://", "jobs.db"])
def test_a_query_reads_the_committed_state_and_writes_nothing(store: str, tmp_path: Path) -> None:
    place: Any = store if "://" in store else tmp_path / store
    with World(App(None).with_jobs(flow), store=place) as world:
        flows = world.handle(flow)
        assert world.run(flows.query("a", counted, "tea")) is None
        world.run(flows.start("a", Basket(("cup",))))
        assert world.run(flows.query("a", counted, "cup")) == 1
        world.run(flows.signal("a", go, 2))
        world.settle()
        before = world.instance(flow, "a")
        assert world.run(flows.query("a", counted, "teatea")) == 1
        assert world.run(flows.query("a", longest, 4)) == "teatea"
        world.run(flows.pause("a"))
        assert world.run(flows.query("a", longest, 7)) == ""
        world.run(flows.resume("a"))
        world.crash()
        world.open()
        world.run(flows.signal("a", go, 1))
        world.settle()
        assert world.run(flows.query("a", counted, "cup")) == 1  # also of an ended one
        assert before is not None
        row = world.instance(flow, "a")
        assert row is not None
        commits = world.trace_text().count("commit workflow:flow:a: unchanged")
        assert (row.state, commits) == (before.state, 0)


def test_a_query_reads_no_journal() -> None:
    below, reads = memory_store(), list[Address]()
    journal = below.journal
    assert journal is not None
    read = journal.read

    def counted_read(address: Address, *place: Any) -> Any:
        reads.append(address)
        return read(address, *place)

    async def main() -> None:
        store = overlay(below, journal=overlay(journal, read=counted_read))
        async with App(None).with_jobs(flow).open(store) as jobs:
            flows = jobs.handle(flow)
            await flows.start("a", Basket(("cup",)), wait_for="completion")
            reads.clear()
            assert await flows.query("a", counted, "cup") == 1
            assert reads == []
            assert len(await flows.steps("a")) == len(reads) == 1

    asyncio.run(main())


def test_a_query_that_raises_or_is_wrong_is_a_typed_error_without_secrets() -> None:
    with World(App(None, limits=Limits(payload_bytes=64)).with_jobs(flow, plain)) as world:
        flows = world.handle(flow)
        world.run(flows.start("a", Basket()))
        world.run(world.handle(plain).start("a", Basket()))
        raised = world.error_of(flows.query("a", counted, "raise"))
        assert isinstance(raised, HookRaised)
        assert raised.error_type == "RuntimeError"
        assert "4111" not in raised.message + raised.traceback
        for call, error in (
            (flows.query("a", counted, 7), InvalidInput),  # type: ignore[arg-type]
            (flows.query("a", "counted", "tea"), InvalidArgument),  # type: ignore[arg-type]
            (world.handle(plain).query("a", counted, "tea"), UnknownAction),
            (flows.query("a", counted, "x" * 70), InvalidInput),
        ):
            assert isinstance(world.error_of(call), error)
        world.run(flows.signal("a", go, 30))
        world.settle()
        assert isinstance(world.error_of(flows.query("a", longest, 1)), InvalidInput)  # an answer beyond payload_bytes


def test_queries_of_a_definition_are_checked() -> None:
    def defined(*queries: Any) -> Any:
        return Workflow("flow", state=Basket, run=collect, signals=(go,), queries=queries)

    for queries in ((counted, counted), ("counted",)):
        with pytest.raises(DefinitionError):
            defined(*queries)
    with pytest.raises(DefinitionError):
        StateQuery("a:b", str, int, count)
    with pytest.raises(DefinitionError):
        StateQuery("a", str, int, "count")  # type: ignore[arg-type]


def test_other_processes_ask_queries(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> Any:
        async with App(None).with_jobs(flow).open("memory://") as local, serving(local, ["127.0.0.1:0"]) as (server,):
            await local.handle(flow).start("a", Basket(("tea", "tea")))
            async with connect(server.urls[0], flow) as jobs:
                assert isinstance(jobs, Client)
                typed = await jobs.handle(flow).query("a", counted, "tea")
                named = await jobs.handle_by_name("workflow", "flow").call("query.counted", "a", '"tea"')
            words = ["call", "workflow:flow:a", "query.longest", "1", "--server", server.urls[0], "--json"]
            return typed, named, await asyncio.to_thread(run_command, words)

    typed, named, code = asyncio.run(main())
    assert (typed, named["value"], code) == (2, "2", 0)
    assert '\\"tea\\"' in capsys.readouterr().out
