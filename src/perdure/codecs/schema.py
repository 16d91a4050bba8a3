"""One type's schema: reader, writer, description, redaction, and the parts to inspect when it refuses.

The redaction hides the marked parts in JSON, and the parts that do not fit the type. `checked_schema` represents a
class inside itself. A class with fields has a `Declaration`, and one that is stored as another type a `StoredAs`.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# JSON of every type passes here as Any, and narrowing it by its class leaves the types of its contents unknown.

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

import attrs
from typing_extensions import TypeForm

from perdure._lazy import lazy_module
from perdure.codecs.json_schema import Definitions, Describe, JsonSchema
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import Hide

if TYPE_CHECKING:
    from perdure.codecs import shapes as shapes  # noqa: PLC0414 - exported to the modules of schemas
    from perdure.codecs.unknown_members import CarriedMembers, ValueRest
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


class FieldProblem(NamedTuple):
    """A problem that a class's own validators report: field, place in the field, reason. The first two may be empty."""

    field: str
    place: str
    text: str


class RefusedByClass(Exception):
    """A class's own validators refuse a value."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{each.field}{each.place}: {each.text}".removeprefix(": ") for each in problems))
        self.problems = tuple(problems)


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
    # Not the declared type: nothing says where its secret is, so all of it is hidden.
    return lambda data, hide: [redact(each, hide) for each in data] if type(data) is list else hide(data)


def of_positions(items: Sequence[Schema]) -> Redact | None:
    """Return the redaction for a list with a fixed length."""
    if all(item.redact is None for item in items):
        return None
    parts = [_of(item) for item in items]

    def redact(data: Any, hide: Hide) -> Any:
        # It does not have the type, so any part of it may be the secret.
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
            # Two hidden keys are equal texts: without the number one entry would be lost.
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
        # A key that the type does not know may be a secret of newer code.
        return {name: parts.get(name, _hidden)(each, hide) for name, each in data.items()}

    return redact


def of_members(members: Mapping[Any, Schema], key_of: Callable[[Any], object]) -> Redact | None:
    """Return the redaction for a union, whose member the JSON selects."""
    if all(schema.redact is None for schema in members.values()):
        return None
    parts = {key: _of(schema) for key, schema in members.items()}
    return lambda data, hide: parts.get(key_of(data), _hidden)(data, hide)


def of_tagged(tag: str, members: Mapping[str, Schema]) -> Redact | None:
    """Return the redaction for objects that carry their tag under a key."""
    if all(schema.redact is None for schema in members.values()):
        return None
    parts = {name: _of(schema) for name, schema in members.items()}

    def redact(data: Any, hide: Hide) -> Any:
        name = data.get(tag) if type(data) is dict else None
        # A member that this code does not know may mark any of its fields.
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


@frozen
class Field:
    """A class's field: its name, its type, whether it is required in JSON, and a function that returns its default."""

    name: str
    form: Any
    required: bool
    default: Callable[[], Any] | None = None


@frozen
class Declaration:
    """The fields that an attrs class, a dataclass, a model, a ``NamedTuple`` or a ``TypedDict`` declares.

    Attributes:
        cls: the class itself, without its type arguments.
        fields: its fields, in declaration order.
        proven: an instance built from fields keeps exactly these fields: the class has no converter, validator,
            ``__post_init__`` or hand-written ``__init__``.
        typed_dict: its instances are plain dicts, which cannot be distinguished from other dicts.
        frozen: no instance field can be assigned. A ``TypedDict`` counts as frozen: it is a dict, not a class.
        build: builds an instance from its fields by name. None: cattrs compiles its reader, or it is a tuple.
        tag: the tag that the class declares for itself. None: its name.
    """

    cls: Any
    fields: tuple[Field, ...]
    proven: bool
    typed_dict: bool = False
    frozen: bool = True
    build: Callable[[dict[str, Any]], Any] | None = None
    tag: str | None = None

    def tag_in(self, pinned: Mapping[type, str]) -> str:
        """Return the class's tag in a union.

        Args:
            pinned: the tags that a definition gives.
        """
        return pinned.get(self.cls) or self.tag or self.cls.__name__


_T = TypeVar("_T")
_F = TypeVar("_F")


class StoredAs(NamedTuple, Generic[_T, _F]):
    """Stores a class without a JSON form as another type.

    Write it beside the class, once: ``Amount = Annotated[Money, StoredAs(str, read=Money.parse, write=str)]``. A field
    that is declared as ``Amount`` has the other type's JSON, JSON Schema, secrets and rules for two versions. Values
    have exactly the class, no subclass.

    Attributes:
        form: the other type: any type that can be stored.
        read: converts from the other type. An exception refuses the input.
        write: converts to the other type. ``read`` must convert the result back to an equal value.
    """

    form: TypeForm[_F]
    read: Callable[[_F], _T]
    write: Callable[[_T], _F]


class _StoredShape(NamedTuple):
    """A class that is stored as another type. Values have no place for a rest, so newer code's parts are refused."""

    shape: shapes.Shape

    def split(self, data: Any) -> tuple[Any, ValueRest | None]:
        return data, None

    def hold(self, rest: ValueRest, value: Any) -> ValueRest:
        return rest

    def join(self, data: Any, value: Any, rest: ValueRest, joining: shapes.Joining) -> tuple[Any, ValueRest | None]:
        return data, None

    def carry(self, data: Any, value: Any, carried: CarriedMembers) -> Any:
        return data

    def unknown(self, data: Any, path: str) -> Iterator[shapes.Unknown]:
        yield from (attrs.evolve(each, is_member=False) for each in self.shape.unknown(data, path))

    def bare(self, data: Any, omits: shapes.Omits, path: str = "") -> Any:
        return self.shape.bare(data, omits, path)


def stored_schema(name: str, cls: type, how: StoredAs[Any, Any], inner: Schema) -> Schema:
    """Return the schema for a class that is stored as another type."""

    def read(data: Any, _: Any = None) -> Any:
        found = how.read(inner.read(data, None))
        # Otherwise the next write would refuse the value.
        if type(found) is not cls:
            raise Fault(f"{name} from the function read in StoredAs", found)
        return found

    def write(value: Any) -> Any:
        if type(value) is not cls:
            raise Fault(name, value)
        return inner.write(how.write(value))

    def write_parts(value: Any) -> Iterable[Part]:
        if type(value) is cls:
            # An exception is located when the value itself is written.
            with suppress(Exception):
                yield Part("", inner, how.write(value))

    return attrs.evolve(
        inner,
        name=name,
        classes=frozenset({cls}),
        read=read,
        write=write,
        write_parts=write_parts,
        keeps=never,
        structure=lambda: _StoredShape(inner.shape()),
    )
