"""A process with an agent of Pydantic AI; the test kills it at any moment. ``python agent_worker.py STORE ID LOG``."""

import asyncio
import os
import sys
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from perdure import App, Workflow, WorkflowContext
from perdure.coroutines import coroutine, current_step_key, perform
from perdure.integrations.pydantic_ai import PerdureDurability

ROUNDS, WIDTH = 4, 3
CALLS = ROUNDS * (WIDTH + 1) + 1


def note() -> None:
    """In one call, so that no line is half."""
    file = os.open(sys.argv[3], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{current_step_key()}\n".encode())
    os.close(file)


async def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    note()
    await asyncio.sleep(0.005)
    values: list[Any] = [part.content for each in messages for part in each.parts if isinstance(part, ToolReturnPart)]
    first = len(values)
    if first < ROUNDS * WIDTH:
        return ModelResponse(
            parts=[ToolCallPart("double", {"number": first + each}, f"c{first + each}") for each in range(WIDTH)]
        )
    return ModelResponse(parts=[TextPart(str(sum(values)))])


agent = Agent(FunctionModel(think), name="analyst", capabilities=[PerdureDurability()])


@agent.tool_plain
async def double(number: int) -> int:
    note()
    await asyncio.sleep(0.002 * (1 + number % 3))
    return 2 * number


async def answer(ctx: WorkflowContext[str]) -> str:
    return (await agent.run(await perform(ctx.state))).output


analyst = Workflow("analyst", state=str, run=coroutine(answer))


async def main(store: str, id_: str) -> None:
    async with App(None).with_jobs(analyst).open(store) as jobs:
        outcome = await jobs.handle(analyst).start_and_wait(id_, "go", timeout="1 minute")
        os.write(1, f"{outcome.value if hasattr(outcome, 'value') else outcome}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
