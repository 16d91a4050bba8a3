"""The structure of a declared type, one level deep: the source of strategies and samples."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, MutableMapping
from enum import Enum
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin

import attrs
from returns.maybe import Maybe, Nothing, Some
from returns.result import Failure, Result, Success

from perdure.codecs.grammar import flattened, stripped
from perdure.codecs.records import Declaration, declaration_of
from perdure.codecs.scalars import SCALARS
from perdure.codecs.type_names import Unsupported


@attrs.frozen
class Scalar:
    """One value without parts."""

    cls: type


@attrs.frozen
class Choice:
    """One of these values."""

    values: tuple[Any, ...]


@attrs.frozen
class OneOf:
    """A value of one of these types."""

    members: tuple[Any, ...]


@attrs.frozen
class Record:
    """An object with fields.

    Attributes:
        make: builds one from keyword arguments.
        required: the types of the required fields, by the name of the argument.
        optional: the types of the fields with a default.
        proven: no validator or converter may refuse the fields.
    """

    make: Callable[..., Any]
    required: Mapping[str, Any]
    optional: Mapping[str, Any]
    proven: bool


@attrs.frozen
class Many:
    """A collection of any number of values of one type."""

    make: type
    item: Any


@attrs.frozen
class TupleForm:
    """A tuple of values, each of its own type."""

    items: tuple[Any, ...]


@attrs.frozen
class Mapped:
    """A dict."""

    key: Any
    value: Any


@attrs.frozen
class Wrapped:
    """A value in a container of ``returns``.

    Attributes:
        ways: the wrapping functions, with the types of their contents.
    """

    ways: tuple[tuple[Callable[[Any], Any], Any], ...]


@attrs.frozen
class PlainJson:
    """Any JSON value: the meaning of ``object`` and ``Any``."""


@attrs.frozen
class Opaque:
    """A type of unknown structure."""

    form: Any


Form: TypeAlias = Scalar | Choice | OneOf | Record | Many | TupleForm | Mapped | Wrapped | PlainJson | Opaque

_DICTS = (dict, Mapping, MutableMapping)
_COLLECTIONS = (list, set, frozenset)


def read_form(given: Any) -> Form:  # noqa: C901, PLR0911 - one return for each form
    """Return the structure of a type, for any annotation."""
    form = stripped(given)
    cls, arguments = get_origin(form) or form, get_args(form)
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
    return _record(form) or Opaque(form)


def _nothing(_: object) -> Maybe[Any]:
    return Nothing


def _tuple(arguments: tuple[Any, ...]) -> Form:
    if arguments[1:] == (...,):
        return Many(tuple, arguments[0])
    return TupleForm(arguments)


def _record(form: Any) -> Record | None:
    try:
        declared = declaration_of(form, "")
    except Unsupported:
        return None
    if declared is None:
        return None
    names = _argument_names(declared)
    return Record(
        make=dict if declared.typed_dict else declared.cls,
        required={names[field.name]: field.form for field in declared.fields if field.required},
        optional={names[field.name]: field.form for field in declared.fields if not field.required},
        proven=declared.proven,
    )


def _argument_names(declared: Declaration) -> dict[str, str]:
    """Return the argument of ``__init__`` for each field: attrs drops the underscore of a private one."""
    if attrs.has(declared.cls):
        return {each.name: each.alias or each.name for each in attrs.fields(declared.cls)}
    return {field.name: field.name for field in declared.fields}
