"""The shift of instances of one job against each other, so that they do not all run at the same moment."""

from __future__ import annotations

from perdure.values.duration import Duration, duration_ms, format_duration
from perdure.values.errors import DefinitionError


def stagger_ms(stagger: Duration | None) -> int:
    """Convert the option ``stagger`` to milliseconds; 0 for None.

    Raises:
        DefinitionError: it is not a duration.
    """
    return 0 if stagger is None else duration_ms(stagger, what="stagger of a schedule")


def check_stagger(stagger_ms: int, *, smallest_gap_ms: int) -> None:
    """Check that a stagger is shorter than the time between any two ticks.

    Raises:
        DefinitionError: a shifted tick could reach the next one.
    """
    if stagger_ms >= smallest_gap_ms:
        expected = f"less than the smallest time between two ticks, {format_duration(smallest_gap_ms)}"
        raise DefinitionError("stagger of a schedule", format_duration(stagger_ms), expected)


def shift_ms(address: str, *, stagger_ms: int) -> int:
    """Return the shift of an instance within the stagger.

    It depends on the printed address alone: it is the same after a restart, in another process, in a later version.

    Args:
        address: the instance, printed ``kind:name:id``.
        stagger_ms: the upper bound of the shift; 0 for none.

    Returns:
        Milliseconds, from 0 to ``stagger_ms`` - 1.
    """
    if not stagger_ms:
        return 0
    from hashlib import blake2b  # noqa: PLC0415 - loads OpenSSL, which defining jobs does not need

    digest = blake2b(address.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % stagger_ms
