"""`Call`: the result that handle and client methods return. It is awaited once."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
from inspect import GEN_CLOSED, getgeneratorstate
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, final

from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import KNOWN
from perdure.values.address import Address
from perdure.values.errors import AlreadyAwaited, InvalidInput, Undecodable

A = TypeVar("A")
B = TypeVar("B")
E = TypeVar("E", bound=Exception)
A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", bound=Exception, covariant=True)


@final
class Call(Coroutine[Any, Any, A_co], Generic[A_co, E_co]):
    """A call that is sent when it is awaited, once.

    ``await call`` returns the answer `A`, or raises the error `E`. ``await attempt(call)`` returns either as a value.
    Python warns about a call that is never awaited, as it does about a coroutine. ``asyncio`` accepts a call as a task,
    like a coroutine.
    """

    # Unlike a coroutine it has no frame: it waits for the awaitable that its beginning returns, such as a future.
    __slots__ = ("_begin", "_name", "_running")

    def __init__(self, begin: Callable[[], Awaitable[Result[A_co, E_co]]], name: str) -> None:
        self._begin: Callable[[], Awaitable[Result[A_co, E_co]]] | None = begin
        self._name = name
        self._running: Generator[Any, Any, A_co] | None = None

    def __repr__(self) -> str:
        return f"<Call {self._name}>"

    def __await__(self) -> Generator[Any, Any, A_co]:
        ended: Any = yield from _taken(self)().__await__()
        if ended.__class__ is Success:  # `isinstance` and `unwrap` take half a microsecond
            answer: A_co = ended._inner_value  # noqa: SLF001 - as above
            return answer
        raise ended.failure()

    def future(self) -> FutureResult[A_co, E_co]:
        """Return the call as a ``returns`` container, which is sent when it is awaited, once.

        Compose it with ``map``, ``bind`` and ``lash``. Awaiting it returns an ``IOResult`` and raises no error.
        """
        return FutureResult(_Ended(self))

    # ------------------------------------------------------------ as a coroutine, of a task
    def send(self, value: Any, /) -> Any:
        """Continue this call's task."""
        return self._task().send(value)

    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """Raise an exception, such as a cancellation, in this call's task."""
        task = self._task()
        # Marked as begun: a cancelled task has dealt with the call, and needs no warning.
        self._begin = None
        return task.throw(kind if value is None else value)

    def close(self) -> None:
        """Discard the call: Python does not warn about it."""
        self._begin = None
        if self._running is not None:
            self._running.close()

    def _task(self) -> Generator[Any, Any, A_co]:
        if self._running is None:
            self._running = self.__await__()
        if getgeneratorstate(self._running) == GEN_CLOSED:  # it has ended, and would seem to return None
            raise AlreadyAwaited
        return self._running

    def __del__(self) -> None:
        """Warn about a call that was never awaited, as Python does about a coroutine."""
        # Not `_running`: a call that was only built has not run, and is the mistake that this reports.
        if self._begin is not None:
            warnings.warn(f"coroutine '{self._name}' was never awaited", RuntimeWarning, stacklevel=2, source=self)

    if not TYPE_CHECKING:  # the checkers report these uses themselves, and would accept any attribute

        def __getattr__(self, name: str) -> Never:
            if name.startswith("_"):  # a protocol of Python or of another library looks for it
                raise AttributeError(f"'Call' object has no attribute {name!r}")
            raise AttributeError(f"a Call has no attribute {name!r}: {_NOT_ITS_ANSWER}")

        def __bool__(self) -> Never:
            raise TypeError(f"a Call is neither true nor false: {_NOT_ITS_ANSWER}")


_NOT_ITS_ANSWER = "it is a request, not its answer; did you forget `await`?"


class _Ended(Generic[A_co, E_co]):
    """Awaits a call's ``Result``."""

    __slots__ = ("_call",)

    def __init__(self, call: Call[A_co, E_co]) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, Any, Result[A_co, E_co]]:
        return _taken(self._call)().__await__()


# pyright: reportPrivateUsage=false


def _taken(call: Call[A, E]) -> Callable[[], Awaitable[Result[A, E]]]:
    """Return a call's beginning, once."""
    # Taken before it is called, so that no second await, also one from another task, can send the request twice.
    begin, call._begin = call._begin, None  # noqa: SLF001 - of this module
    if begin is None:
        raise AlreadyAwaited
    return begin


def begin(call: Call[A, E]) -> Awaitable[Result[A, E]]:
    """Send a call now. Await its ``Result`` once.

    Args:
        call: a call that was not awaited.
    """
    return _taken(call)()


def result_of(call: Call[A, E]) -> Awaitable[Result[A, E]]:
    """Return an awaitable for a call's ``Result``.

    Args:
        call: a call that was not awaited. It is sent when the awaitable is awaited.
    """
    return _Ended(call)


def refused(error: E, name: str) -> Call[Never, E]:
    """Return a call that fails.

    Args:
        error: its error.
        name: its name, as `Call` has.
    """
    return Call(partial(KNOWN, Failure(error)), name)


def named(call: Call[A, E], name: str) -> Call[A, E]:
    """Name a call for the warning about a call that was never awaited.

    Args:
        call: the call.
        name: such as ``send of task:orders``.
    """
    call._name = name  # noqa: SLF001 - as above
    return call


def mapped(call: Call[A, E], function: Callable[[A], B]) -> Call[B, E]:
    # The old call is taken: it must neither be awaited beside the new one nor warn.
    """Apply a function to a call's answer. The new call takes its place.

    Args:
        call: the call, which cannot be awaited from now on.
        function: applied to the answer. An error passes through.
    """
    return Call(partial(_Mapped[A, B, E], _taken(call), function), call._name)  # noqa: SLF001 - as above


def followed(call: Call[A, E], function: Callable[[A], Awaitable[Result[B, E]]]) -> Call[B, E]:
    """Let another request follow an answer.

    Args:
        call: the first call, which cannot be awaited from now on.
        function: makes the request with the answer, or returns its value already.
    """
    return Call(partial(_followed, _taken(call), function), call._name)  # noqa: SLF001 - as above


async def _followed(
    begin: Callable[[], Awaitable[Result[A, E]]], function: Callable[[A], Awaitable[Result[B, E]]]
) -> Result[B, E]:
    ended = await begin()
    return await function(ended.unwrap()) if isinstance(ended, Success) else Failure(ended.failure())


def decoded(call: Call[A, E], function: Callable[[A], B], address: Callable[[], Address]) -> Call[B, E | Undecodable]:
    """Decode a call's answer. An answer that this code cannot read fails with ``Undecodable``.

    Args:
        call: the call, which cannot be awaited from now on.
        function: decodes the answer. It may raise ``InvalidInput``.
        address: returns the instance's address, for the error.
    """

    def read(answer: A) -> Result[B, E | Undecodable]:
        try:
            return Success(function(answer))
        # As a value, as every other failure of a call: other code wrote the answer, and the caller sent nothing wrong.
        except InvalidInput as problem:
            return Failure(Undecodable(str(address()), problem.problems))

    return Call(partial(_Bound[A, B, E | Undecodable], _taken(call), read), call._name)  # noqa: SLF001 - as above


class _Bound(Generic[A, B, E]):
    """A result's awaitable to which a function is applied that may fail."""

    __slots__ = ("_begin", "_function")

    def __init__(self, begin: Callable[[], Awaitable[Result[A, E]]], function: Callable[[A], Result[B, E]]) -> None:
        self._begin = begin
        self._function = function

    def __await__(self) -> Generator[Any, Any, Result[B, E]]:
        ended = yield from self._begin().__await__()
        return self._function(ended.unwrap()) if isinstance(ended, Success) else Failure(ended.failure())


class _Mapped(Generic[A, B, E]):
    """A result's awaitable to which a function is applied. It needs no coroutine frame."""

    __slots__ = ("_begin", "_function")

    def __init__(self, begin: Callable[[], Awaitable[Result[A, E]]], function: Callable[[A], B]) -> None:
        self._begin = begin
        self._function = function

    def __await__(self) -> Generator[Any, Any, Result[B, E]]:
        ended = yield from self._begin().__await__()
        return ended.map(self._function)
