"""Readable names of types, for messages."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

import types
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from typing_extensions import TypeForm


def describe_type(form: TypeForm[Any]) -> str:
    """Return the name of a type as source code would show it.

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
