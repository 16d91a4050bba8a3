"""Conflicts: how often a turn starts again; on a shared store after a short random wait, so that a rival succeeds."""

from __future__ import annotations

from typing import Final

from perdure.runtime.record import Runtime
from perdure.values.turn_inputs import OtherEngines

MAX_CONFLICTS: Final = 5
"""How often a turn without effects starts again after a conflict."""

MAX_SHARED_CONFLICTS: Final = 200
"""The same on a shared store, where other engines write the same instances."""

LONGEST_MS: Final = 50
"""The longest wait between two tries."""


async def back_off(runtime: Runtime, tried: int, others: OtherEngines) -> None:
    """Wait before the third and each later try, if there can be rivals.

    Args:
        runtime: the clock and the random number.
        tried: the number of earlier tries.
        others: the other engines.
    """
    if tried > 1 and others:
        await runtime.sleep(runtime.random() * min(LONGEST_MS, 2 ** min(tried, 6)))
