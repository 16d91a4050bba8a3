"""A sink that keeps every event that it is told."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs

from perdure.engine.sinks import EngineView, OnEvent, OpenSink
from perdure.values.live_event import AnyEvent


@attrs.frozen
class Collected:
    """Collects its events, after an optional function."""

    name: str = "collected"
    first: OnEvent = lambda _: None
    events: list[AnyEvent] = attrs.Factory(list[AnyEvent])
    life: list[str] = attrs.Factory(list[str])

    def open(self, engine: EngineView) -> AbstractAsyncContextManager[OpenSink]:
        return self._open(engine)

    @asynccontextmanager
    async def _open(self, engine: EngineView) -> AsyncGenerator[OpenSink]:
        self.life.append(f"open on epoch {engine.store.epoch}")
        yield OpenSink(on_event=self._take)
        self.life.append("closed")

    def _take(self, event: AnyEvent) -> None:
        self.first(event)
        self.events.append(event)

    def of(self, *classes: type) -> list[Any]:
        """The events of these classes, in order."""
        return [event for event in self.events if type(event) in classes]

    def types(self, *classes: type) -> list[type]:
        """The classes of these events, in order."""
        return [type(event) for event in self.of(*classes)]
