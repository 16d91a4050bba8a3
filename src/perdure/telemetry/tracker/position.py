"""The position of a tracker in the log, which the store keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal
from uuid import UUID

import attrs
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.engine.sinks import OnEvent
from perdure.programs.future import answer_of
from perdure.runtime.record import Runtime
from perdure.stores.contract import CursorOperation, EventsOperation, MoveCursorOperation
from perdure.stores.values import Cursor, LoggedEvent
from perdure.telemetry.tracker.options import Start
from perdure.telemetry.tracker.payload import Outgoing
from perdure.telemetry.tracker.retries import Retries
from perdure.values.event import EventsDropped
from perdure.values.excerpt import excerpt, fields_in_line

AT_ONCE = 20
"""The number of events that the tracker reads at once: commits wait for that read."""


@attrs.frozen
class LogPage:
    """Some events after the position.

    Attributes:
        events: the events, in order.
        end: whether they reach the end of the log.
    """

    __repr__ = fields_in_line

    events: tuple[LoggedEvent, ...]
    end: Literal["reached", "not_reached"]


@attrs.define(kw_only=True)
class Position:
    """The position, and the operations of the store, each repeated until it succeeds.

    Every method raises `GaveUp` if its operation fails while the sink is closing.

    Attributes:
        name: the name of the position.
        runtime: the only interface to time and ids.
        retries: waits after failures.
        events: reads the log.
        cursor: reads the position.
        move_cursor: moves the position.
        report: tells other sinks of the events that a move logs.
        moved_by: ``one`` tracker, or those of ``several`` engines on a shared store.
        done: the number up to which the log is exported, or not selected.
        stored: the position in the store.
    """

    name: str
    runtime: Runtime
    retries: Retries
    events: EventsOperation
    cursor: CursorOperation
    move_cursor: MoveCursorOperation
    report: OnEvent
    moved_by: Literal["one", "several"] = "one"
    done: int = 0
    stored: int = 0

    async def locate(self, start: Start) -> int:
        """Read the position, or store the first one; return the end of the log."""
        found = await self._repeated(lambda: self.cursor(self.name))
        if found.sequence is not None:
            self.done = self.stored = found.sequence
        else:
            oldest = () if start == "now" else await self._repeated(lambda: self.events(0, 1))
            await self.move(oldest[0].sequence - 1 if oldest else found.last)
        return int(found.last)

    async def follow(self) -> None:
        """Continue where the tracker of another engine has moved the position to."""
        if self.moved_by == "several":
            found: Cursor = await self._repeated(lambda: self.cursor(self.name))
            if found.sequence is not None and found.sequence > self.done:
                self.done = self.stored = found.sequence

    async def read(self, limit: int) -> LogPage:
        """Read the events after the position, some at a time: commits run in between.

        The page ends before a gap: retention may have deleted the events between two reads, and the next page reports
        that.
        """
        found: tuple[LoggedEvent, ...] = ()
        while len(found) < limit:
            wanted, after = min(AT_ONCE, limit - len(found)), found[-1].sequence if found else self.done
            part: tuple[LoggedEvent, ...] = await self._repeated(partial(self.events, after, wanted))
            if found and part and await self._lost(after, part[0].sequence):
                break
            found += part
            if len(part) < wanted:
                return LogPage(found, "reached")
        return LogPage(found, "not_reached")

    async def move(self, done: int, *dropped: EventsDropped) -> None:
        """Move the position in the store, and log what was dropped on the way."""
        await self._repeated(lambda: self.move_cursor(self.name, done, dropped))
        self.done = self.stored = done
        for event in dropped:
            self.report(event)

    async def _lost(self, done: int, first: int) -> int:
        """Return how many events between two numbers retention deleted. Not every gap is a loss."""
        if first <= done + 1:
            return 0
        found: Cursor = await self._repeated(lambda: self.cursor(self.name))
        return min(first - done - 1, found.deleted)

    async def move_over_deleted(self, first: int) -> None:
        """Move to the oldest event of the log, and report the events before it that retention deleted.

        Args:
            first: the number of the first event that was read.
        """
        count = await self._lost(self.done, first)
        if not count:
            return
        fix = "keep the log for longer: Limits(history_retention=..., history_events=...)"
        self.retries.log("error", "retention deleted events before the tracker exported them", count=count, fix=fix)
        detail = f"sequence {self.done + 1} to {first - 1}"
        dropped = self._dropped(f"sink:{self.name}:retention", count, "retention", detail)
        await self.move(first - 1, dropped)

    async def move_past_refused(self, done: int, skipped: tuple[tuple[Outgoing, str], ...]) -> None:
        """Move the position over events that the endpoint refuses, and report each, except reports of this kind."""
        reports: list[EventsDropped] = []
        for event, reason in skipped:
            self.retries.log(
                "error",
                "tracker skipped an event that the endpoint refuses",
                event_id=event.event_id,
                type=event.type,
                address=event.address,
                reason=reason,
            )
            if event.type != EventsDropped.type:  # an endpoint that knows no such event would get ever more of them
                detail = f"{event.type} {event.event_id}: {reason}"
                reports.append(self._dropped(event.address, 1, "refused", detail))
        await self.move(done, *reports)

    def _dropped(self, address: str, count: int, reason: Literal["retention", "refused"], detail: str) -> EventsDropped:
        return EventsDropped(
            event_id=str(UUID(int=self.runtime.new_id())),
            at_ms=self.runtime.now_ms(),
            address=address,
            sink=self.name,
            count=count,
            reason=reason,
            detail=detail,
        )

    async def _repeated(self, operation: Callable[[], FutureResult[Any, Any]]) -> Any:  # the value of the operation
        failures = 0
        while True:
            found: Result[Any, Any] = await answer_of(operation())
            if isinstance(found, Success):
                if failures:
                    self.retries.recovered()
                return found.unwrap()
            failures += 1
            await self.retries.wait(failures, "tracker cannot use the store; it retries", excerpt(found.failure()))
