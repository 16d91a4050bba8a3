"""A type that has no JSON form, and the type to use instead."""

from __future__ import annotations

from collections import abc
from typing import Any, Final, ForwardRef, TypeVar, get_origin

from perdure.values.excerpt import excerpt

_ANY: Final = (
    "a type with a JSON form: a scalar, an Enum or Literal, a list, tuple, set, frozenset or dict of such types, a "
    "class with typed fields (attrs, dataclass, NamedTuple, TypedDict), a union of these, or object for plain JSON"
)
_COLLECTIONS: Final = (abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet, abc.Collection, abc.Iterable)
_FUNCTION: Final[Any] = get_origin(abc.Callable[..., object])


class Unsupported(Exception):
    """The reason why a type cannot be encoded; it becomes a ``DefinitionError`` that names the definition.

    Attributes:
        path: the path of the unsupported type in the declared type.
        got: the unsupported type.
        expected: the type to use instead.
    """

    def __init__(self, path: str, got: object, expected: str) -> None:
        super().__init__(f"{path}: expected {expected}, got {excerpt(got)}")
        self.path = path
        self.got = got
        self.expected = expected


def advice(form: Any) -> str:
    """Return the advice for a type that has no JSON form."""
    outer: Any = get_origin(form) or form
    if isinstance(form, (str, ForwardRef)):
        return "the type itself; a name in quotes is resolved only in the annotations of a class"
    if isinstance(form, TypeVar):
        return "a generic class with its arguments, such as Page[int]"
    if outer in _COLLECTIONS:
        return "a concrete collection, such as list[X], tuple[X, ...] or frozenset[X]: the class to decode to"
    if outer is _FUNCTION:
        return "data: a function is code, which is not stored; store its name or an Enum"
    return _ANY
