"""The timer queue against a plain table of alarms: nothing that is due is missed, and nothing is read without need."""

import copy
from collections.abc import Callable
from typing import TypeAlias

import attrs
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.engine.loops.alarms import Entry, TimerQueue, end_of
from perdure.values.address import Address

AHEAD_MS = 50
BATCH = 3

Change: TypeAlias = tuple[Address, int | None]
"""An alarm that is set, or one that a commit with an unknown outcome sets."""

Step: TypeAlias = Callable[["Clockwork"], None]


@attrs.define
class Clockwork:
    """A table of alarms, a timer queue beside it, and the loop that keeps it, in plain steps."""

    now_ms: int = 0
    table: dict[Address, int] = attrs.Factory(dict[Address, int])
    timers: TimerQueue = attrs.Factory(TimerQueue)
    fired: list[tuple[Address, int]] = attrs.Factory(list[tuple[Address, int]])
    reads: int = 0
    returned: int = 0  # rows, by all reads

    def set(self, address: Address, due_ms: int) -> None:
        self.table[address] = due_ms
        self.timers.add(address, due_ms, self.now_ms + AHEAD_MS)

    def round(self, meanwhile: list[list[Change]]) -> None:
        """Read if need be, with alarms that are set before, between and after the two queries; fire the due alarms."""
        self.fire()
        while self.timers.must_be_read(self.now_ms):
            self.read(meanwhile)
            self.fire()

    def read(self, meanwhile: list[list[Change]]) -> None:
        self.reads += 1
        until_ms = self.now_ms + AHEAD_MS
        after = self.timers.begin_reading() or (-1, 0)
        due = sorted((due_ms, int(address.id), address) for address, due_ms in self.table.items())
        due = [entry for entry in due if after < entry[:2] and entry[0] <= until_ms][:BATCH]
        rows = [(address, due_ms) for due_ms, _, address in due]
        self.returned += len(rows)
        self.set_some(meanwhile)
        if len(rows) == BATCH:
            self.timers.read(rows, due[-1][:2])
            self.timers.end_reading(due[-1][0])
            return
        self.timers.read(rows, end_of(until_ms))
        self.set_some(meanwhile)
        next_ms = min((due_ms for due_ms in self.table.values() if due_ms > until_ms), default=until_ms + 10_000)
        self.set_some(meanwhile)
        self.timers.end_reading(next_ms)

    def set_some(self, meanwhile: list[list[Change]]) -> None:
        for address, due_ms in meanwhile.pop() if meanwhile else ():
            if due_ms is None:
                self.doubt(address)
            else:
                self.set(address, due_ms)

    def doubt(self, address: Address) -> None:
        """An alarm is set by a commit with an unknown outcome: the queue is not notified of it."""
        self.table[address] = self.now_ms
        self.timers.doubt(self.now_ms)

    def fire(self) -> None:
        while (entry := self.timers.pop(self.now_ms)) is not None:
            address, _ = entry
            if self.table.get(address, self.now_ms + 1) <= self.now_ms:
                del self.table[address]
                self.fired.append((address, self.now_ms))


addresses = st.sampled_from([Address("task", "orders", str(number)) for number in range(8)])
instants = st.one_of(st.sampled_from([0, 10, 40, 60]), st.integers(0, 300))
alarms = st.tuples(addresses, instants)
changes = st.tuples(addresses, st.one_of(st.none(), instants))
steps = st.one_of(
    st.tuples(st.just("set"), alarms),
    st.tuples(st.just("set"), alarms),
    st.tuples(st.just("cancel"), addresses),
    st.tuples(st.just("wait"), st.integers(0, 80)),
    st.tuples(st.just("doubt"), addresses),
    st.tuples(st.just("round"), st.lists(st.lists(changes, max_size=2), min_size=3, max_size=6)),
)


ROUND: tuple[str, object] = ("round", [])
ORDERS = [Address("task", "orders", str(number)) for number in range(8)]
DROPPED = [ROUND, *(("set", (address, 40)) for address in ORDERS[:3]), ("wait", 45), ROUND]
BEHIND_A_PAGE = [*(("set", (address, 10)) for address in ORDERS[1:]), ("wait", 10), ("round", [[(ORDERS[0], 10)]])]


# An alarm in the past, behind one that only the store knows.
DOUBTED = [
    ROUND,
    ("set", (ORDERS[0], 40)),
    ("wait", 60),
    ("doubt", ORDERS[2]),
    ("set", (ORDERS[1], 50)),
    ROUND,
]


@example(DROPPED, 2)
@example(DOUBTED, 10_000)
@example(BEHIND_A_PAGE, 10_000)
@given(st.lists(steps, max_size=30), st.sampled_from([2, 10_000]))
def test_after_a_round_nothing_due_is_left(story: list[tuple[str, object]], room: int) -> None:
    clockwork = Clockwork(timers=TimerQueue(room=room))
    for step in story:
        match step:
            case "set", (Address() as address, int() as due_ms):
                clockwork.set(address, due_ms)
            case "cancel", Address() as address:
                clockwork.table.pop(address, None)
            case "doubt", Address() as address:
                clockwork.doubt(address)
            case "wait", int() as ms:
                clockwork.now_ms += ms
            case _, list() as meanwhile:
                clockwork.round(meanwhile)
                assert all(due_ms > clockwork.now_ms for due_ms in clockwork.table.values())


@given(st.lists(alarms, min_size=1, max_size=20))
def test_the_loop_wakes_in_time_for_every_alarm(given_alarms: list[tuple[Address, int]]) -> None:
    clockwork = Clockwork()
    clockwork.round([])
    for address, due_ms in given_alarms:
        clockwork.set(address, due_ms)
    expected = dict(clockwork.table)
    while clockwork.table:
        clockwork.now_ms = max(clockwork.now_ms, clockwork.timers.wake_ms)
        clockwork.round([])
    assert dict(clockwork.fired) == expected


def test_a_stream_of_alarms_is_read_in_batches() -> None:
    clockwork = Clockwork()
    for number in range(900):
        clockwork.table[Address("task", "orders", str(number))] = number
    while clockwork.table:
        clockwork.round([])
        clockwork.now_ms = max(clockwork.now_ms + 1, clockwork.timers.wake_ms)
    assert len(clockwork.fired) == 900
    assert clockwork.returned == 900
    assert clockwork.reads <= 900 // BATCH + 1


def test_alarms_that_are_set_for_soon_are_not_read() -> None:
    clockwork = Clockwork()
    clockwork.round([])
    for _ in range(100):
        clockwork.set(ORDERS[0], clockwork.now_ms + AHEAD_MS)
        clockwork.set(ORDERS[1], clockwork.now_ms + AHEAD_MS - 1)
        clockwork.now_ms += AHEAD_MS
        clockwork.round([])
        assert not clockwork.table
    assert clockwork.reads == 1
    clockwork.set(ORDERS[0], clockwork.now_ms + AHEAD_MS + 1)
    clockwork.now_ms += AHEAD_MS + 1
    clockwork.round([])
    assert clockwork.reads == 2


def test_alarms_behind_a_failed_read_are_read() -> None:
    clockwork = Clockwork()
    clockwork.table[ORDERS[0]] = 20
    clockwork.timers.begin_reading()
    clockwork.timers.give_up_reading(60)
    clockwork.set(ORDERS[1], 30)
    clockwork.now_ms = 60
    clockwork.round([])
    assert not clockwork.table


def test_alarms_of_one_instant_are_read_in_batches() -> None:
    """Also while they are neither fired nor settled."""
    clockwork = Clockwork()
    for number in range(900):
        clockwork.table[Address("task", "orders", str(number))] = 0
    fired: list[Entry] = []
    while len(fired) < 900:
        clockwork.read([])
        while (entry := clockwork.timers.pop(0)) is not None:
            fired.append(entry)
    assert len({address for address, _ in fired}) == 900
    assert clockwork.reads == 900 // BATCH


@given(st.lists(alarms, min_size=1, max_size=40), st.integers(1, 10))
def test_added_alarms_take_no_more_room_than_there_is(added: list[tuple[Address, int]], room: int) -> None:
    clockwork = Clockwork(timers=TimerQueue(room=room))
    clockwork.round([])
    for address, due_ms in added:
        clockwork.set(address, due_ms)
        popped = 0
        queue = copy.deepcopy(clockwork.timers)
        while queue.pop(1_000) is not None:
            popped += 1
        assert popped <= room
