"""``POST /v1/calls``: many requests in one. Each is passed to the engine, and answered as soon as it is done."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import attrs
from returns.result import Result, Success
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from perdure.client.by_name import builder
from perdure.client.client import Client
from perdure.client.local_gateway import LocalGateway
from perdure.jobs.call import Call, begin
from perdure.jobs.definition import AnyDefinition
from perdure.programs import Raised
from perdure.runtime.record import LogRecord, Runtime
from perdure.server.admission import UNBOUNDED, Bulkhead
from perdure.server.guard import CALLER, client_in, departure
from perdure.server.http_limits import HttpLimits
from perdure.server.responses import problem_reply
from perdure.values.errors import (
    AccessDenied,
    InvalidArgument,
    InvalidInput,
    OutcomeUnknown,
    Overloaded,
    PerdureError,
    UnknownJob,
)
from perdure.wire.explanation import ExplainInputs, encode_explain_inputs
from perdure.wire.operations import Scope as TokenScope
from perdure.wire.problems import problem_of
from perdure.wire.records import json_of, without_tracebacks
from perdure.wire.requests import LISTS, READS, Envelope, answered, envelope_of, refused

Encode: TypeAlias = Callable[[Any], bytes]

NULL: Final = b"null"

_STATES: Final = frozenset({"get_state", "shown_state"})
"""The reads whose answer is JSON of the job's own type."""

OPERATIONS: Final = frozenset({"pause", "resume", "terminate"})
"""The instance actions that only an operator may send."""


async def perform(gateway: LocalGateway, envelope: Envelope, scopes: frozenset[str]) -> bytes:
    """Perform one request in a batch.

    Args:
        gateway: reaches the engine.
        envelope: the request.
        scopes: the client token's scopes.

    Returns:
        The answer's line.
    """
    line = begun(gateway, envelope, scopes)
    return line if isinstance(line, bytes) else line.of(await line.result)


def begun(gateway: LocalGateway, envelope: Envelope, scopes: frozenset[str]) -> bytes | PendingAnswer:
    """Begin one request in a batch: the engine has it when this returns.

    Args:
        gateway: reaches the engine.
        envelope: the request.
        scopes: the client token's scopes.

    Returns:
        The pending answer, or the line that refuses the request.
    """
    job = gateway.definitions.get((envelope.kind, envelope.job))
    problem = _refusal(envelope, scopes)
    if job is None or problem is not None:
        unknown = UnknownJob(envelope.kind, envelope.job, served(gateway))
        return refused(envelope.number, problem_of(problem or unknown))
    call, encode = _call(gateway, job, envelope)
    return PendingAnswer(envelope, job, encode, scopes, begin(call))


@attrs.frozen(eq=False)
class PendingAnswer:
    """The answer to one request in a batch, which the engine has begun.

    Attributes:
        envelope: the request.
        job: its job.
        encode: encodes the answer.
        scopes: the client token's scopes.
        result: the engine's answer.
    """

    envelope: Envelope
    job: AnyDefinition
    encode: Encode
    scopes: frozenset[str]
    result: Awaitable[Result[Any, PerdureError]]

    def of(self, result: Result[Any, PerdureError]) -> bytes:
        """Return the line, with its line break."""
        number = self.envelope.number
        if isinstance(result, Success):
            encoded = self.encode(result.unwrap())
            # A state is the user's own data: tracebacks are in the answers of the engine alone.
            return answered(number, encoded if self.envelope.action in _STATES else shown(encoded, self.scopes))
        traceback = may_see_tracebacks(self.scopes)
        return refused(number, problem_of(result.failure(), self.job.plan.errors, traceback=traceback))


def may_see_tracebacks(scopes: frozenset[str]) -> bool:
    """Return whether a client may read the tracebacks in a job's defects: they show paths and code."""
    return "operate" in scopes


def shown(encoded: bytes, scopes: frozenset[str]) -> bytes:
    """Return an answer as a client may see it: without tracebacks, unless it is an operator."""
    return encoded if may_see_tracebacks(scopes) else without_tracebacks(encoded)


def keyed_explanation_denied(key: str | None, scopes: frozenset[str]) -> AccessDenied | None:
    """Return the error for a client that may not send requests and explains one with an idempotency key.

    A repeat's explanation is the first request's stored answer. Another client may have sent that request.
    """
    return None if key is None else denied("call", scopes)


def served(gateway: LocalGateway) -> tuple[str, ...]:
    """Return the served jobs' names, printed ``kind:name``."""
    return tuple(f"{kind}:{name}" for kind, name in gateway.definitions)


def scope_of(action: str) -> TokenScope:
    """Return the scope that a request to an instance needs: ``operate`` to pause, resume or end it, else ``call``."""
    return "operate" if action in OPERATIONS else "call"


def denied(scope: str, scopes: frozenset[str]) -> AccessDenied | None:
    """Return the error for a client without this scope, or None."""
    if scope in scopes:
        return None
    return AccessDenied(scope, "small_scope", f"the token has {', '.join(sorted(scopes)) or 'no scope'}; use another")


def _refusal(envelope: Envelope, scopes: frozenset[str]) -> PerdureError | None:
    refusal = denied("read" if envelope.action in READS else scope_of(envelope.action), scopes)
    if refusal is None and envelope.action in READS:
        refusal = keyed_explanation_denied(envelope.key, scopes)
    return refusal


def _encoded(text: str | None) -> bytes:
    return NULL if text is None else text.encode()


def _call(gateway: LocalGateway, job: AnyDefinition, envelope: Envelope) -> tuple[Call[Any, Any], Encode]:
    match envelope.action:
        case "status" | "shown_outcome" | "steps":
            reads = {"status": gateway.status, "shown_outcome": gateway.shown_outcome, "steps": gateway.steps}
            return reads[envelope.action](job, envelope.id), json_of
        case "get_state":
            return gateway.state_text(job, envelope.id), _encoded
        case "shown_state":
            return gateway.shown_state(job, envelope.id), _encoded
        case "load":
            moment: Call[ExplainInputs, Any] = gateway.explain_inputs(job, envelope.id, envelope.key)
            return moment, encode_explain_inputs
        case action:
            build = builder(
                job,
                action,
                envelope.payload.decode(),
                envelope.key,
                envelope.wait_for,
                interrupt=envelope.interrupt,
                trace=envelope.trace,
                by=gateway.by,
                bare=envelope.bare.decode(),
            )
            return gateway.request(job, envelope.id, build), job.plan.answers.encode


def _asked() -> Any:
    from perdure.rehearsal import asked  # noqa: PLC0415 - an extra

    return asked


async def future_on(client: Client, job: AnyDefinition, id_: str, question: bytes) -> dict[str, Any]:
    """Compute an instance's future, which needs the extra ``testing`` in the engine's environment.

    Raises:
        InvalidArgument: a part of the question is not valid, or the extra is missing.
        InvalidInput: it is not a question, or the payload of an event is not valid.
        PerdureError: the store cannot be read.
    """
    answered_future = (await _with_the_extra("future of an instance")).answered_future
    future: dict[str, Any] = await answered_future(client, job, id_, question)
    return future


async def debugged_on(client: Client, job: AnyDefinition, id_: str, at: int | None) -> dict[str, Any]:
    """Go to a position of an instance's journal or history, which needs the extra ``testing`` as well.

    Raises:
        InvalidArgument: there is no such instance, history or position, or the extra is missing.
        InvalidInput: this code cannot follow it.
        PerdureError: the store cannot be read.
    """
    debugged_instance = (await _with_the_extra("debugger of an instance")).debugged_instance
    position: dict[str, Any] = await debugged_instance(client, job, id_, at)
    return position


async def _with_the_extra(what: str) -> Any:
    try:
        return await asyncio.to_thread(_asked)  # the first import would hold the loop
    except ModuleNotFoundError as missing:
        expected = "an engine whose environment has the extra 'testing': pip install 'perdure[testing]'"
        raise InvalidArgument(what, f"no module {missing.name}", expected) from missing


LINES: Final = "application/x-ndjson"

READS_OF_BATCH: Final = 16
"""Reads in one batch that are performed or wait together: each is a task, and its answer a state of any size."""

UNREAD_BYTES: Final = 4_194_304
"""Answer bytes in one batch that wait for the client to read. While they are more, no further read begins."""

PART_BYTES: Final = 65_536
"""Answers that are sent at once, unless one is larger, so that the connection holds few unread ones."""

_HEADERS: Final = [(b"content-type", LINES.encode())]


def envelopes_of(body: bytes) -> tuple[Envelope, ...]:
    """Decode a batch.

    Raises:
        InvalidInput: a line is not a request, or there is none.
    """
    # An empty line is no request: the last line of a batch may have a line break.
    lines = [line for line in body.split(b"\n") if line]
    if not lines:
        raise InvalidInput("batch", ("$: expected at least one line, got none",))
    envelopes = tuple(envelope_of(line, where=f"line {number} of the batch") for number, line in enumerate(lines, 1))
    # The number ties an answer to its request: with two equal ones, a caller would get the answer of another.
    if len({envelope.number for envelope in envelopes}) != len(envelopes):
        raise InvalidInput("batch", ("$.n: expected another number on each line",))
    return envelopes


@attrs.frozen(eq=False)
class BatchLimits:
    """The limits that all clients' batches on a server share.

    Attributes:
        lines: requests in progress.
        reads: reads that are computed.
        lists: reads that are as expensive as a list.
        unread: answer bytes that wait for their clients.
    """

    lines: Bulkhead
    reads: Bulkhead
    lists: Bulkhead
    unread: Bulkhead

    @classmethod
    def of(cls, limits: HttpLimits, lists: Bulkhead, runtime: Runtime) -> BatchLimits:
        """Return a server's batch limits."""
        unread = Bulkhead(
            name="bytes of unread answers",
            limit=limits.answers_bytes,
            of_one=limits.client_answers_bytes,
            runtime=runtime,
        )
        lines = Bulkhead(
            name="requests of batches in progress",
            limit=limits.lines_at_once,
            of_one=limits.client_lines,
            waiting=UNBOUNDED,  # each has a connection, and the clients' requests are limited
            waiting_of_one=UNBOUNDED,
            runtime=runtime,
        )
        reads = Bulkhead(
            name="reads of batches",
            limit=limits.reads_at_once,
            of_one=limits.reads_at_once,
            waiting=UNBOUNDED,  # each is of a line in progress
            waiting_of_one=UNBOUNDED,
            # A client without unread answers may always begin a read: one answer may be larger than the limit.
            may_begin=lambda client: (
                (unread.held < unread.limit or unread.held_by(client) == 0) and unread.held_by(client) < unread.of_one
            ),
            runtime=runtime,
        )
        return cls(lines, reads, lists, unread)

    def read(self, client: str, count: int) -> None:
        """Note that a client has read, or lost, some answer bytes."""
        if count:
            self.unread.release(client, count)
            # The bytes that were freed may let a waiting read begin.
            self.reads.advance()


@attrs.define
class Answers:
    """Writes answer lines in the order in which they are ready, several together if several are.

    Attributes:
        send: sends an ASGI message.
        left: how many answers are missing.
        client: the client that reads them.
        limits: the limits that all batches share.
    """

    send: Send
    left: int
    client: str
    limits: BatchLimits
    _ready: deque[bytes] = attrs.Factory(deque[bytes])
    _wake: asyncio.Event = attrs.Factory(asyncio.Event)
    _unread: int = 0
    _was_read: asyncio.Event = attrs.Factory(asyncio.Event)
    _is_over: bool = False

    def add(self, line: bytes) -> None:
        """Add one answer's line."""
        # The client has left, and nothing sends this line: its bytes would count for ever.
        if self._is_over:
            return
        self._ready.append(line)
        self._unread += len(line)
        # Counted when it is made: the line occupies memory until the client has read it.
        self.limits.unread.count(self.client, len(line))
        self._wake.set()

    @property
    def is_full(self) -> bool:
        """Whether the client must read some answers before a further read begins."""
        return self._unread >= UNREAD_BYTES

    async def room(self) -> None:
        """Wait until the client has read enough earlier answers."""
        while self.is_full:
            # Cleared before the wait: a read that happens in between sets it again.
            self._was_read.clear()
            await self._was_read.wait()

    async def write(self) -> None:
        """Send every line. The client may be gone: the engine answers all the same."""
        # With the first lines, not before: the head alone would be a write, and would wake the client for nothing.
        await self._wake.wait()
        await self.send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        while self.left:
            await self._wake.wait()
            # Cleared before the lines are taken: a line that is added afterwards wakes this again.
            self._wake.clear()
            while self._ready:
                body = self._part()
                await self.send({"type": "http.response.body", "body": body, "more_body": self.left > 0})
                self._read(len(body))

    def forget(self) -> None:
        """Drop the lines that were not sent, and those that come later: the engine answers all the same."""
        self._is_over = True
        self._read(self._unread)

    def _part(self) -> bytes:
        lines = [self._ready.popleft()]
        size = len(lines[0])
        # Below the size of a part: many small answers in one write, and a large one alone.
        while self._ready and size + len(self._ready[0]) <= PART_BYTES:
            lines.append(self._ready.popleft())
            size += len(lines[-1])
        self.left -= len(lines)
        return b"".join(lines)

    def _read(self, count: int) -> None:
        self._unread -= count
        self.limits.read(self.client, count)
        self._was_read.set()


@attrs.frozen(eq=False)
class BatchEndpoint:
    """Answers a server's batches."""

    limits: BatchLimits

    async def answer(self, gateway: LocalGateway, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one batch.

        A batch with a line that is not valid is refused as a whole: no request in it is performed.
        """
        try:
            envelopes = envelopes_of(await Request(scope, receive).body())
        except InvalidInput as error:
            return await problem_reply(error)(scope, receive, send)
        batch = _Batch(gateway, self.limits, client_in(scope), scope[CALLER].scopes, partial(departure, receive))
        # One request: no task, no order of answers, and a length that lets the client read it at once.
        if len(envelopes) == 1:
            line = await batch.performed(envelopes[0])
            headers = [*_HEADERS, (b"content-length", str(len(line)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            return await send({"type": "http.response.body", "body": line})
        many = partial(batch.answer_many, envelopes, send)
        # The lines of a batch count before it begins: a batch of 1,000 is a thousand requests in progress.
        return await self.limits.lines.perform(batch.client, many, weight=len(envelopes))


@attrs.frozen(eq=False)
class _Batch:
    """One batch.

    Attributes:
        limits: the limits that all batches share.
        client: the client that its work counts against.
        left: returns once the client has left.
    """

    gateway: LocalGateway
    limits: BatchLimits
    client: str
    scopes: frozenset[str]
    left: Callable[[], Awaitable[None]]

    def performed(self, envelope: Envelope) -> Awaitable[bytes]:
        """Perform one request. Its result is the answer's line."""
        if envelope.action in LISTS:
            return self._listed(envelope)
        return perform(self.gateway, envelope, self.scopes)

    async def _listed(self, envelope: Envelope) -> bytes:
        work = partial(perform, self.gateway, envelope, self.scopes)
        try:
            return await self.limits.lists.perform(self.client, work)
        except Overloaded as error:
            return refused(envelope.number, problem_of(error))

    async def answer_many(self, envelopes: Sequence[Envelope], send: Send) -> None:
        """Answer several requests, each as soon as it is done."""
        # In the batch, not for the client: one connection must not have all reads.
        answers, turns = Answers(send, len(envelopes), self.client, self.limits), asyncio.Semaphore(READS_OF_BATCH)
        # All begin in this step, in the order of their lines.
        waiting = [self._started(envelope, answers, turns) for envelope in envelopes]
        writing = asyncio.ensure_future(answers.write())
        tasks = [task for task in waiting if task is not None]
        reading = [
            task
            for task, envelope in zip(waiting, envelopes, strict=True)
            if task is not None and envelope.action in READS
        ]
        # Only then do reads wait for a turn: those of a client that has left need not be performed.
        leaving = asyncio.ensure_future(self.left()) if len(reading) > READS_OF_BATCH else None
        if leaving is not None:
            # Reads have no effect: those of a client that has gone are cancelled. The other requests are performed.
            leaving.add_done_callback(lambda _: [task.cancel() for task in reading])
        try:
            await asyncio.gather(*tasks)
            await writing
        except asyncio.CancelledError:
            if leaving is None or not leaving.done() or leaving.cancelled():
                raise  # the server stops; else the client has left, and its other requests are performed all the same
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            for task in (*tasks, writing, *(() if leaving is None else (leaving,))):
                task.cancel()
            # Bytes that were not sent must not count any more, also after an error.
            answers.forget()

    def _started(self, envelope: Envelope, answers: Answers, turns: asyncio.Semaphore) -> asyncio.Task[None] | None:
        """Begin one request. Return its task, or None if it needs none: the engine answers most through a future."""
        if envelope.action in READS:
            return asyncio.ensure_future(self._read(envelope, answers, turns))
        try:
            line = begun(self.gateway, envelope, self.scopes)
        except Exception as defect:  # noqa: BLE001 - of the library, as in `_answer`
            line = self._failed(envelope, defect)
        if isinstance(line, bytes):
            answers.add(line)
        elif isinstance(line.result, asyncio.Future):
            line.result.add_done_callback(partial(self._ended, line, answers))
        else:
            return asyncio.ensure_future(self._answer(envelope, answers, line))
        return None

    def _ended(self, line: PendingAnswer, answers: Answers, result: asyncio.Future[Result[Any, PerdureError]]) -> None:
        try:
            answers.add(line.of(result.result()))
        except Exception as defect:  # noqa: BLE001 - of the library, as in `_answer`
            answers.add(self._failed(line.envelope, defect))

    async def _read(self, envelope: Envelope, answers: Answers, turns: asyncio.Semaphore) -> None:
        async with turns:
            if answers.is_full:
                await answers.room()
            # Without waiting if there is room: the usual case needs no future.
            if not self.limits.reads.take(self.client):
                await self.limits.reads.enter(self.client)
            try:
                await self._answer(envelope, answers)
            finally:
                self.limits.reads.release(self.client)

    async def _answer(self, envelope: Envelope, answers: Answers, line: PendingAnswer | None = None) -> None:
        try:
            encoded = await self.performed(envelope) if line is None else line.of(await line.result)
        except Exception as defect:  # noqa: BLE001 - of the library: the other requests are answered all the same
            encoded = self._failed(envelope, defect)
        answers.add(encoded)

    def _failed(self, envelope: Envelope, defect: Exception) -> bytes:
        log = self.gateway.engine.runtime.log
        log(LogRecord("error", "request failed", {"error": Raised(defect).formatted()}))
        return refused(envelope.number, problem_of(OutcomeUnknown("the server failed; see its log")))
