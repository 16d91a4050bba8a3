"""How instances of one job are kept from running all at the same moment."""

from __future__ import annotations

from hashlib import blake2b

from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError


def stagger_ms(stagger: Duration | None) -> int:
    """Read the option ``stagger`` as milliseconds; 0 when it is left out.

    Raises:
        DefinitionError: it is no duration.
    """
    return 0 if stagger is None else duration_ms(stagger, what="spread of a schedule")


def check_stagger(stagger_ms: int, *, smallest_gap_ms: int) -> None:
    """Accept a spread that is shorter than the time between any two ticks.

    Raises:
        DefinitionError: a shifted tick could reach the next one.
    """
    if stagger_ms >= smallest_gap_ms:
        expected = f"less than the smallest time between two ticks, {format_duration(smallest_gap_ms)}"
        raise DefinitionError("spread of a schedule", format_duration(stagger_ms), expected)


def shift_ms(address: str, *, stagger_ms: int) -> int:
    """Give an instance's place within the spread.

    It depends on the printed address alone: it is the same after a restart, in another process, in a later version.

    Args:
        address: the instance, printed ``kind:name:id``.
        stagger_ms: how far instances may be shifted; 0: not at all.

    Returns:
        Milliseconds, from 0 to ``stagger_ms`` - 1.
    """
    if not stagger_ms:
        return 0
    digest = blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % stagger_ms
