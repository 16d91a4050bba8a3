"""The findings of a check, and their severity."""

from __future__ import annotations

import re
from enum import Enum

import attrs

from perdure.values.address import Address


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
