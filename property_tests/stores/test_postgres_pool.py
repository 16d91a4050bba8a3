"""The connections of a PostgreSQL store: no statement waits without need, and none shares a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import DEFAULT_SIZES, Runtime
from perdure.stores.postgres.connections import IDLE_MS, ConnectionPool

MOST = DEFAULT_SIZES.connections


@attrs.define(eq=False)
class Connection:
    """A connection of the driver.

    Attributes:
        server: counts it.
    """

    server: Server
    state: str = "open"

    def is_closed(self) -> bool:
        return self.state != "open"

    def terminate(self) -> None:
        if self.state == "open":
            self.state = "closed"
            self.server.used -= 1

    async def close(self, **_: float) -> None:
        self.terminate()


@attrs.define
class Server:
    """A server with a few connections, which takes a step to answer.

    Attributes:
        free: how many connections this pool may have.
        used: how many it has.
        most: how many it ever had.
        tried: how often it tried to connect.
    """

    free: int
    used: int = 0
    most: int = 0
    tried: int = 0

    async def connect(self) -> Connection:
        self.tried += 1
        await asyncio.sleep(0)
        if self.used >= self.free:
            raise asyncpg.TooManyConnectionsError("sorry, too many clients already")
        self.used += 1
        self.most = max(self.most, self.used)
        return Connection(self)


@attrs.define
class Statements:
    """Statements that were begun: each waits for a connection, or holds one."""

    pool: ConnectionPool
    server: Server
    running: list[asyncio.Task[Any]] = attrs.Factory(list)

    def begin(self, *, urgent: bool = False) -> None:
        self.running.append(asyncio.ensure_future(self.pool.acquire(urgent=urgent)))

    def held(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.running if task.done() and not task.cancelled() and task.exception() is None]

    def waiting(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.running if not task.done()]

    def end(self, how: str) -> None:
        """Let the oldest statement end: normally, with its connection lost, or without an answer."""
        for task in self.held()[:1]:
            self.running.remove(task)
            if how == "lost":
                task.result().terminate()
            if how == "unanswered":
                self.pool.discard(task.result())
            else:
                self.pool.release(task.result())

    def cancel(self) -> None:
        for task in self.waiting()[:1]:  # it may have its connection already
            task.cancel()

    def suffer(self, action: str) -> None:
        """Let something happen."""
        match action:
            case "usual" | "urgent":
                self.begin(urgent=action == "urgent")
            case "end" | "lost" | "unanswered":
                self.end(action)
            case "expire":
                self.pool.expire()
            case "full":
                self.server.free = 0
            case _:
                self.cancel()

    def check(self) -> None:
        held = [id(task.result()) for task in self.held()]
        assert len(held) == len(set(held)), "two statements have one connection"
        assert not any(task.result().is_closed() for task in self.held()), "a statement has a closed connection"


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("usual", "usual", "usual", "urgent", "end", "end", "cancel", "cancel"),
                *("lost", "unanswered", "expire", "full"),
            ]
        ),
        st.integers(0, 3),
    ),
    max_size=60,
)
"""Actions, and how many steps of the event loop follow each."""


@example(actions=[("usual", 3), ("usual", 1), ("end", 3)], free=1)
@example(actions=[("usual", 3), ("usual", 3), ("usual", 3), ("end", 0), ("cancel", 3)], free=1)
@example(actions=[("usual", 3), ("usual", 3), ("usual", 3), ("unanswered", 0), ("cancel", 3)], free=1)
@example(actions=[("usual", 3), ("usual", 3), ("usual", 3), ("full", 0), ("unanswered", 3)], free=1)
@given(ACTIONS, st.sampled_from([1, 1, 2, 3, MOST + 2]))
def test_every_statement_has_a_connection_of_its_own_in_the_end(actions: list[tuple[str, int]], free: int) -> None:
    """Whatever ends in whichever order, on a server that has fewer connections than the pool wants, or enough."""

    async def main() -> None:
        server = Server(free)
        pool = ConnectionPool(asyncio_runtime(), server.connect)
        statements = Statements(pool, server)
        pool.release(await pool.acquire())
        for action, steps in actions:
            statements.suffer(action)
            statements.check()
            await _steps(steps)
        while statements.waiting() or statements.held():
            await _steps(60)  # if all fail, one after the other
            statements.check()
            assert statements.held() or not statements.waiting(), "a statement waits, and no connection is in use"
            statements.end("end")
        failures = await asyncio.gather(*statements.running, return_exceptions=True)
        if not {"expire", "full"} & {action for action, _ in actions}:  # an expired connection takes a while to end
            cancelled = all(isinstance(each, asyncio.CancelledError) for each in failures)
            assert cancelled, "a statement failed although there was a connection"
        assert server.most <= min(free, MOST + 1)
        await pool.close()
        await _steps(1)
        assert not server.used, "a connection stays open"

    asyncio.run(main())


async def _steps(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def test_a_full_server_is_not_asked_for_each_statement() -> None:
    """It would start a process each time, to refuse the connection."""

    async def main() -> None:
        server = Server(1)
        pool = ConnectionPool(asyncio_runtime(), server.connect)
        statements = Statements(pool, server)
        for _ in range(100):
            statements.begin()
            statements.begin()
            await _steps(9)
            statements.end("end")
            await _steps(1)
            statements.end("end")
        assert server.tried < 10
        await pool.close()

    asyncio.run(main())


@pytest.mark.parametrize("urgent", [False, True])
def test_only_an_urgent_statement_has_a_connection_beyond_the_bound(*, urgent: bool) -> None:
    async def main() -> None:
        server = Server(99)
        pool = ConnectionPool(asyncio_runtime(), server.connect)
        statements = Statements(pool, server)
        for _ in range(MOST):
            statements.begin()
        await _steps(1)
        statements.begin(urgent=urgent)
        await _steps(9)
        assert len(statements.waiting()) == (not urgent)
        await pool.close()
        for task in statements.waiting():
            task.cancel()

    asyncio.run(main())


def test_a_connection_that_is_not_used_is_closed_after_a_while() -> None:
    async def main() -> None:
        real, timers, now_ms = asyncio_runtime(), [], [0.0]
        runtime: Runtime = attrs.evolve(
            real,
            call_later=lambda ms, act: timers.append((now_ms[0] + ms, act)) or real.call_later(1e9, act),
            monotonic_ms=lambda: now_ms[0],
        )
        server = Server(99)
        pool = ConnectionPool(runtime, server.connect)
        one, other = await pool.acquire(), await pool.acquire()
        pool.release(one)
        pool.release(other)
        for _ in range(4):  # the last used one is used several times
            now_ms[0] += IDLE_MS / 2
            while timers and timers[0][0] <= now_ms[0]:
                timers.pop(0)[1]()
            pool.release(await pool.acquire())
            await asyncio.sleep(0)
        assert (one.state, other.state) == ("closed", "open")
        for _time in range(2):  # and once all were closed
            used = await pool.acquire()
            await asyncio.sleep(0)
            pool.release(used)
            for _ in range(2):
                now_ms[0] += IDLE_MS
                while timers and timers[0][0] <= now_ms[0]:
                    timers.pop(0)[1]()
                await asyncio.sleep(0)
            assert used.state == "closed"
        await pool.close()

    asyncio.run(main())


def test_no_connection_is_made_once_all_are_ended() -> None:
    """A close that takes too long ends all connections; later statements do not wait for the server again."""

    async def main() -> None:
        server = Server(1)
        pool = ConnectionPool(asyncio_runtime(), server.connect)
        statements = Statements(pool, server)
        statements.begin()
        await _steps(9)
        statements.begin()
        await _steps(9)
        tried = server.tried
        pool.terminate()
        statements.end("unanswered")
        await _steps(9)
        (waiting,) = statements.running
        for failed in (waiting, pool.acquire()):
            with pytest.raises(asyncpg.InterfaceError, match="closed"):
                await failed
        assert server.tried == tried
        await pool.close()

    asyncio.run(main())
