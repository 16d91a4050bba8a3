"""Cases: held jobs, and reading the alarms of the others."""

from __future__ import annotations

from perdure.stores.contract import HoldsOperation, SetHoldOperation, Store
from perdure.testing.conformance.case import Case, NotApplicable, in_harness, in_store
from perdure.testing.conformance.examples import address, instance
from perdure.testing.conformance.harness import NewHarness, opened
from perdure.testing.conformance.requirement import failure, same, value
from perdure.testing.conformance.requirements import DUE_AFTER, DUE_EXCEPT, HOLD_OF_A_JOB, HOLDS, SET_HOLD
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.transition import Put, Transition

_JOBS = (("a", "b"), ("a", "B"), ("b", "a"))


@in_store(HOLDS, SET_HOLD, HOLD_OF_A_JOB)
async def each_job_has_its_own_hold(store: Store) -> None:
    """Jobs are compared by code point; a repeat changes nothing."""
    holds, set_hold = _operations(store)
    same(await value(holds()), (), "no job is held at first")
    for job in _JOBS:
        same(await value(set_hold(job, "held")), "changed", f"the first hold of {job}")
        same(await value(set_hold(job, "held")), "unchanged", f"a repeated hold of {job}")
    same(await value(holds()), tuple(sorted(_JOBS)), "the held jobs, in their order")
    same(await value(set_hold(("a", "b"), "released")), "changed", "the release of a held job")
    for job in (("a", "b"), ("a", "b ")):
        same(await value(set_hold(job, "released")), "unchanged", "the release of a job that is not held")
    same(await value(holds()), (("a", "B"), ("b", "a")), "the jobs that are still held")


@in_harness(HOLDS, SET_HOLD)
async def holds_survive_reopening(new_harness: NewHarness) -> None:
    """Held jobs are held, and released ones released, when the store is opened again."""
    async with opened(new_harness()) as probe:
        _operations(probe)
    harness = new_harness()
    store = await harness.open()
    holds, set_hold = _operations(store)
    for job in _JOBS:
        await value(set_hold(job, "held"))
    await value(set_hold(_JOBS[0], "released"))
    await value(store.close())
    for operation in (holds(), set_hold(_JOBS[0], "held")):
        await failure(operation, StoreUnavailable, "a closed store is unavailable")
    async with opened(harness) as again:
        holds, _ = _operations(again)
        same(await value(holds()), tuple(sorted(_JOBS[1:])), "holds survive the reopening")


@in_store(DUE_EXCEPT, DUE_AFTER)
async def due_instances_of_other_jobs_fill_the_page(store: Store) -> None:
    """The condition comes before the limit, and the earliest alarm first."""
    if store.due_except is None:
        raise NotApplicable
    places = [Address("k", "held", str(number)) for number in range(5)] + [address("a"), address("b")]
    for number, place in enumerate(places):
        await value(store.commit(Transition(address=place, write=Put(instance(place, alarm_ms=10 + number)))))
    found = await value(store.due_except(99, 2, (("k", "held"), ("x", "y"))))
    same([one.address for one in found], [address("a"), address("b")], "the due instances of other jobs")
    same(await value(store.due_except(99, 9, (("k", "Held"),))), await value(store.due(99, 9)), "of no other job")
    after = (found[0].due_ms or 0, found[0].incarnation)
    rest = await value(store.due_except(99, 9, (("k", "held"), ("x", "y")), after))
    same([one.address for one in rest], [address("b")], "the due instances of other jobs after a position")


def _operations(store: Store) -> tuple[HoldsOperation, SetHoldOperation]:
    if store.holds is None or store.set_hold is None:
        raise NotApplicable
    return store.holds, store.set_hold


HOLD_CASES: tuple[Case, ...] = (
    each_job_has_its_own_hold,
    holds_survive_reopening,
    due_instances_of_other_jobs_fill_the_page,
)
