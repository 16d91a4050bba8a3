"""A declared type's JSON Schema, draft 2020-12: the JSON that the codec decodes, as far as JSON Schema can say it.

Each codec schema describes itself, so the description cannot drift from the reader beside it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import attrs

from perdure.values.frozen import frozen

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
    """Describe a type that refers to no other.

    Args:
        keywords: the schema's keywords.
    """

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
