"""Bytes of responses that wait in this process for their client to read them."""

from __future__ import annotations

import asyncio


def unread_bytes(transport: asyncio.WriteTransport | None) -> int:
    """Return the number of bytes that a transport holds; 0 for one that is closed.

    asyncio's transport of TLS raises `AttributeError` once it was closed twice.
    """
    if transport is None:
        return 0
    try:
        return transport.get_write_buffer_size()
    except AttributeError:
        return 0
