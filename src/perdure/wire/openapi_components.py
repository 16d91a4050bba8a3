"""A document's components: definitions from many JSON Schemas under unique names, responses, and problems.

There is one component schema for each error, and one response for each status.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# A schema is JSON of any form, and narrowing a part of it by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, cast, get_type_hints

import attrs
import orjson

from perdure.codecs import Codec
from perdure.codecs.json_schema import OWN_TAG, REFERENCE, TAG, UNTAGGED, JsonSchema, canonical
from perdure.jobs.definition import AnyDefinition
from perdure.values import errors
from perdure.values.errors import PerdureError, Rejected
from perdure.wire.problems import MEDIA_TYPE, STATUS, code_of

COMPONENT: Final = "#/components/schemas/"
"""The prefix in a reference to a component schema."""

Direction = Literal["exact", "answer"]
"""How a schema is used: for exactly the JSON that a codec decodes, or for an answer, whose fields are all present and
which later versions of the library may extend."""


@attrs.define
class Components:
    """Collects a document's components.

    Definitions with the same name and JSON are one component. A different one with that name gets its job's name in
    front.
    """

    schemas: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    responses: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    _known: dict[tuple[str, bytes], str] = attrs.field(factory=dict[tuple[str, bytes], str])

    def add(self, schema: JsonSchema, *, owner: str, direction: Direction = "exact") -> JsonSchema:
        """Add a schema's definitions.

        Args:
            schema: a complete JSON Schema, as `Codec.json_schema` returns it.
            owner: the definitions' owner, which precedes names that are taken.
            direction: how the schema is used.

        Returns:
            The schema, with references to components.
        """
        definitions = cast("dict[str, JsonSchema]", schema.get("$defs", {}))
        names: dict[str, str] = {}
        added: list[str] = []
        for name in _reachable(schema, definitions):
            # By content: two jobs may have different classes of one name.
            key = (name, orjson.dumps(canonical({"$ref": REFERENCE + name, "$defs": definitions})))
            if key not in self._known:
                self._known[key] = free(self.schemas, name, owner)
                # Before its content is built: it may refer to itself.
                self.schemas[self._known[key]] = {}  # takes the name
                added.append(name)
            names[name] = self._known[key]
        # All names are known now: definitions may refer to each other.
        for name in added:
            self.schemas[names[name]] = self._component(definitions[name], definitions, names, direction)
        root = {word: schema[word] for word in schema if word not in {"$schema", "$defs"}}
        return self._component(root, definitions, names, direction)

    def named(self, name: str, schema: JsonSchema) -> JsonSchema:
        """Add a schema that already refers to components, under a name that must be free."""
        self.schemas[name] = schema
        return {"$ref": COMPONENT + name}

    def _component(
        self,
        schema: JsonSchema,
        definitions: Mapping[str, JsonSchema],
        names: Mapping[str, str],
        direction: Direction,
    ) -> JsonSchema:
        found = cast("JsonSchema", _referring(schema, definitions, names))
        if found.get("type") != "object" or "title" not in found:
            return found
        del found["title"]  # generators would prefer it to the name of the component, which is unique
        if direction == "answer":
            # A later version may answer with further fields: a strict client would refuse them.
            found.pop("additionalProperties", None)
            # A field with a default is always in an answer.
            found["required"] = list(cast("JsonSchema", found.get("properties", {})))
        return found


def free(taken: Mapping[str, object], name: str, owner: str) -> str:
    """Return a name that is not taken: the name itself, with its owner in front, or with a number."""
    candidates = iter((name, f"{owner}_{name}", *(f"{owner}_{name}_{number}" for number in range(2, len(taken) + 3))))
    return next(candidate for candidate in candidates if candidate not in taken)


def _reachable(schema: JsonSchema, definitions: Mapping[str, JsonSchema]) -> list[str]:
    """Return the definition names that a schema needs."""
    found: list[str] = []
    waiting: list[Any] = [{word: schema[word] for word in schema if word != "$defs"}]
    # Not through the definitions: only those that the schema refers to are needed.
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        if not isinstance(node, dict):
            continue
        waiting += node.values()
        name = str(node.get("$ref", "")).removeprefix(REFERENCE)
        if name in definitions and name not in found:
            found.append(name)
            waiting.append(definitions[name])
    return found


def _referring(node: Any, definitions: Mapping[str, Any], names: Mapping[str, str]) -> Any:  # JSON of any form
    """Copy a schema, with references to components, and with a tagged union's tags as its discriminator."""
    if isinstance(node, list):
        return [_referring(each, definitions, names) for each in node]
    if not isinstance(node, dict):
        return node
    ours = (UNTAGGED, OWN_TAG)  # for other versions of the code only
    found = {word: _referring(each, definitions, names) for word, each in node.items() if word not in ours}
    if isinstance(node.get("$ref"), str):
        found["$ref"] = COMPONENT + names[node["$ref"].removeprefix(REFERENCE)]
    if isinstance(node.get("oneOf"), list):  # the members of a tagged union
        members = (definitions[each["$ref"].removeprefix(REFERENCE)] for each in node["oneOf"])
        tags = [member["properties"][TAG]["const"] for member in members]
        mapping = {tag: each["$ref"] for tag, each in zip(tags, found["oneOf"], strict=True)}
        found["discriminator"] = {"propertyName": TAG, "mapping": mapping}
    return found


NO_ROUTE: Final = "NoRouteProblem"
"""The problem's component for a request that no route takes."""

_COMMON: Final[dict[str, JsonSchema]] = {
    "type": {"type": "string", "format": "uri-reference", "description": "The documentation of the error."},
    "title": {"type": "string", "description": "The error in general."},
    "status": {"type": "integer", "description": "The HTTP status of the response."},
    "detail": {"type": "string", "description": "What happened, what was expected and what to do."},
}

_REFUSALS: Final[Mapping[int, str]] = {
    401: "No token, or a wrong one.",
    403: "The token's scopes are too small, or the server serves local programs only.",
    404: "The engine serves no such job, or the job has no such action.",
    409: "The request conflicts with the instance, or its job rejected it.",
    413: "The body is too large.",
    414: "The URL is too long.",
    422: "A part of the request is not valid.",
    429: "Too many requests a second.",
    431: "The headers are too large.",
    500: "The job's code raised an exception, or the outcome is unknown.",
    503: "The engine is overloaded or closed, or its store is not available.",
    504: "The run took longer than its job allows.",
}

_OTHER_STATUS: Final[Mapping[int, tuple[type[PerdureError], ...]]] = {
    401: (errors.AccessDenied,),
    413: (errors.InvalidArgument, errors.InvalidInput),
    414: (errors.InvalidArgument,),
    429: (errors.Overloaded,),
    431: (errors.InvalidArgument,),
}
"""Errors whose status depends on the place that refuses the request."""

_NOT_SENT: Final = frozenset({errors.ServerUnreachable, Rejected})
"""Errors without their own component: those that the client raises, and each job's own."""

_OF_RUNS: Final = frozenset({errors.HookRaised, errors.RunTimeout})
"""Errors that a call returns if it may run the job's code."""


def add_problems(components: Components) -> None:
    """Add each error's component."""
    for cls in STATUS:
        if cls not in _NOT_SENT:
            components.named(problem_name(cls), _problem(code_of(cls), cls.__doc__ or "", _fields(cls)))
    components.named(NO_ROUTE, _problem("no_route", "No route takes the request.", {}))


def problem_name(cls: type[PerdureError]) -> str:
    """Return an error's component name."""
    return f"{cls.__name__}Problem"


def add_rejection(components: Components, job: AnyDefinition, *, owner: str) -> str:
    """Add the component for ``Rejected`` with a job's own errors. Return its name."""
    undeclared: JsonSchema = {
        "type": "object",
        "description": "An error of a type that the job does not declare, as text.",
        "properties": {"error_type": {"type": "string"}, "message": {"type": "string"}},
        "required": ["error_type", "message"],
    }
    fields: dict[str, JsonSchema] = {"undeclared_error": undeclared}
    if job.plan.errors is not None:
        fields["error"] = components.add(job.plan.errors.json_schema(), owner=owner)
        fields["error_type"] = {"type": "string", "description": "The class of the error."}
        if job.plan.errors.secret:
            fields["shown_error"] = {"description": "The error, with `<secret>` for each secret."}
    name = f"{owner}_RejectedProblem"
    problem = _problem(code_of(Rejected), "The job rejected the request with its own error.", fields, optional=fields)
    components.named(name, problem)
    return name


def refusals(
    components: Components, statuses: Iterable[int], *, rejection: str | None = None, runs: bool = False
) -> JsonSchema:
    """Return the responses with problems, by their status. Each is a component.

    Args:
        components: the document's components.
        statuses: those that are possible.
        rejection: the component of the job's ``Rejected``. None if the call cannot return it.
        runs: whether the call may run the job's code.
    """
    found: JsonSchema = {}
    for status in sorted(statuses):
        name = f"Problem{status}"
        if runs and any(STATUS[cls] == status for cls in _OF_RUNS):
            name = f"Problem{status}OfRun"
        rejected = rejection if status == STATUS[Rejected] else None
        if rejected is not None:
            name = f"{rejected}{status}"
        if name not in components.responses:
            components.responses[name] = _response(status, rejected, runs=runs)
        found[str(status)] = {"$ref": f"#/components/responses/{name}"}
    return found


def _response(status: int, rejection: str | None, *, runs: bool) -> JsonSchema:
    names = {code_of(cls): problem_name(cls) for cls in _possible(status, runs=runs)}
    if rejection is not None:
        names[code_of(Rejected)] = rejection
    if status == STATUS[errors.UnknownJob]:
        names["no_route"] = NO_ROUTE
    return {"description": _REFUSALS[status], "content": {MEDIA_TYPE: {"schema": _one_of(names)}}}


def _possible(status: int, *, runs: bool) -> tuple[type[PerdureError], ...]:
    of_status = (cls for cls in STATUS if STATUS[cls] == status and cls not in _NOT_SENT)
    return (*(cls for cls in of_status if runs or cls not in _OF_RUNS), *_OTHER_STATUS.get(status, ()))


def _one_of(names: Mapping[str, str]) -> JsonSchema:
    references = {code: COMPONENT + name for code, name in names.items()}
    if len(references) == 1:
        return {"$ref": next(iter(references.values()))}
    return {
        "oneOf": [{"$ref": reference} for reference in references.values()],
        "discriminator": {"propertyName": "code", "mapping": references},
    }


def _problem(
    code: str, text: str, fields: Mapping[str, JsonSchema], *, optional: Mapping[str, object] | None = None
) -> JsonSchema:
    properties = {**_COMMON, "code": {"type": "string", "const": code}, **fields}
    return {
        "type": "object",
        "description": " ".join(text.partition("\n\n")[0].split()),
        "properties": properties,
        "required": [name for name in properties if name not in (optional or {})],
    }


def _fields(cls: type[PerdureError]) -> dict[str, JsonSchema]:
    declared: Any = cls  # every error is an attrs class
    hints = get_type_hints(cls)
    return {field.name: _field(hints[field.name]) for field in attrs.fields(declared)}


def _field(hint: Any) -> JsonSchema:  # of any type; an object is shown as text
    if hint is object:
        return {"type": "string"}
    codec: Codec[Any] = Codec.of(hint, what="field of an error")
    return {word: value for word, value in codec.json_schema().items() if word != "$schema"}
