"""Say what is wrong with a value, and where. Only called after a fast reader or writer has refused it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Any

import orjson

from perdure.codecs.schema import MAX_NESTING, Part, Parts, Problem, Schema


class Direction(Enum):
    """Which way the value was going."""

    READ = auto()
    WRITE = auto()


def faults(shape: Schema, way: Direction, value: Any, path: str = "$", depth: int = 0) -> Iterator[str]:
    """Walk a refused value and give one line for each thing that is wrong in it.

    Args:
        shape: what the value should be.
        way: whether it is plain JSON to be read or a value to be written.
        value: the value.
        path: where it is.
        depth: how far down it is.

    Yields:
        Lines such as ``$.items[3].amount: expected int, got '5'``, outermost fields first.
    """
    if depth > MAX_NESTING:
        yield f"{path}: nested more than {MAX_NESTING} deep"
        return
    clean = True
    for part in _parts(shape, way)(value):
        for line in _part_faults(part, way, path, depth):
            clean = False
            yield line
    if clean:
        yield from _own_fault(shape, way, value, path)


def _parts(shape: Schema, way: Direction) -> Parts:
    return shape.read_parts if way is Direction.READ else shape.write_parts


def _part_faults(part: Part | Problem, way: Direction, path: str, depth: int) -> Iterator[str]:
    match part:
        case Problem(step, text):
            yield f"{path}{step}: {text}"
        case Part(step, shape, value):
            yield from faults(shape, way, value, path + step, depth + 1)


def _own_fault(shape: Schema, way: Direction, value: Any, path: str) -> Iterator[str]:
    attempt: Callable[[], Any] = (
        (lambda: shape.read(value, None)) if way is Direction.READ else (lambda: orjson.dumps(shape.write(value)))
    )
    try:
        attempt()
    except Exception as error:  # noqa: BLE001  validators and constructors of the user's classes raise what they like
        yield f"{path}: {reason(error)}"


def reason(error: Exception) -> str:
    """Say why, in one line, from whatever was raised."""
    text = str(error.args[0]) if error.args else ""
    return text or type(error).__name__
