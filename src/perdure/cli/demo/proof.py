"""The proof: compares the acknowledged events with the journals of the services, not with the engine's counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import assert_never

import attrs

from perdure.cli.demo.deliveries import Deliveries, Delivery
from perdure.cli.demo.evidence import Evidence
from perdure.cli.demo.protocol import Accepted, Refusal
from perdure.examples.incoming import Incoming, IncomingOrder, IncomingWebhook
from perdure.examples.order_processor import notice


@attrs.frozen(kw_only=True)
class Proof:
    """The comparison of deliveries and journals. Events are named by their ids.

    Attributes:
        sent: the total number of deliveries.
        repeats: deliveries of an event that was sent before: by its source, or again after the crash.
        accepted: different events that were acknowledged.
        processed: acknowledged events with an effect in a journal.
        rejected: different events that were refused.
        unanswered: events without an answer.
        redelivered: runs that called a service again, under the same run id.
        twice: events with more than one effect, or with an effect although they were refused.
        lost: acknowledged events without an effect.
        work: mails of the pool and the workflows that were sent, once each.
    """

    sent: int
    repeats: int
    accepted: int
    processed: int
    rejected: int
    unanswered: tuple[str, ...]
    redelivered: int
    twice: tuple[str, ...]
    lost: tuple[str, ...]
    work: int = 0

    @property
    def holds(self) -> bool:
        """Return whether every event had its effect once, or was refused and had none."""
        return not (self.lost or self.twice or self.unanswered)


def prove(deliveries: Deliveries, evidence: Evidence, mails: tuple[str, ...] = ()) -> Proof:
    """Compare the acknowledged events with the journals.

    Args:
        deliveries: the sent events.
        evidence: the journals.
        mails: the texts of further mails, of which each must have been sent once.
    """
    accepted = [sending.incoming for sending in deliveries if isinstance(sending.verdict, Accepted)]
    refused = [sending.incoming for sending in deliveries if isinstance(sending.verdict, Refusal)]
    seen = evidence.webhooks + evidence.mails
    lost = tuple(_take_out(accepted, seen))
    missing, doubled = [text for text in mails if not seen[text]], [text for text in mails if seen[text] > 1]
    return Proof(
        sent=deliveries.sent,
        repeats=deliveries.sent - len(tuple(deliveries)),
        accepted=len(accepted),
        processed=len(accepted) - len(lost),
        rejected=len(refused),
        unanswered=_ids(deliveries.unanswered()),
        redelivered=evidence.repeated,
        twice=(*sorted({one.id for one in (*accepted, *refused) if seen[_effect(one)] > 0}), *doubled),
        lost=(*lost, *missing),
        work=len(mails) - len(missing) - len(doubled),
    )


def _take_out(accepted: Iterable[Incoming], seen: Counter[str]) -> Iterable[str]:
    """Remove one effect for each event, and yield the events that have none."""
    for incoming in accepted:
        effect = _effect(incoming)
        if seen[effect] == 0:
            yield incoming.id
        else:
            seen[effect] -= 1


def _effect(incoming: Incoming) -> str:
    """Return the journal entry of an event's effect: its id at the sink, or the mailer's notice to the customer."""
    match incoming:
        case IncomingWebhook():
            return incoming.id
        case IncomingOrder():
            return notice(incoming.order, incoming.event)
        case _:
            assert_never(incoming)


def _ids(deliveries: Iterable[Delivery]) -> tuple[str, ...]:
    return tuple(sending.incoming.id for sending in deliveries)
