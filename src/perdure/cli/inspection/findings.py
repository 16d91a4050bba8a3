"""The findings about a store: their severity, their report, and the pass over the rows that finds them.

The report is text or JSON. The pass goes table by table, with the checks of a stored row that hold for any code. Memory
is bounded: a report keeps groups of findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, Final, Protocol

import attrs

from perdure.cli import stored_rows
from perdure.cli.output import ProgressLine
from perdure.cli.stored_rows import RememberedAnswer, RowReader, StoredInstance
from perdure.values.address import Address
from perdure.values.errors import StoreCorrupt
from perdure.values.instance import UNKNOWN_CODE
from perdure.values.message import StoredMessage


class Topic(Enum):
    """The subject of a finding. The value is its name in JSON."""

    DAMAGED = "damaged"
    INDEX = "index"
    NOT_SERVED = "not_served"
    WAITING = "waiting"
    UNREADABLE = "unreadable"
    DIVERGES = "diverges"
    MESSAGE = "message"
    ANSWER = "answer"
    OLDER = "older"
    RESHAPED = "reshaped"
    RESUMES = "resumes"
    ALARM = "alarm"
    ERROR = "error"
    DEAD_LETTER = "dead_letter"
    FILE = "file"
    ORDER = "order"
    NUMBERS = "numbers"
    HISTORY = "history"
    JOURNAL = "journal"
    EVENT = "event"


PROBLEMS = frozenset(
    (
        Topic.DAMAGED,
        Topic.INDEX,
        Topic.NOT_SERVED,
        Topic.WAITING,
        Topic.UNREADABLE,
        Topic.DIVERGES,
        Topic.MESSAGE,
        Topic.ANSWER,
        Topic.FILE,
        Topic.ORDER,
        Topic.NUMBERS,
        Topic.HISTORY,
        Topic.JOURNAL,
    ),
)
"""Topics that must be fixed, before a deploy or at once. The other topics are notes: nothing is lost."""


@attrs.frozen(kw_only=True)
class Finding:
    """One finding.

    Attributes:
        topic: the subject.
        job: the job, printed ``kind:name``, or the table if the finding belongs to no job.
        reason: the cause.
        example: the instance or the message.
    """

    topic: Topic
    job: str
    reason: str
    example: str


def finding_at(topic: Topic, at: Address, reason: str) -> Finding:
    """Make a finding about an instance."""
    return Finding(topic=topic, job=f"{at.kind}:{at.name}", reason=reason, example=at.id)


_OWN = re.compile(r", got .*$|(?<= raised )(\w+): .*$")
_PLACE = re.compile(r"\[(\d+|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\](?!: unknown key)")
_NEXT = re.compile(r"; (?=\$)")


def pattern_of(reason: str) -> str:
    """Return the part that many reasons share: without received values and without positions in lists and dicts.

    >>> pattern_of("$.lines[3].amount: expected int, got '5'; $['price']: unknown key; Line has sku, amount")
    "$.lines[].amount: expected int; $['price']: unknown key; Line has sku, amount"
    """
    return "; ".join(_PLACE.sub("[]", _OWN.sub(_class_only, problem)) for problem in _NEXT.split(reason))


def _class_only(own: re.Match[str]) -> str:
    return own[1] or ""


MAX_EXAMPLES: Final = 5
"""Examples that a group keeps."""

MAX_GROUPS: Final = 500
"""Groups with a reason of their own. Further findings share one group per job and topic."""

_OTHER: Final = "other reasons"


@attrs.define
class Group:
    """Findings of one job for one reason.

    Attributes:
        topic: the subject.
        job: the job, printed ``kind:name``.
        reason: the reason they share.
        count: their number.
        examples: the first few, each with its own reason.
    """

    topic: Topic
    job: str
    reason: str
    count: int = 0
    examples: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])

    def add(self, finding: Finding) -> None:
        """Add a finding to the group."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((finding.example, finding.reason))


@attrs.define
class CheckReport:
    """The findings so far.

    Attributes:
        seen: number of checked rows, by table.
        groups: the findings.
    """

    seen: dict[str, int] = attrs.Factory(dict[str, int])
    groups: dict[tuple[Topic, str, str], Group] = attrs.Factory(dict[tuple[Topic, str, str], Group])

    def count(self, table: str, rows: int) -> None:
        """Add to the number of checked rows of a table."""
        self.seen[table] = self.seen.get(table, 0) + rows

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings to their groups."""
        for finding in findings:
            self._group(finding).add(finding)

    def _group(self, finding: Finding) -> Group:
        reason = pattern_of(finding.reason)
        if (finding.topic, finding.job, reason) not in self.groups and len(self.groups) >= MAX_GROUPS:
            reason = _OTHER
        key = (finding.topic, finding.job, reason)
        return self.groups.setdefault(key, Group(*key))

    def of(self, topic: Topic) -> list[Group]:
        """Return the groups of a topic, the largest first."""
        return sorted(
            (group for group in self.groups.values() if group.topic is topic),
            key=lambda group: (-group.count, group.job, group.reason),
        )

    def problems(self, accepted: frozenset[Topic]) -> int:
        """Count the problems, except those of accepted topics."""
        return sum(group.count for group in self.groups.values() if group.topic in PROBLEMS - accepted)


EVERY_ROWS: Final = 5_000
"""Rows between two updates of the progress line."""


@attrs.define
class Progress:
    """Reports the number of checked rows.

    Attributes:
        line: the progress line.
    """

    line: ProgressLine
    _told: int = 0

    def show(self, report: CheckReport) -> None:
        """Report the number of checked rows, at most once every 5,000 rows."""
        rows = sum(report.seen.values())
        if rows - self._told >= EVERY_ROWS:
            self._told = rows
            problems = report.problems(frozenset())
            self.line.show(f"checked {rows:,} rows, {problems:,} {'problem' if problems == 1 else 'problems'}")


def silent(_: CheckReport) -> None:
    """Report nothing."""


CAN_READ: Final = "this code can decode everything"

TITLES: Final = {
    Topic.FILE: ("problem of the file itself: restore a backup", "problems of the file itself: restore a backup"),
    Topic.UNREADABLE: (
        "instance that this code cannot decode: it would be left to other code",
        "instances that this code cannot decode: they would be left to other code",
    ),
    Topic.DIVERGES: (
        "instance whose journal this code cannot follow: it would be left to other code",
        "instances whose journals this code cannot follow: they would be left to other code",
    ),
    Topic.NOT_SERVED: (
        "instance belongs to a job that this app does not serve",
        "instances belong to jobs that this app does not serve",
    ),
    Topic.WAITING: (
        "message waits for a job that this app does not serve",
        "messages wait for jobs that this app does not serve",
    ),
    Topic.MESSAGE: (
        "message that its target cannot decode: it would become a dead letter",
        "messages that their target cannot decode: they would become dead letters",
    ),
    Topic.ANSWER: (
        "answer of an idempotency key that cannot be decoded",
        "answers of idempotency keys that cannot be decoded",
    ),
    Topic.DAMAGED: ("row that no code can decode", "rows that no code can decode"),
    Topic.INDEX: (
        "indexed column that disagrees with its row",
        "indexed columns that disagree with their row",
    ),
    Topic.ORDER: ("message out of order", "messages out of order"),
    Topic.NUMBERS: ("number that would be assigned again", "numbers that would be assigned again"),
    Topic.HISTORY: ("gap in the event history", "gaps in the event history"),
    Topic.JOURNAL: ("journal with missing or surplus rows", "journals with missing or surplus rows"),
    Topic.OLDER: (
        "instance of an older version, which is upgraded when it is read",
        "instances of older versions, which are upgraded when they are read",
    ),
    Topic.RESHAPED: (
        "instance whose type changed without a new version",
        "instances whose type changed without a new version",
    ),
    Topic.RESUMES: ("parked instance that would resume", "parked instances that would resume"),
    Topic.ALARM: ("alarm that a previous schedule set", "alarms that a previous schedule set"),
    Topic.ERROR: (
        "stored error that would be shown by name and text only",
        "stored errors that would be shown by name and text only",
    ),
    Topic.DEAD_LETTER: (
        "dead letter that its target cannot decode",
        "dead letters that their target cannot decode",
    ),
    Topic.EVENT: (
        "event that this version of the library cannot decode",
        "events that this version of the library cannot decode",
    ),
}
"""For one finding, and for any other number."""


def lines_of(report: CheckReport, store: str, accepted: frozenset[Topic], *, fine: str = CAN_READ) -> Iterator[str]:
    """Print a report, the problems first.

    Args:
        report: the findings.
        store: the store's name.
        accepted: topics that are notes here.
        fine: the last line when there is no problem.
    """
    checked = ", ".join(_counted(count, table[:-1], table) for table, count in report.seen.items())
    yield f"{store}: checked {checked}" if checked else f"{store}: nothing is stored"
    for topic, (one, many) in TITLES.items():
        groups = report.of(topic)
        if groups:
            mark = "PROBLEM" if topic in PROBLEMS - accepted else "note"
            yield ""
            yield f"{mark}: {_counted(sum(group.count for group in groups), one, many)}"
            for group in groups:
                yield from _group(group)
    problems = report.problems(accepted)
    yield ""
    yield _counted(problems, "problem", "problems") if problems else fine


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _group(group: Group) -> Iterator[str]:
    yield f"  {group.job}  {group.count:,}: {group.reason}"
    examples = ", ".join(example for example, _ in group.examples)
    more = ", …" if group.count > len(group.examples) else ""
    yield f"      {'example' if group.count == 1 else 'examples'}: {examples}{more}"


def json_of(report: CheckReport, store: str, accepted: frozenset[Topic]) -> dict[str, Any]:
    """Return the same as plain data for JSON."""
    return {
        "store": store,
        "checked": report.seen,
        "problems": report.problems(accepted),
        "groups": [_json_of(group, accepted) for topic in TITLES for group in report.of(topic)],
    }


def _json_of(group: Group, accepted: frozenset[Topic]) -> dict[str, Any]:
    return {
        "topic": group.topic.value,
        "matters": "problem" if group.topic in PROBLEMS - accepted else "note",
        "job": group.job,
        "reason": group.reason,
        "count": group.count,
        "examples": [{"of": example, "reason": reason} for example, reason in group.examples],
    }


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
