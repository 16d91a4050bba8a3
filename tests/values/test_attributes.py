"""Attributes have names, types and numbers that a store can keep, and are compared with values of their type."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, cast

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Success

from perdure import Attribute, Condition, Decision, Secret, Task, attribute
from perdure.engine.loops.upkeep import AttributeChanges
from perdure.jobs.attributes import declared_by, keys_of
from perdure.values.address import Address
from perdure.values.attributes import (
    FAILED,
    MAX_ATTRIBUTE_BYTES,
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTES,
    MAX_CONDITIONS,
    AttributeType,
    checked_where,
    key_ranges,
    parsed,
)
from perdure.values.errors import DefinitionError, InvalidArgument
from perdure.values.instance import Instance
from perdure.values.transition import Purge, Put, Transition


@attrs.frozen
class State:
    text: str = ""
    number: int = 0
    card: Annotated[str, Secret] = "4111-1111"


class Plan(Enum):
    FREE = "free"


@attribute
def text(state: State) -> str:
    return state.text


@attribute
def number(state: State) -> int | None:
    return state.number or None


@attribute
def is_paid(state: State) -> bool:
    return state.number > 0


def job_with(*attributes: Attribute[State, Any]) -> Task[State, State, Any, Any]:
    return Task(
        "a",
        state=State,
        event=State,
        initial=State(),
        decide=lambda _, event: Success(Decision(event)),
        attributes=attributes,
    )


def stored(state: State) -> Instance:
    encoded = job_with().plan.state.encode(state).decode()
    return Instance(address=Address("task", "a", "1"), created_ms=1, updated_ms=1, state=encoded)


# ---------------------------------------------------------------- declarations
def some_enum(_: State) -> Plan | None: ...
def some_instant(_: State) -> datetime: ...
def some_decimal(_: State) -> Decimal: ...
def some_secret(_: State) -> Annotated[str, Secret]: ...
def some_float(_: State) -> float: ...
def some_union(_: State) -> int | str: ...
def nothing_said(_: State): ...  # type: ignore[no-untyped-def]


@pytest.mark.parametrize(
    ("function", "word"),
    [(some_enum, "enum"), (some_instant, "datetime"), (some_decimal, "Decimal"), (text.function, "str")],
)
def test_the_annotation_is_the_type(function: Any, word: str) -> None:
    declared = attribute(function)
    assert (declared.name, declared.type.word) == (function.__name__, word)


OTHERS: list[Any] = [some_float, some_union, nothing_said, len, "text", lambda state: state]  # pyright: ignore[reportUnknownLambdaType]


@pytest.mark.parametrize("function", OTHERS)
def test_other_types_and_values_are_refused(function: Any) -> None:
    with pytest.raises(DefinitionError):
        attribute(function)


def test_an_attribute_that_is_made_without_its_decorator_is_refused() -> None:
    with pytest.raises(DefinitionError, match="declared with @attribute"):
        Attribute("tenant", cast("Any", str), lambda state: state)


def test_a_type_that_is_marked_as_secret_is_refused() -> None:
    with pytest.raises(DefinitionError, match="Secret"):
        attribute(some_secret)


@pytest.mark.parametrize("name", ["", "1a", "a b", "a=b", "a" * (MAX_ATTRIBUTE_NAME + 1), 7])
def test_names_that_a_condition_cannot_have_are_refused(name: Any) -> None:
    with pytest.raises(DefinitionError):
        attribute(name=name)(text.function)


def test_the_longest_name_is_accepted() -> None:
    assert attribute(name="a" * MAX_ATTRIBUTE_NAME)(text.function).name == "a" * MAX_ATTRIBUTE_NAME


@pytest.mark.parametrize("version", [0, -1, True, "1"])
def test_a_version_is_a_number_from_1(version: Any) -> None:
    with pytest.raises(DefinitionError):
        attribute(version=version)(text.function)


def test_a_definition_takes_so_many_attributes_and_no_more() -> None:
    many = [attribute(name=f"a{at}")(text.function) for at in range(MAX_ATTRIBUTES + 1)]
    assert len(job_with(*many[:-1]).plan.attributes) == MAX_ATTRIBUTES
    with pytest.raises(DefinitionError, match=f"{MAX_ATTRIBUTES + 1} attributes"):
        job_with(*many)


@pytest.mark.parametrize("given_", [(text, text), (text.function,), ("text",)])
def test_a_definition_takes_attributes_with_different_names(given_: Any) -> None:
    with pytest.raises(DefinitionError):
        job_with(*given_)


# ---------------------------------------------------------------- fingerprints
def test_a_fingerprint_follows_the_function_its_version_and_type() -> None:
    @attribute(name="text")
    def other(state: State) -> str:
        return state.text.upper()

    newer = attribute(version=2)(text.function)
    found = [declared_by(job_with(one))["text"] for one in (text, attribute(text.function), newer, other)]
    assert found[0] == found[1]
    assert len(set(found)) == 3


# ---------------------------------------------------------------- values
def test_keys_are_those_of_the_state() -> None:
    keys = dict(keys_of(job_with(text, number, is_paid), stored(State("x", 0))))
    assert keys == {"text": "vx", "number": None, "is_paid": "v0"}


def test_the_longest_text_is_kept_and_a_longer_one_fails_alone() -> None:
    longest = "é" * (MAX_ATTRIBUTE_BYTES // 2)
    assert dict(keys_of(job_with(text), stored(State(longest)))) == {"text": f"v{longest}"}
    keys = dict(keys_of(job_with(text, number), stored(State(f"{longest}a", 1))))
    assert keys["text"] == f"{FAILED}expected text of at most {MAX_ATTRIBUTE_BYTES} bytes"
    assert not (keys["number"] or "").startswith(FAILED)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, True, "1", 1.0])
def test_a_value_of_another_type_fails(value: Any) -> None:
    @attribute
    def wrong(_: State) -> int:
        return value  # type: ignore[no-any-return]

    assert dict(keys_of(job_with(wrong), stored(State())))["wrong"] == f"{FAILED}expected a whole number of 64 bits"


def test_a_function_that_raises_fails_without_its_message() -> None:
    @attribute
    def wrong(state: State) -> int:
        raise LookupError(state.card)

    assert dict(keys_of(job_with(wrong), stored(State()))) == {"wrong": f"{FAILED}LookupError"}


def test_a_value_that_the_state_marks_as_secret_is_not_kept() -> None:
    @attribute
    def card(state: State) -> str:
        return state.card

    (pair,) = keys_of(job_with(card), stored(State()))
    assert pair == ("card", f"{FAILED}expected no value that the state marks as Secret")


def test_a_state_that_this_code_cannot_read_fails() -> None:
    ((_, key),) = keys_of(job_with(text), stored(State()).changed(state='{"text":7}'))
    assert (key or "").startswith(FAILED)


def written(before: Instance | None, after: Instance) -> Transition:
    fence = None if before is None else before.fence
    return Transition(address=after.address, expected=fence, write=Put(after), before=before)


def test_a_transition_brings_the_attributes_that_change() -> None:
    changes = AttributeChanges({("task", "a"): job_with(text, number)}, most=1)
    first, second = stored(State("x", 1)).changed(incarnation=1), stored(State("x", 2)).changed(incarnation=1)
    assert dict(changes.with_attributes(written(None, first)).attributes or ()).keys() == {"text", "number"}
    assert dict(changes.with_attributes(written(first, second)).attributes or ()).keys() == {"number"}
    assert changes.with_attributes(written(second, second.changed(alarm_ms=1))).attributes is None
    assert changes.with_attributes(Transition(address=first.address, write=Purge())).attributes == ()
    other = Transition(address=Address("task", "b", "1"), write=Purge())
    assert changes.with_attributes(other) is other


def test_the_keys_before_are_those_of_the_row_before() -> None:
    """Whatever was written in between, such as by another engine: the remembered keys are of another state."""
    changes = AttributeChanges({("task", "a"): job_with(number)}, most=1)
    one, two = stored(State("x", 1)).changed(incarnation=1), stored(State("x", 2)).changed(incarnation=1)
    changes.with_attributes(written(None, one))
    assert dict(changes.with_attributes(written(two, one)).attributes or ()).keys() == {"number"}


# ---------------------------------------------------------------- conditions
def test_comparisons_are_conditions() -> None:
    found = [text == "x", number > 1, number >= 1, number < 1, number <= 1, is_paid.is_true, ~is_paid]
    assert [str(one) for one in found] == [
        *("text=x", "number>1", "number>=1", "number<1", "number<=1", "is_paid=true", "is_paid=false"),
    ]


@pytest.mark.parametrize(
    "compare",
    [
        lambda: number == "x",
        lambda: number > True,
        lambda: is_paid > False,
        lambda: text == "a" * (MAX_ATTRIBUTE_BYTES + 1),
    ],
)
def test_a_value_that_an_attribute_cannot_have_is_refused(compare: Any) -> None:
    with pytest.raises(InvalidArgument):
        compare()


def test_a_condition_is_not_true_or_false() -> None:
    with pytest.raises(TypeError, match="a list of conditions"):
        bool(number > 1)
    with pytest.raises(TypeError, match="expected =="):
        _ = number != 1


@given(st.text(max_size=30))
def test_a_text_is_a_condition_or_refused(given_: str) -> None:
    try:
        found = parsed(given_)
    except InvalidArgument:
        return
    assert parsed(str(found)) == found


TYPES = {"text": AttributeType(word="str"), "number": AttributeType(word="int"), "is_paid": AttributeType(word="bool")}


@pytest.mark.parametrize(
    "where", ["other=1", "number=x", "number=", "is_paid=yes", "is_paid<true", "number", "=1", "text!x"]
)
def test_conditions_that_do_not_fit_are_refused(where: str) -> None:
    with pytest.raises(InvalidArgument):
        key_ranges(TYPES, [where], "task:a")


def test_conditions_on_one_attribute_are_one_range() -> None:
    (only,) = key_ranges(TYPES, ["text>=b", "text<d", "text>a"], "task:a")
    assert [word in only for word in ("va", "vb", "vc", "vd")] == [False, True, True, False]


def test_a_filter_takes_so_many_conditions_and_no_more() -> None:
    assert len(checked_where(["is_paid"] * MAX_CONDITIONS, "where")) == MAX_CONDITIONS
    with pytest.raises(InvalidArgument):
        checked_where(["is_paid"] * (MAX_CONDITIONS + 1), "where")
    assert checked_where([is_paid, number > 1, "text=x"], "where") == ("is_paid=true", "number>1", "text=x")


@pytest.mark.parametrize(
    ("where", "expected"), [("is_paid=yes", "true or false after is_paid="), ("number>x", "a whole number of 64 bits")]
)
def test_a_refused_value_of_a_condition_names_the_values_that_the_text_may_have(where: str, expected: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        key_ranges(TYPES, [where], "task:a")
    assert expected in str(refused.value)


@pytest.mark.parametrize("where", ["text=x", 7, [7], [b"text=x"], None])
def test_a_filter_is_a_list_of_conditions(where: Any) -> None:
    with pytest.raises(InvalidArgument):
        checked_where(where, "where")


def test_instants_are_compared_whatever_their_offset() -> None:
    type_ = AttributeType(word="datetime")
    instant = datetime(2026, 1, 1, 12, tzinfo=UTC)
    (only,) = key_ranges({"at": type_}, ["at=2026-01-01T13:00:00+01:00"], "task:a")
    assert type_.key(instant) in only
    at: Attribute[Any, datetime] = Attribute("at", type_, lambda state: state)
    assert Condition("at", "=", instant.isoformat()) == (at == instant)
