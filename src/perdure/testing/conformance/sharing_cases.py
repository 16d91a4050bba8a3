"""Cases: a shared store's members, their leases and shares, and openings that stall and take over from each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Final, cast

import attrs
from returns.result import Success

from perdure.stores.contract import Sharing, Store, commit_one, load_one
from perdure.stores.shares import BUCKETS, NOTHING, Members, ServedCode, Share, bucket_of
from perdure.testing.conformance.assertions import answer, failure, holds, same, value
from perdure.testing.conformance.harness import Case, in_harness
from perdure.testing.conformance.histories import (
    CLAIM,
    FAR_MS,
    address,
    created,
    instance,
    message,
    put,
    remembered,
    settled_by,
    started,
)
from perdure.testing.conformance.requirements import (
    ABANDONED,
    CLOSE_LEAVES,
    CONCURRENT,
    DEAD_STAYS_DEAD,
    DUE_IN_SHARE,
    EPOCH,
    EVENTS_IN_ORDER,
    HEARTBEAT,
    LATE_LIVES,
    LEASE_MS,
    LEASES_BY_ITS_CLOCK,
    MEMBERS,
    MEMBERSHIP,
    MESSAGES_IN_SHARE,
    NEW_KEYS,
    OLDEST_FIRST,
    SHARED_EXCEPT,
    WRONG_VIEW,
)
from perdure.values.errors import OwnershipLost
from perdure.values.event import JobStarted
from perdure.values.instance import Fence
from perdure.values.message import Consumed
from perdure.values.transition import NewKeys, Put, Transition
from perdure.values.turn_inputs import OtherEngines

if TYPE_CHECKING:
    from perdure.testing.conformance.harness import ClockedHarness, NewHarness


A, B = address("a"), address("b")
JOB: Final = (A.kind, A.name)
_ROUNDS: Final = 30
_PAGE: Final = 10


def sharing(store: Store) -> Sharing:
    """Return a shared store's operations."""
    holds(store.sharing is not None, "a shared store has `sharing`")
    return cast("Sharing", store.sharing)


@asynccontextmanager
async def two_openings(new_harness: NewHarness) -> AsyncGenerator[tuple[Store, Store]]:
    """Open a store twice, then close both and delete the data."""
    harness = new_harness()
    here = await harness.open()
    there = await harness.open()
    try:
        yield here, there
    finally:
        await there.close()
        await here.close()
        await harness.discard()


@in_harness(MEMBERSHIP, MEMBERS, LEASE_MS, HEARTBEAT, CLOSE_LEAVES, needs="shared")
async def an_opening_is_a_member_until_it_is_closed(new_harness: NewHarness) -> None:
    """Each opening knows the others, from before its first heartbeat to its close."""
    async with two_openings(new_harness) as (here, there):
        both = {here.epoch, there.epoch}
        for store in (here, there):
            found = await value(sharing(store).members())
            same(set(found.epochs), both, "each opening is a member before its first heartbeat")
            same(found.last_epoch, there.epoch, "the greatest epoch that was assigned")
        found = await value(sharing(here).heartbeat({JOB: ServedCode(3, "code 3")}))
        same(
            _served(found),
            {here.epoch: {JOB: ServedCode(3, "code 3")}, there.epoch: {}},
            "a heartbeat states which jobs are served",
        )
        same(_served(await value(sharing(there).members())), _served(found), "other openings read what it stated")
        lease_ms = sharing(here).lease_ms
        for member in found.members:
            holds(0 < member.lease_left_ms <= lease_ms, f"a lease lasts up to {lease_ms} ms: {member}")
        await value(there.close())
        left = await value(sharing(here).heartbeat({}))
        same(_served(left), {here.epoch: {}}, "a closed opening is no member; a heartbeat replaces the jobs")
        same(left.last_epoch, there.epoch, "the greatest epoch that was assigned, also when it has ended")


def _served(members: Members) -> dict[int, dict[tuple[str, str], ServedCode]]:
    return {member.epoch: dict(member.served) for member in members.members}


@in_harness(LEASES_BY_ITS_CLOCK, HEARTBEAT, LATE_LIVES, DEAD_STAYS_DEAD, needs="clocked")
async def an_opening_without_heartbeats_is_declared_dead(new_harness: NewHarness) -> None:
    """It works until another opening declares it dead, and never again. Its earlier writes stay."""
    harness = cast("ClockedHarness", new_harness())
    here, there = await harness.open(), await harness.open()
    lease_ms = sharing(here).lease_ms
    for _ in range(3):
        await harness.pass_time(lease_ms * 0.6)
        both = await value(sharing(here).heartbeat({}))
        await value(sharing(there).heartbeat({}))
        same(len(both.members), 2, "an opening that renews its lease stays a member")
    await harness.pass_time(lease_ms * 1.1)
    fence = await created(there, A)
    same(len((await value(sharing(there).members())).members), 2, "reading the members declares none dead")
    alone = await value(sharing(here).heartbeat({}))
    same(set(alone.epochs), {here.epoch}, "a heartbeat declares dead whose lease has ended, and renews its own")
    await failure(sharing(there).heartbeat({}), OwnershipLost, "an opening that was declared dead renews nothing")
    await failure(commit_one(there, put(A, fence)), OwnershipLost, "an opening that was declared dead writes nothing")
    loaded = (await value(load_one(here, A))).instance
    same(None if loaded is None else loaded.fence, fence, "what it wrote before it was declared dead stays")
    again = await harness.open()
    holds(again.epoch > there.epoch, "the next opening has a new epoch")
    await value(commit_one(again, put(A, fence)))
    for store in (again, there, here):
        await store.close()
    await harness.discard()


@in_harness(LEASES_BY_ITS_CLOCK, DEAD_STAYS_DEAD, MEMBERSHIP, needs="clocked")
async def an_opening_that_stalls_before_its_first_heartbeat_ends(new_harness: NewHarness) -> None:
    """Its lease begins with the opening. When it wakes, it neither joins again nor writes."""
    harness = cast("ClockedHarness", new_harness())
    here, stalled = await harness.open(), await harness.open()
    lease_ms = sharing(here).lease_ms
    for both in (True, False):
        await harness.pass_time(lease_ms * 0.6)
        found = await value(sharing(here).heartbeat({JOB: ServedCode(1)}))
        same(stalled.epoch in found.epochs, both, "the lease of an opening without heartbeats begins when it opens")
    fence = await created(here, A)
    await failure(commit_one(stalled, put(A, fence)), OwnershipLost, "an opening that was declared dead writes nothing")
    await failure(sharing(stalled).heartbeat({JOB: ServedCode(1)}), OwnershipLost, "its first heartbeat comes too late")
    await failure(commit_one(stalled, settled_by(B, Consumed(1))), OwnershipLost, "it consumes nothing either")
    await value(commit_one(here, put(A, fence)))
    same(set((await value(sharing(here).members())).epochs), {here.epoch}, "it is no member")
    for store in (stalled, here):
        await store.close()
    await harness.discard()


@in_harness(MEMBERSHIP, EPOCH, needs="shared")
async def openings_at_once_are_told_apart(new_harness: NewHarness) -> None:
    """Several first openings at the same time: each has a different epoch, and all are members."""
    harness = new_harness()
    stores = await asyncio.gather(*(harness.open() for _ in range(4)))
    epochs = {store.epoch for store in stores}
    same(len(epochs), 4, "openings at the same time have different epochs")
    same(set((await value(sharing(stores[0]).members())).epochs), epochs, "openings at the same time are all members")
    for store in stores:
        await store.close()
    await harness.discard()


@in_harness(CONCURRENT, WRONG_VIEW, needs="shared")
async def openings_write_the_same_instances_at_once(new_harness: NewHarness) -> None:
    """Overlapping commits through two openings are all answered, and one in each rival pair wins."""
    async with two_openings(new_harness) as stores:
        places = [address(str(number)) for number in range(20)]
        fences = {at: await created(stores[0], at) for at in places}
        for turn in range(5):
            # In opposite orders: a store that locks row by row would come to a deadlock here.
            orders = [(store, at) for store, way in zip(stores, (1, -1), strict=True) for at in places[::way]]
            answers = await asyncio.gather(*(answer(commit_one(store, put(at, fences[at]))) for store, at in orders))
            won = {at: one.unwrap() for (_, at), one in zip(orders, answers, strict=True) if isinstance(one, Success)}
            same(set(won), set(places), f"of two rivals over each instance one is committed, in round {turn}")
            same(sum(isinstance(one, Success) for one in answers), len(places), "of two rivals only one is committed")
            fences = won


@in_harness(NEW_KEYS, CONCURRENT, needs="shared")
async def of_two_openings_that_store_a_new_key_one_conflicts(new_harness: NewHarness) -> None:
    """Also where the transitions write no instance, whose fence would let only one of them through."""
    async with two_openings(new_harness) as (here, there):
        for end_ms in range(1, _ROUNDS):
            # Over the entry that expires at `end_ms`, if it is still that one.
            key, new = remembered("k", expires_ms=end_ms + 1), NewKeys(("k",), end_ms)
            write = Transition(address=A, remember=(key,), new_keys=new)
            stored = await asyncio.gather(*(answer(commit_one(store, write)) for store in (here, there)))
            same(sum(isinstance(each, Success) for each in stored), 1, f"one of two transitions: {stored}")


@in_harness(OLDEST_FIRST, WRONG_VIEW, needs="shared")
async def a_pair_keeps_its_order_over_openings(new_harness: NewHarness) -> None:
    """One opening sends while another consumes the head: no message stays behind, and none overtakes."""
    async with two_openings(new_harness) as (sender, consumer):
        await value(commit_one(sender, Transition(address=A, messages=(message(A, B, "0"),))))
        for number in range(1, _ROUNDS):
            (head,) = await value(consumer.messages(FAR_MS, 9))
            same(head.message.payload, str(number - 1), "the oldest message of the pair comes first")
            sending = commit_one(sender, Transition(address=A, messages=(message(A, B, str(number)),)))
            consuming = commit_one(consumer, settled_by(B, Consumed(head.message_id)))
            both = (answer(sending), answer(consuming))
            # Both begin first in turn: a mistake may need one of the two orders.
            await asyncio.gather(*(both if number % 2 else both[::-1]))
        last = [one.message.payload for one in await value(sender.messages(FAR_MS, 9))]
        same(last, [str(_ROUNDS - 1)], "the last message is at the head when those before it are consumed")


@in_harness(EVENTS_IN_ORDER, needs="shared")
async def a_reader_of_the_log_misses_nothing(new_harness: NewHarness) -> None:
    """A sink pages through the log while two openings write it: it reads each event once."""
    async with two_openings(new_harness) as stores:
        read: list[str] = []
        after = 0

        async def write(store: Store, own: str) -> None:
            for number in range(_ROUNDS):
                await value(commit_one(store, Transition(address=A, events=(started(A, id_=f"{own}{number}"),))))

        async def page() -> int:
            nonlocal after
            found = await value(stores[0].events(after, _PAGE))
            read.extend(one.event.event_id for one in found if isinstance(one.event, JobStarted))
            after = found[-1].sequence if found else after
            return len(found)

        writing = asyncio.gather(write(stores[0], "x"), write(stores[1], "y"))
        while not writing.done():
            await page()
            await asyncio.sleep(0)
        await writing
        for _ in range(_ROUNDS):  # a shared store may show events a little later
            if len(read) >= 2 * _ROUNDS:
                break
            if await page() == 0:
                await asyncio.sleep(0.05)
        same(sorted(read), sorted(f"{own}{number}" for own in "xy" for number in range(_ROUNDS)), "each event, once")


MEMBERSHIP_CASES: tuple[Case, ...] = (
    an_opening_is_a_member_until_it_is_closed,
    an_opening_without_heartbeats_is_declared_dead,
    an_opening_that_stalls_before_its_first_heartbeat_ends,
    openings_at_once_are_told_apart,
    openings_write_the_same_instances_at_once,
    of_two_openings_that_store_a_new_key_one_conflicts,
    a_pair_keeps_its_order_over_openings,
    a_reader_of_the_log_misses_nothing,
)


_PLACES: Final = tuple(address(str(number)) for number in range(40))
_HALVES: Final = tuple(Share({JOB: frozenset(range(half, BUCKETS, 2))}) for half in (0, 1))
_WHOLE: Final = Share({JOB: frozenset(range(BUCKETS))})


@in_harness(DUE_IN_SHARE, needs="shared")
async def due_instances_are_divided(new_harness: NewHarness) -> None:
    """Each due instance is in one half of the buckets, in ``due`` order. A limit counts instances in the share."""
    async with two_openings(new_harness) as (here, there):
        for number, at in enumerate(_PLACES):
            await created(here, at, alarm_ms=1 + number % 5)
        other_job = address("x", name="others")
        await created(here, other_job, alarm_ms=1)
        everything = [row.address for row in await value(there.due(3, 99))]
        for share in (*_HALVES, _WHOLE, NOTHING):
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


@in_harness(MESSAGES_IN_SHARE, SHARED_EXCEPT, needs="shared")
async def a_message_is_delivered_by_its_writer_first(new_harness: NewHarness) -> None:
    """The writer sees it immediately. The target's share sees it when it is old, or when the writer is not alive."""
    async with two_openings(new_harness) as (writer, other):
        target = _PLACES[0]
        sent = attrs.evolve(message(address("s"), target, "m"), sent_ms=100)
        await value(commit_one(writer, Transition(address=address("s"), messages=(sent,))))
        lives = OtherEngines(frozenset({writer.epoch}), known_up_to=other.epoch, me=other.epoch)
        dead = OtherEngines(frozenset(), known_up_to=other.epoch, me=other.epoch)
        newcomer = OtherEngines(frozenset(), known_up_to=writer.epoch - 1, me=other.epoch)
        beside = Share({JOB: frozenset(range(BUCKETS)) - {bucket_of(target)}})

        async def seen(store: Store, share: Share, others: OtherEngines, old_ms: int) -> int:
            return len(await value(sharing(store).messages(FAR_MS, 9, share, others, old_ms)))

        nobody = OtherEngines(frozenset({other.epoch}), known_up_to=other.epoch, me=writer.epoch)
        same(await seen(writer, NOTHING, nobody, 0), 1, "the writer of a message delivers it, whatever its share")
        same(await seen(other, _WHOLE, lives, 100), 0, "a young message of a living writer is the writer's")
        same(await seen(other, _WHOLE, newcomer, 100), 0, "a writer that joined since the last heartbeat is alive")
        same(await seen(other, _WHOLE, lives, 101), 1, "an old message belongs to the share of its target")
        same(await seen(other, _WHOLE, dead, 0), 1, "a message of a dead writer belongs to the share of its target")
        same(await seen(other, beside, dead, 101), 0, "a message to another share is not returned")
        same(len(await value(other.messages(FAR_MS, 9))), 1, "messages returns all, whatever the share")
        for store in (writer, other):
            left_out = sharing(store).messages(FAR_MS, 9, _WHOLE, dead, 101, (JOB,))
            same(await value(left_out), (), "a message to one of the excepted jobs is left out")
            present = sharing(store).messages(FAR_MS, 9, _WHOLE, dead, 101, ((JOB[0], "other"), ("other", JOB[1])))
            same(len(await value(present)), 1, "a message to another job is not")


@in_harness(ABANDONED, needs="shared")
async def claims_of_dead_engines_are_divided(new_harness: NewHarness) -> None:
    """A run claim or event claim is abandoned if its owner is not alive: not one's own, and not a newcomer's."""
    async with two_openings(new_harness) as (here, there):
        dead, newcomer = 0, there.epoch + 1
        owners = (dead, here.epoch, there.epoch, newcomer)
        for number, owner in enumerate(owners):
            claim = attrs.evolve(CLAIM, owner=owner)
            run = instance(address(f"run{number}"), claim=claim)
            event = attrs.evolve(instance(address(f"event{number}")), event_claim=claim)
            for claimed in (run, event):
                await value(commit_one(here, Transition(address=claimed.address, write=Put(claimed))))
        others = OtherEngines(frozenset({there.epoch}), known_up_to=there.epoch, me=here.epoch)
        found = await _ids(here, _WHOLE, others)
        same(found, ["event0", "run0"], "claims of dead engines, of either kind")
        gone = OtherEngines(frozenset(), known_up_to=there.epoch, me=here.epoch)
        found = await _ids(here, _WHOLE, gone)
        same(found, ["event0", "event2", "run0", "run2"], "claims of an engine that is not among the others")
        halves = [await _ids(here, half, gone) for half in _HALVES]
        same(sorted(halves[0] + halves[1]), found, "each abandoned claim is in one share")
        same(len(await value(here.claimed(0, 99))), 2 * len(owners), "claimed returns all, whatever the share")
        first = (await value(sharing(here).abandoned(0, 1, _WHOLE, gone)))[0]
        rest = await value(sharing(here).abandoned(first.incarnation, 99, _WHOLE, gone))
        same(len(rest), len(found) - 1, "abandoned continues after an incarnation")


async def _ids(store: Store, share: Share, others: OtherEngines) -> list[str]:
    return sorted(row.address.id for row in await value(sharing(store).abandoned(0, 99, share, others)))


SHARE_CASES: tuple[Case, ...] = (
    due_instances_are_divided,
    a_message_is_delivered_by_its_writer_first,
    claims_of_dead_engines_are_divided,
)


AT = address("a")
_SEEDS: Final = 3
_STEPS: Final = 60
_MOST: Final = 4
_ALL: Final = 1_000
_ACTIONS: Final = ("open", "beat", "beat", "beat", "write", "write", "write", "stall", "stall", "close")
_STALL: Final = 0.4
"""The part of a lease that passes in one step: no lease ends nearly at the moment of a look."""


@attrs.define(eq=False)
class _Opening:
    """An opening's expected state: how much lease is left, and whether it was declared dead."""

    store: Store
    lease_left: float = 1.0
    is_dead: bool = False


@attrs.define
class _History:
    """One store's openings, and the writes that were accepted."""

    harness: ClockedHarness
    drawn: Random
    fence: Fence
    openings: list[_Opening]
    written: list[str] = attrs.Factory(list[str])

    async def step(self, number: int) -> None:
        """Let one thing happen."""
        action = self.drawn.choice(_ACTIONS)
        if action == "open" or not self.openings:
            if len(self.openings) < _MOST:
                self.openings.append(_Opening(await self.harness.open()))
            return
        chosen = self.drawn.choice(self.openings)
        match action:
            case "beat":
                await self.beat(chosen)
            case "write":
                await self.write(chosen, str(number))
            case "stall":
                await self.harness.pass_time(sharing(chosen.store).lease_ms * _STALL)
                for each in self.openings:
                    each.lease_left -= _STALL
            case _:
                self.openings.remove(chosen)
                await value(chosen.store.close())

    async def beat(self, chosen: _Opening) -> None:
        """Send a heartbeat: it declares dead all others whose lease has ended."""
        if chosen.is_dead:
            await failure(sharing(chosen.store).heartbeat({}), OwnershipLost, "a heartbeat of an opening that is dead")
            return
        found = await value(sharing(chosen.store).heartbeat({}))
        chosen.lease_left = 1.0
        for each in self.openings:
            each.is_dead = each.is_dead or each.lease_left < 0
        living = {each.store.epoch for each in self.openings if not each.is_dead}
        same(set(found.epochs), living, "the members are the openings whose lease lasts, and no earlier one")

    async def write(self, chosen: _Opening, name: str) -> None:
        """Commit over the present row, with an event."""
        transition = attrs.evolve(put(AT, self.fence), events=(started(AT, id_=name),))
        if chosen.is_dead:
            await failure(commit_one(chosen.store, transition), OwnershipLost, "a write of an opening that is dead")
            return
        self.fence = await value(commit_one(chosen.store, transition))
        self.written.append(name)

    async def run(self) -> None:
        """Let many things happen, and compare the row and its history."""
        for number in range(_STEPS):
            await self.step(number)
        for each in self.openings:
            await value(each.store.close())
        last = await self.harness.open()
        loaded = (await value(load_one(last, AT))).instance
        same(None if loaded is None else loaded.fence, self.fence, "the row is that of the last write")
        log = [one.event.event_id for one in await value(last.events(0, _ALL)) if isinstance(one.event, JobStarted)]
        same(log, self.written, "the history has every accepted write, and no other")
        await last.close()


@in_harness(LEASES_BY_ITS_CLOCK, HEARTBEAT, LATE_LIVES, DEAD_STAYS_DEAD, CLOSE_LEAVES, needs="clocked")
async def openings_take_over_from_each_other(new_harness: NewHarness) -> None:
    """Openings stall, wake and follow each other: each writes until it is declared dead, and nothing afterwards."""
    for seed in range(_SEEDS):
        harness = cast("ClockedHarness", new_harness())
        first = await harness.open()
        drawn = Random(seed)  # noqa: S311 - reproducible
        await _History(harness, drawn, await created(first, AT), [_Opening(first)]).run()
        await harness.discard()


TAKEOVER_CASES: tuple[Case, ...] = (openings_take_over_from_each_other,)
