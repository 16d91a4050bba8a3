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
from perdure.values.errors import Overloaded
from perdure.wire.envelope import BatchReply, Envelope, reply_of
from perdure.wire.problems import problem_of

MAX_BATCH: Final = 500
"""The maximum number of requests in one batch; the server accepts 1,000."""

MAX_BATCH_BYTES: Final = 512 * 1024
"""The size at which a batch is sent without further requests."""

MAX_WAITING: Final = 10_000
"""The maximum number of requests that wait to be sent; further ones fail with ``Overloaded``."""

Waiting: TypeAlias = Future[BatchReply]
Batch: TypeAlias = Sequence[tuple[int, "Unsent"]]

_TOO_LARGE: Final = 413


@attrs.frozen(eq=False)
class Unsent:
    """A request that waits to be sent.

    Attributes:
        line: the request, encoded.
        timeout_ms: how long its caller waits for the answer.
        waiting: its answer.
    """

    line: bytes
    timeout_ms: float
    waiting: Waiting


@attrs.define(eq=False)
class CallBatcher:
    """Sends requests in batches.

    Attributes:
        post: sends the lines of a batch, and yields the lines of its answer, each within so many milliseconds. It
            raises `NotSent`, `AnswerLost`, or `BatchRefused`.
        max_batches: the maximum number of batches in progress; further requests wait.
        runtime: starts tasks and timers.
        max_waiting: the maximum number of requests that wait to be sent.
    """

    post: Callable[[bytes, float], AsyncIterator[bytes]]
    max_batches: int
    runtime: Runtime
    max_waiting: int = MAX_WAITING
    _queue: dict[int, Unsent] = attrs.Factory(dict[int, Unsent])
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
        if len(self._queue) >= self.max_waiting:
            full = Overloaded("queue of this client's unsent requests", self.max_waiting)
            return BatchReply(envelope.number, "problem", problem_of(full))
        self._number += 1
        number = self._number
        waiting: Waiting = self.runtime.future()
        self._queue[number] = Unsent(attrs.evolve(envelope, number=number).encoded(), timeout_ms, waiting)
        if not self._scheduled:
            self._scheduled = True
            self.runtime.call_soon(self._flush)
        timer = self.runtime.call_later(timeout_ms, lambda: self._expire(number, waiting, timeout_ms))
        try:
            return await waiting
        finally:
            timer.cancel()
            self._queue.pop(number, None)

    def _flush(self) -> None:
        self._scheduled = False
        while self._queue and len(self._tasks) < self.max_batches:
            task = self.runtime.spawn(self._send(self._take()), name="batch of requests")
            self._tasks.add(task)
            task.add_done_callback(self._sent)

    def _sent(self, task: SpawnedTask[None]) -> None:
        self._tasks.discard(task)
        self._flush()

    def _take(self) -> Batch:
        """Take requests for one batch."""
        batch: list[tuple[int, Unsent]] = []
        size = 0
        for number, unsent in self._queue.items():
            if len(batch) == MAX_BATCH or (batch and size + len(unsent.line) > MAX_BATCH_BYTES):
                break
            batch.append((number, unsent))
            size += len(unsent.line) + 1
        for number, _ in batch:
            del self._queue[number]
        return batch

    async def _send(self, batch: Batch) -> None:
        waiting = {number: unsent.waiting for number, unsent in batch}
        longest_ms = max(unsent.timeout_ms for _, unsent in batch)
        failure: Exception = AnswerLost("this client was closed before the answer came")
        try:
            async for line in self.post(b"\n".join(unsent.line for _, unsent in batch), longest_ms):
                reply = reply_of(line)
                future = None if reply is None else waiting.get(reply.number)
                if reply is not None and future is not None and not future.done():
                    future.set_result(reply)
            failure = AnswerLost("the server closed the connection before it answered")
        except (NotSent, AnswerLost) as error:
            failure = error
        except BatchRefused as refused:
            await self._refused(batch, refused.reply)
        except Exception as defect:  # noqa: BLE001 - of the HTTP library: the callers must be answered
            failure = AnswerLost(f"the client failed: {defect!r}")
        finally:
            for future in waiting.values():
                if not future.done():
                    future.set_exception(failure)

    async def _refused(self, batch: Batch, reply: HttpReply) -> None:
        """Send a batch that is too large for the server in halves; pass any other refusal to the callers."""
        if reply.status == _TOO_LARGE and len(batch) > 1:
            half = len(batch) // 2
            await self._send(batch[:half])
            await self._send(batch[half:])
            return
        for number, unsent in batch:
            if not unsent.waiting.done():
                unsent.waiting.set_result(reply_for(reply, number))

    def _expire(self, number: int, waiting: Waiting, timeout_ms: float) -> None:
        seconds = f"{timeout_ms / 1_000:g} seconds"
        if waiting.done():
            return
        if number in self._queue:
            waiting.set_exception(NotSent(f"its {self.max_batches} connections were in use for {seconds}"))
        else:
            waiting.set_exception(AnswerLost(f"no answer came within {seconds}"))

    async def close(self) -> None:
        """Cancel the batches in progress; the answers of their requests are lost. Send no others."""
        self._closed = True
        queue, self._queue = self._queue, {}
        for unsent in queue.values():
            if not unsent.waiting.done():
                unsent.waiting.set_exception(ClientClosed())
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
