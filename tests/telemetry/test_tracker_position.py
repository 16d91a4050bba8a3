"""A page of the log is read some events at a time, and ends before a gap that retention made meanwhile."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Success

from perdure.programs.future import settled
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.stores.values import Cursor, LoggedEvent
from perdure.telemetry.tracker.exporter import EVENTS_PER_READ, LogPage, Position
from perdure.values.event import JobStarted


def logged(sequence: int) -> LoggedEvent:
    return LoggedEvent(sequence=sequence, event=JobStarted(event_id=f"e-{sequence}", at_ms=0, address="task:a:1"))


class Log:
    """A log of consecutive events, the oldest of which are deleted after a number of reads."""

    def __init__(self, length: int, deleted: int, after_reads: int) -> None:
        self.events = list(range(1, length + 1))
        self.deleted = deleted
        self.after_reads = after_reads
        self.reads: list[int] = []

    def cursor(self, name: str) -> Any:
        return settled(Success(Cursor(sequence=0, last=0, deleted=self.events[0] - 1 if self.events else 0)))

    def read(self, after: int, limit: int) -> Any:
        if len(self.reads) == self.after_reads:
            self.events = self.events[self.deleted :]
        self.reads.append(limit)
        return settled(Success(tuple(logged(each) for each in self.events if each > after)[:limit]))


def page_of(log: Log, limit: int) -> LogPage:
    nothing = cast("Any", None)
    position = Position(
        name="t",
        runtime=asyncio_runtime(),
        retries=nothing,
        store=cast("Any", SimpleNamespace(events=log.read, sharing=None)),
        cursors=cast("Any", SimpleNamespace(read=log.cursor)),
        report=nothing,
        done=0,
        stored=0,
    )
    return asyncio.run(position.read(limit))


@given(st.integers(0, 90), st.integers(0, 90), st.integers(0, 4), st.integers(1, 70))
def test_a_page_is_consecutive_and_says_whether_the_log_ends(
    length: int, deleted: int, after_reads: int, limit: int
) -> None:
    log = Log(length, deleted, after_reads)
    page = page_of(log, limit)
    numbers = [each.sequence for each in page.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
    assert len(numbers) <= limit
    assert max(log.reads) <= EVENTS_PER_READ
    rest = [each for each in log.events if not numbers or each > numbers[-1]]
    assert not page.is_last or not rest
    assert page.is_last or rest or len(numbers) == limit


def test_a_page_goes_over_numbers_that_no_event_has() -> None:
    log = Log(3 * EVENTS_PER_READ, 0, 0)
    log.events = [7 * each for each in log.events]
    log.cursor = lambda name: settled(Success(Cursor(sequence=0, last=0)))  # type: ignore[method-assign]
    page = page_of(log, limit=2 * EVENTS_PER_READ)
    assert [each.sequence for each in page.events] == log.events[: 2 * EVENTS_PER_READ]


def test_events_that_retention_deletes_between_two_reads_are_left_to_the_next_page() -> None:
    page = page_of(Log(90, EVENTS_PER_READ + 5, after_reads=1), limit=70)
    assert [each.sequence for each in page.events] == list(range(1, EVENTS_PER_READ + 1))
    assert not page.is_last


@pytest.mark.parametrize(("stored", "done", "follows"), [(None, 5, 5), (3, 5, 5), (5, 5, 5), (9, 5, 9)])
def test_a_position_follows_other_engines_and_never_goes_back(stored: int | None, done: int, follows: int) -> None:
    """The events between the stored position and this one are not selected: otherwise each poll would read them."""
    nothing = cast("Any", None)
    position = Position(
        name="t",
        runtime=asyncio_runtime(),
        retries=nothing,
        store=cast("Any", SimpleNamespace(sharing="with other engines")),
        cursors=cast("Any", SimpleNamespace(read=lambda _: settled(Success(Cursor(sequence=stored, last=9))))),
        report=nothing,
        done=done,
        stored=3,
    )
    asyncio.run(position.follow())
    assert position.done == follows
