"""The work in progress of an engine. An idle engine has none."""

from __future__ import annotations

import attrs

from perdure.values.address import Address


@attrs.frozen(kw_only=True)
class InFlight:
    """Accepted and unfinished work.

    Attributes:
        instances: instances with a mailbox: requests wait for them, or a run is in progress.
        requests: requests that wait or are being served, as ``Limits.max_pending`` counts them.
        programs: user programs in progress.
        slots: slots in use, of the engine and of jobs.
        waiting_for_slot: runs that wait for a slot.
        waiting_for_room: callers that wait until there is room for their request.
        alarms: alarms that were fired and are not settled.
        messages: pairs of sender and target with a message in progress.
        claims_to_recover: runs with an unknown end that the engine will recover soon.
    """

    instances: tuple[Address, ...] = ()
    requests: int = 0
    programs: int = 0
    slots: int = 0
    waiting_for_slot: int = 0
    waiting_for_room: int = 0
    alarms: int = 0
    messages: int = 0
    claims_to_recover: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether the engine is idle."""
        return self == _NOTHING

    def described(self) -> tuple[str, ...]:
        """Describe the work, one line per item."""
        lines = [f"{count} {_NAMES[name]}" for name, count in attrs.asdict(self).items() if name in _NAMES and count]
        return (*(f"a mailbox of {address}" for address in self.instances), *lines)


_NOTHING = InFlight()
_NAMES = {
    "requests": "pending requests",
    "programs": "programs in progress",
    "slots": "slots in use",
    "waiting_for_slot": "runs waiting for a slot",
    "waiting_for_room": "callers waiting for room",
    "alarms": "alarms that are not settled",
    "messages": "messages in progress",
    "claims_to_recover": "claims to recover",
}
