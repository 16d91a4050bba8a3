"""The result types that the annotation of an effect declares."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# An annotation has no type of its own: it passes here as Any.

from __future__ import annotations

import typing
from collections.abc import Awaitable, Callable, Coroutine
from functools import cache
from typing import Any, Final, Never, NoReturn, get_args, get_origin

import attrs
from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.io import IO, IOResult
from returns.result import Result
from typing_extensions import TypeForm

from perdure.codecs.grammar import stripped
from perdure.programs.instructions import ServiceCall
from perdure.values.excerpt import fields_in_line

_RESULTS: Final = (
    Result,
    IOResult,
    FutureResult,
    RequiresContextResult,
    RequiresContextIOResult,
    RequiresContextFutureResult,
)
_VALUES: Final = (IO, Future, RequiresContext)


@attrs.frozen
class Declared:
    """The types of a result.

    Attributes:
        value: the type of a success, as a type form.
        error: the type of a failure; None when it cannot fail.
    """

    __repr__ = fields_in_line

    value: Any
    error: Any


@attrs.frozen
class Undeclared:
    """The annotation does not declare a result type.

    Attributes:
        reason: the reason.
    """

    __repr__ = fields_in_line

    reason: str


@cache
def declared_by(function: Callable[..., object]) -> Declared | Undeclared:
    """Return the result types that the function of an effect declares."""
    try:
        answer = typing.get_type_hints(function, include_extras=True).get("return")
    except (NameError, TypeError, AttributeError) as error:
        return Undeclared(f"its annotations cannot be read ({error})")
    if answer is None:
        return Undeclared("it has no return annotation")
    return _declared(stripped(answer))


def error_declared_by(instruction: object) -> TypeForm[Any] | None:
    """Return the type of an effect's declared errors; None when it declares none, or is not a call of a service."""
    if not isinstance(instruction, ServiceCall):
        return None
    match declared_by(instruction.fn):
        case Declared(error=error):
            form: TypeForm[Any] | None = error
            return form
        case _:
            return None


def _declared(answer: Any) -> Declared | Undeclared:
    outer, arguments = get_origin(answer), get_args(answer)
    if outer in (Awaitable, Coroutine) and arguments:
        return _declared(stripped(arguments[-1]))
    if outer in _RESULTS:
        error = arguments[1]  # with its marks: one may say that it is a secret
        return Declared(arguments[0], None if stripped(error) in (Never, NoReturn) else error)
    if outer in _VALUES:
        return Declared(arguments[0], None)
    return Undeclared(f"it is annotated to return {answer!r}")
