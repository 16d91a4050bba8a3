"""Where the tokens of a server come from: the environment, or a file that only its owner can read."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Final

from perdure.server.tokens import Tokens
from perdure.values.errors import DefinitionError

VARIABLE: Final = "PERDURE_TOKENS"
MAX_FILE_BYTES: Final = 1_048_576

_WHAT = "tokens file"
_PRIVATE = "a file that only its owner can read: chmod 600"


def tokens_from(environ: Mapping[str, str], file: str | os.PathLike[str] | None = None) -> Tokens | None:
    """Return the tokens of a file, or else those of the variable ``PERDURE_TOKENS``, or None if neither is set.

    Args:
        environ: the environment of the process.
        file: the path of the file.

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
