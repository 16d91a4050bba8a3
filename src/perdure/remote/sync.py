"""`connect_sync`: a client for code without an event loop, such as Django, Flask and scripts."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any, ClassVar, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.client.attempt import attempt
from perdure.client.client import Client
from perdure.client.not_entered import SyncNotEntered
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition
from perdure.remote.channel import Channel
from perdure.remote.connecting import MISSING_EXTRA, Settings, Urls, settings, socket_of
from perdure.remote.server_url import ServerUrl
from perdure.values.errors import DefinitionError
from perdure.values.times import Duration
from perdure.values.trace import CurrentTrace

A = TypeVar("A")
E = TypeVar("E", bound=Exception)


@attrs.frozen(repr=False)
class SyncClient(Client):
    """A client whose calls are made by `run` and `attempt`, without ``await``. Threads may share it."""

    def run(self, call: Call[A, Exception], /) -> A:
        """Make a call and return its answer, or raise its error.

        Args:
            call: a call of this client or of one of its handles.

        Raises:
            Exception: the error of the call: ``Rejected``, ``InvalidInput``, ``OutcomeUnknown`` and so on.
            AlreadyAwaited: the call was made before.
        """
        return _driven(call)

    def attempt(self, call: Call[A, E], /) -> Success[A] | Failure[E]:
        """Make a call and return how it ended, as a value to ``match`` on.

        Args:
            call: a call of this client or of one of its handles.

        Raises:
            AlreadyAwaited: the call was made before.
        """
        return _driven(attempt(call))


def _driven(work: Coroutine[Any, Any, A]) -> A:
    """Run a coroutine that never suspends."""
    try:
        work.send(None)
    except StopIteration as ended:
        answer: A = ended.value
        return answer
    work.close()
    raise DefinitionError("call of a synchronous client", work, "a call that this client made, not one of another")


@attrs.frozen(repr=False)
class SyncConnecting(SyncNotEntered):
    """The context manager that `connect_sync` returns."""

    usage: ClassVar[str] = "with connect_sync(...) as jobs:"
    _opened: AbstractContextManager[SyncClient]

    def __enter__(self) -> SyncClient:
        return self._opened.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return self._opened.__exit__(kind, error, traceback)


def connect_sync(
    url: Urls,
    /,
    *definitions: AnyDefinition,
    token: str | None = None,
    timeout: Duration = "10 seconds",
    wait_timeout: Duration = "60 seconds",
    max_connections: int = 100,
    draw_keys: bool = False,
    trace: CurrentTrace | None = None,
) -> SyncConnecting:
    """Connect to an engine in another process, without an event loop.

    ::

        with connect_sync("sqlite:///jobs.db", orders) as jobs:
            print(jobs.run(jobs.handle(orders).send("order-1", Placed(30), idempotency_key="event-1")))

    Args:
        url: see `connect`, as for all arguments.
        *definitions: those of the typed handles.
        token: the bearer token, if the server has tokens.
        timeout: how long a call may take, repeats included.
        wait_timeout: the same for a call that waits for a run.
        max_connections: the maximum number of connections to each server, for all threads.
        draw_keys: give each request a new idempotency key that has none and that a repeat would apply again.
        trace: returns the trace context of the caller.

    Raises:
        DefinitionError: when the block begins: an argument is not valid, or the extra ``client`` is not installed.
        ServerUnreachable: the folder of the socket does not exist.
    """
    return SyncConnecting(
        _opened(
            lambda: settings(
                url,
                definitions,
                token=token,
                timeout=timeout,
                wait_timeout=wait_timeout,
                max_connections=max_connections,
                draw_keys=draw_keys,
                trace=trace,
            )
        )
    )


@contextmanager
def _opened(settle: Callable[[], Settings]) -> Generator[SyncClient]:
    given = settle()
    try:
        import httpx2  # noqa: PLC0415 - of the extra `client`

        from perdure.remote.blocking_channel import BlockingChannel, BlockingClientRuntime  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        raise DefinitionError("connect_sync", error, MISSING_EXTRA) from error
    limits: Any = httpx2.Limits(max_connections=given.max_connections, max_keepalive_connections=given.max_connections)
    with ExitStack() as stack:

        def channel_of(url: ServerUrl) -> Channel:
            socket = socket_of(url, stack)

            def http_client() -> httpx2.Client:
                transport = httpx2.HTTPTransport(uds=socket, limits=limits)
                return httpx2.Client(base_url=url.base, headers=given.headers, transport=transport, trust_env=False)

            channel = BlockingChannel(http_client)
            stack.callback(channel.close)
            return channel

        yield SyncClient(given.gateway(channel_of, BlockingClientRuntime()))
