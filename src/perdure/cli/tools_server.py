"""A running engine's operations as tools of the Model Context Protocol, over standard input and output.

The tools derive from the table of operations. An assistant starts ``perdure mcp`` and calls them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs
import mcp_types as types
import orjson
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server

from perdure.cli.target.remote import without_error_data
from perdure.client.client import Client, call_of
from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.call import Call
from perdure.remote import connect
from perdure.server.calls import scope_of
from perdure.values.errors import AccessDenied, InvalidArgument, PerdureError
from perdure.values.excerpt import excerpt
from perdure.wire.operations import ID, OF_JOB, OPERATIONS, Argument, ClientOperation, Scope
from perdure.wire.records import data_of, installed_version

MAX_CALLS: Final = 16
"""How many tool calls may be in progress. A further call is refused."""

MAX_ANSWER_CHARACTERS: Final = 100_000
"""An answer's maximum length. A longer one is refused, because it would fill the caller's context."""

_ALLOWED: Final[Mapping[Scope, tuple[Scope, ...]]] = {
    "read": ("read",),
    "call": ("read", "call"),
    "operate": ("read", "call", "operate"),
}


async def serve_tools(urls: tuple[str, ...], token: str | None, longest: str, allow: Scope) -> None:
    """Serve the tools on standard input and output, until the input is closed.

    Args:
        urls: the engine's URLs.
        token: the bearer token.
        longest: how long a call may take.
        allow: the greatest scope.

    Raises:
        DefinitionError: a URL or the time is not valid.
    """
    async with connect(urls, token=token, timeout=longest, wait_timeout=longest) as jobs:
        server = tool_server(jobs, allow)
        async with stdio_server() as (reads, writes):
            await server.run(reads, writes, server.create_initialization_options())


# ---------------------------------------------------------------- tools
@attrs.frozen(kw_only=True)
class OperationTool:
    """One tool.

    Attributes:
        scope: the least scope that offers it.
        reads: whether it changes nothing.
        repeats: whether a repeat changes nothing more.
        call: makes the call, from the arguments as JSON.
        shown: returns the answer as JSON-able data.
    """

    name: str
    scope: Scope
    summary: str
    schema: JsonSchema
    reads: bool
    repeats: bool
    call: Callable[[Client, Mapping[str, Any]], Call[Any, Any]]
    shown: Callable[[Any], object] = data_of

    def described(self) -> types.Tool:
        """Return the protocol's description."""
        return types.Tool(
            name=self.name,
            description=self.summary,
            input_schema=cast("dict[str, Any]", self.schema),
            annotations=types.ToolAnnotations(
                read_only_hint=self.reads,
                destructive_hint=not self.reads and not self.repeats,
                idempotent_hint=self.repeats,
                open_world_hint=False,
            ),
        )


def _schema(properties: Mapping[str, JsonSchema], required: tuple[str, ...]) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


def _property(argument: Argument) -> JsonSchema:
    default = {} if argument.default in (None, ()) else {"default": argument.default}
    return {
        **argument.type.schema,
        **({"description": argument.description} if argument.description else {}),
        **default,
    }


def _of_operation(operation: ClientOperation[Any]) -> OperationTool:
    known = {argument.name: argument for argument in operation.arguments}

    def call(jobs: Client, given: Mapping[str, Any]) -> Call[Any, Any]:
        values = {name: each.default for name, each in known.items() if not each.is_required}
        values |= {name: _read(known[name], value, operation.id) for name, value in given.items()}
        return call_of(jobs, operation, operation.checked(values))

    return OperationTool(
        name=operation.id,
        scope=operation.scope,
        summary=operation.summary,
        schema=_schema(
            {name: _property(each) for name, each in known.items()},
            tuple(name for name, each in known.items() if each.is_required),
        ),
        reads=operation.method == "GET",
        repeats=operation.method == "GET" or operation.repeat == "changes_nothing",
        call=call,
        shown=str if operation.media == "text" else data_of,
    )


def _read(argument: Argument, value: object, tool: str) -> object:
    """Return a JSON value as a caller passes it. The operation checks it."""
    what = f"{argument.name} of {tool}"
    if argument.type.is_repeated:
        if not isinstance(value, list):
            raise InvalidArgument(what, value, "a list of texts")
        return tuple(cast("list[object]", value))
    return argument.type.read(value, what) if isinstance(value, str) else value


_TEXT: Final[JsonSchema] = {"type": "string", "minLength": 1, "maxLength": 512}
_ACTION: Final[Mapping[str, JsonSchema]] = {
    **{argument.name: _property(argument) for argument in (*OF_JOB, ID)},
    "action": {**_TEXT, "description": "The request, such as `send`. `list_jobs` names those of each job."},
    "payload": {"description": "The input as JSON. Leave it out if the request takes none."},
}


def _payload(given: Mapping[str, Any]) -> str:
    return orjson.dumps(given["payload"]).decode() if "payload" in given else ""


def _state(jobs: Client, given: Mapping[str, Any]) -> Call[Any, Any]:
    return jobs.handle_by_name(given["kind"], given["name"]).shown_state(given["id"])


def _explain(jobs: Client, given: Mapping[str, Any]) -> Call[Any, Any]:
    return jobs.handle_by_name(given["kind"], given["name"]).explain(given["action"], given["id"], _payload(given))


def _call(jobs: Client, given: Mapping[str, Any]) -> Call[Any, Any]:
    job, wait = jobs.handle_by_name(given["kind"], given["name"]), given.get("wait_for", "completion")
    key = given.get("idempotency_key")
    return job.call(given["action"], given["id"], _payload(given), idempotency_key=key, wait_for=wait)


def _same(answer: object) -> object:
    return answer


OF_INSTANCES: Final = (
    OperationTool(
        name="read_state",
        scope="read",
        summary="Read the committed state of an instance, without secrets. Null if there is no instance.",
        schema=_schema({name: _ACTION[name] for name in ("kind", "name", "id")}, ("kind", "name", "id")),
        reads=True,
        repeats=True,
        call=_state,
        shown=_same,
    ),
    OperationTool(
        name="explain",
        scope="read",
        summary="Compute the effect of a request to an instance, without applying it. Errors say which input is valid.",
        schema=_schema(_ACTION, ("kind", "name", "id", "action")),
        reads=True,
        repeats=True,
        call=_explain,
        shown=_same,
    ),
    OperationTool(
        name="request",
        scope="call",
        summary="Send a request to an instance. Explain it first.",
        schema=_schema(
            {
                **_ACTION,
                "idempotency_key": {**_TEXT, "description": "A repeat with the same key changes nothing."},
                "wait_for": {"type": "string", "enum": ["completion", "start"], "default": "completion"},
            },
            ("kind", "name", "id", "action"),
        ),
        reads=False,
        repeats=False,
        call=_call,
        shown=without_error_data,
    ),
)
"""The tools for requests to instances, which have no entries of their own in the table of operations."""


def tools_for(allow: Scope) -> dict[str, OperationTool]:
    """Return the tools that a scope offers, by name."""
    every = (*map(_of_operation, OPERATIONS), *OF_INSTANCES)
    return {tool.name: tool for tool in every if tool.scope in _ALLOWED[allow]}


# ---------------------------------------------------------------- calls
def tool_server(jobs: Client, allow: Scope) -> Server[Any]:
    """Return a server for the tools that a scope offers.

    Args:
        jobs: a connected client.
        allow: the greatest scope.
    """
    tools, in_progress = tools_for(allow), asyncio.Semaphore(MAX_CALLS)

    async def list_tools(_: object, _page: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.described() for tool in tools.values()])

    async def call_tool(_: object, asked: types.CallToolRequestParams) -> types.CallToolResult:
        if in_progress.locked():
            return _refused(f"at most {MAX_CALLS} calls at the same time; wait for one")
        async with in_progress:
            return await answered(jobs, tools, allow, asked.name, asked.arguments or {})

    return Server("perdure", version=installed_version(), on_list_tools=list_tools, on_call_tool=call_tool)


async def answered(
    jobs: Client, tools: Mapping[str, OperationTool], allow: Scope, name: str, given: Mapping[str, Any]
) -> types.CallToolResult:
    """Perform a tool call. Every error is a result, so that the caller's model can read it.

    Args:
        jobs: a connected client.
        tools: the offered tools.
        allow: the greatest scope.
        name: the tool's name.
        given: the arguments.
    """
    if name not in tools:
        return _refused(f"no tool {excerpt(name)}; there are {', '.join(tools)}")
    tool = tools[name]
    try:
        _check(tool, given, allow)
        answer = tool.shown(await tool.call(jobs, given))
    except PerdureError as error:
        return _refused(f"{type(error).__name__}: {error}")
    text = answer if isinstance(answer, str) else orjson.dumps(answer).decode()
    if len(text) > MAX_ANSWER_CHARACTERS:
        return _refused(f"the answer has {len(text):,} characters, of at most {MAX_ANSWER_CHARACTERS:,}: ask for less")
    return types.CallToolResult(content=[types.TextContent(text=text)])


def _check(tool: OperationTool, given: Mapping[str, Any], allow: Scope) -> None:
    properties, required = cast("Any", tool.schema["properties"]), cast("Any", tool.schema["required"])
    for name in given:
        if name not in properties:
            raise InvalidArgument(f"arguments of {tool.name}", name, f"some of {', '.join(properties) or 'none'}")
    for name in required:
        if name not in given:
            raise InvalidArgument(f"{name} of {tool.name}", None, "a value: it is required")
    for name in given:
        if tool in OF_INSTANCES and name != "payload" and not isinstance(given[name], str):
            raise InvalidArgument(f"{name} of {tool.name}", given[name], "a text")
    if tool.scope == "call" and "action" in given and (needs := scope_of(given["action"])) not in _ALLOWED[allow]:
        raise AccessDenied(needs, "small_scope", f"these tools allow {allow}; start perdure mcp with --allow {needs}")


def _refused(text: str) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], is_error=True)
