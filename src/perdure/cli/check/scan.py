"""One walk over a whole store, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from perdure.cli.check import tables
from perdure.cli.check.finding import Finding, Topic
from perdure.cli.check.report import CheckReport
from perdure.cli.check.tables import RememberedAnswer, StoredInstance
from perdure.stores.sqlite.reader import Reader
from perdure.values.errors import StoreCorrupt
from perdure.values.message import StoredMessage

Progress = Callable[[CheckReport], None]
"""Told after every page."""


class RowJudge(Protocol):
    """Says what there is to know of a row."""

    def instance(self, row: StoredInstance, /) -> Iterable[Finding]:
        """Judge an instance."""
        ...

    def message(self, row: StoredMessage | StoreCorrupt, topic: Topic, /) -> Iterable[Finding]:
        """Judge a message or a dead letter."""
        ...

    def answer(self, row: RememberedAnswer, /) -> Iterable[Finding]:
        """Judge the answer of an idempotency key."""
        ...


def scan(
    reader: Reader, judge: RowJudge, *, now_ms: int, progress: Progress, into: CheckReport | None = None
) -> CheckReport:
    """Look at every row that code must be able to read.

    Rows are read in pages, each of one moment. What an owner writes meanwhile may be seen or not; what it wrote before
    is seen.

    Args:
        reader: the store.
        judge: what the code makes of a row.
        now_ms: which keys are expired.
        progress: told after every page.
        into: what was found before.
    """
    report = into or CheckReport()
    for page in tables.instances(reader):
        report.count("instances", len(page))
        for row in page:
            report.add(judge.instance(row))
        progress(report)
    for letters, topic, name in (
        (tables.messages(reader), Topic.MESSAGE, "messages"),
        (tables.dead_letters(reader), Topic.DEAD_LETTER, "dead letters"),
    ):
        for batch in letters:
            report.count(name, len(batch))
            for letter in batch:
                report.add(judge.message(letter, topic))
            progress(report)
    for answers in tables.answers(reader, now_ms):
        report.count("keys", len(answers))
        for answer in answers:
            report.add(judge.answer(answer))
        progress(report)
    return report
