"""The findings of a check in groups; memory is bounded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

from perdure.cli.check.finding import PROBLEMS, Finding, Topic, pattern_of

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
