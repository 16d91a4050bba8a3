"""What the codec knows of one type: how it is read from JSON, how it is written, and where to look when that fails.

Readers and writers are fast and only say *that* a value is wrong: they raise. The parts are slow and say *where*: they
are walked by :mod:`perdure.codecs.diagnosis` after a failure, never before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

import attrs

from perdure.values.excerpt import excerpt

Read: TypeAlias = Callable[[Any, Any], Any]
"""From plain JSON to a value. The second argument is the type that cattrs hands to its hooks; no reader looks at it."""

Write: TypeAlias = Callable[[Any], Any]
"""From a value to plain JSON."""

Parts: TypeAlias = "Callable[[Any], Iterable[Part | Problem]]"

MAX_NESTING: Final = 64
"""How deep JSON may nest. Generous for data, and far from the recursion limits of Python and of orjson (254)."""

LONGEST: Final = 80
"""How much of a wrong value a message shows."""


class Fault(Exception):
    """A value is not what its type says."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(f"expected {expected}, got {excerpt(got, LONGEST)}")


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
