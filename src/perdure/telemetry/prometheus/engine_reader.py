"""Reads the engine: one read of the store at a time, and no wait without a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import attrs
from returns.future import FutureResult
from returns.result import Result

from perdure.engine.sinks import EngineView
from perdure.programs.future import answer_of
from perdure.runtime.record import LogRecord, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.stores.shares import parts_of
from perdure.stores.values import Health
from perdure.telemetry.prometheus.readings import Readings
from perdure.values.excerpt import excerpt
from perdure.values.listings import StoreCounts
from perdure.wire.engine_info import installed_version

T = TypeVar("T")

LIMIT_MS: Final = 2_000
"""How long a scrape waits for the store; a Prometheus server waits 10 seconds for the scrape by default."""


@attrs.define(eq=False)
class EngineReader:
    """Reads the state of an engine.

    Attributes:
        engine: the engine.
        name: the name of the sink, for logs.
    """

    engine: EngineView
    name: str
    _health: Health | None = None
    _counts: StoreCounts | None = None
    _members: Mapping[int, float] | None = None
    _reading: SpawnedTask[None] | None = None
    _version: str = attrs.Factory(installed_version)

    def readings(self) -> Readings:
        """Return the state of the engine, and of its store when it was last read. Any thread may call it."""
        return Readings(
            now_ms=self.engine.runtime.now_ms(),
            version=self._version,
            store=self.engine.store.name,
            health=self._health,
            counts=self._counts,
            epoch=self.engine.store.epoch,
            members=self._members,
            in_flight=self.engine.in_flight(),
            lags=self.engine.lags(),
        )

    async def refresh(self) -> None:
        """Read the store, or wait for the read in progress, for at most two seconds."""
        runtime = self.engine.runtime
        if self._reading is None or self._reading.done():
            self._reading = runtime.spawn(self._read(), name=f"perdure:sink {self.name}")
        reading, over = self._reading, runtime.future()

        def end(_: object = None) -> None:
            if not over.done():
                over.set_result(None)

        reading.add_done_callback(end)
        timer = runtime.call_later(LIMIT_MS, end)
        try:
            await over
        finally:
            timer.cancel()
            reading.remove_done_callback(end)
        if not reading.done():
            self._health = self._counts = self._members = None

    async def _read(self) -> None:
        store = self.engine.store
        try:
            health = await _known(store.health())
            counts = None if store.counts is None else await _known(store.counts())
            members = None if store.sharing is None else await _known(store.sharing.members())
        except Exception as error:  # noqa: BLE001 - of a store; a scrape says that it does not answer
            health = counts = members = None
            fields = {"sink": self.name, "error": excerpt(error)}
            self.engine.runtime.log(LogRecord("warning", "store not read for metrics", fields))
        self._health, self._counts = health, counts
        self._members = None if members is None else parts_of(members)

    async def close(self) -> None:
        """End a read in progress."""
        if self._reading is not None:
            self._reading.cancel()
            await ended(self._reading, self.engine.runtime)


async def _known(call: FutureResult[T, Any]) -> T | None:
    result: Result[T, Any] = await answer_of(call)
    return result.value_or(None)
