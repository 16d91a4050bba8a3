"""The URL of a server: HTTP, a Unix socket, or the SQLite file that its engine owns."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import attrs

from perdure.stores.sqlite.owner_socket import owner_socket
from perdure.stores.url import sqlite_path
from perdure.values.errors import DefinitionError

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
        socket: the path of its Unix socket; None for TCP.
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
            cause: the error of the connection.
        """
        if self.socket is not None and _ABSENT in cause:
            cause = f"no socket {self.socket_name}"
        return f"{cause}; {self.hint}"


def server_url(url: object) -> ServerUrl:
    """Read the URL of a server.

    Args:
        url: see `connect`.

    Raises:
        DefinitionError: it is not the URL of a server.
    """
    if not isinstance(url, str):
        raise DefinitionError("URL of a server", url, _EXPECTED)
    parts = urlsplit(url)
    match parts.scheme:
        case "http" | "https" if parts.hostname and parts.username is None and not (parts.query or parts.fragment):
            base = url.rstrip("/")
            return ServerUrl(base, base, None, "start it with: perdure serve MODULE:APP")
        case "http+unix" if not parts.netloc and parts.path not in ("", "/") and not (parts.query or parts.fragment):
            path = unquote(parts.path)
            return ServerUrl(url, "http://engine", path, "start the engine that listens on that socket", path)
        case "sqlite":
            path = sqlite_path(url)
            hint = f"start the engine of that file: perdure run MODULE:APP --store {url}"
            socket = owner_socket(path)
            return ServerUrl(url, "http://engine", socket, hint, f"{Path(socket).name} beside the file")
        case _:
            meant = f"; did you mean {'sqlite:///' + url!r}?" if url and not parts.scheme else ""
            raise DefinitionError("URL of a server", url, f"{_EXPECTED}{meant}")
