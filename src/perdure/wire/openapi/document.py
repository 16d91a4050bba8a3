"""The document: the operations of an engine under unique ids, with the schemas that they refer to."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from perdure.codecs.json_schema import JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.wire.openapi.components import Components, free
from perdure.wire.openapi.operations import SECURITY, ApiOperation, add_types, engine_operations, job_operations
from perdure.wire.openapi.problems import add_problems

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
