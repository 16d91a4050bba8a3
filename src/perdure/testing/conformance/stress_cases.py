"""Cases: operations under stress.

Many concurrent operations, and callers that are cancelled while they wait. Hostile names, large values, and listing
pages at real sizes, while rows are deleted between pages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, TypeVar

import attrs
from returns.io import IOResult
from returns.result import Failure, Result, Success

from perdure.stores.contract import Store, commit_one, load_one
from perdure.stores.values import LoadRequest, LoggedEvent, Query, Retention
from perdure.testing.conformance.assertions import RequirementViolated, answer, holds, same, value
from perdure.testing.conformance.harness import Case, NewHarness, in_harness, in_store, opened, recorded
from perdure.testing.conformance.histories import (
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
from perdure.testing.conformance.requirements import (
    ATOMIC,
    BATCH_ANSWERED,
    BATCH_OF_COMMITS,
    CANCELLED,
    CLAIMED,
    CONCURRENT,
    DEAD_LETTERS,
    DELIVERABLE,
    DUE,
    DURABLE,
    EVENTS,
    EVENTS_IN_ORDER,
    FENCED,
    FIND,
    HISTORY,
    KEY_ADDRESS,
    LOAD_TOGETHER,
    MONOTONIC,
    PAGES,
    PURGE_OWN,
    READS_ITS_WRITES,
    TEXT,
)
from perdure.values.address import Address
from perdure.values.errors import Conflict
from perdure.values.instance import Fence
from perdure.values.message import DeadLettered, Postponed
from perdure.values.transition import Loaded, Purge, Put, Transition

R = TypeVar("R")
E = TypeVar("E")

_MANY = 100

AT = address("a")


@in_store(CONCURRENT, MONOTONIC)
async def one_conflict_among_many(store: Store) -> None:
    """A transition that conflicts does not fail those that are committed beside it."""
    taken = address("50")
    before = await created(store, taken)
    answers = await _together(*(commit_one(store, put(address(str(number)))) for number in range(_MANY)))
    lost = [number for number, one in enumerate(answers) if isinstance(one, Failure)]
    same(lost, [50], "only the transition that conflicts fails")
    holds(isinstance(answers[50].failure(), Conflict), "it fails with Conflict")
    fences = [one.unwrap() for one in answers if isinstance(one, Success)]
    same(len({fence.incarnation for fence in fences} | {before.incarnation}), _MANY, "incarnations are given out once")
    for number in range(_MANY):
        instance = (await value(load_one(store, address(str(number))))).instance
        holds(instance is not None, "what was answered with success is found")


@in_store(BATCH_ANSWERED, BATCH_OF_COMMITS, FENCED)
async def a_batch_is_answered_one_by_one(store: Store) -> None:
    """Transitions that are written together are answered in order, and one that conflicts fails alone."""
    await created(store, address("taken"))
    ids = ("a", "taken", "b", "a", "c")
    told: asyncio.Future[Sequence[Result[Fence, object]]] = asyncio.get_running_loop().create_future()
    store.commit([put(address(id_)) for id_ in ids], told.set_result)
    answers = await told
    same([isinstance(one, Success) for one in answers], [True, False, True, False, True], "each is answered in order")
    for one in answers:
        if isinstance(one, Failure):
            holds(isinstance(one.failure(), Conflict), "it fails with Conflict")
    read: asyncio.Future[Sequence[Result[Loaded, object]]] = asyncio.get_running_loop().create_future()
    store.load([LoadRequest(address(id_)) for id_ in ("c", "absent", "a")], read.set_result)
    found = [one.unwrap().instance for one in await read]
    same([one and one.address.id for one in found], ["c", None, "a"], "each is read in order")
    for id_, one in zip(ids, answers, strict=True):
        if isinstance(one, Success):
            instance = (await value(load_one(store, address(id_)))).instance
            same(instance and instance.fence, one.unwrap(), "the row has the fence of the answer")


@in_store(FENCED, CONCURRENT, ATOMIC)
async def one_winner_for_one_fence(store: Store) -> None:
    """Of many transitions that expect the same version, exactly one is committed, with everything it carries."""
    at = address("a")
    fence = await created(store, at)
    answers = await _together(
        *(
            commit_one(
                store,
                Transition(
                    address=at,
                    expected=fence,
                    write=put(at, fence, state=f'"{number}"').write,
                    remember=(remembered(f"k{number}"),),
                    messages=(message(at, address("b"), f'"{number}"'),),
                    events=(started(at, at_ms=number),),
                ),
            )
            for number in range(10)
        )
    )
    won = [number for number, one in enumerate(answers) if isinstance(one, Success)]
    same(len(won), 1, "of many commits that expect the same fence, one is answered with success")
    (winner,) = won
    loaded = await value(load_one(store, at, f"k{winner}", 0))
    holds(loaded.instance is not None and loaded.instance.state == f'"{winner}"', "the winner's state is stored")
    same(loaded.keys_held, 1, "only the winner's key is remembered")
    sent = [one.message.payload for one in await value(store.messages(0, 99))]
    same(sent, [f'"{winner}"'], "only the winner's message is sent")
    same([one.event.at_ms for one in await value(store.history(at, None, 99))], [winner], "only the winner is logged")


@in_store(READS_ITS_WRITES)
async def reads_continue_beside_commits(store: Store) -> None:
    """A load sees everything that was answered before it, whatever is under way."""
    at = address("a")
    fence: Fence | None = None
    for number in range(20):
        others = [commit_one(store, put(address(f"{number}-{other}"))) for other in range(5)]
        fence, *_ = [one.unwrap() for one in await _together(commit_one(store, put(at, fence)), *others)]
        under_way = asyncio.ensure_future(answer(commit_one(store, put(address(f"{number}-beside")))))
        loaded = (await value(load_one(store, at))).instance
        same(None if loaded is None else loaded.fence, fence, "load sees what was committed before it")
        await under_way


@in_store(EVENTS_IN_ORDER, CONCURRENT)
async def a_sink_misses_no_event(store: Store) -> None:
    """A sink that pages through the log while commits are under way reads every event, once and in order."""
    paged: list[LoggedEvent] = []

    async def page() -> None:
        paged.extend(await value(store.events(paged[-1].sequence if paged else 0, 3)))

    for batch in range(5):
        at_once = [
            Transition(address=address(f"{batch}-{number}"), events=(started(AT, at_ms=number),) * (number % 3 + 1))
            for number in range(10)
        ]
        under_way = [asyncio.ensure_future(answer(commit_one(store, one))) for one in at_once]
        while not all(one.done() for one in under_way):
            await page()
            await asyncio.sleep(0)  # a store that answers at once gives the others their turn here
    for _ in range(100):  # pages of three: more than there are
        await page()
    logged = [one.sequence for one in await value(store.events(0, 1_000))]
    same([one.sequence for one in paged], logged, "a sink that pages reads every event once, in order")


@in_store(LOAD_TOGETHER, ATOMIC)
async def a_load_reads_one_moment(store: Store) -> None:
    """The instance, the answer and the key count that one load returns belong together, whatever is under way."""
    fence: Fence | None = None
    for number in range(30):
        change = attrs.evolve(put(AT, fence, state=f"{number}"), remember=(remembered("k", f"{number}"),))
        more = Transition(address=AT, remember=(remembered(f"k{number}"),))
        before = asyncio.gather(*(answer(load_one(store, AT, "k", 0)) for _ in range(3)))  # begin before the commits
        commits = asyncio.gather(answer(commit_one(store, change)), answer(commit_one(store, more)))
        loads = await before
        while not commits.done():
            loads += await _together(*(load_one(store, AT, "k", 0) for _ in range(3)))
            await asyncio.sleep(0)
        for loaded in (one.unwrap() for one in loads):
            state = None if loaded.instance is None else loaded.instance.state
            kept = None if loaded.remembered is None else loaded.remembered.answer
            same(kept, state, "load returns the answer that was committed with the state")
        committed, _ = await commits
        fence = committed.unwrap()


async def _together(*asked: Awaitable[IOResult[R, E]]) -> list[Result[R, E]]:
    return list(await asyncio.gather(*(answer(one) for one in asked)))


CONCURRENCY_CASES: tuple[Case, ...] = (
    one_conflict_among_many,
    a_batch_is_answered_one_by_one,
    one_winner_for_one_fence,
    reads_continue_beside_commits,
    a_sink_misses_no_event,
    a_load_reads_one_moment,
)


A, B = address("a"), address("b")

_AWAITS = (0, 1, 2, 3, 4, 6, 9, 14, 22, 40, 80, 160, 320)
"""After how many steps of the event loop a caller is cancelled: at every early await, then ever more sparsely."""


@in_harness(CANCELLED, ATOMIC, DURABLE)
async def a_cancelled_commit_happens_completely_or_not_at_all(new_harness: NewHarness) -> None:
    """Whatever the await at which its caller is cancelled: what is read, and what the next opening reads."""
    harness = new_harness()
    story: list[str] = []
    acknowledged: list[int] = []
    store = recorded(await harness.open(), story)
    try:
        for number, awaits in enumerate(_AWAITS):
            fence = await _fence(store)
            if await _cancelled(store, _everything_at_once(fence, number), awaits):
                acknowledged.append(number)
            await _commits(store, number)
        before = await _settled(store, story)
    finally:
        await store.close()
    async with opened(harness) as again:
        after = await _happened(again, story)
    holds(
        set(acknowledged) | set(before) <= set(after), f"the next opening finds what was read: {before}, then {after}"
    )


@in_store(CANCELLED)
async def a_cancelled_caller_affects_no_other(store: Store) -> None:
    """Ten commits and ten loads are under way. Each in turn is cancelled, and the others are answered."""
    await created(store, A)
    for cancelled in range(10):
        ats = [address(f"{cancelled}-{number}") for number in range(10)]
        commits = [asyncio.ensure_future(_commit(store, put(at))) for at in ats]
        loads = [asyncio.ensure_future(_load(store)) for _ in range(10)]
        await _steps(cancelled % 4)
        commits[cancelled].cancel()
        loads[cancelled].cancel()
        found: list[object] = await asyncio.gather(*commits, *loads, return_exceptions=True)
        others = [one for number, one in enumerate(found) if number % 10 != cancelled]
        holds(all(isinstance(one, Success) for one in others), f"a cancelled caller fails no other: {others}")
        for number, at in enumerate(ats):
            stored = (await value(load_one(store, at))).instance
            holds(number == cancelled or stored is not None, "what was answered with success is found")


def _everything_at_once(fence: Fence | None, number: int) -> Transition:
    change = put(A, fence, state=f"{number}")
    return Transition(
        address=A,
        expected=fence,
        write=change.write,
        remember=(remembered(f"k{number}"),),
        messages=(message(A, address(f"{number}"), f"{number}"),),
        events=(started(A, at_ms=number),),
    )


async def _cancelled(store: Store, change: Transition, awaits: int) -> bool:
    """Commit, and cancel the caller after some loop steps.

    Returns:
        Whether it was answered with success before.
    """
    caller = asyncio.ensure_future(_commit(store, change))
    await _steps(awaits)
    caller.cancel()
    answers = await asyncio.gather(caller, return_exceptions=True)
    return isinstance(answers[0], Success)


async def _commit(store: Store, change: Transition) -> Result[Fence, Any]:
    # Made here, so that a caller who is cancelled before its first step leaves nothing that was never awaited.
    return await answer(commit_one(store, change))


async def _load(store: Store) -> Result[Loaded, Any]:
    return await answer(load_one(store, A))


async def _steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def _fence(store: Store) -> Fence | None:
    stored = (await value(load_one(store, A))).instance
    return None if stored is None else stored.fence


async def _commits(store: Store, number: int) -> None:
    """Commit after a cancelled commit: with the fence that is stored, which the cancelled one may still move once."""
    for _ in range(3):
        change = put(B, await _fence_of_b(store), state=f"{number}")
        found = await answer(commit_one(store, change))
        if isinstance(found, Success):
            return
        holds(isinstance(found.failure(), Conflict), f"a commit after a cancelled one was answered {found.failure()}")
    raise RequirementViolated("a commit with the fence that load returned is a Conflict again and again")


async def _fence_of_b(store: Store) -> Fence | None:
    stored = (await value(load_one(store, B))).instance
    return None if stored is None else stored.fence


async def _settled(store: Store, story: list[str]) -> list[int]:
    """Read which commits happened, again if a cancelled one is still on its way: reads are not one moment."""
    for number in range(5):
        try:
            return await _happened(store, story)
        except RequirementViolated:
            await _commits(store, number)
    return await _happened(store, story)


async def _happened(store: Store, story: list[str]) -> list[int]:
    """Return which commits happened, if each did so completely."""
    sent = {one.message.payload for one in await value(store.messages(0, 99))}
    logged = {one.event.at_ms for one in await value(store.history(A, None, 99))}
    happened: list[int] = []
    for number in range(len(_AWAITS)):
        remembers = (await value(load_one(store, A, f"k{number}", 0))).remembered is not None
        parts = (remembers, f"{number}" in sent, number in logged)
        if len(set(parts)) > 1:
            details = (f"commit {number}: key {parts[0]}, message {parts[1]}, event {parts[2]}",)
            raise RequirementViolated(
                "a cancelled commit happens completely or not at all", details=details, story=story
            )
        happened += [number] if parts[0] else []
    stored = (await value(load_one(store, A))).instance
    found = (None, 0) if stored is None else (stored.state, stored.version)
    expected = (f"{happened[-1]}", len(happened)) if happened else (None, 0)
    same(found, expected, "state and version are those of the commits that happened")
    return happened


CANCELLATION_CASES: tuple[Case, ...] = (
    a_cancelled_commit_happens_completely_or_not_at_all,
    a_cancelled_caller_affects_no_other,
)


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
        await value(commit_one(store, attrs.evolve(change, events=(started(at, at_ms=number),))))
    for number, at in enumerate(ADDRESSES):
        loaded = (await value(load_one(store, at))).instance
        same(None if loaded is None else (loaded.address, loaded.state), (at, f"{number}"), f"load finds {at!r}")
        logged = [one.event.at_ms for one in await value(store.history(at, None, 9))]
        same(logged, [number], f"history returns the events of {at!r} and no others")
    gone = address("a")
    fence = None if (found := (await value(load_one(store, gone))).instance) is None else found.fence
    await value(commit_one(store, Transition(address=gone, expected=fence, write=Purge())))
    left = [at for at in ADDRESSES if (await value(load_one(store, at))).instance is not None]
    same(left, [at for at in ADDRESSES if at != gone], "a purge deletes one instance")


@in_store(FIND, TEXT)
async def a_prefix_is_compared_by_code_point(store: Store) -> None:
    """``find`` takes no prefix character for a wildcard, and ignores neither case nor blanks."""
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
    """Jobs that share an id share no keys. Keys that look alike are different keys."""
    keys = ("k", "K", "k ", "k_", "kx", "k%", "\u1e31", "k\u0301", "k" * 200)
    for number, at in enumerate((address("a"), *ELSEWHERE)):
        await value(commit_one(store, Transition(address=at, remember=(remembered("k", f"{number}"),))))
    for number, at in enumerate((address("a"), *ELSEWHERE)):
        expected = Loaded(remembered=remembered("k", f"{number}"), keys_held=1)
        same(await value(load_one(store, at, "k", 0)), expected, f"{at!r} has a key of its own")
    at = address("keys")
    for key in keys:
        await value(commit_one(store, Transition(address=at, remember=(remembered(key, f'"{key}"'),))))
    for key in keys:
        expected = Loaded(remembered=remembered(key, f'"{key}"'), keys_held=len(keys))
        same(await value(load_one(store, at, key, 0)), expected, f"{key!r} is a key of its own")


@in_store(PURGE_OWN, TEXT)
async def messages_belong_to_whole_addresses(store: Store) -> None:
    """Each (sender, target) is a separate pair, also where only kind or name differ. A purge deletes its own only."""
    at, others = address("a"), ELSEWHERE
    sent = [message(sender, target, f"{sender}->{target}") for sender in (at, *others) for target in (at, *others)]
    await value(commit_one(store, Transition(address=at, messages=tuple(sent))))
    found = [one.message for one in await value(store.messages(0, 1_000))]
    same(found, sent, "messages returns the oldest of each pair, and these are all pairs of their own")
    await value(commit_one(store, Transition(address=at, write=Purge())))
    found = [one.message for one in await value(store.messages(0, 1_000))]
    left = [one for one in sent if not one.sender == one.target == at]
    same(found, left, "a purge deletes the messages from the instance to itself, and no others")


@in_store(TEXT)
async def large_values_are_returned_unchanged(store: Store) -> None:
    """A state, an answer, a payload, an error and an event with a million characters are read as they were written."""
    at = address("a")
    large = '"' + "\xe9" * (_LARGE // 2) + "x" * (_LARGE // 2) + 'end"'
    error = attrs.evolve(ERROR, message=large, data=large, traceback=large)
    claim = attrs.evolve(CLAIM, payload=large)
    full = attrs.evolve(instance(at, state=large), data=large, claim=claim, last_error=error)
    sent = message(at, address("b"), large)
    logged = started(at, id_=large)
    kept = remembered("k", large)
    change = Transition(address=at, write=Put(full), remember=(kept,), messages=(sent,), events=(logged,))
    fence = await value(commit_one(store, change))
    loaded = await value(load_one(store, at, "k", 0))
    _unchanged("an instance", loaded.instance, attrs.evolve(full, incarnation=fence.incarnation))
    _unchanged("a remembered answer", loaded.remembered, kept)
    (stored,) = await value(store.messages(0, 9))
    _unchanged("a message", stored.message, sent)
    fate = Postponed(message_id=stored.message_id, deliveries=1, not_before_ms=0, error=error)
    await value(commit_one(store, Transition(address=at, inbound=fate)))
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


@in_store(PAGES, FIND, DUE, CLAIMED)
async def a_page_of_instances_is_full(store: Store) -> None:
    """``find``, ``due`` and ``claimed`` return up to as many instances as were asked for."""
    ats = [address(f"{number:03}") for number in range(_INSTANCES)]
    changes = [
        Transition(address=at, write=Put(instance(at, alarm_ms=number, claim=CLAIM if number % 2 else None)))
        for number, at in enumerate(ats)
    ]
    await asyncio.gather(*(value(commit_one(store, change)) for change in changes))
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
    await value(commit_one(store, Transition(address=A, messages=sent, events=logged)))
    found = await value(store.messages(0, _ROWS))
    same([one.message.payload for one in found], [one.payload for one in sent], f"messages returns all {_ROWS}")
    same(
        [one.event.at_ms for one in await value(store.events(0, _ROWS))], [*range(_ROWS)], f"events returns all {_ROWS}"
    )
    newest = [one.event.at_ms for one in await value(store.history(A, None, _ROWS))]
    same(newest, [*reversed(range(_ROWS))], f"history returns all {_ROWS}")
    ids = [one.message_id for one in found][:_INSTANCES]
    fates = [DeadLettered(message_id=id_, deliveries=1, error=ERROR) for id_ in ids]
    await asyncio.gather(*(value(commit_one(store, Transition(address=B, inbound=fate))) for fate in fates))
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
        await value(commit_one(store, Transition(address=at, write=Put(row), events=events)))
    await value(commit_one(store, put(Address("task", "other", "a"))))
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
        await value(commit_one(store, Transition(address=B, messages=(message(B, address(target), target),))))
    for stored in (await value(store.messages(0, 9)))[:2]:
        later = Postponed(message_id=stored.message_id, deliveries=1, not_before_ms=50, error=None)
        await value(commit_one(store, Transition(address=A, inbound=later)))
    same([one.message.payload for one in await value(store.messages(0, 1))], ["c"], "messages fills its page")


@in_store(PAGES, FIND, CLAIMED)
async def a_page_continues_after_an_instance_that_is_gone(store: Store) -> None:
    """The cursor for ``find`` and ``claimed`` need not be stored any more."""
    fences: dict[Address, Fence] = {}
    for id_ in "abcdef":
        at = address(id_)
        fences[at] = await value(commit_one(store, Transition(address=at, write=Put(instance(at, claim=CLAIM)))))
    first, claimed = await value(store.find(Query(limit=2))), await value(store.claimed(0, 2))
    for gone in first:  # the cursor, and a row before it
        purge = Transition(address=gone.address, expected=fences[gone.address], write=Purge())
        await value(commit_one(store, purge))
    second = await value(store.find(Query(after=first[-1].address, limit=2)))
    same([one.address.id for one in second], ["c", "d"], "find continues behind a cursor whose row is gone")
    second = await value(store.claimed(claimed[-1].incarnation, 2))
    same([one.address.id for one in second], ["c", "d"], "claimed continues behind a cursor whose row is gone")
    never = await value(store.find(Query(after=address("cc"), limit=9)))
    same([one.address.id for one in never], ["d", "e", "f"], "a cursor may be an address that was never stored")


@in_store(PAGES, DEAD_LETTERS, EVENTS, HISTORY)
async def a_page_continues_after_a_row_that_is_gone(store: Store) -> None:
    """The cursors for ``dead_letters``, ``events`` and ``history`` need not be stored any more."""
    sent = tuple(message(A, address(f"{number}"), f"{number}") for number in range(6))
    await value(
        commit_one(store, Transition(address=A, messages=sent, events=tuple(started(A, at_ms=n) for n in range(6))))
    )
    for stored in await value(store.messages(0, 9)):
        fate = DeadLettered(message_id=stored.message_id, deliveries=1, error=ERROR)
        await value(commit_one(store, Transition(address=B, inbound=fate)))
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
