"""Reads of callers beside turns: each is answered, also if the store does not answer before the engine stops."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.residents import Residents
from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address
from perdure.values.errors import EngineClosed
from perdure.values.transition import Loaded

A = TypeVar("A")


@attrs.define(eq=False)
class DirectReads:
    """The reads of the store that callers wait for.

    Attributes:
        residents: the instances in this process.
        runtime: starts the tasks that read.
        phase: whether the engine waits for reads; if not, a read that the store does not answer at once fails.
    """

    residents: Residents
    runtime: Runtime
    phase: Literal["open", "left"] = "open"
    _open: dict[Future[None], None] = attrs.Factory(dict["Future[None]", None])
    _unawaited: dict[Future[None], None] = attrs.Factory(dict["Future[None]", None])
    _over: list[Future[None]] = attrs.Factory(list[Future[None]])

    async def load(self, address: Address) -> Result[Loaded, Any]:
        """Read the committed row of an instance, from memory if it is there."""
        kept = self.residents.loaded_row(address)
        return await self.answer(lambda: self.residents.load(address)) if kept is None else Success(kept)

    async def answer(
        self,
        read: Callable[[], Awaitable[Result[A, Any]]],
        unanswered: Callable[[], Exception] = EngineClosed,
        *,
        is_awaited: bool = True,
    ) -> Result[A, Any]:
        """Return the answer of the store; or an error, if the engine stops before it arrives.

        Args:
            read: begins the read. Cancelling this wait cancels it.
            unanswered: makes that error.
            is_awaited: whether an engine that stops waits for the answer, as it waits for runs.
        """
        task = self.runtime.spawn_eagerly(_awaited(read), name="perdure:read")
        if not task.done():
            end: Future[None] = self.runtime.future()
            waits = self._open if is_awaited else self._unawaited
            waits[end] = None
            task.add_done_callback(lambda _: _tell(end))
            try:
                if self.phase == "open":
                    await end
            finally:
                waits.pop(end, None)
                self._report_answered()
                task.cancel()  # no effect if it is done
        return task.result() if task.done() else Failure(unanswered())

    def _report_answered(self) -> None:
        if not self._open:
            over, self._over = self._over, []
            for waiting in over:
                _tell(waiting)

    async def answered(self) -> None:
        """Wait until no read is in progress."""
        if self._open:
            self._over.append(over := self.runtime.future())
            await over

    def leave(self) -> None:
        """Answer the reads in progress with `EngineClosed`."""
        self.phase = "left"
        for end in (*self._open, *self._unawaited):
            _tell(end)


async def _awaited(read: Callable[[], Awaitable[Result[A, Any]]]) -> Result[A, Any]:
    """Begin the read inside of the task, so that nothing waits unread if that never takes a step."""
    return await read()


def _tell(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
