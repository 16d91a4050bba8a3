"""The redaction of JSON by its declared type: hides the marked parts, and the parts that do not fit the type."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON of every type passes here as Any, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from perdure.codecs.schema import Redact, Schema, no_parts, shapes
from perdure.values.secret import Hide


def secret_schema(schema: Schema) -> Schema:
    """Return a schema whose complete value is secret: no part of it is shown, and no message looks into it."""
    return attrs.evolve(
        schema,
        name=f"secret {schema.name}",
        redact=_hidden,
        read_parts=no_parts,
        write_parts=no_parts,
        structure=lambda: shapes.SecretShape(schema.shape()),
    )


def _hidden(data: Any, hide: Hide) -> Any:
    return hide(data)


def _shown(data: Any, _: Hide) -> Any:
    return data


def _of(schema: Schema) -> Redact:
    return schema.redact or _shown


def of_items(item: Schema) -> Redact | None:
    """Return the redaction of a list of values of one type; None if they have no secrets."""
    redact = item.redact
    if redact is None:
        return None
    return lambda data, hide: [redact(each, hide) for each in data] if type(data) is list else hide(data)


def of_positions(items: Sequence[Schema]) -> Redact | None:
    """Return the redaction of a list of a fixed number of values."""
    if all(item.redact is None for item in items):
        return None
    parts = [_of(item) for item in items]

    def redact(data: Any, hide: Hide) -> Any:
        if type(data) is not list or len(data) != len(parts):
            return hide(data)
        return [part(each, hide) for part, each in zip(parts, data, strict=True)]

    return redact


def of_mapping(key: Schema, value: Schema) -> Redact | None:
    """Return the redaction of a dict. Hidden keys are numbered, so that no entry is lost."""
    if key.redact is None and value.redact is None:
        return None
    redact_key, redact_value = _of(key), _of(value)

    def redact(data: Any, hide: Hide) -> Any:
        if type(data) is not dict:
            return hide(data)
        found: dict[str, Any] = {}
        for name, each in data.items():
            shown = str(redact_key(name, hide))
            found[shown if shown not in found else f"{shown} {len(found) + 1}"] = redact_value(each, hide)
        return found

    return redact


def of_object(fields: Mapping[str, Schema]) -> Redact | None:
    """Return the redaction of a class with fields. The values of unknown keys are hidden."""
    if all(schema.redact is None for schema in fields.values()):
        return None
    parts = {name: _of(schema) for name, schema in fields.items()}

    def redact(data: Any, hide: Hide) -> Any:
        if type(data) is not dict:
            return hide(data)
        return {name: parts.get(name, _hidden)(each, hide) for name, each in data.items()}

    return redact


def of_members(members: Mapping[Any, Schema], key_of: Callable[[Any], object]) -> Redact | None:
    """Return the redaction of a union, whose member the JSON selects.

    Args:
        members: the members.
        key_of: the key of the member that a JSON value selects.
    """
    if all(schema.redact is None for schema in members.values()):
        return None
    parts = {key: _of(schema) for key, schema in members.items()}
    return lambda data, hide: parts.get(key_of(data), _hidden)(data, hide)


def of_tagged(tag: str, members: Mapping[str, Schema]) -> Redact | None:
    """Return the redaction of objects that carry their tag under a key.

    Args:
        tag: the key.
        members: the schema of the other keys, by the tag.
    """
    if all(schema.redact is None for schema in members.values()):
        return None
    parts = {name: _of(schema) for name, schema in members.items()}

    def redact(data: Any, hide: Hide) -> Any:
        name = data.get(tag) if type(data) is dict else None
        if type(name) is not str or name not in parts:
            return hide(data)
        rest = {key: each for key, each in data.items() if key != tag}
        return {tag: name, **parts[name](rest, hide)}

    return redact
