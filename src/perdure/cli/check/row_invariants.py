"""Checks of a stored row that hold for any code: pure, one row at a time."""

from __future__ import annotations

from collections.abc import Iterator

from perdure.cli.check.finding import Finding, Topic, finding_at
from perdure.cli.check.tables import RememberedAnswer, StoredInstance
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import UNKNOWN_CODE
from perdure.values.message import StoredMessage


def instance(row: StoredInstance) -> Iterator[Finding]:
    """Check that an instance can be decoded and that its indexed columns agree with it."""
    found = row.instance
    if isinstance(found, StoreCorrupt):
        yield finding_at(Topic.DAMAGED, row.address, found.reason)
        return
    expected = (found.due_ms, found.owner, found.status, found.rank_ms)
    for name, kept, should_be in zip(("due_ms", "owner", "status", "rank_ms"), row.index, expected, strict=True):
        if name == "status" and found.left is not None and UNKNOWN_CODE in found.left.codes:
            continue  # the file is not migrated yet
        if kept != should_be:
            reason = f"{name}: expected the value that the row holds, got {kept!r}"
            yield finding_at(Topic.INDEX, row.address, reason)


def message(row: StoredMessage | StoreCorrupt) -> Iterator[Finding]:
    """Check that a message can be decoded."""
    if isinstance(row, StoreCorrupt):
        yield Finding(topic=Topic.DAMAGED, job="messages", reason=row.reason, example=row.what)


def answer(row: RememberedAnswer) -> Iterator[Finding]:
    """Check that a key belongs to an address."""
    if isinstance(row.address, StoreCorrupt):
        yield Finding(topic=Topic.DAMAGED, job="keys", reason=row.address.reason, example=row.key)
