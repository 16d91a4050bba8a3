"""Access: which requests a server accepts, with which scopes, and on which addresses. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias

import attrs

from perdure.server.addresses import Bind, UnixBind, is_local
from perdure.server.tokens import SCOPES, Tokens
from perdure.values.errors import AccessDenied, DefinitionError
from perdure.values.excerpt import excerpt
from perdure.wire.operations import Scope

Access: TypeAlias = Tokens | Literal["local", "owner_socket", "unchecked"]
"""A server's rule.

- `Tokens`: a request needs a bearer token, and has the token's scopes.
- ``"local"``: no tokens. Only programs on this machine, over the loopback interface, with all scopes.
- ``"owner_socket"``: a Unix socket that only its owner can open (mode 0600): all scopes.
- ``"unchecked"``: another application in front has checked the request: all scopes.
"""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""A request's headers, names in lower case, as ASGI provides them."""

_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
_OWN_PAGE: Final = frozenset({b"none", b"same-origin"})
_MAX_BEARER: Final = 520
"""Longer than the longest secret: nothing longer is hashed."""


_MAX_ADDRESS: Final = 64
"""Longer than any address in text: nothing longer is parsed or remembered."""


@attrs.frozen(kw_only=True)
class Caller:
    """A client whose request was accepted.

    Attributes:
        name: its token's name. ``"local"``, ``"owner"`` or ``"unchecked"`` without one.
        scopes: the operations that it may request.
    """

    name: str
    scopes: frozenset[Scope]


_ALL: Final = frozenset(SCOPES)
LOCAL: Final = Caller(name="local", scopes=_ALL)
OWNER: Final = Caller(name="owner", scopes=_ALL)
UNCHECKED: Final = Caller(name="unchecked", scopes=_ALL)


def identify(access: Access, client: str | None, headers: Headers, needs: Scope = "read") -> Caller | AccessDenied:
    """Return a request's caller, or the reason to refuse it. The scope is not checked yet.

    Args:
        access: the server's rule.
        client: the client's address on the connection. None if it has none, as on a Unix socket.
        headers: the request's headers.
        needs: the scope that the request needs, for the error.
    """
    match access:
        case "unchecked":
            return UNCHECKED
        case "owner_socket":
            return _denied(needs, _forwarded(headers) or _from_a_page(headers) or _dns_name(headers)) or OWNER
        case "local":
            return local_caller(client, headers, page=_from_a_page(headers), needs=needs)
        case _:
            return _bearer(access, headers, needs)


def local_caller(
    client: str | None, headers: Headers, *, page: str | None, needs: Scope = "read"
) -> Caller | AccessDenied:
    """Return a request's caller to a server for programs on its machine, or the reason to refuse it.

    Args:
        client: the client's address on the connection.
        headers: the request's headers.
        page: why the request comes from a web page that may not send it. None if it does not.
        needs: the scope that the request needs, for the error.
    """
    return _denied(needs, _remote(client) or _forwarded(headers) or _foreign_host(headers) or page) or LOCAL


def owner_caller(headers: Headers, *, page: str | None) -> Caller | AccessDenied:
    """Return a page's caller over the owner's socket, or the reason to refuse it.

    A browser reaches the socket through a tunnel, on the loopback interface. So the loopback interface's rule against
    other pages in that browser applies.
    """
    return _denied("read", _forwarded(headers) or _foreign_host(headers) or page) or OWNER


def _bearer(tokens: Tokens, headers: Headers, needs: Scope) -> Caller | AccessDenied:
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        return AccessDenied(needs, "no_token", "this server requires a token; send 'Authorization: Bearer <token>'")
    scheme, _, secret = values[0].partition(b" ")
    if len(values) > 1 or scheme.lower() != b"bearer":
        return AccessDenied(needs, "wrong_token", "expected one header 'Authorization: Bearer <token>'")
    secret = secret.strip(b" ")
    token = tokens.holder(secret.decode("latin-1")) if len(secret) <= _MAX_BEARER else None
    if token is None:
        return AccessDenied(needs, "wrong_token", "this server does not know the token; ask its operator for one")
    return Caller(name=token.name, scopes=token.scopes)


def _denied(needs: Scope, reason: str | None) -> AccessDenied | None:
    if reason is None:
        return None
    return AccessDenied(
        needs,
        "not_local",
        f"{reason}; without tokens a server serves only programs on its machine: give it tokens to serve others",
    )


def _remote(client: str | None) -> str | None:
    if client is not None and is_loopback(client):
        return None
    return "the request does not come over the loopback interface"


def _forwarded(headers: Headers) -> str | None:
    for name, _ in headers:
        if name in _FORWARDED:
            return f"the request came through a proxy (header {name.decode('ascii')!r})"
    return None


def _foreign_host(headers: Headers) -> str | None:
    """Return why the header ``Host`` is not a loopback name. None if it is one.

    DNS rebinding: a page from ``evil.example`` reaches 127.0.0.1 under that name, which its ``Host`` shows.
    """
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) == 1 and is_loopback(host_name(hosts[0])):
        return None
    return f"the header 'Host' is {excerpt(hosts[0]) if hosts else 'missing'}, not localhost, 127.0.0.1 or [::1]"


def _dns_name(headers: Headers) -> str | None:
    """Return why the header ``Host`` is another machine's DNS name. None if it is not.

    A browser, and so DNS rebinding, can reach a tunnel to the socket, such as an SSH tunnel.

    Programs that open the socket send any ``Host``: `connect` sends ``engine``.
    """
    dotted = any("." in host_name(value.decode("latin-1")) for name, value in headers if name == b"host")
    return _foreign_host(headers) if dotted else None


def _from_a_page(headers: Headers) -> str | None:
    """A page in a browser on this machine can send requests to its loopback interface. The browser marks them."""
    for name, value in headers:
        if name == b"origin" or (name == b"sec-fetch-site" and value not in _OWN_PAGE):
            return f"a web page sent the request (header {name.decode('ascii')!r})"
    return None


def is_loopback(host: str) -> bool:
    """Return whether a host is ``localhost`` or a loopback address."""
    return len(host) <= _MAX_ADDRESS and _is_loopback(host)


@lru_cache(1_024)
def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without its port, in lower case, an IPv6 address without its brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


Unprotected: TypeAlias = Literal["refuse", "serve"]
"""The reaction to an address that other machines can reach, when no token is required."""


def access_to(bind: Bind, tokens: Tokens | None, unprotected: Unprotected = "refuse") -> Access:
    """Return the access rule for requests that arrive at an address.

    A Unix socket has mode 0600, so that its clients are its owner's processes. They need no token.

    Args:
        bind: the address.
        tokens: the server's tokens.
        unprotected: the reaction if other machines can reach the address, and there are no tokens.

    Raises:
        DefinitionError: as ``unprotected`` says.
    """
    if isinstance(bind, UnixBind):
        return "owner_socket"
    if tokens is not None:
        return tokens
    if is_local(bind):
        return "local"
    if unprotected == "serve":
        return "unchecked"
    expected = (
        "127.0.0.1, [::1] or localhost, since other machines can reach this address and no token is required; set "
        "tokens (PERDURE_TOKENS, --tokens-file), or pass --insecure if every program in the network is trusted"
    )
    raise DefinitionError("bind", str(bind), expected)
