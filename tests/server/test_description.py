"""``GET /openapi.json`` describes the behaviour of the server."""

import asyncio
import re
from pathlib import Path

import attrs
import httpx2
from openapi_spec_validator import validate
from rich_jobs import APP
from starlette.applications import Starlette
from starlette.routing import Mount

from perdure import Debounce, Published, Workflow
from perdure.server.api import asgi
from perdure.values.errors import ServerUnreachable
from perdure.wire.openapi import described
from perdure.wire.operations import OPERATIONS
from perdure.wire.problems import BY_CODE, STATUS


@attrs.frozen
class Caller:
    scopes: frozenset[str]
    name: str = "local"


@attrs.frozen
class AsCaller:
    """Replaces the guard."""

    app: object
    scopes: frozenset[str]

    async def __call__(self, scope, receive, send):
        await self.app({**scope, "perdure.caller": Caller(self.scopes)}, receive, send)


def play(scenario, *, scopes=("read",), mounted_at=""):
    async def main():
        api = asgi(APP, "memory://")
        served = Starlette(routes=[Mount(mounted_at, api)], lifespan=api.lifespan) if mounted_at else api
        guarded = AsCaller(served, frozenset(scopes))
        async with api.lifespan(), httpx2.AsyncClient(transport=httpx2.ASGITransport(guarded)) as client:
            return await scenario(client)

    return asyncio.run(main())


async def document_at(client, prefix=""):
    reply = await client.get(f"http://engine{prefix}/openapi.json")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    return reply.json()


def test_the_served_document_is_valid_and_names_the_path_of_the_mount():
    document = play(lambda client: document_at(client, "/a%20b/jobs"), mounted_at="/a b/jobs")
    validate(document)
    assert document["servers"] == [{"url": "/a%20b/jobs"}]
    assert play(document_at)["servers"] == [{"url": "/"}]


def test_every_operation_is_served_and_needs_the_scope_of_the_document():
    async def scenario(client):
        return {
            f"{method} {path}": (await call(client, method, path)).json().get("scope")
            for path, methods in document["paths"].items()
            for method in methods
        }

    document = play(document_at)
    needed = play(scenario, scopes=())
    assert needed == {
        f"{method} {path}": operation["security"][1]["token"][0] if operation["security"] else None
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_the_page_about_http_has_every_route_parameter_and_code():
    page = Path("docs/reference/http.md").read_text()
    for path, methods in play(document_at)["paths"].items():
        route = re.sub(r"^/v1/jobs/[^/]+/[^/]+/instances/{id}", "{instance}", path)
        of_job = r"^/v1/jobs/[^/{]+/[^/{]+/(hold|release|count(-matching)?|fork-many)$"
        route = re.sub(of_job, r"/v1/jobs/{kind}/{name}/\1", route)
        for before in ("explain", "wait"):
            if f"/{before}/" in route:
                route = f"{{instance}}/{before}/{{action}}"
        for method, operation in methods.items():
            action = "{instance}/{action}" if method == "post" and route.count("/") == 1 else route
            assert f"`{method.upper()} {action}`" in page
            assert all(f"`{each['name']}`" in page for each in operation.get("parameters", ()) if each["in"] != "path")
    rows = [line for line in page.splitlines() if re.match(r"\| \d{3}", line)]
    for code, cls in BY_CODE.items():
        assert cls is ServerUnreachable or any(str(STATUS[cls]) in row and f"`{code}`" in row for row in rows)


def test_the_document_has_every_operation_of_the_table_for_the_jobs_that_have_it():
    def run(ctx):
        return ctx.set_state(0)

    flow = Workflow("flow", state=int, result=type(None), run=run, publishes=(Published("seen", int),))
    plain = Debounce("plain", event=int, flush_after="1 minute", execute=run)
    paths = described((flow, plain))["paths"]
    for job, missing in ((flow, set()), (plain, {"steps", "reply", "published", "fork_many"})):
        of_job = {each.name: each.path.replace("{kind}", job.kind).replace("{name}", job.name) for each in OPERATIONS}
        of_job |= {"set_limit": "/v1/limits/{name}", "reset_limit": "/v1/limits/{name}/reset"}
        assert {name for name, path in of_job.items() if path not in paths} == missing


def call(client, method, path):
    for parameter in ("{id}", "{message_id}", "{key}"):
        path = path.replace(parameter, "1")
    return client.request(method, f"http://engine{path}")
