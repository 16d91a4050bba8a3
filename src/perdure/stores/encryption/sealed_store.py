"""A store whose records are encrypted before they reach it: a wrapper around any store's functions.

A record cipher says which texts are encrypted, and the place that each is bound to. `key_warning` compares an app's
keys with those in its store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, Literal, cast

import attrs
import orjson
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
from perdure.stores.shares import Share
from perdure.stores.values import (
    DuePosition,
    Found,
    LoadRequest,
    LoggedEvent,
    Query,
    QueuedLane,
    StoredStreams,
    UnreadEvent,
)
from perdure.values.address import Address, Job
from perdure.values.errors import OutcomeUnknown, StoreError, StoreUnavailable
from perdure.values.event import Event, JobAccepted, JobLeft, JobNoted, JobParked, JobTerminated
from perdure.values.instance import Claim, Fence, Instance, PendingRetry
from perdure.values.message import Consumed, Kept, Message, MessageFate, StoredMessage
from perdure.values.secret import Unreadable, key_of
from perdure.values.status import FailureRecord
from perdure.values.stream import StoredGroup, StreamGroup
from perdure.values.transition import JournalChange, Loaded, Put, Remembered, Transition, Write
from perdure.values.turn_inputs import OtherEngines

_OUTSIDE: Final = "outside:transaction"
"""The sender's kind and name in a message that an application's transaction sends."""


@attrs.frozen
class RecordCipher:
    """Encrypts and decrypts records.

    Addresses, job names, actions, idempotency keys, statuses, times, counters and error class names stay plain,
    because stores search and order by them.
    """

    encryption: Encryption

    # ------------------------------------------------------------ to write
    def seal(self, transition: Transition) -> Transition:
        """Encrypt a transition."""
        address = str(transition.address)
        return Transition(
            address=transition.address,
            expected=transition.expected,
            write=self._write(transition.write, address),
            remember=tuple(self._remember(remembered, address) for remembered in transition.remember),
            new_keys=transition.new_keys,
            messages=tuple(map(self._message, transition.messages)),
            inbound=self._fate(transition.inbound),
            consumed=transition.consumed,
            events=self.sealed_events(transition.events),
            journal=transition.journal and self._journal(transition.journal, transition.write, address),
            before=transition.before,
            attributes=transition.attributes,
        )

    def sealed_events(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Encrypt events."""
        return tuple(map(self._event, events))

    def _write(self, write: Write, address: str) -> Write:
        if not isinstance(write, Put):
            return write
        instance = write.instance
        # The instant is a salt: without it, equal states of one instance at two times would be equal in the file.
        salt = f"{instance.updated_ms:x}"
        claim, event_claim, retry = instance.claim, instance.event_claim, instance.pending_retry
        return Put(
            instance.changed(
                state=self._text(instance.state, address, "state", salt=salt),
                data=self._text(instance.data, address, "data", salt=salt),
                claim=claim and self._claim(claim, address, "claim", salt),
                event_claim=event_claim and self._claim(event_claim, address, "event_claim", salt),
                pending_retry=retry and self._retry(retry, address, salt),
                last_error=self._failure(instance.last_error, address, "last_error", salt=salt),
                left=instance.left
                and attrs.evolve(instance.left, error=self._record(instance.left.error, address, "left", salt=salt)),
            )
        )

    def _journal(self, journal: JournalChange, write: Write, address: str) -> JournalChange:
        instance = write.instance if isinstance(write, Put) else None
        # The place is part of the context: rows that are swapped or repeated in the file do not decrypt.
        first = 0 if instance is None else instance.journal_length - len(journal.bodies)
        salt = "" if instance is None else f"{instance.updated_ms:x}"
        bodies = (
            self._text(body, address, "journal", str(place), salt=salt)
            for place, body in enumerate(journal.bodies, first)
        )
        rewritten = (
            (place, self._text(body, address, "journal", str(place), salt=salt)) for place, body in journal.rewritten
        )
        return attrs.evolve(journal, bodies=tuple(bodies), rewritten=tuple(rewritten))

    def _text(self, text: str, *context: str, salt: str = "") -> str:
        # A text that could not be decrypted is written back unchanged: the key may come later.
        if type(text) is Unreadable:
            return cast("str", text.original)  # the stored text is kept as it was
        return self.encryption.seal(text, *context, salt=salt)

    def _claim(self, claim: Claim, address: str, field: str, salt: str) -> Claim:
        # A claim without a payload has nothing to hide, and stays as it is.
        if claim.payload is None:
            return claim
        return attrs.evolve(claim, payload=self._text(claim.payload, address, field, claim.run_id, salt=salt))

    def _retry(self, retry: PendingRetry, address: str, salt: str) -> PendingRetry:
        return attrs.evolve(retry, error=self._record(retry.error, address, "pending_retry", salt=salt))

    def _failure(self, record: FailureRecord | None, *context: str, salt: str = "") -> FailureRecord | None:
        return None if record is None else self._record(record, *context, salt=salt)

    def _record(self, record: FailureRecord, *context: str, salt: str = "") -> FailureRecord:
        message = record.message
        # Written back as it was stored: sealing the text of the problem would destroy a text that another key decrypts.
        if type(message) is Unreadable and isinstance(message.original, FailureRecord):
            return message.original
        texts = orjson.dumps((str(message), record.data, record.traceback)).decode()
        sealed = self.encryption.seal(texts, *context, salt=salt)
        return FailureRecord(form=record.form, error_type=record.error_type, message=sealed)

    def _remember(self, remembered: Remembered, address: str) -> Remembered:
        # The salt hides whether a key that is used again has the same answer.
        context, salt = (address, remembered.key, remembered.action), f"{remembered.expires_ms:x}"
        return attrs.evolve(
            remembered,
            fingerprint=self.encryption.seal(remembered.fingerprint, *context, "fingerprint", salt=salt),
            # An answer that was emptied stays empty: retention and the engine test for it.
            answer=remembered.answer and self.encryption.seal(remembered.answer, *context, "answer", salt=salt),
        )

    def _message(self, message: Message) -> Message:
        payload = self.encryption.seal(message.payload, *_place(message), salt=f"{message.sent_ms:x}")
        return attrs.evolve(message, payload=payload)

    def _fate(self, fate: MessageFate | None) -> MessageFate | None:
        # Only an error has a text of the user.
        if fate is None or isinstance(fate, Consumed | Kept) or fate.error is None:
            return fate
        error = self._record(fate.error, "message", str(fate.message_id), salt=str(fate.deliveries))
        return attrs.evolve(fate, error=error)

    def _event(self, event: Event) -> Event:
        changes: dict[str, Any] = {}  # fields of the event
        # By the event's own id: the log assigns its number later.
        for field in _texts(event):
            changes[field] = self.encryption.seal(str(getattr(event, field)), event.address, event.event_id, field)
        error: object = getattr(event, "error", None)
        if isinstance(error, FailureRecord):
            changes["error"] = self._record(_readable(error), event.address, event.event_id, "error")
        return attrs.evolve(event, **changes) if changes else event

    # ------------------------------------------------------------ to read
    def loaded(self, loaded: Loaded, address: Address) -> Loaded:
        """Decrypt an address's instance, and a key's answer."""
        instance, remembered = loaded.instance, loaded.remembered
        return Loaded(
            instance=instance and self.instance(instance),
            remembered=remembered and self._remembered(remembered, address),
            keys_held=loaded.keys_held,
        )

    def _remembered(self, remembered: Remembered, address: Address) -> Remembered:
        context = (str(address), remembered.key, remembered.action)
        return attrs.evolve(
            remembered,
            fingerprint=self.encryption.unseal(remembered.fingerprint, *context, "fingerprint"),
            answer=self.answer(remembered.answer, *context),
        )

    def answer(self, text: str, address: str, key: str, action: str) -> str:
        """Decrypt a key's answer."""
        return text and self.encryption.unseal(text, address, key, action, "answer")

    def instance(self, instance: Instance) -> Instance:
        """Decrypt an instance."""
        address, unseal = str(instance.address), self.encryption.unseal
        claim, event_claim, retry = instance.claim, instance.event_claim, instance.pending_retry
        return instance.changed(
            state=unseal(instance.state, address, "state"),
            data=unseal(instance.data, address, "data"),
            claim=claim and self._unsealed_claim(claim, address, "claim"),
            event_claim=event_claim and self._unsealed_claim(event_claim, address, "event_claim"),
            pending_retry=retry and attrs.evolve(retry, error=self._unsealed(retry.error, address, "pending_retry")),
            last_error=instance.last_error and self._unsealed(instance.last_error, address, "last_error"),
            left=instance.left
            and attrs.evolve(instance.left, error=self._unsealed(instance.left.error, address, "left")),
        )

    def instances(self, instances: tuple[Instance, ...]) -> tuple[Instance, ...]:
        """Decrypt a page of instances."""
        return tuple(map(self.instance, instances))

    def messages(self, messages: tuple[StoredMessage, ...]) -> tuple[StoredMessage, ...]:
        """Decrypt a page of messages."""
        return tuple(map(self.message, messages))

    def message(self, stored: StoredMessage) -> StoredMessage:
        """Decrypt a message and its last error."""
        message = stored.message
        payload = self.encryption.unseal(message.payload, *_place(message))
        error = stored.error
        if error is not None:
            error = self._unsealed(error, "message", str(stored.message_id))
        return attrs.evolve(stored, message=attrs.evolve(message, payload=payload), error=error)

    def journal(self, rows: tuple[str, ...], address: str, first: int) -> tuple[str, ...]:
        """Decrypt journal rows.

        Args:
            rows: the rows.
            address: the instance, printed.
            first: the first row's place.
        """
        unseal = self.encryption.unseal
        return tuple(unseal(row, address, "journal", str(place)) for place, row in enumerate(rows, first))

    def sealed_group(self, group: StreamGroup) -> StreamGroup:
        """Encrypt a group of a stream."""
        # Its offset is not known yet: the group's number within its delivery makes equal chunks differ.
        salt = f"{group.owner:x}.{group.attempt}.{group.deliveries}.{group.number}"
        sealed = self.encryption.seal(group.body, str(group.address), "stream", group.stream, salt=salt)
        return attrs.evolve(group, body=sealed)

    def groups(self, groups: tuple[StoredGroup, ...], address: str, stream: str) -> tuple[StoredGroup, ...]:
        """Decrypt groups of a stream."""
        unseal = self.encryption.unseal
        return tuple(attrs.evolve(each, body=unseal(each.body, address, "stream", stream)) for each in groups)

    def logged(self, events: tuple[LoggedEvent, ...]) -> tuple[LoggedEvent, ...]:
        """Decrypt a page of events."""
        return tuple(
            each if isinstance(each.event, UnreadEvent) else attrs.evolve(each, event=self._logged(each.event))
            for each in events
        )

    def _logged(self, event: Event) -> Event:
        changes: dict[str, Any] = {  # fields of the event
            field: self.encryption.unseal(getattr(event, field), event.address, event.event_id, field)
            for field in _texts(event)
        }
        error: object = getattr(event, "error", None)
        if isinstance(error, FailureRecord):
            changes["error"] = self._unsealed(error, event.address, event.event_id, "error")
        return attrs.evolve(event, **changes) if changes else event

    def _unsealed_claim(self, claim: Claim, address: str, field: str) -> Claim:
        if claim.payload is None:
            return claim
        return attrs.evolve(claim, payload=self.encryption.unseal(claim.payload, address, field, claim.run_id))

    def _unsealed(self, record: FailureRecord, *context: str) -> FailureRecord:
        if key_of(record.message) is None and self.encryption.plain == "accepted":
            return record
        # No empty message is sealed: `unseal` would accept an empty text, which hides a deletion in the file.
        texts = self.encryption.unseal(record.message or " ", *context)
        if isinstance(texts, Unreadable):
            texts.original = record
            return FailureRecord(form=record.form, error_type=record.error_type, message=texts)
        message, data, traceback = orjson.loads(texts)
        return FailureRecord(
            form=record.form, error_type=record.error_type, message=message, data=data, traceback=traceback
        )


def sealed_outside(encryption: Encryption, target: Address, action: str, payload: str, *, salt: str) -> str:
    """Encrypt the payload that an application's transaction sends, before the message has a number.

    Args:
        encryption: the keys.
        target: the instance.
        action: the command's action.
        payload: the command's payload.
        salt: makes equal payloads differ.
    """
    return encryption.seal(payload, _OUTSIDE, str(target), action, salt=salt)


def _place(message: Message) -> tuple[str, str, str]:
    sender = message.sender
    # A message of an application's transaction has its number in the sender: it was sealed before it had one.
    from_ = _OUTSIDE if f"{sender.kind}:{sender.name}" == _OUTSIDE else str(sender)
    return from_, str(message.target), message.action


def _readable(record: FailureRecord) -> FailureRecord:
    """Return a record to copy into an event. There an unreadable record's stored original would not decrypt."""
    return attrs.evolve(record, message=str(record.message)) if type(record.message) is Unreadable else record


def _texts(event: Event) -> tuple[str, ...]:
    """Return an event's fields whose text may contain user data."""
    match event:
        case JobParked() | JobLeft():
            return ("detail",)
        case JobTerminated():
            return ("reason",)
        case JobNoted():
            return ("data",)
        case JobAccepted():
            return ("payload",) if event.payload is not None else ()
        # Any other event may carry the state that its turn left.
        case _:
            return ("state",) if getattr(event, "state", None) is not None else ()


@attrs.frozen
class _EncryptedSharing:
    sharing: Sharing
    records: RecordCipher

    def due(
        self, now_ms: int, limit: int, share: Share, after: DuePosition | None = None, /
    ) -> FutureResult[tuple[Instance, ...], StoreError]:
        return converted(self.sharing.due(now_ms, limit, share, after), self.records.instances)

    def messages(
        self,
        now_ms: int,
        limit: int,
        share: Share,
        others: OtherEngines,
        old_ms: int,
        except_jobs: tuple[Job, ...] = (),
        /,
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        found = self.sharing.messages(now_ms, limit, share, others, old_ms, except_jobs)
        return converted(found, self.records.messages)

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
    streams, replica = store.streams, store.replica
    return overlay(
        store,
        _Operations(store, records),
        # Part of the fingerprint of the code: an app with further keys tries rows again that this one could not read.
        reads=encryption.reads,
        lanes=lanes and overlay(lanes, _EncryptedLanes(lanes, records)),
        journal=journal and overlay(journal, _EncryptedJournal(journal, records)),
        streams=streams and overlay(streams, _EncryptedStreams(streams, records)),
        cursors=cursors and overlay(cursors, _EncryptedCursors(cursors, records)),
        sharing=sharing and overlay(sharing, _EncryptedSharing(sharing, records)),
        replica=replica and encrypted_store(replica, encryption),
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

    def messages(
        self, now_ms: int, limit: int, except_jobs: tuple[Job, ...] = (), /
    ) -> FutureResult[tuple[StoredMessage, ...], StoreError]:
        return converted(self.store.messages(now_ms, limit, except_jobs), self.records.messages)

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


@attrs.frozen
class _EncryptedStreams:
    streams: StoredStreams
    records: RecordCipher

    def append(
        self, groups: Sequence[StreamGroup], /
    ) -> FutureResult[tuple[int | None, ...], StoreError | OutcomeUnknown]:
        return self.streams.append(tuple(map(self.records.sealed_group, groups)))

    def read(
        self, address: Address, incarnation: int, stream: str, after: int, limit: int, max_bytes: int, /
    ) -> FutureResult[tuple[StoredGroup, ...], StoreError]:
        found = self.streams.read(address, incarnation, stream, after, limit, max_bytes)
        return converted(found, lambda groups: self.records.groups(groups, str(address), stream))


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
