"""Cases: the event log, and the positions of sinks in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import attrs

from perdure.stores.contract import CursorOperation, MoveCursorOperation, Store
from perdure.stores.values import Cursor, Retention
from perdure.testing.conformance.assertions import failure, holds, same, value
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirements import (
    CURSOR,
    EVENT_ADDRESS,
    EVENTS,
    HISTORY,
    HISTORY_SURVIVES,
    MONOTONIC,
    MOVE_CURSOR,
    MOVE_CURSOR_ONCE,
    PRUNE,
    PRUNE_COUNTS,
)
from perdure.testing.conformance.sample_values import ERROR, address, created, started
from perdure.values import event as events
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.event import Event
from perdure.values.transition import Purge, Transition

A, B = address("a"), address("b")

_SAMPLES: dict[str, object] = {
    "run_id": "r",
    "cause": "alarm",
    "name": "silence.broken",
    "data": '{"for_ms":1}',
    "attempt": 2,
    "delivery": 3,
    "duration_ms": 4,
    "hook": "execute",
    "error": ERROR,
    "reason": "paused",
    "was": "paused",
    "recoveries": 1,
    "will_flush_at_ms": 5,
    "event_count": 6,
    "scheduled_at_ms": 7,
    "code": "0123456789abcdef",
    "target": "task:a:b",
    "action": "send",
    "sink": "metrics",
    "count": 8,
    "state": '{"name":"é"}',
    "by": "a tökén",
    "told": ("task:a:b", "task:a:c"),
    "told_by": "task:a:d",
    "message_id": 10,
    "sender": "task:a:e",
    "attempts": 11,
}


def one_of_each() -> tuple[Event, ...]:
    """Make an event of every type."""
    return tuple(_sample(kind) for kind in events.EVENT_TYPES.values())


def _sample(kind: type[Event]) -> Event:
    own = {field.name: _SAMPLES[field.name] for field in attrs.fields(kind) if field.name in _SAMPLES}
    make = cast("Callable[..., Event]", kind)  # which fields there are is looked up
    return make(event_id="01", at_ms=9, address=str(A), run_count=1, **own)


@in_store(EVENTS)
async def every_event_is_returned(store: Store) -> None:
    """An event of every type is read as it was logged, in order."""
    logged = one_of_each()
    await value(store.commit(Transition(address=A, events=logged)))
    found = await value(store.events(0, 100))
    same(tuple(one.event for one in found), logged, "the log returns events as they were committed, in order")
    numbers = [one.sequence for one in found]
    holds(numbers == sorted(set(numbers)) and numbers[0] > 0, f"sequence numbers are positive and grow: {numbers}")


@in_store(EVENTS)
async def the_log_pages_by_sequence(store: Store) -> None:
    """``events`` continues after a number, up to a limit."""
    await _logged(store, A, 1, 2, 3)
    first = await value(store.events(0, 2))
    rest = await value(store.events(first[-1].sequence, 2))
    same([one.event.at_ms for one in (*first, *rest)], [1, 2, 3], "events pages by sequence number")
    same(await value(store.events(rest[-1].sequence, 2)), (), "after the last event there is nothing")


@in_store(HISTORY, HISTORY_SURVIVES, EVENT_ADDRESS)
async def history_returns_the_newest_first(store: Store) -> None:
    """``history`` belongs to the address in the event, is newest first, pages backwards and survives the purge."""
    fence = await created(store, A)
    await _logged(store, B, 1, 2, 3)
    # What is logged under an address decides, not whose transition it came with.
    await value(store.commit(Transition(address=A, expected=fence, write=Purge(), events=(started(B, at_ms=4),))))
    newest = await value(store.history(B, None, 3))
    same([one.event.at_ms for one in newest], [4, 3, 2], "history returns the newest events first")
    older = await value(store.history(B, newest[-1].sequence, 3))
    same([one.event.at_ms for one in older], [1], "history continues before a sequence number")
    same(await value(store.history(A, None, 3)), (), "history returns the events of its address only")


@in_store(PRUNE, PRUNE_COUNTS, HISTORY_SURVIVES)
async def pruning_removes_the_beginning_of_the_log(store: Store) -> None:
    """Old events go, up to the first that stays; so does what is beyond the newest ``max_events``."""
    await _logged(store, A, 1, 2, 9, 3, 4, 5)
    by_age = Retention(now_ms=0, events_since_ms=9, max_events=100)
    same(await value(store.prune(by_age)), 2, "old events go, up to the first that stays")
    same(await _instants(store), [9, 3, 4, 5], "the log loses its beginning and nothing else")
    by_size = Retention(now_ms=0, events_since_ms=0, max_events=1, limit=2)
    counts = [await value(store.prune(by_size)) for _ in range(3)]
    same(counts, [2, 1, 0], "prune removes what is beyond max_events, up to its limit, and says how many")
    same(await _instants(store), [5], "the newest events stay")
    same([one.event.at_ms for one in await value(store.history(A, None, 9))], [5], "history loses what was pruned")


@in_store(MONOTONIC, EVENTS)
async def sequence_numbers_never_come_back(store: Store) -> None:
    """An event after a prune has a greater number than all before."""
    await _logged(store, A, 1)
    (before,) = await value(store.events(0, 9))
    await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
    await _logged(store, A, 2)
    (after,) = await value(store.events(0, 9))
    holds(after.sequence > before.sequence, f"sequence numbers grow: {after.sequence} came after {before.sequence}")


async def _logged(store: Store, at: Address, *instants_ms: int) -> None:
    for at_ms in instants_ms:
        await value(store.commit(Transition(address=at, events=(started(at, at_ms=at_ms),))))


async def _instants(store: Store) -> list[int]:
    return [one.event.at_ms for one in await value(store.events(0, 100))]


EVENT_LOG_CASES: tuple[Case, ...] = (
    every_event_is_returned,
    the_log_pages_by_sequence,
    history_returns_the_newest_first,
    pruning_removes_the_beginning_of_the_log,
    sequence_numbers_never_come_back,
)


AT = address("a")


@in_store(CURSOR, MOVE_CURSOR)
async def each_sink_has_its_own_position(store: Store) -> None:
    """A position is that of the last move of its name, compared by code point, and comes with the end of the log."""
    cursor, move = _operations(store)
    same(await value(cursor("s")), Cursor(sequence=None, last=0), "before the first move there is no position")
    last = await _logged_at_a(store, 1, 2)
    same(await value(cursor("s")), Cursor(sequence=None, last=last), "cursor returns the end of the log")
    await value(move("s", 0))
    await value(move("S", last))
    for name, sequence in (("s", 0), ("S", last), ("s ", None)):
        same(await value(cursor(name)), Cursor(sequence=sequence, last=last), f"the position of {name!r}")


@in_store(CURSOR, MOVE_CURSOR)
async def the_end_of_the_log_outlives_its_events(store: Store) -> None:
    """The number of the newest event stays when retention deletes it."""
    cursor, _ = _operations(store)
    last = await _logged_at_a(store, 1, 2)
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=0)))
    same((await value(cursor("s"))).last, last, "the last number of a pruned log")


@in_store(CURSOR, PRUNE)
async def deleted_events_behind_a_position_are_counted(store: Store) -> None:
    """A sink learns how many events it will never read, until it is moved past them; a gap alone says nothing."""
    cursor, move = _operations(store)
    await _logged_at_a(store, 1)
    numbers = [one.sequence for one in await value(store.events(0, 9))]
    await value(move("s", numbers[0]))
    await _logged_at_a(store, 2, 3, 9)
    same((await value(cursor("s"))).deleted, 0, "nothing is deleted yet")
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=99)))
    same((await value(cursor("s"))).deleted, 2, "of three deleted events two are behind the position")
    same((await value(cursor("t"))).deleted, 0, "a sink without a position has lost nothing")
    (left,) = await value(store.events(0, 9))
    await value(move("s", left.sequence - 1))
    same((await value(cursor("s"))).deleted, 0, "a sink that was moved past them has lost nothing more")


@in_store(MOVE_CURSOR, MOVE_CURSOR_ONCE, EVENTS)
async def a_move_logs_its_events_once(store: Store) -> None:
    """A repeated move, and one that leads back, write neither position nor events."""
    cursor, move = _operations(store)
    last = await _logged_at_a(store, 1)
    for sequence in (last, last, last - 1):
        await value(move("s", sequence, (started(AT, at_ms=2), started(AT, at_ms=3))))
    same((await value(cursor("s"))).sequence, last, "a position does not go back")
    logged = await value(store.events(0, 9))
    same([one.event.at_ms for one in logged], [1, 2, 3], "a move logs its events once, in their order, at the end")
    holds(logged[-1].sequence == (await value(cursor("s"))).last, "the events of a move are the end of the log")
    same(len(await value(store.history(AT, None, 9))), 3, "the history has the events of a move")


@in_harness(CURSOR, MOVE_CURSOR)
async def positions_survive_reopening(new_harness: NewHarness) -> None:
    """A position that was moved, and the events that came with it, are there when the store is opened again."""
    async with opened(new_harness()) as probe:
        _operations(probe)
    harness = new_harness()
    store = await harness.open()
    cursor, move = _operations(store)
    await value(move("s", 7, (started(AT, at_ms=1),)))
    await value(store.close())
    for operation in (cursor("s"), move("s", 8)):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        cursor, _ = _operations(again)
        (logged,) = await value(again.events(0, 9))
        same(await value(cursor("s")), Cursor(sequence=7, last=logged.sequence), "a position survives the reopening")


async def _logged_at_a(store: Store, *instants_ms: int) -> int:
    for at_ms in instants_ms:
        await value(store.commit(Transition(address=AT, events=(started(AT, at_ms=at_ms),))))
    return (await value(store.events(0, 99)))[-1].sequence


def _operations(store: Store) -> tuple[CursorOperation, MoveCursorOperation]:
    if store.cursor is None or store.move_cursor is None:
        raise NotApplicable
    return store.cursor, store.move_cursor


CURSOR_CASES: tuple[Case, ...] = (
    each_sink_has_its_own_position,
    the_end_of_the_log_outlives_its_events,
    deleted_events_behind_a_position_are_counted,
    a_move_logs_its_events_once,
    positions_survive_reopening,
)
