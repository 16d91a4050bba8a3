"""From a declared type to a strategy: the values that a codec of the type would store."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar, assert_never
from uuid import UUID

import attrs
from hypothesis import reject
from hypothesis import strategies as st
from typing_extensions import TypeForm

from perdure.testing.typed.form import Choice, Many, Mapped, OneOf, Opaque, PlainJson, Record, Row, Scalar, read_form

T = TypeVar("T")

MAX_ITEMS: Final = 4
"""Items of a drawn collection at most: more would only be more of the same."""

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
"""What is drawn for each scalar class. Instants are aware, in UTC and of this century: what programs count with."""

_JSON = st.recursive(
    st.one_of(*(SCALAR_VALUES[cls] for cls in (type(None), bool, int, float, str))),
    lambda inner: st.lists(inner, max_size=MAX_ITEMS) | st.dictionaries(st.text(max_size=5), inner, max_size=MAX_ITEMS),
    max_leaves=6,
)


def values_of(
    form: TypeForm[T], /, *, using: Mapping[Any, st.SearchStrategy[Any]] | None = None
) -> st.SearchStrategy[T]:
    """Give a strategy for the values of a type: scalars, unions, attrs classes, collections, what a codec can store.

    What no codec can store (a class without declared fields, say) is left to ``hypothesis.strategies.from_type``.

    Args:
        form: the type, whatever an annotation may be.
        using: other strategies for some of the types inside, such as ``{int: st.integers(1, 99)}``.
    """
    return _Drawing(using or {}).values(form)


@attrs.frozen
class _Drawing:
    """Builds the strategies of one type, and remembers those of its parts, which may contain themselves."""

    using: Mapping[Any, st.SearchStrategy[Any]]
    _known: dict[Any, st.SearchStrategy[Any]] = attrs.Factory(dict[Any, st.SearchStrategy[Any]])

    def values(self, form: Any) -> st.SearchStrategy[Any]:
        if form not in self._known:
            self._known[form] = self.using[form] if form in self.using else st.deferred(lambda: self._built(form))
        return self._known[form]

    def _built(self, given: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one return for each form
        match read_form(given):
            case Scalar(cls):
                return self.using.get(cls, SCALAR_VALUES[cls])
            case Choice(values):
                return st.sampled_from(values)
            case OneOf(members):
                return st.one_of(*(self.values(member) for member in members))
            case Record() as record:
                return self._record(record)
            case Many(make, item):
                return self._many(make, self.values(item))
            case Row(items):
                return st.tuples(*(self.values(item) for item in items))
            case Mapped(key, value):
                return st.dictionaries(self.values(key), self.values(value), max_size=MAX_ITEMS)
            case PlainJson():
                return _JSON
            case Opaque(form):
                return st.from_type(form)
            case _ as never:
                assert_never(never)

    def _many(self, make: type, items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        if make is set:
            return st.sets(items, max_size=MAX_ITEMS)
        if make is frozenset:
            return st.frozensets(items, max_size=MAX_ITEMS)
        drawn = st.lists(items, max_size=MAX_ITEMS)
        return drawn if make is list else drawn.map(tuple)

    def _record(self, record: Record) -> st.SearchStrategy[Any]:
        required = {name: self.values(form) for name, form in record.required.items()}
        optional = {name: self.values(form) for name, form in record.optional.items()}
        make = record.make if record.proven else _guarded(record.make)
        return st.fixed_dictionaries(required, optional=optional).map(lambda fields: make(**fields))


def _guarded(make: Callable[..., Any]) -> Callable[..., Any]:
    """Draw again where a validator refuses the fields."""

    def build(**fields: object) -> Any:
        try:
            return make(**fields)
        except (ValueError, TypeError):
            return reject()

    return build
