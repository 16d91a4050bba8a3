"""A pending fault of a world: its location, the calls it skips and the calls it affects."""

from __future__ import annotations

import attrs

from perdure.testing.fault import OF_THE_STORE, Fault


def crossing_of(at: str) -> str:
    """Return the location of a fault as crossings name it: ``commit`` for ``store.commit``, ``effect send_mail``."""
    return at.removeprefix(OF_THE_STORE) if at.startswith(OF_THE_STORE) else f"effect {at}"


@attrs.define
class PendingFault:
    """A fault with its counters, which change; so it is not a value.

    Attributes:
        fault: the fault.
        crossing: its location.
        after: the number of calls to skip.
        times: the number of calls to affect.
    """

    fault: Fault
    crossing: str
    after: int
    times: int

    @classmethod
    def of(cls, fault: Fault) -> PendingFault:
        """Return a fault with its initial counters."""
        return cls(fault, crossing_of(fault.at), fault.call - 1, fault.times)

    def waits_for(self, crossing: str) -> bool:
        """Return whether the fault may affect calls of this crossing."""
        return crossing == self.crossing and self.times > 0

    def is_due(self, crossing: str) -> bool:
        """Count a call, and return whether the fault affects it. Call this once for every call of its location."""
        if not self.waits_for(crossing):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        return True
