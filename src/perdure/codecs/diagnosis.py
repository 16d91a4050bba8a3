"""Locates the problems of a refused value. Only called after a fast reader or writer has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

import orjson

from perdure.codecs.schema import MAX_NESTING, Part, Parts, Problem, Schema


class Direction(Enum):
    """Whether a value is decoded or encoded."""

    READ = auto()
    WRITE = auto()


def faults(schema: Schema, direction: Direction, value: Any, path: str = "$", depth: int = 0) -> Iterator[str]:
    """Yield one line for each problem in a refused value.

    Args:
        schema: the expected schema.
        direction: whether the value is JSON to decode or a value to encode.
        value: the value.
        path: its path.
        depth: its nesting depth.

    Yields:
        Lines such as ``$.items[3].amount: expected int, got '5'``, outermost fields first.
    """
    if depth > MAX_NESTING:
        yield f"{path}: nested more than {MAX_NESTING} deep"
        return
    clean = True
    for part in _parts(schema, direction)(value):
        for line in _part_faults(part, direction, path, depth):
            clean = False
            yield line
    if clean:
        yield from _own_fault(schema, direction, value, path)


def _parts(schema: Schema, direction: Direction) -> Parts:
    return schema.read_parts if direction is Direction.READ else schema.write_parts


def _part_faults(part: Part | Problem, direction: Direction, path: str, depth: int) -> Iterator[str]:
    match part:
        case Problem(step, text):
            yield f"{path}{step}: {text}"
        case Part(step, schema, value):
            yield from faults(schema, direction, value, path + step, depth + 1)


def _own_fault(schema: Schema, direction: Direction, value: Any, path: str) -> Iterator[str]:
    attempt: Callable[[], Any] = (
        (lambda: schema.read(value, None))
        if direction is Direction.READ
        else (lambda: orjson.dumps(schema.write(value)))
    )
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  validators and constructors of the user's classes raise anything
        yield f"{path}: {reason(error)}"


def reason(error: Exception) -> str:
    """Return the reason of any exception, in one line."""
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__
