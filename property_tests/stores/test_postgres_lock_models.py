"""The lock of an owner, and notifications, each time that a connection ends: not only the first time.

The connections are models, in a simulation; ``tests/stores`` has the same with a server.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure.runtime.simulated import Simulation
from perdure.stores.postgres.connections import COPIED, EXPIRED, OPENED, UNKNOWN, NoConnection, reason_of_end
from perdure.stores.postgres.ownership import (
    AGAIN_MS,
    FIRST_WAIT_MS,
    LONGEST_WAIT_MS,
    POLL_MS,
    RETRY_MS,
    TRIAL_MS,
    EndedOpening,
    LockRecovery,
    NotificationListener,
    OwnerLock,
)
from perdure.values.errors import StoreUnavailable

SEEDS = st.integers(0, 99)


@attrs.define
class Lock:
    """The lock of an owner, on a connection that the story ends.

    Attributes:
        attempts: the result of each attempt of the present loss.
        tried: when each attempt was made, since the last loss.
    """

    simulation: Simulation
    attempts: list[str] = attrs.Factory(list)
    tried: list[float] = attrs.Factory(list)
    listeners: list[Callable[[], None]] = attrs.Factory(list)
    closed: bool = False

    def when_ended(self, listener: Callable[[], None]) -> None:
        if self.closed:
            listener()
        else:
            self.listeners.append(listener)

    def end(self) -> None:
        self.closed = True
        listeners, self.listeners = self.listeners, []
        for listener in listeners:
            listener()

    async def connection(self) -> Lock:
        return self

    async def regain(self, epoch: int) -> Any:
        assert epoch == 7
        self.tried.append(self.simulation.runtime.monotonic_ms())
        await self.simulation.runtime.sleep(1)
        found = self.attempts.pop(0) if self.attempts else "held"
        self.closed = found != "held"
        if found == "held, and ended":
            return "held"
        if found == "unreachable":
            raise ConnectionRefusedError("no server listens")
        return EndedOpening("another engine has opened the store") if found == "ended" else found


LOSSES = st.lists(st.lists(st.sampled_from(["busy", "unreachable"]), max_size=12), min_size=1, max_size=4)


@example(losses=[["unreachable"], ["busy"], []], end="close", watch_late=False, seed=0)
@given(losses=LOSSES, end=st.sampled_from(["close", "ended"]), watch_late=st.booleans(), seed=SEEDS)
def test_each_loss_of_the_lock_is_told_and_followed_by_attempts(
    *, losses: list[list[str]], end: str, watch_late: bool, seed: int
) -> None:
    """The pauses between attempts double up to two seconds, varied by half, and begin again with the next loss."""
    simulation = Simulation(seed=seed)
    lock, told, lost = Lock(simulation), list[str](), list[str]()
    lock_recovery = LockRecovery(simulation.runtime, lock, "store", 7, lost.append)  # type: ignore[arg-type]
    if not watch_late:
        lock_recovery.watch(told.append)
    for number, attempts in enumerate(losses):
        lock.attempts, lock.tried = list(attempts), []
        lock.end()
        if watch_late and not number:
            lock_recovery.watch(told.append)
        assert told[-1] == "in_doubt"
        simulation.advance(60_000)
        assert told == ["in_doubt", "sure"] * (number + 1)
        assert len(lock.tried) == len(attempts) + 1
        expected = [min(FIRST_WAIT_MS * 2**time, LONGEST_WAIT_MS) for time in range(len(attempts))]
        for (earlier, later), wait_ms in zip(pairwise(lock.tried), expected, strict=True):
            assert wait_ms * 0.5 <= later - earlier - 1 <= wait_ms * 1.5
    lock.tried = []
    if end == "close":
        lock_recovery.end()
        lock.end()
        simulation.advance(60_000)
        assert (lock.tried, lost, told) == ([], [], ["in_doubt", "sure"] * len(losses))
    else:
        lock.attempts = ["busy", "ended"]
        lock.end()
        simulation.advance(60_000)
        assert lost == ["another engine has opened the store"]
        assert told[-1] == "in_doubt"
        assert len(lock.tried) == 2


def test_a_connection_that_has_ended_when_it_is_watched_is_lost_again() -> None:
    """The server ends the new connection after its answer, before anything listens for its end."""
    simulation = Simulation(seed=0)
    lock, told = Lock(simulation), list[str]()
    lock_recovery = LockRecovery(simulation.runtime, lock, "store", 7, lambda _: None)  # type: ignore[arg-type]
    lock_recovery.watch(told.append)
    lock.attempts = ["held, and ended", "busy"]
    lock.end()
    simulation.advance(60_000)
    assert told == ["in_doubt", "sure", "in_doubt", "sure"]
    assert len(lock.tried) == 3


@given(st.booleans())
def test_the_end_of_a_connection_is_told_once_also_if_it_has_ended(has_ended: bool) -> None:  # noqa: FBT001 - drawn
    connection, told = LockConnection(has_ended), list[str]()
    OwnerLock(connection, "jobs", "postgresql://").when_ended(lambda: told.append("ended"))
    for listener in connection.listeners:
        listener(connection)
    assert told == ["ended"]


@attrs.define
class LockConnection:
    """A connection of asyncpg, as far as the lock listens to it."""

    has_ended: bool
    listeners: list[Callable[[object], None]] = attrs.Factory(list)

    def is_closed(self) -> bool:
        return self.has_ended

    def add_termination_listener(self, listener: Callable[[object], None]) -> None:
        self.listeners.append(listener)


@given(st.integers(0, 5_000), SEEDS)
def test_a_close_ends_the_attempts(after_ms: int, seed: int) -> None:
    simulation = Simulation(seed=seed)
    lock = Lock(simulation, attempts=["busy"] * 99)
    lock_recovery = LockRecovery(simulation.runtime, lock, "store", 7, lambda _: None)  # type: ignore[arg-type]
    lock.end()
    simulation.advance(after_ms)
    lock_recovery.end()
    before = len(lock.tried)
    simulation.advance(60_000)
    assert len(lock.tried) == before


@given(st.integers(0, 3), SEEDS)
def test_the_connection_of_the_lock_is_never_one_in_doubt(further_losses: int, seed: int) -> None:
    """The lock is lost again in the step in which it was regained: callers that waited for it wait on."""
    simulation = Simulation(seed=seed)
    lock, losses, states = Lock(simulation), [further_losses], ["sure"]
    lock_recovery = LockRecovery(simulation.runtime, lock, "store", 7, lambda _: None)  # type: ignore[arg-type]

    def watch(state: str) -> None:
        states.append(state)
        if state == "sure" and losses[0]:
            losses[0] -= 1
            lock.end()

    async def connection() -> str:
        await lock_recovery.connection()
        return states[-1]

    lock_recovery.watch(watch)
    lock.end()
    waiting = [simulation.runtime.spawn(connection(), name="caller") for _ in range(2)]
    simulation.advance(60_000)
    assert [task.result() for task in waiting] == ["sure", "sure"]
    assert states[1:] == ["in_doubt", "sure"] * (further_losses + 1)


REASONS = [
    (None, UNKNOWN),
    ((True, True), COPIED),
    ((True, False), COPIED),
    ((False, True), EXPIRED),
    ((False, False), OPENED),
    (NoConnection(ConnectionRefusedError("no server listens")), UNKNOWN),
    (ConnectionResetError("it is gone"), UNKNOWN),
]


@pytest.mark.parametrize(("found", "reason"), REASONS)
def test_the_row_of_an_ended_opening_says_who_ended_it(found: Any, reason: str) -> None:
    async def first_row(sql: str, epoch: int) -> Any:
        assert epoch == 7
        if isinstance(found, Exception):
            raise found
        return found

    assert Simulation().run(reason_of_end(first_row, "perdure", 7)) == reason


# ---------------------------------------------------------------- notifications
@attrs.define(eq=False)
class Connection:
    """A connection that listens.

    Attributes:
        kind: ``plain``; ``pooled``, which passes notifications on; or ``deaf``: it is pooled, and passes none on.
    """

    kind: str
    ended: list[Callable[[object], None]] = attrs.Factory(list)
    listeners: list[Callable[..., None]] = attrs.Factory(list)
    state: str = "open"

    def add_termination_listener(self, listener: Callable[[object], None]) -> None:
        self.ended.append(listener)

    async def add_listener(self, channel: str, listener: Callable[..., None]) -> None:
        assert channel == "perdure_1"
        self.listeners.append(listener)

    async def fetchval(self, sql: str) -> Any:
        if "pg_backend_pid" in sql:
            return 1 if self.kind == "plain" else 99
        return "perdure_1"

    def get_server_pid(self) -> int:
        return 1

    def terminate(self) -> None:
        self.state = "closed"

    def notify(self, payload: str) -> None:
        for listener in self.listeners:
            listener(self, 1, "perdure_1", payload)

    def end(self) -> None:
        for listener in self.ended:
            listener(self)


@attrs.define
class Channel:
    """A server whose connections are of the kinds of the story, in turn; and an engine that listens.

    Attributes:
        heard: when the engine was called.
    """

    simulation: Simulation
    kinds: list[str]
    made: list[Connection] = attrs.Factory(list)
    connect_ms: int = 0
    tries: int = 0
    heard: list[float] = attrs.Factory(list)

    @property
    def now_ms(self) -> float:
        return self.simulation.runtime.monotonic_ms()

    async def connect(self) -> Connection:
        kind = self.kinds[min(self.tries, len(self.kinds) - 1)]
        self.tries += 1
        await self.simulation.runtime.sleep(self.connect_ms)
        if kind == "refused":
            raise ConnectionRefusedError("no server listens")
        self.made.append(Connection(kind))
        return self.made[-1]

    async def execute(self, _operation: str, _sql: str, _channel: str, payload: str) -> Result[Any, Any]:
        kind = self.made[-1].kind
        if kind == "pooled":
            self.simulation.runtime.call_later(10, lambda: self.made[-1].notify(payload))
        return Failure(StoreUnavailable("try", "gone")) if kind == "silent" else Success([])

    def began(self) -> NotificationListener:
        arrivals = NotificationListener(self.simulation.runtime, self.connect, self.execute, "schema", 7)
        arrivals.listen(lambda: self.heard.append(self.now_ms))
        self.simulation.advance(TRIAL_MS + 20)
        return arrivals

    def are_heard(self, *after_ms: float) -> bool:
        """Return whether the engine is called after each of these times, from a notification that comes now."""
        begun_ms, self.heard = self.now_ms, []
        self.made[-1].notify("")
        self.simulation.advance(20_000)
        return self.heard == [begun_ms + ms for ms in after_ms]


@given(st.lists(st.sampled_from(["plain", "pooled"]), min_size=1, max_size=4), SEEDS)
def test_notifications_are_heard_after_each_end_of_the_connection(kinds: list[str], seed: int) -> None:
    """And those meanwhile are not missed: the engine looks when it listens no more."""
    simulation = Simulation(seed=seed)
    channel = Channel(simulation, kinds)
    channel.began()
    for _time in range(4):
        assert channel.are_heard(0, *AGAIN_MS)
        channel.heard.clear()
        channel.made[-1].notify("engine 8")  # of another engine that opens the store
        assert channel.heard == []
        before = len(channel.made)
        channel.made[-1].end()
        simulation.advance(TRIAL_MS + 20)
        assert len(channel.heard) > 1, "a notification may have been missed, before and after it listens again"
        assert len(channel.made) == before + 1


@given(
    st.integers(1, 400),
    st.lists(st.tuples(st.sampled_from(["message", "message", "end"]), st.integers(0, 500)), max_size=12),
    SEEDS,
)
def test_no_message_waits_for_the_next_one(connect_ms: int, story: list[tuple[str, int]], seed: int) -> None:
    """Also one that was sent before the engine listens, at its start or after the end of a connection."""
    simulation = Simulation(seed=seed)
    channel = Channel(simulation, ["plain"], connect_ms=connect_ms)
    arrivals = NotificationListener(simulation.runtime, channel.connect, channel.execute, "schema", 7)
    arrivals.listen(lambda: channel.heard.append(channel.now_ms))
    sent = list[float]()
    for action, ms in story:
        if action == "message":
            sent.append(channel.now_ms)
            if channel.made:
                channel.made[-1].notify("")
        elif channel.made:
            channel.made[-1].end()
            channel.made[-1].listeners.clear()
        simulation.advance(ms)
    simulation.advance(connect_ms)
    for at_ms in sent:
        assert any(at_ms <= heard_ms <= at_ms + connect_ms for heard_ms in channel.heard), "a message waits"


@given(st.lists(st.sampled_from(["deaf", "silent", "refused"]), min_size=1, max_size=3), SEEDS)
def test_without_notifications_the_engine_is_called_often_and_listens_again(kinds: list[str], seed: int) -> None:
    simulation = Simulation(seed=seed)
    channel = Channel(simulation, [*kinds, "plain"])
    channel.began()
    for number in range(len(kinds)):
        assert channel.tries == number + 1
        channel.heard.clear()
        simulation.advance(RETRY_MS / 2)
        assert abs(len(channel.heard) - RETRY_MS / 2 / POLL_MS) <= 1
        simulation.advance(RETRY_MS / 2 + TRIAL_MS)
    simulation.advance(RETRY_MS)
    assert channel.made[-1].kind == "plain"
    assert all(one.state == "closed" for one in channel.made[:-1])
    assert channel.are_heard(0, *AGAIN_MS)


def test_an_engine_that_ends_is_called_no_more() -> None:
    for kinds in (["plain"], ["refused"]):
        channel = Channel(Simulation(), kinds)
        channel.began().end()
        channel.simulation.advance(RETRY_MS)
        channel.heard.clear()
        channel.simulation.advance(2 * RETRY_MS)
        assert channel.heard == []
