"""A client of another process, and a browser, follow a stream: they continue after the last offset that they have."""

import asyncio
from typing import Any

import httpx2
import pytest
from returns.result import Result, Success

from perdure import App, Chunk, Do, Stream, Workflow, WorkflowContext, effect, program
from perdure.remote import connect
from perdure.server.serving import serving

tokens = Stream("tokens", str)


@effect
async def talk(_: object, count: int) -> Result[int, str]:
    for number in range(count):
        tokens.emit_now(f"t{number}")
        await asyncio.sleep(0)
    return Success(count)


@program
def run(ctx: WorkflowContext[int]) -> Do[int, str, object]:
    yield from tokens.emit("begin")
    return (yield from talk((yield from ctx.state)))


talker = Workflow("talker", state=int, run=run, streams=[tokens])
PATH = "/v1/jobs/workflow/talker/instances"
ALL = ["begin", *(f"t{number}" for number in range(30))]


@pytest.fixture
def result() -> Any:
    async def main() -> dict[str, Any]:
        found: dict[str, Any] = {}
        async with (
            App(None).with_jobs(talker).open("memory://") as local,
            serving(local, ["127.0.0.1:0"]) as (server,),
            connect(server.urls[0], talker) as jobs,
            httpx2.AsyncClient(base_url=server.urls[0]) as http,
        ):
            handle = jobs.handle(talker)

            async def read(after: int = -1) -> list[Any]:
                return [item async for item in handle.stream("a", tokens, after=after)]

            async def browse(id_: str, last: str = "") -> str:
                headers = {"Last-Event-ID": last} if last else {}
                return (await http.get(f"{PATH}/{id_}/streams/tokens/events", headers=headers)).text

            reading, browsing = asyncio.ensure_future(read()), asyncio.ensure_future(browse("b"))
            await handle.start("a", 30)
            await handle.start("b", 30)
            found["items"], found["events"] = await reading, await browsing
            found["late"] = await read(20)
            found["ended"] = (
                await http.get(f"{PATH}/b/streams/tokens/events", headers={"Last-Event-ID": "30"})
            ).status_code
            found["continued"] = await browse("b", "28")
            found["page"] = (await http.get(f"{PATH}/b/streams/tokens?after=29&timeout=0+ms")).json()
            found["wrong"] = [
                (await http.get(f"{PATH}/b/streams/{rest}")).status_code
                for rest in ("other", "tokens?after=x", "other/events", "tokens/events?after=x")
            ]
        return found

    return asyncio.run(main())


def test_a_remote_client_and_a_browser_follow_a_stream_and_continue_after_an_offset(result: Any) -> None:
    assert [item.value for item in result["items"]] == ALL
    assert all(isinstance(item, Chunk) for item in result["items"])
    assert [item.value for item in result["late"]] == ALL[21:]
    events = [line for line in result["events"].split("\n") if line.startswith("id: ")]
    assert events == [f"id: {offset}" for offset in range(31)]
    assert result["events"].endswith("event: end\ndata: {}\n\n")
    assert 'id: 1\nevent: chunk\ndata: {"step":"1 talk","value":"t0"}\n\n' in result["events"]
    assert [line for line in result["continued"].split("\n") if line.startswith("id: ")] == ["id: 29", "id: 30"]
    assert result["ended"] == 204
    assert result["page"]["items"][0]["value"] == '"t29"'
    assert result["wrong"] == [422] * 4
