"""Messages that wait because no job of the app serves their target: counted for `health`, logged once for each job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import attrs
from returns.result import Success

from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.values import Health
from perdure.values.address import Address
from perdure.values.message import StoredMessage

MAX_NAMED: Final = 5
"""Jobs that the detail of `health` names."""

MAX_COUNTED: Final = 1_000
"""Messages that `health` counts."""

Pair: TypeAlias = tuple[Address, Address]


@attrs.define
class UnservedMessages:
    """The messages of one read that the outbox cannot deliver.

    Attributes:
        runtime: writes the log.
        pairs: the pairs of sender and target that have such messages, by target job, printed ``kind:name``.
    """

    runtime: Runtime
    pairs: Mapping[str, list[Pair]] = attrs.Factory(dict[str, "list[Pair]"])
    _logged: set[str] = attrs.Factory(set[str])

    @property
    def total(self) -> int:
        """How many pairs of sender and target wait."""
        return sum(map(len, self.pairs.values()))

    def found(self, messages: list[StoredMessage]) -> None:
        """Replace the pairs of the previous read, and log each job that was not logged before.

        Args:
            messages: every message of the read whose target job is not served: the first one of each pair.
        """
        pairs: dict[str, list[Pair]] = {}
        examples: dict[str, StoredMessage] = {}
        for stored in messages:
            job = f"{stored.message.target.kind}:{stored.message.target.name}"
            pairs.setdefault(job, []).append((stored.message.sender, stored.message.target))
            examples.setdefault(job, stored)
        self.pairs = pairs
        for job in pairs.keys() - self._logged:
            self._logged.add(job)
            self.runtime.log(_record(job, examples[job]))

    async def counted(self, store: Store) -> Mapping[str, int]:
        """Count the messages by target job: up to `MAX_COUNTED`, and at least the first one of each pair.

        Args:
            store: counts those behind the first; if it cannot, they are left out.
        """
        pairs = self.pairs
        counts = {job: len(waiting) for job, waiting in pairs.items()}
        if store.count_messages is None or not counts or sum(counts.values()) >= MAX_COUNTED:
            return counts
        every = [(job, pair) for job, waiting in pairs.items() for pair in waiting]
        found = await answer_of(store.count_messages([pair for _, pair in every], MAX_COUNTED))
        if not isinstance(found, Success):
            return counts
        behind = dict.fromkeys(counts, 0)
        for (job, _), count in zip(every, found.unwrap(), strict=True):
            behind[job] += count
        return {job: max(count, behind[job]) for job, count in counts.items()}


def _record(job: str, example: StoredMessage) -> LogRecord:
    fields = {
        "job": job,
        "message": example.message_id,
        "sender": str(example.message.sender),
        "target": str(example.message.target),
    }
    return LogRecord("warning", "messages wait for a job that is not served", fields)


def with_unserved(health: Health, counts: Mapping[str, int]) -> Health:
    """Add to the health of a store that messages wait for jobs that the app does not serve.

    Args:
        health: of the store.
        counts: the messages by target job.
    """
    total = sum(counts.values())
    if total == 0:
        return health
    named = ", ".join(f"{job} ({count:,})" for job, count in sorted(counts.items())[:MAX_NAMED])
    more = ", …" if len(counts) > MAX_NAMED else ""
    waiting = "1 message waits" if total == 1 else f"{total:,} messages wait"
    waiting = f"at least {waiting}" if total >= MAX_COUNTED else waiting
    detail = f"{waiting} for jobs that this app does not serve: {named}{more}"
    return attrs.evolve(
        health,
        state="degraded" if health.state == "ok" else health.state,
        detail="; ".join(filter(None, (health.detail, detail))),
        unserved_messages=total,
    )
