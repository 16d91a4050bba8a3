"""A type that cannot be stored fails where it is declared, with the field and the fix."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum, Flag
from typing import Any, Generic, Literal, Protocol, TypedDict, TypeVar

import attrs
import pytest

from perdure.codecs import Codec
from perdure.values.errors import DefinitionError

T = TypeVar("T")
U = TypeVar("U")


@attrs.frozen
class Leaf:
    value: int


@attrs.frozen
class Deep:
    rows: tuple[dict[str, Callable[[int], int]], ...]


@attrs.frozen
class Derived:
    total: int = attrs.field(init=False, default=1)


@dataclasses.dataclass
class Seeded:
    seed: dataclasses.InitVar[int]


@dataclasses.dataclass
class Hidden:
    kept: int = dataclasses.field(init=False, default=1)


@attrs.frozen
class Lost:
    other: "Nowhere"  # noqa: F821


@attrs.frozen
class Box(Generic[T]):
    item: T


@attrs.frozen
class Boxes(Box[list[T]], Generic[T]):
    more: T | None = None


@attrs.frozen
class Untyped:
    item = attrs.field()


@attrs.frozen
class Typed:
    type: str


@attrs.frozen
class Converting:
    converter: int


class HasValue(Protocol):
    value: int


class Plain:
    pass


class Bits(Flag):
    A = 1


class Corner(Enum):
    ORIGIN = (0, 0)


class Same(Enum):
    A = "a"


class Options(TypedDict):
    loud: bool


Tuple2 = collections.namedtuple("Tuple2", "a b")  # noqa: PYI024  the untyped kind is refused


CASES = [
    (Deep, "Deep.rows[][]", "a function is code"),
    (Derived, "Derived.total", "no init=False"),
    (Seeded, "Seeded.seed", "no InitVar"),
    (Hidden, "Hidden.kept", "no init=False"),
    (Lost, "Lost", "name 'Nowhere' is not defined"),
    (Box, "Box.item", "a generic class with its arguments"),
    (Boxes[int], "Boxes[int]", "another TypeVar"),
    (Untyped, "Untyped.item", "a type annotation on each field"),
    (Tuple2, "Tuple2.a", "typing.NamedTuple"),
    (Converting, "Converting.converter", "another name for that field"),
    (HasValue, "HasValue", "attrs"),
    (Plain, "Plain", "attrs"),
    (list[Plain], "list[Plain][]", "attrs"),
    (complex, "complex", "attrs"),
    (T, "T", "a generic class with its arguments"),
    ("Leaf", "Leaf", "a name in quotes"),
    (list["Leaf"], "list[Leaf][]", "a name in quotes"),
    (Sequence[int], "Sequence[int]", "a concrete collection"),
    (dict[float, int], "dict[float, int].<key>", "text in JSON"),
    (dict[Leaf, int], "dict[Leaf, int].<key>", "text in JSON"),
    (Bits, "Bits", "an Enum"),
    (Corner, "Corner", "str, int, bool or None"),
    (Literal[b"x"], "Literal[b'x']", "str, int, bool or None"),
    (Literal["a", Same.A], "Literal['a', <Same.A: 'a'>]", "differ"),
    (tuple[int, ...] | list[int], "tuple[int, ...] | list[int]", "wrap each in an attrs class"),
    (str | datetime, "str | datetime", "wrap each in an attrs class"),
    (dict[str, int] | dict[str, str], "dict[str, int] | dict[str, str]", "wrap each"),
    (Leaf | dict[str, int], "Leaf | dict[str, int]", "wrap each"),
    (Leaf | Options, "Leaf | Options", "wrap each"),
    (int | Literal[1], "int | Literal[1]", "wrap each"),  # noqa: PYI051  the redundancy is the point
    (Any | None, "Any | None", "wrap each"),
    (Leaf | Typed, "Leaf | Typed(Typed).type", "no field named 'type'"),
    (Box[int] | Box[str], "Box[int] | Box[str]", "each class once"),
]


@pytest.mark.parametrize(("form", "path", "fix"), CASES, ids=lambda each: str(each)[:40])
def test_the_error_names_the_place_and_the_fix(form, path, fix):
    with pytest.raises(DefinitionError) as caught:
        Codec.of(form, what="state of 'orders'")
    assert caught.value.what == f"state of 'orders': {path}"
    assert fix in caught.value.expected


def test_a_type_without_end_is_refused():
    @attrs.frozen
    class Growing(Generic[U]):
        inner: "Growing[list[U]] | None"

    attrs.resolve_types(Growing, globals(), locals())
    with pytest.raises(DefinitionError, match="contains itself through an attrs class"):
        Codec.of(Growing[int], what="state")
