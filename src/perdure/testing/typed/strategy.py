"""A strategy for a declared type: the values that a codec of the type can store."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, Final, TypeVar, assert_never
from uuid import UUID

import attrs
from hypothesis import reject
from hypothesis import strategies as st
from typing_extensions import TypeForm

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
from perdure.testing.typed.sample import plain_exception

T = TypeVar("T")

MAX_ITEMS: Final = 4
"""The maximum number of items in a drawn collection, to keep examples small."""

MAX_NESTING: Final = 3
"""The maximum number of times that a class is drawn inside itself."""

_FIRST, _LAST = datetime(2000, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001 - the zone is drawn beside them
_LONGEST = timedelta(days=36_500)

SCALAR_VALUES: Final[Mapping[type, st.SearchStrategy[Any]]] = {
    type(None): st.none(),
    bool: st.booleans(),
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=20),
    datetime: st.datetimes(_FIRST, _LAST, timezones=st.just(UTC)),
    date: st.dates(_FIRST.date(), _LAST.date()),
    timedelta: st.timedeltas(-_LONGEST, _LONGEST),
    UUID: st.uuids(),
    Decimal: st.decimals(allow_nan=False, allow_infinity=False),
}
"""The strategy of each scalar class. Instants are aware, in UTC and of this century, as in most programs."""

_JSON = st.recursive(
    st.one_of(*(SCALAR_VALUES[cls] for cls in (type(None), bool, int, float, str))),
    lambda inner: st.lists(inner, max_size=MAX_ITEMS) | st.dictionaries(st.text(max_size=5), inner, max_size=MAX_ITEMS),
    max_leaves=6,
)


def from_type(
    form: TypeForm[T], /, *, using: Mapping[Any, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[T]:
    """Return a strategy for the values of a type: scalars, unions, attrs classes, collections, as a codec stores them.

    A type that no codec can store (a class without declared fields, for example) is drawn by
    ``hypothesis.strategies.from_type``.

    Args:
        form: the type: any annotation.
        using: other strategies for some of the types inside, such as ``{int: st.integers(1, 99)}``.
    """
    return _Drawing(using or {}).values(form)


@attrs.frozen
class _Drawing:
    """Builds the strategy of one type.

    Attributes:
        using: the strategies for some types.
        inside: the classes around the part that is being built; one that contains itself is unrolled a few times.
    """

    using: Mapping[Any, st.SearchStrategy[Any]]
    inside: tuple[Any, ...] = ()

    @property
    def _is_deep(self) -> bool:
        return bool(self.inside) and self.inside.count(self.inside[-1]) >= MAX_NESTING

    def values(self, given: Any) -> st.SearchStrategy[Any]:
        """Return the strategy of a type or a part of it."""
        return self.using[given] if given in self.using else self._built(given)

    def _built(self, given: Any) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 - one return for each form
        match read_form(given):
            case Scalar(cls):
                return self.using.get(cls, SCALAR_VALUES[cls])
            case Choice(values):
                return st.sampled_from(values)
            case OneOf(members):
                return self._one_of(members)
            case Record() as record:
                return _Drawing(self.using, (*self.inside, given))._record(record)  # noqa: SLF001 - its own
            case Many(make, item):
                return self._many(make, item)
            case TupleForm(items):
                return st.tuples(*(self.values(item) for item in items))
            case Mapped(key, value):
                return st.just({}) if self._is_deep else self._mapped(key, value)
            case Wrapped(ways):
                return st.one_of(*(self.values(form).map(wrap) for wrap, form in ways))
            case PlainJson():
                return _JSON
            case Opaque(form):
                plain = plain_exception(form)
                return st.from_type(form) if plain is None else st.builds(form)
            case _ as never:
                assert_never(never)

    def _one_of(self, members: tuple[Any, ...]) -> st.SearchStrategy[Any]:
        ending = tuple(member for member in members if member not in self.inside) if self._is_deep else members
        return st.one_of(*(self.values(member) for member in ending or members))

    def _many(self, make: type, item: Any) -> st.SearchStrategy[Any]:
        if self._is_deep:
            return st.builds(make)
        items = self.values(item)
        if make is set:
            return st.sets(items, max_size=MAX_ITEMS)
        if make is frozenset:
            return st.frozensets(items, max_size=MAX_ITEMS)
        drawn = st.lists(items, max_size=MAX_ITEMS)
        return drawn if make is list else drawn.map(tuple)

    def _mapped(self, key: Any, value: Any) -> st.SearchStrategy[Any]:
        return st.dictionaries(self.values(key), self.values(value), max_size=MAX_ITEMS)

    def _record(self, record: Record) -> st.SearchStrategy[Any]:
        required = {name: self.values(form) for name, form in record.required.items()}
        optional = {} if self._is_deep else {name: self.values(form) for name, form in record.optional.items()}
        if record.make is dict:
            return st.fixed_dictionaries(required, optional=optional)
        return st.builds(record.make if record.proven else _guarded(record.make), **required, **optional)


def _guarded(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that draws again when a validator refuses the fields."""

    @wraps(make, updated=())
    def build(**fields: object) -> Any:
        try:
            return make(**fields)
        except (ValueError, TypeError):
            return reject()

    return build
