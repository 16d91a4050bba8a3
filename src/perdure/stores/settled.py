"""A ``FutureResult`` that is answered already: what a store gives when it never waits."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar, cast

from returns.future import FutureResult
from returns.io import IOFailure, IOResult, IOSuccess
from returns.result import Result, Success

A = TypeVar("A")
E = TypeVar("E")

_set = object.__setattr__  # containers of ``returns`` are immutable to everybody else
_new = object.__new__
_SUCCESS: type[IOResult[Any, Any]] = IOSuccess
_FAILURE: type[IOResult[Any, Any]] = IOFailure


class _Answered:
    """An awaitable that gives a result at once, any number of times."""

    __slots__ = ("result",)

    def __init__(self, result: Result[Any, Any]) -> None:
        self.result = result

    def __await__(self) -> Generator[None, None, Result[Any, Any]]:
        return self.result
        yield


# `returns` declares the class final. Building and awaiting this one takes 0.9 µs instead of 2.7 µs, for each
# operation of a store in memory; everything else about it is inherited.
class Settled(FutureResult[Any, Any]):  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    """A ``FutureResult`` whose answer is known: awaiting it never suspends, and may be repeated."""

    __slots__ = ()
    _inner_value: _Answered  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, result: Result[Any, Any]) -> None:
        _set(self, "_inner_value", _Answered(result))

    @property
    def result(self) -> Result[Any, Any]:
        """The answer, for a driver that wants it without awaiting."""
        return self._inner_value.result

    def __await__(self) -> Generator[None, None, IOResult[Any, Any]]:
        result = self._inner_value.result
        # What `IOResult.from_result` gives, without taking the result apart and wrapping it again (0.6 µs).
        kind: type[IOResult[Any, Any]] = _SUCCESS if type(result) is Success else _FAILURE
        answer = _new(kind)
        _set(answer, "_inner_value", result)
        return answer
        yield


def settled(result: Result[A, E]) -> FutureResult[A, E]:
    """Wrap an answer that is known already.

    Args:
        result: the answer.

    Returns:
        A ``FutureResult`` that gives it without ever suspending.
    """
    return cast("FutureResult[A, E]", Settled(result))
