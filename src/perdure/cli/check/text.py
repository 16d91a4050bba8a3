"""A report for people, and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from perdure.cli.check.finding import PROBLEMS, Topic
from perdure.cli.check.report import CheckReport, Group

CAN_READ: Final = "this code can read everything"

TITLES: Final = {
    Topic.FILE: "of the file itself: restore a backup",
    Topic.UNREADABLE: "instances that this code cannot read: they would be parked as undecodable",
    Topic.NOT_SERVED: "of jobs that the app does not serve",
    Topic.MESSAGE: "messages that their target cannot read: they would become dead letters",
    Topic.ANSWER: "answers of idempotency keys that cannot be given again",
    Topic.DAMAGED: "rows that no code can read",
    Topic.INDEX: "rows whose index is not what they say themselves",
    Topic.ORDER: "messages whose turn does not come, or comes too early",
    Topic.NUMBERS: "numbers that would be given out a second time",
    Topic.LOG: "holes in the log of events",
    Topic.OLDER: "instances of older versions, which are upgraded when they are read",
    Topic.RESHAPED: "instances whose shape was changed without a new version",
    Topic.RESUMES: "parked instances that would resume",
    Topic.ALARM: "alarms that a schedule of before has set",
    Topic.ERROR: "stored errors that would be shown by name and text only",
    Topic.DEAD_LETTER: "dead letters that their target cannot read",
    Topic.EVENT: "events that this version of the library cannot read",
}


def lines_of(report: CheckReport, store: str, accepted: frozenset[Topic], *, fine: str = CAN_READ) -> Iterator[str]:
    """Say what was found, the problems first.

    Args:
        report: what was found.
        store: where.
        accepted: topics that are no problem.
        fine: the last line when there is no problem.
    """
    looked_at = ", ".join(f"{count:,} {table}" for table, count in report.seen.items())
    yield f"{store}: looked at {looked_at}" if looked_at else f"{store}: nothing is stored"
    for topic, title in TITLES.items():
        groups = report.of(topic)
        if groups:
            mark = "PROBLEM" if topic in PROBLEMS - accepted else "note"
            yield ""
            yield f"{mark}: {sum(group.count for group in groups):,} {title}"
            for group in groups:
                yield from _group(group)
    problems = report.problems(accepted)
    yield ""
    yield f"{problems:,} {'problem' if problems == 1 else 'problems'}" if problems else fine


def _group(group: Group) -> Iterator[str]:
    yield f"  {group.job}  {group.count:,}: {group.reason}"
    examples = ", ".join(example for example, _ in group.examples)
    more = ", …" if group.count > len(group.examples) else ""
    yield f"      such as {examples}{more}"


def json_of(report: CheckReport, store: str, accepted: frozenset[Topic]) -> dict[str, Any]:
    """Give the same as plain data."""
    return {
        "store": store,
        "looked_at": report.seen,
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
