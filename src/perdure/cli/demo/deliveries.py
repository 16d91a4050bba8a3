"""What was sent, how often, and what was answered: the parent's own account of the demo."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

import attrs

from perdure.cli.demo.protocol import Accepted, Answer, Refusal
from perdure.examples.incoming import Incoming

Verdict: TypeAlias = Accepted | Refusal


@attrs.define
class Delivery:
    """One event, with all that was sent and answered of it.

    Attributes:
        incoming: the event.
        sent: how often it was sent.
        under_way: sendings that wait for their answer.
        verdict: what was answered; an acceptance stands, whatever is answered to a repeat. None: nothing yet.
    """

    incoming: Incoming
    sent: int = 0
    under_way: int = 0
    verdict: Verdict | None = None

    def take(self, answer: Answer | None) -> None:
        """Take an answer to one of the sendings; None when the worker died first."""
        self.under_way -= 1
        if isinstance(answer, Accepted) or (isinstance(answer, Refusal) and self.verdict is None):
            self.verdict = answer


@attrs.define
class Deliveries:
    """Every event of a demo, by its id, and the order in which the source sends them, repeats included.

    Attributes:
        order: the events as the source has them.
    """

    order: tuple[Incoming, ...]
    _by_id: dict[str, Delivery] = attrs.Factory(dict[str, Delivery])

    def __iter__(self) -> Iterator[Delivery]:
        """Give each different event once, in the order they were first sent in."""
        return iter(self._by_id.values())

    def of(self, incoming: Incoming) -> Delivery:
        """Give the account of an event."""
        return self._by_id.setdefault(incoming.id, Delivery(incoming))

    def unanswered(self) -> tuple[Delivery, ...]:
        """Give what was sent and is not answered."""
        return tuple(sending for sending in self if sending.verdict is None)

    @property
    def sent(self) -> int:
        """How many times anything was sent."""
        return sum(sending.sent for sending in self)

    @property
    def accepted(self) -> int:
        """How many different events were accepted."""
        return sum(isinstance(sending.verdict, Accepted) for sending in self)

    @property
    def refused(self) -> int:
        """How many different events were refused."""
        return sum(isinstance(sending.verdict, Refusal) for sending in self)
