"""The OpenAPI description of an engine's HTTP interface, from the types of its definitions: ``GET /openapi.json``.

The document has the operations of an engine under unique ids, with the schemas that they refer to.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

import attrs
import orjson

from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.wire.engine_info import installed_version
from perdure.wire.openapi_components import Components, add_problems, free
from perdure.wire.openapi_operations import SECURITY, ApiOperation, add_types, engine_operations, job_operations

__all__ = ["openapi"]


_NOT_A_NAME = re.compile(r"[^A-Za-z0-9]+")


def openapi(
    definitions: Iterable[AnyDefinition], /, *, title: str, version: str, server: str = "/", description: str = ""
) -> JsonSchema:
    """Return the OpenAPI 3.1 document of an engine that serves these jobs.

    It has one operation for each action of each job, with the types of the definition. The same definitions, in any
    order, return an equal document.

    Args:
        definitions: the jobs.
        title: the title of the document.
        version: its version.
        server: the URL of the engine, or the path below which it is mounted.
        description: a text for readers, in Markdown.
    """
    jobs = sorted(definitions, key=lambda job: (job.kind, job.name))
    components = Components()
    add_problems(components)
    owned = list(zip(jobs, _owners(jobs), strict=True))
    for job, owner in owned:
        add_types(components, job, owner=owner)
    operations = list(engine_operations(components))
    for job, owner in owned:
        operations += job_operations(components, job, owner=owner)
    about: JsonSchema = {"title": title, "version": version}
    return {
        "openapi": "3.1.0",
        "info": {**about, "description": description} if description else about,
        "servers": [{"url": server}],
        "paths": _paths(operations),
        "components": {
            "responses": dict(sorted(components.responses.items())),
            "schemas": dict(sorted(components.schemas.items())),
            "securitySchemes": {SECURITY: {"type": "http", "scheme": "bearer"}},
        },
    }


def _paths(operations: Iterable[ApiOperation]) -> JsonSchema:
    paths: dict[str, JsonSchema] = {}
    ids: dict[str, ApiOperation] = {}
    for operation in operations:
        name = free(ids, _name(operation.id), operation.method)
        ids[name] = operation
        paths.setdefault(operation.path, {})[operation.method] = {"operationId": name, **operation.body}
    return dict(paths)


def _owners(jobs: Iterable[AnyDefinition]) -> list[str]:
    """Return a name for each job that operation ids begin with: its own, with its kind if another job has it too."""
    count = Counter(_name(job.name) for job in jobs)
    owners: dict[str, AnyDefinition] = {}
    for job in jobs:
        short = _name(job.name)
        wanted = short if count[short] == 1 else f"{_name(job.kind)}_{short}"
        owners[free(owners, wanted, job.kind)] = job
    return list(owners)


def _name(text: str) -> str:
    return _NOT_A_NAME.sub("_", text).strip("_") or "job"


TITLE: Final = "Jobs"
ABOUT: Final = (
    "Send requests to durable jobs. A request with an `Idempotency-Key` may be repeated: it is applied once. "
    "Every error is a problem (RFC 9457) with a stable `code`. The document's version is that of perdure."
)


def described(jobs: Iterable[AnyDefinition], *, title: str = TITLE, server: str = "/") -> JsonSchema:
    """Return the OpenAPI document of these jobs, with the version of the library.

    Args:
        jobs: the definitions.
        title: the title of the document.
        server: the URL of the engine, or the path below which it is mounted.
    """
    return openapi(jobs, title=title, version=installed_version() or "0", server=server, description=ABOUT)


@attrs.define(eq=False)
class Description:
    """The OpenAPI document of an engine, computed when it is read for the first time."""

    _document: JsonSchema | None = None

    def encoded(self, jobs: Iterable[AnyDefinition], *, server: str) -> bytes:
        """Return the document as JSON.

        Args:
            jobs: the definitions that the engine serves, the same in each call.
            server: the path below which the engine is mounted; empty for none.
        """
        if self._document is None:
            self._document = described(jobs)
        return orjson.dumps({**self._document, "servers": [{"url": server or "/"}]})
