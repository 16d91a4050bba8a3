"""A graph of LangGraph is durable without a patch: the operations of its nodes are steps."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest

from perdure import App, Signal, Workflow, WorkflowContext
from perdure.coroutines import as_step, coroutine, current_step_key, perform
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done

ROUNDS = 3
END = "__end__"
approved = Signal("approved", bool)


class Chat(TypedDict):
    """The state of the graph. Module level: LangGraph reads its annotations."""

    messages: Annotated[list[str], add]


class Performed:
    """The operations that were performed, by their keys."""

    def __init__(self) -> None:
        self.keys = Counter[str | None]()
        self.now = self.most = 0

    async def operation(self) -> None:
        self.keys[current_step_key()] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        for _ in range(20):  # long enough for another one to begin, in whichever order the world takes the steps
            await asyncio.sleep(0)
        self.now -= 1


def graph_of(performed: Performed) -> Any:
    """A model that asks for two searches at a time, until it knows enough, and an answer that a person approves."""
    graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")

    @as_step
    async def think(messages: list[str]) -> str:
        await performed.operation()
        return "enough" if len(messages) > 3 * ROUNDS else f"search {len(messages)}"

    @as_step
    async def look(query: str) -> str:
        await performed.operation()
        return f"page of {query}"

    async def model(chat: Chat) -> dict[str, list[str]]:
        return {"messages": [await think(chat["messages"])]}

    async def search(chat: Chat) -> dict[str, list[str]]:
        query = chat["messages"][-1]
        return {"messages": list(await asyncio.gather(look(f"{query} a"), look(f"{query} b")))}

    async def ask(chat: Chat) -> dict[str, list[str]]:
        return {"messages": ["yes" if await perform(approved.receive()) else "no"]}

    async def next_node(chat: Chat) -> str:
        return "ask" if chat["messages"][-1] == "enough" else "search"

    built = graph.StateGraph(Chat)
    for name, node in {"model": model, "search": search, "ask": ask}.items():
        built.add_node(name, node)
    built.add_edge("__start__", "model")
    built.add_conditional_edges("model", next_node)
    built.add_edge("search", "model")
    built.add_edge("ask", END)
    return built.compile()


def job_of(performed: Performed) -> Any:
    graph = graph_of(performed)

    async def answer(ctx: WorkflowContext[str]) -> list[str]:
        return list((await graph.ainvoke({"messages": [await perform(ctx.state)]}))["messages"])

    return Workflow("graph", state=str, run=coroutine(answer), signals=[approved])


STEPS = ["think", "look", "look"] * ROUNDS + ["think"]


@pytest.mark.parametrize("point", [None, *range(1, 14, 3)])
def test_a_graph_continues_after_a_crash_and_waits_for_a_person(point: int | None, tmp_path: Path) -> None:
    performed = Performed()
    job = job_of(performed)
    with World(App(None).with_jobs(job), store=tmp_path / "jobs.db") as world:
        flow = world.handle(job)
        if point is not None:
            world.crash_after(point)
        with suppress(WorkerDied):
            world.run(flow.start("1", "go"))
            world.advance("1 second")
        world.cancel_crash()
        if not world.is_open:
            world.open()
        world.run(flow.start("1", "go"))
        world.advance("2 days")
        world.restart()
        world.run(flow.signal("1", approved, True))
        world.advance("1 second")
        outcome = world.run(flow.outcome("1"))
        assert [step.name for step in world.run(flow.steps("1")) if step.name in STEPS] == STEPS
    assert isinstance(outcome, Done)
    assert outcome.value[:4] == ["go", "search 1", "page of search 1 a", "page of search 1 b"]
    assert outcome.value[-2:] == ["enough", "yes"]
    assert len(performed.keys) == len(STEPS)
    assert performed.keys.total() <= len(STEPS) + (0 if point is None else 2)
    assert performed.most == 2
