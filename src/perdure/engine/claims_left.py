"""Claims that may be in the store although no run holds them: recovered after a pause."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from perdure.engine.resident import Resident
from perdure.jobs.definition import AnyDefinition
from perdure.runtime.record import Runtime, Timer
from perdure.values.address import Address

CLAIM_LEFT_RETRY_MS = 1_000
"""How long after a failed commit the engine tries to settle the run again."""


@attrs.define
class ClaimsLeft:
    """The instances whose claims are recovered soon.

    Attributes:
        runtime: sets the timers.
        recover: recovers the claim of an instance.
    """

    runtime: Runtime
    recover: Callable[[AnyDefinition, Address], object]
    _timers: dict[Address, Timer] = attrs.Factory(dict["Address", "Timer"])

    @property
    def count(self) -> int:
        """The number of these instances."""
        return len(self._timers)

    def add(self, resident: Resident) -> None:
        """Recover an instance after a pause, unless it is already waiting for that."""
        address = resident.address
        if address in self._timers:
            return

        def again() -> None:
            del self._timers[address]
            self.recover(resident.job, address)

        self._timers[address] = self.runtime.call_later(CLAIM_LEFT_RETRY_MS, again)

    def close(self) -> None:
        """Recover none of them: the next start does."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
