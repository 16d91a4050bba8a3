"""Maintenance: deletes expired idempotency keys, old events and old dead letters, and checks the store's health."""

from __future__ import annotations

import attrs
from returns.result import Success

from perdure.programs.container import result_inside
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.values import Retention
from perdure.values.limits import Limits

EVERY_MS = 600_000
"""Ten minutes between two rounds, in milliseconds."""


@attrs.frozen
class Maintenance:
    """The loop that applies retention and checks the store's health.

    Attributes:
        store: the store.
        runtime: the only interface to time.
        limits: the retention settings.
    """

    store: Store
    runtime: Runtime
    limits: Limits

    async def run(self) -> None:
        """Prune and check every ten minutes, until the task is cancelled."""
        while True:
            await self.runtime.sleep(EVERY_MS)
            await self.prune()
            await self.look_after_health()

    async def look_after_health(self) -> None:
        """Log a warning if the store works but is degraded."""
        health = result_inside(await self.store.health())
        if isinstance(health, Success) and health.unwrap().state != "ok":
            fields = {"store": self.store.name, **attrs.asdict(health.unwrap())}
            self.runtime.log(LogRecord("warning", "store degraded", fields))

    async def prune(self) -> None:
        """Delete everything past its retention, a page at a time."""
        now_ms = self.runtime.now_ms()
        retention = Retention(
            now_ms=now_ms,
            events_since_ms=now_ms - self.limits.history_retention_ms,
            max_events=self.limits.history_events,
            dead_letters_since_ms=max(0, now_ms - self.limits.dead_letter_retention_ms),
        )
        while True:
            pruned = result_inside(await self.store.prune(retention))
            if not isinstance(pruned, Success):
                self.runtime.log(LogRecord("warning", "retention failed", {"error": str(pruned.failure())}))
                return
            if pruned.unwrap() < retention.limit:
                return
            await self.runtime.sleep(0)
