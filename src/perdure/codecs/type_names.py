"""Types in messages: readable names, and the error for a type that has no JSON form."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
from collections import abc
from typing import Any, Final, ForwardRef, Literal, TypeVar, Union, get_args, get_origin

from typing_extensions import TypeForm

from perdure.values.excerpt import excerpt


def describe_type(form: TypeForm[Any]) -> str:
    """Return a type's name as source code would show it.

    Args:
        form: any annotation: a class, a union, a generic alias.

    Returns:
        Text such as ``"Order"``, ``"int | None"``, ``"tuple[Item, ...]"``.

    >>> describe_type(tuple[int, ...])
    'tuple[int, ...]'
    >>> describe_type(str | None)
    'str | None'
    """
    form_: Any = form
    if form_ is None or form_ is types.NoneType:
        return "None"
    if form_ is Ellipsis:
        return "..."
    if get_origin(form_) is not None:
        return _alias_name(get_origin(form_), get_args(form_))
    if isinstance(form_, TypeVar):
        return form_.__name__
    if isinstance(form_, type):
        return form_.__qualname__.rpartition("<locals>.")[2]
    return str(getattr(form_, "__name__", form_)).removeprefix("typing.")


def _alias_name(origin: Any, args: tuple[Any, ...]) -> str:
    if origin in (Union, types.UnionType):
        return " | ".join(describe_type(arg) for arg in args)
    if origin is Literal:
        return f"Literal[{', '.join(repr(arg) for arg in args)}]"
    return f"{describe_type(origin)}[{', '.join(_argument_name(arg) for arg in args) or '()'}]"


def _argument_name(arg: Any) -> str:
    return f"[{', '.join(describe_type(a) for a in arg)}]" if isinstance(arg, list) else describe_type(arg)


_ANY: Final = (
    "a type with a JSON form: a scalar, an Enum or Literal, a list, tuple, set, frozenset or dict of such types, a "
    "class with typed fields (attrs, dataclass, NamedTuple, TypedDict), a union of these, or object for plain JSON"
)
_COLLECTIONS: Final = (abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet, abc.Collection, abc.Iterable)
_FUNCTION: Final[Any] = get_origin(abc.Callable[..., object])


class Unsupported(Exception):
    """The reason why a type cannot be encoded. It becomes a ``DefinitionError`` that names the definition.

    Attributes:
        path: where the declared type contains the unsupported type.
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
