"""Cases: the positions of sinks in the event log."""

from __future__ import annotations

from perdure.stores.contract import CursorOperation, MoveCursorOperation, Store
from perdure.stores.values import Cursor, Retention
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.examples import address, started
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirement import failure, holds, same, value
from perdure.testing.conformance.requirements import CURSOR, EVENTS, MOVE_CURSOR, MOVE_CURSOR_ONCE, PRUNE
from perdure.values.errors import StoreUnavailable
from perdure.values.transition import Transition

A = address("a")


@in_store(CURSOR, MOVE_CURSOR)
async def each_sink_has_its_own_position(store: Store) -> None:
    """A position is that of the last move of its name, compared by code point, and comes with the end of the log."""
    cursor, move = _operations(store)
    same(await value(cursor("s")), Cursor(sequence=None, last=0), "before the first move there is no position")
    last = await _logged(store, 1, 2)
    same(await value(cursor("s")), Cursor(sequence=None, last=last), "cursor returns the end of the log")
    await value(move("s", 0))
    await value(move("S", last))
    for name, sequence in (("s", 0), ("S", last), ("s ", None)):
        same(await value(cursor(name)), Cursor(sequence=sequence, last=last), f"the position of {name!r}")


@in_store(CURSOR, MOVE_CURSOR)
async def the_end_of_the_log_outlives_its_events(store: Store) -> None:
    """The number of the newest event stays when retention deletes it."""
    cursor, _ = _operations(store)
    last = await _logged(store, 1, 2)
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=0)))
    same((await value(cursor("s"))).last, last, "the last number of a pruned log")


@in_store(CURSOR, PRUNE)
async def deleted_events_behind_a_position_are_counted(store: Store) -> None:
    """A sink learns how many events it will never read, until it is moved past them; a gap alone says nothing."""
    cursor, move = _operations(store)
    await _logged(store, 1)
    numbers = [one.sequence for one in await value(store.events(0, 9))]
    await value(move("s", numbers[0]))
    await _logged(store, 2, 3, 9)
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
    last = await _logged(store, 1)
    for sequence in (last, last, last - 1):
        await value(move("s", sequence, (started(A, at_ms=2), started(A, at_ms=3))))
    same((await value(cursor("s"))).sequence, last, "a position does not go back")
    logged = await value(store.events(0, 9))
    same([one.event.at_ms for one in logged], [1, 2, 3], "a move logs its events once, in their order, at the end")
    holds(logged[-1].sequence == (await value(cursor("s"))).last, "the events of a move are the end of the log")
    same(len(await value(store.history(A, None, 9))), 3, "the history has the events of a move")


@in_harness(CURSOR, MOVE_CURSOR)
async def positions_survive_reopening(new_harness: NewHarness) -> None:
    """A position that was moved, and the events that came with it, are there when the store is opened again."""
    async with opened(new_harness()) as probe:
        _operations(probe)
    harness = new_harness()
    store = await harness.open()
    cursor, move = _operations(store)
    await value(move("s", 7, (started(A, at_ms=1),)))
    await value(store.close())
    for operation in (cursor("s"), move("s", 8)):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        cursor, _ = _operations(again)
        (logged,) = await value(again.events(0, 9))
        same(await value(cursor("s")), Cursor(sequence=7, last=logged.sequence), "a position survives the reopening")


async def _logged(store: Store, *instants_ms: int) -> int:
    for at_ms in instants_ms:
        await value(store.commit(Transition(address=A, events=(started(A, at_ms=at_ms),))))
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
