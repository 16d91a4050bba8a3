"""Prints a report as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from perdure.cli.check.finding import PROBLEMS, Topic
from perdure.cli.check.report import CheckReport, Group

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
