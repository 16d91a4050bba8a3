"""``perdure run``: serve an app until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any, NoReturn

from cyclopts import Parameter

from perdure.app import App, OpenApp
from perdure.cli.app_loader import import_app
from perdure.cli.exit_code import ExitCode
from perdure.cli.logs import LogLevel, log_to_stderr
from perdure.cli.standard_output import discard_stdout, write_lines
from perdure.cli.stop_signals import StopSignals, stop_signals
from perdure.cli.store_option import StoreOption
from perdure.cli.usage_error import UsageError
from perdure.client.client import Client, engine_of
from perdure.runtime.record import Future
from perdure.stores.store import IfMissing, OnLocked
from perdure.stores.url import check_when_owned, with_options
from perdure.values.errors import (
    DefinitionError,
    EnsureFailed,
    Rejected,
    RequestError,
    StoreError,
    StoreLocked,
    StoreUnavailable,
)

SELDOM = (10_000, 2, 500)
"""Thresholds of the garbage collector: a turn leaves no cycles, and those of user code can wait.

Larger ones would collect less often but pause longer: 30 to 60 ms at 50,000 young objects, and with 20 for the second
threshold 600 ms for the middle generation."""


def run(
    app: Annotated[str, Parameter(name="MODULE:APP", env_var="PERDURE_APP")],
    /,
    *,
    store: StoreOption,
    standby: Annotated[bool, Parameter(env_var="PERDURE_STANDBY", negative="")] = False,
    if_missing: Annotated[IfMissing | None, Parameter(env_var="PERDURE_IF_MISSING")] = None,
    cache: Annotated[str | None, Parameter(env_var="PERDURE_CACHE")] = None,
    log_level: Annotated[LogLevel, Parameter(env_var="PERDURE_LOG_LEVEL")] = "info",
    debug: Annotated[bool, Parameter(env_var="PERDURE_DEBUG")] = True,
) -> int:
    """Serve the jobs of an app until SIGINT or SIGTERM.

    The first signal stops gracefully: no new runs, and current runs may finish within the shutdown timeout. The second
    one cancels them; the next start delivers them again.

    Exit code: 0 stopped on request; 1 the engine stopped itself, or the store is unavailable: start it again; 2 the
    command cannot start, or another program took its store: an operator must act first.

    Parameters
    ----------
    app
        The app: an App, or a function that returns one. The current directory is searched first.
    store
        Where instances live: sqlite:///jobs.db, or memory:// to try it out.
    standby
        If another process owns the file, wait and take over when that process ends, for any reason.
    if_missing
        If the file is missing or empty: create an empty store (the default, unless a write-ahead log that an engine
        left lies beside it), or refuse.
    cache
        Bound of the cache of instances in memory, such as 16MiB; 64MiB by default.
    log_level
        Minimum level of the log on standard error.
    debug
        Log an error when a hook builds a program and never runs it, or changes its state or event in place.
        `--no-debug` saves some 20 to 30 µs of CPU time for each request.
    """
    log_to_stderr(log_level)
    gc.set_threshold(*SELDOM)  # before the app's own module, which may set its own
    served = import_app(app)
    gc.freeze()
    options = {"if_missing": if_missing, "cache": cache}
    url = with_options(store, {name: text for name, text in options.items() if text is not None})
    return asyncio.run(serve(served, url, "wait" if standby else "raise", debug=debug))


async def serve(app: App[Any], store: str, on_locked: OnLocked = "raise", *, debug: bool = True) -> ExitCode:
    """Open the store, and run until a signal or until the engine stops itself.

    Args:
        app: the app to serve.
        store: the store's URL.
        on_locked: whether to wait for a store that another process owns.
        debug: whether to log mistakes of hooks.

    Raises:
        UsageError: the store or the services cannot be opened.
    """
    with stop_signals() as signals:
        async with AsyncExitStack() as stack:
            jobs = await _open_unless_stopped(partial(app.open, store, debug=debug), store, stack, on_locked, signals)
            if jobs is None:
                _say(f"stopped ({signals.stop.result()}) before it began")
                return ExitCode.DONE
            _say(f"serving {_served(app)} on {engine_of(jobs).store.name} (process {os.getpid()})")
            signals.when_urged(lambda: _cancel_runs(jobs))
            code = await _until_stopped(jobs, signals)
        if engine_of(jobs).left_behind:
            _leave(jobs, code)
        _say("stopped")
    return code


async def _open_unless_stopped(
    open_app: Callable[..., OpenApp], store: str, stack: AsyncExitStack, on_locked: OnLocked, signals: StopSignals
) -> Client | None:
    """Open the app, or return None if a signal ended the wait for another owner or for a slow service."""
    try:
        async with asyncio.timeout(None) as patience:
            with signals.calling(lambda: patience.reschedule(0)):
                return await _open(open_app, store, stack, on_locked)
    except TimeoutError:
        return None


async def _open(open_app: Callable[..., OpenApp], store: str, stack: AsyncExitStack, on_locked: OnLocked) -> Client:
    try:
        check_when_owned(store, on_locked)
        try:
            return await stack.enter_async_context(open_app())
        except StoreLocked as locked:
            if on_locked == "raise":
                raise
            _say(f"waiting for the lock of {store}, held by {locked.owner}")
            return await stack.enter_async_context(open_app(on_locked=on_locked))
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


async def _until_stopped(jobs: Client, signals: StopSignals) -> ExitCode:
    """Wait until a signal arrives or the engine stops itself, and return the exit code."""
    by_itself = asyncio.ensure_future(_result(engine_of(jobs).stopped))
    await asyncio.wait({by_itself, signals.stop}, return_when=asyncio.FIRST_COMPLETED)
    if by_itself.done():
        sys.stderr.write(f"perdure: the engine stopped itself: {by_itself.result()}\n")
        lost = engine_of(jobs).store.lost
        return ExitCode.FAILED if lost is None or not lost.done() else ExitCode.MISCONFIGURED
    by_itself.cancel()
    seconds = engine_of(jobs).limits.shutdown_timeout_ms / 1_000
    _say(f"stopping ({signals.stop.result()}): runs may finish within {seconds:g} s; a second signal cancels them")
    return ExitCode.DONE


async def _result(stopped: Future[str]) -> str:
    return await stopped


def _cancel_runs(jobs: Client) -> None:
    _say("cancelling runs: the next start delivers them again")
    engine_of(jobs).stop_runs()


def _leave(jobs: Client, code: ExitCode) -> NoReturn:
    """End the process although runs ignore their cancellation: closing the event loop would wait for them."""
    runs = ", ".join(str(address) for address in engine_of(jobs).left_behind)
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
