"""Cases: hostile names, and values of real size."""

from __future__ import annotations

import attrs

from perdure.stores.contract import Store
from perdure.stores.values import Query
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.examples import (
    CLAIM,
    ERROR,
    address,
    created,
    instance,
    message,
    put,
    remembered,
    started,
)
from perdure.testing.conformance.requirement import RequirementViolated, same, value
from perdure.testing.conformance.requirements import FIND, KEY_ADDRESS, PURGE_OWN, TEXT
from perdure.values.message import Postponed
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
