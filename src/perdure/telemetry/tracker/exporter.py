"""The loop that exports the log: reads a page, sends it, moves the position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, assert_never

import attrs

from perdure.engine.loops.waker import Waker
from perdure.engine.sinks import SinkLag
from perdure.runtime.record import Runtime, SpawnedTask
from perdure.runtime.tasks import ended
from perdure.stores.values import LoggedEvent
from perdure.telemetry.tracker.delivery import Advance, Blocked, Send, Step, delivery
from perdure.telemetry.tracker.endpoint import Endpoint
from perdure.telemetry.tracker.options import TrackerOptions
from perdure.telemetry.tracker.payload import Outgoing, outgoing
from perdure.telemetry.tracker.position import Position
from perdure.telemetry.tracker.response import EventsAccepted, EventsRefused
from perdure.telemetry.tracker.retries import GaveUp, Retries
from perdure.values.event import EventHeader
from perdure.values.excerpt import excerpt
from perdure.values.live_event import AnyEvent
from perdure.wire.engine_info import installed_version

PROBED = 100
"""The number of events that the tracker reads to find one that the endpoint accepts."""

AT_ONCE = 10
"""The number of events that the tracker encodes at once, in about 200 µs."""

UNSAVED = 1_000
"""The number of events that are not selected after which their position is stored."""


POLL_MS: Final = 1_000
"""How often a tracker on a shared store reads the log."""


@attrs.define(kw_only=True)
class Exporter:
    """Exports the log of one store to one endpoint.

    Attributes:
        options: the options.
        runtime: the only interface to time.
        retries: waits after failures.
        position: reads the log, and moves the position.
        endpoint: receives the batches.
    """

    options: TrackerOptions
    runtime: Runtime
    retries: Retries
    position: Position
    endpoint: Endpoint
    _told: int = 0  # events since the last read
    _last: int = 0  # the end of the log: as read, and one more for each event since
    _oldest_ms: int | None = None
    _probing: Literal["no", "yes"] = "no"
    _wake: Waker = attrs.field(init=False)
    _origin: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wake = Waker(self.runtime)
        engine = f"perdure/{installed_version()}"
        self._origin = {"service": self.options.service, "environment": self.options.environment, "engine": engine}

    # ------------------------------------------------------------ the sink
    def tell(self, event: AnyEvent) -> None:
        """Note that the log has grown."""
        if isinstance(event, EventHeader):
            self._told += 1
            self._last += 1
            if self._told == 1 or self._told == self.options.batch_size:  # noqa: PLR1714 - a set would cost more
                self._wake.notify()

    def lag(self) -> SinkLag:
        """Return how far the endpoint is behind the log."""
        events = max(0, self._last - self.position.done)
        return SinkLag(events=events, oldest_ms=self._oldest_ms, problem=self.retries.problem)

    async def close(self, task: SpawnedTask[Any]) -> None:
        """Flush once within the limit, and end the task of `run`."""
        self.retries.close()
        self._wake.notify()
        timer = self.runtime.call_later(self.options.shutdown_timeout_ms, lambda: _cancel(task))
        try:
            await ended(task, self.runtime)
        finally:
            timer.cancel()
            task.cancel()
        if remaining := self.lag().events:
            message = "tracker stopped before everything was exported; the next start continues"
            self.retries.log("warning", message, remaining=remaining, reason=self.retries.problem)

    # ------------------------------------------------------------ the loop
    async def run(self) -> None:
        """Export the log, until the sink closes and everything is exported or a request fails."""
        try:
            self._last = await self.position.locate(self.options.start)
            while True:
                await self._export_or_log()
                if self.retries.state == "closing":
                    return
                await self._gather()
        except GaveUp:
            return

    async def _gather(self) -> None:
        """Wait for an event, then for more, until a batch is full or the first has waited long enough.

        On a shared store it reads the log every second besides: other engines tell it of no event.
        """
        is_shared = self.position.moved_by == "several"
        await self._wake.wait_until(self.runtime.now_ms() + POLL_MS if is_shared else None)
        if is_shared and not self._told:
            return
        if self.retries.state == "open" and self._told < self.options.batch_size:
            timer = self.runtime.call_later(self.options.flush_interval_ms, self._wake.notify)
            await self._wake.wait_until(None)
            timer.cancel()

    async def _export_or_log(self) -> None:
        try:
            await self._export()
        except GaveUp:
            raise
        except Exception as error:  # noqa: BLE001 - such as a function ``include`` that raises
            self._wake.notify()
            fix = "correct the function include, or report this defect"
            await self.retries.wait_for_operator("tracker raised an exception", excerpt(error), fix)

    async def _export(self) -> None:
        """Export page by page until the end of the log; the events that are logged meanwhile wait for others."""
        position = self.position
        while True:
            self._told = 0
            await position.follow()
            limit = max(self.options.batch_size, PROBED) if self._probing == "yes" else self.options.batch_size
            page = await position.read(limit)
            events, at_end = page.events, page.end == "reached"
            if not events:
                self._last = position.done
                break
            self._oldest_ms, last = events[0].event.at_ms, events[-1].sequence
            self._last = last if at_end else max(self._last, last)
            await position.move_over_deleted(events[0].sequence)
            await self._export_page(events)
            if position.done == last and at_end and self.retries.state == "open":
                break
        self._oldest_ms = None
        if self.retries.state == "closing" and position.done > position.stored:
            await position.move(position.done)

    async def _export_page(self, page: tuple[LoggedEvent, ...]) -> None:
        last, chosen = page[-1].sequence, await self._selected(page)
        if chosen:
            await self._deliver(chosen)
        elif last - self.position.stored >= UNSAVED:
            await self.position.move(last)
        else:
            self.position.done = last

    async def _selected(self, page: tuple[LoggedEvent, ...]) -> list[Outgoing]:
        """Encode the selected events, some at a time: requests run in between."""
        select = self.options.select
        chosen = [each for each in page if select is None or select(each.event)]
        ends = [each.sequence - 1 for each in chosen[1:]] + [page[-1].sequence]
        encoded: list[Outgoing] = []
        for each, done in zip(chosen, ends, strict=True):
            encoded.append(outgoing(each, done=done, origin=self._origin))
            if len(encoded) % AT_ONCE == 0:
                await self.runtime.sleep(0)
        return encoded

    async def _deliver(self, chosen: Sequence[Outgoing]) -> None:
        options = self.options
        steps = delivery(chosen, batch_size=options.batch_size, max_bytes=options.max_batch_bytes)
        step: Step | None = next(steps)
        while step is not None:
            verdict = await self._take(step)
            try:
                step = steps.send(verdict)
            except StopIteration:
                step = None

    async def _take(self, step: Step) -> EventsAccepted | EventsRefused | None:
        match step:
            case Send(batch):
                return await self.endpoint.send(batch)
            case Advance(done, skipped):
                self._probing = "no"
                await self.position.move_past_refused(done, skipped)
            case Blocked(event, reason):
                self._probing = "yes"
                message = "the endpoint of the tracker refuses every event"
                fix = "correct the endpoint; an event is skipped only when the endpoint accepts a later one"
                await self.retries.wait_for_operator(message, reason, fix, event_id=event.event_id, type=event.type)
            case _:
                assert_never(step)
        return None


def _cancel(task: SpawnedTask[Any]) -> None:
    task.cancel()
