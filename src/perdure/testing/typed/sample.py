"""The simplest values of a declared type: one for each member of a union."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar, assert_never
from uuid import UUID

import attrs
from typing_extensions import TypeForm

from perdure.codecs.type_names import describe_type
from perdure.testing.typed.form import (
    Choice,
    Many,
    Mapped,
    OneOf,
    Opaque,
    PlainJson,
    Record,
    Scalar,
    TupleForm,
    Wrapped,
    read_form,
)
from perdure.values.errors import PerdureError

T = TypeVar("T")

SCALAR_SAMPLES: Final[Mapping[type, object]] = {
    type(None): None,
    bool: False,
    int: 0,
    float: 0.0,
    str: "",
    bytes: b"",
    datetime: datetime(2026, 1, 1, tzinfo=UTC),
    date: date(2026, 1, 1),
    timedelta: timedelta(0),
    UUID: UUID(int=0),
    Decimal: Decimal(0),
}


@attrs.frozen(repr=False)
class NoSample(PerdureError):
    """No value of a type can be constructed from its declaration.

    Attributes:
        form: the type's readable name.
        reason: the reason.
    """

    form: str
    reason: str

    def _text(self) -> str:
        return f"no value of {self.form} can be constructed: {self.reason}; pass the values yourself"


def examples_of(form: TypeForm[T], /) -> tuple[T, ...]:
    """Return the simplest values of a type: one for each member, if it is a union; always the same ones.

    Args:
        form: the type: any annotation.

    Raises:
        NoSample: a value needs a class without declared fields, or one that refuses simple fields.
    """
    match read_form(form):
        case OneOf(members):
            return tuple(_sample(member, ()) for member in members)
        case Choice(values):
            return values
        case Wrapped(ways):
            return tuple(wrap(_sample(inside, ())) for wrap, inside in ways)
        case _:
            return (_sample(form, ()),)


def _sample(given: Any, inside: tuple[Any, ...]) -> Any:  # noqa: C901, PLR0911 - one return for each form
    if given in inside:
        raise NoSample(describe_type(given), "it contains itself without end")
    within = (*inside, given)
    match read_form(given):
        case Scalar(cls):
            return SCALAR_SAMPLES[cls]
        case Choice(values):
            return values[0]
        case OneOf(members):
            return _first(members, within)
        case Record() as record:
            return _record(given, record, within)
        case Many(make, _):
            return make()
        case TupleForm(items):
            return tuple(_sample(item, within) for item in items)
        case Mapped() | PlainJson():
            return {}
        case Wrapped(ways):
            wrap, form = ways[0]
            return wrap(_sample(form, within))
        case Opaque(form):
            if (plain := plain_exception(form)) is not None:
                return plain
            raise NoSample(describe_type(form), "it has no declared fields")
        case _ as never:
            assert_never(never)


def plain_exception(form: object) -> BaseException | None:
    """Return an exception without arguments; None when the type is not an exception, or needs arguments."""
    try:
        return form() if isinstance(form, type) and issubclass(form, BaseException) else None
    except TypeError:
        return None


def _first(members: tuple[Any, ...], inside: tuple[Any, ...]) -> Any:
    """Return the sample of the first member that has one: a member that contains the union again has none."""
    problem: NoSample | None = None
    for member in members:
        try:
            return _sample(member, inside)
        except NoSample as none:
            problem = problem or none
    raise problem or NoSample("Never", "it has no values")


def _record(given: Any, record: Record, inside: tuple[Any, ...]) -> Any:
    fields = {name: _sample(form, inside) for name, form in record.required.items()}
    try:
        return record.make(**fields)
    except (ValueError, TypeError) as refused:
        raise NoSample(describe_type(given), f"it refuses {fields}: {refused}") from refused
