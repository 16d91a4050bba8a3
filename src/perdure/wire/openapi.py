"""Describes an engine's HTTP interface as OpenAPI, from its definitions' types: ``GET /openapi.json``.

The document has an engine's operations, for each job and each action under unique ids, with the schemas that they refer
to. Two answers are described by hand, because no declared type has their form: a history's events, and explanations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, Final, Literal, cast
from urllib.parse import quote

import attrs
import orjson
from typing_extensions import TypeForm

from perdure.codecs import Codec
from perdure.codecs.json_schema import REFERENCE, JsonSchema
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.keys import MAX_KEY_CHARACTERS
from perdure.jobs.request import ALARM, PAUSE, RESUME, TERMINATE, CommandSpec
from perdure.values.address import MAX_ID_CHARACTERS
from perdure.values.answer import RunAnswer, Sent
from perdure.values.outcome import Replied
from perdure.values.status_wait import AWAITED_STATUSES, CallEnd
from perdure.values.stream import StreamPage
from perdure.wire.openapi_components import Components, add_problems, add_rejection, free, refusals
from perdure.wire.operations import (
    HISTORY,
    ID,
    OF_JOB,
    OPERATIONS,
    PUBLISHED,
    REPLY,
    STEPS,
    Argument,
    ClientOperation,
    Scope,
)
from perdure.wire.records import AwaitedRecord, installed_version

_ANY_TEXT: Final[JsonSchema] = {"type": "string"}
_NUMBER: Final[JsonSchema] = {"type": "integer"}
_OBJECT: Final[JsonSchema] = {"type": "object"}
_INSTANCE: Final[JsonSchema] = {"type": ["object", "null"]}


def _record(name: str, description: str, required: JsonSchema, optional: JsonSchema) -> dict[str, JsonSchema]:
    return {
        name: {
            "title": name,
            "type": "object",
            "description": description,
            "properties": {**required, **optional},
            "required": list(required),
        }
    }


EVENTS: Final[JsonSchema] = {
    "type": "array",
    "items": {"$ref": f"{REFERENCE}LoggedEvent"},
    "$defs": _record(
        "LoggedEvent",
        "An event with its `fields`; with `unread`, its text, if this version of the library does not know its type.",
        {"sequence": _NUMBER, "type": _ANY_TEXT, "address": _ANY_TEXT, "at_ms": _NUMBER},
        {"fields": _OBJECT, "unread": _ANY_TEXT},
    ),
}
"""The schema for a history page."""

_LIMIT_NAMES: Final[JsonSchema] = {"type": "array", "items": _ANY_TEXT}

EXPLANATION: Final[JsonSchema] = {
    "anyOf": [{"$ref": f"{REFERENCE}{name}"} for name in ("Explained", "NeedsAnswer", "WaitsForRun")],
    "$defs": {
        **_record(
            "Explained",
            "The effect of the request, with the `answer` or the `problem` of the caller.",
            {
                "form": {"type": "string", "const": "explained"},
                "version": _NUMBER,
                "before": _INSTANCE,
                "after": _INSTANCE,
                "write": {"type": "string", "enum": ["put", "purge", "keep"]},
                "messages": {"type": "array", "items": _OBJECT},
                "events": {"type": "array", "items": _OBJECT},
            },
            {"answer": {}, "problem": _OBJECT, "waits_for": _LIMIT_NAMES},
        ),
        **_record(
            "NeedsAnswer",
            "The request calls a service, whose answer decides its effect.",
            {
                "form": {"type": "string", "const": "needs_answer"},
                "effect": _ANY_TEXT,
                "args": {"type": "array", "items": _ANY_TEXT},
                "kwargs": {"type": "object", "additionalProperties": _ANY_TEXT},
            },
            {"waits_for": _LIMIT_NAMES},
        ),
        **_record(
            "WaitsForRun",
            "The request is decided after a run that is in progress.",
            {"form": {"type": "string", "const": "waits_for_run"}, "run_id": _ANY_TEXT},
            {},
        ),
    },
}
"""The schema for an explanation."""


_EACH: Final[JsonSchema] = {"type": "object", "additionalProperties": _ANY_TEXT}

QUESTION: Final[JsonSchema] = {
    "$ref": f"{REFERENCE}FutureQuestion",
    "$defs": _record(
        "FutureQuestion",
        "A question about a future. Durations are text, such as `2 days`.",
        {},
        {
            "lasting": _ANY_TEXT,
            "events": {"type": "array", "items": _OBJECT},
            "never": _LIMIT_NAMES,
            "down": _EACH,
            "fail": {"type": "object", "additionalProperties": {"type": "number"}},
            "answers": _OBJECT,
            "latency": _ANY_TEXT,
            "seed": _NUMBER,
            "most": _NUMBER,
            "instances": _NUMBER,
            "begins": _ANY_TEXT,
        },
    ),
}
"""The schema for a question about a future."""

FUTURE: Final[JsonSchema] = {
    "$ref": f"{REFERENCE}Future",
    "$defs": _record(
        "Future",
        "The future of an instance, in order.",
        {
            "address": _ANY_TEXT,
            "begins": _ANY_TEXT,
            "until": _ANY_TEXT,
            "ends": {"type": "string", "enum": ["quiet", "horizon", "full"]},
            "entries": {"type": "array", "items": _OBJECT},
            "answered": _OBJECT,
            "unread": _NUMBER,
            "not_called": _LIMIT_NAMES,
            "queued": {"type": "boolean"},
        },
        {},
    ),
}
"""The schema for a future."""


LIBRARY: Final = "perdure"
"""The owner in front of library schema names that a definition's classes have as well."""

SECURITY: Final = "token"
"""The security scheme's name."""

JSON: Final = "application/json"

_REFUSED: Final = (401, 403, 404, 414, 422, 429, 431, 500, 503)
_READ: Final = (*_REFUSED, 409)
_CALLED: Final = (*_READ, 413, 504)


@attrs.frozen(kw_only=True)
class ApiOperation:
    """One operation in the document.

    Attributes:
        method: the HTTP method, in lower case.
        path: the path, with ``{id}`` for the instance.
        id: the ``operationId``, not yet unique.
    """

    method: Literal["get", "post"]
    path: str
    id: str
    body: JsonSchema


# ---------------------------------------------------------------- one job
def add_types(components: Components, job: AnyDefinition, *, owner: str) -> None:
    """Add a definition's types, before the library's types, which yield where they have the same name.

    Args:
        components: the document's components.
        job: the definition.
        owner: the job's name in component names.
    """
    inputs = (spec.input for spec in job.plan.offered.values())
    for codec in (job.plan.state, job.plan.errors, *inputs):
        if codec is not None:
            components.add(codec.json_schema(), owner=owner)


def job_operations(components: Components, job: AnyDefinition, *, owner: str) -> Iterator[ApiOperation]:
    """Yield a job's operations.

    Args:
        components: the document's components.
        job: the definition.
        owner: the job's name in operation ids and in component names.
    """
    path = f"/v1/jobs/{quote(job.kind, safe='')}/{quote(job.name, safe='')}/instances/{{id}}"
    rejection = add_rejection(components, job, owner=owner)
    for spec in job.plan.offered.values():
        yield ApiOperation(
            method="post",
            path=f"{path}/{quote(spec.name, safe='')}",
            id=f"{owner}_{spec.name}",
            body=_call(components, job, spec, owner=owner, rejection=None if spec in _BUILT_IN else rejection),
        )
        if spec.absent == "creates":
            yield ApiOperation(
                method="post",
                path=f"{path}/wait/{quote(spec.name, safe='')}",
                id=f"{owner}_{spec.name}_and_wait",
                body=_call_and_wait(components, job, spec, owner=owner, rejection=rejection),
            )
    yield from _reads(components, job, path, owner=owner)
    # An operation that a kind does not have must not be offered for its jobs.
    has = {STEPS.name: job.keeps_journal, REPLY.name: job.keeps_journal, PUBLISHED.name: bool(job.published_names)}
    for operation in OPERATIONS:
        if operation.of != "engine" and operation.needs in {"", *job.plan.commands} and has.get(operation.name, True):
            yield operation_of(components, operation, job, owner=owner)


_BUILT_IN: Final = (TERMINATE, PAUSE, RESUME)


def _call(
    components: Components, job: AnyDefinition, spec: CommandSpec[Any], *, owner: str, rejection: str | None
) -> JsonSchema:
    answer = (
        _replied(components, job, owner=owner)
        if spec.answer is Replied
        else components.add(_answer(job, spec), owner=LIBRARY, direction="answer")
    )
    parameters = [_ID, _KEY, _TRACE, *([_INTERRUPT] if spec is TERMINATE else [])]
    if spec.answer in (RunAnswer, None):
        parameters.append(_WAIT_FOR)
    operation = _operation(
        f"Call `{spec.name}` of an instance of {job.name}.",
        tag=job.name,
        scope="operate" if spec in _BUILT_IN else "call",
        parameters=parameters,
        answer=answer,
        refusals=refusals(components, _CALLED, rejection=rejection, runs=True),
    )
    return _with_input(components, operation, spec, owner=owner)


def _call_and_wait(
    components: Components, job: AnyDefinition, spec: CommandSpec[Any], *, owner: str, rejection: str | None
) -> JsonSchema:
    operation = _operation(
        f"Call `{spec.name}` of an instance of {job.name}, and wait until its work is over.",
        tag=job.name,
        scope="call",
        parameters=[_ID, _KEY | {"required": spec.repeat == "applies_again"}, _TRACE, _TIMEOUT],
        answer=answer_of(components, CallEnd),
        refusals=refusals(components, _CALLED, rejection=rejection, runs=True),
    )
    return _with_input(components, operation, spec, owner=owner)


def _with_input(components: Components, operation: JsonSchema, spec: CommandSpec[Any], *, owner: str) -> JsonSchema:
    if spec.input is not None:
        schema = components.add(spec.input.json_schema(), owner=owner)
        operation["requestBody"] = _body(schema, required=spec.takes == "input")
    return operation


def _answer(job: AnyDefinition, spec: CommandSpec[Any]) -> JsonSchema:
    """Return the schema for an action's answer: its class, if the kind declares it, or all answers."""
    schema = _schema_of_answers(job.plan.answers)
    definitions = cast("dict[str, JsonSchema]", schema.get("$defs", {}))
    name = "" if spec.answer is None else spec.answer.__name__
    return {"$ref": f"#/$defs/{name}", "$defs": definitions} if name in definitions else schema


def _replied(components: Components, job: AnyDefinition, *, owner: str) -> JsonSchema:
    """Return an event's answer schema, with each reply's own type."""
    schema = _schema_of_answers(job.plan.answers)
    definitions = cast("dict[str, JsonSchema]", schema["$defs"])
    root = {**definitions[Replied.__name__], "$defs": definitions}
    answer = components.add(root, owner=LIBRARY, direction="answer")
    replies = {
        name: components.add(codec.json_schema(), owner=owner, direction="answer")
        for name, codec in job.plan.replies.items()
    }
    properties = cast("JsonSchema", answer["properties"]) | {"replies": {"type": "object", "properties": replies}}
    return components.named(f"{owner}_{Sent.__name__}", {**answer, "properties": properties})


def _reads(components: Components, job: AnyDefinition, path: str, *, owner: str) -> Iterator[ApiOperation]:
    def read(path: str, name: str, summary: str, answer: JsonSchema, *parameters: JsonSchema) -> ApiOperation:
        body = _operation(
            summary,
            tag=job.name,
            scope="read",
            parameters=[_ID, *parameters],
            answer=answer,
            refusals=refusals(components, _READ),
        )
        return ApiOperation(method="get", path=path, id=f"{owner}_{name}", body=body)

    state = components.add(job.plan.state.json_schema(), owner=owner)
    yield read(f"{path}/state", "state", "Read the committed state; null if there is no instance.", _or_null(state))
    yield read(
        *(f"{path}/wait", "wait", "Wait until the instance has a status or a phase; by default, until its end."),
        answer_of(components, AwaitedRecord),
        *_WANTED,
    )
    if job.plan.streams:
        stream = _of_stream(job)
        page = answer_of(components, StreamPage)
        summary = "Read the items of a stream after an offset, and wait for the first one."
        yield read(f"{path}/streams/{{stream}}", "stream", summary, page, stream, _AFTER, _TIMEOUT)
        followed = read(f"{path}/streams/{{stream}}/events", "stream_events", _FOLLOW, page, stream, _AFTER, _LAST_ID)
        followed.body["responses"] = {**refusals(components, _READ), **_SERVER_SENT}
        yield followed
    yield from _explanations(components, job, path, owner=owner)
    yield _future(components, job, path, owner=owner)


def _of_stream(job: AnyDefinition) -> JsonSchema:
    names: list[str] = [each.name for each in job.plan.streams]
    return _parameter("stream", "path", {"type": "string", "enum": names}, "The name of the stream.")


_FOLLOW: Final = "Follow a stream with server-sent events: `chunk`, `again`, `dropped` and `end`, with offsets as ids."
_SERVER_SENT: Final[JsonSchema] = {
    "200": {"description": "The events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    "204": {"description": "There are no further items: the instance has ended."},
}


def _explanations(components: Components, job: AnyDefinition, path: str, *, owner: str) -> Iterator[ApiOperation]:
    def explain(
        action: str, *parameters: JsonSchema, body: JsonSchema | None = None, required: bool = True
    ) -> ApiOperation:
        operation = _operation(
            f"Compute the effect of `{action}` without applying it.",
            tag=job.name,
            scope="read",
            parameters=[_ID, *parameters],
            answer=components.add(EXPLANATION, owner=LIBRARY),
            refusals=refusals(components, (*_READ, 413)),
        )
        if body is not None:
            operation["requestBody"] = _body(body, required=required)
        return ApiOperation(
            method="post",
            path=f"{path}/explain/{quote(action, safe='')}",
            id=f"{owner}_explain_{action}",
            body=operation,
        )

    for spec in job.plan.offered.values():
        schema = None if spec.input is None else components.add(spec.input.json_schema(), owner=owner)
        yield explain(spec.name, _KEY, body=schema, required=spec.takes == "input")
    yield explain(ALARM.action)


def _future(components: Components, job: AnyDefinition, path: str, *, owner: str) -> ApiOperation:
    operation = _operation(
        "Compute the future of an instance, also if events come or services are down. Nothing is written.",
        tag=job.name,
        scope="read",
        parameters=[_ID],
        answer=components.add(FUTURE, owner=LIBRARY),
        refusals=refusals(components, (*_READ, 413)),
    )
    operation["requestBody"] = _body(components.add(QUESTION, owner=LIBRARY), required=False)
    return ApiOperation(method="post", path=f"{path}/future", id=f"{owner}_future", body=operation)


# ---------------------------------------------------------------- the engine
_PLAIN: Final = tuple(status for status in _READ if status != 409)  # noqa: PLR2004 - conflicts are of one instance


def engine_operations(components: Components) -> Iterator[ApiOperation]:
    """Yield the engine's own operations."""
    for operation in OPERATIONS:
        if operation.of == "engine":
            yield operation_of(components, operation)
    yield _probe("/live", "live", "Whether the process serves requests.", ready=False)
    yield _probe("/ready", "ready", "Whether the engine serves requests; 503 while it does not.", ready=True)


def operation_of(
    components: Components, operation: ClientOperation[Any], job: AnyDefinition | None = None, *, owner: str = ""
) -> ApiOperation:
    """Return an entry's description in the table.

    Args:
        components: the document's components.
        operation: the entry.
        job: the job that the path names. None for an engine operation.
        owner: the job's name in operation ids.
    """
    refused = refusals(components, _PLAIN if job is None else _READ)
    if operation.media == "text":
        body = _text(operation, refused)
    else:
        body = _operation(
            operation.summary,
            tag="engine" if job is None else job.name,
            scope=operation.scope,
            parameters=[_of(argument) for argument in operation.arguments if job is None or argument not in OF_JOB],
            answer=components.add(EVENTS, owner=LIBRARY)
            if operation is HISTORY
            else answer_of(components, operation.answer),
            refusals=refused,
        )
    path, name = operation.path, operation.id
    if job is not None:
        path = path.replace("{kind}", quote(job.kind, safe="")).replace("{name}", quote(job.name, safe=""))
        name = f"{owner}_{name}{'_job' if operation.of == 'job' else ''}"
    method: Literal["get", "post"] = "get" if operation.method == "GET" else "post"
    return ApiOperation(method=method, path=path, id=name, body=body)


def _of(argument: Argument) -> JsonSchema:
    found = _parameter(argument.parameter, argument.place, argument.type.schema, argument.description)
    return {**found, "required": argument.is_required}


def _text(operation: ClientOperation[Any], refused: JsonSchema) -> JsonSchema:
    """Describe the metrics, which have no JSON."""
    text: JsonSchema = {"schema": {"type": "string"}}
    formats = {"text/plain": text, "application/openmetrics-text": text}
    return {
        "summary": operation.summary,
        "tags": ["engine"],
        "security": [{}, {SECURITY: [operation.scope]}],
        "responses": {"200": {"description": "The metrics.", "content": formats}, **refused},
    }


def _probe(path: str, name: str, summary: str, *, ready: bool) -> ApiOperation:
    known: JsonSchema = {"type": "string", "enum": ["ok", "degraded", "failed"]}
    answer: JsonSchema = {"type": "object", "properties": {"status": known}, "required": ["status"]}
    body: JsonSchema = {
        "summary": summary,
        "tags": ["engine"],
        "security": [],
        "responses": {
            "200": _content("It does.", answer),
            **({"503": _content("It does not.", {"type": "object"})} if ready else {}),
        },
    }
    return ApiOperation(method="get", path=path, id=name, body=body)


# ---------------------------------------------------------------- parts of operations
def answer_of(components: Components, form: TypeForm[Any]) -> JsonSchema:
    """Add the schemas for a library answer. Return the answer's own schema."""
    return components.add(_schema_of(cast("Any", form)), owner=LIBRARY, direction="answer")


# Every job has the same answers: to build their schemas takes most of the time.
@lru_cache
def _schema_of(form: Any) -> JsonSchema:  # a type form
    """Return a library type's schema. Every job has such answers."""
    codec: Codec[Any] = Codec.of(form, what="answer")
    return codec.json_schema()


@lru_cache
def _schema_of_answers(codec: Codec[Any]) -> JsonSchema:
    """Return the schema for a kind's answers."""
    return codec.json_schema()


def _operation(
    summary: str,
    *,
    tag: str,
    scope: Scope,
    parameters: list[JsonSchema],
    answer: JsonSchema,
    refusals: JsonSchema,
) -> JsonSchema:
    return {
        "summary": summary,
        "tags": [tag],
        # The empty one: an engine without tokens needs none.
        "security": [{}, {SECURITY: [scope]}],
        "parameters": parameters,
        "responses": {"200": _content("The answer.", answer), **refusals},
    }


def _body(schema: JsonSchema, *, required: bool = True) -> JsonSchema:
    return {"required": required, "content": {JSON: {"schema": schema}}}


def _content(description: str, schema: JsonSchema) -> JsonSchema:
    return {"description": description, "content": {JSON: {"schema": schema}}}


def _or_null(schema: JsonSchema) -> JsonSchema:
    return {"anyOf": [schema, {"type": "null"}]}


def _parameter(
    name: str, place: Literal["path", "query", "header"], schema: JsonSchema, description: str = ""
) -> JsonSchema:
    found: JsonSchema = {"name": name, "in": place, "required": place == "path", "schema": schema}
    return {**found, "description": description} if description else found


def _query(name: str, schema: JsonSchema, description: str) -> JsonSchema:
    return _parameter(name, "query", schema, description)


_TEXT: Final[JsonSchema] = {"type": "string", "maxLength": MAX_ID_CHARACTERS}
_ID: Final = _of(ID)
_KEY: Final = _parameter(
    "Idempotency-Key",
    "header",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS},
    "A repeat with this key changes nothing and returns the first answer.",
)
_TRACE: Final = _parameter(
    "traceparent",
    "header",
    {"type": "string"},
    "The trace context of the caller, as W3C Trace Context describes it. An invalid one is ignored.",
)
_WAIT_FOR: Final = _query(
    "wait_for",
    {"type": "string", "enum": ["completion", "start"], "default": "completion"},
    "When the call returns: after the first attempt of the run, or when the run is claimed.",
)
_INTERRUPT: Final = _query(
    "interrupt", {"type": "boolean", "default": False}, "Whether to cancel a run in progress; by default wait for it."
)
_TIMEOUT: Final = _query(
    "timeout",
    {"type": "string", "pattern": "^(1?[1-9]|10|20) s$", "default": "20 s"},
    "How long to wait, such as `5 s`; at most 20 seconds. Other units are accepted, too.",
)
_AFTER: Final = _query(
    "after",
    {"type": "integer", "minimum": -1, "maximum": 999_999_999_999_999_999, "default": -1},
    "The offset of the last item that the reader has.",
)
_LAST_ID: Final = _parameter(
    "Last-Event-ID", "header", {"type": "string", "pattern": r"^\d{1,18}$"}, "As `after`: a browser sends it by itself."
)
_WANTED: Final = (
    _query(
        "until",
        {"type": "array", "items": {"type": "string", "enum": list(AWAITED_STATUSES)}, "maxItems": 20},
        "The statuses that end the wait; by default `ended`.",
    ),
    _query("phase", {"type": "array", "items": _TEXT, "maxItems": 20}, "The phases that end the wait."),
    _query(
        "ticket",
        {"type": "string", "pattern": r"^\d{1,19}\.\d{1,19}\.\d{1,19}$"},
        "The update whose reply ends the wait, instead of a status.",
    ),
    _query("published", _TEXT, "The value whose publication ends the wait, instead of a status."),
    _TIMEOUT,
)


# ---------------------------------------------------------------- the document
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9]+")


def openapi(
    definitions: Iterable[AnyDefinition], /, *, title: str, version: str, server: str = "/", description: str = ""
) -> JsonSchema:
    """Return the OpenAPI 3.1 document for an engine that serves these jobs.

    It has one operation for each action that a job has, with the definition's types. The same definitions, in any
    order, return an equal document.

    Args:
        definitions: the jobs.
        title: the document's title.
        version: the document's version.
        server: the engine's URL, or the path below which it is mounted.
        description: a text for readers, in Markdown.
    """
    # Sorted: the document must not depend on the order of the definitions.
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
    """Return the OpenAPI document for these jobs, with the library's version.

    Args:
        jobs: the definitions.
        title: the document's title.
        server: the engine's URL, or the path below which it is mounted.
    """
    return openapi(jobs, title=title, version=installed_version() or "0", server=server, description=ABOUT)


@attrs.define(eq=False)
class Description:
    """An engine's OpenAPI document, computed when it is read for the first time."""

    _document: JsonSchema | None = None

    def encoded(self, jobs: Iterable[AnyDefinition], *, server: str) -> bytes:
        """Return the document as JSON.

        Args:
            jobs: the definitions that the engine serves, the same in each call.
            server: the path below which the engine is mounted. Empty for none.
        """
        # Computed at the first read: most engines never serve it.
        if self._document is None:
            self._document = described(jobs)
        return orjson.dumps({**self._document, "servers": [{"url": server or "/"}]})
