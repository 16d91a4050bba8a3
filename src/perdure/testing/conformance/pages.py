"""Cases: pages of listings, at real sizes, and while rows are deleted between pages."""

from __future__ import annotations

import asyncio

import attrs

from perdure.stores.contract import Store
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.examples import CLAIM, ERROR, FAR_MS, address, instance, message, put, started
from perdure.testing.conformance.requirement import same, value
from perdure.testing.conformance.requirements import (
    CLAIMED,
    DEAD_LETTERS,
    DELIVERABLE,
    DUE,
    EVENTS,
    FIND,
    HISTORY,
    PAGES,
)
from perdure.values.address import Address
from perdure.values.instance import Fence
from perdure.values.message import DeadLettered, Postponed
from perdure.values.transition import Purge, Put, Transition

_INSTANCES = 260  # above the pages of 100 and 256 that stores like
_ROWS = 1_000  # the greatest limit

A, B = address("a"), address("b")


@in_store(PAGES, FIND, DUE, CLAIMED)
async def a_page_of_instances_is_full(store: Store) -> None:
    """``find``, ``due`` and ``claimed`` return up to as many instances as were asked for."""
    ats = [address(f"{number:03}") for number in range(_INSTANCES)]
    changes = [
        Transition(address=at, write=Put(instance(at, alarm_ms=number, claim=CLAIM if number % 2 else None)))
        for number, at in enumerate(ats)
    ]
    await asyncio.gather(*(value(store.commit(change)) for change in changes))
    found = [one.address for one in await value(store.find(Query(limit=_ROWS)))]
    same(found, ats, f"find returns all {_INSTANCES} instances")
    found = [one.address for one in await value(store.due(FAR_MS, _ROWS))]
    idle = [at for number, at in enumerate(ats) if instance(at, alarm_ms=number).due_ms is not None]
    same(found, idle, f"due returns all {_INSTANCES} instances")
    found = sorted(one.address for one in await value(store.claimed(0, _ROWS)))
    same(found, ats[1::2], f"claimed returns all {_INSTANCES // 2} instances with a claim")


@in_store(PAGES, DELIVERABLE, DEAD_LETTERS, EVENTS, HISTORY)
async def a_page_of_rows_is_full(store: Store) -> None:
    """``messages``, ``dead_letters``, ``events`` and ``history`` return up to as many rows as were asked for."""
    sent = tuple(message(A, address(f"{number}"), f"{number}") for number in range(_ROWS))
    logged = tuple(started(A, at_ms=number) for number in range(_ROWS))
    await value(store.commit(Transition(address=A, messages=sent, events=logged)))
    found = await value(store.messages(0, _ROWS))
    same([one.message.payload for one in found], [one.payload for one in sent], f"messages returns all {_ROWS}")
    same(
        [one.event.at_ms for one in await value(store.events(0, _ROWS))], [*range(_ROWS)], f"events returns all {_ROWS}"
    )
    newest = [one.event.at_ms for one in await value(store.history(A, None, _ROWS))]
    same(newest, [*reversed(range(_ROWS))], f"history returns all {_ROWS}")
    ids = [one.message_id for one in found][:_INSTANCES]
    fates = [DeadLettered(message_id=id_, attempts=1, error=ERROR) for id_ in ids]
    await asyncio.gather(*(value(store.commit(Transition(address=B, inbound=fate))) for fate in fates))
    dead = [one.message_id for one in await value(store.dead_letters(0, _ROWS))]
    same(dead, ids, f"dead_letters returns all {_INSTANCES}")


@in_store(PAGES, FIND, DUE, CLAIMED, DELIVERABLE, HISTORY)
async def a_limit_counts_what_meets_the_conditions(store: Store) -> None:
    """Rows that do not meet the conditions take no space on a page."""
    for number, id_ in enumerate("abcdef"):
        at = address(id_)
        row = instance(at, alarm_ms=10 - number, claim=CLAIM if id_ in "df" else None)
        row = attrs.evolve(row, suspension="paused" if id_ == "e" else None)
        events = (started(at, at_ms=number), started(address("z"), at_ms=number))
        await value(store.commit(Transition(address=at, write=Put(row), events=events)))
    await value(store.commit(put(Address("task", "other", "a"))))
    other = Query(name="other", limit=1)
    queries = ((Query(id_prefix="c", limit=1), ["c"]), (Query(status="paused", limit=1), ["e"]), (other, ["a"]))
    for query, ids in (
        *queries,
        (Query(status="running", limit=2), ["d", "f"]),
        (Query(due_before_ms=9, limit=1), ["c"]),
    ):
        same([one.address.id for one in await value(store.find(query))], ids, f"find fills a page of {query}")
    same([one.address.id for one in await value(store.claimed(0, 2))], ["d", "f"], "claimed fills its page")
    newest = [one.event.at_ms for one in await value(store.history(A, None, 1))]
    same(newest, [0], "history fills its page with events of its address")
    for target in "abc":
        await value(store.commit(Transition(address=B, messages=(message(B, address(target), target),))))
    for stored in (await value(store.messages(0, 9)))[:2]:
        later = Postponed(message_id=stored.message_id, attempts=1, not_before_ms=50, error=None)
        await value(store.commit(Transition(address=A, inbound=later)))
    same([one.message.payload for one in await value(store.messages(0, 1))], ["c"], "messages fills its page")


@in_store(PAGES, FIND, CLAIMED)
async def a_page_continues_after_an_instance_that_is_gone(store: Store) -> None:
    """The cursor of ``find`` and ``claimed`` need not be stored any more."""
    fences: dict[Address, Fence] = {}
    for id_ in "abcdef":
        at = address(id_)
        fences[at] = await value(store.commit(Transition(address=at, write=Put(instance(at, claim=CLAIM)))))
    first, claimed = await value(store.find(Query(limit=2))), await value(store.claimed(0, 2))
    for gone in first:  # the cursor, and a row before it
        purge = Transition(address=gone.address, expected=fences[gone.address], write=Purge())
        await value(store.commit(purge))
    second = await value(store.find(Query(after=first[-1].address, limit=2)))
    same([one.address.id for one in second], ["c", "d"], "find continues behind a cursor whose row is gone")
    second = await value(store.claimed(claimed[-1].incarnation, 2))
    same([one.address.id for one in second], ["c", "d"], "claimed continues behind a cursor whose row is gone")
    never = await value(store.find(Query(after=address("cc"), limit=9)))
    same([one.address.id for one in never], ["d", "e", "f"], "a cursor may be an address that was never stored")


@in_store(PAGES, DEAD_LETTERS, EVENTS, HISTORY)
async def a_page_continues_after_a_row_that_is_gone(store: Store) -> None:
    """The cursors of ``dead_letters``, ``events`` and ``history`` need not be stored any more."""
    sent = tuple(message(A, address(f"{number}"), f"{number}") for number in range(6))
    await value(store.commit(Transition(address=A, messages=sent, events=tuple(started(A, at_ms=n) for n in range(6)))))
    for stored in await value(store.messages(0, 9)):
        fate = DeadLettered(message_id=stored.message_id, attempts=1, error=ERROR)
        await value(store.commit(Transition(address=B, inbound=fate)))
    dead, events = await value(store.dead_letters(0, 2)), await value(store.events(0, 2))
    for gone in dead:
        same(await value(store.redrive(gone.message_id)), "redriven", "a dead letter can be redriven")
    removed = await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=4)))
    same(removed, 2, "prune deletes what is beyond max_events")
    second = [one.message.payload for one in await value(store.dead_letters(dead[-1].message_id, 2))]
    same(second, ["2", "3"], "dead_letters continues behind a cursor whose row is gone")
    later = [one.event.at_ms for one in await value(store.events(events[-1].sequence, 2))]
    same(later, [2, 3], "events continues behind a cursor whose row is gone")
    older = [one.event.at_ms for one in await value(store.history(A, events[-1].sequence, 2))]
    same(older, [], "history ends where the log begins")


PAGE_CASES: tuple[Case, ...] = (
    a_page_of_instances_is_full,
    a_page_of_rows_is_full,
    a_limit_counts_what_meets_the_conditions,
    a_page_continues_after_an_instance_that_is_gone,
    a_page_continues_after_a_row_that_is_gone,
)
