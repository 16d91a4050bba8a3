"""Cases: a store is killed at lines of its own code, in the middle of commits, and right after a load.

The commit that such a load may have seen is not durable yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import attrs
from returns.result import Result, Success

from perdure.testing.conformance.assertions import RequirementViolated, answer, value
from perdure.testing.conformance.case import Case, in_harness, recorded
from perdure.testing.conformance.crash_injection import ArmCrash, LinesRun
from perdure.testing.conformance.differential import killable, take_steps
from perdure.testing.conformance.harness import KillableHarness, NewHarness, must_open
from perdure.testing.conformance.histories import PLACES, CommitStep, InboundStep, KillStep, ReopenStep, Step
from perdure.testing.conformance.requirements import ATOMIC, CUT_WRITE, DURABLE, EPOCH, KILLED_OPENING, SHOWS_WHAT_STAYS
from perdure.testing.conformance.sample_values import CLAIM, address, created, instance, put, remembered
from perdure.testing.conformance.subprocess_harness import SubprocessHarness
from perdure.values.instance import Fence
from perdure.values.transition import JournalChange, Loaded

NEVER = 1_000_000  # more lines than any commit runs
_KILLS = 6  # spread over the lines that run
_OPENING_KILLS = 3  # each takes three processes
_CUTS = (1, 50, 99)  # percent of a commit's bytes

_WHOLE = CommitStep(
    at=0,
    fence="right",
    write="put",
    instance=instance(PLACES[0], state='{"n":1}', alarm_ms=4),
    remember=remembered("k", '"1"'),
    targets=(0, 1),
    inbound=None,
    event_ms=(1, 2),
    journal=JournalChange(("0", "1")),
)
_AGAIN = attrs.evolve(
    _WHOLE,
    instance=instance(PLACES[0], state='{"n":2}', alarm_ms=10, claim=CLAIM),
    remember=remembered("l", '"2"'),
    inbound=InboundStep(of="deliverable", number=0, fate="consumed", not_before_ms=0),
    event_ms=(3,),
)
_PURGE = attrs.evolve(_AGAIN, write="purge", inbound=None)
_ELSEWHERE = attrs.evolve(_WHOLE, at=1)
_SENT = attrs.evolve(_WHOLE, write="keep", remember=None)  # compares no fence, so that replaying it twice shows
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
    """Acknowledged commits are found; of two that expect the same fence, one at most."""
    await _at_every_line(new_harness, (_WHOLE,), (_AGAIN, _ELSEWHERE, _PURGE))


@in_harness(KILLED_OPENING, DURABLE, EPOCH, needs="durable")
async def a_kill_during_an_opening_loses_and_repeats_nothing(new_harness: NewHarness) -> None:
    """The next opening recovers what a crash left, although the previous opening was killed during the recovery."""
    ran = await _killed(new_harness, [_WHOLE, _SENT, attrs.evolve(_KILLED, opening_lines=(NEVER,))])
    for lines in lines_to_kill_at(ran, kills=_OPENING_KILLS):
        await _killed(new_harness, [_WHOLE, _SENT, attrs.evolve(_KILLED, opening_lines=(lines,))])


@in_harness(CUT_WRITE, ATOMIC, DURABLE, needs="durable")
async def a_write_that_a_kill_cut_spoils_nothing(new_harness: NewHarness) -> None:
    """The commit is complete or absent; the store opens again; later commits are found."""
    for percent in _CUTS:
        cut = KillStep(commits=(_SENT,), lines=NEVER, cut_percent=percent)
        await _killed(new_harness, [_WHOLE, _SENT, _SENT, cut, _SENT, _KILLED, _SENT, ReopenStep()])


async def _at_every_line(new_harness: NewHarness, before: Sequence[Step], commits: tuple[CommitStep, ...]) -> None:
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
    a_kill_during_an_opening_loses_and_repeats_nothing,
    a_write_that_a_kill_cut_spoils_nothing,
)


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
