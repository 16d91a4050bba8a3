"""Whatever comes, a codec answers with bytes that read back, or with InvalidInput: nothing else, no loss."""

import contextlib
from collections import OrderedDict, UserDict, deque
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.codecs import MAX_PROBLEMS, Codec
from perdure.testing.laws import refuses_or_reads
from perdure.values.errors import InvalidInput


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Shouting(str):
    __slots__ = ()


class Broken:
    def __eq__(self, other):
        raise ValueError

    __hash__ = None


class Place(NamedTuple):
    town: Any
    level: Any = 1


class Options(TypedDict, total=False):
    loud: bool


@attrs.frozen
class Left:
    x: int


@attrs.frozen
class Right:
    y: str


@attrs.define
class Guarded:
    count: Any = attrs.field(validator=lambda _, __, value: value > 0)


@attrs.define
class Odds:
    integer: int
    number: float
    text: str
    colour: Colour | None
    at: datetime
    lengths: dict[str, timedelta]
    day: date | int
    side: "Left | Right"
    plain: object
    row: tuple[int, str]
    options: Options
    place: Place


forms = st.sampled_from(
    [
        *(None, bool, int, float, str, bytes, datetime, date, timedelta, UUID, Decimal, Colour, Level, object),
        *(
            Left,
            Left | Right,
            Left | None,
            Place,
            Options,
            Odds,
            Guarded,
            Literal["a", 1],
            int | str,
            int | float | None,
        ),
        *(list[int], tuple[int, ...], tuple[int, str], frozenset[int], set[str], dict[str, int], dict[int, object]),
    ]
)
any_text = st.text(alphabet=st.characters(exclude_categories=()), max_size=4)
scraps = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(2**62, 2**66),
    st.floats(),
    st.complex_numbers(),
    st.fractions(),
    st.decimals(),
    any_text,
    any_text.map(Shouting),
    st.binary(max_size=4),
    st.binary(max_size=4).map(bytearray),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([Colour.RED, Level.LOW, Broken(), object(), int, len, Fraction(1), float("nan"), "a", "red", 1]),
)


def is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def nested(inner):
    hashable = scraps.filter(is_hashable)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(inner, max_size=3).map(deque),
        st.frozensets(hashable, max_size=3),
        st.sets(hashable, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
        st.dictionaries(any_text, inner, max_size=3),
        st.dictionaries(any_text, inner, max_size=3).map(OrderedDict),
        st.dictionaries(any_text, inner, max_size=3).map(UserDict),
        inner.map(Left),
        inner.map(Right),
        inner.map(Place),
        st.fixed_dictionaries({}, optional={"loud": inner}),
    )


values = st.recursive(scraps, nested, max_leaves=6)
odds = st.fixed_dictionaries({field.name: values for field in attrs.fields(Odds)}).map(lambda it: Odds(**it))


def set_count(count):
    guarded = Guarded(1)
    object.__setattr__(guarded, "count", count)
    return guarded


@given(forms, values | odds | values.map(set_count))
def test_a_value_is_refused_or_reads_back(form, value):
    codec = Codec.of(form, what="it")
    with contextlib.suppress(InvalidInput):
        data = codec.encode(value)
        back = codec.decode(data)
        assert back == value
        assert codec.encode(back) == data


@given(odds)
def test_the_problems_of_a_value_start_at_the_fields_that_are_wrong(value):
    fields = {field.name: Codec.of(field.type, what="it") for field in attrs.fields(attrs.resolve_types(Odds))}
    wrong = {name for name, codec in fields.items() if refuses(codec, getattr(value, name))}
    if not wrong:
        assert not refuses(Codec.of(Odds, what="it"), value)
        return
    with pytest.raises(InvalidInput) as caught:
        Codec.of(Odds, what="it").encode(value)
    named = {line.removeprefix("$.").split(":")[0].split(".")[0].split("[")[0] for line in caught.value.problems}
    assert named <= wrong
    assert named == wrong or len(caught.value.problems) == MAX_PROBLEMS


def refuses(codec, value):
    try:
        codec.encode(value)
    except InvalidInput:
        return True
    return False


numbers = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
names = st.sampled_from(["type", "x", "y", "town", "1", "k"])
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.sampled_from(["Left", "Right", "red", "a"]) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(forms, json_values.map(orjson.dumps) | st.binary(max_size=8))
def test_bytes_are_refused_or_are_a_value(form, data):
    refuses_or_reads(Codec.of(form, what="it"), data)
