"""Makes the events of one decision, with their ids counted up from the facts."""

from __future__ import annotations

from typing import Any, TypeVar

import attrs

from perdure.values.address import Address
from perdure.values.event import EventHeader
from perdure.values.facts import Facts

V = TypeVar("V", bound=EventHeader)


@attrs.define
class Log:
    """Collects events of one address, each with the next id.

    Attributes:
        facts: the clock and the ids.
        address: what the events are about, printed.
        run_count: the run they belong to.
        used: how many ids the decision has used so far.
    """

    facts: Facts
    address: Address
    run_count: int
    used: int = 1  # offset 0 is the id of a run that begins in the same decision

    def add(self, event_class: type[V], /, **fields: Any) -> V:  # the fields of the event class
        """Make the next event."""
        event = event_class(
            event_id=self.facts.id(self.used),
            at_ms=self.facts.now_ms,
            address=str(self.address),
            run_count=self.run_count,
            **fields,
        )
        self.used += 1
        return event
