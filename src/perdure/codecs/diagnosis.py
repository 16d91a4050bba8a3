"""Locates the problems of a refused value. Only called after a fast reader or writer has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any, Literal, TypeAlias

import orjson

from perdure.codecs.schema import MAX_NESTING, Fault, Part, Parts, Problem, Schema

Shows: TypeAlias = Literal["values", "no_secrets"]
"""Whether messages show every received value, or none whose type has secrets."""


class Direction(Enum):
    """Whether a value is decoded or encoded."""

    READ = auto()
    WRITE = auto()


def faults(
    schema: Schema, direction: Direction, value: Any, path: str = "$", depth: int = 0, *, shows: Shows = "values"
) -> Iterator[str]:
    """Yield one line for each problem in a refused value.

    Args:
        schema: the expected schema.
        direction: whether the value is JSON to decode or a value to encode.
        value: the value.
        path: its path.
        depth: its nesting depth.
        shows: whether messages show received values wherever their type has no secrets, or everywhere.

    Yields:
        Lines such as ``$.items[3].amount: expected int, got '5'``, outermost fields first.
    """
    if depth > MAX_NESTING:
        yield f"{path}: nested more than {MAX_NESTING} deep"
        return
    clean = True
    for part in _parts(schema, direction)(value):
        for line in _part_faults(part, direction, path, depth, shows):
            clean = False
            yield line
    if clean:
        yield from _own_fault(schema, direction, value, path, shows)


def _parts(schema: Schema, direction: Direction) -> Parts:
    return schema.read_parts if direction is Direction.READ else schema.write_parts


def _part_faults(part: Part | Problem, direction: Direction, path: str, depth: int, shows: Shows) -> Iterator[str]:
    match part:
        case Problem(step, text):
            yield f"{path}{step}: {text}"
        case Part(step, schema, value):
            yield from faults(schema, direction, value, path + step, depth + 1, shows=shows)


def _own_fault(schema: Schema, direction: Direction, value: Any, path: str, shows: Shows) -> Iterator[str]:
    attempt: Callable[[], Any] = (
        (lambda: schema.read(value, None))
        if direction is Direction.READ
        else (lambda: orjson.dumps(schema.write(value)))
    )
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  validators and constructors of the user's classes raise anything
        is_secret = shows == "no_secrets" and schema.redact is not None
        yield f"{path}: {reason_without_value(error) if is_secret else reason(error)}"


def reason_without_value(error: Exception) -> str:
    """Return the reason of any exception, without a text that may contain the value."""
    if isinstance(error, Fault):
        return error.without_value
    return f"{type(error).__name__} (its text may contain a secret, and is not shown)"


def reason(error: Exception) -> str:
    """Return the reason of any exception, in one line."""
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__
