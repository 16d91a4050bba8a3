"""Cases: hostile names, large values, and pages of listings at real sizes, while rows are deleted between pages."""

from __future__ import annotations

import asyncio

import attrs

from perdure.stores.contract import Store
from perdure.stores.values import Query, Retention
from perdure.testing.conformance.assertions import RequirementViolated, same, value
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.requirements import (
    CLAIMED,
    DEAD_LETTERS,
    DELIVERABLE,
    DUE,
    EVENTS,
    FIND,
    HISTORY,
    KEY_ADDRESS,
    PAGES,
    PURGE_OWN,
    TEXT,
)
from perdure.testing.conformance.sample_values import (
    CLAIM,
    ERROR,
    FAR_MS,
    address,
    created,
    instance,
    message,
    put,
    remembered,
    started,
)
from perdure.values.address import Address
from perdure.values.instance import Fence
from perdure.values.message import DeadLettered, Postponed
from perdure.values.transition import Loaded, Purge, Put, Transition

IDS = (
    "a", "A", "a ", "a  ", " a", "\xe1", "a\u0301", "\uff41", "a_b", "a%b", "a*b", "a?b", "a[b]", "axb", "AXB", "a\\b",
    "a'b", 'a"b', "a:b", "a/b", "../a", "a\nb", "a\tb", "\xdf", "ss", "\u0130", "i", "\u0131", "\U0001f600", "\uffff",
    "%", "_", "NULL", "1", "1.0", "01", "x" * 512,
)  # fmt: skip
"""Ids that a database, a file system or a comparison of its own may take for one another."""

PREFIXES = (
    "a", "A", "a ", "a_", "a%", "a*", "a?", "a[", "a\\", "a'", "%", "_", "\xe1", "\xdf", "s", "\uffff", "x" * 512,
)  # fmt: skip

ELSEWHERE = (
    address("a", name="Orders"),
    address("a", name="orders "),
    address("a", name="order_"),
    address("a", kind="Task"),
    address("a", kind="continuous"),
    address("a", kind="task orders", name="a"),
)
"""Other jobs, with an id that is used already."""

ADDRESSES = (*(address(id_) for id_ in IDS), *ELSEWHERE)

_LARGE = 1_000_000  # characters; above 65,535 and above every page and buffer


@in_store(TEXT)
async def every_address_is_its_own(store: Store) -> None:
    """Ids, names and kinds that look alike are different rows: each is loaded, purged and logged alone."""
    for number, at in enumerate(ADDRESSES):
        change = put(at, state=f"{number}")
        await value(store.commit(attrs.evolve(change, events=(started(at, at_ms=number),))))
    for number, at in enumerate(ADDRESSES):
        loaded = (await value(store.load(at))).instance
        same(None if loaded is None else (loaded.address, loaded.state), (at, f"{number}"), f"load finds {at!r}")
        logged = [one.event.at_ms for one in await value(store.history(at, None, 9))]
        same(logged, [number], f"history returns the events of {at!r} and no others")
    gone = address("a")
    fence = None if (found := (await value(store.load(gone))).instance) is None else found.fence
    await value(store.commit(Transition(address=gone, expected=fence, write=Purge())))
    left = [at for at in ADDRESSES if (await value(store.load(at))).instance is not None]
    same(left, [at for at in ADDRESSES if at != gone], "a purge deletes one instance")


@in_store(FIND, TEXT)
async def a_prefix_is_compared_by_code_point(store: Store) -> None:
    """``find`` takes no character of a prefix for a wildcard, and ignores neither case nor blanks."""
    for at in ADDRESSES:
        await created(store, at)
    for prefix in PREFIXES:
        expected = sorted(at for at in ADDRESSES if at.id.startswith(prefix))
        found = [one.address for one in await value(store.find(Query(id_prefix=prefix, limit=1_000)))]
        same(found, expected, f"find returns the ids that begin with {prefix!r}, and no others")
        of_orders = Query(kind="task", name="orders", id_prefix=prefix, limit=1_000)
        found = [one.address for one in await value(store.find(of_orders))]
        expected = [at for at in expected if (at.kind, at.name) == ("task", "orders")]
        same(found, expected, f"find returns the orders whose id begins with {prefix!r}, and no others")
    for at in ELSEWHERE:
        found = [one.address for one in await value(store.find(Query(kind=at.kind, name=at.name)))]
        same(found, [at], f"find compares kind {at.kind!r} and name {at.name!r} exactly")


@in_store(KEY_ADDRESS, TEXT)
async def a_key_belongs_to_its_whole_address(store: Store) -> None:
    """Jobs that share an id share no keys; keys that look alike are different keys."""
    keys = ("k", "K", "k ", "k_", "kx", "k%", "\u1e31", "k\u0301", "k" * 200)
    for number, at in enumerate((address("a"), *ELSEWHERE)):
        await value(store.commit(Transition(address=at, remember=remembered("k", f"{number}"))))
    for number, at in enumerate((address("a"), *ELSEWHERE)):
        expected = Loaded(remembered=remembered("k", f"{number}"), keys_held=1)
        same(await value(store.load(at, "k", 0)), expected, f"{at!r} has a key of its own")
    at = address("keys")
    for key in keys:
        await value(store.commit(Transition(address=at, remember=remembered(key, f'"{key}"'))))
    for key in keys:
        expected = Loaded(remembered=remembered(key, f'"{key}"'), keys_held=len(keys))
        same(await value(store.load(at, key, 0)), expected, f"{key!r} is a key of its own")


@in_store(PURGE_OWN, TEXT)
async def messages_belong_to_whole_addresses(store: Store) -> None:
    """Each (sender, target) is a pair of its own, also where only kind or name differ; a purge deletes its own only."""
    at, others = address("a"), ELSEWHERE
    sent = [message(sender, target, f"{sender}->{target}") for sender in (at, *others) for target in (at, *others)]
    await value(store.commit(Transition(address=at, messages=tuple(sent))))
    found = [one.message for one in await value(store.messages(0, 1_000))]
    same(found, sent, "messages returns the oldest of each pair, and these are all pairs of their own")
    await value(store.commit(Transition(address=at, write=Purge())))
    found = [one.message for one in await value(store.messages(0, 1_000))]
    left = [one for one in sent if not one.sender == one.target == at]
    same(found, left, "a purge deletes the messages from the instance to itself, and no others")


@in_store(TEXT)
async def large_values_are_returned_unchanged(store: Store) -> None:
    """A state, an answer, a payload, an error and an event of a million characters are read as they were written."""
    at = address("a")
    large = '"' + "\xe9" * (_LARGE // 2) + "x" * (_LARGE // 2) + 'end"'
    error = attrs.evolve(ERROR, message=large, data=large, traceback=large)
    claim = attrs.evolve(CLAIM, payload=large)
    full = attrs.evolve(instance(at, state=large), data=large, claim=claim, last_error=error)
    sent = message(at, address("b"), large)
    logged = started(at, id_=large)
    kept = remembered("k", large)
    change = Transition(address=at, write=Put(full), remember=kept, messages=(sent,), events=(logged,))
    fence = await value(store.commit(change))
    loaded = await value(store.load(at, "k", 0))
    _unchanged("an instance", loaded.instance, attrs.evolve(full, incarnation=fence.incarnation))
    _unchanged("a remembered answer", loaded.remembered, kept)
    (stored,) = await value(store.messages(0, 9))
    _unchanged("a message", stored.message, sent)
    fate = Postponed(message_id=stored.message_id, attempts=1, not_before_ms=0, error=error)
    await value(store.commit(Transition(address=at, inbound=fate)))
    (stored,) = await value(store.messages(0, 9))
    _unchanged("the error of a message", stored.error, error)
    (event,) = await value(store.events(0, 9))
    _unchanged("an event", event.event, logged)


def _unchanged(what: str, found: object, written: object) -> None:
    if found != written:
        details = (f"expected: {len(repr(written))} characters", f"found:    {len(repr(found))} characters, or others")
        raise RequirementViolated(f"{what} of a million characters comes back unchanged", details=details)


TEXT_CASES: tuple[Case, ...] = (
    every_address_is_its_own,
    a_prefix_is_compared_by_code_point,
    a_key_belongs_to_its_whole_address,
    messages_belong_to_whole_addresses,
    large_values_are_returned_unchanged,
)


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
