"""A browser without a screen: requests to the dashboard of an engine in this process, and the forms of its pages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from html import unescape
from typing import Any
from urllib.parse import urlencode

import attrs
import httpx2
import scene
from attrs import frozen
from starlette.applications import Starlette
from starlette.routing import Mount

from perdure.server.access import Access, Tokens
from perdure.server.api import EngineApi, asgi
from perdure.server.http_limits import HttpLimits
from perdure.server.listening import CLOSING
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import memory_store

OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
"""The headers of a form that the dashboard's own page sends."""

SECRETS = {name: f"{name}-secret-of-this-token-0123456789" for name in ("reader", "caller", "operator")}
SCOPES = {"reader": "read", "caller": "read,call", "operator": "read,call,operate"}
TOKENS = Tokens.parse("\n".join(f"{name} {SCOPES[name]} {secret}" for name, secret in SECRETS.items()))


@frozen
class Visitor:
    """Requests pages and submits their forms.

    Attributes:
        http: the client.
        api: the application.
        prefix: the path that it is mounted at.
    """

    http: httpx2.AsyncClient
    api: EngineApi
    prefix: str = ""

    async def get(self, path: str = "", **headers: str) -> httpx2.Response:
        return await self.http.get(f"{self.prefix}/dashboard{path}", headers=headers)

    async def post(self, path: str, data: Any, **headers: str) -> httpx2.Response:
        return await self.http.post(f"{self.prefix}/dashboard{path}", data=data, headers=OWN | headers)

    async def first_event(self, page: str, **headers: str) -> str:
        """Follow a page until its first event, and return the text that was sent."""
        sent: list[bytes] = []
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/dashboard/live",
            "raw_path": b"/dashboard/live",
            "root_path": "",
            "query_string": urlencode({"page": page}).encode(),
            "headers": [(b"host", b"localhost"), *((k.lower().encode(), v.encode()) for k, v in headers.items())],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
            "server": ("localhost", 80),
            CLOSING: lambda: any(b"event:" in body for body in sent),
        }
        requests = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            return requests.pop() if requests else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        await self.api(scope, receive, send)
        return b"".join(sent).decode()

    async def token_of_forms(self, path: str = "/instances") -> str:
        """Return the token against forged requests on a page."""
        return fields_of((await self.get(path)).text)["csrf"]

    async def request(self, instance: str, action: str, **fields: str) -> httpx2.Response:
        """Confirm a request to an instance, written ``kind/name/id``."""
        path = f"{path_of(instance)}/request/{action}"
        form = fields_of((await self.get(path)).text)
        return await self.post(path, form | fields)


async def signed_in(visitor: Visitor, name: str, following: str = "") -> httpx2.Response:
    """Sign in with a token; return the response."""
    page = await visitor.get("/login")
    form = fields_of(page.text) | {"token": SECRETS[name], "following": following}
    return await visitor.post("/login", form)


def path_of(instance: str) -> str:
    kind, name, id_ = instance.split("/", 2)
    return f"/jobs/{kind}/{name}/instances/{id_}"


def fields_of(html: str) -> dict[str, str]:
    """Return the hidden fields of a page."""
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', html)
    return {name: unescape(value) for name, value in found}


def counting_seldom(age_ms: int) -> Store:
    """Return a memory store whose counts are of that age."""
    store = memory_store()
    counts = store.counts
    assert counts is not None
    aged = overlay(counts, instances=lambda: counts.instances().map(lambda found: attrs.evolve(found, age_ms=age_ms)))
    return overlay(store, counts=aged)


def visit(
    scenario: Callable[[Visitor], Awaitable[Any]],
    *,
    mounted_at: str = "",
    access: Access = "local",
    limits: HttpLimits | None = None,
    dashboard: bool = True,
    age_ms: int = 0,
) -> Any:
    """Open the scene on a memory store, whose counts are of that age, and let a scenario visit its dashboard."""

    async def main() -> Any:
        api = asgi(
            scene.app, counting_seldom(age_ms), access=access, limits=limits or HttpLimits(), dashboard=dashboard
        )
        served: Any = Starlette(routes=[Mount(mounted_at, api)], lifespan=api.lifespan) if mounted_at else api
        transport = httpx2.ASGITransport(served)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await scene.seed(api.client)
            return await scenario(Visitor(http, api, mounted_at))

    return asyncio.run(main())
