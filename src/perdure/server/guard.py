"""The guard: an ASGI application around another one, which sees only requests that are permitted and complete.

Bodies are received within the limits before the application is called.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Self, TypeAlias

import attrs

from perdure.runtime.record import LogRecord, Runtime
from perdure.server.access import ANONYMOUS, Access, Caller, PageAccess, Tokens, identify
from perdure.server.admission import UNBOUNDED, Bulkhead, Rates, client_key
from perdure.server.http_limits import HttpLimits
from perdure.server.responses import (
    HttpRefusal,
    Send,
    access_refusal,
    bodies_refusal,
    busy_refusal,
    rate_refusal,
    send_refusal,
    size_refusal,
)
from perdure.values.errors import AccessDenied, InvalidArgument
from perdure.values.excerpt import one_line, shortened
from perdure.wire.requests import DASHBOARD

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]


@attrs.define
class Reservation:
    """One body's bytes.

    Attributes:
        memory: bounds the body bytes that a server holds.
        client: the client that sends it.
        most: the largest body.
        size: the bytes so far.
    """

    memory: Bulkhead
    client: str
    most: int
    size: int = 0

    def grow(self, count: int) -> bool:
        """Reserve more bytes. Return False if the memory, or the client's share, has no room for them."""
        # Before the bytes are kept: a body that does not fit is refused, and its bytes are dropped.
        if not self.memory.take(self.client, count):
            return False
        self.size += count
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # `release` knows only clients that hold something.
        if self.size:
            self.memory.release(self.client, self.size)


async def received(receive: Receive, limits: HttpLimits, reservation: Reservation) -> bytes | HttpRefusal | None:
    """Receive a body.

    Returns:
        The body. One that's refusal is too large, or that does not fit beside the others. None if the client
        closed the connection before the end.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part: bytes = message.get("body", b"")
        # Counted as received: a body without a length could be of any size.
        if reservation.size + len(part) > reservation.most:
            return body_too_large(reservation.most)
        if part and not reservation.grow(len(part)):
            return bodies_refusal(limits)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def body_too_large(most: int) -> HttpRefusal:
    """Refuse a body that is larger than the limit."""
    return size_refusal(413, "body of the request", "a larger one", f"{most} bytes")


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that returns the body as one message, and then the messages that follow."""
    pending = True

    async def next_message() -> MutableMapping[str, Any]:
        nonlocal pending
        if pending:
            pending = False
            # Once: then the real messages follow, such as the end of the connection.
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return next_message


async def departure(receive: Receive) -> None:
    """Return once the client has closed its connection, or its response is complete. The body was received before."""
    while (await receive())["type"] != "http.disconnect":
        pass


Request: TypeAlias = MutableMapping[str, Any]
"""A request: the ASGI ``scope``."""
AsgiApp: TypeAlias = Callable[[Request, Receive, Send], Awaitable[None]]

CALLER: Final = "perdure.caller"
"""The key under which a request has its `Caller`."""

_CLIENT: Final = "perdure.client"

PROBES_ONLY: Final = "perdure.probes_only"
"""The key in the ``state`` of a request on a connection beyond the limit."""

SIGN_IN_BYTES: Final = 16_384
"""The largest sign-in form: a token, and the following page's URL."""

_READS: Final = frozenset({"GET", "HEAD"})
_PROBES: Final = frozenset({"/live", "/ready"})
_SIGN_IN: Final = f"{DASHBOARD}/login"
_PROBE: Final = Caller(name="probe", scopes=frozenset())
_BATCH: Final = "/v1/calls"
_LOGGED: Final = 200
"""A method's or a path's characters in the log."""
_DIGITS: Final = 20
"""Of a length that is converted to a number."""


def _rates_of(guard: Guard) -> Rates:
    return Rates(guard.limits.requests_per_second, guard.limits.burst)


def _bodies_of(guard: Guard) -> Bulkhead:
    limits = guard.limits
    return Bulkhead(
        name="bytes of bodies", limit=limits.bodies_bytes, of_one=limits.client_bodies_bytes, runtime=guard.runtime
    )


def _requests_of(guard: Guard) -> Bulkhead:
    return Bulkhead(
        name="requests of one client in progress",
        limit=UNBOUNDED,  # the connections are
        of_one=guard.limits.client_requests,
        runtime=guard.runtime,
    )


def _sign_ins_of(guard: Guard) -> Bulkhead:
    most = guard.limits.sign_ins
    return Bulkhead(name="forms to sign in that are being received", limit=most, of_one=most, runtime=guard.runtime)


@attrs.frozen(eq=False)
class Guard:
    """Refuses requests that are not permitted, too many, too large or incomplete, before the application sees them.

    It adds the `Caller` to each request, under the key `CALLER`. Whether the caller has the scope that a request needs,
    the application checks: it knows the operation.

    Attributes:
        access: the requests that are permitted. ``/live`` and ``/ready`` always are, for probes: they have no body.
        runtime: the clock and the log.
        log_requests: whether to log each request: no header, no payload, no token.
        pages: finds the dashboard's callers. None if the application has none.
        bodies: the body bytes that it holds.
        sign_ins: the forms to sign in that are being received.
        requests: the requests in progress.
    """

    app: AsgiApp
    access: Access
    limits: HttpLimits
    runtime: Runtime
    log_requests: bool = False
    pages: PageAccess | None = None
    _rates: Rates = attrs.field(init=False, repr=False, default=attrs.Factory(_rates_of, takes_self=True))
    _probe_rates: Rates = attrs.field(init=False, repr=False, default=attrs.Factory(_rates_of, takes_self=True))
    bodies: Bulkhead = attrs.field(init=False, repr=False, default=attrs.Factory(_bodies_of, takes_self=True))
    sign_ins: Bulkhead = attrs.field(init=False, repr=False, default=attrs.Factory(_sign_ins_of, takes_self=True))
    requests: Bulkhead = attrs.field(init=False, repr=False, default=attrs.Factory(_requests_of, takes_self=True))

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Handle a request. WebSockets are closed. Lifespan events are passed on."""
        match request["type"]:
            case "http" if self.log_requests:
                await self._logged(request, receive, send)
            case "http":
                await self._guarded(request, receive, send)
            case "websocket":
                await send({"type": "websocket.close", "code": 1008})
            case _:
                await self.app(request, receive, send)

    async def _guarded(self, request: Request, receive: Receive, send: Send) -> None:
        path = path_of(request)
        probe = path in _PROBES and request["method"] in _READS
        admitted = (
            # In this order: the checks that cost nothing come first, and the token last.
            self._beyond_the_limit(request, probe=probe)
            or ambiguous(request)
            or too_large(request, self.limits)
            or (self._probed(request) if probe else self._admit(request, path))
        )
        if isinstance(admitted, HttpRefusal):
            await send_refusal(admitted, send)
            return
        request[CALLER] = admitted
        # Nothing of the body is read: a probe has none, and an anonymous caller may send none.
        if probe or (admitted == ANONYMOUS and (request["method"] != "POST" or path != _SIGN_IN)):
            await self.app(request, replayed(b"", receive), send)
        elif admitted == ANONYMOUS:
            # A memory of its own: callers that are not signed in must not fill that of the others.
            form = Bulkhead(name="form", limit=SIGN_IN_BYTES, of_one=SIGN_IN_BYTES, runtime=self.runtime)
            await self._accepted(request, receive, send, self.sign_ins, Reservation(form, "", SIGN_IN_BYTES))
        else:
            reservation = Reservation(self.bodies, client_in(request), self.limits.body_bytes)
            await self._accepted(request, receive, send, self.requests, reservation)

    async def _accepted(
        self, request: Request, receive: Receive, send: Send, beside: Bulkhead, reservation: Reservation
    ) -> None:
        """Receive a request's body, and handle it."""
        if not beside.take(reservation.client):
            await send_refusal(busy_refusal(beside.name, beside.of_one), send)
            return
        try:
            with reservation:
                body = await received(receive, self.limits, reservation)
                if isinstance(body, bytes) and path_of(request) == _BATCH:
                    body = self._batch_refusal(request, body) or body
                if isinstance(body, HttpRefusal):
                    await send_refusal(body, send)
                elif body is not None:
                    await self.app(request, replayed(body, receive), send)
        finally:
            # After the response: the request is in progress until then.
            beside.release(reservation.client)

    def _batch_refusal(self, request: Request, body: bytes) -> HttpRefusal | None:
        """Count a batch's requests after the first, which the request itself was counted as."""
        lines = lines_of(body)
        if lines > self.limits.batch_lines:
            return size_refusal(413, "batch of requests", f"{lines} lines", f"{self.limits.batch_lines} lines")
        # The owner of the socket has no rate: its processes are the user's own.
        if lines < 2 or self.access == "owner_socket":  # noqa: PLR2004 - one is counted
            return None
        wait_ms = self._rates.wait_ms(client_in(request), self.runtime.monotonic_ms(), lines - 1)
        return rate_refusal(self.limits, wait_ms) if wait_ms > 0 else None

    def _beyond_the_limit(self, request: Request, *, probe: bool) -> HttpRefusal | None:
        """Refuse a request on a connection that is kept for probes: all others are in use."""
        if probe or not request.get("state", {}).get(PROBES_ONLY, False):
            return None
        return busy_refusal("connections of the server", self.limits.connections, (b"connection", b"close"))

    def _probed(self, request: Request) -> Caller | HttpRefusal:
        """Admit a probe, which takes no body. Other requests from its address do not count against its rate."""
        if has_body(request):
            return size_refusal(413, "body of a probe", "one", "0 bytes: send none")
        client = request.get("client")
        key = request[_CLIENT] = f"probes of {'' if client is None else client_key(str(client[0]))}"
        wait_ms = self._probe_rates.wait_ms(key, self.runtime.monotonic_ms())
        return rate_refusal(self.limits, wait_ms) if wait_ms > 0 else _PROBE

    def _admit(self, request: Request, path: str) -> Caller | HttpRefusal:
        client = request.get("client")
        host = None if client is None else str(client[0])
        caller = self._page_caller(request, path, host)
        if caller is None:
            caller = identify(self.access, host, request["headers"])
        # By token: clients behind one address, such as a proxy, have their own rates.
        if isinstance(self.access, Tokens) and isinstance(caller, Caller) and caller != ANONYMOUS:
            key = f"token {caller.name}"
        else:
            key = f"address {client_key(host or '')}"
        request[_CLIENT] = key
        unlimited = self.access == "owner_socket"
        wait_ms = 0 if unlimited else self._rates.wait_ms(key, self.runtime.monotonic_ms())
        if wait_ms > 0:
            # Before the answer about the token: guessing tokens is limited too.
            return rate_refusal(self.limits, wait_ms)
        return caller if isinstance(caller, Caller) else access_refusal(caller)

    def _page_caller(self, request: Request, path: str, host: str | None) -> Caller | AccessDenied | None:
        """Return a dashboard page's caller, or the reason to refuse it. None for any other request."""
        if self.pages is None:
            return None
        return self.pages.identify(path, request["method"], host, request["headers"], self.runtime.now_ms())

    async def _logged(self, request: Request, receive: Receive, send: Send) -> None:
        began_ms, status = self.runtime.monotonic_ms(), 0

        async def noting_status(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._guarded(request, receive, noting_status)
        # Also after an error: the log names each request once.
        finally:
            caller = request.get(CALLER)
            fields = {
                # One line, cut: a client must not forge lines of the log, or fill it.
                "method": one_line(shortened(request["method"], _LOGGED)),
                "path": one_line(shortened(path_of(request), _LOGGED)),
                "status": status,
                "caller": caller.name if isinstance(caller, Caller) else None,
                "duration_ms": round(self.runtime.monotonic_ms() - began_ms, 3),
            }
            self.runtime.log(LogRecord("info", "http request", fields))


def client_in(request: Request) -> str:
    """Return the client that a request's work counts against: a token, or an address without one."""
    client: str = request.get(_CLIENT, "")
    return client


def path_of(request: Request) -> str:
    """Return a request's path below the prefix that the application is mounted at."""
    path: str = request["path"]
    root: str = request.get("root_path", "")
    # Only a complete part: "/apix" is not below "/api".
    return path[len(root) :] if path.startswith(f"{root}/") else path


def ambiguous(request: Request) -> HttpRefusal | None:
    """Refuse a request that has two lengths: a proxy in front could read another one (RFC 9112, 6.1)."""
    names = {name for name, _ in request["headers"]}
    if not {b"content-length", b"transfer-encoding"} <= names:
        return None
    error = InvalidArgument("headers of the request", "Content-Length and Transfer-Encoding", "one of them")
    return HttpRefusal(status=400, error=error, headers=((b"connection", b"close"),))


def too_large(request: Request, limits: HttpLimits) -> HttpRefusal | None:
    """Refuse a request whose URL, headers or announced body are too large."""
    url = len(request.get("raw_path") or request["path"].encode()) + len(request.get("query_string", b""))
    if url > limits.url_bytes:
        return size_refusal(414, "URL of the request", f"{url} bytes", f"{limits.url_bytes} bytes")
    headers = sum(len(name) + len(value) for name, value in request["headers"])
    if headers > limits.header_bytes:
        return size_refusal(431, "headers of the request", f"{headers} bytes", f"{limits.header_bytes} bytes")
    length = next((value for name, value in request["headers"] if name == b"content-length"), b"0")
    # The number of digits first: converting a text of megabytes is work that a client must not cause.
    if not length.isdigit() or len(length) > _DIGITS or int(length) > limits.body_bytes:
        return body_too_large(limits.body_bytes)
    return None


def has_body(request: Request) -> bool:
    """Return whether a request announces a body."""
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip(b"0") != b"")
        # A length of zeros announces nothing.
        for name, value in request["headers"]
    )


def lines_of(body: bytes) -> int:
    """Return the line count in a batch, the last one with or without its line break."""
    return body.count(b"\n") + (not body.endswith(b"\n") and body != b"")
