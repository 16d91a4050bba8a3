"""Cases: many operations under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from returns.io import IOResult
from returns.result import Failure, Result, Success

from perdure.stores.store import Store
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.examples import address, created, message, put, remembered, started
from perdure.testing.conformance.requirement import answer, holds, same, value
from perdure.testing.conformance.requirements import ATOMIC, CONCURRENT, FENCED, MONOTONIC, READS_ITS_WRITES
from perdure.values.errors import Conflict
from perdure.values.instance import Fence
from perdure.values.transition import Transition

A = TypeVar("A")
E = TypeVar("E")

_MANY = 100


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
async def reads_go_on_beside_commits(store: Store) -> None:
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


async def _together(*asked: Awaitable[IOResult[A, E]]) -> list[Result[A, E]]:
    return list(await asyncio.gather(*(answer(one) for one in asked)))


CASES: tuple[Case, ...] = (one_conflict_among_many, one_winner_for_one_fence, reads_go_on_beside_commits)
