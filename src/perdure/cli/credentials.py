"""``perdure token`` and ``perdure key``: make a client's token, and the key that encrypts a store."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated, Final

from cyclopts import Parameter

from perdure.cli.process import ExitCode, UsageError, write_lines
from perdure.server.access import NAME, RESERVED, SCOPES
from perdure.stores.encryption import Key
from perdure.values.errors import DefinitionError

_RANDOM_BYTES: Final = 32


def token(
    name: Annotated[str, Parameter(name="NAME")],
    /,
    *,
    scopes: str = "read,call",
) -> int:
    """Make a random token for a client of a server: its secret, and the line for the server's tokens file.

    The line has only the secret's SHA-256. The secret is shown once and stored nowhere. Append the line to a file with
    mode 0600 and pass it to `perdure serve --tokens-file`, or put it into `PERDURE_TOKENS`.

    Exit code: 0 done, 2 the name or a scope is not valid.

    Parameters
    ----------
    name
        The client, as the access log shows it: 1 to 64 letters, digits, `.`, `_` or `-`.
    scopes
        Its permissions, separated by commas: read, call, operate.
    """
    if not NAME.fullmatch(name):
        raise UsageError(f"NAME {name!r}: expected 1 to 64 letters, digits, '.', '_' or '-'")
    if name in RESERVED:
        raise UsageError(f"NAME {name!r}: expected another name: events call callers without a token so")
    if not set(scopes.split(",")) <= set(SCOPES):
        raise UsageError(f"--scopes {scopes!r}: expected some of {', '.join(SCOPES)}, separated by commas")
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    line = f"{name} {scopes} sha256:{hashlib.sha256(secret.encode()).hexdigest()}"
    write_lines([f"secret for the client: {secret}", f"line for the server:   {line}"])
    return ExitCode.DONE


def key(key_id: Annotated[str, Parameter(name="ID")], /) -> int:
    """Make a random key that encrypts stored data, as a line for `PERDURE_KEYS` or a file of keys.

    The key is shown once and stored nowhere. Without it, the data that is encrypted with it cannot be read.

    Exit code: 0 done, 2 the id is not valid.

    Parameters
    ----------
    key_id
        The key's name, which is stored with each text: 1 to 64 letters, digits, `.`, `_` or `-`.
    """
    try:
        write_lines([Key.new(key_id).line])
    except DefinitionError as error:
        raise UsageError(str(error)) from error
    return ExitCode.DONE
