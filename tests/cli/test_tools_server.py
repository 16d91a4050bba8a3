"""``perdure mcp`` as a program starts it: a process on standard input and output, called by the protocol's client."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from operated import TOKEN, serving

from perdure.cli.commands import run_command
from perdure.cli.process import ExitCode
from perdure.cli.tools_server import MAX_ANSWER_CHARACTERS, MAX_CALLS, tool_server, tools_for
from perdure.wire.operations import OPERATIONS


@asynccontextmanager
async def tools(*arguments: str, **environment: str) -> AsyncGenerator[Client]:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "perdure", "mcp", *arguments],
        env=outside | environment,
        cwd=str(Path.cwd()),
    )
    async with Client(stdio_client(command)) as client:
        yield client


def text_of(result: Any) -> str:
    return str(result.content[0].text)


async def read(client: Client, tool: str, /, **given: object) -> Any:
    result = await client.call_tool(tool, given)
    assert not result.is_error, text_of(result)
    return orjson.loads(text_of(result))


async def refusal(client: Client, tool: str, /, **given: object) -> str:
    result = await client.call_tool(tool, given)
    assert result.is_error
    return text_of(result)


def test_each_operation_is_a_tool_with_its_scope() -> None:
    by_scope = {scope: set(tools_for(scope)) for scope in ("read", "call", "operate")}
    assert by_scope["operate"] == {each.id for each in OPERATIONS} | {"read_state", "explain", "request"}
    assert by_scope["call"] - by_scope["read"] == {"reply", "request"}
    assert all(tool.reads for tool in tools_for("read").values())
    assert "redrive" in by_scope["operate"] - by_scope["call"]


def test_a_process_serves_tools_that_read(tmp_path: Path) -> None:
    async def scenario(server: list[str]) -> None:
        async with tools(*server) as client:
            offered = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert offered.keys() == tools_for("read").keys()
            assert offered["list_instances"].input_schema["properties"]["limit"]["maximum"] == 1_000
            assert offered["status"].input_schema["required"] == ["kind", "name", "id"]
            assert offered["status"].annotations is not None
            assert offered["status"].annotations.read_only_hint
            jobs = {job["name"] for job in (await read(client, "list_jobs"))["jobs"]}
            assert "order" in jobs
            assert await read(client, "health")
            assert "no tool 'request'" in await refusal(client, "request", kind="task", name="order", id="a")

    with serving(tmp_path / "jobs.db") as named:
        for place in ("server", "store"):
            asyncio.run(scenario(named[place]))


def test_tools_that_may_call_change_instances_and_hide_secrets(tmp_path: Path) -> None:
    async def scenario(server: list[str]) -> None:
        at = {"kind": "task", "name": "order", "id": "mcp/1"}
        async with tools(*server, "--allow", "call") as client:
            explained = await read(client, "explain", **at, action="send", payload={"paid": 5})
            assert explained["form"] == "explained"
            assert (await read(client, "read_state", **at)) is None
            sent = await read(client, "request", **at, action="send", payload={"paid": 5}, idempotency_key="k")
            assert sent["created"]
            assert (await read(client, "read_state", **at)) == {"paid": 5, "card": "<secret>"}
            (event, *_) = await read(client, "history", **at, limit=1)
            assert event["type"]
            page = await read(client, "list_instances", kind="task", name="order", id_prefix="mcp", where=[])
            assert [each["address"]["id"] for each in page["instances"]] == ["mcp/1"]
            rejected = await refusal(client, "request", **at, action="send", payload={"paid": 500})
            assert rejected.startswith("Rejected")
            assert "paid: expected int" in await refusal(client, "explain", **at, action="send", payload={"paid": "5"})
            assert "--allow operate" in await refusal(client, "request", **at, action="terminate")
            assert "no tool 'redrive'" in await refusal(client, "redrive", message_id=1)
        async with tools(*server, "--allow", "operate") as client:
            assert await read(client, "request", **at, action="terminate", payload="not needed")
            assert text_of(await client.call_tool("redrive", {"message_id": 10**9})) == "not_found"

    with serving(tmp_path / "jobs.db") as named:
        asyncio.run(scenario(named["server"]))


WRONG: list[tuple[str, dict[str, object], str]] = [
    ("status", {"kind": "task", "name": "order"}, "id of status: expected a value"),
    (
        "status",
        {"kind": "task", "name": "order", "id": "a", "x": 1},
        "arguments of status: expected some of kind, name",
    ),
    ("read_state", {"kind": "task", "name": "order", "id": 5}, "id of read_state: expected a text"),
    ("list_instances", {"limit": 1_001}, "limit of list: expected a whole number from 1 to 1000"),
    ("list_instances", {"limit": "many"}, "limit of list: expected a whole number"),
    ("list_instances", {"where": "a>1"}, "where of list_instances: expected a list of texts"),
    ("list_instances", {"due_before": "soon"}, "expected an instant with its offset"),
    ("status", {"kind": "task", "name": "nothing", "id": "a"}, "UnknownJob"),
]


def test_wrong_arguments_are_results_that_name_the_expected_values(tmp_path: Path) -> None:
    async def scenario(server: list[str]) -> None:
        async with tools(*server) as client:
            for name, given, text in WRONG:
                assert text in await refusal(client, name, **given)

    with serving(tmp_path / "jobs.db") as named:
        asyncio.run(scenario(named["server"]))


def test_a_server_with_tokens_decides_beside_the_option(tmp_path: Path) -> None:
    async def scenario(server: list[str]) -> None:
        at = {"kind": "task", "name": "order", "id": "a"}
        async with tools(*server, "--allow", "operate", PERDURE_TOKEN=TOKEN) as client:
            assert await read(client, "list_jobs")
            for tool in ("request", "list_dead_letters"):
                given = {**at, "action": "send", "payload": {"paid": 1}} if tool == "request" else {}
                assert (await refusal(client, tool, **given)).startswith("AccessDenied")
        async with tools(*server) as client:
            assert (await refusal(client, "list_jobs")).startswith("AccessDenied")

    with serving(tmp_path / "jobs.db") as named:
        asyncio.run(scenario(named["guarded"]))


def test_an_engine_that_is_away_is_a_result(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with tools("--store", f"sqlite:///{tmp_path}/jobs.db", "--timeout", "100ms") as client:
            assert (await refusal(client, "health")).startswith("ServerUnreachable")

    asyncio.run(scenario())


class Answering:
    """Stands for a connected client: `health` answers with this text, when it may."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.begun = asyncio.Queue[None]()
        self.may_answer = asyncio.Event()

    async def health(self) -> str:
        await self.begun.put(None)
        await self.may_answer.wait()
        return self.text


def test_calls_and_answers_have_limits() -> None:
    async def scenario() -> None:
        jobs = Answering("x" * (MAX_ANSWER_CHARACTERS))
        async with Client(tool_server(jobs, "read")) as client:  # type: ignore[arg-type]
            calls = [asyncio.create_task(client.call_tool("health", {})) for _ in range(MAX_CALLS)]
            for _ in calls:
                await jobs.begun.get()
            assert (await refusal(client, "health")).startswith("at most 16 calls at the same time")
            jobs.may_answer.set()
            assert {len(text_of(await call)) for call in calls} == {MAX_ANSWER_CHARACTERS}
            jobs.text = "x" * (MAX_ANSWER_CHARACTERS + 1)
            assert "ask for less" in await refusal(client, "health")

    asyncio.run(scenario())


def test_the_command_ends_with_its_input() -> None:
    command = [sys.executable, "-m", "perdure", "mcp", "--server", "http://127.0.0.1:1"]
    ended = subprocess.run(command, input=b"", capture_output=True, check=False)  # noqa: S603 - our own command
    assert (ended.returncode, ended.stdout) == (ExitCode.DONE, b""), ended.stderr


@pytest.mark.parametrize("arguments", [[], ["--server", "ftp://a"], ["--store", "postgresql://a@b/c"]])
def test_a_command_without_an_engine_cannot_start(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["mcp", *arguments]) == ExitCode.MISCONFIGURED
    assert "perdure: " in capsys.readouterr().err
