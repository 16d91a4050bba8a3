"""A class declared with `frozen` behaves as one of `attrs.frozen`, whose methods it gets at their first call."""

from __future__ import annotations

import pickle
from itertools import product
from typing import Any

import attrs
import pytest

from perdure.values.frozen import frozen


def hidden(_: object) -> str:
    return "hidden"


def declared(declare: Any, **options: bool) -> Any:
    """Declare the same class in one of the two ways."""

    class Value:
        number: float
        text: str = attrs.field(default="", repr=hidden)
        note: object = attrs.field(default=None, eq=False, repr=False)
        size: int = attrs.field(default=0, eq=abs)
        place: int = attrs.field(default=0, hash=False)

    return declare(**options)(Value) if options else declare(Value)


FIELDS = tuple(product((0, 1, float("nan")), ("", "a"), (None, 1), (-1, 1), (0, 1)))


def test_it_compares_hashes_and_prints_as_attrs_does() -> None:
    here, there = declared(frozen), declared(attrs.frozen)
    for first, second in product(FIELDS, repeat=2):
        assert (here(*first) == here(*second)) is (there(*first) == there(*second))
        assert (here(*first) != here(*second)) is (there(*first) != there(*second))
        assert (hash(here(*first)) == hash(here(*second))) is (hash(there(*first)) == hash(there(*second)))
        assert repr(here(*first)) == repr(there(*first))
        assert here(*first) != there(*first)


METHODS = ("__eq__", "__hash__", "__repr__")


@pytest.mark.parametrize("name", METHODS)
def test_its_methods_are_those_of_attrs_after_the_first_call(name: str) -> None:
    cls = declared(frozen)
    for each in (cls(1), cls(2)):
        assert getattr(each, name)(*[each] * (name == "__eq__"))
    assert all("attrs generated" in vars(cls)[method].__code__.co_filename for method in METHODS)


def test_a_value_without_equality_equals_no_other() -> None:
    cls = declared(frozen, eq=False)
    assert cls(1) != cls(1)
    assert cls.__hash__ is object.__hash__


def test_its_own_methods_remain() -> None:
    @frozen
    class Own:
        number: int

        def __eq__(self, other: object) -> bool:
            return True

        def __hash__(self) -> int:
            return 1

        __repr__ = hidden

    assert (Own(1) == 2, hash(Own(1)), repr(Own(1))) == (True, 1, "hidden")


def test_a_value_of_a_subclass_is_another_value() -> None:
    @frozen
    class Parent:
        number: int

    class Child(Parent):
        __slots__ = ()

    assert (Parent(1) == Child(1), Child(1) == Child(1), Child(1) == Child(2)) == (False, True, False)


@frozen(kw_only=True)
class Stored:
    """A class that pickle finds."""

    number: int


def test_it_is_a_frozen_class_of_attrs() -> None:
    value = Stored(number=1)
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301 - our own bytes
    assert attrs.evolve(value, number=2) == Stored(number=2)
    assert attrs.inspect(Stored).is_frozen
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        value.number = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        hash(Stored(number=[]))  # type: ignore[arg-type]
