"""An engine in another process."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import attrs
from returns.result import Result

from perdure.cli.output import object_of
from perdure.cli.target.target import InstanceRequest
from perdure.client.client import call_of, gateway_of
from perdure.jobs.call import Call
from perdure.remote import SyncClient, connect_sync
from perdure.remote.gateway import RemoteGateway
from perdure.remote.servers import ServerCall
from perdure.values.address import Address
from perdure.values.errors import ServerUnreachable
from perdure.values.listings import InstanceOutcome, ListFilter, Listing
from perdure.values.status_wait import Awaited, AwaitedStatus, CallEnd, PublishedValue, UpdateReply
from perdure.values.stream import StreamPage
from perdure.values.times import Duration, from_ms
from perdure.wire.operations import ClientOperation
from perdure.wire.requests import instance_path

A = TypeVar("A")

CONNECT_TIMEOUT_S: Final = 5.0
"""How long a command waits for a server to accept a connection, before it reports that none answers."""

_HTTP: Final = b"HTTP/"
_NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST"})
"""OpenSSL's reasons for bytes that are not TLS."""


@attrs.frozen
class Remote:
    """Calls the engine by its jobs' names."""

    name: str
    jobs: SyncClient

    @property
    def hides_secrets(self) -> bool:
        """Whether ``state`` hides secrets: always."""
        return True

    def check_engine(self) -> None:
        """Do nothing: the connection was checked when it was opened."""

    def perform(self, operation: ClientOperation[A], /, **given: object) -> A:
        """Perform an operation, by the client's method."""
        return self.jobs.run(call_of(self.jobs, operation, given))

    def find(self, wanted: ListFilter, /) -> Listing:
        """Find instances, ordered by address."""
        due = wanted.due_before_ms
        call = self.jobs.list(
            kind=wanted.kind,
            name=wanted.name,
            status=wanted.status,
            id_prefix=wanted.id_prefix,
            due_before=None if due is None else from_ms(due),
            where=wanted.where,
            after=wanted.after,
            limit=wanted.limit,
        )
        return self.jobs.run(call)

    def state(self, address: Address, /) -> object:
        """Read an instance's state as JSON-able data, without its secrets. None if there is no instance."""
        state: object = self.jobs.run(self.jobs.handle_by_name(address.kind, address.name).shown_state(address.id))
        return state

    def outcome(self, address: Address, /) -> InstanceOutcome | None:
        """Read how an instance ended, without secrets. None if it has not."""
        return self.jobs.run(self.jobs.handle_by_name(address.kind, address.name).shown_outcome(address.id))

    def until(
        self, address: Address, statuses: tuple[AwaitedStatus, ...], phases: tuple[str, ...], within: Duration, /
    ) -> Awaited:
        """Wait until an instance has one of these statuses or phases."""
        job = self.jobs.handle_by_name(address.kind, address.name)
        return self.jobs.run(job.until(address.id, *statuses, phases=phases, timeout=within))

    def explain(self, asked: InstanceRequest, /) -> dict[str, Any]:
        """Compute a request's effect without applying it."""
        at = asked.address
        job = self.jobs.handle_by_name(at.kind, at.name)
        explanation: dict[str, Any] = self.jobs.run(
            job.explain(asked.action, at.id, asked.payload, idempotency_key=asked.key)
        )
        return explanation

    def future(self, address: Address, question: bytes, /) -> dict[str, Any]:
        """Compute an instance's future, on the server."""
        gateway: object = gateway_of(self.jobs)
        if not isinstance(gateway, RemoteGateway):
            raise TypeError(gateway)
        path, call = instance_path(address, "future"), ServerCall(about=str(address), repeat="reads")
        asked: Call[dict[str, Any], Any] = Call(
            partial(gateway.http, "POST", path, dict, call, question, None), "future"
        )
        return self.jobs.run(asked)

    def call(self, asked: InstanceRequest, /) -> object:
        """Send a request, and return its answer as JSON-able data, without a typed error's data."""
        return without_error_data(self.jobs.run(self._call(asked)))

    def _call(self, asked: InstanceRequest) -> Call[Any, Any]:
        job = self.jobs.handle_by_name(asked.address.kind, asked.address.name)
        return job.call(
            asked.action,
            asked.address.id,
            asked.payload,
            idempotency_key=asked.key,
            wait_for=asked.wait_for,
            interrupt=asked.interrupt,
        )

    def calls(self, asked: Sequence[InstanceRequest], /) -> tuple[Result[object, Any], ...]:
        """Send up to 1,000 requests at the same time, and return how each ended."""
        ended = self.jobs.run(self.jobs.together(map(self._call, asked)))
        return tuple(each.map(without_error_data) for each in ended)

    def update(self, asked: InstanceRequest, within: Duration, /) -> UpdateReply:
        """Send an update, and wait for its reply."""
        job = self.jobs.handle_by_name(asked.address.kind, asked.address.name)
        key = asked.key or ""
        return self.jobs.run(
            job.update(asked.action, asked.address.id, asked.payload, timeout=within, idempotency_key=key)
        )

    def published(self, address: Address, name: str, within: Duration, /) -> PublishedValue:
        """Read a value that an instance publishes, or wait for it."""
        job = self.jobs.handle_by_name(address.kind, address.name)
        return self.jobs.run(job.until_published(address.id, name, timeout=within))

    def stream_page(self, address: Address, stream: str, after: int, wait_ms: int, /) -> StreamPage:
        """Read the items of a stream after an offset. Wait a while for the first item."""
        return self.jobs.run(gateway_of(self.jobs).stream_page(address, stream, after, wait_ms))

    def call_and_wait(self, asked: InstanceRequest, within: Duration, /) -> CallEnd:
        """Send a request, and wait until its work is over."""
        job = self.jobs.handle_by_name(asked.address.kind, asked.address.name)
        call = job.call_and_wait(
            asked.action, asked.address.id, asked.payload, timeout=within, idempotency_key=asked.key
        )
        return self.jobs.run(call)


def without_error_data(answer: object) -> object:
    """Leave out typed errors' data: only the definition says which parts are secret. Error texts hide those parts."""
    fields = object_of(answer)
    if fields is None:
        return answer
    is_error = "error_type" in fields
    return {name: without_error_data(each) for name, each in fields.items() if not (is_error and name == "data")}


@contextmanager
def connected(urls: tuple[str, ...], token: str | None, timeout: str) -> Generator[Remote]:
    """Connect to the engines at these URLs.

    Args:
        urls: server URLs, or the URL of a file that an engine owns.
        token: the bearer token.
        timeout: how long a call waits for its answer, such as ``60 seconds``.

    Raises:
        ServerUnreachable: no URL reaches a server that accepts connections. Nothing was sent.
    """
    _check_servers(urls)
    with connect_sync(urls, token=token, timeout=timeout, wait_timeout=timeout) as jobs:
        yield Remote(", ".join(urls), jobs)


def _check_servers(urls: tuple[str, ...]) -> None:
    """Check that at least one URL reaches a server.

    Raises:
        ServerUnreachable: no URL does.
    """
    # The error of the last one is reported. The others may be down: one that answers is enough.
    for url in urls[:-1]:
        with suppress(ServerUnreachable):
            return _check_server(url)
    return _check_server(urls[-1])


def _check_server(url: str) -> None:
    """Connect once: the client itself would repeat a call that reaches no such server until its timeout.

    Raises:
        ServerUnreachable: nothing listens there, or the listener does not use HTTP, with TLS if the URL says so.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        return
    host = parts.hostname or ""
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        with socket.create_connection((host, port), CONNECT_TIMEOUT_S) as connection:
            problem = _tls_problem(connection, host) if parts.scheme == "https" else _http_problem(connection, host)
    except (OSError, ValueError) as error:
        raise ServerUnreachable(url, f"{error}; check the address, or start it: perdure serve MODULE:APP") from error
    if problem:
        raise ServerUnreachable(url, problem)


def _tls_problem(connection: socket.socket, host: str) -> str:
    """Begin TLS, and say if the server does not use it. The client checks its certificate later."""
    context = ssl.create_default_context()
    # Only whether it speaks TLS is asked. Nothing is sent over this connection.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        context.wrap_socket(connection, server_hostname=host).close()
    except ssl.SSLError as error:
        return "the server there does not use TLS: write http://" if error.reason in _NO_TLS else ""
    except OSError:
        return ""
    return ""


def _http_problem(connection: socket.socket, host: str) -> str:
    """Send a request that needs no token, and say if the answer is not HTTP."""
    try:
        connection.sendall(f"GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        begin = connection.recv(len(_HTTP))
    except TimeoutError:
        return ""  # it is busy: the call waits for it
    except OSError:
        begin = b""
    # A short read may return less than the five bytes.
    if begin and _HTTP.startswith(begin):
        return ""
    closed = "" if begin else "closed the connection, so it stops, or it "
    return f"the server there {closed}does not use plain HTTP: check the port, or write https://"
