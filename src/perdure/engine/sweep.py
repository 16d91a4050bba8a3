"""Recovers the claims that ended engines of a shared store left: those of the share first, then all others."""

from __future__ import annotations

from typing import Final, NoReturn

import attrs

from perdure.engine.holds import Holds
from perdure.engine.membership import Membership
from perdure.engine.recovery import Recovery
from perdure.engine.wake import Wake
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.errors import OutcomeUnknown, StoreError

SWEEP_MS: Final = 5_000
"""How often abandoned claims are looked for, besides each time that an engine ends."""

LEFT_MS: Final = 500
"""How long after the end of an engine every other one recovers the claims that are still left.

The engine of a share may have ended too, be stalled or cut off, still be opening, or have no free slot. The fence lets
one engine through for each claim. A run that is delivered alone is left to the share: it would stop all engines.
"""

RETRY_MS: Final = 50
"""How soon a look that failed is repeated; twice as long after each failure, up to `SWEEP_MS`."""


@attrs.define(eq=False)
class Sweep:
    """Looks for abandoned claims.

    Attributes:
        runtime: the only interface to time.
        membership: this engine among the others.
        holds: the held jobs, which other engines change too.
        share: recovers the share of this engine.
        left: recovers all claims that are left, whatever the share.
    """

    runtime: Runtime
    membership: Membership
    holds: Holds
    share: Recovery
    left: Recovery
    _changed: Wake = attrs.field(init=False)
    _ended: Wake = attrs.field(init=False)
    _living: frozenset[int] = frozenset()

    def __attrs_post_init__(self) -> None:
        self._changed, self._ended = Wake(self.runtime), Wake(self.runtime)
        self._ended.ring()  # an engine may have ended before this one joined

    def others_changed(self) -> None:
        """Look at once, because the share has changed; and soon at all that is left, if an engine has ended."""
        living, self._living = self._living, self.membership.others.living
        if not living <= self._living:
            self._ended.ring()
        self._changed.ring()

    async def run(self) -> NoReturn:
        """Recover the share: when it changes, and periodically."""
        while True:
            await self._changed.wait_until(self.runtime.now_ms() + SWEEP_MS)
            await self._repeated(self.share)

    async def run_left(self) -> NoReturn:
        """Recover the claims that are still left, soon after an engine has ended."""
        while True:
            await self._ended.wait_until(None)
            await self.runtime.sleep(LEFT_MS)
            await self._repeated(self.left)

    async def _repeated(self, recovery: Recovery) -> None:
        """Look until the store has answered."""
        delay_ms = RETRY_MS
        while not await self._is_done(recovery):
            await self.runtime.sleep(delay_ms)
            delay_ms = min(2 * delay_ms, SWEEP_MS)

    async def _is_done(self, recovery: Recovery) -> bool:
        try:
            await recovery.claims()
            if recovery is self.share:
                await self.holds.read()
        except (StoreError, OutcomeUnknown) as error:
            self.runtime.log(LogRecord("warning", "abandoned claims not read", {"error": str(error)}))
            return False
        return True
