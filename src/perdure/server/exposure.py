"""Which access each address of a server has, and which addresses it refuses to listen on."""

from __future__ import annotations

from perdure.server.access import Access
from perdure.server.bind import Bind, UnixBind, is_local
from perdure.server.tokens import Tokens
from perdure.values.errors import DefinitionError


def access_to(bind: Bind, tokens: Tokens | None) -> Access:
    """Return the access of the requests that arrive at an address.

    A Unix socket has mode 0600, so that its clients are processes of its owner. They need no token.

    Args:
        bind: the address.
        tokens: the tokens of the server.

    Raises:
        DefinitionError: other machines can reach the address, and the server has no tokens.
    """
    if isinstance(bind, UnixBind):
        return "owner_socket"
    if tokens is not None:
        return tokens
    if is_local(bind):
        return "local"
    raise DefinitionError(
        "bind",
        str(bind),
        "127.0.0.1, [::1] or localhost, or tokens (PERDURE_TOKENS, --tokens-file): other machines reach this address",
    )
