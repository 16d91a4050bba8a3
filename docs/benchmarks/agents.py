"""Durable agents and coroutines on a SQLite file: the cost of a step, and whether it depends on their number.

Run as a script: ``python docs/benchmarks/agents.py``. With ``--dbos``, DBOS runs the same agent in turns with it, in a
process of its own; install ``dbos`` next to perdure for that, or pass ``--python`` of another environment.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.durable_exec import CallableOperationBackend, JournalOperationNamer, RoleBasedOperationConfig
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.usage import UsageLimits

ROUNDS, WIDTH, AGENTS, UNDER_WAY = 10, 2, 40, 8
STEPS = ROUNDS * (WIDTH + 1) + 1
LENGTHS = (100, 1_000, 5_000)
"""Steps of a coroutine."""


async def think(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
    """Call tools, and answer after some rounds."""
    done = len(messages) // 2
    if done >= ROUNDS:
        return ModelResponse(parts=[TextPart("done")])
    return ModelResponse(parts=[ToolCallPart("double", {"number": n}, f"{done}-{n}") for n in range(WIDTH)])


async def double(number: int) -> int:
    """Do nothing: the figures are those of the library and the framework."""
    return 2 * number


def agent_with(capabilities: list[Any], tool: Callable[[int], Any]) -> Agent[None, str]:
    """Return the same agent for each system."""
    agent = Agent(FunctionModel(think), name="bench", capabilities=capabilities)
    agent.tool_plain(name="double")(tool)
    return agent


async def together(run: Callable[[str], Any], agents: int) -> str:
    """Run agents, some of them at a time, and describe the cost of a step."""
    ids = iter(range(agents))

    async def client() -> None:
        for number in ids:
            await run(f"agent-{number}")

    await run("first")  # imports modules, and builds schemas
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(UNDER_WAY)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    count = STEPS * agents
    return f"{count / wall:7,.0f} steps/s  CPU {1e6 * cpu / count:6,.0f} us/step"


async def plain() -> str:
    """Run the agent without durability."""
    agent = agent_with([], double)
    return await together(lambda _: agent.run("go", usage_limits=UsageLimits(request_limit=None)), AGENTS)


async def with_layer() -> str:
    """Run the agent with the framework's own layer for durable engines, whose operations run where they are called."""
    from perdure.integrations.pydantic_ai import PerdureDurability  # noqa: PLC0415 - as below

    class Backend(CallableOperationBackend[None]):
        async def execute(self, *, body: Callable[[], Any], **_: object) -> object:
            return await body()

    class Layer(PerdureDurability[None]):
        in_durable_context = True

        def get_durable_operation_backend(self) -> Any:
            config = RoleBasedOperationConfig[None](model=None, event=None, capability=None, tool=None)
            return Backend(namer=JournalOperationNamer("bench"), config=config)

        def get_default_run_id(self) -> str:
            return "run"

        async def get_run_start_time(self, _: str) -> None:
            return None

    agent = agent_with([Layer()], double)
    return await together(lambda _: agent.run("go", usage_limits=UsageLimits(request_limit=None)), AGENTS)


async def with_perdure(path: Path) -> str:
    """Run the agent in a workflow of perdure."""
    from perdure import App, Workflow, WorkflowContext  # noqa: PLC0415 - the other environment may not have it
    from perdure.coroutines import coroutine  # noqa: PLC0415
    from perdure.integrations.pydantic_ai import PerdureDurability  # noqa: PLC0415

    agent = agent_with([PerdureDurability()], double)

    async def answer(_: WorkflowContext[int]) -> str:
        return (await agent.run("go")).output

    job = Workflow("agent", state=int, run=coroutine(answer), keep=None)
    async with App(None).with_jobs(job).open(f"sqlite:///{path}") as jobs:
        return await together(lambda id_: jobs.handle(job).start_and_wait(id_, 0), AGENTS)


async def with_dbos(path: Path) -> str:
    """Run the agent in a workflow of DBOS, whose tools are steps, too."""
    import dbos  # noqa: PLC0415 - optional
    from pydantic_ai.durable_exec.dbos import DBOSDurability  # noqa: PLC0415

    dbos.DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "log_level": "ERROR"})
    agent = agent_with([DBOSDurability()], dbos.DBOS.step(name="double")(double))

    @dbos.DBOS.workflow(name="answer")
    async def answer() -> str:
        return (await agent.run("go")).output

    dbos.DBOS.launch()

    async def run(id_: str) -> None:
        with dbos.SetWorkflowID(id_):
            await answer()

    try:
        return await together(run, AGENTS)
    finally:
        dbos.DBOS.destroy()


async def length_of(steps: int, path: Path | None) -> str:
    """Run a coroutine of steps, and describe the cost of each tenth of them."""
    from perdure import App, Workflow, WorkflowContext  # noqa: PLC0415 - as above
    from perdure.coroutines import as_step, coroutine  # noqa: PLC0415

    marks: list[float] = []
    act = as_step(double)

    async def body(_: WorkflowContext[int]) -> int:
        total = 0
        for number in range(steps):
            if number % (steps // 10) == 0:
                marks.append(time.process_time())
            total += await act(number)
        marks.append(time.process_time())
        return total

    job = Workflow("long", state=int, run=coroutine(body), keep=None)
    async with App(None).with_jobs(job).open("memory://" if path is None else f"sqlite:///{path}") as jobs:
        await jobs.handle(job).start_and_wait("1", 0, timeout="5 minutes")
    tenths = [round(1e6 * (end - begin) / (steps // 10)) for begin, end in pairwise(marks)]
    mean = round(1e6 * (marks[-1] - marks[0]) / steps)
    return f"CPU {mean} us/step; by tenths of the coroutine: {' '.join(map(str, tenths))}"


SYSTEMS = {"perdure": with_perdure, "dbos": with_dbos}


def main() -> None:
    """Measure, in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dbos", action="store_true")
    parser.add_argument("--python", default=sys.executable, help="the Python that has dbos")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", choices=SYSTEMS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.only is not None:
            print(asyncio.run(SYSTEMS[given.only](Path(folder) / "jobs.db")))
            return
        for steps in LENGTHS:
            print(f"coroutine of {steps:5,} steps, memory: {asyncio.run(length_of(steps, None))}")
            print(
                f"coroutine of {steps:5,} steps, file:   {asyncio.run(length_of(steps, Path(folder) / f'{steps}.db'))}"
            )
    for number in range(given.rounds):
        print(f"round {number}, agent without durability: {asyncio.run(plain())}", flush=True)
        print(f"round {number}, agent with its layer alone: {asyncio.run(with_layer())}", flush=True)
        for name, python in (("perdure", sys.executable), ("dbos", given.python)):
            if name == "perdure" or given.dbos:
                command = [python, __file__, "--only", name]
                said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                print(f"round {number}, agent with {name:8}: {said.strip()}", flush=True)


if __name__ == "__main__":
    main()
