"""The order of lanes against a plain model, with a store that holds more than fits into memory."""

from __future__ import annotations

from collections import Counter, defaultdict

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from perdure.engine.loops.fair_queue import FRESH_MS, FairQueue, Rest
from perdure.runtime.record import Sizes
from perdure.stores.shares import OTHERS_MS
from perdure.values.address import Address

LANES = ("a", "b", "c", "")
MANY = tuple("abcdefgh")
"""More than fit into the smallest memory."""


def at(number: int) -> Address:
    return Address("pool", "p", f"{number:04}")


@attrs.define
class Model:
    """The store: its queued instances by lane; and the turns that read them."""

    turns: FairQueue
    queued: dict[str, list[tuple[int, int, Address]]] = attrs.field(factory=lambda: defaultdict(list))
    number: int = 0

    def put(self, lane: str, rank: int) -> None:
        self.number += 1
        self.queued[lane].append((rank, self.number, at(self.number)))
        self.turns.notice(at(self.number), lane, rank)

    def cancel(self, lane: str) -> None:
        if self.queued[lane]:
            _, _, address = self.queued[lane].pop(len(self.queued[lane]) // 2)
            self.turns.forget(address)

    def read(self, lanes: tuple[str, ...]) -> None:
        share = self.turns.share(len(lanes))
        for lane in lanes:
            rows = sorted(self.queued[lane])
            rest: Rest = "some" if len(rows) > share else "none"
            self.turns.read(lane, rows[:share], rest)

    def read_all(self) -> None:
        """Read as the feeder does: all lanes only if some may be unknown."""
        for _ in range(3):
            if self.turns.unread:
                self.turns.begin_pass()
                self.read(
                    tuple(lane for lane in sorted(self.queued) if self.queued[lane] and not self.turns.knows(lane))
                )
                self.turns.end_pass("none")
            if empty := self.turns.empty():
                self.read(empty)
            if not self.turns.unread and not self.turns.empty():
                return

    def take(self) -> tuple[str, int] | None:
        taken = self.turns.take()
        if taken is None:
            return None
        address, lane = taken
        ((rank, number),) = [(rank, number) for rank, number, one in self.queued[lane] if one == address]
        assert all((rank, number) <= other[:2] for other in self.queued[lane])  # the first one of its lane
        self.queued[lane].remove((rank, number, address))
        return lane, rank


def steps_of(lanes: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, str, int]]]:
    puts = st.tuples(st.just("put"), st.sampled_from(lanes), st.integers(0, 50))
    others = st.tuples(st.sampled_from(["cancel", "take", "read"]), st.sampled_from(lanes), st.just(0))
    return st.lists(puts | others)


STEPS = steps_of(LANES)


@given(room=st.integers(1, 40), steps=STEPS | steps_of(MANY))
@example(room=1, steps=[("put", lane, 0) for lane in MANY] + [("read", "a", 0)] + [("put", "a", 1), ("cancel", "a", 0)])
def test_every_instance_is_taken_once_and_memory_is_bounded(room: int, steps: list[tuple[str, str, int]]) -> None:
    model = Model(FairQueue(room, lambda _: False))
    for step, lane, rank in steps:
        match step:
            case "put":
                model.put(lane, rank)
            case "cancel":
                model.cancel(lane)
            case "read":
                model.read_all()
            case _:
                model.take()
        assert model.turns.size <= room
        assert model.turns.lanes <= room + len(MANY)
    left = sum(map(len, model.queued.values()))
    for _ in range(left):
        if (taken := model.take()) is None:
            model.read_all()
            taken = model.take()
        assert taken is not None
    assert model.take() is None


@given(
    older=st.dictionaries(st.sampled_from(LANES), st.integers(1, 6), min_size=1),
    blocked=st.sets(st.sampled_from(LANES)),
    room=st.integers(4, 20),
    steps=STEPS,
)
def test_no_instance_overtakes_an_older_one_that_is_not_in_memory(
    older: dict[str, int], blocked: set[str], room: int, steps: list[tuple[str, str, int]]
) -> None:
    """The store has instances from before; lanes that are blocked when it is read are skipped."""
    now_blocked = set(blocked)
    model = Model(FairQueue(room, lambda lane: lane in now_blocked))
    for lane, count in older.items():
        for _ in range(count):
            model.number += 1
            model.queued[lane].append((0, model.number, at(model.number)))
    model.turns.begin_pass()
    model.read(tuple(lane for lane in older if lane not in blocked))
    model.turns.end_pass("some" if blocked & older.keys() else "none")
    for step, lane, rank in steps:
        match step:
            case "put":
                model.put(lane, rank)
            case "cancel":
                now_blocked.discard(lane)
                model.turns.unblock(lane)
            case "read":
                model.turns.reread(lane)
                model.read(model.turns.empty())
            case _:
                model.take()  # checks that it is the first one of its lane
    now_blocked.clear()
    model.turns.unblock_all()
    while sum(map(len, model.queued.values())):
        if model.take() is None:
            model.read_all()


@given(
    number=st.dictionaries(st.sampled_from(LANES), st.integers(1, 60), min_size=2),
    room=st.integers(8, 64),
    late=st.integers(0, 40),
)
def test_no_lane_waits_for_more_than_one_run_of_each_other(number: dict[str, int], room: int, late: int) -> None:
    model = Model(FairQueue(room, lambda _: False))
    for lane, count in number.items():
        for rank in range(count):
            model.put(lane, rank)
    waited: Counter[str] = Counter()
    taken_of: Counter[str] = Counter()
    for turn in range(sum(number.values()) + 1):
        if turn == late:
            model.put("late", 99)
        model.read_all()
        taken = model.take()
        if taken is None:
            break
        lane, rank = taken
        assert rank == (99 if lane == "late" else taken_of[lane])  # the least rank of its lane
        taken_of[lane] += 1
        waiting = {one for one, rows in model.queued.items() if rows}
        for other in waiting - {lane}:
            waited[other] += 1
            assert waited[other] <= 2 * len(LANES) + 1
        waited[lane] = 0


@given(
    number=st.dictionaries(st.sampled_from(LANES), st.integers(1, 9), min_size=2),
    turns=st.lists(st.sets(st.sampled_from(LANES)), max_size=30),
)
@example(number={"a": 4, "b": 8}, turns=[{"a"}] * 4)
def test_a_lane_that_was_blocked_saves_no_turns(number: dict[str, int], turns: list[set[str]]) -> None:
    """Neither then nor later: no lane has three runs in a row while another one waits that is not blocked."""
    now_blocked = set[str]()
    model = Model(FairQueue(64, lambda lane: lane in now_blocked))
    for lane, count in number.items():
        for rank in range(count):
            model.put(lane, rank)
    row = list[str]()
    for blocked in (*turns, *[set[str]()] * sum(number.values())):
        unblocked, now_blocked = now_blocked - blocked, blocked
        for lane in sorted(unblocked):
            model.turns.unblock(lane)
        model.read_all()
        waiting = {lane for lane, rows in model.queued.items() if rows} - blocked
        taken = model.take()
        assert (taken is None) == (not waiting)
        if taken is None or waiting == {taken[0]} or unblocked:
            row.clear()
        if taken is not None:
            row.append(taken[0])
        assert len(row) < 3 or len(set(row[-3:])) > 1
    assert not any(model.queued.values())


@given(
    ranks=st.dictionaries(st.integers(0, 3 * OTHERS_MS), st.sampled_from(LANES)),
    shares=st.tuples(*[st.frozensets(st.sampled_from(LANES))] * 2),
    changed_at=st.integers(0, 4),
)
def test_lanes_of_other_engines_come_later_than_those_of_the_share(
    ranks: dict[int, str], shares: tuple[frozenset[str], frozenset[str]], changed_at: int
) -> None:
    share = shares[0]
    model = Model(FairQueue(40, lambda _: False, unread=False, delay_ms=lambda lane: 0 if lane in share else OTHERS_MS))
    firsts = {lane: min(rank for rank, of in ranks.items() if of == lane) for lane in ranks.values()}
    for lane, rank in firsts.items():
        model.put(lane, rank)
    for number in range(len(firsts)):
        if number == changed_at:
            share = shares[1]
            model.turns.reorder()
        expected = min(firsts, key=lambda lane: firsts[lane] + OTHERS_MS * (lane not in share))
        first_ms = firsts[expected] + OTHERS_MS * (expected not in share)
        taken = model.take()
        assert taken is not None
        assert firsts[taken[0]] + OTHERS_MS * (taken[0] not in share) == first_ms  # another one only if it is as old
        del firsts[taken[0]]
    assert model.take() is None


@given(
    share=st.frozensets(st.sampled_from(LANES)),
    ages=st.lists(st.integers(0, 2 * FRESH_MS), min_size=1, max_size=6),
    together=st.integers(1, 3),
)
def test_an_old_memory_of_another_engines_lane_is_read_again(
    share: frozenset[str], ages: list[int], together: int
) -> None:
    now_ms, read_ms = 0, dict.fromkeys(LANES, 0)
    sizes = Sizes(lanes_reread=together)
    turns = FairQueue(
        40,
        lambda _: False,
        unread=False,
        delay_ms=lambda lane: 0 if lane in share else OTHERS_MS,
        now_ms=lambda: now_ms,
        sizes=sizes,
    )
    model = Model(turns)
    for lane in LANES:
        model.put(lane, 0)
    for age in ages:
        now_ms += age
        before = sum(map(turns.waiting, LANES))
        taken = model.take()
        if taken is not None:
            assert taken[0] in share or now_ms - read_ms[taken[0]] < FRESH_MS
            continue
        # No more than the store is asked for at once, and none of this engine's own.
        assert len(turns.empty()) <= together
        assert before - sum(map(turns.waiting, LANES)) == len(turns.empty())
        assert not share.intersection(turns.empty())
        read_ms.update(dict.fromkeys(turns.empty(), now_ms))
        model.read(turns.empty())


@given(blocked=st.sets(st.sampled_from(LANES)), rank=st.integers(0, 9))
def test_a_blocked_lane_keeps_its_instances_and_delays_no_other(blocked: set[str], rank: int) -> None:
    now_blocked = set(blocked)
    model = Model(FairQueue(40, lambda lane: lane in now_blocked))
    model.turns.begin_pass()
    model.turns.end_pass("none")
    for lane in LANES:
        model.put(lane, rank)
    taken = set()
    while (one := model.take()) is not None:
        taken.add(one[0])
    assert taken == set(LANES) - blocked
    now_blocked.clear()
    model.turns.unblock_all()
    while (one := model.take()) is not None:
        taken.add(one[0])
    assert taken == set(LANES)


@settings(max_examples=5)
@given(st.integers(100_000, 120_000))
def test_hundred_thousands_of_lanes_take_bounded_memory(lanes: int) -> None:
    turns = FairQueue(4_096, lambda _: False)
    turns.begin_pass()
    turns.end_pass("none")
    for number in range(lanes):
        turns.notice(at(number), f"lane {number}", number)
    assert turns.size <= 4_096
    assert turns.lanes <= 4_096
    assert turns.unread
    assert turns.take() == (at(0), "lane 0")


FEW = st.integers(1, 5)


@given(room=st.integers(1, 40), lane_share=FEW, lanes_read=st.integers(1, 12), lanes=st.integers(0, 6))
def test_a_read_takes_no_more_of_a_lane_and_of_all_than_the_sizes_say(
    room: int, lane_share: int, lanes_read: int, lanes: int
) -> None:
    turns = FairQueue(room, lambda _: False, sizes=Sizes(lane_share=lane_share, lanes_read=lanes_read))
    share = turns.share(lanes)
    assert 1 <= share <= lane_share
    assert share == 1 or share * lanes <= lanes_read


@given(lane_low=FEW, entries=st.integers(1, 6), rest=st.sampled_from(["some", "none"]))
def test_a_lane_is_read_again_before_it_is_empty(lane_low: int, entries: int, rest: Rest) -> None:
    turns = FairQueue(4_096, lambda _: False, sizes=Sizes(lane_low=lane_low))
    turns.read("a", [(rank, rank, Address("pool", "p", str(rank))) for rank in range(entries)], rest)
    assert turns.low() == (("a",) if rest == "some" and entries < lane_low else ())
