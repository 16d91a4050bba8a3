"""A fault that is to strike in a world: where that is, and how often it has still to pass over, and to strike."""

from __future__ import annotations

import attrs

from perdure.testing.fault import OF_THE_STORE, Fault


def crossing_of(at: str) -> str:
    """Name the place of a fault as crossings do: ``commit`` of ``store.commit``, ``effect send_mail`` of an effect."""
    return at.removeprefix(OF_THE_STORE) if at.startswith(OF_THE_STORE) else f"effect {at}"


@attrs.define
class PendingFault:
    """It counts down, so it is no value.

    Attributes:
        fault: what strikes.
        crossing: where.
        after: how many calls it passes over before.
        times: how often it strikes.
    """

    fault: Fault
    crossing: str
    after: int
    times: int

    @classmethod
    def of(cls, fault: Fault) -> PendingFault:
        """Begin to count."""
        return cls(fault, crossing_of(fault.at), fault.call - 1, fault.times)

    def waits_for(self, crossing: str) -> bool:
        """Whether it may strike at calls of this."""
        return crossing == self.crossing and self.times > 0

    def is_due(self, crossing: str) -> bool:
        """Count a call, and tell whether the fault is to strike it. To be asked once for every call of its place."""
        if not self.waits_for(crossing):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        return True
