"""FastAPI: the client and typed handles as dependencies. Lifespan and error responses are Starlette's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from perdure.client.client import Client
from perdure.integrations.starlette import client_of, follow, handle_errors, lifespan
from perdure.jobs.definition import Definition

__all__ = ["Jobs", "follow", "handle_errors", "handle_of", "lifespan"]

H = TypeVar("H")

Jobs: TypeAlias = Annotated[Client, Depends(client_of)]
"""The application's client: ``async def pay(jobs: Jobs)``, and ``jobs.handle(orders)`` is typed."""


def handle_of(definition: Definition[H, Any, Any], /) -> Callable[[HTTPConnection], H]:
    """Return a dependency with a job's typed handle: ``Annotated[TaskHandle[...], Depends(handle_of(orders))]``.

    Args:
        definition: the job.
    """

    def dependency(connection: HTTPConnection) -> H:
        return client_of(connection).handle(definition)

    return dependency
