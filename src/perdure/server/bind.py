"""Addresses to listen on, as text and as values."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, TypeAlias

import attrs

from perdure.values.errors import DefinitionError

MAX_BINDS: Final = 16
"""Addresses that one server listens on."""

_EXPECTED: Final = "'host:port' such as '127.0.0.1:8080' or '[::1]:8080', or 'unix:/path/of.sock'"
_MAX_PORT: Final = 65_535


@attrs.frozen
class TcpBind:
    """A host and a port.

    Attributes:
        host: a name or an IP address, an IPv6 address without brackets.
        port: the port; 0 for one that the system chooses.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of a server that listens here."""
        return f"http://{self}"


@attrs.frozen
class UnixBind:
    """A Unix socket that only the user of this process can connect to.

    Attributes:
        path: its path.
    """

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def url(self) -> str:
        """The URL of a server that listens here."""
        from urllib.parse import quote  # noqa: PLC0415 - for messages only

        return f"http+unix://{quote(self.path)}"


Bind: TypeAlias = TcpBind | UnixBind


def parse_bind(text: str) -> Bind:
    """Parse an address to listen on.

    >>> str(parse_bind("localhost:8080")), str(parse_bind("[::1]:0")), str(parse_bind("unix:/run/jobs.sock"))
    ('localhost:8080', '[::1]:0', 'unix:/run/jobs.sock')

    Args:
        text: ``host:port``, or ``unix:`` and a path.

    Raises:
        DefinitionError: it is neither.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path or "\0" in path:
            raise DefinitionError("bind", text, _EXPECTED)
        return UnixBind(path)
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    in_brackets = bare != host
    valid = colon and bare and (in_brackets == (":" in bare)) and port.isascii() and port.isdigit()
    if not valid or len(port) > len(str(_MAX_PORT)) or int(port) > _MAX_PORT:
        raise DefinitionError("bind", text, _EXPECTED)
    return TcpBind(bare, int(port))


def is_local(bind: Bind) -> bool:
    """Return whether only programs on this machine can connect to an address."""
    if isinstance(bind, UnixBind) or bind.host == "localhost":
        return True
    try:
        return ip_address(bind.host).is_loopback
    except ValueError:
        return False
