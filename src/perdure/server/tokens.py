"""Tokens: the secrets by which a server knows its clients, each with a name and scopes.

They come from the environment, or from a file that only its owner can read.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Mapping
from typing import Final, cast, get_args

import attrs

from perdure.values.errors import DefinitionError
from perdure.wire.operations import Scope

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
