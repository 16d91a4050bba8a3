"""Values made of a type are of that type: a codec of it stores each of them and reads it back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal, NamedTuple, TypedDict
from uuid import UUID

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import find, given
from returns.maybe import Maybe, Nothing, Some
from returns.result import Failure, Result, Success

from perdure.codecs import Codec
from perdure.examples.order_processor import Order, OrderEvent
from perdure.examples.token_refresher import AuthError, TokenState
from perdure.examples.webhook_batcher import Batch
from perdure.testing.typed import NoSample, examples_of, from_type


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Place(NamedTuple):
    town: str
    level: int = 1


class Options(TypedDict, total=False):
    loud: bool


@attrs.frozen
class Tree:
    name: str
    children: tuple[Tree, ...] = ()
    parent: Tree | None = None


@attrs.frozen
class Positive:
    _count: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.frozen(kw_only=True)
class Everything:
    at: datetime
    day: date
    length: timedelta
    key: UUID
    amount: Decimal
    raw: bytes
    real: float
    colour: Colour
    word: Literal["a", 1]
    many: dict[str, list[int]]
    some: frozenset[int]
    row: tuple[int, str]
    place: Place
    options: Options
    plain: object


class Closed:
    """Has no declared fields."""


FORMS: tuple[Any, ...] = (
    Order,
    OrderEvent,
    TokenState,
    AuthError,
    Batch,
    Tree,
    Everything,
    int | None,
    bool,
    Place,
    tuple[()],
)


@pytest.mark.parametrize("form", FORMS, ids=str)
@given(data=st.data())
def test_a_drawn_value_can_be_stored(form, data):
    codec = Codec.of(form, what="it")
    value = data.draw(from_type(form))
    assert codec.decode(codec.encode(value)) == value


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_sample_can_be_stored_and_is_the_same_each_time(form):
    codec = Codec.of(form, what="it")
    assert [codec.decode(codec.encode(value)) for value in examples_of(form)] == list(examples_of(form))


def test_a_union_has_a_sample_for_each_member():
    assert [type(event).__name__ for event in examples_of(OrderEvent)] == [
        *("OrderPlaced", "PaymentReceived", "Shipped", "Delivered", "Cancelled")
    ]


@given(from_type(Positive))
def test_a_value_that_a_validator_refuses_is_drawn_again(value):
    assert value._count > 0


@given(from_type(Order, using={int: st.integers(1, 9)}))
def test_a_part_may_be_drawn_otherwise(order):
    assert order.amount in range(1, 10)


@pytest.mark.parametrize("form", [Closed, Positive])
def test_no_sample_is_drawn_of_an_impossible_type(form):
    with pytest.raises(NoSample, match="pass the values yourself"):
        examples_of(form)


def test_containers_of_returns_are_drawn_on_both_sides_and_sampled():
    assert examples_of(Maybe[int]) == (Nothing, Some(0))
    assert examples_of(Result[str, Colour]) == (Success(""), Failure(Colour.RED))
    assert find(from_type(Maybe[int]), lambda value: value is Nothing) is Nothing
    assert find(from_type(Maybe[int]), lambda value: value != Nothing) == Some(0)
    assert find(from_type(Result[int, str]), lambda value: isinstance(value, Failure)) == Failure("")


def test_an_exception_is_one_of_its_own_class():
    (sample,) = examples_of(ValueError)
    assert type(sample) is ValueError
    assert type(find(from_type(ValueError), lambda _: True)) is ValueError
    with pytest.raises(NoSample):
        examples_of(UnicodeDecodeError)


def test_instants_are_aware():
    (sample,) = examples_of(datetime)
    assert sample.tzinfo is UTC
