"""Cases: the journals of instances."""

from __future__ import annotations

import attrs

from perdure.stores.contract import JournalOperation, Store
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.examples import address, instance
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirement import failure, same, value
from perdure.testing.conformance.requirements import (
    CONFLICT_LEAVES_NOTHING,
    DURABLE,
    JOURNAL,
    JOURNAL_COMMIT,
    LOAD_TOGETHER,
    MONOTONIC,
)
from perdure.values.address import Address
from perdure.values.errors import Conflict, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.transition import JournalChange, Purge, Put, Transition

A, B = address("a"), address("b")
ALL = 1_000


@in_store(JOURNAL, JOURNAL_COMMIT, LOAD_TOGETHER)
async def a_journal_is_read_in_pages(store: Store) -> None:
    """Rows come in the order of their commits, from any place on; each instance has its own, and its length."""
    journal = _operation(store)
    fence, other = await _appended(store, A, None, "a0"), await _appended(store, B, None, "b0", "b1")
    same(await value(journal(A, fence.incarnation, 0, ALL)), ("a0",), "a row that came with a new instance")
    fence = await _appended(store, A, fence, "a1", "", "a3 \u2028é", length=1)
    fence = await _appended(store, A, fence, *(f"a{number}" for number in range(4, 20)), length=4)
    rows = ("a0", "a1", "", "a3 \u2028é", *(f"a{number}" for number in range(4, 20)))
    for first in (0, 1, 11, 19, 20, 21):
        for limit in (1, 10, ALL):
            page = await value(journal(A, fence.incarnation, first, limit))
            same(page, rows[first : first + limit], f"{limit} rows from the place {first} on")
    same(await value(journal(B, other.incarnation, 0, ALL)), ("b0", "b1"), "the journal of another instance")
    loaded = (await value(store.load(A))).instance
    same(None if loaded is None else loaded.journal_length, 20, "the instance has the length of its journal")


@in_store(JOURNAL_COMMIT)
async def a_commit_without_rows_leaves_the_journal_unchanged(store: Store) -> None:
    """Only a transition with a journal changes it."""
    journal = _operation(store)
    fence = await _appended(store, A, None, "0", "1")
    fence = await _appended(store, A, fence, length=2)
    same(await value(journal(A, fence.incarnation, 0, ALL)), ("0", "1"), "the journal after an empty change")
    kept = attrs.evolve(instance(A, version=fence.version + 1), journal_length=2)
    fence = await value(store.commit(Transition(address=A, expected=fence, write=Put(kept))))
    await value(store.commit(Transition(address=A)))
    same(await value(journal(A, fence.incarnation, 0, ALL)), ("0", "1"), "the journal after other commits")


@in_store(JOURNAL_COMMIT)
async def a_cut_begins_the_journal_again(store: Store) -> None:
    """The earlier rows are gone, and the appended ones have the places from 0 on."""
    journal = _operation(store)
    fence = await _appended(store, A, None, "0", "1", "2")
    fence = await _appended(store, A, fence, "new", cut=True)
    same(await value(journal(A, fence.incarnation, 0, ALL)), ("new",), "the journal after a cut")
    fence = await _appended(store, A, fence, "newer", length=1)
    same(await value(journal(A, fence.incarnation, 0, ALL)), ("new", "newer"), "a journal that was cut grows again")
    fence = await _appended(store, A, fence, cut=True)
    same(await value(journal(A, fence.incarnation, 0, ALL)), (), "a cut without rows")


@in_store(JOURNAL_COMMIT, CONFLICT_LEAVES_NOTHING)
async def a_conflict_appends_nothing(store: Store) -> None:
    """Neither rows are appended, nor earlier ones cut, when the fence has moved."""
    journal = _operation(store)
    first = await _appended(store, A, None, "0")
    second = await _appended(store, A, first, "1", length=1)
    for expected in (None, first, Fence(second.incarnation + 1, 2)):
        for cut in (False, True):
            refused = store.commit(_change(A, expected, "no", length=2, cut=cut))
            await failure(refused, Conflict, f"expected={expected} over {second} is a Conflict")
    same(await value(journal(A, second.incarnation, 0, ALL)), ("0", "1"), "a Conflict changes no journal")


@in_store(JOURNAL, JOURNAL_COMMIT, MONOTONIC)
async def a_purge_deletes_the_journal(store: Store) -> None:
    """The next instance at the address begins with an empty journal, and the old one never comes back."""
    journal = _operation(store)
    old = await _appended(store, A, None, "0", "1")
    beside = await _appended(store, B, None, "b")
    await value(store.commit(Transition(address=A, expected=old, write=Purge())))
    same(await value(journal(A, old.incarnation, 0, ALL)), (), "the journal of a purged instance")
    new = await _appended(store, A, None, "new")
    same(await value(journal(A, new.incarnation, 0, ALL)), ("new",), "the journal of the next instance")
    same(await value(journal(A, old.incarnation, 0, ALL)), (), "the old journal stays empty")
    same(await value(journal(B, beside.incarnation, 0, ALL)), ("b",), "a purge deletes no other journal")


@in_harness(JOURNAL, JOURNAL_COMMIT, DURABLE)
async def journals_survive_reopening(new_harness: NewHarness) -> None:
    """Rows are there when the store is opened again, and are appended to."""
    async with opened(new_harness()) as probe:
        _operation(probe)
    harness = new_harness()
    store = await harness.open()
    fence = await _appended(store, A, None, "0")
    fence = await _appended(store, A, fence, "1", length=1)
    await value(store.close())
    await failure(_operation(store)(A, fence.incarnation, 0, ALL), StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        fence = await _appended(again, A, fence, "2", length=2)
        same(
            await value(_operation(again)(A, fence.incarnation, 0, ALL)), ("0", "1", "2"), "rows survive the reopening"
        )


async def _appended(
    store: Store, at: Address, expected: Fence | None, *bodies: str, length: int = 0, cut: bool = False
) -> Fence:
    return await value(store.commit(_change(at, expected, *bodies, length=length, cut=cut)))


def _change(at: Address, expected: Fence | None, *bodies: str, length: int = 0, cut: bool = False) -> Transition:
    version = 1 if expected is None else expected.version + 1
    after = attrs.evolve(instance(at, version=version), journal_length=(0 if cut else length) + len(bodies))
    change = JournalChange(bodies, "cut" if cut else "kept")
    return Transition(address=at, expected=expected, write=Put(after), journal=change)


def _operation(store: Store) -> JournalOperation:
    if store.journal is None:
        raise NotApplicable
    return store.journal


JOURNAL_CASES: tuple[Case, ...] = (
    a_journal_is_read_in_pages,
    a_commit_without_rows_leaves_the_journal_unchanged,
    a_cut_begins_the_journal_again,
    a_conflict_appends_nothing,
    a_purge_deletes_the_journal,
    journals_survive_reopening,
)
