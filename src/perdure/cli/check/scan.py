"""One pass over a store, table by table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

from perdure.cli.check import tables
from perdure.cli.check.finding import Finding, Topic
from perdure.cli.check.report import CheckReport
from perdure.cli.check.row_reader import RowReader
from perdure.cli.check.tables import RememberedAnswer, StoredInstance
from perdure.values.errors import StoreCorrupt
from perdure.values.message import StoredMessage

Progress = Callable[[CheckReport], None]
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
    reader: RowReader, judge: RowJudge, *, now_ms: int, progress: Progress, into: CheckReport | None = None
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
