"""Cases: idempotency keys."""

from __future__ import annotations

import attrs

from perdure.stores.contract import Store
from perdure.stores.values import Retention
from perdure.testing.conformance.case import Case, in_store
from perdure.testing.conformance.examples import FAR_MS, address, created, put, remembered
from perdure.testing.conformance.requirement import failure, same, value
from perdure.testing.conformance.requirements import (
    CONFLICT_LEAVES_NOTHING,
    KEY_EMPTIED,
    KEY_EXPIRES,
    KEYS_HELD,
    LOAD_TOGETHER,
    PRUNE,
    PRUNE_COUNTS,
)
from perdure.values.errors import Conflict
from perdure.values.transition import Loaded, Purge, Transition

A = address("a")
KEEP_EVENTS = {"events_since_ms": 0, "max_events": 1_000}


@in_store(LOAD_TOGETHER)
async def a_key_is_remembered_with_its_transition(store: Store) -> None:
    """The answer comes back with the instance, in one read; another key and another address know nothing of it."""
    kept = remembered("k", '{"ünï":1}')
    await value(store.commit(Transition(address=A, write=put(A).write, remember=kept)))
    loaded = await value(store.load(A, "k", 0))
    same((loaded.remembered, loaded.keys_held), (kept, 1), "load returns the remembered answer of the key")
    same(loaded.instance, (await value(store.load(A))).instance, "load returns the instance along with the key")
    other = await value(store.load(A, "K", 0))
    same((other.remembered, other.keys_held), (None, 1), "another key has no answer, and the address's keys count")
    same(await value(store.load(address("b"), "k", 0)), Loaded(), "a key belongs to its address")


@in_store(KEY_EXPIRES)
async def a_key_expires(store: Store) -> None:
    """A key is there before its instant, and not from it on."""
    await value(store.commit(Transition(address=A, remember=remembered("k", expires_ms=100))))
    found = [await value(store.load(A, "k", now_ms)) for now_ms in (99, 100)]
    same([one.remembered is not None for one in found], [True, False], "an expired key has no answer")


@in_store(KEY_EXPIRES)
async def a_key_is_replaced(store: Store) -> None:
    """The same key again replaces the first."""
    await value(store.commit(Transition(address=A, remember=remembered("k", '"old"', expires_ms=50))))
    await value(store.commit(Transition(address=A, remember=remembered("k", '"new"', expires_ms=100))))
    await value(store.prune(Retention(now_ms=60, **KEEP_EVENTS)))
    loaded = await value(store.load(A, "k", 60))
    same(loaded.remembered, remembered("k", '"new"', expires_ms=100), "a key keeps the newest answer and expiry")
    same(loaded.keys_held, 1, "a replaced key counts once")


@in_store(KEYS_HELD, KEY_EMPTIED)
async def old_keys_lose_their_answers(store: Store) -> None:
    """The newest keys of an address keep their answers, in the order of their first use; the others stay."""
    for number in range(5):
        kept = attrs.evolve(remembered(f"k{number}", f"{number}"), full_answers=2)
        await value(store.commit(Transition(address=A, remember=kept)))
        await value(store.commit(Transition(address=address(f"b{number}"), remember=kept)))
    again = attrs.evolve(remembered("k3", '"again"'), full_answers=2)
    await value(store.commit(Transition(address=A, remember=again)))
    failed = attrs.evolve(remembered("k5", ""), failures=3, full_answers=2)
    await value(store.commit(Transition(address=A, remember=failed)))
    loaded = [await value(store.load(A, f"k{number}", 0)) for number in range(6)]
    answers = [None if one.remembered is None else one.remembered.answer for one in loaded]
    same(answers, ["", "", "", "", "4", ""], "the newest keys keep their answers, the others are remembered without")
    same([one.keys_held for one in loaded], [6] * 6, "keys without answers count")
    same([one.remembered and one.remembered.failures for one in loaded], [0, 0, 0, 0, 0, 3], "failures are kept")
    apart = await value(store.load(address("b0"), "k0", 0))
    same(apart.remembered and apart.remembered.answer, "0", "the keys of other addresses count apart")


@in_store(LOAD_TOGETHER)
async def a_key_outlives_its_instance(store: Store) -> None:
    """A purge leaves the keys of the address."""
    fence = await created(store, A)
    purge = Transition(address=A, expected=fence, write=Purge(), remember=remembered("k"))
    await value(store.commit(purge))
    same(await value(store.load(A, "k", 0)), Loaded(remembered=remembered("k"), keys_held=1), "keys survive the purge")


@in_store(CONFLICT_LEAVES_NOTHING)
async def a_conflict_remembers_nothing(store: Store) -> None:
    """A transition that was refused leaves no key."""
    await created(store, A)
    refused = Transition(address=A, write=put(A).write, remember=remembered("k"))
    await failure(store.commit(refused), Conflict, "a Put that expects nothing over something is a Conflict")
    same((await value(store.load(A, "k", 0))).remembered, None, "a Conflict remembers no key")


@in_store(PRUNE, PRUNE_COUNTS)
async def pruning_removes_expired_keys(store: Store) -> None:
    """``prune`` removes expired keys only, up to its limit, and counts them."""
    for number in range(5):
        kept = remembered(f"k{number}", expires_ms=10 + number)
        await value(store.commit(Transition(address=address(f"{number % 2}"), remember=kept)))
    counts = [await value(store.prune(Retention(now_ms=13, limit=3, **KEEP_EVENTS))) for _ in range(3)]
    same(counts, [3, 1, 0], "prune removes expired keys, no more than its limit, and says how many")
    same((await value(store.load(address("0"), "k4", 0))).keys_held, 1, "a key that is not expired stays")
    same((await value(store.load(address("1"), "k3", 0))).keys_held, 0, "a pruned key is gone")
    same(await value(store.prune(Retention(now_ms=FAR_MS, **KEEP_EVENTS))), 1, "what expired later goes later")


KEY_CASES: tuple[Case, ...] = (
    a_key_is_remembered_with_its_transition,
    a_key_expires,
    a_key_is_replaced,
    old_keys_lose_their_answers,
    a_key_outlives_its_instance,
    a_conflict_remembers_nothing,
    pruning_removes_expired_keys,
)
