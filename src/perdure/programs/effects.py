"""Calls of services, as programs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Concatenate, Never, ParamSpec, TypeVar, overload

from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.io import IO, IOResult
from returns.result import Result

from perdure.programs.container import Program, node
from perdure.programs.instructions import PERFORM, Instruction, ServiceCall

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


def perform(instruction: Instruction[A, E]) -> Program[A, E, object]:
    """Return a program that performs an instruction; the instruction's type declares the result."""
    return node(PERFORM, instruction)


@overload
def effect(
    function: Callable[
        Concatenate[R, P],
        RequiresContextFutureResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextResult[A, E, R],
    ],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], Result[A, E] | IOResult[A, E] | FutureResult[A, E]],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], RequiresContext[A, R]],
) -> Callable[P, Program[A, Never, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], Awaitable[Result[A, E]]],
) -> Callable[P, Program[A, E, R]]: ...
@overload
def effect(
    function: Callable[Concatenate[R, P], IO[A] | Future[A]],
) -> Callable[P, Program[A, Never, R]]: ...
def effect(function: Callable[..., Any]) -> Callable[..., Program[Any, Any, Any]]:
    """Convert a function that calls a service to one that returns a `Program`.

    The program holds the call as data, a name and arguments (`ServiceCall`), so that it can be recorded, compared,
    replayed and replaced by a fault. Each run calls the function again.

    Args:
        function: takes the services first. It may be ``async def``. It returns a `Result`, `IOResult` or
            `FutureResult`; a reader of one (``RequiresContext…``); an awaitable of a `Result`; or an `IO` or `Future`,
            which cannot fail. An exception that it raises is a defect.

    Returns:
        A function of the remaining parameters that returns the program.
    """
    name = getattr(function, "__name__", None) or repr(function)

    @wraps(function)
    def made(*args: Any, **kwargs: Any) -> Program[Any, Any, Any]:
        return node(PERFORM, ServiceCall(name, args, kwargs, function))

    return made
