"""A state, an event or an input that a hook could change in place is refused where its job is defined."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import Continuous, Debounce, Migrations, Program, Task, every, succeed
from perdure.values.errors import DefinitionError

T = TypeVar("T")


@attrs.define
class Defined:
    amount: int


@attrs.define(slots=False)
class Dicted:
    amount: int


@attrs.define(on_setattr=attrs.setters.validate)
class Validated:
    amount: int


@dataclasses.dataclass
class Data:
    amount: int


@dataclasses.dataclass(slots=True, kw_only=True)
class Slotted:
    amount: int


class Inherited(Defined):
    pass


@attrs.frozen
class Frozen:
    amount: int


@attrs.define
class FrozenByItsBase(Frozen):
    more: int = 0


@attrs.frozen
class FrozenError(Exception):
    amount: int


@dataclasses.dataclass(frozen=True)
class FrozenData:
    amount: int


class Named(NamedTuple):
    amount: int


class Typed(TypedDict):
    amount: int


MUTABLE = [Defined, Dicted, Validated, Data, Slotted, Inherited]
FROZEN = [Frozen, FrozenByItsBase, FrozenError, FrozenData, Named, Typed]


@attrs.frozen
class Box(Generic[T]):
    inside: T


@dataclasses.dataclass(frozen=True)
class DataBox(Generic[T]):
    inside: T


@attrs.frozen
class Other:
    name: str


WRAPPERS: list[Callable[[Any], Any]] = [
    lambda form: list[form],
    lambda form: tuple[form, ...],
    lambda form: tuple[int, form],
    lambda form: dict[str, form],
    lambda form: Box[form],
    lambda form: DataBox[form],
    lambda form: Annotated[form, "note"],
    lambda form: form | int,
    lambda form: Box[form] | Other,
]


def fine(*_: object) -> Program[None]:
    return succeed(None)


def no_state(_: str) -> Any:
    raise NotImplementedError


def task_of(form: Any) -> object:
    return Task("shop", state=form, event=int, initial=no_state, on_event=fine)


def task_for(form: Any) -> object:
    return Task("shop", state=int, event=form, initial=0, on_event=fine)


def debounce_of(form: Any) -> object:
    return Debounce("shop", event=form, flush_after="1 s", execute=fine)


def debounce_into(form: Any) -> object:
    return Debounce(
        "shop", event=form, state=list[int], initial=list[int](), flush_after="1 s", on_event=fine, execute=fine
    )


def continuous_of(form: Any) -> object:
    return Continuous("shop", state=form, schedule=every("1 s"), execute=fine)


DEFINITIONS = {
    task_of: "state of task:shop",
    task_for: "event of task:shop",
    debounce_of: "state of debounce:shop",
    debounce_into: "event of debounce:shop",
    continuous_of: "state of continuous:shop",
}
wrappers = st.lists(st.sampled_from(WRAPPERS), max_size=3, unique=True)


def wrapped(cls: Any, around: list[Callable[[Any], Any]]) -> Any:
    for wrapper in around:
        cls = wrapper(cls)
    return cls


@given(st.sampled_from(MUTABLE), wrappers, st.sampled_from(list(DEFINITIONS)))
def test_an_unfrozen_class_anywhere_in_the_type_is_refused(
    cls: type, around: list[Callable[[Any], Any]], define: Callable[[Any], object]
) -> None:
    with pytest.raises(DefinitionError, match=r"@attrs\.frozen or @dataclass\(frozen=True\)") as refused:
        define(wrapped(cls, around))
    assert refused.value.what.startswith(DEFINITIONS[define])
    assert refused.value.got is cls
    assert cls.__name__ in str(refused.value)


@given(st.sampled_from(FROZEN), wrappers, st.sampled_from(list(DEFINITIONS)))
def test_frozen_classes_are_accepted(
    cls: type, around: list[Callable[[Any], Any]], define: Callable[[Any], object]
) -> None:
    define(wrapped(cls, around))


def test_the_message_names_the_field_and_the_fix() -> None:
    with pytest.raises(DefinitionError) as refused:
        task_of(Box[list[Defined]])
    assert refused.value.what == "state of task:shop: Box[list[Defined]].inside[]"
    assert "attrs.evolve" in refused.value.expected


def test_older_types_of_a_state_and_errors_need_not_be_frozen() -> None:
    def newer(old: Defined) -> Frozen:
        return Frozen(old.amount)

    Task(
        "shop",
        state=Frozen,
        versions=Migrations(Defined).then(newer),
        event=int,
        initial=Frozen(0),
        on_event=fine,
        errors=Data,
    )
