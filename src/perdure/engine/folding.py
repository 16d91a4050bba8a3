"""Decides whether a turn is decided on the outcome of the turns that are not durable yet."""

from __future__ import annotations

import attrs

from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.engine.residents import Residents
from perdure.jobs.request import Request
from perdure.values.transition import KeepInstance


@attrs.define
class Folding:
    """Remembers the events that had effects: such an event is not begun on a flight, because it would begin again.

    Attributes:
        residents: know whether a row that was read remains the stored one. If not, turns are decided on the outcome of
            a flight only if its commit compares the version of that row.
    """

    residents: Residents
    _with_effects: set[tuple[str, type]] = attrs.Factory(set[tuple[str, type]])

    def note_effect(self, resident: Resident, request: Request) -> None:
        """Note that an event had an effect."""
        self._with_effects.add(_event_of(resident, request))

    def allows(self, resident: Resident, item: Item) -> bool:
        """Return whether the turn of a request may be decided on the outcome of the instance's flight."""
        flight = resident.flight
        return (
            flight is not None
            and flight.may_take(item)
            and (self.residents.may_use_rows or type(flight.transition.write) is not KeepInstance)
            and (not self._with_effects or _event_of(resident, item.request) not in self._with_effects)
        )


def _event_of(resident: Resident, request: Request) -> tuple[str, type]:
    """Return the job and the class of an event, whose programs are expected to have an effect or none."""
    event: object = getattr(request.command, "event", request.command)
    return resident.job.name, event.__class__
