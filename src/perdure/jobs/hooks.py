"""Hooks: the functions that a user gives to a definition, in whichever container of ``returns`` they answer."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from collections.abc import Callable, Generator, Sequence
from functools import wraps
from typing import Any, Final, Generic, Never, TypeVar, Union, get_args, get_origin

import attrs
from returns.context import RequiresContextFutureResult, RequiresContextIOResult, RequiresContextResult
from returns.future import FutureResult
from returns.io import IO, IOResult
from returns.result import Result
from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.codecs import Codec
from perdure.jobs.signature import check_function
from perdure.programs import Call, NotAProgram, Program, as_program, perform, succeed
from perdure.values.errors import DefinitionError
from perdure.values.retry import Retry

_T = TypeVar("_T")
_E = DefaultTypeVar("_E", default=Never)
_R = DefaultTypeVar("_R", default=object)

HookResult = TypeAliasType(
    "HookResult",
    Program[object, _E, _R]
    | RequiresContextFutureResult[object, _E, _R]
    | RequiresContextIOResult[object, _E, _R]
    | RequiresContextResult[object, _E, _R]
    | FutureResult[object, _E]
    | IOResult[object, _E]
    | Result[object, _E],
    type_params=(_E, _R),
)
"""What a hook may answer: a program, or any effect container of ``returns``. The value is not looked at."""


class Undelayed(Generic[_T]):
    """Nobody makes one: see ``RetryPolicy``."""


RetryPolicy = TypeAliasType("RetryPolicy", Retry[_E] | Undelayed[Callable[[_E], None]], type_params=(_E,))
"""A retry for errors of this type.

The second alternative is there for mypy alone: it looks at arguments that hold a callable after the others, so the type
of the errors is taken from the hooks first, and a retry for every error does not widen it to ``object``.
"""


class FromHooks(enum.Enum):
    """The default of ``errors=``: read the type from the annotations of the hooks."""

    FROM_HOOKS = "from hooks"


FROM_HOOKS: Final = FromHooks.FROM_HOOKS

_CONTAINERS = (
    Program,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
    FutureResult,
    IOResult,
    Result,
)


def hook(function: object, *, what: str, takes: Sequence[str] = ("ctx",)) -> Callable[..., Program[Any, Any, Any]]:
    """Make a function return a program, whichever container of ``returns`` it returns itself.

    The function is called when that program runs, never before: so its claim is committed by then, and what it raises
    is a defect of the run. One that acts when it is called, as an ``IOResult`` says, counts as an external effect.

    Args:
        function: the user's own.
        what: the part of the definition, such as ``execute of task:order``: errors name it.
        takes: the names of the positional arguments that it is called with.

    Raises:
        DefinitionError: it is no function, it cannot be called with these arguments, it is ``async def``, or it is a
            generator function without ``@program``.
    """
    given = check_function(function, what=what, takes=takes, expected="a Program or a container of returns")
    if inspect.isgeneratorfunction(getattr(given, "__wrapped__", None)):  # a @program: calling it does nothing yet
        return given
    if _acts_when_called(given):
        return lambda *args: perform(Call(_name(given), args, {}, _without_services(given)))
    return lambda *args: _START.bind(lambda _: _program(given(*args), what))


def _program(answer: Any, what: str) -> Program[Any, Any, Any]:  # anything that a hook may return
    try:
        return as_program(answer)
    except NotAProgram as wrong:
        raise attrs.evolve(wrong, source=what) from None


def _without_services(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a service call of a function that takes no services."""

    @wraps(function)
    def call(_: object, *args: object) -> object:
        return function(*args)

    return call


_START: Program[None] = succeed(None)


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or repr(function)


def _acts_when_called(function: Callable[..., Any]) -> bool:
    """Whether the function says that it gives an ``IOResult``, or a decorator of ``returns`` makes it give one."""
    if (
        getattr(function, "__globals__", {}).get("__name__") == "returns.io"
    ):  # `@impure_safe` leaves the annotations alone
        return True
    try:
        answer = typing.get_type_hints(function).get("return")
    except (NameError, TypeError, AttributeError):
        return False
    return (get_origin(answer) or answer) in (IOResult, IO)


def errors_of(functions: tuple[object, ...], *, tags: typing.Mapping[type, str] | None, what: str) -> Codec[Any] | None:
    """Read the type of the errors from the annotations of the hooks.

    Returns:
        How those errors are encoded; None when no annotation says a type, or when the errors are of a type that cannot
        be encoded. An error of any other type, such as one of a hook without annotations, is kept as text.
    """
    found: list[object] = []
    for function in functions:
        error = error_of(function)
        if error is not Any and error is not Never and error not in found:
            found.append(error)
    if not found:
        return None
    try:
        return Codec.of(Union[tuple(found)], what=what, tags=tags, other_tags="ignored")  # type: ignore[arg-type]  # noqa: UP007 - built at run time
    except DefinitionError:
        return None


def error_of(function: object) -> object:
    """Read the type of a hook's errors from its annotation: ``Never`` when it cannot fail, Any when it is not known."""
    try:
        answer = typing.get_type_hints(function).get("return", Any)
    except (NameError, TypeError, AttributeError):
        return Any
    return _error_argument(answer)


def _error_argument(answer: Any) -> object:  # an annotation has no type of its own
    origin = get_origin(answer)
    if isinstance(origin, TypeAliasType):  # Do[A, E, R]
        return _second(get_args(answer), default=Never)
    if origin in (Union, types.UnionType):
        parts = [_error_argument(part) for part in get_args(answer)]
        return Any if Any in parts else Union[tuple(parts)]  # noqa: UP007 - built at run time
    if origin is Generator:
        return _error_argument(get_args(answer)[0])
    if isinstance(origin, type) and issubclass(origin, _CONTAINERS):
        return _second(get_args(answer), default=Never)
    return Any


def _second(arguments: tuple[object, ...], *, default: object) -> object:
    return arguments[1] if len(arguments) > 1 else default
