"""Classes with fields: attrs classes, dataclasses, ``NamedTuple`` and ``TypedDict``. All are JSON objects."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from perdure._lazy import lazy_module
from perdure.codecs.containers import keeps_parts
from perdure.codecs.fields import Declaration, is_namedtuple
from perdure.codecs.json_schema import OWN_TAG, TAG, Definitions, Describe, JsonSchema, named
from perdure.codecs.record_writer import record_writer
from perdure.codecs.redaction import of_object
from perdure.codecs.schema import LONGEST, Fault, Part, Problem, Read, Schema, Write, never, shapes
from perdure.values.excerpt import excerpt

if TYPE_CHECKING:
    from perdure.codecs import record_reader
else:
    record_reader = lazy_module("perdure.codecs.record_reader")

RESERVED: Final = frozenset({"attrs", "cl", "converter", "typevar_map"})
"""Field names that cattrs' code generator uses for its own arguments."""

_DICT = frozenset({dict})


def record_schema(
    form: Any, name: str, declared: Declaration, schemas: Mapping[str, Schema], tag: str | None
) -> Schema:
    """Return the schema of a class with fields.

    Args:
        form: the class, with its arguments if it is generic.
        name: the type's readable name.
        declared: the class and its fields.
        schemas: the schema of each field.
        tag: the tag of its objects as members of a union; None of a ``TypedDict``.

    Returns:
        A schema whose reader refuses unknown keys, and missing keys without a default. Its writer refuses every other
        class, also subclasses, because their additional fields would be lost.
    """
    cls = declared.cls
    if declared.typed_dict:
        return _typeddict_schema(name, declared, schemas, named(form, name, _object(name, declared, schemas, None)))
    fields = tuple((field, schema.keeps) for field, schema in schemas.items())
    keeps = keeps_parts(fields, getattr) if declared.frozen and declared.proven else never
    read, write = _namedtuple(name, cls, schemas) if is_namedtuple(cls) else _generated(form, name, cls, schemas)

    def write_parts(value: Any) -> Iterator[Part | Problem]:
        if type(value) is cls:
            for field in declared.fields:
                if hasattr(value, field.name):
                    yield Part(f".{field.name}", schemas[field.name], getattr(value, field.name))
                else:
                    yield Problem(f".{field.name}", "was never set")

    return Schema(
        name=name,
        kinds=_DICT,
        classes=frozenset({cls}),
        read=read,
        write=write,
        describe=named(form, name, _object(name, declared, schemas, tag)),
        read_parts=_object_parts(declared, schemas),
        write_parts=write_parts,
        redact=of_object(schemas),
        keeps=keeps,
        structure=lambda: shapes.ObjectShape(name, _shapes(schemas), tag, cache(lambda: _defaults(declared, schemas))),
    )


def _defaults(declared: Declaration, schemas: Mapping[str, Schema]) -> dict[str, Any]:
    """Return the JSON of the defaults of a class, for the fields whose default is a valid value."""
    found = dict[str, Any]()
    for field in declared.fields:
        if field.default is not None:
            with suppress(Exception):  # of a factory, or of a default that only a converter makes valid
                found[field.name] = schemas[field.name].write(field.default())
    return found


def _shapes(schemas: Mapping[str, Schema]) -> dict[str, shapes.Shape]:
    return {field: schema.shape() for field, schema in schemas.items()}


def _object(name: str, declared: Declaration, schemas: Mapping[str, Schema], own_tag: str | None) -> Describe:
    def describe(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        required = [field.name for field in declared.fields if field.required]
        properties = {field.name: schemas[field.name].describe(definitions) for field in declared.fields}
        found: JsonSchema = {"title": name, "type": "object", "additionalProperties": False}
        if summary := _summary(declared.cls):
            found["description"] = summary
        if tag is None and own_tag not in (None, name):
            found[OWN_TAG] = own_tag
        if tag is not None:
            properties, required = {TAG: {"type": "string", "const": tag}, **properties}, [TAG, *required]
        if properties:
            found["properties"] = properties
        if required:
            found["required"] = required
        return found

    return describe


def _summary(cls: Any) -> str:
    """Return the first paragraph of a class's own docstring; empty for one that Python generated."""
    written = vars(cls).get("__doc__") or ""
    generated = written.startswith(f"{cls.__name__}(")  # of a dataclass and of a NamedTuple
    return "" if generated else " ".join(inspect.cleandoc(written).partition("\n\n")[0].split())


def _generated(form: Any, name: str, cls: Any, schemas: Mapping[str, Schema]) -> tuple[Read, Write]:
    read_fields: Read | None = None  # until the first object is read: to define jobs, no reader is needed

    def read(data: Any, _: Any = None) -> Any:
        nonlocal read_fields
        if type(data) is not dict:
            raise Fault(name, data)
        if read_fields is None:
            read_fields = record_reader.record_reader(form, schemas)
        return read_fields(data, None)

    return read, record_writer(cls, name, schemas)


def _namedtuple(name: str, cls: Any, schemas: Mapping[str, Schema]) -> tuple[Read, Write]:
    reads = {field: schema.read for field, schema in schemas.items()}
    writes = tuple((field, schema.write) for field, schema in schemas.items())

    def read(data: Any, _: Any = None) -> Any:
        if type(data) is dict:
            return cls(**{field: reads[field](value, None) for field, value in data.items()})
        raise Fault(name, data)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is not cls:
            raise Fault(name, value)
        return {field: write(each) for (field, write), each in zip(writes, value, strict=True)}

    return read, write


def _object_parts(declared: Declaration, schemas: Mapping[str, Schema]) -> Callable[[Any], Iterator[Part | Problem]]:
    names = {field.name for field in declared.fields}
    known = ", ".join(field.name for field in declared.fields) or "no keys"

    def parts(data: Any) -> Iterator[Part | Problem]:
        if type(data) is not dict:
            return
        for field in declared.fields:
            if field.name in data:
                yield Part(f".{field.name}", schemas[field.name], data[field.name])
            elif field.required:
                yield Problem(f".{field.name}", f"missing; expected {schemas[field.name].name}")
        for key in data:
            if key not in names:
                yield Problem(f"[{excerpt(key, LONGEST)}]", f"unknown key; {declared.cls.__name__} has {known}")

    return parts


def _typeddict_schema(name: str, declared: Declaration, schemas: Mapping[str, Schema], describe: Describe) -> Schema:
    required = {field.name for field in declared.fields if field.required}
    reads = {key: schema.read for key, schema in schemas.items()}
    writes = {key: schema.write for key, schema in schemas.items()}

    def read(data: Any, _: Any = None) -> dict[str, Any]:
        if type(data) is dict and required <= data.keys():
            return {key: reads[key](value, None) for key, value in data.items()}
        raise Fault(name, data)

    def write(value: Any) -> dict[str, Any]:
        if type(value) is dict and required <= value.keys():
            return {key: writes[key](each) for key, each in value.items()}
        raise Fault(name, value)

    parts = _object_parts(declared, schemas)
    return Schema(
        name=name,
        kinds=_DICT,
        classes=_DICT,
        read=read,
        write=write,
        describe=describe,
        read_parts=parts,
        write_parts=parts,
        redact=of_object(schemas),
        keeps=never,
        structure=lambda: shapes.ObjectShape(name, _shapes(schemas), None, dict[str, Any]),
    )
