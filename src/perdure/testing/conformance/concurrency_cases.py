"""Cases: many operations under way at once, and callers that are cancelled while they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import attrs
from returns.io import IOResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest, LoggedEvent
from perdure.testing.conformance.assertions import RequirementViolated, answer, holds, same, value
from perdure.testing.conformance.case import Case, in_harness, in_store, recorded
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirements import (
    ATOMIC,
    CANCELLED,
    COMMIT_ALL,
    CONCURRENT,
    DURABLE,
    EVENTS_IN_ORDER,
    FENCED,
    LOAD_ALL,
    LOAD_TOGETHER,
    MONOTONIC,
    READS_ITS_WRITES,
)
from perdure.testing.conformance.sample_values import address, created, message, put, remembered, started
from perdure.values.errors import Conflict
from perdure.values.instance import Fence
from perdure.values.transition import Loaded, Transition

R = TypeVar("R")
E = TypeVar("E")

_MANY = 100

AT = address("a")


@in_store(CONCURRENT, MONOTONIC)
async def one_conflict_among_many(store: Store) -> None:
    """A transition that conflicts does not fail those that are committed beside it."""
    taken = address("50")
    before = await created(store, taken)
    answers = await _together(*(store.commit(put(address(str(number)))) for number in range(_MANY)))
    lost = [number for number, one in enumerate(answers) if isinstance(one, Failure)]
    same(lost, [50], "only the transition that conflicts fails")
    holds(isinstance(answers[50].failure(), Conflict), "it fails with Conflict")
    fences = [one.unwrap() for one in answers if isinstance(one, Success)]
    same(len({fence.incarnation for fence in fences} | {before.incarnation}), _MANY, "incarnations are given out once")
    for number in range(_MANY):
        instance = (await value(store.load(address(str(number))))).instance
        holds(instance is not None, "what was answered with success is found")


@in_store(COMMIT_ALL, LOAD_ALL, FENCED)
async def a_group_is_answered_one_by_one(store: Store) -> None:
    """Transitions that are written together are answered in order, and one that conflicts fails alone."""
    if store.commit_all is None or store.load_all is None:
        return
    await created(store, address("taken"))
    ids = ("a", "taken", "b", "a", "c")
    told: asyncio.Future[Sequence[Result[Fence, object]]] = asyncio.get_running_loop().create_future()
    store.commit_all([put(address(id_)) for id_ in ids], told.set_result)
    answers = await told
    same([isinstance(one, Success) for one in answers], [True, False, True, False, True], "each is answered in order")
    for one in answers:
        if isinstance(one, Failure):
            holds(isinstance(one.failure(), Conflict), "it fails with Conflict")
    read: asyncio.Future[Sequence[Result[Loaded, object]]] = asyncio.get_running_loop().create_future()
    store.load_all([LoadRequest(address(id_)) for id_ in ("c", "absent", "a")], read.set_result)
    found = [one.unwrap().instance for one in await read]
    same([one and one.address.id for one in found], ["c", None, "a"], "each is read in order")
    for id_, one in zip(ids, answers, strict=True):
        if isinstance(one, Success):
            instance = (await value(store.load(address(id_)))).instance
            same(instance and instance.fence, one.unwrap(), "the row has the fence of the answer")


@in_store(FENCED, CONCURRENT, ATOMIC)
async def one_winner_for_one_fence(store: Store) -> None:
    """Of many transitions that expect the same version, exactly one is committed, with everything it carries."""
    at = address("a")
    fence = await created(store, at)
    answers = await _together(
        *(
            store.commit(
                Transition(
                    address=at,
                    expected=fence,
                    write=put(at, fence, state=f'"{number}"').write,
                    remember=remembered(f"k{number}"),
                    messages=(message(at, address("b"), f'"{number}"'),),
                    events=(started(at, at_ms=number),),
                )
            )
            for number in range(10)
        )
    )
    won = [number for number, one in enumerate(answers) if isinstance(one, Success)]
    same(len(won), 1, "of many commits that expect the same fence, one is answered with success")
    (winner,) = won
    loaded = await value(store.load(at, f"k{winner}", 0))
    holds(loaded.instance is not None and loaded.instance.state == f'"{winner}"', "the winner's state is stored")
    same(loaded.keys_held, 1, "only the winner's key is remembered")
    sent = [one.message.payload for one in await value(store.messages(0, 99))]
    same(sent, [f'"{winner}"'], "only the winner's message is sent")
    same([one.event.at_ms for one in await value(store.history(at, None, 99))], [winner], "only the winner is logged")


@in_store(READS_ITS_WRITES)
async def reads_continue_beside_commits(store: Store) -> None:
    """A load sees everything that was answered before it, whatever is under way."""
    at = address("a")
    fence: Fence | None = None
    for number in range(20):
        others = [store.commit(put(address(f"{number}-{other}"))) for other in range(5)]
        fence, *_ = [one.unwrap() for one in await _together(store.commit(put(at, fence)), *others)]
        under_way = asyncio.ensure_future(answer(store.commit(put(address(f"{number}-beside")))))
        loaded = (await value(store.load(at))).instance
        same(None if loaded is None else loaded.fence, fence, "load sees what was committed before it")
        await under_way


@in_store(EVENTS_IN_ORDER, CONCURRENT)
async def a_sink_misses_no_event(store: Store) -> None:
    """A sink that pages through the log while commits are under way reads every event, once and in order."""
    paged: list[LoggedEvent] = []

    async def page() -> None:
        paged.extend(await value(store.events(paged[-1].sequence if paged else 0, 3)))

    for batch in range(5):
        at_once = [
            Transition(address=address(f"{batch}-{number}"), events=(started(AT, at_ms=number),) * (number % 3 + 1))
            for number in range(10)
        ]
        under_way = [asyncio.ensure_future(answer(store.commit(one))) for one in at_once]
        while not all(one.done() for one in under_way):
            await page()
            await asyncio.sleep(0)  # a store that answers at once gives the others their turn here
    for _ in range(100):  # pages of three: more than there are
        await page()
    logged = [one.sequence for one in await value(store.events(0, 1_000))]
    same([one.sequence for one in paged], logged, "a sink that pages reads every event once, in order")


@in_store(LOAD_TOGETHER, ATOMIC)
async def a_load_reads_one_moment(store: Store) -> None:
    """The instance, the answer and the number of keys that one load returns belong together, whatever is under way."""
    fence: Fence | None = None
    for number in range(30):
        change = attrs.evolve(put(AT, fence, state=f"{number}"), remember=remembered("k", f"{number}"))
        more = Transition(address=AT, remember=remembered(f"k{number}"))
        before = asyncio.gather(*(answer(store.load(AT, "k", 0)) for _ in range(3)))  # begin before the commits
        commits = asyncio.gather(answer(store.commit(change)), answer(store.commit(more)))
        loads = await before
        while not commits.done():
            loads += await _together(*(store.load(AT, "k", 0) for _ in range(3)))
            await asyncio.sleep(0)
        for loaded in (one.unwrap() for one in loads):
            state = None if loaded.instance is None else loaded.instance.state
            kept = None if loaded.remembered is None else loaded.remembered.answer
            same(kept, state, "load returns the answer that was committed with the state")
        committed, _ = await commits
        fence = committed.unwrap()


async def _together(*asked: Awaitable[IOResult[R, E]]) -> list[Result[R, E]]:
    return list(await asyncio.gather(*(answer(one) for one in asked)))


CONCURRENCY_CASES: tuple[Case, ...] = (
    one_conflict_among_many,
    a_group_is_answered_one_by_one,
    one_winner_for_one_fence,
    reads_continue_beside_commits,
    a_sink_misses_no_event,
    a_load_reads_one_moment,
)


A, B = address("a"), address("b")

_AWAITS = (0, 1, 2, 3, 4, 6, 9, 14, 22, 40, 80, 160, 320)
"""After how many steps of the event loop a caller is cancelled: at every early await, then ever more sparsely."""


@in_harness(CANCELLED, ATOMIC, DURABLE)
async def a_cancelled_commit_happens_completely_or_not_at_all(new_harness: NewHarness) -> None:
    """Whatever the await at which its caller is cancelled: what is read, and what the next opening reads."""
    harness = new_harness()
    story: list[str] = []
    acknowledged: list[int] = []
    store = recorded(await harness.open(), story)
    try:
        for number, awaits in enumerate(_AWAITS):
            fence = await _fence(store)
            if await _cancelled(store, _everything_at_once(fence, number), awaits):
                acknowledged.append(number)
            await _commits(store, number)
        before = await _settled(store, story)
    finally:
        await store.close()
    async with opened(harness) as again:
        after = await _happened(again, story)
    holds(
        set(acknowledged) | set(before) <= set(after), f"the next opening finds what was read: {before}, then {after}"
    )


@in_store(CANCELLED)
async def a_cancelled_caller_affects_no_other(store: Store) -> None:
    """Of ten commits and ten loads that are under way together, each in turn is cancelled; the others are answered."""
    await created(store, A)
    for cancelled in range(10):
        ats = [address(f"{cancelled}-{number}") for number in range(10)]
        commits = [asyncio.ensure_future(_commit(store, put(at))) for at in ats]
        loads = [asyncio.ensure_future(_load(store)) for _ in range(10)]
        await _steps(cancelled % 4)
        commits[cancelled].cancel()
        loads[cancelled].cancel()
        found: list[object] = await asyncio.gather(*commits, *loads, return_exceptions=True)
        others = [one for number, one in enumerate(found) if number % 10 != cancelled]
        holds(all(isinstance(one, Success) for one in others), f"a cancelled caller fails no other: {others}")
        for number, at in enumerate(ats):
            stored = (await value(store.load(at))).instance
            holds(number == cancelled or stored is not None, "what was answered with success is found")


def _everything_at_once(fence: Fence | None, number: int) -> Transition:
    change = put(A, fence, state=f"{number}")
    return Transition(
        address=A,
        expected=fence,
        write=change.write,
        remember=remembered(f"k{number}"),
        messages=(message(A, address(f"{number}"), f"{number}"),),
        events=(started(A, at_ms=number),),
    )


async def _cancelled(store: Store, change: Transition, awaits: int) -> bool:
    """Commit, and cancel the caller after some steps of the loop.

    Returns:
        Whether it was answered with success before.
    """
    caller = asyncio.ensure_future(_commit(store, change))
    await _steps(awaits)
    caller.cancel()
    answers = await asyncio.gather(caller, return_exceptions=True)
    return isinstance(answers[0], Success)


async def _commit(store: Store, change: Transition) -> Result[Fence, Any]:
    # Made here, so that a caller who is cancelled before its first step leaves nothing that was never awaited.
    return await answer(store.commit(change))


async def _load(store: Store) -> Result[Loaded, Any]:
    return await answer(store.load(A))


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _fence(store: Store) -> Fence | None:
    stored = (await value(store.load(A))).instance
    return None if stored is None else stored.fence


async def _commits(store: Store, number: int) -> None:
    """Commit after a cancelled commit: with the fence that is stored, which the cancelled one may still move once."""
    for _ in range(3):
        change = put(B, await _fence_of_b(store), state=f"{number}")
        found = await answer(store.commit(change))
        if isinstance(found, Success):
            return
        holds(isinstance(found.failure(), Conflict), f"a commit after a cancelled one was answered {found.failure()}")
    raise RequirementViolated("a commit with the fence that load returned is a Conflict again and again")


async def _fence_of_b(store: Store) -> Fence | None:
    stored = (await value(store.load(B))).instance
    return None if stored is None else stored.fence


async def _settled(store: Store, story: list[str]) -> list[int]:
    """Read which commits happened, again if a cancelled one is still on its way: reads are not one moment."""
    for number in range(5):
        try:
            return await _happened(store, story)
        except RequirementViolated:
            await _commits(store, number)
    return await _happened(store, story)


async def _happened(store: Store, story: list[str]) -> list[int]:
    """Say which of the commits happened, if each did so completely."""
    sent = {one.message.payload for one in await value(store.messages(0, 99))}
    logged = {one.event.at_ms for one in await value(store.history(A, None, 99))}
    happened: list[int] = []
    for number in range(len(_AWAITS)):
        remembers = (await value(store.load(A, f"k{number}", 0))).remembered is not None
        parts = (remembers, f"{number}" in sent, number in logged)
        if len(set(parts)) > 1:
            details = (f"commit {number}: key {parts[0]}, message {parts[1]}, event {parts[2]}",)
            raise RequirementViolated(
                "a cancelled commit happens completely or not at all", details=details, story=story
            )
        happened += [number] if parts[0] else []
    stored = (await value(store.load(A))).instance
    found = (None, 0) if stored is None else (stored.state, stored.version)
    expected = (f"{happened[-1]}", len(happened)) if happened else (None, 0)
    same(found, expected, "state and version are those of the commits that happened")
    return happened


CANCELLATION_CASES: tuple[Case, ...] = (
    a_cancelled_commit_happens_completely_or_not_at_all,
    a_cancelled_caller_affects_no_other,
)
