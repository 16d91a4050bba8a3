"""The routes for people, scripts and other languages: one HTTP request for each call, and ``/ready`` for probes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import unquote

import attrs
import orjson
from returns.result import Result, Success
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from perdure.client.client import Client, call_of, gateway_of
from perdure.client.local_gateway import LocalGateway, acting_for, engine_of
from perdure.codecs import Codec
from perdure.engine.sinks import Exposition
from perdure.jobs.call import Call, result_of
from perdure.runtime.record import Runtime
from perdure.server.access import Caller
from perdure.server.addresses import MOUNTED_AT, flag_in, only
from perdure.server.admission import Bulkhead, ClientGone
from perdure.server.calls import denied, future_on, keyed_explanation_denied, may_see_tracebacks, scope_of, shown
from perdure.server.guard import client_in, departure
from perdure.server.responses import json_reply, problem_reply, reply_to
from perdure.stores.values import Health
from perdure.values.address import Address, check_id
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput, Overloaded, PerdureError
from perdure.values.status_wait import WaitCondition, ticket_parts
from perdure.values.stream import StreamPage, offset_of, server_sent
from perdure.values.times import duration_ms
from perdure.wire.openapi import Description
from perdure.wire.operations import INSTANCE, METRICS, OPERATIONS, Argument, ClientOperation, Scope
from perdure.wire.records import LONGEST_WAIT_MS, awaited_json, json_of

FRESH_MS: Final = 500
"""How long an answer is repeated."""


@attrs.define(eq=False)
class Readiness:
    """An engine's state, as a probe asks for it."""

    _state: str = "failed"
    _until_ms: float = float("-inf")
    _querying: asyncio.Lock = attrs.Factory(asyncio.Lock)

    async def reply(self, client: Client) -> Response:
        """Return 200, or 503 if the engine cannot serve."""
        runtime = engine_of(client).runtime
        # One at a time: many probes at once share one look at the store.
        async with self._querying:
            if runtime.monotonic_ms() >= self._until_ms:
                result: Result[Health, Any] = await result_of(client.health())
                health = result.value_or(Health(state="failed"))
                # The end of the look counts: a slow store would otherwise be read for each probe.
                self._state, self._until_ms = health.state, runtime.monotonic_ms() + FRESH_MS
        return json_reply(orjson.dumps({"status": self._state}), 503 if self._state == "failed" else 200)


CLIENT_CLOSED: Final = 499
"""The status in the access log for a request whose client has left: no response is sent."""

Encode: TypeAlias = Callable[[Any], bytes]


@attrs.frozen
class Asked:
    """One HTTP request.

    Attributes:
        client: the engine's client, acting for the caller.
    """

    client: Client
    request: Request
    scopes: frozenset[str]

    def part(self, name: str) -> str:
        """Return a path part, decoded.

        Raises:
            InvalidArgument: it is not UTF-8.
        """
        encoded: str = self.request.path_params[name]
        try:
            return unquote(encoded, errors="strict")
        except UnicodeDecodeError as error:
            raise InvalidArgument(f"{name} in the path", encoded, "percent-encoded UTF-8") from error

    @property
    def key(self) -> str | None:
        """The idempotency key, in UTF-8, as in batches and in process. Starlette decodes headers as Latin-1.

        Raises:
            InvalidArgument: there are several.
        """
        texts = self.request.headers.getlist("idempotency-key")
        if len(texts) > 1:
            raise InvalidArgument("header Idempotency-Key", f"{len(texts)} of them", "one at most")
        try:
            return texts[0].encode("latin-1").decode() if texts else None
        # Clients that send UTF-8 in headers are the usual case. Others are taken as they are.
        except UnicodeDecodeError:
            return texts[0]

    @property
    def trace(self) -> str | None:
        """The caller's trace context: from an instrumentation around this application, else from its header."""
        tracing = engine_of(self.client).runner.tracing
        # The span of this request, which has the caller's as its parent.
        return None if tracing is None else tracing.current() or self.request.headers.get("traceparent")

    def value(self, argument: Argument) -> object:
        """Return an operation's argument, or its default. The call refuses it if it is not valid.

        Raises:
            InvalidArgument: it cannot be read.
        """
        if argument.place == "path":
            encoded: str = self.request.path_params[argument.name]
            # A quoted argument may hold a slash, encoded: the path was split before it was decoded.
            return argument.type.read(self.part(argument.name) if argument.type.is_quoted else encoded, argument.name)
        if argument.type.is_repeated:
            parts = self.request.query_params.getlist(argument.parameter)
            return tuple(argument.type.read(part, argument.parameter) for part in parts)
        text = self.request.query_params.get(argument.parameter)
        return argument.default if text is None else argument.type.read(text, argument.parameter)

    @property
    def client_key(self) -> str:
        """The client that the request's work counts against."""
        return client_in(self.request.scope)

    async def answer(self, call: Call[Any, Any], encode: Encode, typed: Codec[Any] | None = None) -> Response:
        """Make a call and return its response, with tracebacks for an operator alone."""
        result: Result[Any, PerdureError] = await result_of(call)
        sees = may_see_tracebacks(self.scopes)
        return reply_to(
            result, encode if sees else lambda answer: shown(encode(answer), self.scopes), typed, traceback=sees
        )

    async def answer_of_own_type(self, call: Call[Any, Any], encode: Encode) -> Response:
        """Make a call and return its response, whose answer is JSON of the job's own type."""
        return reply_to(await result_of(call), encode, traceback=may_see_tracebacks(self.scopes))

    async def left(self) -> None:
        """Return once the client has closed its connection."""
        await self.request.body()  # it is complete: only the end of the connection can follow
        await departure(self.request.receive)


Handle: TypeAlias = Callable[[Asked], Awaitable[Response]]
Handling: TypeAlias = Callable[[Asked], Coroutine[Any, Any, Response]]
Needs: TypeAlias = Scope | Literal["action", "nothing"]
"""The scope that a route needs. ``"action"``: the scope for the action in its path."""
Open: TypeAlias = Callable[[], Client]
"""Returns the engine's client, or raises `EngineClosed`."""


def routes(
    client: Open, caller_of: Callable[[Request], Caller], *, lists: Bulkhead, waits: Bulkhead
) -> list[BaseRoute]:
    """Return an engine's routes.

    Args:
        client: returns the client.
        caller_of: returns a request's caller.
        lists: bounds the lists, histories, explanations and descriptions that are computed at once. More wait.
        waits: bounds the waits for statuses. More are refused.
    """

    def one_of_few(handle: Handle) -> Handle:
        async def waiting(asked: Asked) -> Response:
            return await lists.perform(asked.client_key, lambda: handle(asked), left=asked.left)

        return waiting

    def route(path: str, handle: Handle, scope: Needs, method: str = "GET", *query: str) -> Route:
        names = frozenset(query)

        async def endpoint(request: Request) -> Response:
            caller = caller_of(request)
            needs = scope_of(unquote(request.path_params["action"])) if scope == "action" else scope
            refusal = None if needs == "nothing" else denied(needs, caller.scopes)
            if refusal is not None:
                return problem_reply(refusal)
            try:
                # An unknown parameter is refused: a misspelled filter would return everything.
                only(request.query_params, names)
                return await handle(Asked(acting_for(client(), caller.name), request, caller.scopes))
            except PerdureError as error:
                return problem_reply(error)
            except ClientGone:
                return Response(status_code=CLIENT_CLOSED)

        return Route(path, endpoint, methods=[method])

    description, readiness = Description(), Readiness()

    async def ready(asked: Asked) -> Response:
        return await readiness.reply(asked.client)

    async def describe(asked: Asked) -> Response:
        jobs = gateway_of(asked.client).definitions.values()
        return json_reply(description.encoded(jobs, server=asked.request.scope.get(MOUNTED_AT, "")))

    return _table(route, one_of_few, partial(_waiting, waits), partial(_follow, waits), describe, ready)


def _table(
    route: Callable[..., Route],
    one_of_few: Callable[[Handle], Handle],
    waiting: Callable[[Handling], Handle],
    follow: Handle,
    describe: Handle,
    ready: Handle,
) -> list[BaseRoute]:
    return [
        route("/openapi.json", one_of_few(describe), "read"),
        route("/live", _live, "nothing"),
        route("/ready", ready, "nothing"),
        *(_route_of(operation, route, one_of_few) for operation in OPERATIONS),
        route(f"{INSTANCE}/state", _state, "read"),
        route(f"{INSTANCE}/wait", waiting(_wait), "read", "GET", "until", "phase", "ticket", "published", "timeout"),
        route(f"{INSTANCE}/streams/{{stream}}", waiting(_stream), "read", "GET", "after", "timeout"),
        route(f"{INSTANCE}/streams/{{stream}}/events", follow, "read", "GET", "after"),
        route(f"{INSTANCE}/explain/{{action}}", one_of_few(_explain), "read", "POST"),
        route(f"{INSTANCE}/future", one_of_few(_future), "read", "POST"),
        route(f"{INSTANCE}/wait/{{action}}", waiting(_call_and_wait), "action", "POST", "timeout"),
        # Last: an action is any word, and would take the paths of the routes above.
        route(f"{INSTANCE}/{{action}}", _call, "action", "POST", "wait_for", "interrupt"),
    ]


# ---------------------------------------------------------------- the engine
async def _live(_: Asked) -> Response:
    return json_reply(b'{"status":"ok"}')


def _route_of(
    operation: ClientOperation[Any], route: Callable[..., Route], one_of_few: Callable[[Handle], Handle]
) -> Route:
    handle = _metrics if operation is METRICS else partial(_perform, operation)
    query = tuple(argument.parameter for argument in operation.in_the("query"))
    bounded = one_of_few(handle) if operation.bounded_by == "lists" else handle
    return route(operation.path, bounded, operation.scope, operation.method, *query)


async def _perform(operation: ClientOperation[Any], asked: Asked) -> Response:
    given = {argument.name: asked.value(argument) for argument in operation.arguments}
    return await asked.answer(call_of(asked.client, operation, given), json_of)


async def _metrics(asked: Asked) -> Response:
    gateway = gateway_of(asked.client)
    if not isinstance(gateway, LocalGateway):
        raise TypeError(gateway)
    page: Result[Exposition, PerdureError] = await result_of(
        gateway.exposition(asked.request.headers.get("accept", ""))
    )
    if isinstance(page, Success):
        found: Exposition = page.unwrap()
        return Response(found.text, headers={"Content-Type": found.content_type})
    return problem_reply(page.failure())


# ---------------------------------------------------------------- one instance
def _job(asked: Asked) -> Any:
    return asked.client.handle_by_name(asked.part("kind"), asked.part("name"))


async def _state(asked: Asked) -> Response:
    return await asked.answer_of_own_type(_job(asked).get_state(asked.part("id")), orjson.dumps)


def _waiting(waits: Bulkhead, handle: Handling) -> Handle:
    async def wait(asked: Asked) -> Response:
        await asked.request.body()  # before `left` reads on: the connection's messages have one reader
        return await waits.perform(asked.client_key, lambda: unless_gone(handle(asked), asked.left()))

    return wait


async def unless_gone(work: Coroutine[Any, Any, Response], left: Coroutine[Any, Any, None]) -> Response:
    """Await work, and cancel it when the client leaves.

    Raises:
        ClientGone: it has left.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left)
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        # The result, also if the client left in the same moment: the work is done.
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()


def _longest(asked: Asked) -> str:
    try:
        given_ms = duration_ms(asked.request.query_params.get("timeout", "20 s"), what="timeout", minimum_ms=0)
    except DefinitionError as wrong:
        raise InvalidArgument("timeout", wrong.got, wrong.expected) from wrong
    # A longer wait would hold a connection for longer than proxies allow. The client repeats it.
    return f"{min(given_ms, LONGEST_WAIT_MS)} ms"


async def _wait(asked: Asked) -> Response:
    query = asked.request.query_params
    if "ticket" in query or "published" in query:
        if "ticket" in query:
            ticket_parts(query["ticket"])
        address = Address(asked.part("kind"), asked.part("name"), check_id(asked.part("id")))
        timeout_ms = duration_ms(_longest(asked), what="timeout", minimum_ms=0)
        gateway = gateway_of(asked.client)
        wanted = WaitCondition((), (), query.get("ticket", ""), query.get("published", ""))
        return await asked.answer(gateway.until(address, wanted, timeout_ms), awaited_json)
    statuses, phases = query.getlist("until"), tuple(query.getlist("phase"))
    wait = _job(asked).until(asked.part("id"), *statuses, phases=phases, timeout=_longest(asked))
    return await asked.answer(wait, awaited_json)


async def _stream(asked: Asked) -> Response:
    address = Address(asked.part("kind"), asked.part("name"), check_id(asked.part("id")))
    timeout_ms = duration_ms(_longest(asked), what="timeout", minimum_ms=0)
    page = gateway_of(asked.client).stream_page(address, asked.part("stream"), _after(asked), timeout_ms)
    return await asked.answer_of_own_type(page, json_of)


FOLLOWED_MS: Final = 60_000
"""How long one response follows a stream. Then a browser opens the next one, and sends the last id."""


async def _follow(waits: Bulkhead, asked: Asked) -> Response:
    """Follow a stream with server-sent events. One that has ended is answered with 204, so that a browser stops."""
    address = Address(asked.part("kind"), asked.part("name"), check_id(asked.part("id")))
    gateway, stream, client = gateway_of(asked.client), asked.part("stream"), asked.client_key
    # First without waiting: an error has a status of its own, which a stream that has begun cannot send.
    first: Result[StreamPage, PerdureError] = await result_of(gateway.stream_page(address, stream, _after(asked), 0))
    if not isinstance(first, Success):
        return problem_reply(first.failure())
    if first.unwrap().state == "end":
        return Response(status_code=204)
    # After the first page: a stream that has ended needs no slot.
    if not waits.take(client):
        return problem_reply(Overloaded(waits.name, min(waits.limit, waits.of_one)))
    release = partial(waits.release, client)
    frames = _frames(
        partial(gateway.stream_page, address, stream), first.unwrap(), engine_of(asked.client).runtime, release
    )
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
    return StreamingResponse(frames, media_type="text/event-stream", headers=headers)


async def _frames(
    read: Callable[[int, int], Call[StreamPage, Any]], page: StreamPage, runtime: Runtime, release: Callable[[], None]
) -> AsyncGenerator[bytes]:
    # A response that never ends would delay each stop of the server.
    until_ms = runtime.monotonic_ms() + FOLLOWED_MS
    try:
        yield b"retry: 500\n\n"
        while page.state != "end":
            yield b"".join(map(server_sent, page.items)) or b": pulse\n\n"
            left_ms = round(until_ms - runtime.monotonic_ms())
            if left_ms <= 0:
                return
            # At most a pulse: the connection may have gone, which only a write shows.
            answer: Result[StreamPage, Any] = await result_of(read(page.after, min(left_ms, PULSE_MS)))
            if not isinstance(answer, Success):
                return
            page = answer.unwrap()
        yield b"event: end\ndata: {}\n\n"
    finally:
        # Also after a lost connection: the slot belongs to the response.
        release()


PULSE_MS: Final = 10_000
"""How often a response without items sends a comment, so that a proxy does not close it."""


def _after(asked: Asked) -> int:
    # The header comes from a browser that reconnects, and is newer than the URL.
    return offset_of(asked.request.headers.get("last-event-id") or asked.request.query_params.get("after", "-1"))


async def _call(asked: Asked) -> Response:
    job, query = _job(asked), asked.request.query_params
    call = job.call(
        asked.part("action"),
        asked.part("id"),
        await _payload(asked.request),
        idempotency_key=asked.key,
        wait_for=query.get("wait_for", "completion"),
        interrupt=flag_in(query, "interrupt"),
        trace=asked.trace,
    )
    return await asked.answer(call, orjson.dumps, job.definition.plan.errors)


async def _call_and_wait(asked: Asked) -> Response:
    job = _job(asked)
    call = job.call_and_wait(
        asked.part("action"),
        asked.part("id"),
        await _payload(asked.request),
        timeout=_longest(asked),
        idempotency_key=asked.key,
        trace=asked.trace,
    )
    return await asked.answer(call, json_of, job.definition.plan.errors)


async def _explain(asked: Asked) -> Response:
    refusal = keyed_explanation_denied(asked.key, asked.scopes)
    if refusal is not None:
        return problem_reply(refusal)
    job = _job(asked)
    explanation = job.explain(
        asked.part("action"), asked.part("id"), await _payload(asked.request), idempotency_key=asked.key
    )
    return await asked.answer(explanation, orjson.dumps)


async def _future(asked: Asked) -> Response:
    job = _job(asked)
    try:
        future = await future_on(asked.client, job.definition, asked.part("id"), await asked.request.body())
    except PerdureError as problem:
        return problem_reply(problem)
    return json_reply(orjson.dumps(future))


async def _payload(request: Request) -> str:
    body = await request.body()
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput("body of the request", (f"$: not UTF-8: {error}",)) from error
