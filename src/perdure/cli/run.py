"""``perdure run`` and ``perdure serve``: serve an app until a signal stops it. ``perdure openapi``: its interface.

SIGINT and SIGTERM are requests: the first one to stop, the second one to cancel runs. The engine's log goes to standard
error: one line per record, with its fields as ``name=value``.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import AsyncExitStack, closing, contextmanager
from functools import partial
from ssl import SSLContext
from typing import Annotated, Any, Final, Literal, NoReturn

import attrs
from cyclopts import Parameter

from perdure.app import App, OpenApp
from perdure.cli.app_loader import import_app
from perdure.cli.instances.presentation import instant
from perdure.cli.options import AppArgument
from perdure.cli.process import ExitCode, UsageError, discard_stdout, write_lines
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.engine.loops.upkeep import Resting, RestWhenIdle
from perdure.engine.loops.waker import Waker
from perdure.engine.running import LEAVE_AFTER_MS, RunningEngine
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import Future, Runtime
from perdure.server.access import Tokens, Unprotected, access_to, tokens_from
from perdure.server.addresses import Bind, UnixBind, parse_bind, tls_context
from perdure.server.http_limits import DEFAULT_LIMITS, HttpLimits, http_limits_of, make_room
from perdure.server.listening import HeldSockets, Listening
from perdure.server.systemd import ServiceManager, service_manager, watched
from perdure.stores.postgres.settings import is_postgres
from perdure.stores.sqlite.files import owner_socket
from perdure.stores.url import check_when_owned, sqlite_path, with_options
from perdure.stores.url_parts import redacted_url
from perdure.stores.values import IfMissing, OnLocked
from perdure.telemetry.logs import LogFormat, LogLevel, log_to_stderr
from perdure.telemetry.prometheus import Prometheus
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
from perdure.values.times import duration_ms, from_ms
from perdure.wire.openapi import TITLE, described
from perdure.wire.requests import DASHBOARD

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
            # A third signal ends the process at once, as if this program handled none.
            _ignore_no_more()

    @contextmanager
    def calling(self, act: Callable[[], None], *, at: Literal["stop", "stop_now"] = "stop") -> Generator[None]:
        """Call a function at the first signal, or the second, if it arrives within the block or has arrived before."""

        def called(signal: asyncio.Future[str]) -> None:
            if not signal.cancelled():
                act()

        awaited = self.stop if at == "stop" else self.stop_now
        # A future that is done calls back as well: a signal that came before the block is not lost.
        awaited.add_done_callback(called)
        try:
            yield
        finally:
            awaited.remove_done_callback(called)


@contextmanager
def stop_signals() -> Generator[StopSignals]:
    """Handle both signals in the running event loop, until the block ends."""
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
    """This process's app, its store, and the addresses to serve it on.

    Attributes:
        on_locked: whether to wait for a store that another process owns.
        debug: whether to log hook mistakes.
        socket: the Unix socket's path beside the file. None for none.
        tokens: the tokens that requests over TCP need. None to serve only programs on this machine.
        tls: the TLS settings for the TCP addresses. None for plain HTTP.
        unprotected: the reaction to an address that other machines can reach, when there are no tokens.
        limits: the connection and request limits.
        log_requests: whether to log each request.
        dashboard: whether to serve the dashboard.
        rest: when to close the store of an engine without work, and to open it again. None for never.
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
    rest: RestWhenIdle | None = None


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
    manager, asked, runtime = service_manager(), _Asked(), asyncio_runtime()
    with stop_signals() as signals, closing(HeldSockets()) as held:
        async with watched(manager, asked.answers, runtime):
            ended = await _serve_once(served, signals, held, manager, asked)
            while not isinstance(ended, ExitCode):
                if not await _rested(ended, held, signals, manager, runtime):
                    _say(f"stopped ({signals.stop.result()})")
                    return ExitCode.DONE
                ended = await _serve_once(served, signals, held, manager, asked, tries=OPENINGS)
    return ended


OPENINGS: Final = 3
"""How many times the store is opened after a rest: a database that sleeps may start longer than one try lasts."""


async def _serve_once(
    served: Served, signals: StopSignals, held: HeldSockets, manager: ServiceManager, asked: _Asked, tries: int = 1
) -> ExitCode | Resting:
    """Serve from an opening of the store to its close. Return the exit code, or how long to rest."""
    started: list[RunningEngine] = []
    async with AsyncExitStack() as stack:
        # Until all is closed, and no longer: a process that rests often opens many engines.
        stack.enter_context(signals.calling(lambda: _cancel_runs(started), at="stop_now"))
        open_app = partial(served.app.open, served.store, debug=served.debug)
        jobs = await _open_unless_stopped(open_app, served, stack, signals, manager, tries)
        if jobs is None:
            _say(f"stopped ({signals.stop.result()}) before it began")
            return ExitCode.DONE
        started.append(engine := engine_of(jobs))
        if signals.stop_now.done():
            _cancel_runs(started)
        servers = await _listen(jobs, served, stack, held)
        _announce(served, engine, [url for server in servers for url in server.urls], manager)
        asked.jobs = jobs
        ended = await _until_stopped(engine, servers, served.rest, signals)
        asked.jobs = None
        if isinstance(ended, ExitCode):
            manager.stopping("waiting for runs")
            # At once: the server closes next, and no run may begin meanwhile.
            engine.begin_stop()
    # A rest does not begin the stop: the server, which closes first, answers the requests that just arrived.
    if engine.left_behind:
        _leave(engine, ended if isinstance(ended, ExitCode) else ExitCode.FAILED)
    if isinstance(ended, ExitCode):
        _say("stopped")
    return ended


def _announce(served: Served, engine: RunningEngine, urls: Sequence[str], manager: ServiceManager) -> None:
    line = f"serving {_served(served.app)} on {engine.store.name}"
    _say(f"{line} (process {os.getpid()})")
    if urls:
        _say(f"listening on {', '.join(urls)}")
    if served.dashboard and (pages := [f"{url}{DASHBOARD}" for url in urls if "+unix:" not in url]):
        _say(f"dashboard at {', '.join(pages)}")
    manager.ready(line)


async def _rested(
    resting: Resting, held: HeldSockets, signals: StopSignals, manager: ServiceManager, runtime: Runtime
) -> bool:
    """Wait with the store closed until a connection, the next alarm or the end of the rest. False: a signal came."""
    until_ms, waker = runtime.now_ms() + resting.for_ms, Waker(runtime)
    line = f"resting until {instant(from_ms(until_ms))}, or a request: {resting.reason}"
    _say(line)
    manager.waiting(line)
    # Only a notice: the connection stays in the queue, and the next engine accepts it.
    with held.calling(waker.notify), signals.calling(waker.notify):
        # A signal that has come before calls nothing.
        await waker.wait_until(runtime.now_ms() if signals.stop.done() else until_ms)
    return not signals.stop.done()


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


async def _listen(jobs: Client, served: Served, stack: AsyncExitStack, held: HeldSockets) -> tuple[Listening, ...]:
    """Listen, and return the servers."""
    binds = [*([] if served.socket is None else [UnixBind(served.socket)]), *served.binds]
    if not binds:
        return ()
    if not can_listen():
        _say("not listening: pip install 'perdure[server]' to let other processes reach this engine")
        return ()
    from perdure.server.serving import serving  # noqa: PLC0415 - an extra

    # Longer than the stop of the engine: requests may wait for runs until these are abandoned.
    drain_ms = engine_of(jobs).limits.shutdown_timeout_ms + LEAVE_AFTER_MS + _ANSWERING_MS
    try:
        return await stack.enter_async_context(
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
                held=None if served.rest is None else held,
            )
        )
    except ListenFailed as error:
        beside = served.socket is not None and error.address == str(UnixBind(served.socket))
        hint = "; or pass --no-socket to serve without it" if beside else ""
        raise UsageError(f"{error}{hint}") from error


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
    tries: int,
) -> Client | None:
    """Open the app, or return None if a signal ended the wait for another owner or for a slow service."""
    try:
        # Without a limit of its own: the signal sets it, and so ends the opening alone.
        async with asyncio.timeout(None) as patience:
            with signals.calling(lambda: patience.reschedule(0)):
                return await _open(open_app, served, stack, manager, tries)
    except TimeoutError:
        return None


async def _open(
    open_app: Callable[..., OpenApp], served: Served, stack: AsyncExitStack, manager: ServiceManager, tries: int
) -> Client:
    try:
        # Before the store is opened: a store that several engines share has no owner to wait for.
        check_when_owned(served.store, served.on_locked)
        # First without a wait: the refusal names the owner.
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
        # Only if the store does not answer: each other error stays the same.
        if tries > 1:
            sys.stderr.write(f"perdure: {error}; trying again\n")
            return await _open(open_app, served, stack, manager, tries - 1)
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


async def _until_stopped(
    engine: RunningEngine, servers: Sequence[Listening], rest: RestWhenIdle | None, signals: StopSignals
) -> ExitCode | Resting:
    """Wait until a signal arrives, the engine stops itself or may rest. Return the exit code, or the rest."""
    by_itself = asyncio.ensure_future(_result(engine.stopped))
    idle = asyncio.ensure_future(_idle(engine, servers, rest))
    awaited: set[asyncio.Future[Any]] = {by_itself, signals.stop, idle}
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    resting = idle.result() if idle.done() else None
    idle.cancel()
    if by_itself.done():
        sys.stderr.write(f"perdure: the engine stopped itself: {by_itself.result()}\n")
        # Another program took the store: a restart would take it back.
        lost = engine.store.lost
        return ExitCode.FAILED if lost is None or not lost.done() else ExitCode.MISCONFIGURED
    by_itself.cancel()
    if resting is not None and not signals.stop.done():
        return resting
    seconds = engine.limits.shutdown_timeout_ms / 1_000
    _say(f"stopping ({signals.stop.result()}): runs may finish within {seconds:g} s; a second signal cancels them")
    return ExitCode.DONE


async def _idle(engine: RunningEngine, servers: Sequence[Listening], rest: RestWhenIdle | None) -> Resting:
    """Wait until the engine may rest: for ever without that option."""
    if rest is None:
        never: asyncio.Future[Resting] = asyncio.get_running_loop().create_future()
        return await never
    return await engine.until_idle(rest, lambda: [one.busy_ms for one in servers])


async def _result(stopped: Future[str]) -> str:
    return await stopped


def _cancel_runs(started: Sequence[RunningEngine]) -> None:
    for engine in started:
        _say("cancelling runs: the next start delivers them again")
        engine.stop_runs()


def _leave(engine: RunningEngine, code: ExitCode) -> NoReturn:
    """End the process although runs ignore their cancellation: closing the event loop would wait for them."""
    runs = ", ".join(str(address) for address in engine.left_behind)
    sys.stderr.write(f"perdure: stopped without waiting for runs that ignored their cancellation: {runs}\n")
    # `os._exit` flushes nothing.
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not 0: runs were left behind.
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


SELDOM = (10_000, 2, 500)
"""The garbage collector's thresholds: a turn leaves no cycles, and cycles from user code can wait.

Larger ones would collect less often but pause longer: 30 to 60 ms at 50,000 young objects, and with 20 for the second
threshold 600 ms for the middle generation."""

DEFAULT_BIND: Final = "127.0.0.1:8080"


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """The options that both commands have. Each has its help beside it."""

    store: Annotated[
        str,
        Parameter(
            env_var="PERDURE_STORE",
            help="Where instances live: sqlite:///jobs.db, postgresql://user@host/database, or memory:// for a try.",
        ),
    ]
    only: Annotated[
        list[str] | None,
        Parameter(
            env_var="PERDURE_ONLY",
            negative="",
            help="Serve only this job of the app, written kind:name. Repeatable; in the variable separated by spaces. "
            "Other engines on the shared store serve the others.",
        ),
    ] = None
    left_out: Annotated[
        list[str] | None,
        Parameter(
            name="--except",
            env_var="PERDURE_EXCEPT",
            negative="",
            help="Serve every job of the app but this one, written kind:name. Repeatable, as --only.",
        ),
    ] = None
    standby: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_STANDBY",
            negative="",
            help="If another process owns the file, wait and take over when that process ends, for any reason.",
        ),
    ] = False
    rest_when_idle: Annotated[
        str | None,
        Parameter(
            env_var="PERDURE_REST_WHEN_IDLE",
            help="Close the PostgreSQL store when no work came for this time, such as 5m, and none is due so soon. "
            "A request, or the next alarm, opens it again: a database that scales to zero can do so meanwhile.",
        ),
    ] = None
    rest_at_most: Annotated[
        str,
        Parameter(
            env_var="PERDURE_REST_AT_MOST",
            help="The longest rest: how late the messages of other engines and of your own transactions may be.",
        ),
    ] = "1h"
    socket: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_SOCKET",
            help="Listen on a Unix socket beside the file, jobs.db.sock, which only this user can connect to. "
            "Other processes on this machine reach the engine there. A memory store has none.",
        ),
    ] = True
    tokens_file: Annotated[
        str | None,
        Parameter(
            env_var="PERDURE_TOKENS_FILE",
            help="A file, mode 0600, with the tokens that requests over TCP need: name, scopes and secret in each "
            "line. Without it, PERDURE_TOKENS has them. Without tokens, only programs on this machine are served.",
        ),
    ] = None
    tls_certificate: Annotated[
        str | None,
        Parameter(
            env_var="PERDURE_TLS_CERTIFICATE",
            help="The certificate chain, in PEM: serve HTTPS on the TCP addresses.",
        ),
    ] = None
    tls_key: Annotated[
        str | None,
        Parameter(
            env_var="PERDURE_TLS_KEY",
            help="Its private key, in PEM without a passphrase; by default it is in the file of the certificate.",
        ),
    ] = None
    insecure: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_INSECURE",
            negative="",
            help="Listen on addresses that other machines can reach, although no token is required.",
        ),
    ] = False
    http_limit: Annotated[
        list[str] | None,
        Parameter(
            env_var="PERDURE_HTTP_LIMIT",
            negative="",
            help="A limit of connections or requests, such as connections=200 or idle_timeout=5m. Repeatable; "
            "in the variable separated by spaces.",
        ),
    ] = None
    log_requests: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_LOG_REQUESTS",
            negative="",
            help="Log each request: method, path, status, caller, duration.",
        ),
    ] = False
    dashboard: Annotated[
        bool | None,
        Parameter(
            env_var="PERDURE_DASHBOARD",
            help="Serve the dashboard at /dashboard of each address; by default if the extra `dashboard` is installed.",
        ),
    ] = None
    metrics: Annotated[
        bool | None,
        Parameter(
            env_var="PERDURE_METRICS",
            help="Count metrics, and expose them at /metrics; by default if the extra `prometheus` is installed and "
            "there is an address to serve HTTP on. An app that declares `prometheus()` does so in any case. It costs "
            "some 10 to 20 µs of CPU time for each request.",
        ),
    ] = None
    if_missing: Annotated[
        IfMissing | None,
        Parameter(
            env_var="PERDURE_IF_MISSING",
            help="If the file is missing or empty: create an empty store (the default, unless a write-ahead log that "
            "an engine left lies beside it), or refuse.",
        ),
    ] = None
    cache: Annotated[
        str | None,
        Parameter(
            env_var="PERDURE_CACHE",
            help="Bound of the cache of instances in memory, such as 16MiB; 64MiB by default, 0 disables it.",
        ),
    ] = None
    log_level: Annotated[
        LogLevel, Parameter(env_var="PERDURE_LOG_LEVEL", help="Minimum level of the log on standard error.")
    ] = "info"
    log_format: Annotated[
        LogFormat, Parameter(env_var="PERDURE_LOG_FORMAT", help="Lines of text, or one JSON object a line.")
    ] = "text"
    debug: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_DEBUG",
            help="Log an error, once for each place, when a hook builds a program and never runs it, or changes its "
            "state or event in place. The engine inspects the first 32 runs of each hook, then one in 64.",
        ),
    ] = True


def run(
    app: AppArgument,
    *,
    options: Options,
    bind: Annotated[list[str] | None, Parameter(env_var="PERDURE_BIND", negative="")] = None,
) -> int:
    """Serve the jobs of an app until SIGINT or SIGTERM.

    The first signal stops gracefully: no new runs, and current runs may finish within the shutdown timeout. The second
    one cancels them, and the next start delivers them again.

    Exit code: 0 stopped on request. 1 the engine stopped itself, or the store is unavailable: start it again. 2 the
    command cannot start, or another program took its store: an operator must act first.

    Parameters
    ----------
    bind
        Also serve HTTP on this address: host:port, [::1]:port, or unix:/path. Repeatable, up to 16. Port 0: the system
        chooses.
    """
    return _serve(app, options, bind or [])


def serve(
    app: AppArgument,
    *,
    options: Options,
    bind: Annotated[list[str] | None, Parameter(env_var="PERDURE_BIND", negative="")] = None,
) -> int:
    """Serve the jobs of an app over HTTP until SIGINT or SIGTERM: `perdure run` with an address.

    Exit code: 0 stopped on request. 1 the engine stopped itself, or the store is unavailable: start it again. 2 the
    command cannot start, or another program took its store: an operator must act first.

    Parameters
    ----------
    bind
        Serve HTTP on this address: host:port, [::1]:port, or unix:/path. By default 127.0.0.1:8080. Repeatable, up to
        16. Port 0: the system chooses.
    """
    return _serve(app, options, bind or [DEFAULT_BIND])


def _part_of(app: App[Any], options: Options) -> App[Any]:
    """Return the app with the jobs that the options select.

    Raises:
        UsageError: both options are used, the app has no such job, or no job is left.
    """
    if options.only and options.left_out:
        raise UsageError("--only and --except exclude each other: pass the jobs to serve, or those to leave out")
    wanted = options.only or options.left_out or ()
    jobs = {f"{kind}:{name}": job for (kind, name), job in app.served.items()}
    unknown = [job for job in wanted if job not in jobs]
    if unknown:
        raise UsageError(f"the app has no job {', '.join(unknown)}; it has {', '.join(jobs)}")
    chosen = [jobs[job] for job in wanted]
    if options.only:
        return app.only(*chosen)
    if not chosen:
        return app
    if len(set(wanted)) == len(jobs):
        raise UsageError("--except: no job of the app is left")
    return app.without(*chosen)


def _serve(app: str, options: Options, bind: list[str]) -> int:
    if bind and not can_listen():
        raise UsageError(
            f"listening on {', '.join(bind)} needs starlette and uvicorn; install them with: "
            "pip install 'perdure[server]'"
        )
    unprotected: Unprotected = "serve" if options.insecure else "refuse"
    try:
        binds = tuple(parse_bind(text) for text in bind)
        tokens = tokens_from(os.environ, options.tokens_file)
        # Before the app is imported: a wrong option is reported at once.
        for each in binds:
            access_to(each, tokens, unprotected)
        tls = None if options.tls_certificate is None else tls_context(options.tls_certificate, options.tls_key)
        limits = http_limits_of(options.http_limit or ())
        socket = _socket(options)
        rest = _rest(options)
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    log_to_stderr(options.log_level, options.log_format)
    gc.set_threshold(*SELDOM)  # before the app's own module, which may set its own
    loaded = _part_of(import_app(app), options)
    # One that the app declares has options of its own.
    if _metrics(options, binds) and not any(isinstance(sink, Prometheus) for sink in loaded.sinks):
        loaded = loaded.with_sinks(Prometheus())
    # The imported objects stay: the collector need not look at them.
    gc.freeze()
    chosen = {"if_missing": options.if_missing, "cache": options.cache}
    url = with_options(options.store, {name: text for name, text in chosen.items() if text is not None})
    served = Served(
        app=loaded,
        store=url,
        on_locked="wait" if options.standby else "raise",
        debug=options.debug,
        binds=binds,
        socket=socket,
        tokens=tokens,
        tls=tls,
        unprotected=unprotected,
        limits=limits,
        log_requests=options.log_requests,
        dashboard=_dashboard(options),
        rest=rest,
    )
    return asyncio.run(serve_app(served))


MIN_REST_MS: Final = 1_000
"""The shortest idle time and rest: an opening takes part of a second."""


def _rest(options: Options) -> RestWhenIdle | None:
    at_most_ms = duration_ms(options.rest_at_most, what="--rest-at-most", minimum_ms=MIN_REST_MS)
    if options.rest_when_idle is None:
        return None
    if options.standby:
        raise UsageError("--rest-when-idle and --standby exclude each other: a standby polls the store for its lock")
    if not is_postgres(options.store):
        raise UsageError("--rest-when-idle needs a PostgreSQL store: the engine of a file sends nothing while it waits")
    return RestWhenIdle(
        duration_ms(options.rest_when_idle, what="--rest-when-idle", minimum_ms=MIN_REST_MS), at_most_ms
    )


def _dashboard(options: Options) -> bool:
    installed = importlib.util.find_spec("htpy") is not None
    if options.dashboard and not installed:
        raise UsageError("--dashboard needs htpy; install it with: pip install 'perdure[dashboard]'")
    return installed if options.dashboard is None else options.dashboard


def _metrics(options: Options, binds: tuple[Bind, ...]) -> bool:
    installed = importlib.util.find_spec("prometheus_client") is not None
    if options.metrics and not installed:
        raise UsageError("--metrics needs prometheus_client; install it with: pip install 'perdure[prometheus]'")
    return installed and bool(binds) if options.metrics is None else options.metrics


def _socket(options: Options) -> str | None:
    if not options.socket or not options.store.startswith("sqlite:"):
        return None
    return owner_socket(sqlite_path(options.store))


def openapi(app: AppArgument, *, title: str = TITLE, server: str = "/") -> int:
    """Print the OpenAPI document of an app, which a server of it returns as `/openapi.json`.

    Equal definitions print equal text: commit it, and a difference in review is a changed interface.

    Exit code: 0 done, 2 the app cannot be imported.

    Parameters
    ----------
    title
        The document's title.
    server
        The engine's URL, or the path below which it is mounted.
    """
    document = described(import_app(app).served.values(), title=title, server=server)
    write_lines(json.dumps(document, indent=2).splitlines())
    return ExitCode.DONE
