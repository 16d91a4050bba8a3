"""Cases: a store is killed at one line after the other of its own code, in the middle of commits."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.testing.conformance.case import Case, in_place
from perdure.testing.conformance.hosted import HostedPlace
from perdure.testing.conformance.pair import Pair
from perdure.testing.conformance.place import MortalPlace, NewPlace, Place
from perdure.testing.conformance.promises import ATOMIC, DURABLE, EPOCH
from perdure.testing.conformance.samples import CLAIM, instance, remembered
from perdure.testing.conformance.steps import PLACES, Commit, Inbound, Kill, Step

_NEVER = 1_000_000  # more lines than any commit runs
_KILLS = 8  # spread over the lines of a commit

_WHOLE = Commit(
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
    inbound=Inbound(of="deliverable", number=0, fate="consumed", not_before_ms=0),
    event_ms=(3,),
)
_PURGE = attrs.evolve(_AGAIN, write="purge", inbound=None)
_ELSEWHERE = attrs.evolve(_WHOLE, at=1)


@in_place(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_commit_leaves_it_whole_or_not_at_all(new_place: NewPlace) -> None:
    """State, alarm, claim, key, messages, the message it takes and events: all of it or nothing."""
    await _at_every_line(new_place, (_WHOLE,), (_AGAIN,))


@in_place(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_a_purge_leaves_it_whole_or_not_at_all(new_place: NewPlace) -> None:
    """The instance goes with the messages to itself, or both stay."""
    await _at_every_line(new_place, (_WHOLE,), (_PURGE,))


@in_place(ATOMIC, DURABLE, EPOCH, needs="durable")
async def a_kill_during_several_commits_leaves_each_whole_or_not_at_all(new_place: NewPlace) -> None:
    """What was answered is there; of two that expect the same, one at most."""
    await _at_every_line(new_place, (_WHOLE,), (_AGAIN, _ELSEWHERE, _PURGE))


async def _at_every_line(new_place: NewPlace, before: Sequence[Step], commits: tuple[Commit, ...]) -> None:
    all_lines = await _killed(new_place, [*before, Kill(commits=commits, lines=_NEVER)])
    stride = max(1, all_lines // _KILLS)
    for lines in range(0, all_lines, stride):
        await _killed(new_place, [*before, Kill(commits=commits, lines=lines), _WHOLE])


async def _killed(new_place: NewPlace, steps: Sequence[Step]) -> int:
    return await take_steps(mortal(new_place()), steps)


def mortal(place: Place) -> MortalPlace:
    """Give a place that can kill: itself, if it can, or else one that opens its store in a process of its own."""
    return place if isinstance(place, MortalPlace) else HostedPlace(place)


async def take_steps(place: Place, steps: Sequence[Step]) -> int:
    """Do steps to a store and to the model, compare them after each, and leave nothing.

    Returns:
        How many lines of the store's code ran during the last kill.

    Raises:
        BrokenPromise: the two differ.
    """
    pair = Pair(place, await place.open())
    try:
        for step in steps:
            await pair.take(step)
    finally:
        await pair.tested.store.close()
        await place.discard()
    return pair.lines_run


CASES: tuple[Case, ...] = (
    a_kill_during_a_commit_leaves_it_whole_or_not_at_all,
    a_kill_during_a_purge_leaves_it_whole_or_not_at_all,
    a_kill_during_several_commits_leaves_each_whole_or_not_at_all,
)
