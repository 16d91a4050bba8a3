"""Tokens: the secrets by which a server knows its clients, each with a name and scopes."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Final, Literal, TypeAlias, cast, get_args

import attrs

from perdure.values.errors import DefinitionError

Scope: TypeAlias = Literal["read", "call", "operate"]
"""What a token permits: ``read`` instances, ``call`` jobs, ``operate`` the engine (terminate, pause, redrive, ...)."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)
MAX_TOKENS: Final = 100
"""Every request is compared with every token, so their number is bounded."""
SECRET_CHARACTERS: Final = (32, 512)
"""The shortest and the longest secret."""

_SECRET = re.compile(r"[A-Za-z0-9._~+/-]+={0,2}")  # the token68 of RFC 6750, section 2.1
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""The name of a client."""
RESERVED: Final = frozenset({"anonymous", "local", "owner", "probe", "unchecked"})
"""The names of callers without a token, in the events and the access log."""


@attrs.frozen(kw_only=True)
class ClientToken:
    """A client of the server. Only the digest of its secret is kept.

    Attributes:
        name: the client, for the access log; 1 to 64 letters, digits, ``.``, ``_`` or ``-``, and none of `RESERVED`.
        scopes: the permitted operations.
        digest: the SHA-256 of the secret. A secret is random, so that no slower hash is needed.
    """

    name: str
    scopes: frozenset[Scope]
    digest: bytes = attrs.field(repr=False)


@attrs.frozen
class Tokens:
    """The tokens of a server.

    Attributes:
        tokens: at most 100, each with its own name and secret.
    """

    tokens: tuple[ClientToken, ...]

    @classmethod
    def parse(cls, text: str, /, *, source: str = "tokens") -> Tokens:
        """Parse tokens: ``name scopes secret``, one in a line; ``;`` also ends a line, and ``#`` begins a comment.

        The scopes are separated by commas. The secret is 32 to 512 letters, digits or ``-._~+/``, or ``sha256:`` and
        the 64 hexadecimal digits of its SHA-256, so that the file of a server reveals no secret.

        Args:
            text: the lines.
            source: the origin of the text, for the error.

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
