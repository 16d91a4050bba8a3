"""Elementary programs, with their exact types, and programs that combine others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Never, TypeVar, overload

from returns.context import (
    RequiresContext,
    RequiresContextFutureResult,
    RequiresContextIOResult,
    RequiresContextResult,
)
from returns.future import Future, FutureResult
from returns.io import IO, IOResult
from returns.result import Result

from perdure._lazy import lazy_module
from perdure.programs.container import Program, node
from perdure.programs.do import Do, program
from perdure.programs.effects import perform
from perdure.programs.errors import NotAProgram
from perdure.programs.instructions import ASK, FAIL, HALT, PURE, RESULT, Log

if TYPE_CHECKING:
    from perdure.runtime import record
    from perdure.runtime.record import Level
else:
    record = lazy_module("perdure.runtime.record")

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")
R = TypeVar("R")


def succeed(value: A) -> Program[A, Never, object]:
    """Return a program that succeeds with a value."""
    return node(PURE, value)


def fail(error: E) -> Program[Never, E, object]:
    """Return a program that fails with a typed error."""
    return node(FAIL, error)


def halt(signal: object) -> Program[Never, Never, object]:
    """Return a program that stops the run. Only finalizers run; `or_else`, `attempt` and `except` do not catch it.

    See `Halted`.
    """
    return node(HALT, signal)


def lift(result: Result[A, E]) -> Program[A, E, object]:
    """Return a program that succeeds or fails with a `Result`."""
    return node(RESULT, result)


def asks(function: Callable[[R], A]) -> Program[A, Never, R]:
    """Return a program that calls `function` with the services and succeeds with its result."""
    return node(ASK, function)


def when(condition: bool, then: Program[object, E, R]) -> Program[None, E, R]:  # noqa: FBT001 - an `if` as a value
    """Run `then` if the condition holds; succeed with None either way."""
    return then.map(_nothing) if condition else node(PURE, None, then)  # `then` is built but deliberately not run


def log(message: str, *, level: Level = "info", **fields: object) -> Program[None, Never, object]:
    """Write a log record, through the runtime that runs the program.

    Args:
        message: a constant sentence.
        level: the severity.
        fields: the variable data, by name.
    """
    return perform(Log(record.LogRecord(level, message, fields)))


@program
def traverse(items: Iterable[A], function: Callable[[A], Program[B, E, R]]) -> Do[tuple[B, ...], E, R]:
    """Run the program that `function` returns for each item, one after the other; stop at the first failure.

    Python does not allow ``yield from`` inside a comprehension: use this instead.
    """
    values: list[B] = []
    for item in items:
        values.append((yield from function(item)))  # noqa: PERF401 - see above
    return tuple(values)


@overload
def as_program(outcome: Program[A, E, R]) -> Program[A, E, R]: ...
@overload
def as_program(outcome: Result[A, E] | IOResult[A, E] | FutureResult[A, E]) -> Program[A, E, object]: ...
@overload
def as_program(
    outcome: RequiresContextResult[A, E, R] | RequiresContextIOResult[A, E, R] | RequiresContextFutureResult[A, E, R],
) -> Program[A, E, R]: ...
@overload
def as_program(outcome: RequiresContext[A, R]) -> Program[A, Never, R]: ...
@overload
def as_program(outcome: IO[A] | Future[A]) -> Program[A, Never, object]: ...
def as_program(outcome: object) -> object:
    """Convert the result of a hook to a `Program`: a program, or another container of `returns`.

    A `FutureResult` is memoised: its program has an effect only once, so call the hook again for each run.

    Raises:
        NotAProgram: the result is none of these.
    """
    if isinstance(outcome, Program):
        return outcome  # pyright: ignore[reportUnknownVariableType]  # the overloads declare its types
    for container, convert in _CONVERSIONS:
        if isinstance(outcome, container):
            return convert(outcome)
    expected = "a Program, a Result, an IOResult, a FutureResult or a RequiresContext… of one"
    raise NotAProgram(outcome, "a hook", expected)


_CONVERSIONS: tuple[tuple[type, Callable[..., object]], ...] = (
    (Result, Program.from_result),
    (IOResult, Program.from_ioresult),
    (FutureResult, Program.from_future_result),
    (RequiresContextFutureResult, Program.from_future_result_context),
    (RequiresContextIOResult, Program.from_ioresult_context),
    (RequiresContextResult, Program.from_result_context),
    (RequiresContext, Program.from_context),
    (IO, Program.from_io),
    (Future, Program.from_future),
)


def _nothing(_: object) -> None:
    return None
