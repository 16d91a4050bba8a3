"""An agent as a program: the loop is pure, the model and the tools are effects."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import (
    Do,
    Program,
    Workflow,
    WorkflowContext,
    effect,
    fail,
    program,
    step_key,
)
from perdure.programs import gather

MOST_CALLS = 8
"""How many tools a turn may use. The model is told that the others were not used."""


@frozen
class Task:
    """A question, and how many requests of the model it is worth."""

    question: str
    requests: int = 10


@frozen
class ToolCall:
    """The model wants to use a tool."""

    tool: str
    argument: str


@frozen
class Say:
    """The model's answer."""

    text: str


@frozen
class UseTools:
    """The model needs the results of tools."""

    calls: tuple[ToolCall, ...]


@frozen
class ModelDown:
    """The model does not answer."""

    reason: str


@frozen
class ToolFailed:
    """A tool has no result."""

    reason: str


@frozen
class TooManyRequests:
    """The task is worth no further request."""

    requests: int


Reply: TypeAlias = Say | UseTools
Entry: TypeAlias = Task | UseTools | tuple[str, ...]
History: TypeAlias = tuple[Entry, ...]
"""The conversation: the task, then calls and their results in turns."""


class Agency(Protocol):
    """The model and the tools."""

    async def think(self, history: History) -> Result[Reply, ModelDown]:
        """Return the model's reply."""
        ...

    async def use(self, key: str, call: ToolCall) -> Result[str, ToolFailed]:
        """Use a tool, once for each key."""
        ...


@effect
async def think(agency: Agency, history: History) -> Result[Reply, ModelDown]:
    """Ask the model."""
    return await agency.think(history)


@effect
async def use(agency: Agency, key: str, call: ToolCall) -> Result[str, ToolFailed]:
    """Use a tool."""
    return await agency.use(key, call)


@program
def result_of(call: ToolCall) -> Do[str, ToolFailed, Agency]:
    """Use a tool. The model receives its failure as text, and decides."""
    key = yield from step_key()
    match (yield from use(key, call).attempt()):
        case Success(text):
            return text
        case Failure(ToolFailed(reason)):
            return f"failed: {reason}"
        case _:
            raise AssertionError


@program
def results_of(calls: tuple[ToolCall, ...]) -> Do[tuple[str, ...], ToolFailed, Agency]:
    """Use tools beside each other."""
    used: list[Program[str, ToolFailed, Agency]] = [
        result_of(call) for call in calls[:MOST_CALLS]
    ]
    results = yield from gather(*used)
    return (*results, *("not used: too many calls" for _ in calls[MOST_CALLS:]))


@program
def converse(
    ctx: WorkflowContext[Task],
) -> Do[str, ModelDown | ToolFailed | TooManyRequests, Agency]:
    """Ask the model until it answers."""
    task = yield from ctx.state
    history: History = (task,)
    for _ in range(task.requests):
        match (yield from think(history)):
            case Say(text):
                return text
            case UseTools(calls) as wanted:
                history = (*history, wanted, (yield from results_of(calls)))
    return (yield from fail(TooManyRequests(task.requests)))


agent = Workflow("agent", state=Task, run=converse)
