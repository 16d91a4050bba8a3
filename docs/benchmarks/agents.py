"""Durable agents and coroutines on a SQLite file: the cost of a step, and whether it depends on their number.

Run as a script: ``python docs/benchmarks/agents.py``. With ``--conversation 5000``, one agent has a conversation of so
many steps, and a profiler tells the engine's share from the framework's. With ``--dbos``, DBOS runs the same agent in
turns with it, in a process of its own; install ``dbos`` next to perdure for that, or pass ``--python`` of another
environment.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
PROFILED = 20
"""Rounds of a conversation that are profiled in each tenth."""


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


class Shares:
    """What a profiler has seen of the main thread so far, by package: calls of Python functions, and seconds."""

    def __init__(self) -> None:
        self.profile = cProfile.Profile(time.thread_time)
        self.marks: list[tuple[Counter[str], Counter[str]]] = []

    def begin(self) -> None:
        """Note the sums up to now, and profile."""
        self.mark()
        self.profile.enable()

    def end(self) -> None:
        """Stop profiling, and note the sums."""
        self.profile.disable()
        self.mark()

    def mark(self) -> None:
        """Note the sums up to now."""
        calls, seconds = Counter[str](), Counter[str]()
        for entry in self.profile.getstats():
            # A function in C has no file, so its time belongs to its callers.
            if not isinstance(entry.code, str):
                own = package_of(entry.code.co_filename)
                calls[own] += entry.callcount
                called = (each.inlinetime for each in entry.calls or () if isinstance(each.code, str))
                seconds[own] += entry.inlinetime + sum(called)
        self.marks.append((calls, seconds))

    def by_tenths(self, package: str, steps: float) -> str:
        """Return the calls and the microseconds for each step, by tenths."""
        pairs = list(zip(self.marks[::2], self.marks[1::2], strict=True))
        calls = [round((end[0][package] - begin[0][package]) / steps) for begin, end in pairs]
        spent = [round(1e6 * (end[1][package] - begin[1][package]) / steps) for begin, end in pairs]
        return f"{package:9} calls {' '.join(map(str, calls))}; us {' '.join(map(str, spent))}"


def package_of(file: str) -> str:
    """Return whose code a file has."""
    return "engine" if "/perdure/" in file else "framework" if "/pydantic" in file else "other"


async def conversation(steps: int, path: Path) -> str:
    """Run one agent under a profiler, and describe the share of the engine in a step, by tenths of the conversation."""
    from perdure import App, Workflow, WorkflowContext  # noqa: PLC0415 - as above
    from perdure.coroutines import coroutine  # noqa: PLC0415
    from perdure.integrations.pydantic_ai import PerdureDurability  # noqa: PLC0415

    # Ten equal parts, of which only the first rounds are profiled: else the profiler would take most of the time.
    tenth, shares = steps // (WIDTH + 1) // 10, Shares()
    rounds, profiled = 10 * tenth, min(PROFILED, tenth - 1)

    async def think_long(messages: list[ModelMessage], _: AgentInfo) -> ModelResponse:
        done = len(messages) // 2
        if done < rounds and done % tenth == 0:
            shares.begin()
        elif done % tenth == profiled:
            shares.end()
        if done >= rounds:
            return ModelResponse(parts=[TextPart("done")])
        return ModelResponse(parts=[ToolCallPart("double", {"number": n}, f"{done}-{n}") for n in range(WIDTH)])

    agent = Agent(FunctionModel(think_long), name="bench", capabilities=[PerdureDurability()])
    agent.tool_plain(name="double")(double)

    async def answer(_: WorkflowContext[int]) -> str:
        return (await agent.run("go", usage_limits=UsageLimits(request_limit=None))).output

    job = Workflow("agent", state=int, run=coroutine(answer), keep=None)
    async with App(None).with_jobs(job).open(f"sqlite:///{path}") as jobs:
        await jobs.handle(job).start_and_wait("1", 0, timeout="1 hour")
    return "\n".join(shares.by_tenths(package, profiled * (WIDTH + 1)) for package in ("engine", "framework", "other"))


SYSTEMS = {"perdure": with_perdure, "dbos": with_dbos}


def main() -> None:
    """Measure, in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dbos", action="store_true")
    parser.add_argument("--python", default=sys.executable, help="the Python that has dbos")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--conversation", type=int, metavar="STEPS", help="only one agent with so many steps")
    parser.add_argument("--only", choices=SYSTEMS)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.only is not None:
            print(asyncio.run(SYSTEMS[given.only](Path(folder) / "jobs.db")))
            return
        if given.conversation is not None:
            print(asyncio.run(conversation(given.conversation, Path(folder) / "jobs.db")))
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
