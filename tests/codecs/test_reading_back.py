"""Classes whose constructor does more than keep its arguments: values that would not read back equal are not stored."""

import dataclasses
from typing import NamedTuple

import attrs
import pytest

from perdure.codecs import Codec
from perdure.values.errors import InvalidInput


@attrs.define
class Plain:
    count: int


@attrs.define
class Positive:
    count: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.define(on_setattr=[])
class Doubling:
    count: int = attrs.field(converter=lambda value: value * 2)


@attrs.define
class Sorting:
    names: tuple[str, ...] = attrs.field(converter=lambda names: tuple(sorted(names)))


@dataclasses.dataclass
class Absolute:
    count: int

    def __post_init__(self):
        self.count = abs(self.count)


@attrs.define
class Counting:
    count: int

    def __init__(self, count):
        self.__attrs_init__(count + 1)


class UndecoratedDoubling(Plain):
    def __init__(self, count):
        super().__init__(count * 2)


class Interval(NamedTuple):
    start: int
    end: int


class SortedInterval(Interval):
    def __new__(cls, start, end):
        return super().__new__(cls, min(start, end), max(start, end))

    @classmethod
    def unsorted(cls, start, end):
        return tuple.__new__(cls, (start, end))


@attrs.frozen
class Holder:
    inner: tuple[Positive, ...]


def put(value, **fields):
    for name, field in fields.items():
        object.__setattr__(value, name, field)
    return value


def test_a_value_that_its_constructor_keeps_is_stored():
    for value in (Positive(1), Sorting(("b", "a")), Absolute(-3), SortedInterval(2, 1)):
        codec = Codec.of(type(value), what="it")
        assert codec.decode(codec.encode(value)) == value


def test_a_value_that_no_longer_passes_its_validator_is_not_stored():
    holder = Holder((Positive(1), put(Positive(1), count=-1)))
    with pytest.raises(InvalidInput) as caught:
        Codec.of(Holder, what="it").encode(holder)
    assert caught.value.problems == ("$.inner[1]: 'count' must be > 0: -1",)


def test_a_validator_checks_decoded_values():
    with pytest.raises(InvalidInput) as caught:
        Codec.of(Holder, what="it").decode(b'{"inner":[{"count":0}]}')
    assert caught.value.problems == ("$.inner[0]: 'count' must be > 0: 0",)


@pytest.mark.parametrize(
    "value",
    [
        Doubling(1),
        put(Sorting(()), names=("b", "a")),
        put(Absolute(1), count=-1),
        Counting(1),
        UndecoratedDoubling(1),
        SortedInterval.unsorted(2, 1),
    ],
)
def test_a_value_that_its_constructor_would_change_is_not_stored(value):
    with pytest.raises(InvalidInput, match="changes when it is read back"):
        Codec.of(type(value), what="it").encode(value)


def test_a_field_that_was_never_set_is_a_problem():
    with pytest.raises(InvalidInput) as caught:
        Codec.of(Positive, what="it").encode(object.__new__(Positive))
    assert caught.value.problems == ("$.count: was never set",)


@pytest.mark.parametrize(
    ("form", "value", "kept"),
    [
        (float, 3.0, True),
        (float, 3, False),  # read back as 3.0
        (int, 3, True),
        (str, "3", True),
        (tuple[float, ...], (1.0, 2), False),
        (tuple[float, ...], (1.0, 2.0), True),
    ],
)
def test_a_value_that_reads_back_as_another_one_is_not_kept(form, value, kept):
    assert Codec.of(form, what="it").may_be_kept(value) == kept
