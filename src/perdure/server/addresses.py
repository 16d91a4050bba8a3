"""Addresses to listen on, as text and as values, a server's certificate, and the URLs of requests.

The parts of a path stay percent-encoded, so that an id may contain a slash.
"""

from __future__ import annotations

import os
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import unquote

import attrs

from perdure.values.errors import DefinitionError, InvalidArgument

if TYPE_CHECKING:  # an extra, which a worker that does not listen may lack
    from starlette.datastructures import QueryParams
    from starlette.types import Scope

MAX_BINDS: Final = 16
"""Addresses that one server listens on."""

_EXPECTED: Final = "'host:port' such as '127.0.0.1:8080' or '[::1]:8080', or 'unix:/path/of.sock'"
_MAX_PORT: Final = 65_535


@attrs.frozen
class TcpBind:
    """A host and a port.

    Attributes:
        host: a name or an IP address, an IPv6 address without brackets.
        port: the port. 0 for one that the system chooses.
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
    """A Unix socket that only this process's user can connect to."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def url(self) -> str:
        """The URL of a server that listens here. Its path is absolute, so that clients in other folders reach it."""
        from urllib.parse import quote  # noqa: PLC0415 - for messages only

        return f"http+unix://{quote(str(Path(self.path).absolute()))}"


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


HANDSHAKE_TIMEOUT_S: Final = 10
"""How long a client may take for its handshake."""


def tls_context(certificate: str | os.PathLike[str], key: str | os.PathLike[str] | None = None) -> ssl.SSLContext:
    """Return a server's TLS settings: version 1.2 or later, and the ciphers that Python recommends.

    Args:
        certificate: the path to the certificate chain, in PEM.
        key: the path to its private key, without a passphrase. By default it is in the certificate's file.

    Raises:
        DefinitionError: a file cannot be read, is not a certificate or key, or they do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    files = ", ".join(os.fspath(path) for path in (certificate, key) if path is not None)
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise DefinitionError("TLS certificate and key", files, f"a chain and its key in PEM ({reason})") from error
    return context


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")  # the default would ask for it on the terminal


MOUNTED_AT: Final = "perdure.mounted_at"
"""The key in a request's scope for the prefix, as the client encoded it."""


def with_raw_path(scope: Scope) -> Scope:
    """Return a request's scope with the path below the prefix as the client encoded it.

    ASGI decodes the path: an encoded slash in an id would look like a separator. Below a prefix, some frameworks keep
    it in ``path`` and others remove it. Both work. The prefix itself must not contain an encoded slash.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return scope
    below: str = scope["path"]
    prefix: str = scope.get("root_path", "")
    if prefix and below.startswith(prefix):
        below = below[len(prefix) :]
    encoded = raw.partition(b"?")[0].decode("latin-1")
    decoded = unquote(encoded)
    if not decoded.endswith("/"):
        below = below.rstrip("/")  # Litestar adds one
    if not below or not decoded.endswith(below):
        return scope
    depth = decoded[: -len(below)].count("/")
    parts = encoded.split("/")
    mounted_at, path = "/".join(parts[: depth + 1]), "/" + "/".join(parts[depth + 1 :])
    changed: dict[str, Any] = {**scope, "root_path": "", "path": path, MOUNTED_AT: mounted_at}
    return changed


SEVERAL: Final = frozenset({"until", "phase", "where"})
"""The parameters that may occur several times."""


def only(query: QueryParams, names: frozenset[str]) -> None:
    """Check that every parameter is known and occurs once, except those in `SEVERAL`.

    Raises:
        InvalidArgument: one is not known, or occurs twice.
    """
    given = [name for name, _ in query.multi_items()]
    known = ", ".join(sorted(names)) or "no parameters"
    for name in given:
        if name not in names:
            raise InvalidArgument("query", name, f"only {known}")
        if name not in SEVERAL and given.count(name) > 1:
            raise InvalidArgument("query", name, f"{name} once")


def flag_in(query: QueryParams, name: str) -> bool:
    """Return a truth value, False if it is absent.

    Raises:
        InvalidArgument: it is neither ``true`` nor ``false``.
    """
    text = query.get(name, "false")
    if text not in ("true", "false"):
        raise InvalidArgument(name, text, "'true' or 'false'")
    return text == "true"
