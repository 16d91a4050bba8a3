"""The lease of an engine, by a model of one line, over a store whose heartbeats are slow, fail or lose their answers.

The lease counts from before the heartbeat that renewed it was sent. The engine must never rely on more than the store
knows.
"""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.engine.runs.concurrency import Holds
from perdure.engine.sharing import (
    AFTER_LEASE_MS,
    HEARTBEATS,
    LEFT_MS,
    RETRY_MS,
    SOON_MS,
    SURE,
    SWEEP_MS,
    ClaimSweeper,
    Membership,
    RevokedRuns,
    handles_alarm,
)
from perdure.engine.sharing import RETRY_MS as LOOK_AGAIN_MS
from perdure.programs.future import asked
from perdure.runtime.simulated import Simulation
from perdure.stores.memory import MemoryBackend
from perdure.stores.shares import Members, Served, ServedCode, StoreMember
from perdure.values.address import Address
from perdure.values.errors import OutcomeUnknown, OwnershipLost, StoreUnavailable
from perdure.values.status import Hold
from perdure.values.transition import Loaded

LEASE_MS = 4_000
USUAL_MS = LEASE_MS / HEARTBEATS
JOBS: Served = {("task", "orders"): ServedCode(1)}


@attrs.define
class Other:
    """Another engine: until when its lease lasts, and when it leaves the members, by a close or declared dead."""

    epoch: int
    until_ms: float
    gone_ms: float


@attrs.define(kw_only=True)
class Shared:
    """A store that answers heartbeats as the story says.

    Attributes:
        fates: of each heartbeat, in turn, and how long its answer takes.
        sent: when each heartbeat began, the jobs that it stated, and its fate.
        renewed_ms: when the last heartbeat began that was answered with the members.
    """

    simulation: Simulation
    fates: list[tuple[str, int]]
    others: list[Other] = attrs.Factory(list)
    sent: list[tuple[float, Served, str]] = attrs.Factory(list)
    renewed_ms: float = -1e9
    answered_ms: list[float] = attrs.Factory(list)
    expired: list[int] = attrs.Factory(list)
    lost: list[tuple[float, str]] = attrs.Factory(list)
    changed: int = 0
    membership: Membership = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        sharing: Any = SimpleNamespace(lease_ms=LEASE_MS, heartbeat=self.heartbeat)
        made = self.membership = Membership(sharing, 1, self.simulation.runtime, JOBS)
        made.changed, made.expired = self.note_change, lambda member: self.expired.append(member.epoch)
        made.lost = self.note_loss

    @property
    def now_ms(self) -> float:
        return self.simulation.runtime.monotonic_ms()

    def note_change(self) -> None:
        self.changed += 1

    def note_loss(self, reason: str) -> None:
        self.lost.append((self.now_ms, reason))
        self.membership.end()

    def heartbeat(self, served: Served, /) -> FutureResult[Members, Any]:
        return asked(self._beat(served))

    async def _beat(self, served: Served) -> Result[Members, Any]:
        fate, took_ms = self.fates[len(self.sent) % len(self.fates)] if len(self.sent) >= 2 else ("ok", 0)
        began_ms = self.now_ms
        self.sent.append((began_ms, served, fate))
        found = self.members()
        await self.simulation.runtime.sleep(took_ms)
        self.answered_ms.append(self.now_ms)
        match fate:
            case "fails":
                return Failure(StoreUnavailable("renew the lease", "the network is down"))
            case "unknown":
                return Failure(OutcomeUnknown("the answer is lost"))  # type: ignore[arg-type]
            case "dead":
                return Failure(OwnershipLost("shared", "another engine declared it dead"))
            case _:
                self.renewed_ms = max(self.renewed_ms, began_ms)
                return Success(found)

    def members(self) -> Members:
        own = StoreMember(epoch=1, served=JOBS, joined_ms=0, lease_left_ms=LEASE_MS)
        there = [one for one in self.others if self.now_ms < one.gone_ms]
        left = (
            StoreMember(epoch=one.epoch, served=JOBS, joined_ms=0, lease_left_ms=int(one.until_ms - self.now_ms))
            for one in there
        )
        return Members(members=(own, *left), last_epoch=9, now_ms=self.simulation.now_ms)

    async def began(self) -> None:
        await self.membership.join()
        await self.membership.serve()


FATES = st.lists(
    st.tuples(st.sampled_from(["ok", "ok", "ok", "fails", "fails", "unknown"]), st.integers(0, 1_500)),
    min_size=1,
    max_size=8,
)


@example(fates=[("ok", 900)], seed=0)
@example(fates=[("fails", 0)] * 3 + [("ok", 0)] * 3 + [("fails", 0)] * 2 + [("ok", 0)] * 4, seed=0)
@given(fates=FATES, seed=st.integers(0, 99))
def test_an_engine_relies_on_its_lease_no_longer_than_it_is_renewed(fates: list[tuple[str, int]], seed: int) -> None:
    """Counted from before the heartbeat; the engine stops in the moment in which it ends, and not before."""
    simulation = Simulation(seed=seed)
    shared = Shared(simulation=simulation, fates=fates)
    simulation.run(shared.began())
    for _ in range(2_000):
        if shared.lost:
            break
        simulation.advance(10)
        good = shared.now_ms < shared.renewed_ms + LEASE_MS * SURE
        assert shared.membership.may_act() == good
        assert bool(shared.lost) == (not good)
    for at_ms, reason in shared.lost:
        assert at_ms == shared.renewed_ms + LEASE_MS * SURE
        assert "lease has ended" in reason
    check_pauses(shared)


def check_pauses(shared: Shared) -> None:
    """A heartbeat follows the answer before after the usual pause; after each failure in a row after a doubled one."""
    failures = 0
    for number, (_, _, fate) in enumerate(shared.sent[: len(shared.answered_ms)]):
        failures = 0 if fate == "ok" else failures + 1
        if number < 2 or number + 1 >= len(shared.sent):
            continue
        pause_ms = shared.sent[number + 1][0] - shared.answered_ms[number]
        expected_ms = USUAL_MS if not failures else min(USUAL_MS, RETRY_MS * 2 ** (failures - 1))
        assert abs(pause_ms - expected_ms) < 1, (number, failures)


@given(st.integers(0, 5_000), st.integers(1, 800), st.integers(0, 99))
def test_a_share_that_is_given_up_is_stated_at_once_also_during_a_heartbeat(
    at_ms: int, took_ms: int, seed: int
) -> None:
    simulation = Simulation(seed=seed)
    shared = Shared(simulation=simulation, fates=[("ok", took_ms)])
    simulation.run(shared.began())
    simulation.advance(at_ms)
    under_way_ms = took_ms if len(shared.answered_ms) < len(shared.sent) else 0
    shared.membership.retire()
    simulation.advance(under_way_ms)
    assert shared.sent[-1][1] == {}
    assert shared.sent[-1][0] <= at_ms + under_way_ms
    before = len(shared.sent)
    simulation.advance(took_ms + USUAL_MS / 2)
    assert len(shared.sent) == before, "it is stated once"


OTHERS = st.lists(
    st.tuples(st.integers(100, 6_000), st.sampled_from(["close", "dies"]), st.integers(0, 900)), min_size=1, max_size=4
)


@example(story=[(500, "dies", 0), (3_000, "dies", 0), (5_900, "close", 0)], seed=0)
@given(story=OTHERS, seed=st.integers(0, 99))
def test_each_engine_whose_lease_ended_is_reported_once_and_a_closed_one_never(
    story: list[tuple[int, str, int]], seed: int
) -> None:
    simulation = Simulation(seed=seed)
    shared = Shared(simulation=simulation, fates=[("ok", 0)])
    for number, (at_ms, end, late_ms) in enumerate(story):
        until_ms = at_ms + LEASE_MS if end == "close" else at_ms
        gone_ms = at_ms if end == "close" else at_ms + AFTER_LEASE_MS + late_ms
        shared.others.append(Other(number + 2, until_ms, gone_ms))
    simulation.run(shared.began())
    simulation.advance(20_000)
    assert sorted(shared.expired) == [
        one.epoch for one, (_, end, _) in zip(shared.others, story, strict=True) if end == "dies"
    ]
    assert not shared.membership.others.living


def test_an_engine_that_is_declared_dead_stops_with_the_reason_of_the_store() -> None:
    simulation = Simulation()
    shared = Shared(simulation=simulation, fates=[("ok", 0), ("ok", 0), ("ok", 0), ("dead", 0)])
    simulation.run(shared.began())
    simulation.advance(3 * LEASE_MS)
    ((_, reason),) = shared.lost
    assert reason == "another engine declared it dead"


# ---------------------------------------------------------------- the claims that engines left
@attrs.define
class Look:
    """Looks for claims, and fails as often as the story says.

    Attributes:
        failures: how often the next looks fail.
        looks: when each look began.
        done: when each look succeeded.
    """

    simulation: Simulation
    failures: int = 0
    looks: list[float] = attrs.Factory(list)
    done: list[float] = attrs.Factory(list)

    async def claims(self) -> int:
        now_ms = self.simulation.runtime.monotonic_ms()
        self.looks.append(now_ms)
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("read claims", "the network is down")
        self.done.append(now_ms)
        return 0


@given(
    st.lists(st.tuples(st.integers(700, 4_000), st.sampled_from(["joins", "ends"]), st.integers(0, 9)), max_size=6),
    st.integers(0, 99),
)
def test_after_each_end_of_an_engine_all_claims_are_looked_at(story: list[tuple[int, str, int]], seed: int) -> None:
    """Half a second after it, and until the store has answered: a look that failed is repeated, at last each 5 s."""
    simulation = Simulation(seed=seed)
    shared = Shared(simulation=simulation, fates=[("ok", 0)])
    own, left = Look(simulation), Look(simulation)
    holds = Holds(MemoryBackend().open(), simulation.runtime)
    sweep = ClaimSweeper(simulation.runtime, shared.membership, holds, own, left)  # type: ignore[arg-type]
    for loop in (sweep.run(), sweep.run_left()):
        simulation.runtime.spawn(loop, name="sweep")
    simulation.advance(LEFT_MS + 100)
    assert len(left.done) == 1, "one may have ended before this one joined"
    living = frozenset({2, 3})
    set_living(shared, sweep, living)
    for after_ms, change, failures in story:
        simulation.advance(after_ms)
        before, begun_ms, left.failures = len(left.looks), shared.now_ms, failures if change == "ends" else 0
        living = living - {min(living)} if change == "ends" and living else living | {max(living, default=1) + 1}
        ended = len(living) < len(shared.membership.others.living)
        set_living(shared, sweep, living)
        simulation.advance(60_000 if ended else LEFT_MS + 50)
        looks = left.looks[before:]
        pauses = [later - earlier for earlier, later in pairwise(looks)]
        assert looks[:1] == ([begun_ms + LEFT_MS] if ended else [])
        assert pauses == ([min(SWEEP_MS, LOOK_AGAIN_MS * 2**number) for number in range(failures)] if ended else [])
    assert all(later - earlier <= SWEEP_MS for earlier, later in pairwise(own.done))


@given(st.lists(st.integers(0, 3 * SWEEP_MS), min_size=1, max_size=4), st.integers(0, 99))
def test_a_hold_of_another_engine_is_known_after_a_sweep_although_no_notification_arrives(
    pauses_ms: list[int], seed: int
) -> None:
    simulation = Simulation(seed=seed)
    shared = Shared(simulation=simulation, fates=[("ok", 0)])
    store, job, released = MemoryBackend().open(), ("task", "orders"), list[float]()
    holds = Holds(store, simulation.runtime)
    holds.released = lambda: released.append(simulation.runtime.monotonic_ms())
    own, left = Look(simulation), Look(simulation)
    sweep = ClaimSweeper(simulation.runtime, shared.membership, holds, own, left)  # type: ignore[arg-type]
    simulation.runtime.spawn(sweep.run(), name="sweep")
    for number, pause_ms in enumerate(pauses_ms):
        hold: Hold = "released" if number % 2 else "held"
        simulation.advance(pause_ms)
        store.set_hold(job, hold)  # of another engine; the memory store does it at once
        simulation.advance(SWEEP_MS)
        assert holds.of(*job) == hold
        assert len(released) == (number + 1) // 2


def set_living(shared: Shared, sweep: ClaimSweeper, living: frozenset[int]) -> None:
    shared.membership.others = attrs.evolve(shared.membership.others, living=living)
    sweep.others_changed()


@given(st.none() | st.integers(-2_000, 2 * SOON_MS), st.booleans())
@example(SOON_MS, False)
@example(SOON_MS + 1, False)
def test_an_engine_fires_an_alarm_that_it_set_if_it_is_due_soon_or_in_its_share(
    in_ms: int | None,
    is_in_share: bool,  # noqa: FBT001 - drawn
) -> None:
    """The engine of the share reads alarms now and then, and would be late for one that is due soon."""
    address, now_ms = Address("task", "orders", "a"), 10_000
    membership: Any = SimpleNamespace(share={address} if is_in_share else set())
    due_ms = None if in_ms is None else now_ms + in_ms
    expected = is_in_share or in_ms is None or in_ms <= SOON_MS
    assert handles_alarm(membership, address, due_ms, now_ms) == expected


@pytest.mark.parametrize("ends", ["before the answer", "after the answer"])
def test_a_run_that_ended_while_its_row_was_read_stops_no_later_run_of_its_instance(ends: str) -> None:
    address, stopped, answers = Address("task", "orders", "a"), list[Any](), list[Any]()
    execute: Any = SimpleNamespace(claim=SimpleNamespace(run_id="one"))
    run: Any = SimpleNamespace(stop=None, claimed=lambda: execute)
    cell: Any = SimpleNamespace(runs=[run], stop=lambda *given: stopped.append(given), job=None)
    reads: Any = SimpleNamespace(load=lambda *given: answers.append(given[-1]))
    cache: Any = SimpleNamespace(get=lambda _: cell)
    RevokedRuns(reads, cache, lambda: [address]).look()
    if ends == "before the answer":
        cell.runs = []
    for compare in answers:
        compare(Success(Loaded(instance=None)))
    assert stopped == ([] if ends == "before the answer" else [(run, "interrupted")])
