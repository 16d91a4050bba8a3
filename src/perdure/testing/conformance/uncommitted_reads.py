"""Cases: a kill right after a load, while the commit that the load may have seen is not durable yet."""

from __future__ import annotations

import asyncio
from typing import Any

from returns.result import Result, Success

from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.crash_injector import ArmCrash, LinesRun
from perdure.testing.conformance.examples import address, created, put
from perdure.testing.conformance.harness import KillableHarness, NewHarness, must_open
from perdure.testing.conformance.hosted import SubprocessHarness
from perdure.testing.conformance.kills import NEVER, killable, lines_to_kill_at
from perdure.testing.conformance.operation_log import recorded
from perdure.testing.conformance.requirement import RequirementViolated, answer, value
from perdure.testing.conformance.requirements import DURABLE, SHOWS_WHAT_STAYS
from perdure.values.instance import Fence
from perdure.values.transition import Loaded

A = address("a")

_LOADS = 2  # that begin together with the commit, for stores that use no threads
_LOAD_TIMEOUT_S = 0.1  # a load may wait for the thread that is stalled; then it shows nothing


@in_harness(SHOWS_WHAT_STAYS, DURABLE, needs="durable")
async def a_kill_undoes_nothing_that_a_load_returned(new_harness: NewHarness) -> None:
    """A worker thread stalls at one line of a commit after the other; a load is answered; the process is killed."""
    ran = await _loaded_and_killed(killable(new_harness()), NEVER)
    for lines in lines_to_kill_at(ran):
        await _loaded_and_killed(killable(new_harness()), lines)


async def _loaded_and_killed(harness: KillableHarness, lines: int) -> LinesRun:
    story: list[str] = []
    store = recorded(await harness.open(), story)
    fence = await created(store, A)
    if isinstance(harness, SubprocessHarness):
        harness.arm(ArmCrash(lines=lines, stall=True))
    commit = asyncio.ensure_future(answer(store.commit(put(A, fence))))
    loads = [asyncio.ensure_future(answer(store.load(A))) for _ in range(_LOADS)]
    ran = await _until_stalled(harness, commit)
    loads.append(asyncio.ensure_future(answer(store.load(A))))
    await asyncio.wait(loads, timeout=_LOAD_TIMEOUT_S)
    await harness.kill()
    shown = [_version(one) for one in await asyncio.gather(*loads)]
    acknowledged = [one.unwrap().version for one in (await commit,) if isinstance(one, Success)]
    with must_open():
        again = recorded(await harness.open(), story)
    stored = (await value(again.load(A))).instance
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
    """Return the version that a load shows; 0 without an answer."""
    instance = found.unwrap().instance if isinstance(found, Success) else None
    return 0 if instance is None else instance.version


UNCOMMITTED_READ_CASES: tuple[Case, ...] = (a_kill_undoes_nothing_that_a_load_returned,)
