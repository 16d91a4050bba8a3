"""Unions of classes carry a stable name."""

import attrs
import pytest

from perdure.codecs import Codec
from perdure.values.errors import DefinitionError, InvalidInput


@attrs.frozen
class Placed:
    order_id: str


@attrs.frozen
class Paid:
    amount: int


@attrs.frozen
class Both:
    first: Placed | Paid
    rest: tuple[Placed | Paid, ...] = ()
    alone: Placed | None = None


@attrs.frozen
class Branch:
    left: "Branch | Placed"
    right: "Branch | Placed"


def same_name_as_paid():
    @attrs.frozen
    class Paid:
        cents: int

    return Paid


def test_the_tag_is_the_class_name_unless_pinned():
    codec = Codec.of(Placed | Paid, what="event", tags={Paid: "order-paid"})
    assert codec.encode(Placed("o")) == b'{"type":"Placed","order_id":"o"}'
    assert codec.encode(Paid(5)) == b'{"type":"order-paid","amount":5}'
    assert codec.decode(b'{"amount":5,"type":"order-paid"}') == Paid(5)


def test_unions_are_tagged_at_any_depth_and_optional_classes_are_not():
    codec = Codec.of(Both, what="state")
    value = Both(Paid(1), (Placed("a"),), Placed("b"))
    assert codec.encode(value) == (
        b'{"first":{"type":"Paid","amount":1},"rest":[{"type":"Placed","order_id":"a"}],"alone":{"order_id":"b"}}'
    )
    assert codec.decode(codec.encode(value)) == value


def test_an_optional_union_is_null_or_tagged():
    codec = Codec.of(Placed | Paid | None, what="event")
    assert codec.encode(None) == b"null"
    assert codec.decode(codec.encode(Paid(1))) == Paid(1)


def test_a_pinned_class_carries_its_tag_alone_too_so_that_it_can_grow_into_a_union():
    alone = Codec.of(Placed, what="event", tags={Placed: "placed"})
    grown = Codec.of(Placed | Paid, what="event", tags={Placed: "placed"})
    assert alone.encode(Placed("o")) == b'{"type":"placed","order_id":"o"}'
    assert grown.decode(alone.encode(Placed("o"))) == Placed("o")
    optional = Codec.of(Placed | None, what="event", tags={Placed: "placed"})
    assert optional.encode(Placed("o")) == alone.encode(Placed("o"))


def test_a_recursive_union_reads_back():
    codec = Codec.of(Branch, what="state")
    value = Branch(Placed("a"), Branch(Placed("b"), Placed("c")))
    assert codec.decode(codec.encode(value)) == value


def test_two_classes_of_one_name_need_a_pinned_tag():
    other = same_name_as_paid()
    with pytest.raises(DefinitionError, match=r"tags that differ.*got \"'Paid' twice\""):
        Codec.of(Paid | other, what="event")
    codec = Codec.of(Paid | other, what="event", tags={other: "paid-in-cents"})
    assert codec.decode(codec.encode(other(7))) == other(7)


def test_two_pinned_tags_may_not_meet():
    with pytest.raises(DefinitionError, match="tags that differ"):
        Codec.of(Placed | Paid, what="event", tags={Placed: "x", Paid: "x"})


def test_a_tag_for_a_class_that_does_not_occur_is_refused():
    with pytest.raises(DefinitionError, match=r"event of 'orders': tags: .* occur in Placed; got .*Paid"):
        Codec.of(Placed, what="event of 'orders'", tags={Paid: "paid"})


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b'{"type":"Refunded","amount":1}', "$.type: expected one of 'Placed', 'Paid', got 'Refunded'"),
        (b'{"amount":1}', "$.type: missing; expected one of 'Placed', 'Paid'"),
        (b'{"type":["Paid"],"amount":1}', "$.type: expected one of 'Placed', 'Paid', got ['Paid']"),
        (b'{"type":"Paid","amount":1,"order_id":"o"}', "$['order_id']: unknown key; Paid has amount"),
        (b'{"type":"Paid","amount":"1"}', "$.amount: expected int, got '1'"),
        (b"[]", "$: expected Placed | Paid, got []"),
    ],
)
def test_a_wrong_tag_is_a_problem_at_the_tag(data, problem):
    with pytest.raises(InvalidInput) as caught:
        Codec.of(Placed | Paid, what="event").decode(data)
    assert caught.value.problems == (problem,)
