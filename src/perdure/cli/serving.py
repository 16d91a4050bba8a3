"""Serves an app in this process: opens it, listens, and stops it on a signal.

SIGINT and SIGTERM are requests: the first one to stop, the second one to cancel runs.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from ssl import SSLContext
from typing import Any, NoReturn

import attrs

from perdure.app import App, OpenApp
from perdure.cli.process import ExitCode, UsageError, discard_stdout, write_lines
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.dashboard.frame import PAGES
from perdure.engine.running import LEAVE_AFTER_MS, RunningEngine
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Future
from perdure.server.access import Unprotected
from perdure.server.addresses import Bind, UnixBind
from perdure.server.http_limits import DEFAULT_LIMITS, HttpLimits, make_room
from perdure.server.systemd import ServiceManager, service_manager, watched
from perdure.server.tokens import Tokens
from perdure.stores.url import check_when_owned
from perdure.stores.url_parts import redacted_url
from perdure.stores.values import OnLocked
from perdure.values.errors import (
    DefinitionError,
    EnsureFailed,
    ListenFailed,
    Rejected,
    RequestError,
    StoreError,
    StoreLocked,
    StoreUnavailable,
)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@attrs.frozen
class StopSignals:
    """The signals received so far.

    Attributes:
        stop: done at the first signal, with its name.
        stop_now: done at the second, with its name. A third one has the signal's default effect.
    """

    stop: asyncio.Future[str]
    stop_now: asyncio.Future[str]

    def receive(self, number: signal.Signals) -> None:
        """Record a signal."""
        if not self.stop.done():
            self.stop.set_result(number.name)
        elif not self.stop_now.done():
            self.stop_now.set_result(number.name)
            _ignore_no_more()

    @contextmanager
    def calling(self, act: Callable[[], None]) -> Generator[None]:
        """Call a function at the first signal, if it arrives within the block or has arrived before."""

        def called(_: asyncio.Future[str]) -> None:
            act()

        self.stop.add_done_callback(called)
        try:
            yield
        finally:
            self.stop.remove_done_callback(called)

    def when_urged(self, act: Callable[[], None]) -> None:
        """Call a function at the second signal."""
        self.stop_now.add_done_callback(lambda urged: None if urged.cancelled() else act())


@contextmanager
def stop_signals() -> Generator[StopSignals]:
    """Handle both signals in the running event loop, until the end of the block."""
    loop = asyncio.get_running_loop()
    signals = StopSignals(loop.create_future(), loop.create_future())
    for number in SIGNALS:
        loop.add_signal_handler(number, signals.receive, number)
    try:
        yield signals
    finally:
        _ignore_no_more()
        signals.stop.cancel()
        signals.stop_now.cancel()


def _ignore_no_more() -> None:
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)


_ANSWERING_MS = 1_000
"""How long requests may take after the runs that they wait for were abandoned."""


@attrs.frozen(kw_only=True)
class Served:
    """The app of this process, its store, and the addresses to serve it on.

    Attributes:
        app: the app.
        store: the store's URL.
        on_locked: whether to wait for a store that another process owns.
        debug: whether to log mistakes of hooks.
        binds: the addresses to serve HTTP on.
        socket: the path of the Unix socket beside the file; None for none.
        tokens: the tokens that requests over TCP need; None to serve only programs on this machine.
        tls: the settings of TLS for the TCP addresses; None for plain HTTP.
        unprotected: the reaction to an address that other machines can reach, when there are no tokens.
        limits: the limits of connections and requests.
        log_requests: whether to log each request.
        dashboard: whether to serve the dashboard.
    """

    app: App[Any]
    store: str
    on_locked: OnLocked = "raise"
    debug: bool = True
    binds: tuple[Bind, ...] = ()
    socket: str | None = None
    tokens: Tokens | None = None
    tls: SSLContext | None = None
    unprotected: Unprotected = "refuse"
    limits: HttpLimits = DEFAULT_LIMITS
    log_requests: bool = False
    dashboard: bool = False


def can_listen() -> bool:
    """Return whether the extra ``server`` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in ("starlette", "uvicorn"))


async def serve_app(served: Served) -> ExitCode:
    """Open the store, listen, and run until a signal or until the engine stops itself.

    Args:
        served: the app, the store and the addresses.

    Raises:
        UsageError: the store or the services cannot be opened, or an address cannot be listened on.
    """
    await _check_free(served)
    _import_server(served)
    manager, asked = service_manager(), _Asked()
    with stop_signals() as signals:
        async with watched(manager, asked.answers, asyncio_runtime()), AsyncExitStack() as stack:
            open_app = partial(served.app.open, served.store, debug=served.debug)
            jobs = await _open_unless_stopped(open_app, served, stack, signals, manager)
            if jobs is None:
                _say(f"stopped ({signals.stop.result()}) before it began")
                return ExitCode.DONE
            engine = engine_of(jobs)
            urls = await _listen(jobs, served, stack)
            line = f"serving {_served(served.app)} on {engine.store.name}"
            _say(f"{line} (process {os.getpid()})")
            if urls:
                _say(f"listening on {', '.join(urls)}")
            if served.dashboard and (pages := [f"{url}{PAGES}" for url in urls if "+unix:" not in url]):
                _say(f"dashboard at {', '.join(pages)}")
            manager.ready(line)
            asked.jobs = jobs
            signals.when_urged(lambda: _cancel_runs(engine))
            code = await _until_stopped(engine, signals)
            manager.stopping("waiting for runs")
            asked.jobs = None
            engine.begin_stop()
        if engine.left_behind:
            _leave(engine, code)
        _say("stopped")
    return code


@attrs.define
class _Asked:
    """The engine whose store the watchdog asks: none before it serves and while it stops, which have own timeouts."""

    jobs: Client | None = None

    async def answers(self) -> None:
        """Wait until the store answers."""
        if self.jobs is not None:
            await self.jobs.health()


async def _check_free(served: Served) -> None:
    """Refuse an address in use before the store is opened. A standby may wait for the process that has the address."""
    if not served.binds or served.on_locked == "wait":
        return
    from perdure.server.listening import check_free  # noqa: PLC0415 - an extra

    try:
        await check_free(served.binds)
    except ListenFailed as error:
        raise UsageError(str(error)) from error


def _import_server(served: Served) -> None:
    """Import the server before the store is opened: an engine that has joined a shared store delays its share."""
    if (served.binds or served.socket is not None) and can_listen():
        importlib.import_module("perdure.server.serving")


async def _listen(jobs: Client, served: Served, stack: AsyncExitStack) -> tuple[str, ...]:
    """Listen, and return the URLs."""
    binds = [*([] if served.socket is None else [UnixBind(served.socket)]), *served.binds]
    if not binds:
        return ()
    if not can_listen():
        _say("not listening: pip install 'perdure[server]' to let other processes reach this engine")
        return ()
    from perdure.server.serving import serving  # noqa: PLC0415 - an extra

    drain_ms = engine_of(jobs).limits.shutdown_timeout_ms + LEAVE_AFTER_MS + _ANSWERING_MS
    try:
        servers = await stack.enter_async_context(
            serving(
                jobs,
                binds,
                tokens=served.tokens,
                tls=served.tls,
                unprotected=served.unprotected,
                limits=_affordable(served.limits, groups=2 if served.socket and served.binds else 1),
                log_requests=served.log_requests,
                dashboard=served.dashboard,
                shutdown_timeout=f"{drain_ms} ms",
            )
        )
    except ListenFailed as error:
        beside = served.socket is not None and error.address == str(UnixBind(served.socket))
        hint = "; or pass --no-socket to serve without it" if beside else ""
        raise UsageError(f"{error}{hint}") from error
    return tuple(url for server in servers for url in server.urls)


def _affordable(limits: HttpLimits, groups: int) -> HttpLimits:
    """Return the limits with as many connections as this process may open, for the Unix socket and for TCP each."""
    probes = limits.probe_connections
    connections = make_room(groups * (limits.connections + probes)) // groups - probes
    if connections < limits.connections:
        _say(f"{connections} instead of {limits.connections} connections: raise the limit of open files (LimitNOFILE)")
    return attrs.evolve(limits, connections=max(1, connections))


async def _open_unless_stopped(
    open_app: Callable[..., OpenApp],
    served: Served,
    stack: AsyncExitStack,
    signals: StopSignals,
    manager: ServiceManager,
) -> Client | None:
    """Open the app, or return None if a signal ended the wait for another owner or for a slow service."""
    try:
        async with asyncio.timeout(None) as patience:
            with signals.calling(lambda: patience.reschedule(0)):
                return await _open(open_app, served, stack, manager)
    except TimeoutError:
        return None


async def _open(
    open_app: Callable[..., OpenApp], served: Served, stack: AsyncExitStack, manager: ServiceManager
) -> Client:
    try:
        check_when_owned(served.store, served.on_locked)
        try:
            return await stack.enter_async_context(open_app())
        except StoreLocked as locked:
            if served.on_locked == "raise":
                raise
            waiting = f"waiting for the lock of {redacted_url(served.store)}, held by {locked.owner}"
            _say(waiting)
            manager.waiting(waiting)
            return await stack.enter_async_context(open_app(on_locked=served.on_locked))
    except StoreUnavailable as error:
        raise UsageError(str(error), exit_code=ExitCode.FAILED) from error
    except EnsureFailed as error:
        raise UsageError(str(error), exit_code=_code_of(error.error)) from error
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    except Exception as error:
        details = "".join(traceback.format_exception(error))
        raise UsageError(f"the app cannot be opened: {type(error).__name__}: {error}", details) from error


def _code_of(error: Exception) -> ExitCode:
    """Return the exit code for a declared instance that was not created: 1 if the next start may succeed."""
    return ExitCode.MISCONFIGURED if isinstance(error, RequestError | Rejected) else ExitCode.FAILED


async def _until_stopped(engine: RunningEngine, signals: StopSignals) -> ExitCode:
    """Wait until a signal arrives or the engine stops itself, and return the exit code."""
    by_itself = asyncio.ensure_future(_result(engine.stopped))
    await asyncio.wait({by_itself, signals.stop}, return_when=asyncio.FIRST_COMPLETED)
    if by_itself.done():
        sys.stderr.write(f"perdure: the engine stopped itself: {by_itself.result()}\n")
        lost = engine.store.lost
        return ExitCode.FAILED if lost is None or not lost.done() else ExitCode.MISCONFIGURED
    by_itself.cancel()
    seconds = engine.limits.shutdown_timeout_ms / 1_000
    _say(f"stopping ({signals.stop.result()}): runs may finish within {seconds:g} s; a second signal cancels them")
    return ExitCode.DONE


async def _result(stopped: Future[str]) -> str:
    return await stopped


def _cancel_runs(engine: RunningEngine) -> None:
    _say("cancelling runs: the next start delivers them again")
    engine.stop_runs()


def _leave(engine: RunningEngine, code: ExitCode) -> NoReturn:
    """End the process although runs ignore their cancellation: closing the event loop would wait for them."""
    runs = ", ".join(str(address) for address in engine.left_behind)
    sys.stderr.write(f"perdure: stopped without waiting for runs that ignored their cancellation: {runs}\n")
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or ExitCode.FAILED)


def _served(app: App[Any]) -> str:
    names = ", ".join(f"{kind}:{name}" for kind, name in app.served)
    return f"{len(app.served)} {'job' if len(app.served) == 1 else 'jobs'} ({names})"


def _say(line: str) -> None:
    try:
        write_lines([f"perdure: {line}"])
        sys.stdout.flush()
    except OSError as error:  # no reason to stop serving
        discard_stdout(error)
