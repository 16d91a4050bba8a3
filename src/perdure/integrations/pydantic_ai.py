"""Pydantic AI: a capability with which an unchanged agent is durable inside a coroutine of a workflow.

Each model request, tool call and MCP call is a step. You need the extra ``pydantic-ai``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter
from pydantic_ai import Agent, AgentStreamEvent, RunContext
from pydantic_ai.durable_exec import (
    JSON_CODEC,
    BaseDurabilityCapability,
    CallableOperationBackend,
    CapabilityOperationId,
    DurabilityEngineSpec,
    DurableOperationId,
    EventStreamHandlerId,
    JournalOperationNamer,
    ModelRequestId,
    RoleBasedOperationConfig,
    ToolsetCallToolId,
    conversation_id_from_run_id,
)
from pydantic_ai.models import Model

from perdure.coroutines import current_coroutine, run_step
from perdure.durable_loop import DurableLoop
from perdure.jobs.streams import Stream
from perdure.values.retry import Retry
from perdure.values.times import from_ms

DepsT = TypeVar("DepsT")

_EVENT: Final[TypeAdapter[AgentStreamEvent]] = TypeAdapter(AgentStreamEvent)


class _Namer(JournalOperationNamer):
    """Names steps for people: ``analyst model request``, ``analyst tool search``, ``analyst mcp weather.get_tools``."""

    def __init__(self, agent: str) -> None:
        super().__init__(agent)
        self._agent = agent

    def operation_name(self, operation_id: DurableOperationId) -> str:
        """Return an operation's name."""
        match operation_id:
            case ModelRequestId(model_id=model_id, streaming=streaming):
                name = f"model {'stream' if streaming else 'request'}{'' if model_id is None else f' {model_id}'}"
            case ToolsetCallToolId(toolset_kind="mcp", toolset_id=id_):
                name = f"mcp {id_}"
            case ToolsetCallToolId():
                name = "tool"
            case EventStreamHandlerId():
                name = "event"
            case CapabilityOperationId(capability_id=id_, operation=operation):
                name = f"{id_} {operation}"
            case _:
                name = super().operation_name(operation_id).removeprefix(f"{self._agent}__")
                name = name.replace("mcp_server__", "mcp ").replace("__", " ")
        # The name of a step has no colon.
        return f"{self._agent} {name}".replace(":", " ")

    def invocation_name(self, operation_id: DurableOperationId, *, label: str | None) -> Any:
        """Return a call's name. That of a tool has the tool's name."""
        named = super().invocation_name(operation_id, label=label or "")
        name = self.operation_name(operation_id)
        of_tool = isinstance(operation_id, ToolsetCallToolId) and label
        return type(named)(f"{name} {label}".replace(":", " ") if of_tool else name)


class _AtOnce(Executor):
    """Stands for the threads of synchronous tools in a simulation, whose event loop performs them at once."""


class _Backend(CallableOperationBackend[Retry[Any] | None]):
    async def execute(
        self,
        *,
        operation_id: DurableOperationId,
        name: str,
        body: Callable[[], Awaitable[object]],
        cache_key: tuple[object, ...],
        config: Retry[Any] | None,
    ) -> object:
        """Perform an operation as a step."""
        return await run_step(name, partial(_performed, body), retry=config)


async def _performed(body: Callable[[], Awaitable[object]]) -> object:
    if isinstance(asyncio.get_running_loop(), DurableLoop):
        with Agent.using_thread_executor(_AtOnce()):
            return await body()
    return await body()


class PerdureDurability(BaseDurabilityCapability[DepsT]):
    """Makes the runs of an agent durable that a `coroutine` of a workflow awaits. Elsewhere it changes nothing.

    Args:
        models: further models, by the ids with which a run chooses them.
        name: begins the names of the steps. By default the agent's name.
        stream: receives the events of the run, such as the words of the model, as JSON. The job must declare it.
        retry_models: repeats a model request durably after an exception. By default the exception is raised.
        retry_tools: the same for a call of a tool.
    """

    engine_spec = DurabilityEngineSpec(
        engine_name="perdure",
        durable_unit_noun="step",
        durable_container_noun="workflow",
        codec=JSON_CODEC,
        # A step runs in another event loop than the agent: connections are opened and closed inside of one.
        toolset_lifecycles={"function": "enter-always", "mcp": "enter-outside-durable", "dynamic": "enter-never"},
    )

    def __init__(
        self,
        *,
        models: Mapping[str, Model] | None = None,
        name: str | None = None,
        stream: Stream[Any] | None = None,
        retry_models: Retry[Any] | None = None,
        retry_tools: Retry[Any] | None = None,
    ) -> None:
        handler = None if stream is None else partial(_emit, stream)
        super().__init__(models=models, name=name, event_stream_handler=handler)
        self._retries = (retry_models, retry_tools)

    @property
    def in_durable_context(self) -> bool:
        """Whether the code belongs to a durable coroutine."""
        return current_coroutine() is not None

    def get_durable_operation_backend(self) -> _Backend:
        """Return the functions that perform operations as steps."""
        models, tools = self._retries
        config = RoleBasedOperationConfig[Retry[Any] | None](model=models, event=None, capability=tools, tool=tools)
        return _Backend(namer=_Namer(self.name), config=config)

    def get_default_run_id(self) -> str | None:
        """Return a run id that is the same in each replay."""
        run = current_coroutine()
        return None if run is None else run.new_id()

    def get_default_conversation_id(self, run_id: str) -> str | None:
        """Return a conversation id that is the same in each replay."""
        return conversation_id_from_run_id(run_id) if self.in_durable_context else None

    async def get_run_start_time(self, run_id: str) -> datetime | None:
        """Return the workflow's clock."""
        run = current_coroutine()
        return None if run is None else from_ms(run.loop.now_ms)


async def _emit(stream: Stream[Any], _: RunContext[Any], events: AsyncIterable[AgentStreamEvent]) -> None:
    async for event in events:
        stream.emit_now(_EVENT.dump_python(event, mode="json"))
