"""Elementary programs, with their exact types: values, service calls, time, and programs that combine others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, Final, Never, ParamSpec, TypeVar, overload

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
from perdure.programs.container import Do, Program, node, program
from perdure.programs.errors import NotAProgram
from perdure.programs.instructions import (
    ASK,
    FAIL,
    HALT,
    PERFORM,
    PURE,
    RESULT,
    Instruction,
    Log,
    Now,
    ServiceCall,
    Sleep,
    SleepUntil,
)
from perdure.values.times import due_ms, duration_ms

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


def perform(instruction: Instruction[A, E]) -> Program[A, E, object]:
    """Return a program that performs an instruction. The instruction's type declares the result."""
    return node(PERFORM, instruction)


STEP_NAME: Final = "__perdure_step__"
"""The attribute of a function whose program is one step, with the name of the step."""


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
            `FutureResult`, a reader that returns one (``RequiresContext…``), an awaitable that returns a `Result`, or
            an `IO` or `Future`, which cannot fail. An exception that it raises is a defect.

    Returns:
        A function with the remaining parameters, which returns the program.
    """
    name = getattr(function, "__name__", None) or repr(function)

    @wraps(function)
    def made(*args: Any, **kwargs: Any) -> Program[Any, Any, Any]:
        return node(PERFORM, ServiceCall(name, args, kwargs, function))

    setattr(made, STEP_NAME, name)
    return made


def sleep(duration: timedelta | str) -> Program[None, Never, object]:
    """Wait in memory: a crash discards the wait. To wait durably, a job sets its alarm.

    Args:
        duration: a `timedelta`, or text such as ``"30 seconds"``. Microseconds are rounded up to the next millisecond.
            0 lets other programs run.

    Raises:
        DefinitionError: the duration is negative or not valid. `sleep_until` takes an instant that may be past.
    """
    return perform(Sleep(duration_ms(duration, what="sleep", minimum_ms=0)))


def sleep_until(instant: datetime) -> Program[None, Never, object]:
    """Wait in memory until the clock shows an instant. A past one ends the wait immediately.

    Args:
        instant: an aware `datetime`. Microseconds are rounded up to the next millisecond.

    Raises:
        DefinitionError: the instant is not an aware `datetime`.
    """
    return perform(SleepUntil(due_ms(instant, what="sleep_until")))


def now() -> Program[datetime, Never, object]:
    """Return the runtime's wall clock, as an aware UTC `datetime`, to the millisecond."""
    return perform(Now()).map(_instant)


def _instant(now_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=now_ms)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


if TYPE_CHECKING:
    from perdure.runtime import record
    from perdure.runtime.record import Level
else:
    record = lazy_module("perdure.runtime.record")
B = TypeVar("B")


def succeed(value: A) -> Program[A, Never, object]:
    """Return a program that succeeds with a value."""
    return node(PURE, value)


def fail(error: E) -> Program[Never, E, object]:
    """Return a program that fails with a typed error."""
    return node(FAIL, error)


def halt(signal: object) -> Program[Never, Never, object]:
    """Return a program that stops the run. Only finalizers run. `or_else`, `attempt` and `except` do not catch it.

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
    """Run `then` if the condition holds. Succeed with None either way."""
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
    """Run the program that `function` returns for each item, one after the other. Stop at the first failure.

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
    """Convert a hook's result to a `Program`: a program, or another `returns` container.

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
