"""Access: which requests a server accepts, with which scopes, and on which addresses. Its tokens and sessions.

A server knows a client by its token: a secret with a name and scopes, from the environment, or from a file that only
its owner can read. It knows a browser by a signed session in a cookie. Pure but for reading tokens and the sessions'
key.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from itertools import count
from typing import Final, Literal, TypeAlias, cast, get_args
from urllib.parse import urlsplit

import attrs

from perdure.server.addresses import Bind, UnixBind, is_local
from perdure.values.errors import AccessDenied, DefinitionError
from perdure.values.excerpt import excerpt
from perdure.wire.operations import Scope
from perdure.wire.requests import DASHBOARD

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MAX_TOKENS: Final = 100
"""Every request is compared with every token, so their number is bounded."""
SECRET_CHARACTERS: Final = (32, 512)
"""The shortest and the longest secret."""

_SECRET = re.compile(r"[A-Za-z0-9._~+/-]+={0,2}")  # the token68 of RFC 6750, section 2.1
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""A client's name."""
RESERVED: Final = frozenset({"anonymous", "local", "owner", "probe", "unchecked"})
"""The names for callers without a token, in the events and the access log."""


@attrs.frozen(kw_only=True)
class ClientToken:
    """A server's client. Only its secret's digest is kept.

    Attributes:
        name: the client, for the access log: 1 to 64 letters, digits, ``.``, ``_`` or ``-``, and not a name in
            `RESERVED`.
        scopes: the permitted operations.
        digest: the secret's SHA-256. A secret is random, so that no slower hash is needed.
    """

    name: str
    scopes: frozenset[Scope]
    digest: bytes = attrs.field(repr=False)


@attrs.frozen
class Tokens:
    """A server's tokens.

    Attributes:
        tokens: at most 100, each with its own name and secret.
    """

    tokens: tuple[ClientToken, ...]

    @classmethod
    def parse(cls, text: str, /, *, source: str = "tokens") -> Tokens:
        """Parse tokens: ``name scopes secret``, one in a line. ``;`` also ends a line, and ``#`` begins a comment.

        The scopes are separated by commas. The secret is 32 to 512 letters, digits or ``-._~+/``, or ``sha256:`` and
        the 64 hexadecimal digits of its SHA-256, so that a server's file reveals no secret.

        Args:
            text: the lines.
            source: the text's origin, for the error.

        Raises:
            DefinitionError: a line is not valid, a name or a secret occurs twice, or there is no token or too many. The
                error names the line and never contains a secret.

        >>> tokens = Tokens.parse("shop read,call tMkZ2WZlOTG0yq0KTwmaT-iEBpnGpRZtPu4lTg3Vxfw")
        >>> [(token.name, sorted(token.scopes)) for token in tokens.tokens]
        [('shop', ['call', 'read'])]
        """
        lines = [line.partition("#")[0].strip() for line in text.replace(";", "\n").splitlines()]
        tokens = [_token(line, f"line {number} of the {source}") for number, line in enumerate(lines, 1) if line]
        if not 1 <= len(tokens) <= MAX_TOKENS:
            raise DefinitionError(source, f"{len(tokens)} tokens", f"1 to {MAX_TOKENS} lines: name scopes secret")
        # Two names with one secret could not be told apart in the events.
        for noun, values in (
            ("name", {token.name for token in tokens}),
            ("secret", {token.digest for token in tokens}),
        ):
            if len(values) < len(tokens):
                raise DefinitionError(source, f"one {noun} twice", f"a {noun} of its own for each token")
        return cls(tuple(tokens))

    def holder(self, secret: str, /) -> ClientToken | None:
        """Return the token with this secret, or None.

        Every digest is compared, in constant time, so that the duration reveals nothing about any secret.
        """
        # By digest: the comparison has one length, whatever the secret.
        digest = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
        found: ClientToken | None = None
        for token in self.tokens:
            if hmac.compare_digest(token.digest, digest):
                found = token
        return found


def _token(line: str, where: str) -> ClientToken:
    words = line.split()
    if len(words) != 3:  # noqa: PLR2004 - the words that the error names
        raise DefinitionError(where, f"{len(words)} words", "three words: name, scopes, secret")
    name, scopes, secret = words
    if not NAME.fullmatch(name):
        raise DefinitionError(f"name in {where}", f"{len(name)} characters", "1 to 64 letters, digits, '.', '_' or '-'")
    if name in RESERVED:
        raise DefinitionError(f"name in {where}", name, "another name: events call callers without a token so")
    return ClientToken(name=name, scopes=_scopes(scopes, where), digest=_digest(secret, where))


def _scopes(text: str, where: str) -> frozenset[Scope]:
    scopes = frozenset(text.split(","))
    if not scopes <= frozenset(SCOPES):  # the words may be a secret in the wrong column: they are not shown
        raise DefinitionError(f"scopes in {where}", "another word", "some of read,call,operate, separated by commas")
    return cast("frozenset[Scope]", scopes)


def _digest(secret: str, where: str) -> bytes:
    hashed = _DIGEST.fullmatch(secret)
    if hashed:
        return bytes.fromhex(hashed[1])
    shortest, longest = SECRET_CHARACTERS
    if not (shortest <= len(secret) <= longest and _SECRET.fullmatch(secret)):
        raise DefinitionError(
            f"secret in {where}",
            f"{len(secret)} characters",
            f"{shortest} to {longest} random letters, digits or -._~+/, or sha256:<64 hexadecimal digits>; run "
            "'perdure token' to make one",
        )
    return hashlib.sha256(secret.encode()).digest()


VARIABLE: Final = "PERDURE_TOKENS"
MAX_FILE_BYTES: Final = 1_048_576

_WHAT = "tokens file"
_PRIVATE = "a file that only its owner can read: chmod 600"


def tokens_from(environ: Mapping[str, str], file: str | os.PathLike[str] | None = None) -> Tokens | None:
    """Return a file's tokens, or else those in the variable ``PERDURE_TOKENS``, or None if neither is set.

    Args:
        environ: the process's environment.
        file: the file's path.

    Raises:
        DefinitionError: the text is not valid, the file is not readable, or others than its owner can read or write it.
    """
    if file is not None:
        return Tokens.parse(_private_text(file), source=f"tokens file {os.fspath(file)}")
    text = environ.get(VARIABLE)
    return None if text is None else Tokens.parse(text, source=f"variable {VARIABLE}")


def _private_text(file: str | os.PathLike[str]) -> str:
    try:
        # The descriptor is checked, not the path, so that a file that is replaced meanwhile is not read unchecked.
        # O_NONBLOCK: a path to a pipe would block the start.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise DefinitionError(_WHAT, os.fspath(file), f"a readable file ({error.strerror})") from error
    try:
        data = _read(descriptor, os.fspath(file))
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise DefinitionError(_WHAT, os.fspath(file), f"at most {MAX_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError:  # the error has the bytes, which may be a secret
        raise DefinitionError(_WHAT, os.fspath(file), "text in UTF-8") from None


def _read(descriptor: int, path: str) -> bytes:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise DefinitionError(_WHAT, path, "a regular file")
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DefinitionError(_WHAT, f"mode {stat.S_IMODE(status.st_mode):04o} of {path}", _PRIVATE)
    if status.st_uid not in {0, os.geteuid()}:
        raise DefinitionError(_WHAT, f"user {status.st_uid} as the owner of {path}", "a file of this user or of root")
    data = b""
    while len(data) <= MAX_FILE_BYTES and (part := os.read(descriptor, MAX_FILE_BYTES)):
        data += part
    return data


Access: TypeAlias = Tokens | Literal["local", "owner_socket", "unchecked"]
"""A server's rule.

- `Tokens`: a request needs a bearer token, and has the token's scopes.
- ``"local"``: no tokens. Only programs on this machine, over the loopback interface, with all scopes.
- ``"owner_socket"``: a Unix socket that only its owner can open (mode 0600): all scopes.
- ``"unchecked"``: another application in front has checked the request: all scopes.
"""

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]
"""A request's headers, names in lower case, as ASGI provides them."""

# A proxy on this machine forwards requests of others: its loopback address proves nothing.
_FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"})
# "none": the user typed the address.
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
    # Two headers: a proxy in front may have checked the other one.
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
        # A page cannot keep its browser from sending these headers.
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
    # ::ffff:127.0.0.1 is the loopback interface too.
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


COOKIE: Final = "perdure_dashboard"
SESSION_MS: Final = 12 * 3_600_000
"""How long a caller stays signed in."""
MAX_COOKIE: Final = 256
"""Longer than any session: nothing longer is read."""
MAX_ENDED: Final = 100
"""How many ended sessions are remembered for one token. At the limit, all its sessions end."""

_MAC: Final = 32


@attrs.frozen
class Sessions:
    """Issues and reads one server's cookies.

    A cookie does not contain its token's secret: it is ``expiry.number.signature.name``, signed with a key that the
    process draws at its start. So a stolen cookie opens the dashboard alone, until its owner signs out and for 12 hours
    at most, and a restart ends all sessions.

    Attributes:
        key: 32 random bytes.
    """

    key: bytes = attrs.field(repr=False)
    _issued: Iterator[int] = attrs.field(init=False, repr=False, factory=lambda: count(1))
    _ended: dict[str, dict[int, int]] = attrs.field(init=False, repr=False, factory=dict[str, dict[int, int]])
    _all_ended: dict[str, int] = attrs.field(init=False, repr=False, factory=dict[str, int])

    def issue(self, token: ClientToken, now_ms: int, /) -> str:
        """Return a cookie for a caller that showed its token."""
        # With a number: two sessions of one token can be ended apart.
        signed = f"{(now_ms + SESSION_MS) // 1_000}.{next(self._issued)}"
        # The digest of the token is signed too: a token that was replaced ends its sessions.
        return f"{signed}.{self._mac('session', signed, token.name, token.digest.hex())}.{token.name}"

    def holder(self, cookie: str, tokens: Tokens, now_ms: int, /) -> ClientToken | None:
        """Return the token that a cookie names.

        Returns:
            None if the cookie is forged or has expired, its caller has signed out, or the token is gone.
        """
        session = _session(cookie)
        if session is None:
            return None
        # By name: the cookie does not hold the secret.
        token = next((each for each in tokens.tokens if each.name == session.name), None)
        if token is None:
            return None
        genuine = self._mac("session", session.signed, token.name, token.digest.hex())
        # In constant time: a forged cookie learns nothing about the signature.
        if not hmac.compare_digest(genuine.encode(), session.mac.encode()) or self._has_ended(session):
            return None
        return token if session.expires_s * 1_000 > now_ms else None

    def end(self, cookie: str, tokens: Tokens, now_ms: int, /) -> None:
        """End a session, also for copies of its cookie. No effect unless the cookie belongs to a session."""
        session = _session(cookie)
        # Only a genuine session is remembered: forged ones could fill the memory.
        if session is None or self.holder(cookie, tokens, now_ms) is None:
            return
        kept = {number: expires for number, expires in self._of(session.name).items() if expires * 1_000 > now_ms}
        kept[session.number] = session.expires_s
        if len(kept) > MAX_ENDED:
            self._all_ended[session.name], kept = next(self._issued), {}
        self._ended[session.name] = kept

    def _of(self, name: str) -> dict[int, int]:
        return self._ended.get(name, {})

    def _has_ended(self, session: _Session) -> bool:
        # By number: sessions that were issued later are not affected.
        return session.number in self._of(session.name) or session.number <= self._all_ended.get(session.name, 0)

    def form_token(self, caller: str, cookie: str, /) -> str:
        """Return the token that a caller's forms carry: another site can neither read nor guess it."""
        return self._mac("form", caller, cookie)

    def is_form_token(self, text: str, caller: str, cookie: str, /) -> bool:
        """Return whether this is the token that the caller's forms carry."""
        return hmac.compare_digest(self.form_token(caller, cookie).encode(), text.encode("utf-8", "replace"))

    def signed(self, text: str, /) -> str:
        """Sign a text that this server puts into a URL."""
        return self._mac("text", text)

    def _mac(self, *parts: str) -> str:
        # Null separates the parts, which hold none: two lists of parts never join to one text.
        joined = "\0".join(parts).encode("utf-8", "replace")
        return hmac.new(self.key, joined, hashlib.sha256).hexdigest()[:_MAC]


@attrs.frozen
class _Session:
    """A cookie's parts."""

    signed: str
    expires_s: int
    number: int
    mac: str
    name: str


def _session(cookie: str) -> _Session | None:
    parts = cookie.split(".", 3)
    if len(cookie) > MAX_COOKIE or len(parts) != 4 or not all(_is_number(part) for part in parts[:2]):  # noqa: PLR2004
        return None
    return _Session(f"{parts[0]}.{parts[1]}", int(parts[0]), int(parts[1]), *parts[2:])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def cookie_in(headers: Sequence[tuple[bytes, bytes]], /) -> str:
    """Return the dashboard's cookie in a request's headers. Empty if there is none."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.strip().partition("=")
                if key == COOKIE:
                    return text
    return ""


ANONYMOUS: Final = Caller(name="anonymous", scopes=frozenset())
"""A caller that has not signed in: it sees the page where it does, the style and the script."""

_OWN: Final = frozenset({b"none", b"same-origin"})
_READS: Final = frozenset({"GET", "HEAD"})


@attrs.frozen
class PageAccess:
    """Finds a page's caller.

    - With tokens: the bearer token, or else the session that the cookie names, or else nobody in particular.
    - Otherwise the server's own rule, with one difference: a request that the dashboard's own page sent is permitted.

    Attributes:
        access: the server's rule.
        sessions: reads cookies.
    """

    access: Access
    sessions: Sessions

    def identify(
        self, path: str, method: str, client: str | None, headers: Headers, now_ms: int
    ) -> Caller | AccessDenied | None:
        """Return the caller, or the reason to refuse the request. None if the request is not one for the dashboard.

        Args:
            path: below the prefix that the application is mounted at.
            method: the HTTP method.
            client: the client's address. None if it has none.
            headers: names in lower case.
            now_ms: the time, integer milliseconds UTC.
        """
        if path != DASHBOARD and not path.startswith(f"{DASHBOARD}/"):
            return None
        match self.access:
            case "unchecked":
                return UNCHECKED
            case "owner_socket":
                return owner_caller(headers, page=foreign(method, headers))
            case "local":
                return local_caller(client, headers, page=foreign(method, headers))
            case _:
                return self._of_tokens(self.access, client, headers, now_ms)

    def _of_tokens(self, tokens: Tokens, client: str | None, headers: Headers, now_ms: int) -> Caller | AccessDenied:
        # A bearer token wins: scripts read pages too, and have no cookie.
        if any(name == b"authorization" for name, _ in headers):
            return identify(tokens, client, headers)
        cookie = cookie_in(headers)
        token = self.sessions.holder(cookie, tokens, now_ms) if cookie else None
        return ANONYMOUS if token is None else Caller(name=token.name, scopes=token.scopes)


def foreign(method: str, headers: Headers) -> str | None:
    """Return why a request comes from another site's page. None if it does not.

    A browser marks its requests. A link on another site may lead to a dashboard page: that changes nothing, and the
    other site cannot read the page.
    """
    given = dict(headers)
    site, origin = given.get(b"sec-fetch-site"), given.get(b"origin")
    follows_link = method in _READS and given.get(b"sec-fetch-dest") == b"document" and origin is None
    # Browsers that send `sec-fetch-site` decide by it: `origin` is missing in some of their requests.
    if site is not None:
        return None if site in _OWN or follows_link else "a web page of another site sent the request"
    if origin is not None and not is_own(origin, given):
        return "a web page of another site sent the request (header 'origin')"
    return None


def is_own(origin: bytes, headers: Mapping[bytes, bytes]) -> bool:
    """Return whether an origin is the host that the request names."""
    try:
        parts = urlsplit(origin.decode("latin-1"))
    except ValueError:  # such as ``http://[``
        return False
    return (
        parts.scheme in {"http", "https"}
        and parts.netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower()
    )
