"""The schema of a class that contains itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from perdure.codecs.json_schema import Definitions, JsonSchema
from perdure.codecs.schema import Part, Problem, Schema, shapes
from perdure.values.secret import Hide


def checked_schema(name: str, cls: type, kept: Callable[[], Schema]) -> Schema:
    """Return a schema that represents a class inside itself, until its own schema is built.

    Args:
        name: the type's readable name.
        cls: the class of its values.
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
