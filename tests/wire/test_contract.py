"""The contract of a definition changes with the JSON of its types, and with nothing else."""

from enum import Enum
from typing import Literal, NamedTuple, NotRequired, TypedDict

import attrs
import pytest

from perdure import Task, succeed
from perdure.jobs.hooks import FROM_HOOKS
from perdure.wire.records import contract_of


@attrs.frozen
class Order:
    """An order."""

    total: int
    colour: Literal["red", "blue"] = "red"


@attrs.frozen
class Placed:
    order: Order


@attrs.frozen
class Cancelled:
    pass


class Colour(Enum):
    BLUE = "blue"
    RED = "red"


@attrs.frozen
class SameJson:
    """Has other names, another order and an enum instead of a `Literal`."""

    colour: Colour = Colour.RED
    total: int = attrs.field(kw_only=True)


class SameEvent(NamedTuple):
    """A description."""

    order: SameJson


class SameState(TypedDict):
    total: int
    colour: NotRequired[Colour]


def task(*, state=Order, event=Placed | Cancelled, errors=FROM_HOOKS, tags=None):
    def ignore(ctx, event):
        return succeed(None)

    return Task(
        "orders",
        state=state,
        event=event,
        initial=lambda _: None,
        on_event=ignore,
        execute=lambda ctx: succeed(None),
        errors=errors,
        tags=tags,
    )


def parts_that_differ(one, other):
    ours, theirs = contract_of(one).fingerprints, contract_of(other).fingerprints
    return tuple(sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)))


@pytest.mark.parametrize(
    "same",
    [
        task(),
        task(event=Cancelled | Placed),
        task(event=Cancelled | SameEvent, tags={SameEvent: "Placed"}),
        task(state=SameJson),
        task(state=SameState),
    ],
)
def test_names_documentation_and_order_are_no_part_of_a_contract(same):
    assert parts_that_differ(task(), same) == ()


@attrs.frozen
class Narrower:
    total: int
    colour: Literal["red"] = "red"


@attrs.frozen
class Required:
    total: int
    colour: Literal["red", "blue"]


@attrs.frozen
class Larger:
    total: int
    colour: Literal["red", "blue"] = "red"
    note: str = ""


@pytest.mark.parametrize(
    ("other", "parts"),
    [
        (task(state=Narrower), ("state",)),
        (task(state=Required), ("state",)),
        (task(state=Larger), ("state",)),
        (task(state=Order | int), ("state",)),
        (task(event=Placed), ("input of send",)),
        (task(tags={Placed: "placed"}), ("input of send",)),
        (task(errors=Cancelled), ("errors",)),
        (task(state=Larger, errors=str), ("errors", "state")),
    ],
)
def test_the_parts_whose_json_differs_are_named(other, parts):
    assert parts_that_differ(task(), other) == parts


def test_a_contract_has_a_schema_of_each_type_and_is_computed_once():
    definition = task()
    contract = contract_of(definition)
    assert contract_of(definition) is contract
    assert {name: part.schema is not None for name, part in contract.parts.items()} == {
        "state": True,
        "errors": False,
        "input of send": True,
        "input of trigger": True,
        "input of terminate": True,
        "input of pause": False,
        "input of resume": False,
    }
    assert contract.parts["state"].schema == definition.plan.state.json_schema()
    assert {len(part) for part in contract.fingerprints.values()} == {32}
