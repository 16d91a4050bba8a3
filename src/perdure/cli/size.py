"""Sizes as people read them."""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024


def shown(size_bytes: int) -> str:
    """Print a size in MiB.

    >>> shown(5_242_880)
    '5.0 MiB'
    """
    return f"{size_bytes / MIB:,.1f} MiB"
