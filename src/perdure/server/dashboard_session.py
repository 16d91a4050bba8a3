"""Sessions of the dashboard: a signed cookie that names a token, and the tokens of forms. Pure but for the key."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import attrs

from perdure.server.tokens import ClientToken, Tokens

COOKIE: Final = "perdure_dashboard"
SESSION_MS: Final = 12 * 3_600_000
"""How long a caller stays signed in."""
MAX_COOKIE: Final = 256
"""Longer than any session: nothing longer is read."""

_MAC: Final = 32


@attrs.frozen
class Sessions:
    """Issues and reads the cookies of one server.

    A cookie contains no secret of its token: it is ``expiry.signature.name``, signed with a key that the process draws
    at its start. So a stolen cookie opens the dashboard alone, for 12 hours at most, and a restart ends all sessions.

    Attributes:
        key: 32 random bytes.
    """

    key: bytes = attrs.field(repr=False)

    def issue(self, token: ClientToken, now_ms: int, /) -> str:
        """Return the cookie of a caller that showed its token."""
        expires_s = (now_ms + SESSION_MS) // 1_000
        return f"{expires_s}.{self._mac('session', str(expires_s), token.name, token.digest.hex())}.{token.name}"

    def holder(self, cookie: str, tokens: Tokens, now_ms: int, /) -> ClientToken | None:
        """Return the token that a cookie names; None if the cookie is forged or has expired, or the token is gone."""
        expires, _, rest = cookie.partition(".")
        mac, _, name = rest.partition(".")
        if len(cookie) > MAX_COOKIE or not expires.isascii() or not expires.isdigit():
            return None
        token = next((each for each in tokens.tokens if each.name == name), None)
        if token is None:
            return None
        genuine = self._mac("session", expires, token.name, token.digest.hex())
        if not hmac.compare_digest(genuine.encode(), mac.encode()):
            return None
        return token if int(expires) * 1_000 > now_ms else None

    def form_token(self, caller: str, cookie: str, /) -> str:
        """Return the token that the forms of a caller carry: another site can neither read nor guess it."""
        return self._mac("form", caller, cookie)

    def is_form_token(self, text: str, caller: str, cookie: str, /) -> bool:
        """Return whether a form of this caller carries this token."""
        return hmac.compare_digest(self.form_token(caller, cookie).encode(), text.encode("utf-8", "replace"))

    def signed(self, text: str, /) -> str:
        """Return the signature of a text that this server puts into a URL."""
        return self._mac("text", text)

    def _mac(self, *parts: str) -> str:
        joined = "\0".join(parts).encode("utf-8", "replace")
        return hmac.new(self.key, joined, hashlib.sha256).hexdigest()[:_MAC]


def cookie_in(headers: Sequence[tuple[bytes, bytes]], /) -> str:
    """Return the dashboard's cookie in the headers of a request; empty if there is none."""
    for name, value in headers:
        if name == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.strip().partition("=")
                if key == COOKIE:
                    return text
    return ""
