"""Creates the events of one decision, and numbers their ids."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from perdure.values.address import Address
from perdure.values.event import EventHeader
from perdure.values.turn_inputs import TurnInputs

V = TypeVar("V", bound=EventHeader)


@attrs.define
class EventRecorder:
    """Creates events of one address, each with the next id.

    Attributes:
        inputs: the clock and the ids.
        address: the instance.
        run_count: the run of the events.
        used: number of ids that the decision has used.
    """

    inputs: TurnInputs
    address: Address
    run_count: int
    used: int = 1  # offset 0 is the id of a run that begins in the same decision

    def optional(self, event_class: type[V], /, **fields: Any) -> tuple[V, ...]:  # the fields of the event class
        """Create the next event, unless the log keeps none and no sink listens."""
        return (self.add(event_class, **fields),) if self.inputs.events == "wanted" else ()

    def add(self, event_class: type[V], /, **fields: Any) -> V:  # the fields of the event class
        """Create the next event."""
        event = event_class(
            event_id=self.inputs.id(self.used),
            at_ms=self.inputs.now_ms,
            address=str(self.address),
            run_count=self.run_count,
            **fields,
        )
        self.used += 1
        return event
