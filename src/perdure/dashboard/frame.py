"""The frame of a page: title, content, twins for scripts and the shell, URLs, and the facts that every page shows."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import attrs
import htpy as h

from perdure.values.address import Address
from perdure.wire.requests import instance_path, job_path

PAGES: Final = "/dashboard"
"""The path of the dashboard in the application."""


@attrs.frozen
class Links:
    """The URLs of one mounted application.

    >>> Links("/jobs").instance(Address("task", "orders", "a/b"), "explain")
    '/jobs/dashboard/jobs/task/orders/instances/a%2Fb/explain'

    Attributes:
        mounted_at: the path that the application is mounted at, as the client encoded it; empty at the root.
    """

    mounted_at: str = ""

    def page(self, path: str = "", /, **query: str) -> str:
        """Return the URL of a page.

        Args:
            path: its path below the dashboard, encoded, such as ``/instances``.
            **query: its parameters; empty ones are left out.
        """
        given = {name.rstrip("_"): value for name, value in query.items() if value}
        return f"{self.mounted_at}{PAGES}{path}{f'?{urlencode(given)}' if given else ''}"

    def job(self, kind: str, name: str, /) -> str:
        """Return the URL of a job."""
        return self.page(job_path(kind, name).removeprefix("/v1"))

    def job_request(self, kind: str, name: str, change: str, /) -> str:
        """Return the URL of the page that holds or releases a job."""
        return f"{self.job(kind, name)}/{change}"

    def instance(self, address: Address, /, *more: str) -> str:
        """Return the URL of an instance, or of a page below it."""
        return self.page(instance_path(address, *more).removeprefix("/v1"))

    def static(self, name: str, version: str, /) -> str:
        """Return the URL of a file of this package, which changes with its content."""
        return self.page(f"/static/{name}", v=version)


@attrs.frozen(kw_only=True)
class Frame:
    """The caller, the engine and the moment of one request.

    Attributes:
        links: the URLs.
        path: the path of this page below the dashboard, with its query.
        caller: the name of the caller.
        scopes: its scopes.
        session: whether a cookie names the caller, so that it can sign out.
        csrf: the token that every form of the caller carries.
        store: the name of the store.
        now_ms: the time, integer milliseconds UTC.
        notice: the outcome of the caller's last action.
        live: whether the page follows the engine.
        assets: the version of the style and the script.
    """

    links: Links
    path: str = ""
    caller: str = ""
    scopes: frozenset[str] = frozenset()
    session: bool = False
    csrf: str = ""
    store: str = ""
    now_ms: int = 0
    notice: str = ""
    live: bool = True
    assets: str = ""

    def may(self, scope: str) -> bool:
        """Return whether the caller has a scope."""
        return scope in self.scopes


@attrs.frozen(kw_only=True)
class Page:
    """One page, without the frame around it.

    Attributes:
        title: its heading.
        section: the entry of the navigation that it belongs to.
        body: its content.
        command: the command of the shell that prints the same; empty for none.
        route: the request of the HTTP interface that does the same; empty for none.
        crumbs: the pages above it: text and URL.
    """

    title: str
    section: str
    body: h.Node
    command: str = ""
    route: str = ""
    crumbs: tuple[tuple[str, str], ...] = ()
