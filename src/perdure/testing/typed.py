"""Values made from declared types: drawn ones for properties, and the simplest one for examples.

Both read a declared type's structure one level deep, with `read_form`.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, MutableMapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import wraps
from operator import ge, gt, le, lt
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar, Union, assert_never, get_args, get_origin
from uuid import UUID

import attrs
from hypothesis import reject
from hypothesis import strategies as st
from returns.maybe import Maybe, Nothing, Some
from returns.result import Failure, Result, Success
from typing_extensions import TypeForm

from perdure.codecs.grammar import flattened, stored_as, stripped
from perdure.codecs.json_schema import Unsupported, describe_type
from perdure.codecs.records import declaration_of
from perdure.codecs.scalars import SCALARS
from perdure.codecs.schema import Declaration, RefusedByClass
from perdure.values.errors import PerdureError
from perdure.values.excerpt import fields_in_line

__all__ = ["NoSample", "examples_of", "from_type"]


@attrs.frozen
class Scalar:
    """One value without parts."""

    cls: type


@attrs.frozen
class Choice:
    """One of these values."""

    __repr__ = fields_in_line

    values: tuple[Any, ...]


@attrs.frozen
class OneOf:
    """A value of one of these types."""

    __repr__ = fields_in_line

    members: tuple[Any, ...]


@attrs.frozen
class Record:
    """An object with fields.

    Attributes:
        make: builds one from keyword arguments.
        required: the required fields' types, by argument name.
        optional: the types for fields with a default, by argument name.
        proven: no validator or converter may refuse the fields.
    """

    __repr__ = fields_in_line

    make: Callable[..., Any]
    required: Mapping[str, Any]
    optional: Mapping[str, Any]
    proven: bool


@attrs.frozen
class Many:
    """A collection of values, all of one type."""

    make: type
    item: Any


@attrs.frozen
class TupleForm:
    """A tuple with a fixed type for each value."""

    items: tuple[Any, ...]


@attrs.frozen
class Mapped:
    """A dict."""

    key: Any
    value: Any


@attrs.frozen
class Wrapped:
    """A value in a ``returns`` container.

    Attributes:
        ways: the wrapping functions, with their contents' types.
    """

    ways: tuple[tuple[Callable[[Any], Any], Any], ...]


@attrs.frozen
class Converted:
    """A class that is stored as another type."""

    __repr__ = fields_in_line

    form: Any
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


@attrs.frozen
class PlainJson:
    """Any JSON value, as ``object`` and ``Any`` declare."""


@attrs.frozen
class Opaque:
    """A type with unknown structure."""

    form: Any


Form: TypeAlias = (
    Scalar | Choice | OneOf | Record | Many | TupleForm | Mapped | Wrapped | Converted | PlainJson | Opaque
)

_DICTS = (dict, Mapping, MutableMapping)
_COLLECTIONS = (list, set, frozenset)


def read_form(given: Any) -> Form:  # noqa: C901, PLR0911 - one return for each form
    """Return a type's structure, for any annotation."""
    form = stripped(given)
    cls, arguments = get_origin(form) or form, get_args(form)
    if (how := stored_as(form)) is not None:
        return Converted(how.form, how.read, how.write)
    if form in (Any, object):
        return PlainJson()
    if isinstance(form, type) and form in SCALARS:
        return Scalar(form)
    if cls is Literal:
        return Choice(arguments)
    if isinstance(form, type) and issubclass(form, Enum):
        return Choice(tuple(form))
    if cls in (Union, types.UnionType):
        return OneOf(tuple(flattened(form)))
    if cls in _DICTS:
        return Mapped(*(arguments or (str, object)))
    if cls in _COLLECTIONS:
        return Many(cls, arguments[0] if arguments else object)
    if cls is Maybe:
        return Wrapped(((_nothing, type(None)), (Some, arguments[0] if arguments else object)))
    if cls is Result:
        return Wrapped(tuple(zip((Success, Failure), arguments or (object, object), strict=True)))
    if cls is tuple:
        return _tuple(arguments if get_origin(form) else (object, ...))
    return _read_record(form) or Opaque(form)


def _nothing(_: object) -> Maybe[Any]:
    return Nothing


def _tuple(arguments: tuple[Any, ...]) -> Form:
    if arguments[1:] == (...,):
        return Many(tuple, arguments[0])
    return TupleForm(arguments)


def _read_record(form: Any) -> Record | None:
    try:
        declared = declaration_of(form, "")
    except Unsupported:
        return None
    if declared is None:
        return None
    names = _argument_names(declared)
    return Record(
        make=dict if declared.typed_dict else _maker(declared),
        required={names[field.name]: field.form for field in declared.fields if field.required},
        optional={names[field.name]: field.form for field in declared.fields if not field.required},
        proven=declared.proven,
    )


def _maker(declared: Declaration) -> Callable[..., Any]:
    build = declared.build
    if build is None:
        cls: Callable[..., Any] = declared.cls
        return cls

    def make(**fields: Any) -> Any:
        return build(fields)

    return make


def _argument_names(declared: Declaration) -> dict[str, str]:
    """Return the ``__init__`` argument for each field: attrs drops a private field's underscore."""
    if attrs.has(declared.cls):
        return {each.name: each.alias or each.name for each in attrs.fields(declared.cls)}
    return {field.name: field.name for field in declared.fields}


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
    """No value can be constructed from a type's declaration.

    Attributes:
        form: the type's readable name.
        reason: the reason.
    """

    form: str
    reason: str

    def _text(self) -> str:
        return f"no value of {self.form} can be constructed: {self.reason}; pass the values yourself"


def examples_of(form: TypeForm[T], /) -> tuple[T, ...]:
    """Return a type's simplest values: one for each member, if it is a union. Always the same ones.

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


def _sample(given: Any, inside: tuple[Any, ...]) -> Any:  # noqa: C901, PLR0911, PLR0912 - one return for each form
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
        case Converted(other, read, _):
            return _converted(given, read, _sample(other, within))
        case Opaque(form):
            if (plain := plain_exception(form)) is not None:
                return plain
            raise NoSample(describe_type(form), "it has no declared fields")
        case _ as never:
            assert_never(never)


def _converted(given: Any, read: Callable[[Any], Any], other: Any) -> Any:
    try:
        return read(other)
    except Exception as refused:
        raise NoSample(describe_type(given), f"it refuses {other!r}: {refused}") from refused


def plain_exception(form: object) -> BaseException | None:
    """Return an exception without arguments. None when the type is not an exception, or needs arguments."""
    try:
        return form() if isinstance(form, type) and issubclass(form, BaseException) else None
    except TypeError:
        return None


def _first(members: tuple[Any, ...], inside: tuple[Any, ...]) -> Any:
    """Return a sample for the first member that has one: a member that contains the union again has none."""
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
    except (ValueError, TypeError, RefusedByClass) as refused:
        raise NoSample(describe_type(given), f"it refuses {fields}: {refused}") from refused


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
    """Return a strategy for a type's values: scalars, unions, attrs classes, collections, as a codec stores them.

    A type that no codec can store (a class without declared fields, for example) is drawn by
    ``hypothesis.strategies.from_type``.

    Args:
        form: the type: any annotation.
        using: other strategies for some types inside, such as ``{int: st.integers(1, 99)}``.
    """
    return _Drawing(using or {}).values(form)


@attrs.frozen
class _Drawing:
    """Builds one type's strategy.

    Attributes:
        using: the strategies for some types.
        inside: the classes around the part that is being built. One that contains itself is unrolled a few times.
    """

    using: Mapping[Any, st.SearchStrategy[Any]]
    inside: tuple[Any, ...] = ()

    @property
    def _is_deep(self) -> bool:
        return bool(self.inside) and self.inside.count(self.inside[-1]) >= MAX_NESTING

    def values(self, given: Any) -> st.SearchStrategy[Any]:
        """Return the strategy for a type, or for a part of it."""
        if given in self.using:
            return self.using[given]
        bounds = bounds_of(given)
        return self._bounded(given, bounds) if bounds else self._built(given)

    def _bounded(self, given: Any, bounds: Mapping[str, Any]) -> st.SearchStrategy[Any]:
        """Return the strategy for a type whose ``Annotated`` has bounds: drawn inside them, and not refused later."""
        form, least, most = read_form(given), bounds.get("min_length", 0), bounds.get("max_length")
        match form:
            case Scalar(cls) if cls in self.using:
                drawn = self.using[cls]
            case Scalar(cls) if cls is int:
                drawn = _integers(bounds)
            case Scalar(cls) if cls is str and "pattern" in bounds:
                drawn = _texts(bounds["pattern"])
            case Scalar(cls) if cls is float:
                drawn = _floats(bounds)
            case Scalar(cls) if cls is str:
                drawn = st.text(min_size=least, max_size=least + 20 if most is None else most)
            case Many(make, item) if make in (list, tuple):
                size = least + MAX_ITEMS if most is None else most
                drawn = st.lists(self.values(item), min_size=least, max_size=size).map(make)
            case _:
                drawn = self._built(given)
        return drawn.filter(lambda value: _is_within(value, bounds))

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
            case Converted(other, read, _):
                return self.values(other).map(_guarded(read))
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


BOUNDS: Final = ("gt", "ge", "lt", "le", "multiple_of", "min_length", "max_length", "pattern")


def bounds_of(form: Any) -> dict[str, Any]:
    """Return the bounds in a type's ``Annotated``: annotated-types, pydantic's ``Field``, ``msgspec.Meta``."""
    marks = form.__metadata__ if get_origin(form) is Annotated else ()
    each = [
        one for mark in marks for one in (mark if hasattr(mark, "__is_annotated_types_grouped_metadata__") else (mark,))
    ]
    pairs = ((bound, getattr(mark, bound, None)) for mark in each for bound in BOUNDS)
    return {bound: value for bound, value in pairs if value is not None}


def _integers(bounds: Mapping[str, Any]) -> st.SearchStrategy[int]:
    step = bounds.get("multiple_of", 1)
    least = max(-(2**63), bounds.get("ge", -(2**63)), bounds.get("gt", -(2**63) - 1) + 1)
    most = min(2**64 - 1, bounds.get("le", 2**64 - 1), bounds.get("lt", 2**64) - 1)
    return st.integers(-(-least // step), most // step).map(lambda drawn: drawn * step)


def _floats(bounds: Mapping[str, Any]) -> st.SearchStrategy[float]:
    least, most = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    # JSON has no other numbers.
    return st.floats(least, most, allow_nan=False, allow_infinity=False)


def _texts(pattern: str) -> st.SearchStrategy[str]:
    # In Python, `$` also matches before a line break at the end. In the libraries' patterns it does not.
    if pattern.startswith("^") and pattern.endswith("$") and not pattern.endswith("\\$"):
        return st.from_regex(pattern[1:-1], fullmatch=True)
    return st.from_regex(pattern)


_TESTS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": gt,
    "ge": ge,
    "lt": lt,
    "le": le,
    "min_length": lambda value, least: len(value) >= least,
    "max_length": lambda value, most: len(value) <= most,
}


def _is_within(value: Any, bounds: Mapping[str, Any]) -> bool:
    return all(_TESTS[bound](value, limit) for bound, limit in bounds.items() if bound in _TESTS)


def _guarded(make: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that draws again when a validator refuses the fields."""

    @wraps(make, updated=())
    def build(*given: object, **fields: object) -> Any:
        try:
            return make(*given, **fields)
        except (ValueError, TypeError, RefusedByClass):
            return reject()

    return build
