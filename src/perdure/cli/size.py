"""Human-readable sizes."""

from __future__ import annotations

from typing import Final

MIB: Final = 1024 * 1024


def shown(size_bytes: int) -> str:
    """Print a size in MiB, or in KiB below one MiB.

    >>> [shown(size) for size in (5_242_880, 73_728, 1, 0)]
    ['5.0 MiB', '72 KiB', '1 KiB', '0']
    """
    if size_bytes >= MIB:
        return f"{size_bytes / MIB:,.1f} MiB"
    return f"{-(-size_bytes // 1024)} KiB" if size_bytes else "0"
