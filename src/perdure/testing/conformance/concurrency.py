"""Cases: many operations under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

import attrs
from returns.io import IOResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest, LoggedEvent
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.examples import address, created, message, put, remembered, started
from perdure.testing.conformance.requirement import answer, holds, same, value
from perdure.testing.conformance.requirements import (
    ATOMIC,
    COMMIT_ALL,
    CONCURRENT,
    EVENTS_IN_ORDER,
    FENCED,
    LOAD_ALL,
    LOAD_TOGETHER,
    MONOTONIC,
    READS_ITS_WRITES,
)
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
