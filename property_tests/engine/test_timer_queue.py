"""The timer queue against a plain table of alarms: nothing that is due is missed, and nothing is read without need."""

from collections.abc import Callable
from typing import TypeAlias

import attrs
from hypothesis import given
from hypothesis import strategies as st

from perdure.engine.timer_queue import TimerQueue
from perdure.values.address import Address

AHEAD_MS = 50
BATCH = 3

Step: TypeAlias = Callable[["Clockwork"], None]


@attrs.define
class Clockwork:
    """A table of alarms, a timer queue beside it, and the loop that keeps it, in plain steps."""

    now_ms: int = 0
    table: dict[Address, int] = attrs.Factory(dict[Address, int])
    timers: TimerQueue = attrs.Factory(TimerQueue)
    fired: list[tuple[Address, int]] = attrs.Factory(list[tuple[Address, int]])
    reads: int = 0

    def set(self, address: Address, due_ms: int) -> None:
        self.table[address] = due_ms
        self.timers.add(address, due_ms)

    def round(self, meanwhile: list[list[tuple[Address, int]]]) -> None:
        """Read if need be, with alarms that are set before, between and after the two queries; fire the due alarms."""
        self.fire()
        while self.timers.must_be_read(self.now_ms):
            self.read(meanwhile)
            self.fire()

    def read(self, meanwhile: list[list[tuple[Address, int]]]) -> None:
        self.reads += 1
        until_ms = self.now_ms + AHEAD_MS
        self.timers.begin_reading()
        due = sorted((due_ms, address.id, address) for address, due_ms in self.table.items() if due_ms <= until_ms)
        rows = [(address, due_ms) for due_ms, _, address in due[:BATCH]]
        self.set_some(meanwhile)
        if len(rows) == BATCH:
            self.timers.read(rows, rows[-1][1] - 1)
            self.timers.end_reading(rows[-1][1])
            return
        self.timers.read(rows, until_ms)
        self.set_some(meanwhile)
        next_ms = min((due_ms for due_ms in self.table.values() if due_ms > until_ms), default=until_ms + 10_000)
        self.set_some(meanwhile)
        self.timers.end_reading(next_ms)

    def set_some(self, meanwhile: list[list[tuple[Address, int]]]) -> None:
        for address, due_ms in meanwhile.pop() if meanwhile else ():
            self.set(address, due_ms)

    def fire(self) -> None:
        while (address := self.timers.pop(self.now_ms)) is not None:
            if self.table.get(address, self.now_ms + 1) <= self.now_ms:
                del self.table[address]
                self.fired.append((address, self.now_ms))


addresses = st.sampled_from([Address("task", "orders", str(number)) for number in range(8)])
alarms = st.tuples(addresses, st.integers(0, 300))
steps = st.one_of(
    st.tuples(st.just("set"), alarms),
    st.tuples(st.just("cancel"), addresses),
    st.tuples(st.just("wait"), st.integers(0, 80)),
    st.tuples(st.just("round"), st.lists(st.lists(alarms, max_size=2), min_size=3, max_size=6)),
)


@given(st.lists(steps, max_size=30), st.sampled_from([2, 10_000]))
def test_after_a_round_nothing_due_is_left(story: list[tuple[str, object]], room: int) -> None:
    clockwork = Clockwork(timers=TimerQueue(room=room))
    for step in story:
        match step:
            case "set", (Address() as address, int() as due_ms):
                clockwork.set(address, due_ms)
            case "cancel", Address() as address:
                clockwork.table.pop(address, None)
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
    assert clockwork.reads <= 900 // (BATCH - 1) + 1
