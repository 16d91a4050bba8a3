"""A server's URL: HTTP, a Unix socket, or the SQLite file that its engine owns."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote

import attrs

from perdure.stores.sqlite.files import owner_socket
from perdure.stores.url import sqlite_path
from perdure.stores.url_parts import redacted_url, split_url
from perdure.values.errors import DefinitionError

_WHAT: Final = "URL of a server"
_EXPECTED: Final = (
    "'http://host:port', 'https://host', 'http+unix:///path/of.sock', or 'sqlite:///jobs.db': the file that the engine "
    "owns; it listens on the socket beside it"
)

_ABSENT: Final = os.strerror(errno.ENOENT)


@attrs.frozen
class ServerUrl:
    """Where a server listens.

    Attributes:
        name: for messages, without secrets.
        base: the URL that paths are added to.
        socket: the path to its Unix socket. None for TCP.
        hint: what to do if it does not answer.
        socket_name: where that socket is, for messages.
    """

    name: str
    base: str
    socket: str | None
    hint: str
    socket_name: str = ""

    def unreached(self, cause: str, /) -> str:
        """Return the reason why a request did not reach the server, and what to do.

        Args:
            cause: the connection's error.
        """
        if self.socket is not None and _ABSENT in cause:
            cause = f"no socket {self.socket_name}"
        return f"{cause}; {self.hint}"


def server_url(url: object) -> ServerUrl:
    """Read a server's URL.

    Args:
        url: see `connect`.

    Raises:
        DefinitionError: it is not a server's URL.
    """
    if not isinstance(url, str):
        raise DefinitionError(_WHAT, url, _EXPECTED)
    parts = split_url(url, what=_WHAT, example="http://127.0.0.1:8080")
    match parts.scheme:
        case "http" | "https" if _is_plain(parts) and "#" not in url:
            base = url.rstrip("/")
            return ServerUrl(base, base, None, "start it with: perdure serve MODULE:APP")
        case "http+unix" if not parts.netloc and parts.path not in ("", "/") and not parts.query and "#" not in url:
            path = unquote(parts.path)
            return ServerUrl(url, "http://engine", path, "start the engine that listens on that socket", path)
        case "sqlite":
            path = sqlite_path(url)
            hint = f"start the engine of that file: perdure run MODULE:APP --store {url}"
            socket = owner_socket(path)
            return ServerUrl(url, "http://engine", socket, hint, f"{Path(socket).name} beside the file")
        case _:
            meant = f"; did you mean {'sqlite:///' + redacted_url(url)!r}?" if url and not parts.scheme else ""
            raise DefinitionError(_WHAT, redacted_url(url), f"{_EXPECTED}{meant}")


def _is_plain(parts: SplitResult) -> bool:
    """Return whether an HTTP URL has a host, a valid port and nothing that may be a secret."""
    try:
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return has_host and "@" not in parts.netloc and "@" not in parts.path and not parts.query
