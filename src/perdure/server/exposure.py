"""Which access each address of a server has, and which addresses it refuses to listen on."""

from __future__ import annotations

from typing import Literal, TypeAlias

from perdure.server.access import Access
from perdure.server.bind import Bind, UnixBind, is_local
from perdure.server.tokens import Tokens
from perdure.values.errors import DefinitionError

Unprotected: TypeAlias = Literal["refuse", "serve"]
"""The reaction to an address that other machines can reach, when no token is required."""


def access_to(bind: Bind, tokens: Tokens | None, unprotected: Unprotected = "refuse") -> Access:
    """Return the access of the requests that arrive at an address.

    A Unix socket has mode 0600, so that its clients are processes of its owner. They need no token.

    Args:
        bind: the address.
        tokens: the tokens of the server.
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
