"""Cases: the operations that a store may leave out: held jobs, journals, and queued instances by lane and rank."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.stores.contract import (
    HoldsOperation,
    JournalOperation,
    LanesOperation,
    QueuedOperation,
    SetHoldOperation,
    Store,
)
from perdure.stores.values import QueuedLane
from perdure.testing.conformance.assertions import failure, same, value
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirements import (
    CONFLICT_LEAVES_NOTHING,
    DUE_AFTER,
    DUE_EXCEPT,
    DURABLE,
    HOLD_OF_A_JOB,
    HOLDS,
    JOURNAL,
    JOURNAL_COMMIT,
    LANES,
    LOAD_TOGETHER,
    MONOTONIC,
    QUEUED,
    QUEUED_OR_DUE,
    SET_HOLD,
)
from perdure.testing.conformance.sample_values import CLAIM, FAR_MS, PENDING_RETRY, address, instance
from perdure.values.address import Address
from perdure.values.errors import Conflict, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.transition import JournalChange, Purge, Put, Transition

_JOBS = (("a", "b"), ("a", "B"), ("b", "a"))


@in_store(HOLDS, SET_HOLD, HOLD_OF_A_JOB)
async def each_job_has_its_own_hold(store: Store) -> None:
    """Jobs are compared by code point; a repeat changes nothing."""
    holds, set_hold = _hold_operations(store)
    same(await value(holds()), (), "no job is held at first")
    for job in _JOBS:
        same(await value(set_hold(job, "held")), "changed", f"the first hold of {job}")
        same(await value(set_hold(job, "held")), "unchanged", f"a repeated hold of {job}")
    same(await value(holds()), tuple(sorted(_JOBS)), "the held jobs, in their order")
    same(await value(set_hold(("a", "b"), "released")), "changed", "the release of a held job")
    for job in (("a", "b"), ("a", "b ")):
        same(await value(set_hold(job, "released")), "unchanged", "the release of a job that is not held")
    same(await value(holds()), (("a", "B"), ("b", "a")), "the jobs that are still held")


@in_harness(HOLDS, SET_HOLD)
async def holds_survive_reopening(new_harness: NewHarness) -> None:
    """Held jobs are held, and released ones released, when the store is opened again."""
    async with opened(new_harness()) as probe:
        _hold_operations(probe)
    harness = new_harness()
    store = await harness.open()
    holds, set_hold = _hold_operations(store)
    for job in _JOBS:
        await value(set_hold(job, "held"))
    await value(set_hold(_JOBS[0], "released"))
    await value(store.close())
    for operation in (holds(), set_hold(_JOBS[0], "held")):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        holds, _ = _hold_operations(again)
        same(await value(holds()), tuple(sorted(_JOBS[1:])), "holds survive the reopening")


@in_store(DUE_EXCEPT, DUE_AFTER)
async def due_instances_of_other_jobs_fill_the_page(store: Store) -> None:
    """The condition comes before the limit, and the earliest alarm first."""
    if store.due_except is None:
        raise NotApplicable
    places = [Address("k", "held", str(number)) for number in range(5)] + [address("a"), address("b")]
    for number, place in enumerate(places):
        await value(store.commit(Transition(address=place, write=Put(instance(place, alarm_ms=10 + number)))))
    found = await value(store.due_except(99, 2, (("k", "held"), ("x", "y"))))
    same([one.address for one in found], [address("a"), address("b")], "the due instances of other jobs")
    same(await value(store.due_except(99, 9, (("k", "Held"),))), await value(store.due(99, 9)), "of no other job")
    after = (found[0].due_ms or 0, found[0].incarnation)
    rest = await value(store.due_except(99, 9, (("k", "held"), ("x", "y")), after))
    same([one.address for one in rest], [address("b")], "the due instances of other jobs after a position")


def _hold_operations(store: Store) -> tuple[HoldsOperation, SetHoldOperation]:
    if store.holds is None or store.set_hold is None:
        raise NotApplicable
    return store.holds, store.set_hold


HOLD_CASES: tuple[Case, ...] = (
    each_job_has_its_own_hold,
    holds_survive_reopening,
    due_instances_of_other_jobs_fill_the_page,
)


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


_JOB = ("pool", "p")


@in_store(LANES, QUEUED)
async def lanes_come_in_order_with_their_first_ranks(store: Store) -> None:
    """Names are compared by code point; the limit is shared between the lanes."""
    lanes, queued = _queue_operations(store)
    same(await value(lanes(_JOB, None, 5)), (), "no lane at first")
    for lane, ranks in {"b": (7, 3, 5), "": (9,), "a": (4, 4), "B": (1,)}.items():
        for number, rank in enumerate(ranks):
            await _put(store, f"{lane}{number}", lane, rank)
    await _put(store, "other", "a", 0, job=("pool", "P"))
    same(await value(lanes(_JOB, None, 9)), ("", "B", "a", "b"), "all lanes")
    same(await value(lanes(_JOB, "", 2)), ("B", "a"), "the lanes after one")
    same(await value(lanes(_JOB, "aa", 5)), ("b",), "the lanes after an absent one")
    same(await value(lanes(_JOB, "b", 5)), (), "no lane after the last one")
    found = await value(queued(_JOB, ("b", "", "c", "a"), 8))
    expected: list[tuple[str, list[str]]] = [("b", ["b1", "b2"]), ("", ["0"]), ("c", []), ("a", ["a0", "a1"])]
    same(_ids(found), expected, "the first ranks of each lane")
    same([lane.rest for lane in found], ["some", "none", "none", "none"], "whether more are queued")
    same(_ids(await value(queued(_JOB, ("b",), 3))), [("b", ["b1", "b2", "b0"])], "a whole lane")
    same(_ids(await value(queued(_JOB, ("a", "b"), 1))), [("a", ["a0"]), ("b", ["b1"])], "a limit that is rounded up")


@in_store(QUEUED_OR_DUE)
async def claimed_and_suspended_instances_are_not_queued(store: Store) -> None:
    """A queued instance is not due; one that leaves its lane is."""
    lanes, queued = _queue_operations(store)
    fence = await _put(store, "i", "a", 5)
    at = Address(*_JOB, "i")
    one = instance(at, alarm_ms=5)
    steps: Sequence[tuple[Instance, bool, bool]] = (
        (attrs.evolve(one, lane="a", claim=CLAIM), False, False),
        (attrs.evolve(one, lane="a", event_claim=CLAIM), False, False),
        (attrs.evolve(one, lane="a", suspension="paused"), False, False),
        (attrs.evolve(one, lane="b"), True, False),
        (attrs.evolve(one, lane="b", alarm_ms=None), False, False),
        (attrs.evolve(one, lane="b", alarm_ms=None, pending_retry=PENDING_RETRY), True, False),
        (attrs.evolve(one, lane=None), False, True),
        (attrs.evolve(one, lane=None, alarm_ms=None, ended_ms=3), False, False),
        (attrs.evolve(one, lane="c"), True, False),
    )
    for after, is_queued, is_due in steps:
        written = attrs.evolve(after, version=fence.version + 1)
        fence = await value(store.commit(Transition(address=at, expected=fence, write=Put(written))))
        loaded = (await value(store.load(at))).instance
        same(loaded, attrs.evolve(written, incarnation=fence.incarnation), "the row as it was written")
        same(await value(lanes(_JOB, None, 9)), (after.lane,) if is_queued else (), f"lanes: {after}")
        found = _ids(await value(queued(_JOB, ("a", "b", "c"), 9)))
        expected = [(lane, ["i"] if is_queued and lane == after.lane else []) for lane in ("a", "b", "c")]
        same(found, expected, f"queued: {after}")
        same(len(await value(store.due(FAR_MS, 9))), int(is_due), f"due: {after}")
        same(await value(store.next_alarm(0)) is not None, is_due, f"the next alarm of {after}")
    await value(store.commit(Transition(address=at, expected=fence, write=Purge())))
    same(await value(lanes(_JOB, None, 9)), (), "nothing is queued after the purge")


@in_harness(QUEUED)
async def lanes_survive_reopening(new_harness: NewHarness) -> None:
    """Queued instances are queued when the store is opened again."""
    async with opened(new_harness()) as probe:
        _queue_operations(probe)
    harness = new_harness()
    store = await harness.open()
    for number, lane in enumerate("aab"):
        await _put(store, str(number), lane, 10 - number)
    await value(store.close())
    async with opened(harness) as again:
        lanes, queued = _queue_operations(again)
        found = await value(queued(_JOB, await value(lanes(_JOB, None, 9)), 9))
        same(_ids(found), [("a", ["1", "0"]), ("b", ["2"])], "lanes survive the reopening")


async def _put(store: Store, id_: str, lane: str, rank_ms: int, *, job: tuple[str, str] = _JOB) -> Fence:
    at = Address(*job, id_)
    queued = attrs.evolve(instance(at, alarm_ms=rank_ms), lane=lane)
    return await value(store.commit(Transition(address=at, write=Put(queued))))


def _ids(found: Sequence[QueuedLane]) -> list[tuple[str, list[str]]]:
    return [(lane.lane, [one.address.id for one in lane.instances]) for lane in found]


def _queue_operations(store: Store) -> tuple[LanesOperation, QueuedOperation]:
    if store.lanes is None or store.queued is None:
        raise NotApplicable
    return store.lanes, store.queued


QUEUE_CASES: tuple[Case, ...] = (
    lanes_come_in_order_with_their_first_ranks,
    claimed_and_suspended_instances_are_not_queued,
    lanes_survive_reopening,
)
