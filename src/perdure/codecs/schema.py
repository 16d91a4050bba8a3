"""What the codec knows of one type: how it is read from JSON, how it is written, and where to look when that fails.

Readers and writers are fast and only say *that* a value is wrong: they raise. The parts are slow and say *where*: they
are walked by :mod:`perdure.codecs.diagnosis` after a failure, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import attrs

Read: TypeAlias = Callable[[Any, Any], Any]
"""From plain JSON to a value. The second argument is the type that cattrs hands to its hooks; no reader looks at it."""

Write: TypeAlias = Callable[[Any], Any]
"""From a value to plain JSON."""

Parts: TypeAlias = "Callable[[Any], Iterable[Part | Problem]]"

MAX_NESTING: Final = 64
"""How deep JSON may nest. Generous for data, and far from the recursion limits of Python and of orjson (254)."""

_LONGEST: Final = 80


class Fault(Exception):
    """A value is not what its type says."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {shortened(got)}")


@attrs.frozen
class Part:
    """One piece of a value: where it is, what it should be, what it is."""

    step: str
    shape: Schema
    value: Any


@attrs.frozen
class Problem:
    """Something wrong that is in no part: a missing key, an unknown one."""

    step: str
    text: str


def _no_parts(_value: Any) -> tuple[Part, ...]:
    return ()


@attrs.frozen(kw_only=True, eq=False)
class Schema:
    """How one type is read and written.

    Attributes:
        name: the type, readable, for messages.
        kinds: the classes of plain JSON it is written as; a union needs them to differ.
        classes: the exact classes of its values; a union needs them to differ.
        read: strict; raises anything when the JSON does not fit.
        write: strict; raises anything when the value does not fit.
        read_parts: the pieces of a JSON value, to find what is wrong.
        write_parts: the pieces of a value, to find what is wrong.
    """

    name: str
    kinds: frozenset[type]
    classes: frozenset[type]
    read: Read
    write: Write
    read_parts: Parts = _no_parts
    write_parts: Parts = _no_parts


def shortened(value: object) -> str:
    """Show a value in at most 80 characters, whatever its ``repr`` does."""
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001  a broken __repr__ must not hide the problem that is being reported
        return f"a {type(value).__qualname__} whose repr raises {type(error).__name__}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
