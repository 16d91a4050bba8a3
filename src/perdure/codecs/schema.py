"""One type's schema: reader, writer, description, redaction, and the parts to inspect when it refuses.

The redaction hides the marked parts in JSON, and the parts that do not fit the type. `checked_schema` represents a
class inside itself.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON of every type passes here as Any, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from perdure._lazy import lazy_module
from perdure.codecs.json_schema import Definitions, Describe, JsonSchema
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import Hide

if TYPE_CHECKING:
    from perdure.codecs import shapes as shapes  # noqa: PLC0414 - exported to the modules of schemas
else:
    shapes = lazy_module("perdure.codecs.shapes")  # for values of newer code only

Read: TypeAlias = Callable[[Any, Any], Any]
"""From JSON to a value. The second argument is the type that cattrs passes to its hooks; no reader uses it."""

Write: TypeAlias = Callable[[Any], Any]
"""From a value to JSON."""

Redact: TypeAlias = Callable[[Any, Hide], Any]
"""From JSON to the same JSON with its secrets replaced. The second argument replaces one of them."""

Parts: TypeAlias = "Callable[[Any], Iterable[Part | Problem]]"

Keeps: TypeAlias = Callable[[Any], bool]
"""Whether a valid value can stand for its JSON: nothing can change it, and reading the JSON returns just such a value.

None of a schema means that every value can.
"""


def never(_: object) -> bool:
    """Keep no value: it can be changed, or may differ from the value that is read."""
    return False


MAX_NESTING: Final = 64
"""The maximum nesting of JSON: generous for data, and far below the recursion limits of Python and of orjson (254)."""

LONGEST: Final = 80
"""The number of characters of an invalid value that a message shows."""


class Fault(Exception):
    """A value does not have its type."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {excerpt(got, LONGEST)}")
        self.expected = expected
        self.got = got

    @property
    def without_value(self) -> str:
        """The message, without the value."""
        return f"expected {self.expected}, got a value of type {type(self.got).__name__}"


@frozen
class Part:
    """A value's part: path, schema and value."""

    step: str
    schema: Schema
    value: Any


@frozen
class Problem:
    """A problem that belongs to no part: a missing key, an unknown one."""

    step: str
    text: str


def no_parts(_: object) -> tuple[Part, ...]:
    """Return no parts: the value is one."""
    return ()


@attrs.frozen(kw_only=True, eq=False)
class Schema:
    """One type's reader and writer, and a description of its JSON.

    Attributes:
        name: the type's readable name, for messages.
        kinds: the JSON classes that it reads. They must differ between a union's members.
        classes: the exact classes of its values. They must differ between a union's members.
        read: strict. Raises any exception when the JSON is not valid.
        write: strict. Raises any exception when the value is not valid.
        describe: returns the JSON Schema for the JSON that is read and written.
        read_parts: a JSON value's parts, to locate a problem.
        write_parts: a value's parts, to locate a problem.
        redact: hides a JSON value's secrets. None if its type has none.
        keeps: whether a value can be kept in place of its JSON. None: every value can.
        structure: returns its shape. None for a type without parts.
    """

    name: str
    kinds: frozenset[type]
    classes: frozenset[type]
    read: Read
    write: Write
    describe: Describe
    read_parts: Parts = no_parts
    write_parts: Parts = no_parts
    redact: Redact | None = None
    keeps: Keeps | None = None
    structure: Callable[[], shapes.Shape] | None = None

    def shape(self) -> shapes.Shape:
        """Return its structure, to walk it and its JSON side by side. This is slow."""
        return shapes.ScalarShape(self.kinds) if self.structure is None else self.structure()


def secret_schema(schema: Schema) -> Schema:
    """Return a schema whose complete value is secret: no part of it is shown, and no message looks into it."""
    return attrs.evolve(
        schema,
        name=f"secret {schema.name}",
        redact=_hidden,
        read_parts=no_parts,
        write_parts=no_parts,
        # The shape of the type itself would print a part of the secret in messages about newer code's members.
        structure=lambda: shapes.SecretShape(schema.shape()),
    )


def _hidden(data: Any, hide: Hide) -> Any:
    return hide(data)


def _shown(data: Any, _: Hide) -> Any:
    return data


def _of(schema: Schema) -> Redact:
    return schema.redact or _shown


def of_items(item: Schema) -> Redact | None:
    """Return the redaction for a list whose items have one type. None if they have no secrets."""
    redact = item.redact
    if redact is None:
        return None
    return lambda data, hide: [redact(each, hide) for each in data] if type(data) is list else hide(data)


def of_positions(items: Sequence[Schema]) -> Redact | None:
    """Return the redaction for a list with a fixed length."""
    if all(item.redact is None for item in items):
        return None
    parts = [_of(item) for item in items]

    def redact(data: Any, hide: Hide) -> Any:
        if type(data) is not list or len(data) != len(parts):
            return hide(data)
        return [part(each, hide) for part, each in zip(parts, data, strict=True)]

    return redact


def of_mapping(key: Schema, value: Schema) -> Redact | None:
    """Return a dict's redaction. Hidden keys are numbered, so that no entry is lost."""
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
    """Return the redaction for a class with fields. It hides unknown keys' values."""
    if all(schema.redact is None for schema in fields.values()):
        return None
    parts = {name: _of(schema) for name, schema in fields.items()}

    def redact(data: Any, hide: Hide) -> Any:
        if type(data) is not dict:
            return hide(data)
        return {name: parts.get(name, _hidden)(each, hide) for name, each in data.items()}

    return redact


def of_members(members: Mapping[Any, Schema], key_of: Callable[[Any], object]) -> Redact | None:
    """Return the redaction for a union, whose member the JSON selects.

    Args:
        members: the members.
        key_of: returns the key of the member that a JSON value selects.
    """
    if all(schema.redact is None for schema in members.values()):
        return None
    parts = {key: _of(schema) for key, schema in members.items()}
    return lambda data, hide: parts.get(key_of(data), _hidden)(data, hide)


def of_tagged(tag: str, members: Mapping[str, Schema]) -> Redact | None:
    """Return the redaction for objects that carry their tag under a key.

    Args:
        tag: the key.
        members: the other keys' schema, by the tag.
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


def checked_schema(name: str, cls: type, kept: Callable[[], Schema]) -> Schema:
    """Return a schema that represents a class inside itself, until its own schema is built.

    Args:
        name: the type's readable name.
        cls: the values' class.
        kept: returns the complete schema once it is built.
    """

    def read(data: Any, _: Any = None) -> Any:
        return kept().read(data, None)

    def write(value: Any) -> Any:
        return kept().write(value)

    def describe(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        return kept().describe(definitions, tag)

    def read_parts(data: Any) -> Iterable[Part | Problem]:
        return kept().read_parts(data)

    def write_parts(value: Any) -> Iterable[Part | Problem]:
        return kept().write_parts(value)

    def redact(data: Any, hide: Hide) -> Any:
        redact_kept = kept().redact
        return data if redact_kept is None else redact_kept(data, hide)

    def keeps(value: Any) -> bool:
        keeps_kept = kept().keeps
        return keeps_kept is None or keeps_kept(value)

    return Schema(
        name=name,
        kinds=frozenset({dict}),
        classes=frozenset({cls}),
        read=read,
        write=write,
        describe=describe,
        read_parts=read_parts,
        write_parts=write_parts,
        redact=redact,
        keeps=keeps,
        structure=lambda: shapes.RecursiveShape(cache(lambda: kept().shape())),
    )
