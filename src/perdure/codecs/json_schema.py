"""A declared type's JSON Schema, draft 2020-12: the JSON that the codec decodes, as far as JSON Schema can say it.

Each codec schema describes itself, so the description cannot drift from the reader beside it. Types in messages have
readable names, and a type that has no JSON form has an error.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import math
import re
import types
from collections import abc
from collections.abc import Callable, Mapping, Sequence
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    Protocol,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
)

import attrs
from typing_extensions import TypeForm

from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen


def describe_type(form: TypeForm[Any]) -> str:  # noqa: PLR0911 - one return for each form
    """Return a type's name as source code would show it.

    Args:
        form: any annotation: a class, a union, a generic alias.

    Returns:
        Text such as ``"Order"``, ``"int | None"``, ``"tuple[Item, ...]"``.

    >>> describe_type(tuple[int, ...])
    'tuple[int, ...]'
    >>> describe_type(str | None)
    'str | None'
    """
    form_: Any = form
    if form_ is None or form_ is types.NoneType:
        return "None"
    if form_ is Ellipsis:
        return "..."
    if get_origin(form_) is Annotated:
        return describe_type(get_args(form_)[0])
    if get_origin(form_) is not None:
        return _alias_name(get_origin(form_), get_args(form_))
    if isinstance(form_, TypeVar):
        return form_.__name__
    if isinstance(form_, type):
        return form_.__qualname__.rpartition("<locals>.")[2]
    return str(getattr(form_, "__name__", form_)).removeprefix("typing.")


def _alias_name(origin: Any, args: tuple[Any, ...]) -> str:
    if origin in (Union, types.UnionType):
        return " | ".join(describe_type(arg) for arg in args)
    if origin is Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]"
    return f"{describe_type(origin)}[{', '.join(_argument_name(arg) for arg in args) or '()'}]"


def _argument_name(arg: Any) -> str:
    return f"[{', '.join(describe_type(a) for a in arg)}]" if isinstance(arg, list) else describe_type(arg)


_ANY: Final = (
    "a type with a JSON form: a scalar, an Enum or Literal, a list, tuple, set, frozenset or dict of such types, a "
    "class with typed fields (attrs, dataclass, NamedTuple, TypedDict, a pydantic model, a msgspec struct), a union of "
    "these, object for plain JSON, or Annotated[X, StoredAs(...)] for another class X"
)
_COLLECTIONS: Final = (abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet, abc.Collection, abc.Iterable)
_FUNCTION: Final[Any] = get_origin(abc.Callable[..., object])


class Unsupported(Exception):
    """The reason why a type cannot be encoded. It becomes a ``DefinitionError`` that names the definition.

    Attributes:
        path: where the declared type contains the unsupported type.
        expected: the type to use instead.
    """

    def __init__(self, path: str, got: object, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {excerpt(got)}")
        self.path = path
        self.got = got
        self.expected = expected


def advice(form: Any) -> str:
    """Return the advice for a type that has no JSON form."""
    outer: Any = get_origin(form) or form
    if isinstance(form, (str, ForwardRef)):
        return "the type itself; a name in quotes is resolved only in the annotations of a class"
    if isinstance(form, TypeVar):
        return "a generic class with its arguments, such as Page[int]"
    if outer in _COLLECTIONS:
        return "a concrete collection, such as list[X], tuple[X, ...] or frozenset[X]: the class to decode to"
    if outer is _FUNCTION:
        return "data: a function is code, which is not stored; store its name or an Enum"
    return _ANY


JsonSchema: TypeAlias = dict[str, object]
"""A JSON Schema, as a plain dict."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The draft of the schemas."""

REFERENCE: Final = "#/$defs/"
"""The prefix of a reference to a definition."""

TAG: Final = "type"
"""The key whose value names the member of a union."""

UNTAGGED: Final = "x-untagged"
"""Keyword of a union of classes: the tag of the one that an object without a tag has."""

OWN_TAG: Final = "x-tag"
"""Keyword of a class whose objects carry no tag: their tag as members of a union, if it is not the title."""

_SILENT: Final = frozenset({"$schema", "$defs", "title", "description", UNTAGGED, OWN_TAG})
"""The keywords that do not affect which JSON validates."""

_WHOLE: Final = 2**53
"""Below this, a float is the same number as its integer."""

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def is_whole(data: float) -> bool:
    """Return whether a float is the same number as an int. Not -0.0, whose sign an int loses."""
    return data.is_integer() and abs(data) < _WHOLE and (data != 0 or math.copysign(1, data) > 0)


class Describe(Protocol):
    """Describes one type's JSON."""

    def __call__(self, definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        """Return a new JSON Schema.

        Args:
            definitions: where class schemas are collected.
            tag: the value of the key ``type`` that the object carries in addition to its fields. None for no such key.
        """
        ...


@attrs.define
class Definitions:
    """Collects class schemas, each under one name. A class that contains itself refers to its own schema."""

    schemas: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    _names: dict[object, str] = attrs.field(factory=dict[object, str])

    def reference(self, key: object, name: str, describe: Callable[[], JsonSchema]) -> JsonSchema:
        """Return a reference to a definition, which is added if it is new.

        Args:
            key: identifies the definition: the class, with its tag if it carries one.
            name: its readable name. Characters other than letters, digits, ``.``, ``_`` and ``-`` are replaced.
            describe: returns its schema.
        """
        if key not in self._names:
            self._names[key] = found = self._free(_NOT_A_NAME.sub("_", name).strip("_") or "type")
            # Before its description: a class that contains itself refers to this name.
            self.schemas[found] = {}  # takes the name while the schema is described
            self.schemas[found] = describe()
        return {"$ref": REFERENCE + self._names[key]}

    def _free(self, name: str) -> str:
        found, number = name, 2
        while found in self.schemas:
            found, number = f"{name}_{number}", number + 1
        return found


def json_schema(describe: Describe) -> JsonSchema:
    """Return a complete JSON Schema: the dialect, the type's schema, and the definitions that it refers to."""
    definitions = Definitions()
    described = describe(definitions)
    found: JsonSchema = {"$schema": DIALECT, **described}
    if definitions.schemas:
        found["$defs"] = definitions.schemas
    return found


def canonical(schema: JsonSchema) -> JsonSchema:
    """Return a schema without names, documentation and order, so that schemas for the same JSON are equal.

    Args:
        schema: a complete schema, as `json_schema` returns it.

    Returns:
        ``schema``, whose references are numbers, and ``definitions``, in the order of these numbers.
    """
    definitions = cast("dict[str, JsonSchema]", schema.get("$defs", {}))
    rewriting = _Canonical(definitions)
    root = rewriting.schema(schema)
    # each definition may refer to further ones, which are added while the loop runs
    return {"schema": root, "definitions": [rewriting.schema(definitions[name]) for name in rewriting.referred]}


@frozen
class _Canonical:
    """Rewrites schemas. Collects the definitions that they refer to, ordered by first reference."""

    definitions: Mapping[str, JsonSchema]
    referred: list[str] = attrs.field(factory=list[str])

    def schema(self, schema: JsonSchema) -> JsonSchema:
        if "$ref" not in schema:
            return {word: self._value(word, schema[word]) for word in sorted(schema) if word not in _SILENT}
        name = str(schema["$ref"]).removeprefix(REFERENCE)
        # An enum may become a `Literal` of the same values: both write the same JSON, and have the same fingerprint.
        if "enum" in self.definitions[name]:  # has no name as a `Literal`
            return self.schema(self.definitions[name])
        if name not in self.referred:
            self.referred.append(name)
        return {"$ref": self.referred.index(name)}

    def _value(self, keyword: str, value: Any) -> object:  # of the type that the keyword has
        match keyword:
            case "properties":
                return {name: self.schema(value[name]) for name in sorted(value)}
            case "items" | "propertyNames":
                return self.schema(value)
            case "additionalProperties":
                return value and self.schema(value)
            case "prefixItems" | "anyOf" | "oneOf":
                return [self.schema(member) for member in value]
            # The order of fields and choices is no part of the meaning: reordered code must have the same fingerprint.
            case "required" | "enum":
                return sorted(value, key=repr)
            case _:
                return value


def always(**keywords: object) -> Describe:
    """Describe a type that refers to no other."""

    def describe(_: Definitions, _tag: str | None = None, /) -> JsonSchema:
        return dict(keywords)

    return describe


def text(pattern: str, **keywords: object) -> Describe:
    """Describe a text with one form.

    Args:
        pattern: a regular expression that matches the complete text, without its anchors.
        keywords: the schema's other keywords.
    """
    return always(type="string", pattern=f"^{pattern}$", **keywords)


def choice(values: Sequence[object]) -> Describe:
    """Describe a closed set of JSON scalars, ordered by declaration."""
    kinds = [kind for kind, cls in _SCALARS if any(type(value) is cls for value in values)]
    return always(type=kinds[0] if len(kinds) == 1 else kinds, enum=list(values))


def named(key: object, name: str, describe: Describe) -> Describe:
    """Return a description that refers to a definition.

    Args:
        key: identifies the definition together with the tag. A class, usually.
        name: its readable name.
        describe: describes it.
    """

    def reference(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        return definitions.reference((key, tag), name, lambda: describe(definitions, tag))

    return reference


_SCALARS: Final = (("string", str), ("integer", int), ("boolean", bool), ("null", type(None)))
