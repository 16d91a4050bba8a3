"""``perdure run`` and ``perdure serve``: serve an app until a signal stops it. ``perdure openapi``: its interface.

The engine's log goes to standard error: one line per record, with its fields as ``name=value``.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import json
import logging
import os
import sys
import time
from typing import Annotated, Final, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from perdure.cli.app_loader import import_app
from perdure.cli.options import AppArgument
from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.cli.serving import Served, can_listen, serve_app
from perdure.server.access import Unprotected, access_to
from perdure.server.addresses import Bind, parse_bind, tls_context
from perdure.server.http_limits import http_limits_of
from perdure.server.tokens import tokens_from
from perdure.stores.sqlite.files import owner_socket
from perdure.stores.url import sqlite_path, with_options
from perdure.stores.values import IfMissing
from perdure.telemetry.logs import JsonLine, RunFilter
from perdure.telemetry.prometheus import Prometheus
from perdure.values.errors import DefinitionError
from perdure.wire.openapi import TITLE, described

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["text", "json"]


class LogLine(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO perdure: engine started store='sqlite:///jobs.db'``, in UTC."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name}: {message}", style="{")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of `logging`
        """Add the fields of the run to a line that a program wrote. A record of the engine shows its fields itself."""
        line = super().formatMessage(record)
        fields = vars(record).get("perdure")
        if not fields or "perdure_message" in vars(record):
            return line
        return line + "".join(f" {name}={value!r}" for name, value in fields.items())


def log_to_stderr(level: LogLevel, form: LogFormat = "text") -> None:
    """Send records of this level and above to standard error.

    A handler that the user's module installed on the root logger is kept. The HTTP client logs each request as info,
    so a tracker would add a line for each batch: of its lines, only warnings are logged, unless the level is debug.

    Args:
        level: the minimum level.
        form: lines of text, or JSON objects.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLine() if form == "text" else JsonLine())
    handler.addFilter(RunFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    if level == "info":
        logging.getLogger("httpx2").setLevel(logging.WARNING)


SELDOM = (10_000, 2, 500)
"""Thresholds of the garbage collector: a turn leaves no cycles, and those of user code can wait.

Larger ones would collect less often but pause longer: 30 to 60 ms at 50,000 young objects, and with 20 for the second
threshold 600 ms for the middle generation."""

DEFAULT_BIND: Final = "127.0.0.1:8080"


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Options:
    """The options of both commands: their help is beside them."""

    store: Annotated[
        str,
        Parameter(
            env_var="PERDURE_STORE",
            help="Where instances live: sqlite:///jobs.db, postgresql://user@host/database, or memory:// for a try.",
        ),
    ]
    standby: Annotated[
        bool,
        Parameter(
            env_var="PERDURE_STANDBY",
            negative="",
            help="If another process owns the file, wait and take over when that process ends, for any reason.",
        ),
    ] = False
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
    one cancels them; the next start delivers them again.

    Exit code: 0 stopped on request; 1 the engine stopped itself, or the store is unavailable: start it again; 2 the
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

    Exit code: 0 stopped on request; 1 the engine stopped itself, or the store is unavailable: start it again; 2 the
    command cannot start, or another program took its store: an operator must act first.

    Parameters
    ----------
    bind
        Serve HTTP on this address: host:port, [::1]:port, or unix:/path; 127.0.0.1:8080 by default. Repeatable, up to
        16. Port 0: the system chooses.
    """
    return _serve(app, options, bind or [DEFAULT_BIND])


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
        for each in binds:
            access_to(each, tokens, unprotected)
        tls = None if options.tls_certificate is None else tls_context(options.tls_certificate, options.tls_key)
        limits = http_limits_of(options.http_limit or ())
        socket = _socket(options)
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    log_to_stderr(options.log_level, options.log_format)
    gc.set_threshold(*SELDOM)  # before the app's own module, which may set its own
    loaded = import_app(app)
    if _metrics(options, binds) and not any(isinstance(sink, Prometheus) for sink in loaded.sinks):
        loaded = loaded.with_sinks(Prometheus())
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
    )
    return asyncio.run(serve_app(served))


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

    Equal definitions print equal text: commit it, and a difference in review is a change of the interface.

    Exit code: 0 done, 2 the app cannot be imported.

    Parameters
    ----------
    title
        The title of the document.
    server
        The URL of the engine, or the path below which it is mounted.
    """
    document = described(import_app(app).served.values(), title=title, server=server)
    write_lines(json.dumps(document, indent=2).splitlines())
    return ExitCode.DONE
