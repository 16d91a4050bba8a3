"""Access to the dashboard: signed sessions in a cookie, and the server's rule for a browser's requests.

Pure but for the sessions' key.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final
from urllib.parse import urlsplit

import attrs

from perdure.dashboard.page import PAGES
from perdure.server.access import UNCHECKED, Access, Caller, Headers, identify, local_caller, owner_caller
from perdure.server.tokens import ClientToken, Tokens
from perdure.values.errors import AccessDenied

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
        signed = f"{(now_ms + SESSION_MS) // 1_000}.{next(self._issued)}"
        return f"{signed}.{self._mac('session', signed, token.name, token.digest.hex())}.{token.name}"

    def holder(self, cookie: str, tokens: Tokens, now_ms: int, /) -> ClientToken | None:
        """Return the token that a cookie names.

        Returns:
            None if the cookie is forged or has expired, its caller has signed out, or the token is gone.
        """
        session = _session(cookie)
        if session is None:
            return None
        token = next((each for each in tokens.tokens if each.name == session.name), None)
        if token is None:
            return None
        genuine = self._mac("session", session.signed, token.name, token.digest.hex())
        if not hmac.compare_digest(genuine.encode(), session.mac.encode()) or self._has_ended(session):
            return None
        return token if session.expires_s * 1_000 > now_ms else None

    def end(self, cookie: str, tokens: Tokens, now_ms: int, /) -> None:
        """End a session, also for copies of its cookie. No effect unless the cookie belongs to a session."""
        session = _session(cookie)
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
        if path != PAGES and not path.startswith(f"{PAGES}/"):
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
