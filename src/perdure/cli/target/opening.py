"""The options that name an engine or a store, and the target that they open.

A command needs either the file or the engine: the modules of both are imported when they are used.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import unquote, urlsplit

import attrs
from cyclopts import Parameter

from perdure._lazy import lazy_module
from perdure.cli.process import UsageError
from perdure.cli.target.target import Target
from perdure.stores.postgres.settings import is_postgres
from perdure.stores.sqlite.files import owner_socket, short_path
from perdure.stores.url import sqlite_path
from perdure.stores.url_parts import redacted_url, split_url
from perdure.values.errors import DefinitionError, ServerUnreachable, StoreError
from perdure.values.excerpt import one_line

SERVERS: Final = ("http", "https", "http+unix")
MAX_TOKEN_BYTES: Final = 4_096


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class PlaceOptions:
    """The options ``--server``, ``--store`` and ``--app``.

    Attributes:
        server: server URLs.
        store: a store's URL.
        app: the app that a store at rest belongs to.
    """

    server: Annotated[
        tuple[str, ...],
        Parameter(
            help="A running engine: http://host:port, https://host or http+unix:///path/to.sock. Repeat it for several "
            "engines of one store: one that answers is called. [env var: PERDURE_SERVER, with commas between]",
            negative=(),
        ),
    ] = ()
    store: Annotated[
        str | None,
        Parameter(
            help="A store: sqlite:///jobs.db, or postgresql://user@host/database. If `perdure run` serves a file, its "
            "engine answers through the socket next to the file; otherwise the command reads the store, without a "
            "lock. Reach the engines of a PostgreSQL store with --server. [env var: PERDURE_STORE]"
        ),
    ] = None
    app: Annotated[
        str | None,
        Parameter(
            name="--app",
            help="The app, written MODULE:APP, of a store whose engine does not run: its keys decrypt the store, and "
            "its definitions say which values are secret. Without it, values are shown as they are stored. "
            "[env var: PERDURE_APP]",
        ),
    ] = None


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class TargetOptions(PlaceOptions):
    """The options that name a target, and ``--timeout``.

    Attributes:
        timeout: how long a call waits for its answer.
    """

    timeout: Annotated[
        str,
        Parameter(help="How long a request waits for its answer; with `trigger` and the like, longer than the run."),
    ] = "60 seconds"


UNSET: Final = TargetOptions()
NO_PLACE: Final = PlaceOptions()


def chosen_urls(options: PlaceOptions, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the URLs that the options name, or else the environment: server URLs, or one store URL.

    >>> chosen_urls(UNSET, {"PERDURE_STORE": "sqlite:///jobs.db"})
    ('sqlite:///jobs.db',)
    >>> chosen_urls(UNSET, {"PERDURE_SERVER": "http://10.0.0.5:8080, http://10.0.0.6:8080"})
    ('http://10.0.0.5:8080', 'http://10.0.0.6:8080')

    Raises:
        UsageError: they name no target, or two, or not such a URL.
    """
    flags = {"--server": options.server, "--store": _one(options.store)}
    servers = tuple(url.strip() for url in environment.get("PERDURE_SERVER", "").split(",") if url.strip())
    variables = {"PERDURE_SERVER": servers, "PERDURE_STORE": _one(environment.get("PERDURE_STORE"))}
    # Options first, and as a whole: an option for a server must not be joined with a variable for a store.
    for named in (flags, variables):
        given = {name: urls for name, urls in named.items() if urls}
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} name two targets; pass one: --server URL or --store URL")
        for name, urls in given.items():
            return tuple(_checked(name, url) for url in urls)
    raise UsageError(
        "no engine and no store is named; pass --server http://127.0.0.1:8080 or --store sqlite:///jobs.db, or set "
        "PERDURE_SERVER or PERDURE_STORE"
    )


def _one(url: str | None) -> tuple[str, ...]:
    return (url,) if url else ()


def _checked(name: str, url: str) -> str:
    try:
        parts = split_url(url, what=name)
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    wanted = SERVERS if "SERVER" in name.upper() else ("sqlite",)
    # Its password may be in the URL, as PostgreSQL's own tools have it.
    if wanted is not SERVERS and is_postgres(url):
        return url
    if parts.scheme not in wanted:
        examples = "http://127.0.0.1:8080" if wanted is SERVERS else "sqlite:///jobs.db"
        raise UsageError(f"{name} {redacted_url(url)}: expected {', '.join(wanted)}, such as {examples}")
    # Other users of the machine can read the arguments of a process.
    if parts.password:
        raise UsageError(f"{name}: a URL may not contain a password; set PERDURE_TOKEN or PERDURE_TOKEN_FILE")
    if wanted is SERVERS:
        from perdure.remote.servers import server_url  # noqa: PLC0415 - a store at rest needs no client

        try:
            server_url(url)
        except DefinitionError as error:
            raise UsageError(f"{name}: {error}") from error
    return url


def token_of(environment: Mapping[str, str]) -> str | None:
    """Return the token for a server: ``PERDURE_TOKEN``, or the content of the file ``PERDURE_TOKEN_FILE``.

    Args:
        environment: the process's environment. No option takes a token: other users can read arguments.

    Raises:
        UsageError: the file cannot be read or is empty, or both variables are set.
    """
    token, path = environment.get("PERDURE_TOKEN"), environment.get("PERDURE_TOKEN_FILE")
    if token and path:
        raise UsageError("PERDURE_TOKEN and PERDURE_TOKEN_FILE are both set; keep one")
    if not path:
        return token or None
    try:
        with Path(path).open(encoding="utf-8") as file:
            # One byte more than allowed: so a larger file is noticed without reading all of it.
            read = file.read(MAX_TOKEN_BYTES + 1).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"PERDURE_TOKEN_FILE {path} cannot be read: {error}") from error
    if not read or len(read) > MAX_TOKEN_BYTES or len(read.split()) > 1:
        raise UsageError(f"PERDURE_TOKEN_FILE {path}: expected one token of at most {MAX_TOKEN_BYTES} characters")
    return read


if TYPE_CHECKING:
    from perdure.cli.target import at_rest, remote
    from perdure.stores import at_rest as stores_at_rest
else:  # a command needs either the store or the engine
    at_rest = lazy_module("perdure.cli.target.at_rest")
    stores_at_rest = lazy_module("perdure.stores.at_rest")
    remote = lazy_module("perdure.cli.target.remote")


@contextmanager
def open_target(options: PlaceOptions) -> Generator[Target]:
    """Reach the engine, or open a store's file if its engine does not listen.

    Raises:
        UsageError: they name no target, or the file cannot be read.
        ServerUnreachable: no engine answers at a server's URL.
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
    """Open a store to read it, and report on standard error which rows lists leave out.

    Args:
        url: its URL.
        app: the app, written ``module:app``. None to show records as they are stored.
    """
    with stores_at_rest.open_reader(url) as reader:
        yield at_rest.store_at_rest(url, reader, app)
        # At the end: only then is it known which rows were left out.
        if str(reader.damage):
            sys.stderr.write(f"perdure: {one_line(str(reader.damage))}; see perdure verify\n")


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
    # Only servers can be several.
    if len(urls) > 1:
        return False
    # Before the client is made, which would repeat its call until its timeout.
    if parts.scheme == "http+unix" and not is_listening(path := unquote(parts.path)):
        raise ServerUnreachable(url, f"no process listens on {path}; start the engine, or check the path")
    if parts.scheme == "sqlite":
        # An engine that listens answers better than its file: it knows which instances are orphaned, and hides secrets.
        return not is_listening(owner_socket(sqlite_path(url)))
    return is_postgres(url)
