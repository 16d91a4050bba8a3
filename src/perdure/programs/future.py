"""``FutureResult``s with less overhead: one with a known result, and one that is awaited again."""

# Both depend on the internals of a `FutureResult`: an awaitable of a `Result`, in `_inner_value`.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

from returns.future import FutureResult
from returns.io import IOFailure, IOResult, IOSuccess
from returns.primitives.container import BaseContainer
from returns.result import Result, Success

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E")

_new = object.__new__
_set_inner: Callable[[Any, object], None] = BaseContainer.__dict__["_inner_value"].__set__  # they refuse setattr
_SUCCESS: type[IOResult[Any, Any]] = IOSuccess
_FAILURE: type[IOResult[Any, Any]] = IOFailure


def answer_of(operation: FutureResult[A, E]) -> Awaitable[Result[A, E]]:
    """Return the awaitable ``Result`` inside an operation."""
    answer: Awaitable[Result[A, E]] = operation._inner_value  # noqa: SLF001 - wrapping and unwrapping it takes 1 µs
    return answer


async def awaited(operation: FutureResult[A, E]) -> Result[A, E]:
    """Await an operation, in a coroutine for a task, and return its ``Result``."""
    return await answer_of(operation)


class _Answered:
    """An awaitable that returns a known result immediately, any number of times."""

    __slots__ = ("result",)

    def __init__(self, result: Result[Any, Any]) -> None:
        self.result = result

    def __await__(self) -> Generator[None, None, Result[Any, Any]]:
        return self.result
        yield


class _Converted:
    """An awaitable that converts another one's value, each time that it is awaited."""

    __slots__ = ("function", "source")

    def __init__(self, source: Awaitable[Result[Any, Any]], function: Callable[[Any], Any]) -> None:
        self.source = source
        self.function = function

    def __await__(self) -> Generator[Any, Any, Result[Any, Any]]:
        return _mapped_once((yield from self.source.__await__()), self.function)


def _mapped_once(result: Result[Any, Any], function: Callable[[Any], Any]) -> Result[Any, Any]:
    mapped_result: Result[Any, Any] = result.map(function)
    return mapped_result


class _Asked:
    """A coroutine whose result can be awaited again."""

    __slots__ = ("result", "work")

    def __init__(self, work: Coroutine[Any, Any, Result[Any, Any]]) -> None:
        self.work = work
        self.result: Result[Any, Any] | None = None

    def __await__(self) -> Generator[Any, Any, Result[Any, Any]]:
        if self.result is None:
            self.result = yield from self.work.__await__()
        return self.result


# `returns` declares the class final. Building and awaiting this one takes 0.9 µs instead of 2.7 µs, for each operation
# of a memory store and for each request; everything else is inherited.
class _Future(FutureResult[Any, Any]):  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    __slots__ = ()

    def __init__(self, inner: Awaitable[Result[Any, Any]]) -> None:
        _set_inner(self, inner)

    def __await__(self) -> Generator[Any, Any, IOResult[Any, Any]]:
        result: Any = yield from self._inner_value.__await__()
        # As `IOResult.from_result` does, without unwrapping the result and wrapping it again (0.6 µs).
        answer = _new(_SUCCESS if result.__class__ is Success else _FAILURE)
        _set_inner(answer, result)
        return answer


KNOWN: Callable[[Result[Any, Any]], Awaitable[Result[Any, Any]]] = _Answered
"""Makes an awaitable that returns a known result at once."""


def settled(result: Result[A, E]) -> FutureResult[A, E]:
    """Wrap a known result: awaiting it never suspends."""
    return _Future(_Answered(result))


def asked(work: Coroutine[Any, Any, Result[A, E]]) -> FutureResult[A, E]:
    """Wrap a coroutine that starts when its result is first awaited.

    Args:
        work: returns the result.
    """
    return _Future(_Asked(work))


def converted(operation: FutureResult[A, E], function: Callable[[A], B]) -> FutureResult[B, E]:
    """Apply a function to an operation's value. A known result stays known.

    Args:
        operation: a store operation.
        function: applied to the value. An error passes through.
    """
    inner: Any = operation._inner_value  # noqa: SLF001 - as above
    if type(inner) is _Answered:
        return settled(inner.result.map(function))
    return _Future(_Converted(inner, function))


def answered_by(work: Awaitable[Result[A, E]]) -> FutureResult[A, E]:
    """Wrap an awaitable that can be awaited more than once.

    Args:
        work: returns the result, each time that it is awaited.
    """
    return _Future(work)


def close_unawaited(answer: object) -> None:
    """Close the coroutine of an answer that no task will await, so that Python does not warn about it."""
    inner: object = getattr(answer, "_inner_value", answer)  # of a `Future` or a `FutureResult`
    close: object = getattr(getattr(inner, "_coro", inner), "close", None)
    if callable(close):
        close()
