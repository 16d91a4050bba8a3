"""Access to the dashboard: the rule of the server, for requests of a browser. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import attrs

from perdure.dashboard.links import PAGES
from perdure.server.access import UNCHECKED, Access, Caller, Headers, identify, local_caller, owner_caller
from perdure.server.dashboard_session import Sessions, cookie_in
from perdure.server.tokens import Tokens
from perdure.values.errors import AccessDenied

ANONYMOUS: Final = Caller(name="anonymous", scopes=frozenset())
"""A caller that has not signed in: it sees the page where it does, the style and the script."""

_OWN: Final = frozenset({b"none", b"same-origin"})
_READS: Final = frozenset({"GET", "HEAD"})


@attrs.frozen
class PageAccess:
    """Finds the caller of a page.

    - With tokens: the bearer token, or else the session that the cookie names, or else nobody in particular.
    - Otherwise the server's own rule, with one difference: a request that the dashboard's own page sent is permitted.

    Attributes:
        access: the rule of the server.
        sessions: reads cookies.
    """

    access: Access
    sessions: Sessions

    def identify(
        self, path: str, method: str, client: str | None, headers: Headers, now_ms: int
    ) -> Caller | AccessDenied | None:
        """Return the caller, or the reason to refuse the request; None if the request is not one for the dashboard.

        Args:
            path: below the prefix that the application is mounted at.
            method: of HTTP.
            client: the address of the client; None if it has none.
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
    """Return why a request comes from the page of another site; None if it does not.

    A browser marks its requests. A link on another site may lead to a page of the dashboard: that changes nothing, and
    the other site cannot read the page.
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
    """Return whether an origin is that of the host that the request names."""
    try:
        parts = urlsplit(origin.decode("latin-1"))
    except ValueError:  # such as ``http://[``
        return False
    return (
        parts.scheme in {"http", "https"}
        and parts.netloc.lower() == headers.get(b"host", b"").decode("latin-1").lower()
    )
