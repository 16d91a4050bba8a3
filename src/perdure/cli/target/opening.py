"""Opens the target that the options of a command name."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from perdure._lazy import lazy_module
from perdure.cli.target.options import UNSET, PlaceOptions, TargetOptions, chosen_urls, token_of
from perdure.cli.target.target import Target
from perdure.cli.usage_error import UsageError
from perdure.stores.sqlite.files import owner_socket, short_path
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError, ServerUnreachable, StoreError
from perdure.values.excerpt import one_line

if TYPE_CHECKING:
    from perdure.cli.target import at_rest, remote, shown_by
    from perdure.stores.sqlite import reader
else:  # a command needs either the file or the engine
    at_rest = lazy_module("perdure.cli.target.at_rest")
    reader = lazy_module("perdure.stores.sqlite.reader")
    remote = lazy_module("perdure.cli.target.remote")
    shown_by = lazy_module("perdure.cli.target.shown_by")


@contextmanager
def open_target(options: PlaceOptions) -> Generator[Target]:
    """Reach the engine, or open the file of a store whose engine does not listen.

    Args:
        options: the options of the command.

    Raises:
        UsageError: they name no target, or the file cannot be read.
        ServerUnreachable: no engine answers at the URL of a server.
    """
    urls = chosen_urls(options, os.environ)
    with ExitStack() as stack:
        try:
            if _is_at_rest(urls):
                target: Target = stack.enter_context(open_store(urls[0], options.app or os.environ.get("PERDURE_APP")))
            else:
                timeout = options.timeout if isinstance(options, TargetOptions) else UNSET.timeout
                target = stack.enter_context(remote.connected(urls, token_of(os.environ), timeout))
        except (DefinitionError, StoreError) as error:
            raise UsageError(str(error)) from error
        yield target


@contextmanager
def open_store(url: str, app: str | None = None) -> Generator[at_rest.AtRest]:
    """Open the file of a store, and report the rows that were left out of lists on standard error.

    Args:
        url: its URL.
        app: the app, written ``module:app``; None to show records as they are stored.
    """
    with reader.read_from_outside(sqlite_path(url)) as opened:
        target = at_rest.AtRest(url, opened, shown_by.shown_by(app))
        yield target
        if str(target.corrupt):
            sys.stderr.write(f"perdure: {one_line(str(target.corrupt))}; see perdure verify\n")


def is_listening(path: str) -> bool:
    """Return whether a process listens on a Unix socket."""
    try:
        with short_path(path) as short, socket.socket(socket.AF_UNIX) as probe:
            probe.connect(short)
    except OSError:
        return False
    return True


def _is_at_rest(urls: tuple[str, ...]) -> bool:
    url, parts = urls[0], urlsplit(urls[0])
    if len(urls) > 1:
        return False
    if parts.scheme == "http+unix" and not is_listening(path := unquote(parts.path)):
        raise ServerUnreachable(url, f"no process listens on {path}; start the engine, or check the path")
    return parts.scheme == "sqlite" and not is_listening(owner_socket(sqlite_path(url)))
