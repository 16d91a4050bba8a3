"""Invalid values are refused, each problem with its path: values passed in process by the same rules as JSON."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Literal, TypedDict
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from perdure.codecs import MAX_NESTING, MAX_PROBLEMS, Codec
from perdure.values.errors import InvalidInput


class Colour(Enum):
    RED = "red"


@attrs.frozen
class Item:
    amount: int
    note: str = ""


@attrs.frozen
class Order:
    items: list[Item]
    at: datetime
    prices: dict[str, float]


@attrs.frozen
class RichItem(Item):
    extra: int = 0


class UndecoratedItem(Item):
    pass


@attrs.frozen
class Lookalike:
    amount: int
    note: str = ""


@attrs.frozen
class Chain:
    next: "Chain | None" = None


@attrs.define(eq=False, repr=False)
class Link:
    next: "Link | None" = None


class Options(TypedDict):
    loud: bool


class Shouting(str):
    __slots__ = ()


class Broken:
    def __repr__(self):
        raise ValueError


AT = datetime(2026, 1, 2, tzinfo=UTC)
NAIVE = AT.replace(tzinfo=None)


def problems_of_value(form, value):
    with pytest.raises(InvalidInput) as caught:
        Codec.of(form, what="it").encode(value)
    assert caught.value.what == "it"
    return caught.value.problems


def problems_of_json(form, data):
    with pytest.raises(InvalidInput) as caught:
        Codec.of(form, what="it").decode(data)
    assert caught.value.what == "it"
    return caught.value.problems


def test_every_problem_of_a_value_is_listed_with_its_path():
    order = Order([Item(1), Item("5"), Item(True, 3)], NAIVE, {"a": 1, "b": float("nan"), 3: 1.0})
    assert problems_of_value(Order, order) == (
        "$.items[1].amount: expected int, got '5'",
        "$.items[2].amount: expected int, got True",
        "$.items[2].note: expected str, got 3",
        "$.at: expected an aware datetime, such as datetime(…, tzinfo=UTC), got datetime.datetime(2026, 1, 2, 0, 0)",
        "$.prices['b']: expected a finite float, got nan",
        "$.prices[3]: expected str, got 3",
    )


def test_every_problem_of_json_is_listed_with_its_path():
    data = b'{"items":[{"amount":1.5},{"note":"x","colour":1}],"at":"2026-01-02T00:00:00","prices":[]}'
    assert problems_of_json(Order, data) == (
        "$.items[0].amount: expected int, got 1.5",
        "$.items[1].amount: missing; expected int",
        "$.items[1]['colour']: unknown key; Item has amount, note",
        "$.at: expected an ISO 8601 instant with its offset, got '2026-01-02T00:00:00'",
        "$.prices: expected dict[str, float], got []",
    )


@pytest.mark.parametrize("value", [RichItem(1), UndecoratedItem(1), Lookalike(1), {"amount": 1}, None])
def test_only_the_exact_class_is_taken(value):
    assert problems_of_value(Item, value) == (f"$: expected Item, got {value!r}",)


@pytest.mark.parametrize(
    ("form", "value"),
    [
        (int, True),
        (int, 1.0),
        (int, 2**64),
        (int, -(2**63) - 1),
        (bool, 1),
        (float, True),
        (float, 2**53 + 1),
        (float, 10**400),
        (float, float("inf")),
        (str, Shouting("a")),
        (str, Colour.RED),
        (str, "\ud800"),
        (Colour, "red"),
        (Literal[1], True),
        (Literal[1], 1.0),
        (datetime, date(2026, 1, 2)),
        (datetime, NAIVE),
        (datetime, datetime(2026, 1, 2, tzinfo=timezone(timedelta(microseconds=1)))),
        (date, AT),
        (Decimal, Decimal("NaN")),
        (Decimal, 1),
        (bytes, bytearray(b"a")),
        (list[int], (1,)),
        (tuple[int, ...], [1]),
        (tuple[int, int], (1,)),
        (frozenset[int], {1}),
        (dict[str, int], {1: 1}),
        (dict[str, int], {"\ud800": 1}),
        (dict[int, int], {"1": 1}),
        (int | str, 1.0),
        (int | float, True),
        (object, (1,)),
        (object, {1: 1}),
        (object, float("nan")),
        (object, AT),
        (Options, {}),
        (Options, {"loud": True, "x": 1}),
        (Item, Broken()),
    ],
    ids=lambda each: str(type(each)) if isinstance(each, Broken) else ascii(each)[:40],
)
def test_a_value_of_another_type_is_refused(form, value):
    assert len(problems_of_value(form, value)) == 1


@pytest.mark.parametrize(
    ("form", "data"),
    [
        (int, b'"5"'),
        (int, b"true"),
        (int, b"1.5"),
        (int, b"1e17"),
        (int, b"-0.0"),
        (int, b"18446744073709551616"),
        (bool, b"1"),
        (float, b'"1.0"'),
        (float, b"9007199254740993"),
        (float, b"1e400"),
        (str, b"1"),
        (str, b'"\\ud800"'),
        (Colour, b'"RED"'),
        (Literal[1], b"true"),
        (Literal[1], b"1.0"),
        (int | str, b"1.5"),
        (datetime, b'"2026-01-02"'),
        (datetime, b'"2026-01-02 00:00:00Z"'),
        (datetime, b'"20260102T000000Z"'),
        (datetime, b"0"),
        (date, b'"20260102"'),
        (date, b'"2026-W01-1"'),
        (timedelta, b'"PT1H"'),
        (timedelta, b'"PT99999999999999S"'),
        (timedelta, b"5"),
        (UUID, b'"{00000000-0000-0000-0000-00000000000a}"'),
        (Decimal, b'"1_0"'),
        (Decimal, b'"NaN"'),
        (Decimal, '"\N{ARABIC-INDIC DIGIT ONE}"'.encode()),
        (Decimal, b"1.5"),
        (bytes, b'"AP9="'),
        (bytes, b'"A P8="'),
        (tuple[int, int], b"[1]"),
        (frozenset[int], b"[1,1]"),
        (dict[int, int], b'{"01":1}'),
        (dict[datetime, int], b'{"2026-01-02T00:00:00Z":1,"2026-01-02T00:00:00+00:00":2}'),
        (Item, b"[]"),
        (Item, b'"amount"'),
        (Options, b"{}"),
        (int, b""),
        (int, b"NaN"),
        (int, b"1 1"),
        (object, b"[" * 2000),
        (str, b'"\xff"'),
    ],
)
def test_json_of_another_type_is_refused(form, data):
    assert len(problems_of_json(form, data)) == 1


def test_an_int_that_json_cannot_hold_is_refused_with_an_alternative():
    (line,) = problems_of_value(int, 2**64)
    assert line == (
        "$: expected an int of 64 bits (-2**63 to 2**64-1; larger ones fit in Decimal), got 18446744073709551616"
    )


def test_at_most_twenty_problems_are_listed():
    assert len(problems_of_value(list[int], ["x"] * 100)) == MAX_PROBLEMS


def test_long_values_are_shortened():
    (line,) = problems_of_value(int, "x" * 10_000)
    assert len(line) < 120


def test_nesting_has_a_limit_so_that_every_stack_can_decode_it():
    def chain(links):
        value = None
        for _ in range(links):
            value = Chain(value)
        return value

    codec = Codec.of(Chain, what="it")
    assert codec.decode(codec.encode(chain(MAX_NESTING))) == chain(MAX_NESTING)
    for links in (MAX_NESTING + 1, 240, 10_000):
        with pytest.raises(InvalidInput, match=f"nested more than {MAX_NESTING} deep"):
            codec.encode(chain(links))


def test_a_value_that_contains_itself_is_refused():
    loop: list[object] = []
    loop.append(loop)
    (line,) = problems_of_value(object, loop)
    assert line.endswith(f"nested more than {MAX_NESTING} deep")


def test_a_record_that_contains_itself_is_refused():
    link = Link()
    link.next = link
    (line,) = problems_of_value(Link, link)
    assert line.endswith(f"nested more than {MAX_NESTING} deep")


def test_an_instant_in_a_repeated_hour_keeps_its_offset():
    codec = Codec.of(datetime, what="it")
    second = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))
    assert codec.encode(second) == b'"2026-11-01T01:30:00-05:00"'
    assert codec.decode(codec.encode(second)) == second.astimezone(UTC)
