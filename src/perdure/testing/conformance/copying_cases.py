"""Cases: copying a whole store into another one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import attrs

from perdure.stores.contract import Store
from perdure.stores.copying import COLUMNS, PAGE_ROWS, CopyPosition, CopySource, Row, Table
from perdure.stores.transfer import StoreCopy, copy_store
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import RequirementViolated, holds, same, value
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.harness import CopyableHarness, NewHarness, must_open
from perdure.testing.conformance.requirements import (
    COPY_ASSIGNED,
    COPY_BEGINS,
    COPY_CLOSES,
    COPY_CURSORS,
    COPY_EXCLUDES,
    COPY_FINISHES,
    COPY_INCOMPLETE,
    COPY_KEEPS_SOURCE,
    COPY_NUMBERS,
    COPY_PAGES,
    COPY_REFUSES,
    COPY_RELEASES,
    COPY_ROWS,
    COPY_TEXT,
    COPY_WRITES,
    COPY_WRITTEN,
)
from perdure.testing.conformance.sample_values import (
    CLAIM,
    ERROR,
    FAR_MS,
    PENDING_RETRY,
    address,
    created,
    instance,
    remembered,
    started,
    told,
)
from perdure.values.errors import CopyFailed, StoreError, StoreLocked
from perdure.values.message import Consumed, DeadLettered, Postponed
from perdure.values.transition import JournalChange, Purge, Put, Transition

STRANGE = address("\0\1 é\u2028 \U0001f600 'q' %_")
A, B, GONE = address("a"), address("b"), address("gone")
ALL = 1_000


@in_harness(COPY_ROWS, COPY_TEXT, COPY_FINISHES, COPY_CURSORS, COPY_KEEPS_SOURCE, COPY_RELEASES, needs="copies")
async def a_copy_has_everything(new_harness: NewHarness) -> None:
    """Instances, journals, messages, dead letters, keys, history, holds and positions are as in the source."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await fill(store)
            before, epoch = await _everything(store), store.epoch
        done = await _copied(source, target)
        same(done.differences, (), "the differences of a copy")
        async with _open(target) as store:
            same(await _everything(store), before, "everything in the copy")
            holds(store.epoch > epoch, "the epoch of a copy is later than those of its source")
        async with _open(source) as store:
            same(await _everything(store), before, "everything in the source, afterwards")
            same(store.epoch, epoch + 1, "the next epoch of the source")


@in_harness(COPY_ASSIGNED, COPY_NUMBERS, needs="copies")
async def a_copy_assigns_no_number_again(new_harness: NewHarness) -> None:
    """Incarnations and ids of messages continue behind those of the source, also of deleted rows."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await fill(store)
            fence = await created(store, GONE)
            await value(store.commit(Transition(address=GONE, expected=fence, write=Purge())))
            await told(store, B, GONE, "{}")
            (*_, newest) = await value(store.messages(FAR_MS, ALL))
            consumed = Transition(address=GONE, inbound=Consumed(newest.message_id))
            await value(store.commit(consumed))
        await _copied(source, target)
        async with _open(target) as store:
            again = await created(store, GONE)
            holds(again.incarnation > fence.incarnation, "the next incarnation is new")
            await told(store, B, GONE, "{}")
            (*_, next_) = await value(store.messages(FAR_MS, ALL))
            holds(next_.message_id > newest.message_id, "the next id of a message is new")
            await value(store.commit(Transition(address=A, events=(started(A, id_="later"),))))
            log = await value(store.events(0, ALL))
            same([each.sequence for each in log], sorted({each.sequence for each in log}), "the numbers of events")
            same(getattr(log[-1].event, "event_id", None), "later", "the newest event is the last one")


@in_harness(COPY_BEGINS, COPY_CLOSES, COPY_WRITES, COPY_WRITTEN, COPY_INCOMPLETE, needs="copies")
async def an_interrupted_copy_continues(new_harness: NewHarness) -> None:
    """Wherever it ends, the next one continues, and until it is complete no engine can open the target."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await fill(store)
            before = await _everything(store)
        for end in ("before", "after"):
            for pages in range(len(COLUMNS) - 1):
                await _interrupted(source, target, pages, end)
                await _must_not_open(target)
        done = await _copied(source, target)
        holds(done.resumed, "a copy that was interrupted is continued")
        same(done.differences, (), "the differences of a copy that was interrupted")
        async with _open(target) as store:
            same(await _everything(store), before, "everything in a copy that was interrupted")


@in_harness(COPY_REFUSES, needs="copies")
async def a_target_with_other_rows_is_refused(new_harness: NewHarness) -> None:
    """A store with rows, or an unfinished copy of another moment, is left as it is."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        other = cast("CopyableHarness", new_harness())
        stack.push_async_callback(other.discard)
        for harness in (source, other):
            async with _open(harness) as store:
                await created(store, A)
        await _must_refuse(source, other, CopyFailed, "a target with rows")
        async with _open(other) as store:
            holds((await value(store.load(A))).instance is not None, "the refused target keeps its row")
        await _interrupted(source, target, 0, "after")
        async with _open(source) as store:
            await created(store, B)
        await _must_refuse(source, target, CopyFailed, "an unfinished copy of an earlier moment")


@in_harness(COPY_EXCLUDES, needs="copies")
async def a_copy_excludes_engines(new_harness: NewHarness) -> None:
    """An engine keeps a copy out, and a copy an engine."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await created(store, A)
            await _must_refuse(source, target, StoreLocked, "a source that an engine has open")
        reading = await source.copy_source()
        try:
            await _must_not_open(source)
        finally:
            await reading.close()
        async with _open(source) as store:
            holds((await value(store.load(A))).instance is not None, "the source opens after the copy")


@in_harness(COPY_PAGES, needs="copies")
async def a_copy_reads_in_pages(new_harness: NewHarness) -> None:
    """A table of more rows than a page comes in full pages, from any key on."""
    count = PAGE_ROWS + 3
    async with AsyncExitStack() as stack:
        source, _ = await _two(new_harness, stack)
        async with _open(source) as store:
            events = tuple(started(A, id_=f"e{number}") for number in range(count))
            await value(store.commit(Transition(address=A, events=events)))
        reading = await source.copy_source()
        stack.push_async_callback(reading.close)
        pages = await _pages(reading, "events", ())
        same([len(page) for page in pages], [PAGE_ROWS, 3], "the sizes of pages")
        rows = [row for page in pages for row in page]
        same(rows, sorted(rows), "the order of rows")
        rest = await _pages(reading, "events", rows[1][:1])
        same([row for page in rest for row in page], rows[2:], "the rows after the second one")
        same(await _pages(reading, "events", rows[-1][:1]), [], "the pages after the last row")


# ---------------------------------------------------------------- the data
async def fill(store: Store) -> None:
    """Store rows of every table, with values of every kind."""
    claimed = attrs.evolve(instance(STRANGE, claim=CLAIM), lane="l\0ne", data='{"d":1}', journal_length=2)
    rows = JournalChange(("first", "sec\0nd \1 é"), "kept")
    await value(store.commit(Transition(address=STRANGE, write=Put(claimed), journal=rows)))
    waiting = attrs.evolve(
        instance(A, alarm_ms=FAR_MS), pending_retry=PENDING_RETRY, last_error=ERROR, alarm_trace="t", event_count=2**40
    )
    await value(store.commit(Transition(address=A, write=Put(waiting), remember=remembered("k\0", expires_ms=FAR_MS))))
    handling = attrs.evolve(instance(B), event_claim=CLAIM, suspension="paused", ended_ms=9)
    await value(store.commit(Transition(address=B, write=Put(handling), remember=remembered("k", expires_ms=FAR_MS))))
    await told(store, A, B, "1", "2")
    await told(store, B, A, "3")
    await told(store, STRANGE, STRANGE, "4")
    for own in await value(store.messages(FAR_MS, ALL)):
        if own.message.payload == "1":
            dead = DeadLettered(message_id=own.message_id, attempts=3, error=ERROR)
            await value(store.commit(Transition(address=B, inbound=dead)))
        if own.message.payload == "3":
            late = Postponed(message_id=own.message_id, attempts=1, not_before_ms=50, error=ERROR)
            await value(store.commit(Transition(address=A, inbound=late)))
    for number in range(6):
        await value(store.commit(Transition(address=A, events=(started(A, at_ms=number, id_=f"e{number}"),))))
    log = await value(store.events(0, ALL))
    if store.move_cursor is not None:
        await value(store.move_cursor("behind", log[0].sequence))
        await value(store.move_cursor("between", log[3].sequence))
        await value(store.move_cursor("at the end", log[-1].sequence))
    await value(store.prune(Retention(now_ms=0, events_since_ms=2, max_events=ALL)))
    if store.set_hold is not None:
        await value(store.set_hold(("task", "orders"), "held"))


async def _everything(store: Store) -> dict[str, Any]:
    """Read all that a store has, without the numbers of its events."""
    found = await value(store.find(Query(limit=ALL)))
    log = await value(store.events(0, ALL))
    everything: dict[str, Any] = {
        "instances": found,
        "due": await value(store.due(2 * FAR_MS, ALL)),
        "claimed": await value(store.claimed(0, ALL)),
        "messages": await value(store.messages(FAR_MS, ALL)),
        "next message": await value(store.next_message(0)),
        "dead letters": await value(store.dead_letters(0, ALL)),
        "keys": [await value(store.load(at, key, 0)) for at in (A, B) for key in ("k\0", "k")],
        "events": [each.event for each in log],
        "history": [each.event for each in await value(store.history(A, None, ALL))],
    }
    if store.journal is not None:
        everything["journals"] = [await value(store.journal(each.address, each.incarnation, 0, ALL)) for each in found]
    if store.cursor is not None:
        for name in ("behind", "between", "at the end", "unknown"):
            cursor = await value(store.cursor(name))
            after = cursor.sequence
            rest = None if after is None else [each.event for each in log if each.sequence > after]
            everything[f"cursor {name}"] = cursor.deleted, rest
    if store.holds is not None:
        everything["holds"] = await value(store.holds())
    if store.counts is not None:
        everything["counts"] = await value(store.counts())
    return everything


# ---------------------------------------------------------------- copies
def _open(harness: CopyableHarness) -> _Opened:
    return _Opened(harness)


@attrs.define
class _Opened:
    """An open store, whose data stays when it is closed."""

    harness: CopyableHarness
    store: Store | None = None

    async def __aenter__(self) -> Store:
        with must_open():
            self.store = await self.harness.open()
        return self.store

    async def __aexit__(self, *_: object) -> None:
        if self.store is not None:
            await value(self.store.close())


async def _two(new_harness: NewHarness, stack: AsyncExitStack) -> tuple[CopyableHarness, CopyableHarness]:
    two = cast("CopyableHarness", new_harness()), cast("CopyableHarness", new_harness())
    for harness in two:
        stack.push_async_callback(harness.discard)
    return two


async def _copied(source: CopyableHarness, target: CopyableHarness) -> StoreCopy:
    reading = await source.copy_source()
    try:
        writing = await target.copy_target()
        try:
            return await copy_store(reading, writing, lambda _phase, _done, _rows: None)
        finally:
            await writing.close()
    finally:
        await reading.close()


class _Interrupted(Exception):
    """The end of a copy that is cut."""


async def _interrupted(source: CopyableHarness, target: CopyableHarness, pages: int, end: str) -> None:
    """Begin a copy that ends before, or after, it has written a page."""
    reading, writing = await source.copy_source(), await target.copy_target()
    left = pages

    async def write(position: CopyPosition, rows: Sequence[Row], /) -> None:
        nonlocal left
        if left == 0 and end == "before":
            raise _Interrupted
        await writing.write(position, rows)
        if left == 0:
            raise _Interrupted
        left -= 1

    try:
        await copy_store(reading, attrs.evolve(writing, write=write, finish=_never), lambda _p, _d, _r: None)
    except _Interrupted:
        pass
    finally:
        await writing.close()
        await reading.close()


async def _never(_: object, /) -> None:
    raise _Interrupted


async def _must_refuse(source: CopyableHarness, target: CopyableHarness, kind: type[StoreError], what: str) -> None:
    try:
        await _copied(source, target)
    except kind:
        return
    raise RequirementViolated(f"{what} is refused with {kind.__name__}")


async def _must_not_open(harness: CopyableHarness) -> None:
    try:
        store = await harness.open()
    except StoreError:
        return
    await store.close()
    raise RequirementViolated("no engine can open a store that is being copied, or whose copy is unfinished")


async def _pages(source: CopySource, table: Table, after: Row) -> list[Sequence[Row]]:
    return [page async for page in source.pages(table, after)]


COPYING_CASES: tuple[Case, ...] = (
    a_copy_has_everything,
    a_copy_assigns_no_number_again,
    an_interrupted_copy_continues,
    a_target_with_other_rows_is_refused,
    a_copy_excludes_engines,
    a_copy_reads_in_pages,
)
