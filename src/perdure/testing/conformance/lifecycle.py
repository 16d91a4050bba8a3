"""Cases: opening, closing and opening again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from perdure.stores.store import Query, Retention, Store
from perdure.testing.conformance.place import Place
from perdure.testing.conformance.promise import failure, holds, same, value
from perdure.testing.conformance.samples import (
    CLAIM,
    ERROR,
    FAR_MS,
    address,
    created,
    instance,
    message,
    message_id,
    put,
    remembered,
    settled_by,
    started,
    told,
)
from perdure.values.errors import StoreUnavailable
from perdure.values.message import DeadLettered
from perdure.values.transition import Purge, Put, Transition

A, B = address("a"), address("b")


async def everything_survives_reopening(place: Place) -> None:
    """What was committed is there when the store is opened again, to the last field."""
    store = await place.open()
    full = instance(A, alarm_ms=10, claim=CLAIM)
    await value(
        store.commit(
            Transition(
                address=A,
                write=Put(full),
                remember=remembered("k"),
                messages=(message(A, B, "1"), message(A, B, "2")),
                events=(started(A),),
            )
        )
    )
    await told(store, B, A, "dead")
    fate = DeadLettered(message_id=await message_id(store, "dead"), attempts=1, error=ERROR)
    await value(store.commit(settled_by(A, fate)))
    before = await _everything(store)
    await value(store.close())
    store = await place.open()
    same(await _everything(store), before, "reopening changes nothing")
    await value(store.close())
    await place.discard()


async def sequences_survive_reopening(place: Place) -> None:
    """Incarnations, message ids, event places and the epoch grow over openings, even when all rows are gone."""
    places: list[tuple[int, int, int, int]] = []
    for _ in range(3):
        store = await place.open()
        fence = await created(store, A)
        await value(store.commit(Transition(address=B, messages=(message(A, A, "1"),), events=(started(A),))))
        (logged,) = await value(store.events(0, 9))
        places.append((store.epoch, fence.incarnation, await message_id(store, "1"), logged.sequence))
        await value(store.commit(Transition(address=A, expected=fence, write=Purge())))
        await value(store.prune(Retention(now_ms=0, events_since_ms=0, max_events=0)))
        await value(store.close())
    for numbers in zip(*places, strict=True):
        holds(list(numbers) == sorted(set(numbers)), f"numbers grow from opening to opening: {numbers}")
    await place.discard()


async def a_closed_store_answers_unavailable(place: Place) -> None:
    """After ``close`` every operation answers ``StoreUnavailable``; closing again is allowed; health says failed."""
    store = await place.open()
    await value(store.close())
    await value(store.close())
    for ask in _operations(store):
        await failure(ask(), StoreUnavailable, "a closed store answers StoreUnavailable")
    same((await value(store.health())).state, "failed", "the health of a closed store is failed")
    await place.discard()


async def a_working_store_is_healthy(place: Place) -> None:
    """The health check of an open store says ok."""
    store = await place.open()
    same((await value(store.health())).state, "ok", "an open store is healthy")
    await value(store.close())
    await place.discard()


def _operations(store: Store) -> tuple[Callable[[], Awaitable[Any]], ...]:
    return (
        lambda: store.load(A),
        lambda: store.commit(put(A)),
        lambda: store.due(0, 1),
        lambda: store.next_alarm(0),
        lambda: store.claimed(0, 1),
        lambda: store.messages(0, 1),
        lambda: store.next_message(0),
        lambda: store.dead_letters(0, 1),
        lambda: store.redrive(1),
        lambda: store.find(Query()),
        lambda: store.history(A, None, 1),
        lambda: store.events(0, 1),
        lambda: store.prune(Retention(now_ms=0, events_since_ms=0, max_events=1)),
    )


async def _everything(store: Store) -> tuple[object, ...]:
    return (
        await value(store.load(A, "k", 0)),
        await value(store.due(FAR_MS, 99)),
        await value(store.claimed(0, 99)),
        await value(store.messages(FAR_MS, 99)),
        await value(store.dead_letters(0, 99)),
        await value(store.find(Query())),
        await value(store.events(0, 99)),
    )


CASES = (
    everything_survives_reopening,
    sequences_survive_reopening,
    a_closed_store_answers_unavailable,
    a_working_store_is_healthy,
)
