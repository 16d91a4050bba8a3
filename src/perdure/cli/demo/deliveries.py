"""The parent's record of the demo: the sent events, and their answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from perdure.cli.demo.protocol import Accepted, Answer, Refusal
from perdure.examples.incoming import Incoming

Verdict: TypeAlias = Accepted | Refusal


@attrs.define
class Delivery:
    """One event, with its deliveries and answers.

    Attributes:
        incoming: the event.
        sent: the number of deliveries.
        under_way: deliveries that have not been answered.
        verdict: the answer; an acceptance is kept, whatever a repeat returns. None: no answer yet.
    """

    incoming: Incoming
    sent: int = 0
    under_way: int = 0
    verdict: Verdict | None = None

    def take(self, answer: Answer | None) -> None:
        """Record an answer to one of the deliveries; None when the worker died first."""
        self.under_way -= 1
        if isinstance(answer, Accepted) or (isinstance(answer, Refusal) and self.verdict is None):
            self.verdict = answer


@attrs.define
class Deliveries:
    """Every event of a demo, by its id, and the order in which the source sends them, repeats included.

    Attributes:
        order: the events in the order of the source.
    """

    order: tuple[Incoming, ...]
    _by_id: dict[str, Delivery] = attrs.Factory(dict[str, Delivery])

    def __iter__(self) -> Iterator[Delivery]:
        """Yield each different event once, in the order of their first sending."""
        return iter(self._by_id.values())

    def of(self, incoming: Incoming) -> Delivery:
        """Return the record of an event."""
        return self._by_id.setdefault(incoming.id, Delivery(incoming))

    def unanswered(self) -> tuple[Delivery, ...]:
        """Return the events that were sent and have no answer."""
        return tuple(sending for sending in self if sending.verdict is None)

    @property
    def sent(self) -> int:
        """The total number of deliveries."""
        return sum(sending.sent for sending in self)

    @property
    def accepted(self) -> int:
        """The number of different accepted events."""
        return sum(isinstance(sending.verdict, Accepted) for sending in self)

    @property
    def refused(self) -> int:
        """The number of different refused events."""
        return sum(isinstance(sending.verdict, Refusal) for sending in self)
