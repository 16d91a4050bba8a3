"""A client's channel in an event loop.

Requests that are made at the same moment travel in one batch, over HTTP/1.1 connections: h11 on asyncio streams.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Literal, Never, TypeAlias, TypeVar
from urllib.parse import urlsplit

import attrs
import h11
from returns.result import Result

from perdure.client.gateway import concurrently
from perdure.jobs.call import Call
from perdure.remote.channel import (
    CONNECT_MS,
    LINES,
    MAX_ANSWER_BYTES,
    AnswerLost,
    ClientClosed,
    HttpReply,
    NotSent,
    check_encoding,
    check_size,
    headers_of,
    reply_for,
)
from perdure.remote.transport_errors import reason_of
from perdure.runtime.record import Future, Runtime, SpawnedTask
from perdure.values.errors import Overloaded
from perdure.wire.problems import problem_of
from perdure.wire.requests import BATCHES, BatchReply, Envelope, reply_of

A = TypeVar("A")

MAX_HEAD_BYTES: Final = 65_536
"""The maximum size of an incomplete part of a response: its headers, a line about a chunk."""

MAX_IDLE_MS: Final = 5_000
"""A connection that was idle for longer is closed instead of used: the server may be closing it."""

_REFUSED: Final = 400

READ_BYTES: Final = 65_536
"""The most that is read at once."""


@attrs.define(eq=False)
class Connection:
    """One connection.

    Attributes:
        reader: reads from the server.
        writer: writes to it.
        protocol: the HTTP state on it.
        idle_since_ms: when it was last used, by a monotonic clock.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    protocol: h11.Connection = attrs.Factory(lambda: h11.Connection(h11.CLIENT, MAX_HEAD_BYTES))
    idle_since_ms: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may use it: the server has not closed it, as far as this process knows."""
        return self.protocol.our_state is h11.IDLE and not (self.reader.at_eof() or self.writer.is_closing())

    def send(self, request: h11.Request, content: bytes) -> None:
        """Begin to send a request, without waiting until it is sent.

        A server that refuses a large body answers before it has read it, and closes the connection soon: a client
        that first sends all would lose that answer.
        """
        events = (request, h11.Data(content), h11.EndOfMessage())
        self.writer.write(b"".join(self.protocol.send(event) or b"" for event in events))

    async def head(self) -> h11.Response:
        """Return the status and the response's headers."""
        event = await self.event()
        if isinstance(event, h11.Response):
            return event
        raise h11.RemoteProtocolError("the connection was closed before the response")

    async def event(self) -> h11.Event:
        """Return the response's next part."""
        while True:
            event = self.protocol.next_event()
            if event is h11.NEED_DATA:
                self.protocol.receive_data(await self.reader.read(READ_BYTES))
            # Informational responses precede the real one, such as 103 of a proxy.
            elif isinstance(event, h11.Event) and not isinstance(event, h11.InformationalResponse):
                return event
            elif event is h11.PAUSED:
                raise h11.RemoteProtocolError("more data than one response")

    def end(self) -> None:
        """Note that the response was read to its end. The connection may be used again."""
        # Both sides are done: with a body that was not read, the next response would begin with it.
        if self.protocol.our_state is h11.DONE and self.protocol.their_state is h11.DONE:
            self.protocol.start_next_cycle()

    def drop(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


Headers: TypeAlias = Sequence[tuple[bytes, bytes]]


@attrs.define(eq=False, kw_only=True)
class Connections:
    """Connections to one server, which are kept for further requests.

    Attributes:
        socket: the path to its Unix socket. None for TCP.
        headers: sent with every request.
        tls: returns the settings of ``https``.
        connect_ms: the longest time for a connection.
    """

    base: str
    socket: str | None
    headers: Mapping[str, str]
    runtime: Runtime
    tls: Callable[[], ssl.SSLContext]
    connect_ms: float = CONNECT_MS
    closed: bool = False
    _idle: list[Connection] = attrs.Factory(list[Connection])

    @asynccontextmanager
    async def exchange(
        self, method: Literal["GET", "POST"], path: str, headers: Headers, content: bytes, timeout_ms: float
    ) -> AsyncGenerator[tuple[int, AsyncIterator[bytes]]]:
        """Send a request. Return the response's status and the parts of its body.

        Args:
            method: the method.
            path: the path, with its query.
            headers: sent beside those of every request.
            content: the body.
            timeout_ms: the longest time until the response begins, and between its parts.

        Raises:
            NotSent: no connection was made.
            AnswerLost: the connection failed later, or the server was too slow.
        """
        connection, was_read = self._taken() or await self._connected(timeout_ms), False
        try:
            connection.send(self._request(method, path, headers, content), content)
            head = await _within(timeout_ms, connection.head())
            # The server may close the connection of a request whose body it did not read.
            was_read = head.status_code < _REFUSED or content == b""
            yield head.status_code, self._body(connection, _texts(head.headers), timeout_ms)
        # After the connection: whether the server has performed the request is not known.
        except (OSError, h11.ProtocolError) as error:
            raise AnswerLost(f"the connection failed: {reason_of(error)}") from error
        finally:
            # After an exception the response was not read: the next request would read its rest.
            if was_read and connection.usable and not self.closed:
                connection.idle_since_ms = self.runtime.monotonic_ms()
                self._idle.append(connection)
            else:
                connection.drop()

    async def _body(
        self, connection: Connection, headers: Mapping[str, str], timeout_ms: float
    ) -> AsyncIterator[bytes]:
        check_encoding(headers)
        # One limit for each part: a long answer may take longer than the limit as a whole.
        while isinstance(event := await _within(timeout_ms, connection.event()), h11.Data):
            yield bytes(event.data)
        connection.end()

    def _request(self, method: Literal["GET", "POST"], path: str, headers: Headers, content: bytes) -> h11.Request:
        url = urlsplit(self.base)
        length = ("Content-Length", str(len(content)))
        every = [("Host", url.netloc), *([length] if method == "POST" else []), *self.headers.items()]
        encoded = [(name.encode(), value.encode()) for name, value in every]
        return h11.Request(method=method, target=f"{url.path}{path}", headers=[*encoded, *headers])

    def _taken(self) -> Connection | None:
        oldest = self.runtime.monotonic_ms() - MAX_IDLE_MS
        # The newest first: it is the least likely to have been closed by the server.
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since_ms >= oldest:
                return connection
            connection.drop()
        return None

    async def _connected(self, timeout_ms: float) -> Connection:
        try:
            return Connection(*await _within(min(timeout_ms, self.connect_ms), self._open()))
        except OSError as error:
            # Nothing was sent yet, so a repeat is safe.
            raise NotSent(reason_of(error)) from error

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket is not None:
            return await asyncio.open_unix_connection(self.socket)
        url = urlsplit(self.base)
        tls = self.tls() if url.scheme == "https" else None
        port = url.port or (80 if tls is None else 443)
        return await asyncio.open_connection(url.hostname, port, ssl=tls)

    async def close(self) -> None:
        """Close the idle connections now, and the others after their response."""
        self.closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
            with suppress(OSError):
                await connection.writer.wait_closed()


async def _within(timeout_ms: float, waiting: Awaitable[A]) -> A:
    async with asyncio.timeout(timeout_ms / 1_000):
        return await waiting


def busy(connections: int, waited_ms: float) -> str:
    """Return why a request was not sent."""
    return f"its {connections} connections were in use for {waited_ms / 1_000:g} seconds"


def _texts(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode(): value.decode("latin-1") for name, value in headers}


MAX_BATCH: Final = 500
"""The maximum number of requests in one batch; the server accepts 1,000."""

MAX_BATCH_BYTES: Final = 512 * 1024
"""The size at which a batch is sent without further requests."""

MAX_WAITING: Final = 10_000
"""The maximum number of requests that wait to be sent; further ones fail with ``Overloaded``."""

Waiting: TypeAlias = Future[BatchReply]
Batch: TypeAlias = Sequence[tuple[int, "Unsent"]]

_TOO_LARGE: Final = 413

_OF_LINES: Final[Headers] = [(name.encode(), value.encode()) for name, value in LINES.items()]


@attrs.frozen(eq=False)
class Unsent:
    """A request that waits to be sent.

    Attributes:
        timeout_ms: how long its caller waits for the answer.
    """

    line: bytes
    timeout_ms: float
    waiting: Waiting


@attrs.define(eq=False)
class CallBatcher:
    """Sends requests in batches.

    Attributes:
        post: sends the lines in a batch, and yields the lines of its answer, each within so many milliseconds. It
            raises `NotSent`, `AnswerLost`, or `BatchRefused`.
        max_batches: at most this many batches are in progress. Further requests wait.
        runtime: starts tasks and timers.
        max_waiting: at most this many requests wait to be sent.
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
        """Send a request together with others from the same moment, and wait for its answer.

        Raises:
            NotSent: it did not reach the server.
            AnswerLost: no answer came in time.
            ClientClosed: the client is closed.
        """
        if self._closed:
            raise ClientClosed
        # Before the request is stored: a client that is full must not grow.
        if len(self._queue) >= self.max_waiting:
            full = Overloaded("queue of this client's unsent requests", self.max_waiting)
            return BatchReply(envelope.number, "problem", problem_of(full))
        # Numbers of this client, not of the caller: answers of a batch arrive in any order.
        self._number += 1
        number = self._number
        waiting: Waiting = self.runtime.future()
        self._queue[number] = Unsent(envelope.encoded(number), timeout_ms, waiting)
        # One flush for all requests of this step of the event loop: they share a batch.
        if not self._scheduled:
            self._scheduled = True
            self.runtime.call_soon(self._flush)
        timer = self.runtime.call_later(timeout_ms, lambda: self._expire(number, waiting, timeout_ms))
        try:
            return await waiting
        finally:
            timer.cancel()
            # A caller that was cancelled takes its request along, unless it was sent.
            self._queue.pop(number, None)

    def _flush(self) -> None:
        self._scheduled = False
        # As many batches as connections: others wait here, and grow, instead of in the socket.
        while self._queue and len(self._tasks) < self.max_batches:
            task = self.runtime.spawn(self._send(self._take()), name="batch of requests")
            self._tasks.add(task)
            # When a batch ends, the requests that have gathered meanwhile are sent.
            task.add_done_callback(self._sent)

    def _sent(self, task: SpawnedTask[None]) -> None:
        self._tasks.discard(task)
        self._flush()

    def _take(self) -> Batch:
        """Take requests for one batch."""
        batch: list[tuple[int, Unsent]] = []
        size = 0
        for number, unsent in self._queue.items():
            # A single request may be larger than a batch: it is sent alone.
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
                # An answer of another batch, or a second one, is ignored.
                reply = reply_of(line)
                future = None if reply is None else waiting.get(reply.number)
                if reply is not None and future is not None and not future.done():
                    future.set_result(reply)
            failure = AnswerLost("the server closed the connection before it answered")
        except (NotSent, AnswerLost) as error:
            failure = error
        except BatchRefused as refused:
            # Sent again in parts inside this task: its callers wait for the parts.
            await self._refused(batch, refused.reply)
        except Exception as defect:  # noqa: BLE001 - of the HTTP library: the callers must be answered
            failure = AnswerLost(f"the client failed: {defect!r}")
        finally:
            # Every caller gets an answer, also if the task is cancelled.
            for future in waiting.values():
                if not future.done():
                    future.set_exception(failure)

    async def _refused(self, batch: Batch, reply: HttpReply) -> None:
        """Send a batch that is too large for the server in halves. Pass any other refusal to the callers."""
        # Refused before it was read: no request of it was performed.
        if reply.status == _TOO_LARGE and len(batch) > 1:
            half = len(batch) // 2
            await self._send(batch[:half])
            await self._send(batch[half:])
            return
        for number, unsent in batch:
            if not unsent.waiting.done():
                unsent.waiting.set_result(reply_for(reply, number))

    def _expire(self, number: int, waiting: Waiting, timeout_ms: float) -> None:
        if waiting.done():
            return
        # In the queue it was not sent: a repeat is safe. Otherwise it may have been performed.
        if number in self._queue:
            waiting.set_exception(NotSent(busy(self.max_batches, timeout_ms)))
        else:
            waiting.set_exception(AnswerLost(f"no answer came within {timeout_ms / 1_000:g} seconds"))

    async def close(self) -> None:
        """Cancel the batches in progress. Their requests' answers are lost. Send no others."""
        # First: callers that wake up now must not send another request.
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
    """The server refused a complete batch: it performed none of the requests."""

    reply: HttpReply


OK: Final = 200


@attrs.frozen(eq=False)
class AsyncClientRuntime:
    """Waits in the event loop.

    Attributes:
        runtime: the clock, and the key source.
    """

    runtime: Runtime

    async def concurrently(self, calls: Sequence[Call[Any, Any]], /) -> Result[tuple[Result[Any, Any], ...], Never]:
        """Make several calls at the same time: they share batches."""
        return await concurrently(self.runtime, calls)

    async def pause(self, delay_ms: float, /) -> None:
        """Wait before a repeat."""
        await self.runtime.sleep(delay_ms)

    def now_ms(self) -> float:
        """Read a monotonic clock."""
        return self.runtime.monotonic_ms()

    def new_key(self) -> str:
        """Return a new idempotency key."""
        return f"{self.runtime.new_id():032x}"


@attrs.define(eq=False)
class AsyncChannel:
    """Sends requests over connections that are kept, in batches.

    Attributes:
        max_connections: at most this many batches, and as many other requests, are in progress.
        runtime: starts tasks and timers.
        max_answer_bytes: the largest answer to one request.
    """

    connections: Connections
    max_connections: int
    runtime: Runtime
    max_answer_bytes: int = MAX_ANSWER_BYTES
    _batching: CallBatcher = attrs.field(init=False)
    _others: asyncio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._others = asyncio.Semaphore(self.max_connections)
        self._batching = CallBatcher(self._post, self.max_connections, self.runtime)

    async def call(self, envelope: Envelope, timeout_ms: float, /) -> BatchReply:
        """Send a request to one instance."""
        return await self._batching.call(envelope, timeout_ms)

    async def _post(self, lines: bytes, timeout_ms: float) -> AsyncIterator[bytes]:
        async with self.connections.exchange("POST", BATCHES, _OF_LINES, lines, timeout_ms) as (status, parts):
            if status != OK:
                raise BatchRefused(HttpReply(status, await self._joined(parts)))
            begun, size = list[bytes](), 0  # the line that is being received: joined once
            async for part in parts:
                *complete, rest = part.split(b"\n")
                for line in complete:
                    yield b"".join((*begun, line))
                    begun, size = [], 0
                begun.append(rest)
                size += len(rest)
                check_size(size, self.max_answer_bytes)

    async def http(
        self, method: Literal["GET", "POST"], path: str, timeout_ms: float, content: bytes, key: str | None, /
    ) -> HttpReply:
        """Send another request."""
        if self.connections.closed:
            raise ClientClosed
        try:
            await _within(timeout_ms, self._others.acquire())
        except TimeoutError as error:
            # All connections are in use: nothing was sent.
            raise NotSent(busy(self.max_connections, timeout_ms)) from error
        try:
            async with self.connections.exchange(method, path, headers_of(key), content, timeout_ms) as (status, parts):
                return HttpReply(status, await self._joined(parts))
        finally:
            self._others.release()

    async def _joined(self, parts: AsyncIterator[bytes]) -> bytes:
        found, size = list[bytes](), 0
        async for part in parts:
            found.append(part)
            size += len(part)
            check_size(size, self.max_answer_bytes)
        return b"".join(found)

    async def close(self) -> None:
        """Close the connections."""
        await self._batching.close()
        await self.connections.close()
