"""The steps of a workflow over HTTP, from a client of another process, and on the dashboard."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
from flows import Order, Shop, fulfilment

from perdure import App, Do, Workflow, WorkflowContext, program
from perdure.remote import connect
from perdure.server.api import asgi
from perdure.server.serving import serving
from perdure.wire.records import data_of

INSTANCE = "/v1/jobs/workflow/fulfilment/instances/o"


def app() -> App[Shop]:
    return App(Shop()).with_jobs(fulfilment)


def test_steps_over_http_and_on_the_dashboard() -> None:
    async def main() -> None:
        api = asgi(app(), "memory://", access="local", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            flow = api.client.handle(fulfilment)
            await flow.start("o", Order("book", 1), wait_for="completion")
            expected = data_of(await flow.steps("o"))
            assert [step["name"] for step in expected][:2] == ["charge", "reserve"]
            assert (await http.get(f"{INSTANCE}/steps")).json() == list(expected)
            assert (await http.get(f"{INSTANCE}x/steps")).json() == []
            page = await http.get("/dashboard/jobs/workflow/fulfilment/instances/o")
            assert page.status_code == 200
            steps = page.text.partition('id="steps"')[2]
            assert 0 < steps.index("charge") < steps.index("signal approval")
            description = (await http.get("/openapi.json")).json()
            assert f"{INSTANCE.removesuffix('/o')}/{{id}}/steps" in description["paths"]

    asyncio.run(main())


@program
def at_once(ctx: WorkflowContext[int]) -> Do[int]:
    return (yield from ctx.state)


def test_an_ended_workflow_has_no_next_run_on_the_dashboard() -> None:
    async def main() -> None:
        short = Workflow("short", state=int, run=at_once, keep="1 day")
        api = asgi(App(None).with_jobs(short), "memory://", access="local", dashboard=True)
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await api.client.handle(short).start("o", 1, wait_for="completion")
            page = (await http.get("/dashboard/jobs/workflow/short/instances/o")).text
            assert "kept until" in page
            assert "next run" not in page

    asyncio.run(main())


def test_steps_for_a_client_of_another_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            app().open("memory://") as local,
            serving(local, [f"unix:{tmp_path}/engine.sock"]) as (server,),
            connect(server.urls[0], fulfilment) as remote,
        ):
            await local.handle(fulfilment).start("o", Order("book", 1), wait_for="completion")
            expected = await local.handle(fulfilment).steps("o")
            assert len(expected) > 2
            assert await remote.handle(fulfilment).steps("o") == expected
            assert await remote.handle_by_name("workflow", "fulfilment").steps("o") == expected

    asyncio.run(main())
