"""Transitions that change few columns, and the same as whole rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from returns.result import Failure, Success

from perdure.programs.container import result_inside
from perdure.stores.contract import Store, commit_one
from perdure.values.address import Address
from perdure.values.errors import Conflict
from perdure.values.event import JobStarted
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.transition import Put, Transition

KINDS: Final = ("state", "claim", "run", "no alarm", "event claim", "event end")


def address(number: int, how: str) -> Address:
    return Address("task", how, f"id-{number}")


def first(at: Address, epoch: int) -> Instance:
    """A row of the kind that each change begins with."""
    claim = Claim(owner=epoch, cause="alarm", run_id="r", claimed_ms=5)
    kind = KINDS[int(at.id[3:]) % len(KINDS)]
    return Instance(
        address=at,
        created_ms=1,
        updated_ms=2,
        version=1,
        state="a\0b\1",
        data="{}",
        alarm_ms=7,
        claim=claim if kind in {"run", "no alarm"} else None,
        event_claim=claim if kind == "event end" else None,
        run_count=3,
        event_count=4,
        lane="lane" if kind == "claim" else None,
    )


def change(before: Instance, epoch: int, number: int) -> tuple[Instance, Any]:
    """Return the row after one of the changes, and its name."""
    after = before.changed(version=2, updated_ms=9)
    match KINDS[number % len(KINDS)]:
        case "state":
            return after.changed(state="c\0", event_count=5), "state"
        case "claim":
            claim = Claim(owner=epoch, cause="alarm", run_id="\u2028", claimed_ms=8)
            return after.changed(claim=claim, run_count=4), "claim"
        case "event claim":
            claim = Claim(owner=epoch, cause="event", run_id="\u2028", claimed_ms=8)
            return after.changed(event_claim=claim), "event_claim"
        case "event end":
            return after.changed(state="f", event_count=5, event_claim=None), "event_end"
        case "run":
            return after.changed(state="d\1", alarm_ms=11, claim=None), "run"
        case _:
            return after.changed(state="e", alarm_ms=None, claim=None), "run"


def transition(after: Instance, fence: Fence, changes: Any) -> Transition:
    at = after.address
    event = JobStarted(event_id=f"{at.id}", at_ms=9, address=str(at), run_count=1)
    return Transition(address=at, expected=fence, write=Put(after, changes), events=(event,))


async def committed(store: Store, transitions: Sequence[Transition]) -> Sequence[Any]:
    answered = asyncio.get_running_loop().create_future()
    assert store.commit is not None
    store.commit(transitions, answered.set_result)
    answers: Sequence[Any] = await answered
    return answers


async def write_both(store: Store, group: str) -> None:
    """Write rows of two jobs, ``narrow`` and ``whole``, in the same way; the version of the last is not the stored one.

    Args:
        store: an empty store.
        group: ``narrow``: those of each job in a group of their own; ``mixed``: all in one; ``agreeing``: all but those
            of another version.
    """
    fences: dict[Address, Fence] = {}
    for how in ("narrow", "whole"):
        for number in range(2 * len(KINDS)):
            at = address(number, how)
            new = Transition(address=at, write=Put(first(at, store.epoch)))
            fences[at] = result_inside(await commit_one(store, new)).unwrap()
    written: list[Transition] = []
    for number in range(2 * len(KINDS)):
        for how in ("narrow", "whole"):
            at = address(number, how)
            after, changes = change(first(at, store.epoch), store.epoch, number)
            fence = fences[at] if number < 2 * len(KINDS) - 1 else Fence(fences[at].incarnation, 9)
            after = after.changed(incarnation=fence.incarnation)
            written.append(transition(after, fence, changes if how == "narrow" else "any"))
    if group == "agreeing":
        answers = [*await committed(store, written[:-2]), *await committed(store, written[-2:])]
    elif group == "mixed":
        answers = await committed(store, written)
    else:
        halves = [[each for each in written if each.address.name == how] for how in ("narrow", "whole")]
        answers = [answer for half in halves for answer in await committed(store, half)]
        written = halves[0] + halves[1]
    for each, answer in zip(written, answers, strict=True):
        if each.address.id == f"id-{2 * len(KINDS) - 1}":
            assert isinstance(answer, Failure)
            assert isinstance(answer.failure(), Conflict)
        else:
            assert each.expected is not None
            assert answer in (Success(None), Success(Fence(each.expected.incarnation, 2)))
    at = address(0, "narrow")
    for how in ("narrow", "whole"):
        at = address(0, how)
        last = transition(
            first(at, store.epoch), Fence(fences[at].incarnation, 2), "state" if how == "narrow" else "any"
        )
        assert result_inside(await commit_one(store, last)) == Success(Fence(fences[at].incarnation, 3))
