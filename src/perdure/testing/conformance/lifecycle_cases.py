"""Cases: opening, closing and killing a store.

A second opening while the first one lives, rows that cannot be read, and a kill: at lines of the store's own code,
during commits, and right after a load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
from returns.result import Result, Success

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import RequirementViolated, answer, failure, holds, same, value
from perdure.testing.conformance.differential import killable, take_steps
from perdure.testing.conformance.harness import (
    Case,
    CorruptibleHarness,
    KillableHarness,
    NewHarness,
    in_harness,
    must_open,
    opened,
    present,
    recorded,
)
from perdure.testing.conformance.histories import (
    CLAIM,
    ERROR,
    FAR_MS,
    PLACES,
    CommitStep,
    InboundStep,
    KeepStep,
    KillStep,
    PruneStep,
    ReopenStep,
    Step,
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
from perdure.testing.conformance.requirements import (
    ATOMIC,
    CAPABILITIES,
    CLOSE,
    COMPARES_FENCE,
    CORRUPT_LEFT_OUT,
    CORRUPT_ROW,
    CUT_WRITE,
    DECLARE_HISTORY,
    DURABLE,
    EPOCH,
    FAILURES_ARE_VALUES,
    FENCED,
    HEALTH,
    KEPT_ATOMIC,
    KEPT_EVENTS,
    KILLED_OPENING,
    LEFT,
    MONOTONIC,
    NAME,
    OWNERSHIP,
    READS_ITS_WRITES,
    SHARING,
    SHOWS_WHAT_STAYS,
)
from perdure.testing.conformance.subprocess_harness import ArmCrash, LinesRun, SubprocessHarness
from perdure.values.errors import StoreCorrupt, StoreLocked, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.message import Consumed, DeadLettered
from perdure.values.transition import JournalChange, Loaded, Purge, Put, Transition

_COMMITS_TO_COMPACT = 300  # those of a small store; a harness can lower the threshold of its own

A, B = address("a"), address("b")


@in_harness(DURABLE)
async def everything_survives_reopening(new_harness: NewHarness) -> None:
    """What was committed is there when the store is opened again, to the last field."""
    harness = new_harness()
    store = await harness.open()
    full = instance(A, alarm_ms=10, claim=CLAIM)
    await value(
        commit_one(
            store,
            Transition(
                address=A,
                write=Put(full),
                remember=(remembered("k"),),
                messages=(message(A, B, "1"), message(A, B, "2")),
                events=(started(A),),
            ),
        )
    )
    await told(store, B, A, "dead")
    fate = DeadLettered(message_id=await message_id(store, "dead"), deliveries=1, error=ERROR)
    await value(commit_one(store, settled_by(A, fate)))
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
        await value(commit_one(store, Transition(address=B, messages=(message(A, A, "1"),), events=(started(A),))))
        (logged,) = await value(store.events(0, 9))
        drawn.append((store.epoch, fence.incarnation, await message_id(store, "1"), logged.sequence))
        await value(commit_one(store, Transition(address=A, expected=fence, write=Purge())))
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
    """Deleted rows' numbers do not return, although a store that compacts its log has had reason to do so."""
    harness = new_harness()
    store = await harness.open()
    at = await created(store, B)
    before = await _numbers_deleted(store)
    for _ in range(_COMMITS_TO_COMPACT):
        at = await value(commit_one(store, put(B, at)))
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
    await value(commit_one(store, Transition(address=B, messages=(message(B, A, "1"),), events=(started(A),))))
    (logged,) = await value(store.events(0, 9))
    number = await message_id(store, "1")
    await value(commit_one(store, Transition(address=A, expected=fence, write=Purge(), inbound=Consumed(number))))
    await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
    return fence.incarnation, number, logged.sequence


@in_harness(CLOSE, HEALTH, FAILURES_ARE_VALUES)
async def a_closed_store_answers_unavailable(new_harness: NewHarness) -> None:
    """After ``close`` every operation answers ``StoreUnavailable``, health says failed, and closing again works."""
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
    """An open store's health check says ok."""
    async with opened(new_harness()) as store:
        same((await value(store.health())).state, "ok", "an open store is healthy")


@in_harness(CLOSE, DURABLE)
async def closing_waits_for_running_operations(new_harness: NewHarness) -> None:
    """A commit that is under way when the store is closed is answered, and the answer is true."""
    harness = new_harness()
    store = await harness.open()
    addresses = [address(str(number)) for number in range(20)]
    under_way = [asyncio.ensure_future(answer(commit_one(store, put(at)))) for at in addresses]
    # The commits begin before the close does.
    await asyncio.sleep(0)
    await value(store.close())
    answers = await asyncio.gather(*under_way)
    async with opened(harness) as again:
        for at, found in zip(addresses, answers, strict=True):
            stored = (await value(load_one(again, at))).instance
            same(stored is not None, isinstance(found, Success), f"{at} was answered {found}: that is what is stored")


def _operations(store: Store) -> tuple[Callable[[], Awaitable[Any]], ...]:
    return (
        lambda: load_one(store, A),
        lambda: commit_one(store, put(A)),
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
        await value(load_one(store, A, "k", 0)),
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
    """Two openings never both write to an owned store."""
    harness = new_harness()
    async with opened(harness) as store:
        fence = await created(store, AT)
        try:
            second = await harness.open()
        except StoreLocked:
            # The refused opening must not have ended the first one.
            await value(commit_one(store, put(AT, fence)))
            return
        await _first_is_ended(store, second, fence)


async def _first_is_ended(first: Store, second: Store, fence: Fence) -> None:
    late = await value(commit_one(second, put(AT, fence)))
    await failure(commit_one(first, put(AT, late)), StoreUnavailable, "the opening before cannot write any more")
    await failure(load_one(first, AT), StoreUnavailable, "the opening before cannot read any more")
    loaded = (await value(load_one(second, AT))).instance
    same(None if loaded is None else loaded.fence, late, "what the second opening wrote stands")
    await value(second.close())


@in_harness(OWNERSHIP, READS_ITS_WRITES, FENCED, COMPARES_FENCE, EPOCH, needs="shared")
async def two_openings_share_their_data(new_harness: NewHarness) -> None:
    """Each opening reads the other's writes. When two transitions expect the same fence, one is committed."""
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
        loaded = (await value(load_one(there, AT))).instance
        same(None if loaded is None else loaded.fence, fence, "one opening reads what the other wrote")
        answers = await asyncio.gather(*(answer(commit_one(store, put(AT, fence))) for store in (here, there)))
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
    """Its own address returns ``StoreCorrupt``, listings continue behind it, and health reports it."""
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
    await failure(load_one(store, A), StoreCorrupt, "a row that cannot be read answers StoreCorrupt")
    holds((await value(load_one(store, B))).instance is not None, "other rows can be read")
    same([one.address for one in await value(store.due(9, 1))], [B], "due leaves it out, and its page is still full")
    same([one.address for one in await value(store.find(Query(limit=1)))], [B], "find leaves it out")
    same((await value(store.health())).state, "degraded", "the health of a store with unreadable rows is degraded")


CORRUPTION_CASES: tuple[Case, ...] = (an_unreadable_row_affects_no_other,)


NEVER = 1_000_000  # more lines than any commit runs
_KILLS = 6  # spread over the lines that run
_OPENING_KILLS = 3  # each takes three processes
_CUTS = (1, 50, 99)  # percent of a commit's bytes

_WHOLE = CommitStep(
    at=0,
    fence="right",
    write="put",
    instance=instance(PLACES[0], state='{"n":1}', alarm_ms=4),
    remember=(remembered("k", '"1"'),),
    targets=(0, 1),
    inbound=None,
    event_ms=(1, 2),
    journal=JournalChange(("0", "1")),
)
_AGAIN = attrs.evolve(
    _WHOLE,
    instance=instance(PLACES[0], state='{"n":2}', alarm_ms=10, claim=CLAIM),
    remember=(remembered("l", '"2"'),),
    inbound=InboundStep(of="deliverable", number=0, fate="consumed", not_before_ms=0),
    event_ms=(3,),
    journal=JournalChange(("2",), rewritten=((0, "again"),)),
)
_PURGE = attrs.evolve(_AGAIN, write="purge", inbound=None)
_ELSEWHERE = attrs.evolve(_WHOLE, at=1)
_SENT = attrs.evolve(_WHOLE, write="keep", remember=())  # compares no fence, so that replaying it twice shows
_KILLED = KillStep(commits=(), lines=NEVER)


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_commit_leaves_it_complete_or_absent(new_harness: NewHarness) -> None:
    """State, alarm, claim, key, messages, the consumed message, events and journal: all or nothing."""
    await _at_every_line(new_harness, (_WHOLE,), (_AGAIN,))


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_purge_leaves_it_complete_or_absent(new_harness: NewHarness) -> None:
    """The instance, its journal and the messages to itself are deleted together or not at all."""
    await _at_every_line(new_harness, (_WHOLE,), (_PURGE,))


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_several_commits_leaves_each_complete_or_absent(new_harness: NewHarness) -> None:
    """Acknowledged commits are found. When two expect the same fence, at most one is found."""
    await _at_every_line(new_harness, (_WHOLE,), (_AGAIN, _ELSEWHERE, _PURGE))


@in_harness(KEPT_ATOMIC, KEPT_EVENTS, DECLARE_HISTORY, needs="durable")
async def a_kill_during_a_prune_moves_each_event_once_or_not(new_harness: NewHarness) -> None:
    """An event is in the log or kept, and never in both or in neither, and the declaration is durable."""
    async with opened(new_harness()) as probe:
        present(probe.histories)
    prune = PruneStep(now_ms=3, events_since_ms=9, max_events=9, dead_letters_since_ms=0, limit=5)
    declared = KeepStep(age_ms=20, events=3)
    await _at_every_line(new_harness, (_WHOLE, _SENT, declared, _ELSEWHERE, _KILLED), (prune,))


@in_harness(KILLED_OPENING, DURABLE, EPOCH, needs="durable")
async def a_kill_during_an_opening_loses_and_repeats_nothing(new_harness: NewHarness) -> None:
    """The next opening recovers what a crash left, although the previous opening was killed during the recovery."""
    ran = await _killed(new_harness, [_WHOLE, _SENT, attrs.evolve(_KILLED, opening_lines=(NEVER,))])
    for lines in lines_to_kill_at(ran, kills=_OPENING_KILLS):
        await _killed(new_harness, [_WHOLE, _SENT, attrs.evolve(_KILLED, opening_lines=(lines,))])


@in_harness(CUT_WRITE, ATOMIC, DURABLE, needs="durable")
async def a_write_that_a_kill_cut_spoils_nothing(new_harness: NewHarness) -> None:
    """The commit is complete or absent, the store opens again, and later commits are found."""
    for percent in _CUTS:
        cut = KillStep(commits=(_SENT,), lines=NEVER, cut_percent=percent)
        await _killed(new_harness, [_WHOLE, _SENT, _SENT, cut, _SENT, _KILLED, _SENT, ReopenStep()])


async def _at_every_line(
    new_harness: NewHarness, before: Sequence[Step], commits: tuple[CommitStep | PruneStep, ...]
) -> None:
    ran = await _killed(new_harness, [*before, KillStep(commits=commits, lines=NEVER)])
    for lines in lines_to_kill_at(ran):
        await _killed(new_harness, [*before, KillStep(commits=commits, lines=lines), _WHOLE])


def lines_to_kill_at(ran: LinesRun, *, kills: int = _KILLS) -> list[int]:
    """Choose the lines to kill at: twice as many that follow a change to a file, and some others."""
    return sorted({*_spread(range(ran.lines), kills), *_spread(ran.changes, 2 * kills)})


def _spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    return numbers if len(numbers) <= count else [numbers[at * len(numbers) // count] for at in range(count)]


async def _killed(new_harness: NewHarness, steps: Sequence[Step]) -> LinesRun:
    return await take_steps(killable(new_harness()), steps)


KILL_CASES: tuple[Case, ...] = (
    a_kill_during_a_commit_leaves_it_complete_or_absent,
    a_kill_during_a_purge_leaves_it_complete_or_absent,
    a_kill_during_several_commits_leaves_each_complete_or_absent,
    a_kill_during_a_prune_moves_each_event_once_or_not,
    a_kill_during_an_opening_loses_and_repeats_nothing,
    a_write_that_a_kill_cut_spoils_nothing,
)

_LOADS = 2  # that begin together with the commit, for stores that use no threads
_LOAD_TIMEOUT_S = 0.1  # a load may wait for the thread that is stalled; then it shows nothing


@in_harness(SHOWS_WHAT_STAYS, DURABLE, needs="durable")
async def a_kill_undoes_nothing_that_a_load_returned(new_harness: NewHarness) -> None:
    """At each line of a commit's code: a worker thread stalls, a load is answered, and the process is killed."""
    ran = await _loaded_and_killed(killable(new_harness()), NEVER)
    for lines in lines_to_kill_at(ran):
        await _loaded_and_killed(killable(new_harness()), lines)


async def _loaded_and_killed(harness: KillableHarness, lines: int) -> LinesRun:
    story: list[str] = []
    store = recorded(await harness.open(), story)
    fence = await created(store, A)
    if isinstance(harness, SubprocessHarness):
        harness.arm(ArmCrash(lines=lines, stall=True))
    commit = asyncio.ensure_future(answer(commit_one(store, put(A, fence))))
    loads = [asyncio.ensure_future(answer(load_one(store, A))) for _ in range(_LOADS)]
    ran = await _until_stalled(harness, commit)
    loads.append(asyncio.ensure_future(answer(load_one(store, A))))
    await asyncio.wait(loads, timeout=_LOAD_TIMEOUT_S)
    await harness.kill()
    shown = [_version(one) for one in await asyncio.gather(*loads)]
    acknowledged = [one.unwrap().version for one in (await commit,) if isinstance(one, Success)]
    with must_open():
        again = recorded(await harness.open(), story)
    stored = (await value(load_one(again, A))).instance
    await again.close()
    await harness.discard()
    expected, found = max([*shown, *acknowledged]), 0 if stored is None else stored.version
    if found < expected:
        details = (f"before the kill the store answered with version {expected}; the next opening has {found}",)
        raise RequirementViolated("a kill undoes nothing that a load returned", details=details, story=story)
    return ran


async def _until_stalled(harness: KillableHarness, commit: asyncio.Future[Result[Fence, Any]]) -> LinesRun:
    """Wait until the process stalls or is dead, or has committed."""
    if not isinstance(harness, SubprocessHarness):
        await asyncio.sleep(0)
        return LinesRun(0, ())
    reached = asyncio.ensure_future(harness.reached())
    waiting: list[asyncio.Future[Any]] = [reached, commit]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    reached.cancel()
    if not commit.done():
        return LinesRun(0, ())
    ran = await harness.disarm()
    return ran if isinstance(ran, LinesRun) else LinesRun(0, ())


def _version(found: Result[Loaded, Any]) -> int:
    """Return the version that a load shows, or 0 without an answer."""
    instance = found.unwrap().instance if isinstance(found, Success) else None
    return 0 if instance is None else instance.version


UNCOMMITTED_READ_CASES: tuple[Case, ...] = (a_kill_undoes_nothing_that_a_load_returned,)
