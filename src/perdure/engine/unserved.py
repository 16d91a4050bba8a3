"""Messages that wait because no job of the app serves their target: counted for `health`, logged once for each job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.store import Health
from perdure.values.message import StoredMessage

MAX_NAMED: Final = 5
"""Jobs that the detail of `health` names."""


@attrs.define
class UnservedMessages:
    """The messages of one read that the outbox cannot deliver.

    Attributes:
        runtime: writes the log.
        counts: messages by target job, printed ``kind:name``: of each pair of sender and target the first one.
    """

    runtime: Runtime
    counts: Mapping[str, int] = attrs.Factory(dict[str, int])
    _logged: set[str] = attrs.Factory(set[str])

    @property
    def total(self) -> int:
        """How many messages wait."""
        return sum(self.counts.values())

    def found(self, messages: list[StoredMessage]) -> None:
        """Replace the counts of the previous read, and log each job that was not logged before.

        Args:
            messages: every message of the read whose target job is not served.
        """
        counts: dict[str, int] = {}
        examples: dict[str, StoredMessage] = {}
        for stored in messages:
            job = f"{stored.message.target.kind}:{stored.message.target.name}"
            counts[job] = counts.get(job, 0) + 1
            examples.setdefault(job, stored)
        self.counts = counts
        for job in counts.keys() - self._logged:
            self._logged.add(job)
            self.runtime.log(_record(job, counts[job], examples[job]))


def _record(job: str, count: int, example: StoredMessage) -> LogRecord:
    fields = {
        "job": job,
        "messages": count,
        "message": example.message_id,
        "sender": str(example.message.sender),
        "target": str(example.message.target),
    }
    return LogRecord("warning", "messages wait for a job that is not served", fields)


def with_unserved(health: Health, unserved: UnservedMessages) -> Health:
    """Add to the health of a store that messages wait for jobs that the app does not serve."""
    total = unserved.total
    if total == 0:
        return health
    named = ", ".join(f"{job} ({count:,})" for job, count in sorted(unserved.counts.items())[:MAX_NAMED])
    more = ", …" if len(unserved.counts) > MAX_NAMED else ""
    waiting = "1 message waits" if total == 1 else f"{total:,} messages wait"
    detail = f"{waiting} for jobs that this app does not serve: {named}{more}"
    return attrs.evolve(
        health,
        state="degraded" if health.state == "ok" else health.state,
        detail="; ".join(filter(None, (health.detail, detail))),
        unserved_messages=total,
    )
