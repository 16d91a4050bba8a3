"""Cases: the alarms, messages and abandoned claims of one engine's share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from perdure.stores.shares import BUCKETS, NOTHING, Share, bucket_of
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.examples import CLAIM, FAR_MS, address, created, instance, message
from perdure.testing.conformance.membership import JOB, sharing, two_openings
from perdure.testing.conformance.requirement import same, value
from perdure.testing.conformance.requirements import ABANDONED, DUE_IN_SHARE, MESSAGES_IN_SHARE
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import OtherEngines

if TYPE_CHECKING:
    from perdure.stores.contract import Store
    from perdure.testing.conformance.harness import NewHarness

_PLACES: Final = tuple(address(str(number)) for number in range(40))
_HALVES: Final = tuple(Share({JOB: frozenset(range(half, BUCKETS, 2))}) for half in (0, 1))
_ALL: Final = Share({JOB: frozenset(range(BUCKETS))})


@in_harness(DUE_IN_SHARE, needs="shared")
async def due_instances_are_divided(new_harness: NewHarness) -> None:
    """Each due instance is in one half of the buckets, in the order of ``due``; a limit counts those in the share."""
    async with two_openings(new_harness) as (here, there):
        for number, at in enumerate(_PLACES):
            await created(here, at, alarm_ms=1 + number % 5)
        other_job = address("x", name="others")
        await created(here, other_job, alarm_ms=1)
        everything = [row.address for row in await value(there.due(3, 99))]
        for share in (*_HALVES, _ALL, NOTHING):
            wanted = [at for at in everything if at in share]
            found = [row.address for row in await value(sharing(there).due(3, 99, share))]
            same(sorted(found), sorted(wanted), "due returns the due instances of the share")
            dues = [row.due_ms for row in await value(sharing(there).due(3, 99, share))]
            same(dues, sorted(due or 0 for due in dues), "due returns the earliest first")
            if wanted:
                first = (await value(sharing(there).due(3, 1, share)))[0]
                rest = await value(sharing(there).due(3, 99, share, (first.due_ms or 0, first.incarnation)))
                same(len(rest), len(wanted) - 1, "due continues after a position")
            few = await value(sharing(there).due(3, 4, share))
            same(len(few), min(4, len(wanted)), "the limit counts instances of the share only")


@in_harness(MESSAGES_IN_SHARE, needs="shared")
async def a_message_is_delivered_by_its_writer_first(new_harness: NewHarness) -> None:
    """The writer sees it at once; the share of its target when it is old, or when the writer is not alive."""
    async with two_openings(new_harness) as (writer, other):
        target = _PLACES[0]
        sent = attrs.evolve(message(address("s"), target, "m"), sent_ms=100)
        await value(writer.commit(Transition(address=address("s"), messages=(sent,))))
        lives = OtherEngines(frozenset({writer.epoch}), known_up_to=other.epoch, me=other.epoch)
        dead = OtherEngines(frozenset(), known_up_to=other.epoch, me=other.epoch)
        newcomer = OtherEngines(frozenset(), known_up_to=writer.epoch - 1, me=other.epoch)
        beside = Share({JOB: frozenset(range(BUCKETS)) - {bucket_of(target)}})

        async def seen(store: Store, share: Share, others: OtherEngines, old_ms: int) -> int:
            return len(await value(sharing(store).messages(FAR_MS, 9, share, others, old_ms)))

        nobody = OtherEngines(frozenset({other.epoch}), known_up_to=other.epoch, me=writer.epoch)
        same(await seen(writer, NOTHING, nobody, 0), 1, "the writer of a message delivers it, whatever its share")
        same(await seen(other, _ALL, lives, 100), 0, "a young message of a living writer is the writer's")
        same(await seen(other, _ALL, newcomer, 100), 0, "a writer that joined since the last heartbeat is alive")
        same(await seen(other, _ALL, lives, 101), 1, "an old message belongs to the share of its target")
        same(await seen(other, _ALL, dead, 0), 1, "a message of a dead writer belongs to the share of its target")
        same(await seen(other, beside, dead, 101), 0, "a message to another share is not returned")
        same(len(await value(other.messages(FAR_MS, 9))), 1, "messages returns all, whatever the share")


@in_harness(ABANDONED, needs="shared")
async def claims_of_dead_engines_are_divided(new_harness: NewHarness) -> None:
    """A claim of either kind is abandoned if its owner is not alive: not one's own, and not a newcomer's."""
    async with two_openings(new_harness) as (here, there):
        dead, newcomer = 0, there.epoch + 1
        owners = (dead, here.epoch, there.epoch, newcomer)
        for number, owner in enumerate(owners):
            claim = attrs.evolve(CLAIM, owner=owner)
            run = instance(address(f"run{number}"), claim=claim)
            event = attrs.evolve(instance(address(f"event{number}")), event_claim=claim)
            for claimed in (run, event):
                await value(here.commit(Transition(address=claimed.address, write=Put(claimed))))
        others = OtherEngines(frozenset({there.epoch}), known_up_to=there.epoch, me=here.epoch)
        found = await _ids(here, _ALL, others)
        same(found, ["event0", "run0"], "claims of dead engines, of either kind")
        gone = OtherEngines(frozenset(), known_up_to=there.epoch, me=here.epoch)
        found = await _ids(here, _ALL, gone)
        same(found, ["event0", "event2", "run0", "run2"], "claims of an engine that is not among the others")
        halves = [await _ids(here, half, gone) for half in _HALVES]
        same(sorted(halves[0] + halves[1]), found, "each abandoned claim is in one share")
        same(len(await value(here.claimed(0, 99))), 2 * len(owners), "claimed returns all, whatever the share")
        first = (await value(sharing(here).abandoned(0, 1, _ALL, gone)))[0]
        rest = await value(sharing(here).abandoned(first.incarnation, 99, _ALL, gone))
        same(len(rest), len(found) - 1, "abandoned continues after an incarnation")


async def _ids(store: Store, share: Share, others: OtherEngines) -> list[str]:
    return sorted(row.address.id for row in await value(sharing(store).abandoned(0, 99, share, others)))


SHARE_CASES: tuple[Case, ...] = (
    due_instances_are_divided,
    a_message_is_delivered_by_its_writer_first,
    claims_of_dead_engines_are_divided,
)
