"""Cases: a second opening while the first one lives."""

from __future__ import annotations

import asyncio

from returns.result import Success

from perdure.stores.contract import Store
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.examples import address, created, put
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirement import answer, failure, holds, same, value
from perdure.testing.conformance.requirements import (
    CAPABILITIES,
    COMPARES_FENCE,
    EPOCH,
    FENCED,
    NAME,
    OWNERSHIP,
    READS_ITS_WRITES,
    SHARING,
)
from perdure.values.errors import StoreLocked, StoreUnavailable
from perdure.values.instance import Fence

A = address("a")


@in_harness(OWNERSHIP, needs="owned")
async def a_second_opening_is_refused_or_ends_the_first(new_harness: NewHarness) -> None:
    """Two openings of an owned store never both write."""
    harness = new_harness()
    async with opened(harness) as store:
        fence = await created(store, A)
        try:
            second = await harness.open()
        except StoreLocked:
            await value(store.commit(put(A, fence)))
            return
        await _first_is_ended(store, second, fence)


async def _first_is_ended(first: Store, second: Store, fence: Fence) -> None:
    late = await value(second.commit(put(A, fence)))
    await failure(first.commit(put(A, late)), StoreUnavailable, "the opening before cannot write any more")
    await failure(first.load(A), StoreUnavailable, "the opening before cannot read any more")
    loaded = (await value(second.load(A))).instance
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
    fence = await created(here, A, alarm_ms=5)
    for _ in range(10):
        loaded = (await value(there.load(A))).instance
        same(None if loaded is None else loaded.fence, fence, "one opening reads what the other wrote")
        answers = await asyncio.gather(*(answer(store.commit(put(A, fence))) for store in (here, there)))
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
