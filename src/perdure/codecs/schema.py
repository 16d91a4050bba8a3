"""The schema of one type: its reader, its writer, its description, and the parts that are inspected when it refuses.

Readers and writers are fast and only raise when a value is not valid. The parts locate the problem; they are slow, and
:mod:`perdure.codecs.diagnosis` inspects them only after a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from perdure._lazy import lazy_module
from perdure.codecs.json_schema import Describe
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen
from perdure.values.secret import Hide

if TYPE_CHECKING:
    from perdure.codecs import shapes as shapes  # noqa: PLC0414 - exported to the modules of schemas
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


@frozen
class Part:
    """One part of a value: its path, its schema and its value."""

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
    """The reader and writer of one type, and the description of its JSON.

    Attributes:
        name: the type's readable name, for messages.
        kinds: the classes of its JSON; they must differ between the members of a union.
        classes: the exact classes of its values; they must differ between the members of a union.
        read: strict; raises any exception when the JSON is not valid.
        write: strict; raises any exception when the value is not valid.
        describe: returns the JSON Schema of the JSON that is read and written.
        read_parts: the parts of a JSON value, to locate a problem.
        write_parts: the parts of a value, to locate a problem.
        redact: hides the secrets of a JSON value; None if its type has none.
        keeps: whether a value can be kept in the place of its JSON; None: every value can.
        structure: returns its shape; None of a type without parts.
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
