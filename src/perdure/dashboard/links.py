"""The URLs of the dashboard, below the path that the application is mounted at."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

import attrs

from perdure.values.address import Address
from perdure.wire.paths import instance_path, job_path

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
