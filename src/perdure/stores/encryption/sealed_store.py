"""A store whose records are encrypted before they reach it: a wrapper around any store's functions.

`key_warning` compares an app's keys with those in its store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.programs.future import answer_of, converted
from perdure.runtime.record import LogRecord
from perdure.stores.contract import (
    Answered,
    Cursors,
    NotCommitted,
    Sharing,
    Store,
    StoredJournals,
    StoredLanes,
    overlay,
)
from perdure.stores.encryption.keys import Encryption
from perdure.stores.encryption.records import RecordCipher
from perdure.stores.shares import Share
from perdure.stores.values import DuePosition, Found, LoadRequest, LoggedEvent, Query, QueuedLane
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreError, StoreUnavailable
from perdure.values.event import Event
from perdure.values.instance import Fence, Instance
from perdure.values.message import StoredMessage
from perdure.values.secret import key_of
from perdure.values.transition import Loaded, Transition
from perdure.values.turn_inputs import OtherEngines


@attrs.frozen
class _EncryptedSharing:
    sharing: Sharing
    records: RecordCipher

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.sharing.due(now_ms, limit, share, after), self.records.instances)

    def messages(
        self, now_ms: int, limit: int, share: Share, others: OtherEngines, old_ms: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.sharing.messages(now_ms, limit, share, others, old_ms), self.records.messages)

    def abandoned(
        self, after_incarnation: int, limit: int, share: Share, others: OtherEngines, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.sharing.abandoned(after_incarnation, limit, share, others), self.records.instances)


_NO_ANSWER = Failure(OutcomeUnknown("the store gave fewer answers than it had transitions"))


def encrypted_store(store: Store, encryption: Encryption) -> Store:
    """Return a store that encrypts what it writes and decrypts what it reads.

    It keeps every requirement of a store. A text that cannot be decrypted is `Unreadable`.

    Args:
        store: any open store. It receives ciphertexts only.
        encryption: the keys.
    """
    records = RecordCipher(encryption)
    lanes, journal, cursors, sharing = store.lanes, store.journal, store.cursors, store.sharing
    return overlay(
        store,
        _Operations(store, records),
        # Part of the fingerprint of the code: an app with further keys tries rows again that this one could not read.
        reads=encryption.reads,
        lanes=lanes and overlay(lanes, _EncryptedLanes(lanes, records)),
        journal=journal and overlay(journal, _EncryptedJournal(journal, records)),
        cursors=cursors and overlay(cursors, _EncryptedCursors(cursors, records)),
        sharing=sharing and overlay(sharing, _EncryptedSharing(sharing, records)),
    )


@attrs.frozen
class _Operations:
    """Reads and writes with encryption. `overlay` takes the operations without user data from the store."""

    store: Store
    records: RecordCipher

    def load(self, requests: Sequence[LoadRequest], answered: Answered[Loaded, StoreError], /) -> None:
        def decrypt(answers: Sequence[Result[Loaded, StoreError]]) -> None:
            pairs = zip(requests, answers, strict=True)
            answered([answer.map(partial(self.records.loaded, address=each.address)) for each, answer in pairs])

        self.store.load(requests, decrypt)

    def commit(self, transitions: Sequence[Transition], answered: Answered[Fence, NotCommitted], /) -> None:
        sealed, answers = list[Transition](), list[Any]()
        for transition in transitions:
            try:
                sealed.append(self.records.seal(transition))
                answers.append(None)
            except Exception as error:  # noqa: BLE001 - a value that cannot be encrypted; the others are committed
                answers.append(Failure(StoreUnavailable("commit", f"the transition does not encrypt: {error!r}")))

        def merge(stored: Sequence[Result[Fence, Any]]) -> None:
            # By position: refused transitions were not sent, so the store's answers are fewer than the caller's
            # transitions.
            given = iter(stored)
            answered([next(given, _NO_ANSWER) if answer is None else answer for answer in answers])

        if sealed:
            self.store.commit(sealed, merge)
        else:
            merge(())

    def due(
        self, now_ms: int, limit: int, after: DuePosition | None = None, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.store.due(now_ms, limit, after, except_jobs), self.records.instances)

    def claimed(self, after_incarnation: int, limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.store.claimed(after_incarnation, limit), self.records.instances)

    def left_to(self, codes: Mapping[Job, str], limit: int, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.store.left_to(codes, limit), self.records.instances)

    def messages_left_to(
        self, codes: Mapping[Job, str], limit: int, /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.store.messages_left_to(codes, limit), self.records.messages)

    def messages(self, now_ms: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.store.messages(now_ms, limit), self.records.messages)

    def dead_letters(self, after_id: int, limit: int, /) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.store.dead_letters(after_id, limit), self.records.messages)

    def find(self, query: Query, /) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.store.find(query), self.records.instances)

    def search(self, query: Query, max_scanned: int, /) -> FutureResult[Found, StoreError]:
        decrypted = self.records.instances
        found = self.store.search(query, max_scanned)
        return converted(found, lambda page: attrs.evolve(page, instances=decrypted(page.instances)))

    def history(
        self, address: Address, before: int | None, limit: int, /
    ) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        return converted(self.store.history(address, before, limit), self.records.logged)

    def events(self, after: int, limit: int, /) -> FutureResult[tuple[LoggedEvent, ...], StoreError]:
        return converted(self.store.events(after, limit), self.records.logged)

    def redrive(
        self, message_id: int, events: Sequence[Event] = (), /
    ) -> FutureResult[Literal["redriven", "not_found"], StoreError]:
        return self.store.redrive(message_id, self.records.sealed_events(events))


@attrs.frozen
class _EncryptedLanes:
    lanes: StoredLanes
    records: RecordCipher

    def queued(self, job: Job, lanes: Sequence[str], limit: int, /) -> FutureResult[tuple[QueuedLane, ...], StoreError]:
        decrypted = self.records.instances
        found = self.lanes.queued(job, lanes, limit)
        return converted(
            found, lambda all_: tuple(attrs.evolve(lane, instances=decrypted(lane.instances)) for lane in all_)
        )


@attrs.frozen
class _EncryptedCursors:
    cursors: Cursors
    records: RecordCipher

    def move(self, name: str, sequence: int, events: Sequence[Event] = (), /) -> FutureResult[None, StoreError]:
        return self.cursors.move(name, sequence, self.records.sealed_events(events))


@attrs.frozen
class _EncryptedJournal:
    journal: StoredJournals
    records: RecordCipher

    def read(
        self, address: Address, incarnation: int, first: int, limit: int, /
    ) -> FutureResult[tuple[str, ...], StoreError]:
        rows = self.journal.read(address, incarnation, first, limit)
        return converted(rows, lambda found: self.records.journal(found, str(address), first))


SAMPLE: Final = 50
"""How many instances are read, the first ones by address."""

PLAIN: Final = "plain"
"""Counts the instances that are not encrypted. Keys are counted as ``key:`` and their id."""


async def key_warning(store: Store, encryption: Encryption | None) -> LogRecord | None:
    """Read some instances, and return a warning if the app cannot read them, or would add plain text to them.

    Args:
        store: the store itself, which does not decrypt.
        encryption: the app's keys.

    Returns:
        The warning with the sample's counts. None if all fits, if the store is empty, or if it failed.
    """
    found: Result[tuple[Instance, ...], StoreError] = await answer_of(store.find(Query(limit=SAMPLE)))
    if not isinstance(found, Success):
        return None
    texts = [text for each in found.unwrap() if (text := each.state or each.data)]
    keys = [key_of(text) for text in texts]
    problem = _problem(frozenset(keys), encryption)
    if problem is None:
        return None
    counts = Counter(PLAIN if key is None else f"key:{key}" for key in keys)
    message, fix = problem
    return LogRecord("warning", message, {"store": store.name, "sampled": len(keys), **counts, "fix": fix})


def _problem(keys: frozenset[str | None], encryption: Encryption | None) -> tuple[str, str] | None:
    if encryption is None:
        if keys <= {None}:
            return None
        fix = (
            "pass the keys, App(services, encryption=...); this engine parks encrypted instances and writes plain text"
        )
        return "the store is encrypted and the app has no keys", fix
    missing = keys - {None, encryption.primary.id, *(key.id for key in encryption.older)}
    if missing:
        fix = "add the missing keys to the app as older keys; instances without their key are parked"
        return "the app lacks keys of the store", fix
    if None in keys and encryption.plain == "refused":
        fix = "to encrypt an existing store, pass plain='accepted'; plain instances are parked"
        return "the store has plain text, which the app refuses", fix
    return None
