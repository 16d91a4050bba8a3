"""Checks rows without the code of their jobs: columns agree, and texts are JSON."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import orjson

from perdure.cli.check import row_invariants
from perdure.cli.check.finding import Finding, Topic, finding_at
from perdure.cli.check.tables import RememberedAnswer, StoredInstance
from perdure.stores.values import LoggedEvent, UnreadEvent
from perdure.values.errors import StoreCorrupt
from perdure.values.message import StoredMessage
from perdure.values.secret import key_of


@attrs.frozen
class SoundRows:
    """Checks what holds for rows of any code."""

    def instance(self, row: StoredInstance, /) -> Iterator[Finding]:
        """Return the findings about an instance."""
        yield from row_invariants.instance(row)
        found = row.instance
        if isinstance(found, StoreCorrupt):
            return
        texts = {"state": found.state, "data": found.data}
        for name, text in texts.items():
            if text and not _is_json(text):
                yield finding_at(Topic.DAMAGED, row.address, f"its {name} is not JSON")

    def message(self, row: StoredMessage | StoreCorrupt, topic: Topic, /) -> Iterator[Finding]:
        """Return the findings about a message or a dead letter."""
        yield from row_invariants.message(row)
        if not isinstance(row, StoreCorrupt) and not _is_json(row.message.payload):
            reason, example = "its payload is not JSON", f"message {row.message_id} to {row.message.target}"
            yield Finding(topic=Topic.DAMAGED, job="messages", reason=reason, example=example)

    def answer(self, row: RememberedAnswer, /) -> Iterator[Finding]:
        """Return the findings about the answer of an idempotency key."""
        yield from row_invariants.answer(row)
        if not isinstance(row.address, StoreCorrupt) and not _is_json(row.answer):
            reason = f"the answer of key {row.key!r} is not JSON"
            yield finding_at(Topic.DAMAGED, row.address, reason)

    def event(self, row: LoggedEvent | StoreCorrupt, /) -> Iterator[Finding]:
        """Return a finding if an event cannot be decoded: most often a newer version wrote it."""
        if isinstance(row, StoreCorrupt):
            yield Finding(topic=Topic.DAMAGED, job="events", reason=row.reason, example=row.what)
            return
        if isinstance(row.event, UnreadEvent):
            job, _, _ = row.event.address.rpartition(":")
            reason = f"{row.event.type}: {row.event.reason}"
            yield Finding(topic=Topic.EVENT, job=job, reason=reason, example=f"event {row.sequence}")


def _is_json(text: str) -> bool:
    """Return whether a text is JSON, or encrypted: its contents are then not checked."""
    if key_of(text) is not None:
        return True
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
