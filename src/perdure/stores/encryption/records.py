"""Which texts in the stored records are encrypted, and the place that each is bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import attrs
import orjson

from perdure.stores.encryption.keys import Encryption
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.address import Address
from perdure.values.event import Event, JobLeft, JobNoted, JobParked, JobTerminated
from perdure.values.failure import FailureRecord
from perdure.values.instance import Claim, Instance, PendingRetry
from perdure.values.message import Consumed, Kept, Message, MessageFate, StoredMessage
from perdure.values.secret import Unreadable, key_of
from perdure.values.transition import JournalChange, Loaded, Put, Remembered, Transition, Write

_OUTSIDE: Final = "outside:transaction"
"""The sender's kind and name in a message that an application's transaction sends."""


@attrs.frozen
class RecordCipher:
    """Encrypts and decrypts records.

    Addresses, job names, actions, idempotency keys, statuses, times, counters and error class names stay plain,
    because stores search and order by them.

    Attributes:
        encryption: the keys.
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
        return attrs.evolve(journal, bodies=tuple(bodies))

    def _text(self, text: str, *context: str, salt: str = "") -> str:
        if type(text) is Unreadable:
            return cast("str", text.original)  # the stored text is kept as it was
        return self.encryption.seal(text, *context, salt=salt)

    def _claim(self, claim: Claim, address: str, field: str, salt: str) -> Claim:
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
            answer=remembered.answer and self.encryption.seal(remembered.answer, *context, "answer", salt=salt),
        )

    def _message(self, message: Message) -> Message:
        payload = self.encryption.seal(message.payload, *_place(message), salt=f"{message.sent_ms:x}")
        return attrs.evolve(message, payload=payload)

    def _fate(self, fate: MessageFate | None) -> MessageFate | None:
        if fate is None or isinstance(fate, Consumed | Kept) or fate.error is None:
            return fate
        error = self._record(fate.error, "message", str(fate.message_id), salt=str(fate.deliveries))
        return attrs.evolve(fate, error=error)

    def _event(self, event: Event) -> Event:
        changes: dict[str, Any] = {}  # fields of the event
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
        """Decrypt a key's answer.

        Args:
            text: the stored answer.
            address: the instance, printed.
            key: the idempotency key.
            action: the action it was used for.
        """
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
        case _:
            return ("state",) if getattr(event, "state", None) is not None else ()
