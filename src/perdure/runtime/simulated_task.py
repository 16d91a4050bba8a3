"""The simulation's futures and tasks: asyncio's semantics, as far as the library uses them, on a small trampoline."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

import attrs

from perdure.runtime.record import AlreadyDone, WouldBlock

T = TypeVar("T")

_State = Literal["pending", "answered", "cancelled"]

_MAX_AWAITS_ON_THE_WAY_OUT = 100
"""The number of awaits in `finally` blocks after which a coroutine is dropped."""


class SimulatedCancellation(BaseException):
    """A simulation task or future was cancelled."""


class Scheduler(Protocol):
    """The simulation's interface for its tasks."""

    def ready(self, task: SimulatedTask[Any]) -> None:
        """Add the task to those that can take their next step."""
        ...

    def call_soon(self, function: Callable[[], object]) -> object:
        """Call `function` before any further step."""
        ...

    def task_failed(self, task: SimulatedTask[Any]) -> None:
        """Record that the task raised."""
        ...


@attrs.frozen
class Foreign:
    """An awaitable from outside the simulation: only a hosting event loop can resolve it."""

    awaited: object


class SimulatedFuture(Generic[T]):
    """A result that other code will set. Awaited by the same simulation's tasks."""

    __slots__ = ("_callbacks", "_exception", "_result", "_scheduler", "_state", "retrieved")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._state: _State = "pending"
        self._result: T
        self._exception: BaseException | None = None
        self._callbacks: list[Callable[[Self], object]] = []
        self.retrieved = False

    def __repr__(self) -> str:
        return f"<future, {self._state}>"

    def done(self) -> bool:
        """Return whether it was resolved or cancelled."""
        return self._state != "pending"

    def cancelled(self) -> bool:
        """Return whether it was cancelled."""
        return self._state == "cancelled"

    def set_result(self, result: T, /) -> None:
        """Set the result.

        Raises:
            AlreadyDone: it was resolved or cancelled before.
        """
        self._must_be_pending()
        self._result = result
        self._finish("answered")

    def set_exception(self, exception: BaseException, /) -> None:
        """Make every waiter raise `exception`.

        Raises:
            AlreadyDone: it was resolved or cancelled before.
        """
        self._must_be_pending()
        self._exception = exception
        self._finish("answered")

    def cancel(self) -> bool:
        """Make every waiter raise `SimulatedCancellation`. Return False when it is done already."""
        if self.done():
            return False
        self._finish("cancelled")
        return True

    def result(self) -> T:
        """Return the result, or raise the exception.

        Raises:
            AlreadyDone: it is not done yet.
        """
        exception = self.exception()
        if exception is not None:
            raise exception
        return self._result

    def exception(self) -> BaseException | None:
        """Return the exception, or None when it has a result.

        Raises:
            AlreadyDone: it is not done yet.
            SimulatedCancellation: it was cancelled.
        """
        if self._state == "pending":
            raise AlreadyDone(f"{self!r} has no result before it is done")
        self.retrieved = True
        if self._state == "cancelled":
            raise SimulatedCancellation
        return self._exception

    def peek_exception(self) -> BaseException | None:
        """Return the exception without counting as a read, for `unhandled`."""
        return self._exception

    def add_done_callback(self, fn: Callable[[Self], object], /) -> None:
        """Call `fn` with the future, soon after it is done."""
        if self.done():
            self._call_back(fn)
        else:
            self._callbacks.append(fn)

    def remove_done_callback(self, fn: Callable[[Self], object], /) -> int:
        """Remove `fn`. Return how many times it was registered."""
        kept = [known for known in self._callbacks if known != fn]
        removed = len(self._callbacks) - len(kept)
        self._callbacks = kept
        return removed

    def __await__(self) -> Generator[Any, Any, T]:
        if not self.done():
            yield self
        return self.result()

    def _must_be_pending(self) -> None:
        if self.done():
            raise AlreadyDone(f"{self!r} was resolved a second time")

    def _finish(self, state: _State) -> None:
        self._state = state
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            self._call_back(callback)

    def _call_back(self, fn: Callable[[Any], object]) -> None:
        self._scheduler.call_soon(partial(fn, self))


class SimulatedTask(SimulatedFuture[T]):
    """A coroutine that the simulation advances step by step, with its own context variables, as in asyncio."""

    __slots__ = ("_cancel_requests", "_context", "_coroutine", "_must_cancel", "_waiting_for", "name")

    def __init__(self, scheduler: Scheduler, coroutine: Coroutine[Any, Any, T], name: str) -> None:
        super().__init__(scheduler)
        self._coroutine = coroutine
        # As asyncio does: a task that set context variables of others would hide mistakes that occur in production.
        self._context = copy_context()
        self._cancel_requests = 0
        self._must_cancel = False
        self._waiting_for: SimulatedFuture[Any] | Foreign | None = None
        self.name = name

    def __repr__(self) -> str:
        return f"<task {self.name}, {self._state}>"

    @property
    def foreign(self) -> Foreign | None:
        """The awaitable that the hosting event loop must resolve, if the task waits for one."""
        return self._waiting_for if isinstance(self._waiting_for, Foreign) else None

    @property
    def must_cancel(self) -> bool:
        """Whether the next step throws `SimulatedCancellation`."""
        return self._must_cancel

    @property
    def waiting_for(self) -> object:
        """The value that it awaits. None when it can take its next step."""
        return self._waiting_for

    def cancel(self) -> bool:
        """Throw `SimulatedCancellation` at the await where the task is. Return False when it is done already."""
        if self.done():
            return False
        self._cancel_requests += 1
        awaited = self._waiting_for
        # In asyncio's order: first the future, whose other waiters are cancelled with it.
        if isinstance(awaited, SimulatedFuture) and awaited.cancel():
            return True  # the cancelled future cancels the task
        self._must_cancel = True
        return True

    def cancelling(self) -> int:
        """Return how many cancellation requests were not undone."""
        return self._cancel_requests

    def uncancel(self) -> int:
        """Undo one cancellation request. Return how many remain."""
        self._cancel_requests = max(0, self._cancel_requests - 1)
        return self._cancel_requests

    def step(self, thrown: BaseException | None = None, *, sent: object = None) -> None:
        """Advance the coroutine to its next await, or to its end.

        Args:
            thrown: raised at the current await. By default the awaited future decides.
            sent: the result from a hosting event loop.

        Raises:
            BaseException: raised by the coroutine, when it is neither an `Exception` nor a cancellation.
        """
        if self._must_cancel and thrown is None:
            self._must_cancel = False
            thrown = SimulatedCancellation()
            self._cancel_foreign()
        self._waiting_for = None
        try:
            if thrown is None:
                awaited = self._context.run(self._coroutine.send, sent)
            else:
                awaited = self._context.run(self._coroutine.throw, thrown)
        except StopIteration as stop:
            self._returned(stop.value)
        except SimulatedCancellation:
            super().cancel()
        except BaseException as exception:
            self.set_exception(exception)
            self._scheduler.task_failed(self)
            # `KeyboardInterrupt` ends the test run, and not only this task.
            if not isinstance(exception, Exception):
                raise
        else:
            self._wait_for(awaited)

    def refuse_foreign(self) -> WouldBlock:
        """Return the error for a task whose awaitable this run cannot resolve."""
        foreign = self.foreign
        return WouldBlock(who=f"task {self.name!r}", waiting_for=foreign.awaited if foreign else None)

    def close(self) -> None:
        """Drop the coroutine at its current await: its `finally` blocks run until their first await."""
        # A `finally` block may wait in a loop: without a limit, closing would not end.
        for _ in range(_MAX_AWAITS_ON_THE_WAY_OUT):
            try:
                self._context.run(self._coroutine.close)
            except RuntimeError:  # it awaited in a `finally` block: close it again, from there
                continue
            return

    def _cancel_foreign(self) -> None:
        foreign = self.foreign
        cancel = getattr(foreign.awaited, "cancel", None) if foreign is not None else None
        if cancel is not None:
            cancel()

    def _returned(self, value: T) -> None:
        # asyncio does the same: a cancellation that no await received still ends the task as cancelled.
        if self._must_cancel:  # it cancelled itself in its last step
            super().cancel()
        else:
            self.set_result(value)

    def _wait_for(self, awaited: object) -> None:
        if awaited is None:  # a bare yield lets the other tasks run
            self._scheduler.ready(self)
        elif isinstance(awaited, SimulatedFuture):
            self._wait_for_future(awaited)  # pyright: ignore[reportUnknownArgumentType]  # of any type
        else:
            # Ready and not refused here: only the run knows whether a hosting event loop can resolve it.
            self._waiting_for = Foreign(awaited)
            self._scheduler.ready(self)

    def _wait_for_future(self, awaited: SimulatedFuture[Any]) -> None:
        self._waiting_for = awaited
        awaited.add_done_callback(self._wake)
        if self._must_cancel and awaited.cancel():
            self._must_cancel = False

    def _wake(self, _: SimulatedFuture[Any]) -> None:
        self._scheduler.ready(self)


class SimulatedCall(SimulatedTask[None]):
    """A call that the simulation makes in a step's place. Nothing cancels it."""

    __slots__ = ()

    def __init__(self, scheduler: Scheduler, function: Callable[[], None], name: str) -> None:
        super().__init__(scheduler, _called(function), name)

    def cancel(self) -> bool:
        """Return False: no cancellation reaches it."""
        return False


async def _called(function: Callable[[], None]) -> None:
    function()
