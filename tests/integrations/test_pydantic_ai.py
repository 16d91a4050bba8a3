"""An unchanged agent of Pydantic AI is durable: each request and each call of a tool is a step."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from perdure import App, Backoff, Published, Retry, Signal, Stream, Workflow, WorkflowContext
from perdure.coroutines import coroutine, current_step_key, perform
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done

pytest.importorskip("pydantic_ai", reason="the extra pydantic-ai is not installed")

from pydantic import BaseModel
from pydantic_ai import Agent, RunContext, UsageLimits
from pydantic_ai.capabilities import HandleDeferredToolCalls
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults

from perdure.integrations.pydantic_ai import PerdureDurability

ROUNDS, WIDTH = 3, 2
approvals = Signal("approvals", dict[str, bool])
pending = Published("pending", list[str])
events = Stream("events", dict[str, object])


class Calls:
    """The calls of the model and of the tools."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.keys: list[str | None] = []
        self.now = self.most = 0

    def note(self, name: str) -> None:
        self.names.append(name)
        self.keys.append(current_step_key())


calls = Calls()


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.__init__()  # type: ignore[misc]


def returned(messages: list[ModelMessage]) -> list[Any]:
    return [part.content for each in messages for part in each.parts if isinstance(part, ToolReturnPart)]


async def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    calls.note("model")
    await asyncio.sleep(0.01)
    done = len(returned(messages)) // WIDTH
    if done < ROUNDS:
        number = done * WIDTH
        parts = [ToolCallPart("double", {"number": number + each}, f"c{number + each}") for each in range(WIDTH)]
        return ModelResponse(parts=parts)
    return ModelResponse(parts=[TextPart(f"sum {sum(returned(messages))}")])


def analyst(*capabilities: Any, **options: Any) -> Agent[None, Any]:
    agent = Agent(FunctionModel(think), name="analyst", capabilities=[*capabilities], **options)

    @agent.tool_plain
    async def double(number: int) -> int:
        calls.note(f"double {number}")
        calls.now += 1
        calls.most = max(calls.most, calls.now)
        await asyncio.sleep(0.01)
        calls.now -= 1
        return 2 * number

    return agent


def shopper() -> Agent[None, Any]:
    """An agent whose only tool is of an MCP server."""
    from mcp.server import MCPServer  # noqa: PLC0415 - both take seconds, in each worker that collects the tests
    from pydantic_ai.mcp import MCPToolset  # noqa: PLC0415

    server = MCPServer("shop")

    @server.tool()
    async def price(item: str) -> int:
        calls.note(f"price {item}")
        return len(item)

    durable: Any = PerdureDurability()
    return Agent(TestModel(), name="shopper", toolsets=[MCPToolset(server, id="shop")], capabilities=[durable])


def job_of(agent: Agent[None, Any], **options: Any) -> Any:
    async def answer(ctx: WorkflowContext[str]) -> str:
        return str((await agent.run(await perform(ctx.state), **options)).output)

    run = coroutine(answer)
    return Workflow("agent", state=str, run=run, signals=[approvals], publishes=[pending], streams=[events])


STEPS = ["analyst model request", *("analyst tool double",) * WIDTH]
NAMES = [*STEPS * ROUNDS, STEPS[0]]


async def ends(job: Any, url: str) -> tuple[object, list[str]]:
    async with App(None).with_jobs(job).open(url) as jobs:
        flow = jobs.handle(job)
        return await flow.start_and_wait("1", "go"), [step.name for step in await flow.steps("1")]


def test_each_request_and_call_is_a_step_and_tools_run_beside_each_other(tmp_path: Path) -> None:
    for url in ("memory://", f"sqlite:///{tmp_path / 'jobs.db'}"):
        calls.__init__()  # type: ignore[misc]
        outcome, names = asyncio.run(ends(job_of(analyst(PerdureDurability())), url))
        assert outcome == Done(value="sum 30")
        assert names == NAMES
        assert calls.most == WIDTH
        assert len(set(calls.keys)) == len(calls.keys) == len(NAMES)


@pytest.mark.parametrize("point", range(0, 20, 2))
def test_a_crash_repeats_the_calls_in_progress_with_their_keys(point: int, tmp_path: Path) -> None:
    job = job_of(analyst(PerdureDurability()))
    with World(App(None).with_jobs(job), store=tmp_path / "jobs.db") as world:
        world.crash_after(point)
        with suppress(WorkerDied):
            world.run(world.handle(job).start("1", "go"))
            world.advance("1 second")
        world.cancel_crash()
        if not world.is_open:
            world.open()
        world.run(world.handle(job).start("1", "go"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("1")) == Done(value="sum 30")
    assert len(set(calls.keys)) == len(NAMES)
    assert len(calls.keys) <= len(NAMES) + WIDTH


SHOPPER = ["shopper mcp shop.get_tools", "shopper model request", "shopper mcp shop price", "shopper model request"]


def test_calls_of_an_mcp_server_are_steps(tmp_path: Path) -> None:
    outcome, names = asyncio.run(ends(job_of(shopper()), f"sqlite:///{tmp_path / 'jobs.db'}"))
    assert outcome == Done(value='{"price":1}')
    assert names == SHOPPER
    assert calls.names == ["price a"]


@pytest.mark.parametrize("point", range(1, 6))
def test_a_crash_repeats_the_call_of_an_mcp_server_in_progress(point: int) -> None:
    with World(App(None).with_jobs(job := job_of(shopper()))) as world:
        world.crash_after(point)
        with suppress(WorkerDied):
            world.run(world.handle(job).start("1", "go"))
            world.advance("1 second")
        world.cancel_crash()
        if not world.is_open:
            world.open(App(None).with_jobs(job := job_of(shopper())))  # connections die with their process
        world.run(world.handle(job).start("1", "go"))
        world.advance("1 minute")
        assert world.run(world.handle(job).outcome("1")) == Done(value='{"price":1}')
        assert [step.name for step in world.run(world.handle(job).steps("1"))] == SHOPPER
    assert set(calls.names) == {"price a"}
    assert len(calls.names) <= 2


async def ask_a_person(ctx: RunContext[Any], requests: DeferredToolRequests) -> DeferredToolResults:
    await perform(pending.publish([call.tool_call_id for call in requests.approvals]))
    decided = await perform(approvals.receive())
    return requests.build_results(approvals=dict(decided))


def test_a_tool_waits_for_a_person_for_days(tmp_path: Path) -> None:
    def pay(cents: int) -> str:
        calls.note("pay")
        return f"paid {cents}"

    async def wants_to_pay(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        if returned(messages):
            return ModelResponse(parts=[TextPart(str(returned(messages)[0]))])
        return ModelResponse(parts=[ToolCallPart("pay", {"cents": 5}, "p1")])

    capabilities: Any = [PerdureDurability(), HandleDeferredToolCalls(ask_a_person)]
    agent = Agent(FunctionModel(wants_to_pay), name="payer", capabilities=capabilities)
    agent.tool_plain(requires_approval=True)(pay)
    job = job_of(agent)
    with World(App(None).with_jobs(job), store=tmp_path / "jobs.db") as world:
        flow = world.handle(job)
        world.run(flow.start("1", "go"))
        for _ in range(3):
            world.advance("1 day")
            world.restart()
        assert calls.names == []
        assert world.run(flow.published("1", pending)) is not None
        world.run(flow.signal("1", approvals, {"p1": True}))
        world.advance("1 second")
        assert world.run(flow.outcome("1")) == Done(value="paid 5")
    assert calls.names == ["pay"]


class Verdict(BaseModel):
    city: str
    people: int


def test_typed_outputs_and_usage_limits_hold() -> None:
    typed = Agent(TestModel(custom_output_args={"city": "Bonn", "people": 3}), name="typed", output_type=Verdict)
    agent = Agent(typed.model, name="typed", output_type=Verdict, capabilities=[PerdureDurability()])
    outcome, _ = asyncio.run(ends(job_of(agent), "memory://"))
    assert outcome == Done(value="city='Bonn' people=3")
    limited = job_of(analyst(PerdureDurability()), usage_limits=UsageLimits(request_limit=2))
    stopped: Any = asyncio.run(ends(limited, "memory://"))[0]
    assert stopped.error.exception == "UsageLimitExceeded"
    assert calls.names.count("model") == 2


def test_a_failed_request_is_repeated_durably() -> None:
    async def fails_once(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        calls.note("model")
        if len(calls.names) == 1:
            raise OSError("down")
        return ModelResponse(parts=[TextPart("up")])

    retry = Retry(max_attempts=2, delay=Backoff.constant("1 hour"))
    agent = Agent(FunctionModel(fails_once), name="a", capabilities=[PerdureDurability(retry_models=retry)])
    job = job_of(agent)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("1", "go"))
        world.advance("30 minutes")
        world.restart()
        world.advance("1 hour")
        assert world.run(world.handle(job).outcome("1")) == Done(value="up")
    assert calls.names == ["model", "model"]


def test_events_go_to_a_stream() -> None:
    agent = Agent(TestModel(custom_output_text="green tea"), name="a", capabilities=[PerdureDurability(stream=events)])
    job = job_of(agent)

    async def scenario() -> list[Any]:
        async with App(None).with_jobs(job).open("memory://") as jobs:
            assert await jobs.handle(job).start_and_wait("1", "go") == Done(value="green tea")
            return [item.value async for item in jobs.handle(job).stream("1", events)]

    said = asyncio.run(scenario())
    words = [each["delta"]["content_delta"] for each in said if each["event_kind"] == "part_delta"]
    assert "".join(words).strip() == "green tea"


def test_outside_of_a_workflow_the_agent_is_as_it_was() -> None:
    result = asyncio.run(analyst(PerdureDurability()).run("go"))
    assert result.output == "sum 30"
    assert set(calls.keys) == {None}
