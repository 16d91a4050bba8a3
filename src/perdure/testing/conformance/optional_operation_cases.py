"""Cases: held jobs, and the capabilities that a store may lack.

They are journals, queued instances by lane and rank, and copying a whole store into another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, cast

import attrs

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.copying import COLUMNS, PAGE_ROWS, CopyPosition, CopySource, Numbers, Row, Table
from perdure.stores.transfer import StoreCopy, copy_store
from perdure.stores.values import Query, QueuedLane, Retention
from perdure.testing.conformance.assertions import RequirementViolated, failure, holds, same, value
from perdure.testing.conformance.harness import (
    Case,
    CopyableHarness,
    NewHarness,
    in_harness,
    in_store,
    must_open,
    opened,
    present,
)
from perdure.testing.conformance.histories import (
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
from perdure.testing.conformance.requirements import (
    CONFLICT_LEAVES_NOTHING,
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
    DUE_AFTER,
    DUE_EXCEPT,
    DURABLE,
    HOLD_OF_A_JOB,
    HOLDS,
    JOURNAL,
    JOURNAL_COMMIT,
    KEPT_EVENTS,
    LANES,
    LAST_RANK,
    LOAD_TOGETHER,
    MONOTONIC,
    QUEUED,
    QUEUED_OR_DUE,
    SET_HOLD,
)
from perdure.values.address import Address
from perdure.values.errors import Conflict, CopyFailed, StoreError, StoreLocked, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.limits import KeepHistory
from perdure.values.message import Consumed, DeadLettered, Postponed
from perdure.values.transition import JournalChange, Purge, Put, Transition

_JOBS = (("a", "b"), ("a", "B"), ("b", "a"))


@in_store(HOLDS, SET_HOLD, HOLD_OF_A_JOB)
async def each_job_has_its_own_hold(store: Store) -> None:
    """Jobs are compared by code point. A repeat changes nothing."""
    same(await value(store.holds()), (), "no job is held at first")
    for job in _JOBS:
        same(await value(store.set_hold(job, "held")), "changed", f"the first hold of {job}")
        same(await value(store.set_hold(job, "held")), "unchanged", f"a repeated hold of {job}")
    same(await value(store.holds()), tuple(sorted(_JOBS)), "the held jobs, in their order")
    same(await value(store.set_hold(("a", "b"), "released")), "changed", "the release of a held job")
    for job in (("a", "b"), ("a", "b ")):
        same(await value(store.set_hold(job, "released")), "unchanged", "the release of a job that is not held")
    same(await value(store.holds()), (("a", "B"), ("b", "a")), "the jobs that are still held")


@in_harness(HOLDS, SET_HOLD)
async def holds_survive_reopening(new_harness: NewHarness) -> None:
    """Held jobs are held, and released ones released, when the store is opened again."""
    harness = new_harness()
    store = await harness.open()
    for job in _JOBS:
        await value(store.set_hold(job, "held"))
    await value(store.set_hold(_JOBS[0], "released"))
    await value(store.close())
    for operation in (store.holds(), store.set_hold(_JOBS[0], "held")):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        same(await value(again.holds()), tuple(sorted(_JOBS[1:])), "holds survive the reopening")


@in_store(DUE_EXCEPT, DUE_AFTER)
async def due_instances_of_other_jobs_fill_the_page(store: Store) -> None:
    """The condition comes before the limit, and the earliest alarm first."""
    places = [Address("k", "held", str(number)) for number in range(5)] + [address("a"), address("b")]
    for number, place in enumerate(places):
        await value(commit_one(store, Transition(address=place, write=Put(instance(place, alarm_ms=10 + number)))))
    found = await value(store.due(99, 2, None, (("k", "held"), ("x", "y"))))
    same([one.address for one in found], [address("a"), address("b")], "the due instances of other jobs")
    same(await value(store.due(99, 9, None, (("k", "Held"),))), await value(store.due(99, 9)), "of no other job")
    after = (found[0].due_ms or 0, found[0].incarnation)
    rest = await value(store.due(99, 9, after, (("k", "held"), ("x", "y"))))
    same([one.address for one in rest], [address("b")], "the due instances of other jobs after a position")


HOLD_CASES: tuple[Case, ...] = (
    each_job_has_its_own_hold,
    holds_survive_reopening,
    due_instances_of_other_jobs_fill_the_page,
)


A, B = address("a"), address("b")
ALL = 1_000


@in_store(JOURNAL, JOURNAL_COMMIT, LOAD_TOGETHER)
async def a_journal_is_read_in_pages(store: Store) -> None:
    """Rows come in commit order, from any position on. Each instance has its own rows, and its journal length."""
    journal = present(store.journal)
    fence, other = await _appended(store, A, None, "a0"), await _appended(store, B, None, "b0", "b1")
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), ("a0",), "a row that came with a new instance")
    fence = await _appended(store, A, fence, "a1", "", "a3 \u2028é", length=1)
    fence = await _appended(store, A, fence, *(f"a{number}" for number in range(4, 20)), length=4)
    rows = ("a0", "a1", "", "a3 \u2028é", *(f"a{number}" for number in range(4, 20)))
    for first in (0, 1, 11, 19, 20, 21):
        for limit in (1, 10, ALL):
            page = await value(journal.read(A, fence.incarnation, first, limit))
            same(page, rows[first : first + limit], f"{limit} rows from the place {first} on")
    same(await value(journal.read(B, other.incarnation, 0, ALL)), ("b0", "b1"), "the journal of another instance")
    loaded = (await value(load_one(store, A))).instance
    same(None if loaded is None else loaded.journal_length, 20, "the instance has the length of its journal")


@in_store(JOURNAL_COMMIT)
async def a_commit_without_rows_leaves_the_journal_unchanged(store: Store) -> None:
    """Only a transition with a journal changes it."""
    journal = present(store.journal)
    fence = await _appended(store, A, None, "0", "1")
    fence = await _appended(store, A, fence, length=2)
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), ("0", "1"), "the journal after an empty change")
    kept = attrs.evolve(instance(A, version=fence.version + 1), journal_length=2)
    fence = await value(commit_one(store, Transition(address=A, expected=fence, write=Put(kept))))
    await value(commit_one(store, Transition(address=A)))
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), ("0", "1"), "the journal after other commits")


@in_store(JOURNAL_COMMIT)
async def a_cut_begins_the_journal_again(store: Store) -> None:
    """The earlier rows are gone, and the appended ones have the places from 0 on."""
    journal = present(store.journal)
    fence = await _appended(store, A, None, "0", "1", "2")
    fence = await _appended(store, A, fence, "new", cut=True)
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), ("new",), "the journal after a cut")
    fence = await _appended(store, A, fence, "newer", length=1)
    same(
        await value(journal.read(A, fence.incarnation, 0, ALL)), ("new", "newer"), "a journal that was cut grows again"
    )
    fence = await _appended(store, A, fence, cut=True)
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), (), "a cut without rows")


@in_store(JOURNAL_COMMIT, CONFLICT_LEAVES_NOTHING)
async def rows_are_rewritten_in_place(store: Store) -> None:
    """With the commit that appends others, or alone. A conflict rewrites nothing, and no other journal changes."""
    journal = present(store.journal)
    first, other = await _appended(store, A, None, "0", "1", "2"), await _appended(store, B, None, "0", "1")
    change = JournalChange(("3",), rewritten=((0, ""), (2, "two \0")))
    fence = await value(commit_one(store, _changed(first, change, length=4)))
    same(await value(journal.read(A, fence.incarnation, 0, ALL)), ("", "1", "two \0", "3"), "the rewritten journal")
    late = commit_one(store, _changed(first, JournalChange((), rewritten=((1, "late"),)), length=4))
    await failure(late, Conflict, "a transition over an old row is a Conflict")
    fence = await value(commit_one(store, _changed(fence, JournalChange((), rewritten=((3, "three"),)), length=4)))
    same(await value(journal.read(A, fence.incarnation, 1, 3)), ("1", "two \0", "three"), "the journal after both")
    same(await value(journal.read(B, other.incarnation, 0, ALL)), ("0", "1"), "the journal of another instance")


def _changed(expected: Fence, change: JournalChange, *, length: int) -> Transition:
    after = attrs.evolve(instance(A, version=expected.version + 1), journal_length=length)
    return Transition(address=A, expected=expected, write=Put(after), journal=change)


@in_store(JOURNAL_COMMIT, CONFLICT_LEAVES_NOTHING)
async def a_conflict_appends_nothing(store: Store) -> None:
    """Neither rows are appended, nor earlier ones cut, when the fence has moved."""
    journal = present(store.journal)
    first = await _appended(store, A, None, "0")
    second = await _appended(store, A, first, "1", length=1)
    for expected in (None, first, Fence(second.incarnation + 1, 2)):
        for cut in (False, True):
            refused = commit_one(store, _change(A, expected, "no", length=2, cut=cut))
            await failure(refused, Conflict, f"expected={expected} over {second} is a Conflict")
    same(await value(journal.read(A, second.incarnation, 0, ALL)), ("0", "1"), "a Conflict changes no journal")


@in_store(JOURNAL, JOURNAL_COMMIT, MONOTONIC)
async def a_purge_deletes_the_journal(store: Store) -> None:
    """The next instance at the address begins with an empty journal, and the old one never comes back."""
    journal = present(store.journal)
    old = await _appended(store, A, None, "0", "1")
    beside = await _appended(store, B, None, "b")
    await value(commit_one(store, Transition(address=A, expected=old, write=Purge())))
    same(await value(journal.read(A, old.incarnation, 0, ALL)), (), "the journal of a purged instance")
    new = await _appended(store, A, None, "new")
    same(await value(journal.read(A, new.incarnation, 0, ALL)), ("new",), "the journal of the next instance")
    same(await value(journal.read(A, old.incarnation, 0, ALL)), (), "the old journal stays empty")
    same(await value(journal.read(B, beside.incarnation, 0, ALL)), ("b",), "a purge deletes no other journal")


@in_harness(JOURNAL, JOURNAL_COMMIT, DURABLE)
async def journals_survive_reopening(new_harness: NewHarness) -> None:
    """Rows are there when the store is opened again, and are appended to."""
    async with opened(new_harness()) as probe:
        present(probe.journal)
    harness = new_harness()
    store = await harness.open()
    fence = await _appended(store, A, None, "0")
    fence = await _appended(store, A, fence, "1", length=1)
    await value(store.close())
    await failure(
        present(store.journal).read(A, fence.incarnation, 0, ALL), StoreUnavailable, "a closed store is unavailable"
    )
    async with opened(harness) as again:
        fence = await _appended(again, A, fence, "2", length=2)
        same(
            await value(present(again.journal).read(A, fence.incarnation, 0, ALL)),
            ("0", "1", "2"),
            "rows survive the reopening",
        )


async def _appended(
    store: Store, at: Address, expected: Fence | None, *bodies: str, length: int = 0, cut: bool = False
) -> Fence:
    return await value(commit_one(store, _change(at, expected, *bodies, length=length, cut=cut)))


def _change(at: Address, expected: Fence | None, *bodies: str, length: int = 0, cut: bool = False) -> Transition:
    version = 1 if expected is None else expected.version + 1
    after = attrs.evolve(instance(at, version=version), journal_length=(0 if cut else length) + len(bodies))
    change = JournalChange(bodies, "cut" if cut else "kept")
    return Transition(address=at, expected=expected, write=Put(after), journal=change)


JOURNAL_CASES: tuple[Case, ...] = (
    a_journal_is_read_in_pages,
    a_commit_without_rows_leaves_the_journal_unchanged,
    a_cut_begins_the_journal_again,
    rows_are_rewritten_in_place,
    a_conflict_appends_nothing,
    a_purge_deletes_the_journal,
    journals_survive_reopening,
)


_JOB = ("pool", "p")


@in_store(LANES, QUEUED, LAST_RANK)
async def lanes_come_in_order_with_their_first_ranks(store: Store) -> None:
    """Names are compared by code point. The lanes share the limit."""
    lanes = present(store.lanes)
    same(await value(lanes.names(_JOB, None, 5)), (), "no lane at first")
    same(await value(lanes.last_rank(_JOB)), None, "no rank at first")
    for lane, ranks in {"b": (7, 3, 5), "": (9,), "a": (4, 4), "B": (1,)}.items():
        for number, rank in enumerate(ranks):
            await _put(store, f"{lane}{number}", lane, rank)
    await _put(store, "other", "a", 10, job=("pool", "P"))
    same(await value(lanes.last_rank(_JOB)), 9, "the greatest rank of all lanes")
    same(await value(lanes.names(_JOB, None, 9)), ("", "B", "a", "b"), "all lanes")
    same(await value(lanes.names(_JOB, "", 2)), ("B", "a"), "the lanes after one")
    same(await value(lanes.names(_JOB, "aa", 5)), ("b",), "the lanes after an absent one")
    same(await value(lanes.names(_JOB, "b", 5)), (), "no lane after the last one")
    found = await value(lanes.queued(_JOB, ("b", "", "c", "a"), 8))
    expected: list[tuple[str, list[str]]] = [("b", ["b1", "b2"]), ("", ["0"]), ("c", []), ("a", ["a0", "a1"])]
    same(_ids(found), expected, "the first ranks of each lane")
    same([lane.rest for lane in found], ["some", "none", "none", "none"], "whether more are queued")
    same(_ids(await value(lanes.queued(_JOB, ("b",), 3))), [("b", ["b1", "b2", "b0"])], "a whole lane")
    same(
        _ids(await value(lanes.queued(_JOB, ("a", "b"), 1))),
        [("a", ["a0"]), ("b", ["b1"])],
        "a limit that is rounded up",
    )


@in_store(QUEUED_OR_DUE, LAST_RANK)
async def claimed_and_suspended_instances_are_not_queued(store: Store) -> None:
    """A queued instance is not due. One that leaves its lane is."""
    lanes = present(store.lanes)
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
        fence = await value(commit_one(store, Transition(address=at, expected=fence, write=Put(written))))
        loaded = (await value(load_one(store, at))).instance
        same(loaded, attrs.evolve(written, incarnation=fence.incarnation), "the row as it was written")
        same(await value(lanes.names(_JOB, None, 9)), (after.lane,) if is_queued else (), f"lanes: {after}")
        found = _ids(await value(lanes.queued(_JOB, ("a", "b", "c"), 9)))
        expected = [(lane, ["i"] if is_queued and lane == after.lane else []) for lane in ("a", "b", "c")]
        same(found, expected, f"queued: {after}")
        same(await value(lanes.last_rank(_JOB)), after.rank_ms, f"the greatest rank: {after}")
        same(len(await value(store.due(FAR_MS, 9))), int(is_due), f"due: {after}")
        same(await value(store.next_alarm(0)) is not None, is_due, f"the next alarm of {after}")
    await value(commit_one(store, Transition(address=at, expected=fence, write=Purge())))
    same(await value(lanes.names(_JOB, None, 9)), (), "nothing is queued after the purge")


@in_harness(QUEUED)
async def lanes_survive_reopening(new_harness: NewHarness) -> None:
    """Queued instances are queued when the store is opened again."""
    async with opened(new_harness()) as probe:
        present(probe.lanes)
    harness = new_harness()
    store = await harness.open()
    for number, lane in enumerate("aab"):
        await _put(store, str(number), lane, 10 - number)
    await value(store.close())
    async with opened(harness) as again:
        lanes = present(again.lanes)
        found = await value(lanes.queued(_JOB, await value(lanes.names(_JOB, None, 9)), 9))
        same(_ids(found), [("a", ["1", "0"]), ("b", ["2"])], "lanes survive the reopening")


async def _put(store: Store, id_: str, lane: str, rank_ms: int, *, job: tuple[str, str] = _JOB) -> Fence:
    at = Address(*job, id_)
    queued = attrs.evolve(instance(at, alarm_ms=rank_ms), lane=lane)
    return await value(commit_one(store, Transition(address=at, write=Put(queued))))


def _ids(found: Sequence[QueuedLane]) -> list[tuple[str, list[str]]]:
    return [(lane.lane, [one.address.id for one in lane.instances]) for lane in found]


QUEUE_CASES: tuple[Case, ...] = (
    lanes_come_in_order_with_their_first_ranks,
    claimed_and_suspended_instances_are_not_queued,
    lanes_survive_reopening,
)


STRANGE = address("\0\1 é\u2028 \U0001f600 'q' %_")
GONE = address("gone")


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
    """Incarnations and message ids continue behind the source's numbers, also those that deleted rows had."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await fill(store)
            fence = await created(store, GONE)
            await value(commit_one(store, Transition(address=GONE, expected=fence, write=Purge())))
            await told(store, B, GONE, "{}")
            (*_, newest) = await value(store.messages(FAR_MS, ALL))
            consumed = Transition(address=GONE, inbound=Consumed(newest.message_id))
            await value(commit_one(store, consumed))
        await _copied(source, target)
        async with _open(target) as store:
            again = await created(store, GONE)
            holds(again.incarnation > fence.incarnation, "the next incarnation is new")
            await told(store, B, GONE, "{}")
            (*_, next_) = await value(store.messages(FAR_MS, ALL))
            holds(next_.message_id > newest.message_id, "the next id of a message is new")
            await value(commit_one(store, Transition(address=A, events=(started(A, id_="later"),))))
            log = await value(store.events(0, ALL))
            same([each.sequence for each in log], sorted({each.sequence for each in log}), "the numbers of events")
            same(getattr(log[-1].event, "event_id", None), "later", "the newest event is the last one")


@in_harness(COPY_NUMBERS, COPY_CURSORS, needs="copies")
async def a_copy_of_a_pruned_log_has_its_numbers(new_harness: NewHarness) -> None:
    """The copy knows which events retention had deleted, and whether a sink had missed them."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            await fill(store)
            await value(store.prune(Retention(now_ms=0, events_since_ms=FAR_MS, max_events=0)))
        await _copied(source, target)
        first, other = await _numbers(source), await _numbers(target)
        missed = [[(each.name, each.deleted, each.remaining) for each in one.cursors] for one in (first, other)]
        same(missed[1], missed[0], "the events that each sink missed")
        for numbers in (first, other):
            same(numbers.sequence, numbers.pruned_to, "the newest event is the last deleted one")
        if first.events == other.events == "sparse":
            same(other.pruned_to, first.pruned_to, "the number of the last deleted event")


@in_harness(COPY_NUMBERS, COPY_ROWS, KEPT_EVENTS, needs="copies")
async def a_copy_keeps_the_events_of_its_source(new_harness: NewHarness) -> None:
    """In their order, before those of the log, and as long."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        async with _open(source) as store:
            present(store.histories)
            await fill(store)
            before = [each.event for each in await value(store.history(A, None, ALL))]
        await _copied(source, target)
        for harness in (source, target):
            async with _open(harness) as store:
                await value(commit_one(store, Transition(address=A, events=(started(A, at_ms=9, id_="later"),))))
                await value(store.prune(Retention(now_ms=9, events_since_ms=FAR_MS, max_events=0)))
                log = await value(store.history(A, None, ALL))
                same([each.event for each in log[1:]], before, "the history after the log was pruned")
                same(getattr(log[0].event, "event_id", None), "later", "the newest event is the last one")
                (known,) = await value(present(store.histories).known())
                same(known.kept, len(log), "the number of kept events")


async def _numbers(harness: CopyableHarness) -> Numbers:
    reading = await harness.copy_source()
    try:
        return await reading.numbers()
    finally:
        await reading.close()


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
    """A store with rows, or with an unfinished copy from another moment, is not changed."""
    async with AsyncExitStack() as stack:
        source, target = await _two(new_harness, stack)
        other = cast("CopyableHarness", new_harness())
        stack.push_async_callback(other.discard)
        for harness in (source, other):
            async with _open(harness) as store:
                await created(store, A)
        await _must_refuse(source, other, CopyFailed, "a target with rows")
        async with _open(other) as store:
            holds((await value(load_one(store, A))).instance is not None, "the refused target keeps its row")
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
            holds((await value(load_one(store, A))).instance is not None, "the source opens after the copy")


@in_harness(COPY_PAGES, needs="copies")
async def a_copy_reads_in_pages(new_harness: NewHarness) -> None:
    """A table with more rows than a page comes in full pages, from any key on."""
    count = PAGE_ROWS + 3
    async with AsyncExitStack() as stack:
        source, _ = await _two(new_harness, stack)
        async with _open(source) as store:
            events = tuple(started(A, id_=f"e{number}") for number in range(count))
            await value(commit_one(store, Transition(address=A, events=events)))
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
    """Store rows in every table, with all kinds of values."""
    claimed = attrs.evolve(instance(STRANGE, claim=CLAIM), lane="l\0ne", data='{"d":1}', journal_length=2)
    rows = JournalChange(("first", "sec\0nd \1 é"), "kept")
    await value(commit_one(store, Transition(address=STRANGE, write=Put(claimed), journal=rows)))
    waiting = attrs.evolve(
        instance(A, alarm_ms=FAR_MS), pending_retry=PENDING_RETRY, last_error=ERROR, alarm_trace="t", event_count=2**40
    )
    await value(
        commit_one(store, Transition(address=A, write=Put(waiting), remember=(remembered("k\0", expires_ms=FAR_MS),)))
    )
    handling = attrs.evolve(instance(B), event_claim=CLAIM, suspension="paused", ended_ms=9)
    await value(
        commit_one(store, Transition(address=B, write=Put(handling), remember=(remembered("k", expires_ms=FAR_MS),)))
    )
    await told(store, A, B, "1", "2")
    await told(store, B, A, "3")
    await told(store, STRANGE, STRANGE, "4")
    for own in await value(store.messages(FAR_MS, ALL)):
        if own.message.payload == "1":
            dead = DeadLettered(message_id=own.message_id, deliveries=3, error=ERROR)
            await value(commit_one(store, Transition(address=B, inbound=dead)))
        if own.message.payload == "3":
            late = Postponed(message_id=own.message_id, deliveries=1, not_before_ms=50, error=ERROR)
            await value(commit_one(store, Transition(address=A, inbound=late)))
    for number in range(6):
        await value(commit_one(store, Transition(address=A, events=(started(A, at_ms=number, id_=f"e{number}"),))))
    log = await value(store.events(0, ALL))
    if store.cursors is not None:
        await value(store.cursors.move("behind", log[0].sequence))
        await value(store.cursors.move("between", log[3].sequence))
        await value(store.cursors.move("at the end", log[-1].sequence))
    if store.histories is not None:
        await value(store.histories.declare({(A.kind, A.name): KeepHistory(age="1 second")}))
    await value(store.prune(Retention(now_ms=0, events_since_ms=2, max_events=ALL)))
    await value(store.set_hold(("task", "orders"), "held"))


async def _everything(store: Store) -> dict[str, Any]:
    """Read all that a store has, without its event numbers."""
    found = await value(store.find(Query(limit=ALL)))
    log = await value(store.events(0, ALL))
    everything: dict[str, Any] = {
        "instances": found,
        "due": await value(store.due(2 * FAR_MS, ALL)),
        "claimed": await value(store.claimed(0, ALL)),
        "messages": await value(store.messages(FAR_MS, ALL)),
        "next message": await value(store.next_message(0)),
        "dead letters": await value(store.dead_letters(0, ALL)),
        "keys": [await value(load_one(store, at, key, 0)) for at in (A, B) for key in ("k\0", "k")],
        "events": [each.event for each in log],
        "history": [each.event for each in await value(store.history(A, None, ALL))],
        "holds": await value(store.holds()),
    }
    if store.journal is not None:
        everything["journals"] = [
            await value(store.journal.read(each.address, each.incarnation, 0, ALL)) for each in found
        ]
    if store.histories is not None:
        everything["histories"] = await value(store.histories.known())
    if store.cursors is not None:
        for name in ("behind", "between", "at the end", "unknown"):
            cursor = await value(store.cursors.read(name))
            after = cursor.sequence
            rest = None if after is None else [each.event for each in log if each.sequence > after]
            everything[f"cursor {name}"] = cursor.deleted, rest
    if store.counts is not None:
        everything["counts"] = await value(store.counts.instances())
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
    """Cuts a copy short."""


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
    a_copy_of_a_pruned_log_has_its_numbers,
    a_copy_keeps_the_events_of_its_source,
    an_interrupted_copy_continues,
    a_target_with_other_rows_is_refused,
    a_copy_excludes_engines,
    a_copy_reads_in_pages,
)
