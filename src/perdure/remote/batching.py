"""Requests that are made at the same moment travel together.

A request of HTTP costs client and server much more than one more line in it. Calls that are made in one iteration of
the event loop become one batch; its answers arrive as they are ready, so that a slow one delays no other.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import attrs

from perdure.remote.channel import AnswerLost, ClientClosed, HttpReply, NotSent, reply_for
from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.wire.envelope import BatchReply, Envelope, reply_of

MAX_BATCH: Final = 500
"""The maximum number of requests in one batch; the server accepts 1,000."""

MAX_BATCH_BYTES: Final = 512 * 1024
"""The size at which a batch is sent without further requests."""

Waiting: TypeAlias = Future[BatchReply]


@attrs.define(eq=False)
class CallBatcher:
    """Sends requests in batches.

    Attributes:
        post: sends the lines of a batch, and yields the lines of its answer. It raises `NotSent`, `AnswerLost`, or
            `BatchRefused`.
        max_batches: the maximum number of batches in progress; further requests wait.
        runtime: starts tasks and timers.
    """

    post: Callable[[bytes], AsyncIterator[bytes]]
    max_batches: int
    runtime: Runtime
    _queue: list[tuple[bytes, int, Waiting]] = attrs.Factory(list[tuple[bytes, int, Waiting]])
    _unsent: set[int] = attrs.Factory(set[int])
    _tasks: set[SpawnedTask[None]] = attrs.Factory(set[SpawnedTask[None]])
    _number: int = 0
    _scheduled: bool = False
    _closed: bool = False

    async def call(self, envelope: Envelope, timeout_ms: float) -> BatchReply:
        """Send a request with others of the same moment, and wait for its answer.

        Raises:
            NotSent: it did not reach the server.
            AnswerLost: no answer came in time.
            ClientClosed: the client is closed.
        """
        if self._closed:
            raise ClientClosed
        self._number += 1
        number = self._number
        waiting: Waiting = self.runtime.future()
        self._queue.append((attrs.evolve(envelope, number=number).encoded(), number, waiting))
        self._unsent.add(number)
        if not self._scheduled:
            self._scheduled = True
            self.runtime.call_soon(self._flush)
        timer = self.runtime.call_later(timeout_ms, lambda: self._expire(number, waiting, timeout_ms))
        try:
            return await waiting
        finally:
            timer.cancel()

    def _flush(self) -> None:
        self._scheduled = False
        while self._queue and len(self._tasks) < self.max_batches:
            task = self.runtime.spawn(self._send(self._take()), name="batch of requests")
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: SpawnedTask[None]) -> None:
        self._tasks.discard(task)
        self._flush()

    def _take(self) -> list[tuple[bytes, int, Waiting]]:
        """Take requests for one batch; those whose callers have gone are dropped."""
        batch: list[tuple[bytes, int, Waiting]] = []
        size = taken = 0
        for line, number, waiting in self._queue:
            if len(batch) == MAX_BATCH or (batch and size + len(line) > MAX_BATCH_BYTES):
                break
            taken += 1
            self._unsent.discard(number)
            if not waiting.done():
                batch.append((line, number, waiting))
                size += len(line) + 1
        del self._queue[:taken]
        return batch

    async def _send(self, batch: Sequence[tuple[bytes, int, Waiting]]) -> None:
        waiting = {number: future for _, number, future in batch}
        if not waiting:
            return
        failure: Exception = AnswerLost("the server closed the connection before it answered")
        try:
            async for line in self.post(b"\n".join(line for line, _, _ in batch)):
                reply = reply_of(line)
                future = None if reply is None else waiting.get(reply.number)
                if reply is not None and future is not None and not future.done():
                    future.set_result(reply)
        except (NotSent, AnswerLost) as error:
            failure = error
        except BatchRefused as refused:
            for number, future in waiting.items():
                if not future.done():
                    future.set_result(reply_for(refused.reply, number))
        finally:
            for future in waiting.values():
                if not future.done():
                    future.set_exception(failure)

    def _expire(self, number: int, waiting: Waiting, timeout_ms: float) -> None:
        seconds = f"{timeout_ms / 1_000:g} seconds"
        if waiting.done():
            return
        if number in self._unsent:
            waiting.set_exception(NotSent(f"its {self.max_batches} connections were in use for {seconds}"))
        else:
            waiting.set_exception(AnswerLost(f"no answer came within {seconds}"))

    async def close(self) -> None:
        """Cancel the batches in progress; the answers of their requests are lost. Send no others."""
        self._closed = True
        queue, self._queue = self._queue, []
        for _, _, waiting in queue:
            if not waiting.done():
                waiting.set_exception(ClientClosed())
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(self.runtime.cancelled):
                await task


@attrs.frozen(str=False)
class BatchRefused(Exception):
    """The server refused a batch as a whole: none of its requests was performed."""

    reply: HttpReply
