"""A probe's report. A probe is a command that reads a store, beside its engine or without one, and changes nothing.

A finding has a severity. A report is text or JSON, and decides the exit code. Its memory is bounded, because it keeps
finding groups. This module also has the pass over all rows, table by table, and the row checks that hold for any code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from typing import Any, Final, Literal, Protocol, Self, TypeAlias, TypeVar

import attrs

from perdure.cli.output import ProgressLine
from perdure.cli.process import ExitCode, UsageError
from perdure.stores import at_rest
from perdure.stores.at_rest import RememberedAnswer, StoredInstance, StoreReader
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, StoreCorrupt, StoreError
from perdure.values.instance import UNKNOWN_CODE
from perdure.values.message import StoredMessage

A = TypeVar("A")

Severity: TypeAlias = Literal["ok", "skipped", "note", "warning", "problem"]
"""How much a finding matters.

- ``problem``: something does not work, or would be lost: fix it, before a deploy or now.
- ``warning``: an operator should look at it.
- ``note``: nothing is lost.
- ``skipped``: not checked.
"""


class FindingTopic(Enum):
    """A finding's subject in stored rows, in report order. The value is its name in JSON.

    Attributes:
        severity: how much its findings matter.
        one: the heading for one finding.
        many: the heading for any other number.
    """

    severity: Severity
    one: str
    many: str

    def __new__(cls, name: str, severity: Severity, one: str, many: str) -> Self:
        """Make a topic."""
        topic = object.__new__(cls)
        topic._value_ = name
        topic.severity, topic.one, topic.many = severity, one, many
        return topic

    FILE = (
        "file",
        "problem",
        "problem of the file itself: restore a backup",
        "problems of the file itself: restore a backup",
    )
    UNREADABLE = (
        "unreadable",
        "problem",
        "instance that this code cannot decode: it would be left to other code",
        "instances that this code cannot decode: they would be left to other code",
    )
    DIVERGES = (
        "diverges",
        "problem",
        "instance whose journal this code cannot follow: it would be left to other code",
        "instances whose journals this code cannot follow: they would be left to other code",
    )
    NOT_SERVED = (
        "not_served",
        "problem",
        "instance belongs to a job that this app does not serve",
        "instances belong to jobs that this app does not serve",
    )
    WAITING = (
        "waiting",
        "problem",
        "message waits for a job that this app does not serve",
        "messages wait for jobs that this app does not serve",
    )
    MESSAGE = (
        "message",
        "problem",
        "message that its target cannot decode: it would be left to other code",
        "messages that their target cannot decode: they would be left to other code",
    )
    ANSWER = (
        "answer",
        "problem",
        "answer of an idempotency key that cannot be decoded",
        "answers of idempotency keys that cannot be decoded",
    )
    DAMAGED = ("damaged", "problem", "row that no code can decode", "rows that no code can decode")
    INDEX = (
        "index",
        "problem",
        "indexed column that disagrees with its row",
        "indexed columns that disagree with their row",
    )
    ORDER = ("order", "problem", "message out of order", "messages out of order")
    NUMBERS = ("numbers", "problem", "number that would be assigned again", "numbers that would be assigned again")
    HISTORY = ("history", "problem", "gap in the event history", "gaps in the event history")
    JOURNAL = ("journal", "problem", "journal with missing or surplus rows", "journals with missing or surplus rows")
    OLDER = (
        "older",
        "note",
        "instance of an older version, which is upgraded when it is read",
        "instances of older versions, which are upgraded when they are read",
    )
    RESHAPED = (
        "reshaped",
        "note",
        "instance whose type changed without a new version",
        "instances whose type changed without a new version",
    )
    RESUMES = ("resumes", "note", "parked instance that would resume", "parked instances that would resume")
    ALARM = ("alarm", "note", "alarm that a previous schedule set", "alarms that a previous schedule set")
    ERROR = (
        "error",
        "note",
        "stored error that would be shown by name and text only",
        "stored errors that would be shown by name and text only",
    )
    DEAD_LETTER = (
        "dead_letter",
        "note",
        "dead letter that its target cannot decode",
        "dead letters that their target cannot decode",
    )
    EVENT = (
        "event",
        "note",
        "event that this version of the library cannot decode",
        "events that this version of the library cannot decode",
    )


@attrs.frozen
class Finding:
    """One finding from a probe.

    Attributes:
        severity: how much it matters.
        topic: the subject: a word, or a topic about stored rows.
        advice: how to fix it. Empty if nothing is to be fixed, or if the topic's heading says it.
        job: the job, printed ``kind:name``, or the table. Empty if the finding belongs to neither.
        example: the instance or the message.
    """

    severity: Severity
    topic: FindingTopic | str
    detail: str
    advice: str = ""
    job: str = attrs.field(default="", kw_only=True)
    example: str = attrs.field(default="", kw_only=True)

    @property
    def line(self) -> str:
        """The finding as one line."""
        return f"{self.severity:<7}  {self.topic:<12}  {self.detail}{f': {self.advice}' if self.advice else ''}"

    @property
    def data(self) -> dict[str, Any]:
        """The finding as plain data for JSON."""
        return {"level": self.severity, "topic": self.topic, "detail": self.detail, "advice": self.advice}


def finding(topic: FindingTopic, job: str, detail: str, example: str) -> Finding:
    """Make a finding about stored rows.

    Args:
        topic: the subject.
        job: the job, printed ``kind:name``, or the table if the rows belong to no job.
        detail: the cause.
        example: the instance or the message.
    """
    return Finding(topic.severity, topic, detail, job=job, example=example)


def finding_at(topic: FindingTopic, at: Address, detail: str) -> Finding:
    """Make a finding about an instance."""
    return finding(topic, f"{at.kind}:{at.name}", detail, at.id)


# One row's own part: the value that it has, or the text after the class that was raised.
_OWN = re.compile(r", got .*$|(?<= raised )(\w+): .*$")
# A key that is unknown stays: it is the reason, and no place.
_PLACE = re.compile(r"\[(\d+|'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")\](?!: unknown key)")
# Each problem in a reason begins with its path from "$".
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
"""Groups that each have their own reason. Further findings share one group per job and topic."""

_OTHER: Final = "other reasons"


@attrs.define
class Group:
    """One job's findings that share a reason.

    Attributes:
        severity: how much they matter.
        job: the job, printed ``kind:name``, or the table.
        examples: the first few, each with its own reason.
    """

    severity: Severity
    topic: FindingTopic | str
    job: str
    reason: str
    count: int = 0
    examples: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])

    def add(self, finding: Finding) -> None:
        """Add a finding to the group."""
        self.count += 1
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append((finding.example, finding.detail))


@attrs.define
class Report:
    """A probe's findings so far.

    Attributes:
        store: the store that it reads, as messages show it.
        accepted: the topics whose findings are notes here, whatever their severity.
        seen: how many rows are checked, by table.
    """

    store: str
    accepted: frozenset[FindingTopic] = frozenset()
    seen: dict[str, int] = attrs.Factory(dict[str, int])
    groups: dict[tuple[FindingTopic | str, str, str], Group] = attrs.Factory(
        dict[tuple[FindingTopic | str, str, str], Group]
    )

    def count(self, table: str, rows: int) -> None:
        """Count further checked rows in a table."""
        self.seen[table] = self.seen.get(table, 0) + rows

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings to their groups."""
        for each in findings:
            self._group(each).add(each)

    def _group(self, finding: Finding) -> Group:
        topic, reason = finding.topic, pattern_of(finding.detail)
        if (topic, finding.job, reason) not in self.groups and len(self.groups) >= MAX_GROUPS:
            reason = _OTHER
        severity: Severity = "note" if topic in self.accepted else finding.severity
        return self.groups.setdefault((topic, finding.job, reason), Group(severity, topic, finding.job, reason))

    def of(self, topic: FindingTopic) -> list[Group]:
        """Return a topic's groups, the largest first."""
        return sorted(
            (group for group in self.groups.values() if group.topic is topic),
            key=lambda group: (-group.count, group.job, group.reason),
        )

    def number(self, severity: Severity) -> int:
        """Count the findings with a severity."""
        return sum(group.count for group in self.groups.values() if group.severity == severity)

    @property
    def exit_code(self) -> ExitCode:
        """Whether there are problems."""
        return ExitCode.FAILED if self.number("problem") else ExitCode.DONE

    def lines(self, fine: str) -> Iterator[str]:
        """Print the groups by topic, the problems first.

        Args:
            fine: the last line when there is no problem.
        """
        checked = ", ".join(counted(count, table[:-1], table) for table, count in self.seen.items())
        yield f"{self.store}: checked {checked}" if checked else f"{self.store}: nothing is stored"
        for topic in FindingTopic:
            groups = self.of(topic)
            if groups:
                mark = "PROBLEM" if groups[0].severity == "problem" else "note"
                yield ""
                yield f"{mark}: {counted(sum(group.count for group in groups), topic.one, topic.many)}"
                for group in groups:
                    yield from _lines_of(group)
        problems = self.number("problem")
        yield ""
        yield counted(problems, "problem", "problems") if problems else fine

    @property
    def data(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        groups = (group for topic in FindingTopic for group in self.of(topic))
        problems = self.number("problem")
        return {"store": self.store, "checked": self.seen, "problems": problems, "groups": list(map(_data_of, groups))}


def counted(count: int, one: str, many: str) -> str:
    """Print a number with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def _lines_of(group: Group) -> Iterator[str]:
    yield f"  {group.job}  {group.count:,}: {group.reason}"
    examples = ", ".join(example for example, _ in group.examples)
    more = ", …" if group.count > len(group.examples) else ""
    yield f"      {'example' if group.count == 1 else 'examples'}: {examples}{more}"


def _data_of(group: Group) -> dict[str, Any]:
    return {
        "topic": group.topic.value if isinstance(group.topic, FindingTopic) else group.topic,
        "matters": group.severity,
        "job": group.job,
        "reason": group.reason,
        "count": group.count,
        "examples": [{"of": example, "reason": reason} for example, reason in group.examples],
    }


@contextmanager
def probed(store: str, line: ProgressLine | None = None) -> Generator[StoreReader]:
    """Open a store for a probe, which neither locks nor changes it.

    Args:
        store: its URL.
        line: the progress line, which is cleared at the end.

    Raises:
        UsageError: the store cannot be read, at the start or while the probe reads it.
    """
    try:
        with at_rest.open_reader(store) as reader:
            yield reader
    except (DefinitionError, StoreError) as error:
        raise UsageError(str(error)) from error
    finally:
        if line is not None:
            line.clear()


EVERY_ROWS: Final = 5_000
"""Rows between two progress-line updates."""


@attrs.define
class Progress:
    """Reports how many rows are checked."""

    line: ProgressLine
    _told: int = 0

    def show(self, report: Report) -> None:
        """Report how many rows are checked, at most once every 5,000 rows."""
        rows = sum(report.seen.values())
        if rows - self._told >= EVERY_ROWS:
            self._told = rows
            problems = counted(report.number("problem"), "problem", "problems")
            self.line.show(f"checked {rows:,} rows, {problems}")


def silent(_: Report) -> None:
    """Report nothing."""


def check_instance(row: StoredInstance) -> Iterator[Finding]:
    """Check that an instance can be decoded and that its indexed columns agree with it."""
    found = row.instance
    if isinstance(found, StoreCorrupt):
        yield finding_at(FindingTopic.DAMAGED, row.address, found.reason)
        return
    expected = (found.due_ms, found.owner, found.status, found.rank_ms)
    for name, kept, should_be in zip(("due_ms", "owner", "status", "rank_ms"), row.index, expected, strict=True):
        if name == "status" and found.left is not None and UNKNOWN_CODE in found.left.codes:
            continue  # the file is not migrated yet
        if kept != should_be:
            reason = f"{name}: expected the value that the row holds, got {kept!r}"
            yield finding_at(FindingTopic.INDEX, row.address, reason)


def check_message(row: StoredMessage | StoreCorrupt) -> Iterator[Finding]:
    """Check that a message can be decoded."""
    if isinstance(row, StoreCorrupt):
        yield finding(FindingTopic.DAMAGED, "messages", row.reason, row.what)


def check_answer(row: RememberedAnswer) -> Iterator[Finding]:
    """Check that a key belongs to an address."""
    if isinstance(row.address, StoreCorrupt):
        yield finding(FindingTopic.DAMAGED, "keys", row.address.reason, row.key)


ShowProgress = Callable[[Report], None]
"""Called after every page."""


class RowJudge(Protocol):
    """Returns the findings about a row."""

    def instance(self, row: StoredInstance, /) -> Iterable[Finding]:
        """Check an instance."""
        ...

    def message(self, row: StoredMessage | StoreCorrupt, topic: FindingTopic) -> Iterable[Finding]:
        """Check a message or a dead letter."""
        ...

    def answer(self, row: RememberedAnswer, /) -> Iterable[Finding]:
        """Check an idempotency key's answer."""
        ...


def scan(
    reader: StoreReader, judge: RowJudge, report: Report, *, now_ms: int, progress: ShowProgress = silent
) -> Report:
    """Check every row that code must be able to decode.

    Each page is read at one moment. Rows that the owner writes during the scan may be seen or not.

    Args:
        reader: the store.
        judge: checks each row.
        report: the report to extend.
        now_ms: the present, to skip expired keys.
        progress: called after every page.

    Returns:
        The report.
    """
    scan_table("instances", at_rest.instances(reader), judge.instance, report, progress)
    for name, pages, topic in (
        ("messages", at_rest.messages(reader), FindingTopic.MESSAGE),
        ("dead letters", at_rest.dead_letters(reader), FindingTopic.DEAD_LETTER),
    ):
        scan_table(name, pages, partial(judge.message, topic=topic), report, progress)
    scan_table("keys", at_rest.answers(reader, now_ms), judge.answer, report, progress)
    return report


def scan_table(
    name: str,
    pages: Iterable[Sequence[A]],
    check: Callable[[A], Iterable[Finding]],
    report: Report,
    progress: ShowProgress,
) -> None:
    """Check every row in a table."""
    for page in pages:
        report.count(name, len(page))
        for row in page:
            report.add(check(row))
        progress(report)
