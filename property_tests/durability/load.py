"""A load of numbered transitions, each of which writes its number into everything that a transition can write."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import attrs
from disk import Acknowledged, Asked, Entry
from returns.result import Failure, Success

from perdure.runtime.simulated import Simulation
from perdure.stores.contract import Store, commit_one
from perdure.testing.conformance.assertions import answer, value
from perdure.testing.conformance.histories import message, remembered, started
from perdure.values.address import Address
from perdure.values.errors import Conflict
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.message import Consumed
from perdure.values.transition import Purge, Put, Transition

PLACES = tuple(Address("task", "orders", str(number)) for number in range(5))
SINK = Address("task", "sink", "1")
FAR_MS = 10**15
PADDING = "x" * 700  # a row is longer than a sector


@attrs.frozen
class Picture:
    """Everything that a store holds, as rows.

    Attributes:
        instances: id, incarnation, version, state, alarm and owner.
        keys: address and answer.
        messages: number and payload.
        events: sequence and instant.
        counters: incarnation, message and sequence.
    """

    instances: tuple[Any, ...] = ()
    keys: tuple[Any, ...] = ()
    messages: tuple[Any, ...] = ()
    events: tuple[Any, ...] = ()
    counters: tuple[int, int, int] = (0, 0, 0)


def picture_of(path: Path) -> Picture:
    """Read everything that a file holds."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]

        def rows(sql: str) -> tuple[Any, ...]:
            return tuple(database.execute(sql).fetchall())

        return Picture(
            rows("SELECT id, incarnation, version, state, alarm_ms, owner FROM instances ORDER BY id"),
            rows("SELECT address, answer FROM keys ORDER BY address"),
            rows("SELECT message_id, payload FROM messages ORDER BY message_id"),
            rows("SELECT sequence, at_ms FROM events ORDER BY sequence"),
            *rows("SELECT incarnation, message_id, sequence FROM counters"),
        )


@attrs.define
class Clerk:
    """Makes numbered transitions, and knows the content of a store after each of them.

    Attributes:
        random: the source of the transitions.
        pictures: the content after 0, 1, 2, … transitions.
    """

    random: Random
    pictures: list[Picture] = attrs.Factory(lambda: [Picture()])
    _fences: dict[Address, Fence] = attrs.Factory(dict[Address, Fence])
    _rows: dict[Address, Any] = attrs.Factory(dict[Address, Any])
    _keys: dict[str, str] = attrs.Factory(dict[str, str])
    _letters: dict[int, str] = attrs.Factory(dict[int, str])
    _incarnations: int = 0

    @property
    def number(self) -> int:
        """How many transitions were made."""
        return len(self.pictures) - 1

    def conflicting(self) -> Transition | None:
        """Make a transition that must be refused; None when there is nothing to conflict with."""
        if not self._fences:
            return None
        at, fence = self.random.choice(sorted(self._fences.items(), key=str))
        return Transition(address=at, expected=attrs.evolve(fence, version=fence.version + 7), write=Purge())

    def next(self) -> Transition:
        """Make the next transition, which must be committed."""
        number, at = self.number + 1, self.random.choice(PLACES)
        expected = self._fences.get(at)
        purges = expected is not None and self.random.random() < 0.2
        consumed = self._oldest_letter() if self.random.random() < 0.4 else None
        write = self._purge(at) if purges else self._put(at, expected, number)
        self._keys[str(at)] = str(number)
        self._letters[self._last_message + 1] = str(number)
        self._take_picture(number)
        return Transition(
            address=at,
            expected=expected,
            write=write,
            remember=(remembered("k", str(number), expires_ms=FAR_MS),),
            messages=(message(at, SINK, str(number)),),
            inbound=None if consumed is None else Consumed(consumed),
            events=(started(at, at_ms=number, id_=str(number)),),
        )

    @property
    def _last_message(self) -> int:
        return self.pictures[-1].counters[1]

    def _oldest_letter(self) -> int | None:
        oldest = min(self._letters, default=None)
        if oldest is not None:
            del self._letters[oldest]
        return oldest

    def _purge(self, at: Address) -> Purge:
        del self._fences[at], self._rows[at]
        return Purge()

    def _put(self, at: Address, expected: Fence | None, number: int) -> Put:
        if expected is None:
            self._incarnations += 1
        fence = Fence(self._incarnations, 1) if expected is None else Fence(expected.incarnation, expected.version + 1)
        claim = Claim(owner=1, cause="alarm", run_id=str(number), claimed_ms=number) if number % 3 == 0 else None
        state = f"{number}{PADDING}"
        self._fences[at] = fence
        self._rows[at] = (
            at.id, fence.incarnation, fence.version, state, number, None if claim is None else claim.owner
        )  # fmt: skip
        instance = Instance(
            address=at,
            created_ms=number,
            updated_ms=number,
            version=fence.version,
            state=state,
            alarm_ms=number,
            claim=claim,
        )
        return Put(instance)

    def _take_picture(self, number: int) -> None:
        before = self.pictures[-1]
        self.pictures.append(
            Picture(
                tuple(sorted(self._rows.values())),
                tuple(sorted(self._keys.items())),
                tuple(sorted(self._letters.items())),
                (*before.events, (number, number)),
                (self._incarnations, self._last_message + 1, number),
            )
        )


async def carry_out(store: Store, clerk: Clerk, simulation: Simulation, log: list[Entry], transitions: int) -> None:
    """Commit a number of transitions, up to six at the same moment, and note in the log when each is answered."""
    runtime = simulation.runtime

    async def commit() -> None:
        transition = clerk.next()
        log.append(Asked(number := clerk.number))
        assert isinstance(await answer(commit_one(store, transition)), Success)
        log.append(Acknowledged(number))

    async def collide() -> None:
        transition = clerk.conflicting()
        if transition is not None:
            found = await answer(commit_one(store, transition))
            assert isinstance(found, Failure)
            assert isinstance(found.failure(), Conflict)

    while clerk.number < transitions:
        together = clerk.random.randint(1, 6)
        tasks = [runtime.spawn(commit(), name="client") for _ in range(together)]
        if clerk.random.random() < 0.3:
            tasks.append(runtime.spawn(collide(), name="collision"))
        for task in tasks:
            await task
    await value(store.close())
