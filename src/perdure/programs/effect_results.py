"""Effect results: the types that annotations declare, and the check that refuses an undeclared None."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# An annotation has no type of its own: it passes here as Any.

from __future__ import annotations

import types
import typing
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import cache, lru_cache
from types import CoroutineType
from typing import Any, Final, Never, NoReturn, Union, get_args, get_origin

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
from perdure.programs.instructions import NothingReturned, ServiceCall
from perdure.runtime.record import Elsewhere
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
    """A result's types.

    Attributes:
        value: a success's type, as a type form.
        error: a failure's type. None when it cannot fail.
    """

    __repr__ = fields_in_line

    value: Any
    error: Any


@attrs.frozen
class Undeclared:
    """The annotation does not declare a result type."""

    __repr__ = fields_in_line

    reason: str


@cache
def declared_by(function: Callable[..., object]) -> Declared | Undeclared:
    """Return the result types that an effect's function declares."""
    try:
        # With the extras: a mark such as `Secret` on the result must reach the codec that stores it.
        answer = typing.get_type_hints(function, include_extras=True).get("return")
    except (NameError, TypeError, AttributeError) as error:
        return Undeclared(f"its annotations cannot be read ({error})")
    if answer is None:
        return Undeclared("it has no return annotation")
    return _declared(stripped(answer))


def error_declared_by(instruction: object) -> TypeForm[Any] | None:
    """Return the error type that an effect declares. None when it declares none, or is not a service call."""
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


def call_service(call: ServiceCall, services: Any) -> object:  # the user's own record
    """Call an effect's function.

    Returns:
        Its result, which may be an awaitable. Or `CalledElsewhere`, if a thread or a process must perform it.

    Raises:
        NothingReturned: it returned None, and its annotation does not allow that.
    """
    if call.place != "loop":
        return CalledElsewhere(call, services)
    answer = call.fn(services, *call.args, **call.kwargs)
    # A service without `return` is the usual mistake, and its None would be stored as a success.
    if answer is None:
        _allow_none(call)
    elif answer.__class__ is CoroutineType:
        return _Checked(call, answer)
    return answer


@attrs.frozen(repr=False)
class CalledElsewhere:
    """A service call that a thread or a process performs. `settle_answer` asks the runtime for it.

    Attributes:
        services: the services in effect there.
    """

    __repr__ = fields_in_line

    call: ServiceCall
    services: Any

    async def perform(self, elsewhere: Elsewhere) -> object:
        """Perform the call, and return its result.

        Raises:
            NothingReturned: the function returned None, and its annotation does not allow that.
        """
        call = self.call
        place: Any = call.place
        answer = await elsewhere(place, call.fn, (self.services, *call.args), call.kwargs)
        if answer is None:
            _allow_none(call)
        return answer


class _Checked(Awaitable[Any]):
    """A service function's coroutine, with a check for its result. Closing it closes the coroutine."""

    __slots__ = ("_answer", "_call")

    def __init__(self, call: ServiceCall, answer: Coroutine[Any, Any, Any]) -> None:
        self._call = call
        self._answer = answer

    def __await__(self) -> Generator[Any, Any, object]:
        settled = yield from self._answer.__await__()
        if settled is None:
            _allow_none(self._call)
        return settled

    def close(self) -> None:
        """End the coroutine."""
        self._answer.close()


def _allow_none(call: ServiceCall) -> None:
    if not _may_return_none(call.fn):
        raise NothingReturned(getattr(call.fn, "__qualname__", call.name))


@lru_cache(maxsize=1_024)
def _may_return_none(function: Callable[..., object]) -> bool:
    """Return whether a function's annotation allows None. Called only after the function returned None."""
    try:
        hints = typing.get_type_hints(function)
    # Hints that only a type checker resolves: the text of the annotation decides.
    except (NameError, TypeError, AttributeError):
        return "None" in str(getattr(function, "__annotations__", {}).get("return", ""))
    return "return" in hints and _allows_none(hints["return"])


def _allows_none(annotation: Any) -> bool:  # an annotation has no type of its own
    if annotation in (None, types.NoneType, Any, object):
        return True
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return any(_allows_none(part) for part in arguments)
    return origin in (Awaitable, Coroutine) and bool(arguments) and _allows_none(arguments[-1])
