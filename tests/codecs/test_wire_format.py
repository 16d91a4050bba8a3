"""The JSON of each kind of type. Later versions must read today's rows."""

import dataclasses
import typing
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import attrs
import pytest
from typing_extensions import TypeAliasType

from perdure.codecs import Codec

T = TypeVar("T")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Item:
    name: str
    count: int = 1


@attrs.define
class Basket:
    items: list[Item]
    _note: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Page(Generic[T]):
    rows: tuple[T, ...]
    next: "Page[T] | None" = None


@attrs.frozen
class ItemPage(Page[Item]):
    total: int = 0


@attrs.frozen
class OutOfStock(Exception):
    item: Item


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    y: float = 0.0


class Place(NamedTuple):
    town: str
    at: Point | None = None


class Pair(NamedTuple, Generic[T]):
    left: T
    right: T


class Options(TypedDict):
    loud: bool
    colour: NotRequired[Colour]


OrderId = NewType("OrderId", str)
Items = TypeAliasType("Items", list[T], type_params=(T,))
Amount = getattr(typing, "TypeAliasType", TypeAliasType)("Amount", int | float)  # as the `type` statement makes it

CASES = [
    (None, None, b"null"),
    (bool, True, b"true"),
    (int, -(2**63), b"-9223372036854775808"),
    (int, 2**64 - 1, b"18446744073709551615"),
    (float, 1.5, b"1.5"),
    (float, 3, b"3.0"),
    (str, "é\n", '"é\\n"'.encode()),
    (bytes, b"\x00\xff", b'"AP8="'),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), b'"2026-01-02T03:04:05.000006+00:00"'),
    (
        datetime,
        datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=-5, seconds=7))),
        b'"2026-01-02T00:00:00-04:59:53"',
    ),
    (date, date(2026, 1, 2), b'"2026-01-02"'),
    (timedelta, timedelta(minutes=30), b'"PT1800S"'),
    (timedelta, timedelta(microseconds=-1), b'"-PT0.000001S"'),
    (timedelta, timedelta.min, b'"-PT86399999913600S"'),
    (timedelta, timedelta.max, b'"PT86399999999999.999999S"'),
    (UUID, UUID(int=10), b'"00000000-0000-0000-0000-00000000000a"'),
    (Decimal, Decimal("1.50"), b'"1.50"'),
    (Decimal, Decimal("1e400"), b'"1E+400"'),
    (Colour, Colour.RED, b'"red"'),
    (Level, Level.HIGH, b"2"),
    (Literal["a", 1, True, None], True, b"true"),  # noqa: PYI061  None among the literals
    (Literal["a", 1, True] | None, 1, b"1"),
    (Literal[Colour.RED], Colour.RED, b'"red"'),
    (list[int], [1, 2], b"[1,2]"),
    (tuple[int, ...], (1, 2), b"[1,2]"),
    (tuple[int, str], (1, "a"), b'[1,"a"]'),
    (tuple[()], (), b"[]"),
    (set[int], {10, 2}, b"[10,2]"),
    (frozenset[str], frozenset({"b", "a"}), b'["a","b"]'),
    (dict[str, int], {"b": 1, "a": 2}, b'{"b":1,"a":2}'),
    (dict[int, str], {-1: "x"}, b'{"-1":"x"}'),
    (dict[Colour, int], {Colour.RED: 1}, b'{"red":1}'),
    (dict[date, int], {date(2026, 1, 2): 1}, b'{"2026-01-02":1}'),
    (Mapping[str, int], {"a": 1}, b'{"a":1}'),
    (list, [1, None], b"[1,null]"),
    (tuple, (1, []), b"[1,[]]"),
    (dict, {"a": None}, b'{"a":null}'),
    (Any, {"a": [1, 2.5, None, True, "x"]}, b'{"a":[1,2.5,null,true,"x"]}'),
    (object, [], b"[]"),
    (int | None, None, b"null"),
    (int | float, 1, b"1"),
    (int | float, 1.0, b"1.0"),
    (bool | int | str, True, b"true"),
    (Literal["a"] | Literal["b"] | None, "b", b'"b"'),  # noqa: PYI030  two aliases may meet like this
    (Colour | int, Colour.BLUE, b'"blue"'),
    (list[int] | str, [1], b"[1]"),
    (Item, Item("a"), b'{"name":"a","count":1}'),
    (Item | None, Item("a"), b'{"name":"a","count":1}'),
    (Basket, Basket([Item("a")], note="n"), b'{"items":[{"name":"a","count":1}],"_note":"n"}'),
    (Page[int], Page((1,), Page((2,))), b'{"rows":[1],"next":{"rows":[2],"next":null}}'),
    (ItemPage, ItemPage((Item("a"),), None, 7), b'{"rows":[{"name":"a","count":1}],"next":null,"total":7}'),
    (Point, Point(1), b'{"x":1.0,"y":0.0}'),
    (Place, Place("Rome", Point(1.0)), b'{"town":"Rome","at":{"x":1.0,"y":0.0}}'),
    (Pair[int], Pair(1, 2), b'{"left":1,"right":2}'),
    (Options, {"loud": True}, b'{"loud":true}'),
    (Options, {"loud": True, "colour": Colour.RED}, b'{"loud":true,"colour":"red"}'),
    (OrderId, "o-1", b'"o-1"'),
    (Items[int], [1], b"[1]"),
    (Amount | None, 1.5, b"1.5"),
    (Annotated[int, []], 1, b"1"),
]


@pytest.mark.parametrize(
    ("form", "value", "data"), CASES, ids=[f"{n}-{data.decode()[:40]}" for n, (_, _, data) in enumerate(CASES)]
)
def test_each_type_has_one_json_form(form, value, data):
    codec = Codec.of(form, what="it")
    assert codec.encode(value) == data
    assert codec.decode(data) == value
    assert codec.encode(codec.decode(data)) == data


def test_an_error_class_is_an_ordinary_class():
    codec = Codec.of(OutOfStock, what="error")
    back = codec.decode(codec.encode(OutOfStock(Item("a"))))
    assert type(back) is OutOfStock
    assert back.item == Item("a")


def test_a_missing_key_takes_the_default_of_its_field():
    assert Codec.of(Item, what="it").decode(b'{"name":"a"}') == Item("a", 1)
    assert Codec.of(Place, what="it").decode(b'{"town":"Rome"}') == Place("Rome")
    assert Codec.of(Point, what="it").decode(b'{"x":2}') == Point(2.0)


def test_a_whole_number_is_a_float_where_no_int_is_declared_beside_it():
    assert type(Codec.of(float | None, what="it").decode(b"3")) is float
    assert type(Codec.of(float | int, what="it").decode(b"3")) is int


@pytest.mark.parametrize("form", [int, int | None, int | str])
def test_a_whole_float_is_an_int_where_no_float_is_declared_beside_it(form):
    codec = Codec.of(form, what="it")
    assert type(codec.decode(b"-3.0")) is int
    assert codec.bare(b"-3.0") == codec.bare(b"-3") == b"-3"
    assert type(Codec.of(float | int, what="it").decode(b"3.0")) is float


def test_any_iso_8601_offset_is_read():
    codec = Codec.of(datetime, what="it")
    assert codec.decode(b'"2026-01-02T03:04:05Z"') == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert codec.decode(b'"2026-01-02T03:04+01:00"') == datetime(2026, 1, 2, 2, 4, tzinfo=UTC)


@attrs.frozen
class Nothing:
    nothing: None


def test_a_field_may_be_none_and_nothing_else():
    assert Codec.of(Nothing, what="it").encode(Nothing(None)) == b'{"nothing":null}'


@attrs.frozen
class Whole:
    part: Final[int] = 1


def test_a_final_field_is_its_type():
    assert Codec.of(Whole, what="it").decode(b'{"part":2}') == Whole(2)


def test_classes_of_one_name_may_be_in_a_resolved_local_scope():
    @attrs.frozen
    class Leaf:
        value: int

    @attrs.frozen
    class Tree:
        leaves: "list[Leaf]"

    attrs.resolve_types(Tree, globals(), locals())
    assert Codec.of(Tree, what="it").decode(b'{"leaves":[{"value":1}]}') == Tree([Leaf(1)])
