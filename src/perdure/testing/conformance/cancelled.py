"""Cases: callers that are cancelled while they wait."""

from __future__ import annotations

import asyncio
from typing import Any

from returns.result import Result, Success

from perdure.stores.contract import Store
from perdure.testing.conformance.case import Case, in_harness, in_store
from perdure.testing.conformance.examples import address, created, message, put, remembered, started
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.operation_log import recorded
from perdure.testing.conformance.requirement import RequirementViolated, answer, holds, same, value
from perdure.testing.conformance.requirements import ATOMIC, CANCELLED, DURABLE
from perdure.values.errors import Conflict
from perdure.values.instance import Fence
from perdure.values.transition import Loaded, Transition

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
