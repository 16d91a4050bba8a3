"""Cases: opening, closing and opening again; a second opening while the first one lives; rows that cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from returns.result import Success

from perdure.stores.contract import Store
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import answer, failure, holds, same, value
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.harness import CorruptibleHarness, NewHarness, opened
from perdure.testing.conformance.requirements import (
    CAPABILITIES,
    CLOSE,
    COMPARES_FENCE,
    CORRUPT_LEFT_OUT,
    CORRUPT_ROW,
    DURABLE,
    EPOCH,
    FAILURES_ARE_VALUES,
    FENCED,
    HEALTH,
    LEFT,
    MONOTONIC,
    NAME,
    OWNERSHIP,
    READS_ITS_WRITES,
    SHARING,
)
from perdure.testing.conformance.sample_values import (
    CLAIM,
    ERROR,
    FAR_MS,
    address,
    created,
    instance,
    message,
    message_id,
    put,
    remembered,
    settled_by,
    started,
    told,
)
from perdure.values.errors import StoreCorrupt, StoreLocked, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.message import Consumed, DeadLettered
from perdure.values.transition import Purge, Put, Transition

_COMMITS_TO_COMPACT = 300  # those of a small store; a harness can lower the threshold of its own

A, B = address("a"), address("b")


@in_harness(DURABLE)
async def everything_survives_reopening(new_harness: NewHarness) -> None:
    """What was committed is there when the store is opened again, to the last field."""
    harness = new_harness()
    store = await harness.open()
    full = instance(A, alarm_ms=10, claim=CLAIM)
    await value(
        store.commit(
            Transition(
                address=A,
                write=Put(full),
                remember=remembered("k"),
                messages=(message(A, B, "1"), message(A, B, "2")),
                events=(started(A),),
            )
        )
    )
    await told(store, B, A, "dead")
    fate = DeadLettered(message_id=await message_id(store, "dead"), attempts=1, error=ERROR)
    await value(store.commit(settled_by(A, fate)))
    before = await _everything(store)
    await value(store.close())
    store = await harness.open()
    same(await _everything(store), before, "reopening changes nothing")
    await value(store.close())
    await harness.discard()


@in_harness(MONOTONIC, EPOCH)
async def sequences_survive_reopening(new_harness: NewHarness) -> None:
    """Incarnations, message ids, event drawn and the epoch grow over openings, even when all rows are gone."""
    harness = new_harness()
    drawn: list[tuple[int, int, int, int]] = []
    for idle in range(4):
        store = await harness.open()
        fence = await created(store, A)
        await value(store.commit(Transition(address=B, messages=(message(A, A, "1"),), events=(started(A),))))
        (logged,) = await value(store.events(0, 9))
        drawn.append((store.epoch, fence.incarnation, await message_id(store, "1"), logged.sequence))
        await value(store.commit(Transition(address=A, expected=fence, write=Purge())))
        await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
        await value(store.close())
        for _ in range(idle):  # openings that write nothing, after which only a number that was kept is known
            store = await harness.open()
            await value(store.close())
    for numbers in zip(*drawn, strict=True):
        holds(list(numbers) == sorted(set(numbers)), f"numbers grow from opening to opening: {numbers}")
    await harness.discard()


@in_harness(MONOTONIC)
async def sequences_survive_compaction(new_harness: NewHarness) -> None:
    """Numbers of deleted rows do not return, although a store that compacts its log has had reason to do so since."""
    harness = new_harness()
    store = await harness.open()
    at = await created(store, B)
    before = await _numbers_deleted(store)
    for _ in range(_COMMITS_TO_COMPACT):
        at = await value(store.commit(put(B, at)))
    await value(store.close())
    for _ in range(2):  # a store may compact when it is opened, and forget when it is opened again
        store = await harness.open()
        await value(store.close())
    store = await harness.open()
    after = await _numbers_deleted(store)
    await value(store.close())
    await harness.discard()
    for old, new in zip(before, after, strict=True):
        holds(new > old, f"numbers grow over compaction: {new} came after {old}")


async def _numbers_deleted(store: Store) -> tuple[int, int, int]:
    """Write an instance, a message and an event, delete them, and return the numbers that they had."""
    fence = await created(store, A)
    await value(store.commit(Transition(address=B, messages=(message(B, A, "1"),), events=(started(A),))))
    (logged,) = await value(store.events(0, 9))
    number = await message_id(store, "1")
    await value(store.commit(Transition(address=A, expected=fence, write=Purge(), inbound=Consumed(number))))
    await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
    return fence.incarnation, number, logged.sequence


@in_harness(CLOSE, HEALTH, FAILURES_ARE_VALUES)
async def a_closed_store_answers_unavailable(new_harness: NewHarness) -> None:
    """After ``close`` every operation answers ``StoreUnavailable``; closing again is allowed; health says failed."""
    harness = new_harness()
    store = await harness.open()
    await value(store.close())
    await value(store.close())
    for ask in _operations(store):
        await failure(ask(), StoreUnavailable, "a closed store answers StoreUnavailable")
    same((await value(store.health())).state, "failed", "the health of a closed store is failed")
    await harness.discard()


@in_harness(LEFT)
async def a_store_that_was_closed_says_so(new_harness: NewHarness) -> None:
    """``left`` is ``closed`` at the first opening, and after ``close``, with or without commits."""
    harness = new_harness()
    for opening in range(3):
        store = await harness.open()
        same(store.previous_exit, "closed", f"left at opening {opening + 1}, after {opening} openings that were closed")
        if opening:
            await created(store, address(str(opening)))
        await value(store.close())
    await harness.discard()


@in_harness(HEALTH)
async def a_working_store_is_healthy(new_harness: NewHarness) -> None:
    """The health check of an open store says ok."""
    async with opened(new_harness()) as store:
        same((await value(store.health())).state, "ok", "an open store is healthy")


@in_harness(CLOSE, DURABLE)
async def closing_waits_for_running_operations(new_harness: NewHarness) -> None:
    """A commit that is under way when the store is closed is answered, and the answer is true."""
    harness = new_harness()
    store = await harness.open()
    addresses = [address(str(number)) for number in range(20)]
    under_way = [asyncio.ensure_future(answer(store.commit(put(at)))) for at in addresses]
    await asyncio.sleep(0)
    await value(store.close())
    answers = await asyncio.gather(*under_way)
    async with opened(harness) as again:
        for at, found in zip(addresses, answers, strict=True):
            stored = (await value(again.load(at))).instance
            same(stored is not None, isinstance(found, Success), f"{at} was answered {found}: that is what is stored")


def _operations(store: Store) -> tuple[Callable[[], Awaitable[Any]], ...]:
    return (
        lambda: store.load(A),
        lambda: store.commit(put(A)),
        lambda: store.due(0, 1),
        lambda: store.next_alarm(0),
        lambda: store.claimed(0, 1),
        lambda: store.messages(0, 1),
        lambda: store.next_message(0),
        lambda: store.dead_letters(0, 1),
        lambda: store.redrive(1),
        lambda: store.find(Query()),
        lambda: store.history(A, None, 1),
        lambda: store.events(0, 1),
        lambda: store.prune(Retention(now_ms=0, events_since_ms=0, max_events=1)),
    )


async def _everything(store: Store) -> tuple[object, ...]:
    return (
        await value(store.load(A, "k", 0)),
        await value(store.due(FAR_MS, 99)),
        await value(store.claimed(0, 99)),
        await value(store.messages(FAR_MS, 99)),
        await value(store.dead_letters(0, 99)),
        await value(store.find(Query())),
        await value(store.events(0, 99)),
    )


LIFECYCLE_CASES: tuple[Case, ...] = (
    everything_survives_reopening,
    sequences_survive_reopening,
    sequences_survive_compaction,
    a_closed_store_answers_unavailable,
    a_store_that_was_closed_says_so,
    a_working_store_is_healthy,
    closing_waits_for_running_operations,
)


AT = address("a")


@in_harness(OWNERSHIP, needs="owned")
async def a_second_opening_is_refused_or_ends_the_first(new_harness: NewHarness) -> None:
    """Two openings of an owned store never both write."""
    harness = new_harness()
    async with opened(harness) as store:
        fence = await created(store, AT)
        try:
            second = await harness.open()
        except StoreLocked:
            await value(store.commit(put(AT, fence)))
            return
        await _first_is_ended(store, second, fence)


async def _first_is_ended(first: Store, second: Store, fence: Fence) -> None:
    late = await value(second.commit(put(AT, fence)))
    await failure(first.commit(put(AT, late)), StoreUnavailable, "the opening before cannot write any more")
    await failure(first.load(AT), StoreUnavailable, "the opening before cannot read any more")
    loaded = (await value(second.load(AT))).instance
    same(None if loaded is None else loaded.fence, late, "what the second opening wrote stands")
    await value(second.close())


@in_harness(OWNERSHIP, READS_ITS_WRITES, FENCED, COMPARES_FENCE, EPOCH, needs="shared")
async def two_openings_share_their_data(new_harness: NewHarness) -> None:
    """What one wrote, the other reads; of two that expect the same, one is committed."""
    harness = new_harness()
    async with opened(harness) as here:
        there = await harness.open()
        try:
            await _shared(here, there)
        finally:
            await there.close()


async def _shared(here: Store, there: Store) -> None:
    holds(there.epoch > here.epoch, f"epochs tell openings apart: {there.epoch} came after {here.epoch}")
    fence = await created(here, AT, alarm_ms=5)
    for _ in range(10):
        loaded = (await value(there.load(AT))).instance
        same(None if loaded is None else loaded.fence, fence, "one opening reads what the other wrote")
        answers = await asyncio.gather(*(answer(store.commit(put(AT, fence))) for store in (here, there)))
        won = [one.unwrap() for one in answers if isinstance(one, Success)]
        same(len(won), 1, "of two that expect the same fence, through two openings, one is committed")
        (fence,) = won


@in_harness(CAPABILITIES, OWNERSHIP, NAME, EPOCH, SHARING)
async def a_store_says_what_it_is(new_harness: NewHarness) -> None:
    """Its name, its epoch and its capabilities are as the record says."""
    async with opened(new_harness()) as store:
        holds(store.name, "a store has a name")
        holds(store.epoch >= 1, f"the epoch counts openings, this one included: {store.epoch}")
        holds(
            store.capabilities.ownership in {"owned", "shared"}, f"ownership is owned or shared: {store.capabilities}"
        )
        shares = store.sharing is not None
        same(shares, store.capabilities.ownership == "shared", "a shared store, and no other, has `sharing`")
        known = {"none", "relaxed", "full"}
        holds(store.capabilities.durability in known, f"durability is none, relaxed or full: {store.capabilities}")


OWNERSHIP_CASES: tuple[Case, ...] = (
    a_second_opening_is_refused_or_ends_the_first,
    two_openings_share_their_data,
    a_store_says_what_it_is,
)


@in_harness(CORRUPT_ROW, CORRUPT_LEFT_OUT, HEALTH, needs="damage")
async def an_unreadable_row_affects_no_other(new_harness: NewHarness) -> None:
    """Its own address returns ``StoreCorrupt``; listings continue behind it; health reports it."""
    harness = new_harness()
    assert isinstance(harness, CorruptibleHarness)  # noqa: S101 - the case is for such harnesses only
    store = await harness.open()
    await created(store, A, alarm_ms=1)
    await created(store, B, alarm_ms=2)
    await value(store.close())
    await harness.damage(A)
    async with opened(harness) as store_again:
        await _check(store_again)


async def _check(store: Store) -> None:
    await failure(store.load(A), StoreCorrupt, "a row that cannot be read answers StoreCorrupt")
    holds((await value(store.load(B))).instance is not None, "other rows can be read")
    same([one.address for one in await value(store.due(9, 1))], [B], "due leaves it out, and its page is still full")
    same([one.address for one in await value(store.find(Query(limit=1)))], [B], "find leaves it out")
    same((await value(store.health())).state, "degraded", "the health of a store with unreadable rows is degraded")


CORRUPTION_CASES: tuple[Case, ...] = (an_unreadable_row_affects_no_other,)
