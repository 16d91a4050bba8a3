"""Requirements that only a store with streams has: groups of chunks, which the claim of a run fences."""

from __future__ import annotations

from typing import Any, Final

import attrs

from perdure.stores.contract import Store, commit_one
from perdure.testing.conformance.assertions import failure, holds, same, value
from perdure.testing.conformance.harness import Case, NewHarness, in_harness, in_store, opened, present
from perdure.testing.conformance.histories import address, instance
from perdure.testing.conformance.requirements import (
    STREAM_APPEND,
    STREAM_BOUNDS,
    STREAM_BYTES,
    STREAM_DENSE,
    STREAM_DURABLE,
    STREAM_FENCE,
    STREAM_LAST,
    STREAM_PURGE,
    STREAM_READ,
)
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.instance import Claim, Fence
from perdure.values.stream import StoredGroup, StreamGroup
from perdure.values.transition import Purge, Put, Transition

A, B = address("a"), address("b")
ALL: Final = 1_000
CLAIM: Final = Claim(owner=1, cause="alarm", run_id="run 1", claimed_ms=5, attempt=2, deliveries=3)


async def _claimed(store: Store, at: Address, *, of: str = "claim") -> Fence:
    changes: dict[str, Any] = {of: CLAIM}
    row = attrs.evolve(instance(at), **changes)
    return await value(commit_one(store, Transition(address=at, write=Put(row))))


def _group(at: Address, fence: Fence, body: str, **more: Any) -> StreamGroup:
    group = StreamGroup(
        address=at,
        incarnation=fence.incarnation,
        owner=CLAIM.owner,
        run_id=CLAIM.run_id,
        attempt=CLAIM.attempt,
        deliveries=CLAIM.deliveries,
        stream="s",
        count=1,
        size=10,
        body=body,
        max_chunks=1_000,
        max_bytes=100_000,
    )
    return attrs.evolve(group, **more)


async def _read(
    store: Store, at: Address, fence: Fence, after: int = -1, limit: int = ALL, *, stream: str = "s", size: int = 10**9
) -> object:
    return await value(present(store.streams).read(at, fence.incarnation, stream, after, limit, size))


async def _last(store: Store, at: Address, fence: Fence, stream: str = "s") -> object:
    return await value(present(store.streams).last(at, fence.incarnation, stream))


@in_store(STREAM_APPEND, STREAM_DENSE, STREAM_READ, STREAM_LAST)
async def groups_have_dense_offsets_and_are_read_after_one(store: Store) -> None:
    """Each stream of each instance has its own offsets. Skipped ones are counted, and nothing is stored for them."""
    streams = present(store.streams)
    a, b = await _claimed(store, A), await _claimed(store, B)
    same(await _last(store, A, a), -1, "the newest offset of an empty stream")
    many = (_group(A, a, "one"), _group(B, b, "other"), _group(A, a, "two \0\1 é\u2028", count=3))
    same(await value(streams.append(many)), (0, 0, 1), "the first offsets")
    more = (_group(A, a, "", skipped=5), _group(A, a, "apart", stream="S"), _group(A, a, "last", count=2))
    same(await value(streams.append(more)), (9, 0, 10), "offsets continue after those that are skipped")
    groups = (
        StoredGroup(0, 0, "one"),
        StoredGroup(1, 3, "two \0\1 é\u2028"),
        StoredGroup(9, 9, ""),
        StoredGroup(10, 11, "last"),
    )
    for after, first in ((-1, 0), (0, 1), (1, 1), (2, 1), (3, 2), (8, 2), (9, 3), (10, 3), (11, 4), (99, 4)):
        for limit in (1, 2, ALL):
            same(await _read(store, A, a, after, limit), groups[first : first + limit], f"{limit} after {after}")
    same(await _last(store, A, a), 11, "the newest offset")
    same((await _last(store, A, a, "S"), await _last(store, B, b)), (0, 0), "the newest offset of another stream")
    same(await _read(store, A, a, stream="S"), (StoredGroup(0, 0, "apart"),), "another stream of the instance")
    same(await _read(store, B, b), (StoredGroup(0, 0, "other"),), "the stream of another instance")


@in_store(STREAM_FENCE)
async def only_the_delivery_with_the_claim_appends(store: Store) -> None:
    """Another engine, run, attempt or delivery writes nothing, nor does one whose instance is gone."""
    streams = present(store.streams)
    fence = await _claimed(store, A)
    event = await _claimed(store, B, of="event_claim")
    wrong = ({"owner": 2}, {"run_id": "run 2"}, {"attempt": 1}, {"deliveries": 4}, {"incarnation": 999})
    refused = [_group(A, fence, "no", **each) for each in wrong]
    groups = (*refused, _group(A, fence, "yes"), _group(B, event, "an event"))
    same(await value(streams.append(groups)), (None,) * len(wrong) + (0, 0), "the groups without the claim")
    same(await _read(store, A, fence), (StoredGroup(0, 0, "yes"),), "a group that is refused is not written")
    ended = attrs.evolve(instance(A, version=2), claim=None)
    fence = await value(commit_one(store, Transition(address=A, expected=fence, write=Put(ended))))
    same(await value(streams.append((_group(A, fence, "late"),))), (None,), "after the end of the run")
    same(await _read(store, A, fence), (StoredGroup(0, 0, "yes"),), "the stream after the end of the run")


@in_store(STREAM_BOUNDS)
async def the_oldest_groups_go(store: Store) -> None:
    """Groups go as soon as the newest chunks or bytes do not reach into them. The last one stays, however large."""
    streams = present(store.streams)
    fence = await _claimed(store, A)
    for number in range(6):
        await value(streams.append((_group(A, fence, str(number), count=2, max_chunks=5),)))
    kept = tuple(StoredGroup(2 * number, 2 * number + 1, str(number)) for number in range(6))
    same(await _read(store, A, fence), kept[3:], "the groups that the newest 5 chunks reach into")
    await value(streams.append((_group(A, fence, "more", max_bytes=25),)))
    same(await _read(store, A, fence), (*kept[4:], StoredGroup(12, 12, "more")), "those of the newest 25 bytes")
    await value(streams.append((_group(A, fence, "large", size=99, count=9, max_bytes=20, max_chunks=1),)))
    same(await _read(store, A, fence), (StoredGroup(13, 21, "large"),), "the last group stays")
    same(await value(streams.append((_group(A, fence, "next"),))), (22,), "offsets do not go back")


@in_store(STREAM_BYTES, STREAM_APPEND)
async def a_page_has_a_size_and_at_least_one_group(store: Store) -> None:
    """Large groups are read one by one, and each has the text that was appended."""
    fence, streams = await _claimed(store, A), present(store.streams)
    large = "é\0" * 1_000_000
    sizes, bodies = (10, 20, 99, 5, 5), ("a", "b", large, "d", "e")
    groups = [_group(A, fence, body, size=size) for body, size in zip(bodies, sizes, strict=True)]
    await value(streams.append(groups))
    kept = tuple(StoredGroup(place, place, body) for place, body in enumerate(bodies))
    for after, size, last in ((-1, 0, 1), (-1, 19, 1), (-1, 20, 2), (-1, 118, 2), (-1, 119, 3), (1, 0, 3), (1, 9, 4)):
        found = await _read(store, A, fence, after, size=size)
        holds(found == kept[after + 1 : last], f"the groups after {after} with {size} bytes behind the first one")
    same(await _read(store, A, fence, 2, size=5), kept[3:], "the groups after the large one")
    same(await _read(store, A, fence, 2, 1, size=5), kept[3:4], "one of them")


@in_store(STREAM_PURGE)
async def a_purge_deletes_the_streams(store: Store) -> None:
    """The next instance at the address begins with empty streams."""
    streams = present(store.streams)
    old, beside = await _claimed(store, A), await _claimed(store, B)
    await value(streams.append((_group(A, old, "old"), _group(A, old, "old", stream="S"), _group(B, beside, "b"))))
    await value(commit_one(store, Transition(address=A, expected=old, write=Purge())))
    same(await value(streams.append((_group(A, old, "late"),))), (None,), "a group of a purged instance")
    for stream in ("s", "S"):
        same(await _read(store, A, old, stream=stream), (), "the stream of a purged instance")
        same(await _last(store, A, old, stream), -1, "the newest offset of a purged instance")
    new = await _claimed(store, A)
    same(await value(streams.append((_group(A, old, "late"), _group(A, new, "new")))), (None, 0), "of the next one")
    same(await _read(store, A, new), (StoredGroup(0, 0, "new"),), "the stream of the next instance")
    same(await _read(store, B, beside), (StoredGroup(0, 0, "b"),), "a purge deletes no other stream")


@in_harness(STREAM_DURABLE, STREAM_READ)
async def streams_survive_reopening(new_harness: NewHarness) -> None:
    """Groups are there when the store is opened again."""
    async with opened(new_harness()) as probe:
        present(probe.streams)
    harness = new_harness()
    store = await harness.open()
    fence = await _claimed(store, A)
    await value(present(store.streams).append((_group(A, fence, "0"),)))
    await value(store.close())
    read = present(store.streams).read(A, fence.incarnation, "s", -1, ALL, ALL)
    await failure(read, StoreUnavailable, "a closed store is unavailable")
    append = present(store.streams).append((_group(A, fence, "no"),))
    await failure(append, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        same(await value(present(again.streams).append((_group(A, fence, "1"),))), (1,), "the next offset")
        kept = (StoredGroup(0, 0, "0"), StoredGroup(1, 1, "1"))
        same(await _read(again, A, fence), kept, "groups survive the reopening")


STREAM_CASES: tuple[Case, ...] = (
    groups_have_dense_offsets_and_are_read_after_one,
    only_the_delivery_with_the_claim_appends,
    the_oldest_groups_go,
    a_page_has_a_size_and_at_least_one_group,
    a_purge_deletes_the_streams,
    streams_survive_reopening,
)
