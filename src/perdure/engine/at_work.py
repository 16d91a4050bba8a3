"""The instances with work in progress, which an engine that stops waits for."""

from __future__ import annotations

import attrs

from perdure.engine.concurrency_limit import ConcurrencyLimits
from perdure.engine.in_flight import InFlight
from perdure.engine.resident import Resident
from perdure.runtime.record import Future, Runtime
from perdure.values.address import Address


@attrs.define(eq=False)
class AtWork:
    """The instances of which a request waits, a turn or a run is in progress, or a flight is not durable.

    Attributes:
        runtime: makes the futures of those who wait for the end of all work.
        residents: the instances.
    """

    runtime: Runtime
    residents: dict[Resident, None] = attrs.Factory(dict[Resident, None])
    _emptied: list[Future[None]] = attrs.Factory(list[Future[None]])

    def forget(self, resident: Resident) -> None:
        """Note that an instance has no work."""
        self.residents.pop(resident, None)
        if not self.residents:
            self._tell()

    async def emptied(self) -> None:
        """Wait until no instance has work."""
        if self.residents:
            self._emptied.append(emptied := self.runtime.future())
            await emptied

    def close_door(self) -> None:
        """Answer the requests that wait, because the engine stops."""
        for resident in self.residents:
            resident.close_door()

    def stop_runs(self) -> None:
        """Cancel every run in progress and release its claim."""
        for resident in tuple(self.residents):
            resident.stop_runs("released")

    def leave(self) -> tuple[Address, ...]:
        """Abandon the runs that ignored their cancellation, and return their instances.

        Their claims stay in the store. Their callers receive ``OutcomeUnknown``; other requests have changed nothing,
        and fail with ``EngineClosed``.
        """
        left = tuple(self.residents)
        for resident in left:
            resident.leave()
        self.residents.clear()
        self._tell()
        return tuple(resident.address for resident in left)

    def counted(self, gates: ConcurrencyLimits, requests: int, waiting_for_room: int, claims_left: int) -> InFlight:
        """Count the accepted and unfinished work. Any thread may call this.

        Args:
            gates: the concurrency limits.
            requests: the number of pending requests.
            waiting_for_room: the number of callers that wait for room.
            claims_left: the number of claims that are recovered soon.
        """
        at_work = tuple(self.residents)
        return InFlight(
            instances=tuple(resident.address for resident in at_work),
            requests=requests,
            programs=sum(len(resident.runs) for resident in at_work),
            slots=gates.held,
            waiting_for_slot=gates.waiting,
            waiting_for_room=waiting_for_room,
            claims_to_recover=claims_left,
        )

    def _tell(self) -> None:
        emptied, self._emptied = self._emptied, []
        for future in emptied:
            if not future.done():
                future.set_result(None)
