"""Cases: rows that cannot be read."""

from __future__ import annotations

from perdure.stores.contract import Store
from perdure.stores.values import Query
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.examples import address, created
from perdure.testing.conformance.harness import CorruptibleHarness, NewHarness, opened
from perdure.testing.conformance.requirement import failure, holds, same, value
from perdure.testing.conformance.requirements import CORRUPT_LEFT_OUT, CORRUPT_ROW, HEALTH
from perdure.values.errors import StoreCorrupt

A, B = address("a"), address("b")


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
