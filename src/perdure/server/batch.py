"""``POST /v1/calls``: many requests in one; each is answered as soon as it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import attrs
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from perdure.client.local_gateway import LocalGateway
from perdure.programs import Raised
from perdure.runtime.record import LogRecord
from perdure.server.perform import perform
from perdure.server.replies import problem_reply
from perdure.values.errors import InvalidInput, OutcomeUnknown
from perdure.wire.envelope import READS, Envelope, envelope_of, refused
from perdure.wire.problems import problem_of

LINES: Final = "application/x-ndjson"

READS_AT_ONCE: Final = 16
"""Reads of one batch that are performed at once: each answer may be a state of the largest size."""

UNREAD_BYTES: Final = 4_194_304
"""Answers that wait for the client to read; while they are more, no further read begins."""

_HEADERS: Final = [(b"content-type", LINES.encode())]


def envelopes_of(body: bytes) -> tuple[Envelope, ...]:
    """Decode a batch.

    Raises:
        InvalidInput: a line is not a request, or there is none.
    """
    lines = [line for line in body.split(b"\n") if line]
    if not lines:
        raise InvalidInput("batch", ("$: expected at least one line, got none",))
    envelopes = tuple(envelope_of(line, where=f"line {number} of the batch") for number, line in enumerate(lines, 1))
    if len({envelope.number for envelope in envelopes}) != len(envelopes):
        raise InvalidInput("batch", ("$.n: expected another number on each line",))
    return envelopes


@attrs.define
class Answers:
    """Writes the lines of answers in the order in which they are ready, several at once if several are.

    Attributes:
        send: sends a message of ASGI.
        left: how many answers are missing.
    """

    send: Send
    left: int
    _ready: list[bytes] = attrs.Factory(list[bytes])
    _wake: asyncio.Event = attrs.Factory(asyncio.Event)
    _unread: int = 0
    _was_read: asyncio.Event = attrs.Factory(asyncio.Event)

    def add(self, line: bytes) -> None:
        """Add the line of one answer."""
        self._ready.append(line)
        self._unread += len(line)
        self._wake.set()

    async def room(self) -> None:
        """Wait until the client has read enough of the answers before."""
        while self._unread >= UNREAD_BYTES:
            self._was_read.clear()
            await self._was_read.wait()

    async def write(self) -> None:
        """Send every line. The client may be gone: the engine answers all the same."""
        await self.send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        while self.left:
            await self._wake.wait()
            self._wake.clear()
            lines, self._ready = self._ready, []
            self.left -= len(lines)
            body = b"".join(lines)
            await self.send({"type": "http.response.body", "body": body, "more_body": self.left > 0})
            self._unread -= len(body)
            self._was_read.set()


async def answer_batch(
    gateway: LocalGateway, scopes: frozenset[str], scope: Scope, receive: Receive, send: Send
) -> None:
    """Answer one batch.

    A batch with a line that is not valid is refused as a whole: none of its requests is performed.

    Args:
        gateway: reaches the engine.
        scopes: of the client's token.
        scope: of ASGI, as are the following.
        receive: receives the body.
        send: sends the response.
    """
    try:
        envelopes = envelopes_of(await Request(scope, receive).body())
    except InvalidInput as error:
        return await problem_reply(error)(scope, receive, send)
    if len(envelopes) == 1:
        line = await perform(gateway, envelopes[0], scopes)
        headers = [*_HEADERS, (b"content-length", str(len(line)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        return await send({"type": "http.response.body", "body": line})
    return await _answer_many(gateway, scopes, envelopes, send)


async def _answer_many(
    gateway: LocalGateway, scopes: frozenset[str], envelopes: Sequence[Envelope], send: Send
) -> None:
    answers, reads = Answers(send, len(envelopes)), asyncio.Semaphore(READS_AT_ONCE)

    async def one(envelope: Envelope) -> None:
        if envelope.action in READS:
            async with reads:
                await answers.room()
                await performed(envelope)
        else:
            await performed(envelope)

    async def performed(envelope: Envelope) -> None:
        try:
            line = await perform(gateway, envelope, scopes)
        except Exception as defect:  # noqa: BLE001 - of the library: the other requests are answered all the same
            gateway.engine.runtime.log(LogRecord("error", "request failed", {"error": Raised(defect).formatted()}))
            line = refused(envelope.number, problem_of(OutcomeUnknown("the server failed; see its log")))
        answers.add(line)

    tasks: list[asyncio.Task[Any]] = [asyncio.ensure_future(one(envelope)) for envelope in envelopes]
    writing = asyncio.ensure_future(answers.write())
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        writing.cancel()
        raise
    await writing
