"""How instances of one job are kept from running all at the same moment."""

from __future__ import annotations

from hashlib import blake2b

from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError


def spread_ms(spread: Duration | None) -> int:
    """Read the option ``spread`` as milliseconds; 0 when it is left out.

    Raises:
        DefinitionError: it is no duration.
    """
    return 0 if spread is None else duration_ms(spread, what="spread of a schedule")


def check_spread(spread_ms: int, *, smallest_gap_ms: int) -> None:
    """Accept a spread that is shorter than the time between any two ticks.

    Raises:
        DefinitionError: a shifted tick could reach the next one.
    """
    if spread_ms >= smallest_gap_ms:
        expected = f"less than the smallest time between two ticks, {format_duration(smallest_gap_ms)}"
        raise DefinitionError("spread of a schedule", format_duration(spread_ms), expected)


def shift_ms(address: str, *, spread_ms: int) -> int:
    """Give an instance's place within the spread.

    It depends on the printed address alone: it is the same after a restart, in another process, in a later version.

    Args:
        address: the instance, printed ``kind:name:id``.
        spread_ms: how far instances may be shifted; 0: not at all.

    Returns:
        Milliseconds, from 0 to ``spread_ms`` - 1.
    """
    if not spread_ms:
        return 0
    digest = blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % spread_ms
