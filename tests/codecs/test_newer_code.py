"""Values that newer code wrote: older code keeps, finds, leaves, refuses or hides their unknown parts."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar
from uuid import UUID

import attrs
import orjson
import pytest
from attrs import evolve, field, frozen
from hypothesis import given
from hypothesis import strategies as st

from perdure import Secret
from perdure.codecs import Codec, NewerOnly
from perdure.codecs.compatibility import Difference, unread, verdict
from perdure.codecs.json_schema import canonical
from perdure.jobs.request import CommandSpec
from perdure.values.errors import InvalidInput
from perdure.values.secret import HIDDEN

T = TypeVar("T")


@frozen
class Line:
    sku: str
    n: int = 1


@frozen
class Cart:
    lines: tuple[Line, ...] = ()
    total: int = 0


@frozen
class Switch:
    is_on: bool


@frozen
class Pay:
    cents: int


@frozen
class Refund:
    cents: int


@frozen
class Box(Generic[T]):
    held: T


@attrs.define
class Basket:
    lines: list[Line]
    named: dict[str, Line]


class Options(TypedDict, total=False):
    size: int


@frozen
class Account:
    token: Annotated[Cart, Secret]
    note: str = ""


@frozen
class Sorted:
    lines: tuple[Line, ...] = field(converter=lambda lines: tuple(sorted(lines, key=lambda line: line.sku)))


CARTS = Codec.of(Cart, what="cart")


def newer(*lines: dict[str, Any], **members: Any) -> bytes:
    return orjson.dumps({"lines": lines, "total": 0, **members})


def closed(change: Any, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    opened = CARTS.open(newer(*lines))
    data, _ = CARTS.close(evolve(opened.value, lines=change(opened.value.lines)), opened)
    found: list[dict[str, Any]] = orjson.loads(data)["lines"]
    return found


A = {"sku": "a", "n": 1, "gift": True}
B = {"sku": "b", "n": 1, "gift": False}
C = {"sku": "c", "n": 1}


def test_unknown_members_are_kept_over_two_changes() -> None:
    opened = CARTS.open(newer(A, B, note="hi"))
    first = evolve(opened.value, lines=opened.value.lines[::-1])
    data, opened = CARTS.close(first, opened)
    data, opened = CARTS.close(evolve(first, total=9), opened)
    assert orjson.loads(data) == {"lines": [B, A], "total": 9, "note": "hi"}
    assert CARTS.open(data) == opened


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lines: lines[1:], [B]),
        (lambda lines: (evolve(lines[0], n=5), lines[1]), [{**A, "n": 5}, B]),
        (lambda lines: tuple(evolve(line, n=5) for line in lines), [{**A, "n": 5}, {**B, "n": 5}]),
        (lambda lines: (Line("c"), *lines), [C, A, B]),
        (lambda lines: (lines[1], Line("c")), [B, C]),  # as a queue: no member tells the new line from the old ones
        (lambda lines: (Line("a"), Line("b")), [A, B]),
        (lambda lines: (*lines, lines[0]), [A, B, {"sku": "a", "n": 1}]),  # the copy is a new line
        (lambda _: (), []),
    ],
)
def test_a_line_is_found_again(change: Any, expected: list[Any]) -> None:
    assert closed(change, A, B) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: (lines[1], evolve(lines[0], n=5)),  # moved and changed, or another one?
        lambda lines: (lines[0], Line("c")),  # changed, or another one?
        lambda _: (Line("b"), Line("a")),  # moved, or each changed?
        lambda _: (Line("a"), Line("b"), Line("a")),  # which is the old one?
        lambda lines: (lines[0], lines[0]),  # which of both is the old one?
    ],
)
def test_a_line_with_no_certain_place_is_left_for_newer_code(change: Any) -> None:
    with pytest.raises(NewerOnly, match=r"cart: \$\.lines"):
        closed(change, A, B)


def test_a_line_between_others_that_were_exchanged_is_not_lost() -> None:
    """The places between the others say nothing then: a new line may be the old one, changed."""
    opened = CARTS.open(newer(C, A, {"sku": "d", "n": 2}))
    c, _, d = opened.value.lines
    with pytest.raises(NewerOnly, match=r"cart: \$\.lines\[1\]"):
        CARTS.close(evolve(opened.value, lines=(d, Line("e", 7), c)), opened)


def test_of_equal_elements_that_are_copied_none_is_lost_when_one_is_changed() -> None:
    opened = CARTS.open(newer(A, A))
    with pytest.raises(NewerOnly):
        CARTS.close(evolve(opened.value, lines=(Line("c"), Line("a"))), opened)


def test_entries_that_are_copied_and_exchanged_are_left() -> None:
    codec = Codec.of(dict[str, Line], what="lines")
    opened = codec.open(orjson.dumps({"x": A, "y": B}))
    with pytest.raises(NewerOnly):
        codec.close({"x": Line("b"), "y": Line("a")}, opened)


def test_an_element_that_became_equal_to_another_one_is_left() -> None:
    codec = Codec.of(tuple[Switch, ...], what="switches")
    opened = codec.open(orjson.dumps([{"is_on": True, "name": "lamp"}, {"is_on": False, "name": "door"}]))
    with pytest.raises(NewerOnly):
        codec.close(tuple(Switch(not each.is_on) for each in opened.value), opened)


def test_a_value_that_is_changed_in_place_is_compared_with_itself_as_it_was() -> None:
    codec = Codec.of(Basket, what="basket")
    data = {"lines": [A, B], "named": {"x": A, "y": B}}
    opened = codec.open(orjson.dumps(data))
    basket = opened.value
    del basket.lines[0]
    basket.named["z"] = basket.named.pop("x")
    closed, _ = codec.close(basket, opened)
    assert orjson.loads(closed) == {"lines": [B], "named": {"y": B, "z": A}}


def test_entries_are_found_at_another_key_by_their_objects() -> None:
    codec = Codec.of(dict[str, Line], what="lines")
    opened = codec.open(orjson.dumps({"x": A, "y": B}))
    x, y = opened.value["x"], opened.value["y"]
    assert orjson.loads(codec.close({"x": y, "y": x}, opened)[0]) == {"x": B, "y": A}
    assert orjson.loads(codec.close({"x": evolve(x, n=3), "z": Line("z", 4)}, opened)[0]) == {
        "x": {**A, "n": 3},
        "z": {"sku": "z", "n": 4},
    }
    with pytest.raises(NewerOnly):
        codec.close({"y": y, "z": evolve(x, n=3)}, opened)


def test_an_entry_that_is_repeated_at_another_key_stays_at_its_own() -> None:
    codec = Codec.of(dict[str, Line], what="lines")
    opened = codec.open(orjson.dumps({"x": A, "y": B}))
    x, y = opened.value["x"], opened.value["y"]
    closed, _ = codec.close({"x": x, "y": y, "z": x}, opened)
    assert orjson.loads(closed) == {"x": A, "y": B, "z": {"sku": "a", "n": 1}}


def test_objects_of_an_input_take_over_no_members() -> None:
    opened = CARTS.open(newer(A, B))
    event = (Line("b", 1), Line("c"))
    cart = evolve(opened.value, lines=(opened.value.lines[0], event[0], event[1]))
    assert orjson.loads(CARTS.close(cart, opened, new=event)[0])["lines"] == [A, {"sku": "b", "n": 1}, C]
    boxes = Codec.of(Box[Line], what="box")
    before = boxes.open(orjson.dumps({"held": A}))
    assert orjson.loads(boxes.close(Box(event[0]), before, new=event)[0]) == {"held": {"sku": "b", "n": 1}}
    assert orjson.loads(boxes.close(Box(Line("b")), before)[0]) == {"held": {**A, "sku": "b"}}


def test_a_member_of_a_typed_dict_is_kept() -> None:
    codec = Codec.of(Options, what="options")
    opened = codec.open(b'{"size":1,"colour":"red"}')
    assert orjson.loads(codec.close({"size": 2}, opened)[0]) == {"size": 2, "colour": "red"}


def test_a_lone_class_reads_its_own_tag_and_no_other() -> None:
    codec = Codec.of(Pay, what="event")
    assert codec.open(b'{"type":"Pay","cents":1}') == codec.open(b'{"cents":1}')
    assert codec.accept(b'{"type":"Pay","cents":1}') == Pay(1)
    with pytest.raises(NewerOnly, match="class 'Refund'; this code knows Pay"):
        codec.open(b'{"type":"Refund","cents":1}')


def test_the_first_class_of_a_union_reads_an_object_without_a_tag() -> None:
    codec = Codec.of(Pay | Refund | None, what="event")
    assert codec.open(b'{"cents":1}').value == Pay(1)
    with pytest.raises(NewerOnly, match="class 'Void'; this code knows Pay, Refund"):
        codec.open(b'{"type":"Void"}')


def test_a_generic_class_has_the_name_of_its_class_as_its_tag() -> None:
    alone, union = Codec.of(Box[int], what="it"), Codec.of(Box[int] | Pay, what="it")
    assert verdict(alone.json_schema(), union.json_schema()).is_additive
    assert union.open(alone.encode(Box(1))).value == Box(1)
    assert alone.open(union.encode(Box(1))).value == Box(1)


ARRAYS: dict[Any, tuple[int | None, bool]] = {
    list[int]: (None, False),
    tuple[int, ...]: (None, False),
    frozenset[int]: (None, True),
    tuple[()]: (0, False),
    tuple[int]: (1, False),
    tuple[int, int]: (2, False),
}
"""The length of each type of arrays, if it has one, and whether each element comes once."""


@pytest.mark.parametrize("writer", ARRAYS, ids=str)
@pytest.mark.parametrize("reader", ARRAYS, ids=str)
def test_an_array_is_read_by_types_of_its_length_and_a_set_by_all_and_reads_sets_only(writer: Any, reader: Any) -> None:
    (length, written_once), (other, read_once) = ARRAYS[writer], ARRAYS[reader]
    found = unread(Codec.of(writer, what="it").json_schema(), Codec.of(reader, what="it").json_schema())
    assert (found == ()) == (length == other and (written_once or not read_once))


SCALARS: dict[Any, tuple[Any, ...]] = {
    int: (0, 1, -7),
    float: (0.5, 1.0),
    bool: (True, False),
    str: ("", "a", "1"),
    None: (None,),
    Literal[1]: (1,),
    Literal[True]: (True,),
    Literal["1"]: ("1",),
    Literal[1, "a"]: (1, "a"),
    Literal[1, 2, True, "a", "1"]: (1, 2, True, "a", "1"),
    int | None: (1, None),
    float | str: (0.5, "a"),
    Literal["a"] | None: ("a", None),
    date: (date(2026, 1, 2),),
    UUID: (UUID(int=1),),
}
"""Values of each type: one that another type of these reads, and one that it does not, if there is one."""


@pytest.mark.parametrize("writer", SCALARS, ids=str)
@pytest.mark.parametrize("reader", SCALARS, ids=str)
def test_a_scalar_is_judged_as_it_is_read(writer: Any, reader: Any) -> None:
    """Nothing is reported if and only if the reader reads each value."""
    written, read = Codec.of(writer, what="it"), Codec.of(reader, what="it")

    def is_read(value: object) -> bool:
        try:
            read.accept(written.encode(value))
        except InvalidInput:
            return False
        return True

    are_read = all(map(is_read, SCALARS[writer]))
    assert (unread(written.json_schema(), read.json_schema()) == ()) is are_read


@given(st.permutations([1, "a", True, "1", 0, False]))
def test_the_order_of_choices_of_several_types_does_not_count(choices: list[Any]) -> None:
    ordered = Codec.of(Literal[tuple(choices)], what="it").json_schema()
    assert canonical(ordered) == canonical(Codec.of(Literal[1, "a", True, "1", 0, False], what="it").json_schema())


def test_the_verdict_names_each_place() -> None:
    changed = attrs.make_class("Cart", {"lines": field(type=tuple[Pay, ...]), "owner": field(type=str)}, frozen=True)
    found = verdict(CARTS.json_schema(), Codec.of(changed, what="cart").json_schema())
    assert set(found.forwards) == {
        Difference("$.lines[].sku", "unknown member"),
        Difference("$.lines[].n", "unknown member"),
        Difference("$.lines[].cents", "missing member"),
        Difference("$.lines", "missing member"),
        Difference("$.owner", "missing member"),
        Difference("$.total", "unknown member"),
    }


def test_unknown_members_are_hidden_also_of_types_without_secrets() -> None:
    shown = orjson.loads(CARTS.redact(newer(A, note="hi")))
    assert shown == {"lines": [{**A, "gift": HIDDEN}], "total": 0, "note": HIDDEN}
    known = newer(C)
    assert CARTS.redact(known) is known


def test_no_message_shows_a_part_of_a_secret() -> None:
    codec = Codec.of(Account, what="account")
    data = orjson.dumps({"token": {"lines": [A, B], "total": 0, "pin": "1234"}, "note": ""})
    with pytest.raises(NewerOnly) as refused:
        codec.accept(data)
    assert refused.value.problems == ("$.token: a part that is unknown to this code",)
    opened = codec.open(data)
    changed = evolve(opened.value, token=evolve(opened.value.token, lines=(Line("c"), Line("d"))))
    with pytest.raises(NewerOnly) as left:
        codec.close(changed, opened)
    assert left.value.problems == ("$.token: newer code wrote into it, and a part was changed or replaced",)
    assert orjson.loads(codec.redact(data)) == {"token": HIDDEN, "note": ""}


def test_an_input_with_an_unknown_member_is_refused_with_its_path() -> None:
    with pytest.raises(NewerOnly) as refused:
        CARTS.accept(newer(A, note="hi"))
    assert refused.value.problems == (
        "$.lines[0]['gift']: unknown key; Line has sku, n",
        "$['note']: unknown key; Cart has lines, total",
    )


def test_a_command_is_refused_unless_its_unknown_members_have_their_defaults() -> None:
    """The sender says which members have them, by an input without those."""
    send = CommandSpec(name="send", command=Box[object], input=CARTS)
    plain, whole = newer(C).decode(), newer(C, note="hi").decode()
    assert send.accept(whole, bare=plain) == (Box(Cart((Line("c"),))), plain)
    for bare in (whole, ""):
        with pytest.raises(NewerOnly) as refused:
            send.accept(whole, bare)
        assert refused.value.problems == ("$['note']: unknown key; Cart has lines, total",)


@pytest.mark.parametrize("data", [b'{"lines":[{"sku":5}]}', b'{"lines":', b'{"lines":[],"total":"1"}', b"[]"])
def test_a_damaged_value_is_refused_as_by_the_strict_reader(data: bytes) -> None:
    for read in (CARTS.open, CARTS.accept):
        with pytest.raises(InvalidInput):
            read(data)


def test_json_that_is_nested_too_deep_is_refused() -> None:
    deep = b'{"a":' * 200 + b"1" + b"}" * 200
    for data in (deep, b'{"lines":[],"more":' + deep + b"}"):
        with pytest.raises(InvalidInput):
            CARTS.open(data)
        CARTS.redact(data)


def test_a_class_that_changes_its_fields_leaves_a_value_to_newer_code() -> None:
    codec = Codec.of(Sorted, what="lines")
    with pytest.raises(NewerOnly):
        codec.open(orjson.dumps({"lines": [B, A]}))
    assert codec.open(orjson.dumps({"lines": [A, B]})).rest is not None


def test_members_of_a_set_that_are_equal_to_older_code_are_left() -> None:
    codec = Codec.of(frozenset[Line], what="lines")
    with pytest.raises(NewerOnly, match="members of a set"):
        codec.open(orjson.dumps([A, {**A, "gift": False}]))


def test_each_place_of_a_fixed_tuple_keeps_its_members() -> None:
    codec = Codec.of(tuple[Line, Line], what="pair")
    opened = codec.open(orjson.dumps([A, B]))
    one, other = opened.value
    assert orjson.loads(codec.close((other, evolve(one, n=5)), opened)[0]) == [
        {**A, "sku": "b"},
        {**B, "sku": "a", "n": 5},
    ]
    with pytest.raises(InvalidInput):
        codec.open(orjson.dumps([A]))
