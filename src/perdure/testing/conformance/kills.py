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
from perdure.testing.conformance.requirements import ATOMIC, DURABLE, EPOCH
from perdure.testing.conformance.steps import PLACES, CommitStep, InboundStep, KillStep, Step

_NEVER = 1_000_000  # more lines than any commit runs
_KILLS = 6  # spread over the lines that run
_CHANGES = 12  # and so many of those that follow a change to a file

_WHOLE = CommitStep(
    at=0,
    fence="right",
    write="put",
    instance=instance(PLACES[0], state='{"n":1}', alarm_ms=4),
    remember=remembered("k", '"1"'),
    targets=(0, 1),
    inbound=None,
    event_ms=(1, 2),
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


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_commit_leaves_it_whole_or_not_at_all(new_harness: NewHarness) -> None:
    """State, alarm, claim, key, messages, the message it takes and events: all of it or nothing."""
    await _at_every_line(new_harness, (_WHOLE,), (_AGAIN,))


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_purge_leaves_it_whole_or_not_at_all(new_harness: NewHarness) -> None:
    """The instance goes with the messages to itself, or both stay."""
    await _at_every_line(new_harness, (_WHOLE,), (_PURGE,))


@in_harness(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_several_commits_leaves_each_whole_or_not_at_all(new_harness: NewHarness) -> None:
    """What was answered is there; of two that expect the same, one at most."""
    await _at_every_line(new_harness, (_WHOLE,), (_AGAIN, _ELSEWHERE, _PURGE))


async def _at_every_line(new_harness: NewHarness, before: Sequence[Step], commits: tuple[CommitStep, ...]) -> None:
    ran = await _killed(new_harness, [*before, KillStep(commits=commits, lines=_NEVER)])
    for lines in _places(ran):
        await _killed(new_harness, [*before, KillStep(commits=commits, lines=lines), _WHOLE])


def _places(ran: LinesRun) -> list[int]:
    """Choose the lines to kill at: those that follow a change to a file, and some others."""
    return sorted({*_spread(range(ran.lines), _KILLS), *_spread(ran.changes, _CHANGES)})


def _spread(numbers: Sequence[int], count: int) -> Sequence[int]:
    return numbers if len(numbers) <= count else [numbers[at * len(numbers) // count] for at in range(count)]


async def _killed(new_harness: NewHarness, steps: Sequence[Step]) -> LinesRun:
    return await take_steps(mortal(new_harness()), steps)


def mortal(place: StoreHarness) -> KillableHarness:
    """Give a place that can kill: itself, if it can, or else one that opens its store in a process of its own."""
    return place if isinstance(place, KillableHarness) else SubprocessHarness(place)


async def take_steps(place: StoreHarness, steps: Sequence[Step]) -> LinesRun:
    """Do steps to a store and to the model, compare them after each, and leave nothing.

    Returns:
        Which lines of the store's code ran during the last kill.

    Raises:
        RequirementViolated: the two differ.
    """
    pair = Differential(place, await place.open())
    try:
        for step in steps:
            await pair.take(step)
    finally:
        await pair.tested.store.close()
        await place.discard()
    return pair.ran


CASES: tuple[Case, ...] = (
    a_kill_during_a_commit_leaves_it_whole_or_not_at_all,
    a_kill_during_a_purge_leaves_it_whole_or_not_at_all,
    a_kill_during_several_commits_leaves_each_whole_or_not_at_all,
)
