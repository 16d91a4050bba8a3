"""Cases: the members of a shared store, and their leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

from returns.result import Success

from perdure.stores.contract import Sharing, Store
from perdure.stores.shares import Members
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.examples import FAR_MS, address, created, message, put, settled_by, started
from perdure.testing.conformance.requirement import answer, failure, holds, same, value
from perdure.testing.conformance.requirements import (
    CLOSE_LEAVES,
    CONCURRENT,
    DEAD_STAYS_DEAD,
    EPOCH,
    EVENTS_IN_ORDER,
    HEARTBEAT,
    LATE_LIVES,
    LEASE_MS,
    LEASES_BY_ITS_CLOCK,
    MEMBERS,
    MEMBERSHIP,
    OLDEST_FIRST,
    WRONG_VIEW,
)
from perdure.values.errors import OwnershipLost
from perdure.values.event import JobStarted
from perdure.values.message import Consumed
from perdure.values.transition import Transition

if TYPE_CHECKING:
    from perdure.testing.conformance.harness import ClockedHarness, NewHarness

A, B = address("a"), address("b")
JOB: Final = (A.kind, A.name)
_ROUNDS: Final = 30
_PAGE: Final = 10


def sharing(store: Store) -> Sharing:
    """Return the operations of a shared store."""
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
        found = await value(sharing(here).heartbeat({JOB: 3}))
        same(_served(found), {here.epoch: {JOB: 3}, there.epoch: {}}, "a heartbeat states which jobs are served")
        same(_served(await value(sharing(there).members())), _served(found), "other openings read what it stated")
        lease_ms = sharing(here).lease_ms
        for member in found.members:
            holds(0 < member.lease_left_ms <= lease_ms, f"a lease lasts up to {lease_ms} ms: {member}")
        await value(there.close())
        left = await value(sharing(here).heartbeat({}))
        same(_served(left), {here.epoch: {}}, "a closed opening is no member; a heartbeat replaces the jobs")
        same(left.last_epoch, there.epoch, "the greatest epoch that was assigned, also when it has ended")


def _served(members: Members) -> dict[int, dict[tuple[str, str], int]]:
    return {member.epoch: dict(member.served) for member in members.members}


@in_harness(LEASES_BY_ITS_CLOCK, HEARTBEAT, LATE_LIVES, DEAD_STAYS_DEAD, needs="clocked")
async def an_opening_without_heartbeats_is_declared_dead(new_harness: NewHarness) -> None:
    """It works until another opening declares it dead, and never again; what it wrote before stays."""
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
    await failure(there.commit(put(A, fence)), OwnershipLost, "an opening that was declared dead writes nothing")
    loaded = (await value(here.load(A))).instance
    same(None if loaded is None else loaded.fence, fence, "what it wrote before it was declared dead stays")
    again = await harness.open()
    holds(again.epoch > there.epoch, "the next opening has a new epoch")
    await value(again.commit(put(A, fence)))
    for store in (again, there, here):
        await store.close()
    await harness.discard()


@in_harness(LEASES_BY_ITS_CLOCK, DEAD_STAYS_DEAD, MEMBERSHIP, needs="clocked")
async def an_opening_that_stalls_before_its_first_heartbeat_ends(new_harness: NewHarness) -> None:
    """Its lease begins with the opening; when it wakes, it neither joins again nor writes."""
    harness = cast("ClockedHarness", new_harness())
    here, stalled = await harness.open(), await harness.open()
    lease_ms = sharing(here).lease_ms
    for both in (True, False):
        await harness.pass_time(lease_ms * 0.6)
        found = await value(sharing(here).heartbeat({JOB: 1}))
        same(stalled.epoch in found.epochs, both, "the lease of an opening without heartbeats begins when it opens")
    fence = await created(here, A)
    await failure(stalled.commit(put(A, fence)), OwnershipLost, "an opening that was declared dead writes nothing")
    await failure(sharing(stalled).heartbeat({JOB: 1}), OwnershipLost, "its first heartbeat comes too late")
    await failure(stalled.commit(settled_by(B, Consumed(1))), OwnershipLost, "it consumes nothing either")
    await value(here.commit(put(A, fence)))
    same(set((await value(sharing(here).members())).epochs), {here.epoch}, "it is no member")
    for store in (stalled, here):
        await store.close()
    await harness.discard()


@in_harness(MEMBERSHIP, EPOCH, needs="shared")
async def openings_at_once_are_told_apart(new_harness: NewHarness) -> None:
    """Several first openings at the same time: each has an epoch of its own, and all are members."""
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
    """Overlapping commits through two openings are all answered, and one of each pair of rivals wins."""
    async with two_openings(new_harness) as stores:
        places = [address(str(number)) for number in range(20)]
        fences = {at: await created(stores[0], at) for at in places}
        for turn in range(5):
            orders = [(store, at) for store, way in zip(stores, (1, -1), strict=True) for at in places[::way]]
            answers = await asyncio.gather(*(answer(store.commit(put(at, fences[at]))) for store, at in orders))
            won = {at: one.unwrap() for (_, at), one in zip(orders, answers, strict=True) if isinstance(one, Success)}
            same(set(won), set(places), f"of two rivals over each instance one is committed, in round {turn}")
            same(sum(isinstance(one, Success) for one in answers), len(places), "of two rivals only one is committed")
            fences = won


@in_harness(OLDEST_FIRST, WRONG_VIEW, needs="shared")
async def a_pair_keeps_its_order_over_openings(new_harness: NewHarness) -> None:
    """One opening sends while another consumes the head: no message stays behind, and none overtakes."""
    async with two_openings(new_harness) as (sender, consumer):
        await value(sender.commit(Transition(address=A, messages=(message(A, B, "0"),))))
        for number in range(1, _ROUNDS):
            (head,) = await value(consumer.messages(FAR_MS, 9))
            same(head.message.payload, str(number - 1), "the oldest message of the pair comes first")
            sending = sender.commit(Transition(address=A, messages=(message(A, B, str(number)),)))
            consuming = consumer.commit(settled_by(B, Consumed(head.message_id)))
            both = (answer(sending), answer(consuming))
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
                await value(store.commit(Transition(address=A, events=(started(A, id_=f"{own}{number}"),))))

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
    a_pair_keeps_its_order_over_openings,
    a_reader_of_the_log_misses_nothing,
)
