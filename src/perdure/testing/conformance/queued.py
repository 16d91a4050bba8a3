"""Cases: the queued instances of a job, by lane and rank."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from perdure.stores.contract import LanesOperation, QueuedOperation, Store
from perdure.stores.values import QueuedLane
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.examples import CLAIM, FAR_MS, PENDING_RETRY, instance
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirement import same, value
from perdure.testing.conformance.requirements import LANES, QUEUED, QUEUED_OR_DUE
from perdure.values.address import Address
from perdure.values.instance import Fence, Instance
from perdure.values.transition import Purge, Put, Transition

_JOB = ("pool", "p")


@in_store(LANES, QUEUED)
async def lanes_come_in_order_with_their_first_ranks(store: Store) -> None:
    """Names are compared by code point; the limit is shared between the lanes."""
    lanes, queued = _operations(store)
    same(await value(lanes(_JOB, None, 5)), (), "no lane at first")
    for lane, ranks in {"b": (7, 3, 5), "": (9,), "a": (4, 4), "B": (1,)}.items():
        for number, rank in enumerate(ranks):
            await _put(store, f"{lane}{number}", lane, rank)
    await _put(store, "other", "a", 0, job=("pool", "P"))
    same(await value(lanes(_JOB, None, 9)), ("", "B", "a", "b"), "all lanes")
    same(await value(lanes(_JOB, "", 2)), ("B", "a"), "the lanes after one")
    same(await value(lanes(_JOB, "aa", 5)), ("b",), "the lanes after an absent one")
    same(await value(lanes(_JOB, "b", 5)), (), "no lane after the last one")
    found = await value(queued(_JOB, ("b", "", "c", "a"), 8))
    expected: list[tuple[str, list[str]]] = [("b", ["b1", "b2"]), ("", ["0"]), ("c", []), ("a", ["a0", "a1"])]
    same(_ids(found), expected, "the first ranks of each lane")
    same([lane.rest for lane in found], ["some", "none", "none", "none"], "whether more are queued")
    same(_ids(await value(queued(_JOB, ("b",), 3))), [("b", ["b1", "b2", "b0"])], "a whole lane")
    same(_ids(await value(queued(_JOB, ("a", "b"), 1))), [("a", ["a0"]), ("b", ["b1"])], "a limit that is rounded up")


@in_store(QUEUED_OR_DUE)
async def claimed_and_suspended_instances_are_not_queued(store: Store) -> None:
    """A queued instance is not due; one that leaves its lane is."""
    lanes, queued = _operations(store)
    fence = await _put(store, "i", "a", 5)
    at = Address(*_JOB, "i")
    one = instance(at, alarm_ms=5)
    steps: Sequence[tuple[Instance, bool, bool]] = (
        (attrs.evolve(one, lane="a", claim=CLAIM), False, False),
        (attrs.evolve(one, lane="a", event_claim=CLAIM), False, False),
        (attrs.evolve(one, lane="a", suspension="paused"), False, False),
        (attrs.evolve(one, lane="b"), True, False),
        (attrs.evolve(one, lane="b", alarm_ms=None), False, False),
        (attrs.evolve(one, lane="b", alarm_ms=None, pending_retry=PENDING_RETRY), True, False),
        (attrs.evolve(one, lane=None), False, True),
        (attrs.evolve(one, lane=None, alarm_ms=None, ended_ms=3), False, False),
        (attrs.evolve(one, lane="c"), True, False),
    )
    for after, is_queued, is_due in steps:
        written = attrs.evolve(after, version=fence.version + 1)
        fence = await value(store.commit(Transition(address=at, expected=fence, write=Put(written))))
        loaded = (await value(store.load(at))).instance
        same(loaded, attrs.evolve(written, incarnation=fence.incarnation), "the row as it was written")
        same(await value(lanes(_JOB, None, 9)), (after.lane,) if is_queued else (), f"lanes: {after}")
        found = _ids(await value(queued(_JOB, ("a", "b", "c"), 9)))
        expected = [(lane, ["i"] if is_queued and lane == after.lane else []) for lane in ("a", "b", "c")]
        same(found, expected, f"queued: {after}")
        same(len(await value(store.due(FAR_MS, 9))), int(is_due), f"due: {after}")
        same(await value(store.next_alarm(0)) is not None, is_due, f"the next alarm of {after}")
    await value(store.commit(Transition(address=at, expected=fence, write=Purge())))
    same(await value(lanes(_JOB, None, 9)), (), "nothing is queued after the purge")


@in_harness(QUEUED)
async def lanes_survive_reopening(new_harness: NewHarness) -> None:
    """Queued instances are queued when the store is opened again."""
    async with opened(new_harness()) as probe:
        _operations(probe)
    harness = new_harness()
    store = await harness.open()
    for number, lane in enumerate("aab"):
        await _put(store, str(number), lane, 10 - number)
    await value(store.close())
    async with opened(harness) as again:
        lanes, queued = _operations(again)
        found = await value(queued(_JOB, await value(lanes(_JOB, None, 9)), 9))
        same(_ids(found), [("a", ["1", "0"]), ("b", ["2"])], "lanes survive the reopening")


async def _put(store: Store, id_: str, lane: str, rank_ms: int, *, job: tuple[str, str] = _JOB) -> Fence:
    at = Address(*job, id_)
    queued = attrs.evolve(instance(at, alarm_ms=rank_ms), lane=lane)
    return await value(store.commit(Transition(address=at, write=Put(queued))))


def _ids(found: Sequence[QueuedLane]) -> list[tuple[str, list[str]]]:
    return [(lane.lane, [one.address.id for one in lane.instances]) for lane in found]


def _operations(store: Store) -> tuple[LanesOperation, QueuedOperation]:
    if store.lanes is None or store.queued is None:
        raise NotApplicable
    return store.lanes, store.queued


QUEUE_CASES: tuple[Case, ...] = (
    lanes_come_in_order_with_their_first_ranks,
    claimed_and_suspended_instances_are_not_queued,
    lanes_survive_reopening,
)
