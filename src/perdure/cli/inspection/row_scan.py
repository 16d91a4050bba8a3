"""One pass over a store, table by table, and the checks of a stored row that hold for any code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from perdure.cli import stored_rows
from perdure.cli.inspection.report import CheckReport, Finding, Topic, finding_at
from perdure.cli.stored_rows import RememberedAnswer, RowReader, StoredInstance
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import UNKNOWN_CODE
from perdure.values.message import StoredMessage


def check_instance(row: StoredInstance) -> Iterator[Finding]:
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


def check_message(row: StoredMessage | StoreCorrupt) -> Iterator[Finding]:
    """Check that a message can be decoded."""
    if isinstance(row, StoreCorrupt):
        yield Finding(topic=Topic.DAMAGED, job="messages", reason=row.reason, example=row.what)


def check_answer(row: RememberedAnswer) -> Iterator[Finding]:
    """Check that a key belongs to an address."""
    if isinstance(row.address, StoreCorrupt):
        yield Finding(topic=Topic.DAMAGED, job="keys", reason=row.address.reason, example=row.key)


ShowProgress = Callable[[CheckReport], None]
"""Called after every page."""


class RowJudge(Protocol):
    """Returns the findings about a row."""

    def instance(self, row: StoredInstance, /) -> Iterable[Finding]:
        """Check an instance."""
        ...

    def message(self, row: StoredMessage | StoreCorrupt, topic: Topic, /) -> Iterable[Finding]:
        """Check a message or a dead letter."""
        ...

    def answer(self, row: RememberedAnswer, /) -> Iterable[Finding]:
        """Check the answer of an idempotency key."""
        ...


def scan(
    reader: RowReader, judge: RowJudge, *, now_ms: int, progress: ShowProgress, into: CheckReport | None = None
) -> CheckReport:
    """Check every row that code must be able to decode.

    Each page is read at one moment. Rows that the owner writes during the scan may be seen or not.

    Args:
        reader: the store.
        judge: checks each row.
        now_ms: the present, to skip expired keys.
        progress: called after every page.
        into: the report to extend.

    Returns:
        The report.
    """
    report = into or CheckReport()
    for page in stored_rows.instances(reader):
        report.count("instances", len(page))
        for row in page:
            report.add(judge.instance(row))
        progress(report)
    for letters, topic, name in (
        (stored_rows.messages(reader), Topic.MESSAGE, "messages"),
        (stored_rows.dead_letters(reader), Topic.DEAD_LETTER, "dead letters"),
    ):
        for batch in letters:
            report.count(name, len(batch))
            for letter in batch:
                report.add(judge.message(letter, topic))
            progress(report)
    for answers in stored_rows.answers(reader, now_ms):
        report.count("keys", len(answers))
        for answer in answers:
            report.add(judge.answer(answer))
        progress(report)
    return report
