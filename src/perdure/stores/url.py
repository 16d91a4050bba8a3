"""Opens a store by its URL, for the command line and for textual settings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode

from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.stores.memory import memory_store
from perdure.stores.postgres import open_postgres
from perdure.stores.sqlite import open_sqlite
from perdure.stores.url_parts import bytes_of, redacted_url, split_url
from perdure.stores.values import OnLocked
from perdure.values.errors import DefinitionError

OpenStore: TypeAlias = Callable[[str, Runtime | None], Awaitable[Store]]
"""Opens the store at a URL. None means the running event loop's runtime."""

ENTRY_POINTS = "perdure.stores"
"""The entry point group in which an installed package declares stores: a scheme, and its `OpenStore`."""

_WHAT = "store URL"

_OWNED: Final = ("sqlite", "postgresql", "postgres")
"""The schemes whose stores have one owner at a time."""

_FILES: Final = "'sqlite:///relative.db', 'sqlite:////absolute/path.db'"

_CHOICES: Final = {"durability": ("full", "relaxed"), "if_missing": ("create", "refuse")}
"""The possible values of each option in a SQLite file's URL."""

_OPTIONS: Final = (
    "'?durability=full' or '?durability=relaxed', '?if_missing=create' or '?if_missing=refuse', '?cache=16MiB'"
)


async def open_store(
    url: str,
    *,
    runtime: Runtime | None = None,
    schemes: Mapping[str, OpenStore] | None = None,
    on_locked: OnLocked = "raise",
) -> Store:
    """Open the store at a URL.

    =================================== ===========================================

    ``memory://``                       an empty memory store
    ``sqlite:///relative.db``           a SQLite file, relative to the working directory
    ``sqlite:////absolute/path.db``     a SQLite file; write ``%3F`` for a ``?`` in its name
    ``sqlite:///x.db?durability=relaxed``  faster for a lone caller, see `open_sqlite`
    ``sqlite:///x.db?if_missing=refuse``  a SQLite file that must exist
    ``sqlite:///x.db?cache=16MiB``      the bound for its instance cache, 64 MiB by default
    ``postgresql://user@host/database``  a schema in a PostgreSQL database, see `open_postgres`
    =================================== ===========================================


    For any other scheme the function searches ``schemes``, then the entry points in the group ``perdure.stores`` that
    installed packages declare::

        [project.entry-points."perdure.stores"]
        mysql = "my_package:open_mysql"

    Args:
        url: the URL.
        runtime: how the store waits. By default the running event loop's runtime.
        schemes: additional schemes, with the functions that open them.
        on_locked: the action when another engine owns the store: ``raise``, or ``wait`` until that engine ends. SQLite
            files and PostgreSQL schemas have an owner.

    Returns:
        The open store. It must be closed.

    Raises:
        DefinitionError: the scheme is unknown, or ``on_locked`` is ``wait`` for a store without an owner.
        StoreError: the store cannot be opened.
    """
    # Before the store is opened: a memory store has no owner whose end one could wait for.
    check_when_owned(url, on_locked)
    parts = split_url(url)
    match parts.scheme:
        case "memory":
            return _memory(url, parts)
        case "sqlite":
            return await open_sqlite(_path(url, parts), **_options(url, parts), on_locked=on_locked, runtime=runtime)
        case "postgresql" | "postgres":
            return await open_postgres(url, on_locked=on_locked, runtime=runtime)
        case scheme:
            return await _opener(url, scheme, schemes or {})(url, runtime)


def sqlite_path(url: str) -> str:
    """Return the path in a SQLite file's URL, for tools that read the file without its engine.

    Args:
        url: such as ``sqlite:///jobs.db``.

    Raises:
        DefinitionError: it is not a SQLite file's URL.
    """
    parts = split_url(url)
    if parts.scheme in ("postgresql", "postgres"):
        raise DefinitionError(
            _WHAT, _shown(url), "'sqlite:///jobs.db'; PostgreSQL has its own tools, such as pg_dump and VACUUM"
        )
    if parts.scheme != "sqlite":
        raise DefinitionError(_WHAT, _shown(url), "'sqlite:///jobs.db': only a file can be read without its engine")
    _options(url, parts)
    return _path(url, parts, _FILES)


def with_options(url: str, options: Mapping[str, str]) -> str:
    """Return a URL with more options in its query.

    >>> with_options("sqlite:///jobs.db?durability=relaxed", {"if_missing": "refuse"})
    'sqlite:///jobs.db?durability=relaxed&if_missing=refuse'
    """
    if not options:
        return url
    return f"{url}{'&' if split_url(url).query else '?'}{urlencode(options)}"


def check_when_owned(url: str, on_locked: OnLocked) -> None:
    """Check that a store has an owner if ``on_locked`` waits for the owner's end.

    Raises:
        DefinitionError: it has none.
    """
    if on_locked != "raise" and split_url(url).scheme not in _OWNED:
        expected = "a store that has one owner, such as 'sqlite:///jobs.db', to wait for its end"
        raise DefinitionError(_WHAT, _shown(url), expected)


def _memory(url: str, parts: SplitResult) -> Store:
    if parts.netloc or parts.path or parts.query:
        raise DefinitionError(_WHAT, _shown(url), "'memory://' with nothing after it: a memory store has no name")
    return memory_store()


def _path(url: str, parts: SplitResult, expected: str = f"{_FILES}, or 'memory://' for a memory store") -> str:
    path = unquote(parts.path[1:])
    # Only three slashes make a path: after one or two, "app:secret@host" would be a file name, and shown.
    is_file = url[len(parts.scheme) :].startswith(":///")
    # ":memory:" would be a new database for each connection, and vanish with it.
    if parts.netloc or not is_file or not path or path == ":memory:":
        raise DefinitionError(_WHAT, _shown(url), expected)
    return path


def _options(url: str, parts: SplitResult) -> dict[str, Any]:
    """Return the `open_sqlite` arguments that a URL's query names."""
    options: dict[str, Any] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        cache_bytes = bytes_of(text) if name == "cache" else None
        if cache_bytes is not None and "cache_bytes" not in options:
            options["cache_bytes"] = cache_bytes
            continue
        # At most once: with two values of an option, an operator could not tell which one counts.
        if name in options or text not in _CHOICES.get(name, ()):
            raise DefinitionError(_WHAT, _shown(url), f"no other options than {_OPTIONS}, each at most once")
        options[name] = text
    return options


def _shown(url: object) -> object:
    return redacted_url(url) if isinstance(url, str) else url


def _opener(url: str, scheme: str, schemes: Mapping[str, OpenStore]) -> OpenStore:
    if scheme in schemes:
        return schemes[scheme]
    offered = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    if scheme in offered:
        opener: OpenStore = offered[scheme].load()
        return opener
    known = ", ".join(f"{name}:" for name in ("memory", "sqlite", "postgresql", *sorted({*schemes, *offered})))
    expected = f"a URL of one of the schemes {known} such as 'sqlite:///jobs.db', or a package that offers this scheme"
    if not scheme and url:
        expected = f"{expected}; did you mean {'sqlite:///' + redacted_url(url)!r}?"
    if str(scheme).startswith(("postgresql+", "postgres+")):  # of SQLAlchemy
        expected = f"{expected}; did you mean 'postgresql{redacted_url(url).removeprefix(scheme)}'?"
    raise DefinitionError(_WHAT, _shown(url), expected)
