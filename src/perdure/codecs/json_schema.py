"""The JSON Schema of a declared type, draft 2020-12: the JSON that its codec decodes, as far as JSON Schema can say it.

Each schema of the codecs describes itself, so the description cannot drift from the reader beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import attrs

JsonSchema: TypeAlias = dict[str, object]
"""A JSON Schema, as a plain dict."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""The draft of the schemas."""

REFERENCE: Final = "#/$defs/"
"""The prefix of a reference to a definition."""

_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class Describe(Protocol):
    """Describes the JSON of one type."""

    def __call__(self, definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        """Return a new JSON Schema.

        Args:
            definitions: where the schemas of classes are collected.
            tag: the value of the key ``type`` that the object carries in addition to its fields; None for no such key.
        """
        ...


@attrs.define
class Definitions:
    """Collects the schemas of classes, each under one name; a class that contains itself refers to its own."""

    schemas: dict[str, JsonSchema] = attrs.field(factory=dict[str, JsonSchema])
    _names: dict[object, str] = attrs.field(factory=dict[object, str])

    def reference(self, key: object, name: str, describe: Callable[[], JsonSchema]) -> JsonSchema:
        """Return a reference to a definition, which is added if it is new.

        Args:
            key: identifies the definition: the class, with its tag if it carries one.
            name: its readable name; characters other than letters, digits, ``.``, ``_`` and ``-`` are replaced.
            describe: returns its schema.
        """
        if key not in self._names:
            self._names[key] = found = self._free(_NOT_A_NAME.sub("_", name).strip("_") or "type")
            self.schemas[found] = {}  # takes the name while the schema is described
            self.schemas[found] = describe()
        return {"$ref": REFERENCE + self._names[key]}

    def _free(self, name: str) -> str:
        found, number = name, 2
        while found in self.schemas:
            found, number = f"{name}_{number}", number + 1
        return found


def json_schema(describe: Describe) -> JsonSchema:
    """Return a complete JSON Schema: the dialect, the schema of the type, and the definitions that it refers to."""
    definitions = Definitions()
    described = describe(definitions)
    found: JsonSchema = {"$schema": DIALECT, **described}
    if definitions.schemas:
        found["$defs"] = definitions.schemas
    return found


def always(**keywords: object) -> Describe:
    """Return the description of a type that refers to no other.

    Args:
        keywords: the keywords of its schema.
    """

    def describe(_: Definitions, _tag: str | None = None, /) -> JsonSchema:
        return dict(keywords)

    return describe


def text(pattern: str, **keywords: object) -> Describe:
    """Return the description of text of one form.

    Args:
        pattern: a regular expression that matches the complete text, without its anchors.
        keywords: other keywords of the schema.
    """
    return always(type="string", pattern=f"^{pattern}$", **keywords)


def choice(values: Sequence[object]) -> Describe:
    """Return the description of a closed set of JSON scalars, in the order of their declaration."""
    kinds = [kind for kind, cls in _SCALARS if any(type(value) is cls for value in values)]
    return always(type=kinds[0] if len(kinds) == 1 else kinds, enum=list(values))


def named(key: object, name: str, describe: Describe) -> Describe:
    """Return a description that refers to a definition.

    Args:
        key: identifies the definition together with the tag; a class, usually.
        name: its readable name.
        describe: describes it.
    """

    def reference(definitions: Definitions, tag: str | None = None, /) -> JsonSchema:
        return definitions.reference((key, tag), name, lambda: describe(definitions, tag))

    return reference


_SCALARS: Final = (("string", str), ("integer", int), ("boolean", bool), ("null", type(None)))
