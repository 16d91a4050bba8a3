"""Cases: a store is killed at one line after the other of its own code, in the middle of commits."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.crash_injector import LinesRun
from perdure.testing.conformance.differential import Differential
from perdure.testing.conformance.examples import CLAIM, instance, remembered
from perdure.testing.conformance.harness import KillableHarness, NewHarness, StoreHarness
from perdure.testing.conformance.hosted import SubprocessHarness
from perdure.testing.conformance.requirements import ATOMIC, CUT_WRITE, DURABLE, EPOCH, KILLED_OPENING
from perdure.testing.conformance.steps import PLACES, CommitStep, InboundStep, KillStep, ReopenStep, Step
from perdure.values.transition import JournalChange

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


def killable(harness: StoreHarness) -> KillableHarness:
    """Return the harness if it can kill, or else one that opens its store in a process of its own."""
    return harness if isinstance(harness, KillableHarness) else SubprocessHarness(harness)


async def take_steps(harness: StoreHarness, steps: Sequence[Step]) -> LinesRun:
    """Do steps to a store and to the model, compare them after each, and leave nothing.

    Returns:
        Which lines of the store's code ran during the last kill.

    Raises:
        RequirementViolated: the two differ.
    """
    pair = Differential(harness, await harness.open())
    try:
        for step in steps:
            await pair.take(step)
    finally:
        await pair.tested.store.close()
        await harness.discard()
    return pair.ran


KILL_CASES: tuple[Case, ...] = (
    a_kill_during_a_commit_leaves_it_complete_or_absent,
    a_kill_during_a_purge_leaves_it_complete_or_absent,
    a_kill_during_several_commits_leaves_each_complete_or_absent,
    a_kill_during_an_opening_loses_and_repeats_nothing,
    a_write_that_a_kill_cut_spoils_nothing,
)
