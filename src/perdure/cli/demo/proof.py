"""The proof: compares the acknowledged events with the services' journals, not with the engine's counters.

The parent records the events that it sends and their answers. The journals are independent of the engine and its store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias, assert_never

import attrs

from perdure.cli.demo.protocol import Accepted, Answer, Refusal
from perdure.cli.demo.services import AlreadyApplied, Called, Entry, JournalReader, ServiceRefused, Taken, journal_path
from perdure.examples.incoming import Incoming, IncomingOrder, IncomingWebhook
from perdure.examples.order_processor import notice

Verdict: TypeAlias = Accepted | Refusal


@attrs.define
class Delivery:
    """One event, with its deliveries and answers.

    Attributes:
        sent: how often it was delivered.
        under_way: deliveries that have not been answered.
        verdict: the answer. An acceptance is kept, whatever a repeat returns. None: no answer yet.
    """

    incoming: Incoming
    sent: int = 0
    under_way: int = 0
    verdict: Verdict | None = None

    def take(self, answer: Answer | None) -> None:
        """Record the answer to a delivery. None when the worker died first."""
        self.under_way -= 1
        # A refusal replaces no acceptance: the event has had its effect.
        if isinstance(answer, Accepted) or (isinstance(answer, Refusal) and self.verdict is None):
            self.verdict = answer


@attrs.define
class Deliveries:
    """Every event in a demo, by its id, and the order in which the source sends them, repeats included."""

    order: tuple[Incoming, ...]
    _by_id: dict[str, Delivery] = attrs.Factory(dict[str, Delivery])

    def __iter__(self) -> Iterator[Delivery]:
        """Yield each different event once, ordered by when it was first sent."""
        return iter(self._by_id.values())

    def of(self, incoming: Incoming) -> Delivery:
        """Return an event's record."""
        return self._by_id.setdefault(incoming.id, Delivery(incoming))

    def unanswered(self) -> tuple[Delivery, ...]:
        """Return the events that were sent and have no answer."""
        return tuple(sending for sending in self if sending.verdict is None)

    @property
    def sent(self) -> int:
        """How many deliveries there were."""
        return sum(sending.sent for sending in self)

    @property
    def accepted(self) -> int:
        """How many different events were accepted."""
        return sum(isinstance(sending.verdict, Accepted) for sending in self)

    @property
    def refused(self) -> int:
        """How many different events were refused."""
        return sum(isinstance(sending.verdict, Refusal) for sending in self)


CallState: TypeAlias = Literal["open", "taken", "refused"]


@attrs.define
class Account:
    """The calls that one service received.

    Attributes:
        taken: the items in each call that it executed, by call id.
        refused: how many calls it refused.
        repeated: ids of calls that were repeated although they were not refused: redelivered runs.
    """

    reader: JournalReader
    taken: dict[str, tuple[str, ...]] = attrs.Factory(dict[str, "tuple[str, ...]"])
    refused: int = 0
    repeated: set[str] = attrs.Factory(set[str])
    _states: dict[str, CallState] = attrs.Factory(dict[str, CallState])

    def read(self) -> None:
        """Read the entries since the last read."""
        for entry in self.reader.new_entries():
            self._take(entry)

    def _take(self, entry: Entry) -> None:
        match entry:
            case Called(call):
                # After a refusal, it is a usual retry. Otherwise a run was delivered again that had called before.
                if self._states.get(call, "refused") != "refused":
                    self.repeated.add(call)
                self._states[call] = "open"
            case Taken(call, items):
                self._states[call] = "taken"
                self.taken[call] = items
            case AlreadyApplied(call):
                self._states[call] = "taken"
            case ServiceRefused(call):
                self._states[call] = "refused"
                self.refused += 1
            case _:
                assert_never(entry)

    @property
    def under_way(self) -> int:
        """How many calls have no answer yet."""
        return sum(state == "open" for state in self._states.values())


@attrs.frozen(kw_only=True)
class Evidence:
    """The three services' journals."""

    sink: Account
    mail: Account
    auth: Account

    def read(self) -> None:
        """Read the entries since the last read."""
        for account in (self.sink, self.mail, self.auth):
            account.read()

    @property
    def under_way(self) -> int:
        """How many calls have no answer yet, over all services."""
        return self.sink.under_way + self.mail.under_way + self.auth.under_way

    @property
    def webhooks(self) -> Counter[str]:
        """Count the accepted batches with each webhook, by event id."""
        return Counter(event_id for batch in self.sink.taken.values() for event_id in batch)

    @property
    def mails(self) -> Counter[str]:
        """Count the mails with each text."""
        return Counter(text for _, text in self.mail.taken.values())

    @property
    def repeated(self) -> int:
        """How many runs called a service again and were recognised by their run id."""
        return len(self.sink.repeated) + len(self.mail.repeated)


def evidence_beside(store: str) -> Evidence:
    """Open the journals next to a store."""
    return Evidence(
        sink=Account(JournalReader(journal_path(store, "sink"))),
        mail=Account(JournalReader(journal_path(store, "mail"))),
        auth=Account(JournalReader(journal_path(store, "auth"))),
    )


@attrs.frozen(kw_only=True)
class Proof:
    """How deliveries compare with journals. Events are named by their ids.

    Attributes:
        repeats: deliveries that repeat an event: by its source, or again after the crash.
        accepted: different events that were acknowledged.
        processed: acknowledged events with an effect in a journal.
        rejected: different events that were refused.
        unanswered: events without an answer.
        redelivered: runs that called a service again, under the same run id.
        twice: events with more than one effect, or with an effect although they were refused.
        lost: acknowledged events without an effect.
        work: mails that the pool and the workflows sent, once each.
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
        mails: the texts of further mails. Each must have been sent once.
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
        # Each accepted event has taken one of its effects out: the rest are second ones, or those of refused events.
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
    """Return the journal entry for an event's effect: its id at the sink, or the mailer's notice to the customer."""
    match incoming:
        case IncomingWebhook():
            return incoming.id
        case IncomingOrder():
            return notice(incoming.order, incoming.event)
        case _:
            assert_never(incoming)


def _ids(deliveries: Iterable[Delivery]) -> tuple[str, ...]:
    return tuple(sending.incoming.id for sending in deliveries)


Tone: TypeAlias = Literal["plain", "good", "bad"]

SHOWN_IDS = 3


@attrs.frozen
class ProofLine:
    """One number in the proof.

    Attributes:
        tone: whether the number is as it should be.
    """

    label: str
    number: int
    meaning: str
    tone: Tone = "plain"


def proof_lines(proof: Proof) -> tuple[ProofLine, ...]:
    """Return each number in the proof, with its explanation."""
    return (
        ProofLine("sent", proof.sent, "deliveries, including those after the crash"),
        ProofLine("duplicates suppressed", proof.repeats, "sent again under the same id, without effect"),
        ProofLine("rejected", proof.rejected, "refused by the order's state machine"),
        ProofLine("accepted", proof.accepted, "different events that were acknowledged"),
        ProofLine("processed", proof.processed, "of them, found in the journals of sink and mailer", _met(proof)),
        ProofLine("items and steps", proof.work, "mails of the worker pool and the workflows, each sent once"),
        ProofLine("delivered again", proof.redelivered, "runs interrupted by the kill, with the same run id"),
        _bad_if_any("done twice", proof.twice, "events with more than one effect"),
        _bad_if_any("unanswered", proof.unanswered, "events without an answer"),
        _bad_if_any("lost", proof.lost, "acknowledged events without an effect"),
    )


def verdict(proof: Proof) -> str:
    """Return in one sentence whether the proof holds."""
    if proof.holds:
        return "The proof holds: each acknowledged event was processed once, and none was lost."
    return "The proof does NOT hold: see the numbers that should be 0."


def _met(proof: Proof) -> Tone:
    return "good" if proof.processed == proof.accepted else "bad"


def _bad_if_any(label: str, ids: tuple[str, ...], meaning: str) -> ProofLine:
    if not ids:
        return ProofLine(label, 0, meaning, "good")
    more = f", and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ProofLine(label, len(ids), f"{meaning}: {', '.join(ids[:SHOWN_IDS])}{more}", "bad")
