"""The guard: an ASGI application around another one, which sees only requests that are permitted and complete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

import attrs

from perdure.runtime.record import LogRecord, Runtime
from perdure.server.access import Access, Caller, identify
from perdure.server.body import BodyMemory, Receive, body_too_large, received, replayed
from perdure.server.http_limits import HttpLimits
from perdure.server.page_access import ANONYMOUS, PageAccess
from perdure.server.rate import Rates, client_key
from perdure.server.refusal import HttpRefusal, Send, access_refusal, rate_refusal, send_refusal, size_refusal
from perdure.server.tokens import Tokens
from perdure.values.errors import AccessDenied, InvalidArgument
from perdure.values.excerpt import one_line, shortened

Request: TypeAlias = MutableMapping[str, Any]
"""A request: the ``scope`` of ASGI."""
AsgiApp: TypeAlias = Callable[[Request, Receive, Send], Awaitable[None]]

CALLER: Final = "perdure.caller"
"""The key under which a request has its `Caller`."""

_PUBLIC: Final = frozenset({"/live", "/ready"})
_PROBE: Final = Caller(name="probe", scopes=frozenset())
_BATCH: Final = "/v1/calls"
_LOGGED: Final = 200
"""Characters of a method or a path in the log."""
_DIGITS: Final = 20
"""Of a length that is converted to a number."""


def _rates_of(guard: Guard) -> Rates:
    return Rates(guard.limits.requests_per_second, guard.limits.burst)


def _bodies_of(guard: Guard) -> BodyMemory:
    return BodyMemory(guard.limits.bodies_bytes)


@attrs.frozen(eq=False)
class Guard:
    """Refuses requests that are not permitted, too many, too large or incomplete, before the application sees them.

    It adds the `Caller` to each request, under the key `CALLER`. Whether the caller has the scope that a request needs,
    the application checks: it knows the operation.

    Attributes:
        app: the application.
        access: the requests that are permitted. ``/live`` and ``/ready`` always are, for probes.
        limits: the limits of requests.
        runtime: the clock and the log.
        log_requests: whether to log each request: no header, no payload, no token.
        pages: finds the callers of the dashboard; None if the application has none.
    """

    app: AsgiApp
    access: Access
    limits: HttpLimits
    runtime: Runtime
    log_requests: bool = False
    pages: PageAccess | None = None
    _rates: Rates = attrs.field(init=False, repr=False, default=attrs.Factory(_rates_of, takes_self=True))
    _bodies: BodyMemory = attrs.field(init=False, repr=False, default=attrs.Factory(_bodies_of, takes_self=True))

    async def __call__(self, request: Request, receive: Receive, send: Send) -> None:
        """Handle a request. WebSockets are closed; events of the server's life are passed on."""
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
        admitted = ambiguous(request) or too_large(request, self.limits) or self._admit(request)
        if isinstance(admitted, HttpRefusal):
            await send_refusal(admitted, send)
            return
        request[CALLER] = admitted
        with self._bodies.reserving() as reservation:
            body = await received(receive, self.limits, reservation)
            if isinstance(body, bytes):
                body = too_many_lines(request, body, self.limits) or body
            if isinstance(body, HttpRefusal):
                await send_refusal(body, send)
            elif body is not None:
                await self.app(request, replayed(body, receive), send)

    def _admit(self, request: Request) -> Caller | HttpRefusal:
        client = request.get("client")
        host = None if client is None else str(client[0])
        public = request["method"] in {"GET", "HEAD"} and path_of(request) in _PUBLIC
        caller = _PROBE if public else self._page_caller(request, host)
        if caller is None:
            caller = identify(self.access, host, request["headers"])
        if self.access == "owner_socket":
            key = None
        elif isinstance(self.access, Tokens) and isinstance(caller, Caller) and caller not in (_PROBE, ANONYMOUS):
            key = f"token {caller.name}"
        else:
            key = f"address {client_key(host or '')}"
        wait_ms = 0 if key is None else self._rates.wait_ms(key, self.runtime.monotonic_ms())
        if wait_ms > 0:
            return rate_refusal(self.limits, wait_ms)
        return caller if isinstance(caller, Caller) else access_refusal(caller)

    def _page_caller(self, request: Request, host: str | None) -> Caller | AccessDenied | None:
        """Return the caller of a page of the dashboard, or the reason to refuse it; None for any other request."""
        if self.pages is None:
            return None
        path, now_ms = path_of(request), self.runtime.now_ms()
        return self.pages.identify(path, request["method"], host, request["headers"], now_ms)

    async def _logged(self, request: Request, receive: Receive, send: Send) -> None:
        began_ms, status = self.runtime.monotonic_ms(), 0

        async def noting_status(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._guarded(request, receive, noting_status)
        finally:
            caller = request.get(CALLER)
            fields = {
                "method": one_line(shortened(request["method"], _LOGGED)),
                "path": one_line(shortened(path_of(request), _LOGGED)),
                "status": status,
                "caller": caller.name if isinstance(caller, Caller) else None,
                "duration_ms": round(self.runtime.monotonic_ms() - began_ms, 3),
            }
            self.runtime.log(LogRecord("info", "http request", fields))


def path_of(request: Request) -> str:
    """Return the path of a request below the prefix that the application is mounted at."""
    path: str = request["path"]
    root: str = request.get("root_path", "")
    return path[len(root) :] if path.startswith(f"{root}/") else path


def ambiguous(request: Request) -> HttpRefusal | None:
    """Return the refusal of a request that has two lengths: a proxy in front could read another one (RFC 9112, 6.1)."""
    names = {name for name, _ in request["headers"]}
    if not {b"content-length", b"transfer-encoding"} <= names:
        return None
    error = InvalidArgument("headers of the request", "Content-Length and Transfer-Encoding", "one of them")
    return HttpRefusal(status=400, error=error, headers=((b"connection", b"close"),))


def too_large(request: Request, limits: HttpLimits) -> HttpRefusal | None:
    """Return the refusal of a request whose URL, headers or announced body are too large."""
    url = len(request.get("raw_path") or request["path"].encode()) + len(request.get("query_string", b""))
    if url > limits.url_bytes:
        return size_refusal(414, "URL of the request", f"{url} bytes", f"{limits.url_bytes} bytes")
    headers = sum(len(name) + len(value) for name, value in request["headers"])
    if headers > limits.header_bytes:
        return size_refusal(431, "headers of the request", f"{headers} bytes", f"{limits.header_bytes} bytes")
    length = next((value for name, value in request["headers"] if name == b"content-length"), b"0")
    if not length.isdigit() or len(length) > _DIGITS or int(length) > limits.body_bytes:
        return body_too_large(limits)
    return None


def too_many_lines(request: Request, body: bytes, limits: HttpLimits) -> HttpRefusal | None:
    """Return the refusal of a batch with too many requests."""
    lines = body.count(b"\n") + (not body.endswith(b"\n") and body != b"")
    if lines <= limits.batch_lines or path_of(request) != _BATCH:
        return None
    return size_refusal(413, "batch of requests", f"{lines} lines", f"{limits.batch_lines} lines")
