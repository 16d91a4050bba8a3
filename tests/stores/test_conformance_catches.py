"""A suite that nothing can fail proves nothing: stores that each break one requirement, and the case that says so."""

import asyncio

import attrs
import pytest
from one_by_one import each_commit
from returns.future import FutureResult
from returns.result import Success
from sabotage import harness_of, instead, of_answer, with_commit

from perdure.stores.contract import commit_one, load_one, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.memory.opening import OpenMemoryStore
from perdure.stores.memory.tables import Tables
from perdure.stores.values import Capabilities
from perdure.testing.conformance import (
    CASES,
    MemoryHarness,
    RequirementViolated,
    SharedMemoryHarness,
    check_case,
    check_kills,
    check_model,
    check_store,
)
from perdure.testing.conformance.assertions import answer
from perdure.testing.conformance.differential import take_steps
from perdure.testing.conformance.histories import PLACES, CommitStep, ConcurrentStep, instance
from perdure.testing.conformance.requirements import ATOMIC, CONCURRENT, FAILURES_ARE_VALUES
from perdure.values.errors import Conflict
from perdure.values.transition import Purge

BY_NAME = {case.name: case for case in CASES}


def checks_then_writes(store):
    """The fence is compared, then another commit may run, then it is written: without comparing again."""

    async def commit(transition):
        loaded = (await answer(load_one(store, transition.address))).unwrap().instance
        if (None if loaded is None else loaded.fence) != transition.expected:
            return await answer(commit_one(store, transition))
        await asyncio.sleep(0)
        now = (await answer(load_one(store, transition.address))).unwrap().instance
        return await answer(commit_one(store, attrs.evolve(transition, expected=None if now is None else now.fence)))

    return overlay(store, commit=each_commit(lambda transition: FutureResult(commit(transition))))


def answers_before_it_writes(store):
    """Commits are kept in memory and never written."""
    waiting = []

    async def commit(transition):
        waiting.append(transition)
        return Success(await fence_of(transition))

    async def fence_of(transition):
        async with asyncio.timeout(1):
            return (await answer(commit_one(MemoryBackend().open(), attrs.evolve(transition, expected=None)))).unwrap()

    return overlay(store, commit=each_commit(lambda transition: FutureResult(commit(transition))))


def raises_conflicts(store):
    async def commit(transition):
        found = await answer(commit_one(store, transition))
        if not isinstance(found, Success) and isinstance(found.failure(), Conflict):
            raise found.failure()
        return found

    return overlay(store, commit=each_commit(lambda transition: FutureResult(commit(transition))))


def leaves_out_of_a_full_page(store, now_ms, limit, after=None, except_jobs=()):
    return store.due(now_ms, limit, after).map(
        lambda found: tuple(one for one in found if (one.address.kind, one.address.name) not in except_jobs)
    )


def unpurged(transition):
    return attrs.evolve(transition, write=Purge("kept")) if transition.write == Purge() else transition


SABOTAGE = {
    "commit forgets the key": (
        with_commit(lambda one: attrs.evolve(one, remember=())),
        "a_key_outlives_its_instance",
    ),
    "commit forgets events": (with_commit(lambda one: attrs.evolve(one, events=())), "every_event_is_returned"),
    "commit sends messages backwards": (
        with_commit(lambda one: attrs.evolve(one, messages=one.messages[::-1])),
        "ids_follow_the_order_of_sending",
    ),
    "commit never consumes": (
        with_commit(lambda one: attrs.evolve(one, inbound=None)),
        "consuming_twice_is_a_conflict",
    ),
    "a purge leaves messages": (with_commit(unpurged), "a_purge_drops_messages_to_itself"),
    "a conflict is an exception": (raises_conflicts, "a_wrong_fence_is_a_conflict"),
    "the fence is checked outside the write": (checks_then_writes, "one_winner_for_one_fence"),
    "commits are answered before they are written": (answers_before_it_writes, "reads_continue_beside_commits"),
    "load forgets keys": (
        instead("load", lambda store, at, *_: load_one(store, at)),
        "a_key_is_remembered_with_its_transition",
    ),
    "keys live a millisecond too long": (
        instead("load", lambda store, at, key=None, now_ms=0: load_one(store, at, key, now_ms - 1)),
        "a_key_expires",
    ),
    "due leaves out its own instant": (
        instead("due", lambda store, now_ms, limit, *_: store.due(now_ms - 1, limit)),
        "due_returns_the_earliest_first",
    ),
    "due returns the latest first": (of_answer("due", lambda found: found[::-1]), "due_returns_the_earliest_first"),
    "due knows no limit": (
        instead("due", lambda store, now_ms, *_: store.due(now_ms, 99)),
        "due_returns_the_earliest_first",
    ),
    "due starts again at each page": (
        instead("due", lambda store, now_ms, limit, *_: store.due(now_ms, limit)),
        "due_continues_after_a_position",
    ),
    "due misses the rest of an instant": (
        instead(
            "due",
            lambda store, now_ms, limit, after=None: store.due(now_ms, limit, after and (after[0] + 1, 0)),
        ),
        "due_continues_after_a_position",
    ),
    "due returns the position itself again": (
        instead(
            "due",
            lambda store, now_ms, limit, after=None: store.due(now_ms, limit, after and (after[0], after[1] - 1)),
        ),
        "due_continues_after_a_position",
    ),
    "set_hold holds nothing": (
        instead("set_hold", lambda store, job, _: store.set_hold(job, "released")),
        "each_job_has_its_own_hold",
    ),
    "a hold holds the jobs of its kind": (
        instead("set_hold", lambda store, job, hold: store.set_hold((job[0], ""), hold)),
        "each_job_has_its_own_hold",
    ),
    "due leaves out no job": (
        instead("due", lambda store, now_ms, limit, after=None, _=(): store.due(now_ms, limit, after)),
        "due_instances_of_other_jobs_fill_the_page",
    ),
    "due leaves out jobs of a full page": (
        instead("due", leaves_out_of_a_full_page),
        "due_instances_of_other_jobs_fill_the_page",
    ),
    "a commit forgets rows of the journal": (
        with_commit(lambda one: attrs.evolve(one, journal=None)),
        "a_journal_is_read_in_pages",
    ),
    "a cut keeps the earlier rows": (
        with_commit(lambda one: attrs.evolve(one, journal=one.journal and attrs.evolve(one.journal, earlier="kept"))),
        "a_cut_begins_the_journal_again",
    ),
    "a journal starts again at each page": (
        instead("journal.read", lambda store, at, incarnation, _, limit: store.journal.read(at, incarnation, 0, limit)),
        "a_journal_is_read_in_pages",
    ),
    "a journal has no limit": (
        instead(
            "journal.read", lambda store, at, incarnation, first, _: store.journal.read(at, incarnation, first, 99)
        ),
        "a_journal_is_read_in_pages",
    ),
    "queued returns the last ranks": (
        of_answer(
            "lanes.queued", lambda found: tuple(attrs.evolve(one, instances=one.instances[::-1]) for one in found)
        ),
        "lanes_come_in_order_with_their_first_ranks",
    ),
    "queued shares no limit": (
        instead("lanes.queued", lambda store, job, lanes, limit: store.lanes.queued(job, lanes, limit * len(lanes))),
        "lanes_come_in_order_with_their_first_ranks",
    ),
    "queued says that no more are queued": (
        of_answer("lanes.queued", lambda found: tuple(attrs.evolve(one, rest="none") for one in found)),
        "lanes_come_in_order_with_their_first_ranks",
    ),
    "last_rank is that of another job": (
        instead("lanes.last_rank", lambda store, job: store.lanes.last_rank((job[0], job[1].upper()))),
        "lanes_come_in_order_with_their_first_ranks",
    ),
    "lanes begins at the first lane": (
        instead("lanes.names", lambda store, job, _, limit: store.lanes.names(job, None, limit)),
        "lanes_come_in_order_with_their_first_ranks",
    ),
    "next_alarm returns an alarm due now": (
        instead("next_alarm", lambda store, after_ms: store.next_alarm(after_ms - 1)),
        "next_alarm_is_strictly_later",
    ),
    "claims of events are not found": (
        of_answer("claimed", lambda found: tuple(one for one in found if one.claim)),
        "claimed_returns_both_claims_by_incarnation",
    ),
    "messages wait for nothing": (
        instead("messages", lambda store, _, limit: store.messages(99, limit)),
        "a_postponed_message_holds_its_pair_back",
    ),
    "redrive does nothing": (
        instead("redrive", lambda store, _: FutureResult.from_value("redriven")),
        "a_dead_letter_unblocks_its_pair",
    ),
    "dead letters do not page": (
        instead("dead_letters", lambda store, _, limit: store.dead_letters(0, limit)),
        "dead_letters_page_by_id",
    ),
    "find does not page": (
        instead("find", lambda store, query: store.find(attrs.evolve(query, after=None, limit=query.limit + 1))),
        "find_pages_in_the_order_of_addresses",
    ),
    "history returns the oldest first": (
        of_answer("history", lambda found: found[::-1]),
        "history_returns_the_newest_first",
    ),
    "a job has work while it has instances": (
        of_answer("counts.has_work", lambda _: True),
        "a_job_has_work_until_its_instances_are_done_or_suspended",
    ),
    "prune counts nothing": (of_answer("prune", lambda _: 0), "pruning_removes_expired_keys"),
    "prune keeps dead letters": (
        instead("prune", lambda store, retention: store.prune(attrs.evolve(retention, dead_letters_since_ms=0))),
        "pruning_removes_old_dead_letters",
    ),
    "health is always fine": (
        of_answer("health", lambda found: attrs.evolve(found, state="ok")),
        "a_closed_store_answers_unavailable",
    ),
    "an empty name": (lambda store: overlay(store, name=""), "a_store_says_what_it_is"),
    "left is always died": (lambda store: overlay(store, previous_exit="died"), "a_store_that_was_closed_says_so"),
    "an epoch that does not grow": (lambda store: overlay(store, epoch=1), "sequences_survive_reopening"),
}


@pytest.mark.parametrize("sabotage", SABOTAGE)
def test_a_violation_is_caught(sabotage):
    change, name = SABOTAGE[sabotage]
    with pytest.raises(RequirementViolated) as caught:
        check_case(BY_NAME[name], harness_of(change))
    assert set(caught.value.requirements) <= set(BY_NAME[name].requirements) | {FAILURES_ARE_VALUES}


def test_a_failure_names_the_requirement_the_operations_and_both_answers():
    with pytest.raises(RequirementViolated) as caught:
        check_case(BY_NAME["due_returns_the_earliest_first"], harness_of(SABOTAGE["due returns the latest first"][0]))
    assert str(caught.value) == (
        "due(20) returns the instances due at or before 20, earliest first\n"
        "  required by Store.due: Return the instances whose ``due_ms`` is at or before the instant, the earliest "
        "first, with their rows.\n"
        "  operations:\n"
        "    1. commit task:orders:c: put state={}, alarm_ms=30 over nothing  ->  Fence(1, 1)\n"
        "    2. commit task:orders:a: put state={}, alarm_ms=10 over nothing  ->  Fence(2, 1)\n"
        "    3. commit task:orders:b: put state={}, alarm_ms=20 over nothing  ->  Fence(3, 1)\n"
        "    4. commit task:orders:never: put state={} over nothing  ->  Fence(4, 1)\n"
        "    5. due(20, 9)  ->  [task:orders:b v1 (state={}, alarm_ms=20), task:orders:a v1 (state={}, alarm_ms=10)]\n"
        "  expected:           ['a', 'b']\n"
        "  the store returned: ['b', 'a']"
    )


PUT = CommitStep(
    at=0, fence="right", write="put", instance=instance(PLACES[0]), remember=(), targets=(), inbound=None, event_ms=()
)


def test_answers_that_no_order_of_the_operations_explains_are_reported():
    history = [PUT, ConcurrentStep((PUT, PUT, 1))]
    with pytest.raises(RequirementViolated) as caught:
        asyncio.run(take_steps(harness_of(checks_then_writes)(), history))
    assert str(caught.value).splitlines() == [
        "no order of the operations returns these results",
        f"  required by Store.commit: {ATOMIC.text}",
        f"  required by Store.commit: {CONCURRENT.text}",
        "  operations:",
        '    1. commit task:orders:a: put state={"n":1} over nothing  ->  Fence(1, 1)',
        "    2. at once:",
        '    3. A: commit task:orders:a: put state={"n":1} over Fence(1, 1)  ->  Fence(1, 2)',
        '    4. B: commit task:orders:a: put state={"n":1} over Fence(1, 1)  ->  Fence(1, 3)',
        "    5. C: load(task:orders:b)  ->  Loaded(None, None, keys_held=0)",
    ]


def test_a_state_that_no_order_of_the_operations_explains_is_reported():
    forgets_events = SABOTAGE["commit forgets events"][0]
    with pytest.raises(RequirementViolated) as caught:
        asyncio.run(
            take_steps(harness_of(forgets_events)(), [ConcurrentStep((PUT, attrs.evolve(PUT, at=1, event_ms=(7,))))])
        )
    assert str(caught.value).splitlines()[-5:] == [
        "  nearest comes A then B; but then",
        "  history(task:orders:b): the model has [orders:b @7]",
        "                          the store has []",
        "  events(): the model has [orders:b @7]",
        "            the store has []",
    ]


def test_the_model_shrinks_to_the_steps_that_matter():
    with pytest.raises(RequirementViolated) as caught:
        check_model(harness_of(SABOTAGE["keys live a millisecond too long"][0]), max_examples=200)
    assert len(caught.value.story) <= 5  # of up to 25
    assert any(" until " in line for line in caught.value.story)
    assert "A key is remembered while" in str(caught.value)


class SharedHarness:
    """A memory store that many may open at once."""

    ownership = "shared"

    def __init__(self):
        self.tables = Tables()
        self.openings = 0

    async def open(self):
        self.openings += 1
        store = OpenMemoryStore(self.tables, epoch=self.openings)
        store.capabilities = Capabilities(ownership=self.ownership, durability="none")
        return store

    async def discard(self):
        """Leave it to the garbage collector."""


class SplitHarness(SharedHarness):
    """Each opening has tables of its own."""

    async def open(self):
        self.tables = Tables()
        return await super().open()


class UnfencedHarness(SharedHarness):
    """Says that it has one owner, and lets any second opening in."""

    ownership = "owned"


def test_capabilities_choose_the_cases():
    shared, owned = BY_NAME["two_openings_share_their_data"], BY_NAME["a_second_opening_is_refused_or_ends_the_first"]
    assert check_case(shared, SharedHarness)
    assert not check_case(owned, SharedHarness)
    assert not check_case(shared, MemoryHarness)
    assert check_case(owned, MemoryHarness)
    assert not check_kills(MemoryHarness)


@pytest.mark.parametrize(
    ("name", "harness"),
    [
        ("two_openings_share_their_data", SplitHarness),
        ("a_second_opening_is_refused_or_ends_the_first", UnfencedHarness),
    ],
)
def test_an_ownership_that_is_not_kept_is_caught(name, harness):
    with pytest.raises(RequirementViolated):
        check_case(BY_NAME[name], harness)


def test_one_call_returns_the_checks_that_passed_and_those_that_do_not_apply():
    report = check_store(SharedMemoryHarness, max_examples=3)
    assert report.failed == ()
    left_out = {one.name for one in report.outcomes if one.verdict == "not applicable"}
    without = {case.name for case in CASES if case.needs in {"durable", "copies"}}
    assert left_out == without | {
        "a_second_opening_is_refused_or_ends_the_first",
        "an_unreadable_row_affects_no_other",
        "agrees_with_the_model_when_it_is_killed",
    }


def test_one_call_collects_every_failure():
    def broken(store):
        return SABOTAGE["prune counts nothing"][0](SABOTAGE["an empty name"][0](store))

    with pytest.raises(RequirementViolated) as caught:
        check_store(harness_of(broken), max_examples=1)
    assert "a_store_says_what_it_is: a store has a name" in str(caught.value)
    assert "pruning_removes_expired_keys: prune removes expired keys" in str(caught.value)


def test_a_harness_that_cannot_go_to_another_process_is_explained():
    class Local(MemoryHarness):
        async def open(self):
            store = await super().open()
            return overlay(store, capabilities=Capabilities(ownership="owned", durability="relaxed"))

    with pytest.raises(TypeError, match="at the top of a module that can be imported"):
        check_kills(Local, max_examples=1)
