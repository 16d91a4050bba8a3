"""Cases: openings of a shared store that stall, take over from each other, and open again."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final, cast

import attrs

from perdure.stores.contract import Store
from perdure.testing.conformance.case import Case, in_harness
from perdure.testing.conformance.examples import address, created, put, started
from perdure.testing.conformance.membership import sharing
from perdure.testing.conformance.requirement import failure, same, value
from perdure.testing.conformance.requirements import (
    CLOSE_LEAVES,
    DEAD_STAYS_DEAD,
    HEARTBEAT,
    LATE_LIVES,
    LEASES_BY_ITS_CLOCK,
)
from perdure.values.errors import OwnershipLost
from perdure.values.event import JobStarted
from perdure.values.instance import Fence

if TYPE_CHECKING:
    from perdure.testing.conformance.harness import ClockedHarness, NewHarness

A = address("a")
_SEEDS: Final = 3
_STEPS: Final = 60
_MOST: Final = 4
_ALL: Final = 1_000
_ACTIONS: Final = ("open", "beat", "beat", "beat", "write", "write", "write", "stall", "stall", "close")
_STALL: Final = 0.4
"""The part of a lease that passes in one step: no lease ends nearly at the moment of a look."""


@attrs.define(eq=False)
class _Opening:
    """The expected state of an opening: the rest of its lease, and whether it was declared dead."""

    store: Store
    lease_left: float = 1.0
    is_dead: bool = False


@attrs.define
class _History:
    """Openings of one store, and the writes that were accepted."""

    harness: ClockedHarness
    drawn: Random
    fence: Fence
    openings: list[_Opening]
    written: list[str] = attrs.Factory(list[str])

    async def step(self, number: int) -> None:
        """Let one thing happen."""
        action = self.drawn.choice(_ACTIONS)
        if action == "open" or not self.openings:
            if len(self.openings) < _MOST:
                self.openings.append(_Opening(await self.harness.open()))
            return
        chosen = self.drawn.choice(self.openings)
        match action:
            case "beat":
                await self.beat(chosen)
            case "write":
                await self.write(chosen, str(number))
            case "stall":
                await self.harness.pass_time(sharing(chosen.store).lease_ms * _STALL)
                for each in self.openings:
                    each.lease_left -= _STALL
            case _:
                self.openings.remove(chosen)
                await value(chosen.store.close())

    async def beat(self, chosen: _Opening) -> None:
        """Send a heartbeat: it declares dead all others whose lease has ended."""
        if chosen.is_dead:
            await failure(sharing(chosen.store).heartbeat({}), OwnershipLost, "a heartbeat of an opening that is dead")
            return
        found = await value(sharing(chosen.store).heartbeat({}))
        chosen.lease_left = 1.0
        for each in self.openings:
            each.is_dead = each.is_dead or each.lease_left < 0
        living = {each.store.epoch for each in self.openings if not each.is_dead}
        same(set(found.epochs), living, "the members are the openings whose lease lasts, and no earlier one")

    async def write(self, chosen: _Opening, name: str) -> None:
        """Commit over the present row, with an event."""
        transition = attrs.evolve(put(A, self.fence), events=(started(A, id_=name),))
        if chosen.is_dead:
            await failure(chosen.store.commit(transition), OwnershipLost, "a write of an opening that is dead")
            return
        self.fence = await value(chosen.store.commit(transition))
        self.written.append(name)

    async def run(self) -> None:
        """Let many things happen, and compare the row and its history."""
        for number in range(_STEPS):
            await self.step(number)
        for each in self.openings:
            await value(each.store.close())
        last = await self.harness.open()
        loaded = (await value(last.load(A))).instance
        same(None if loaded is None else loaded.fence, self.fence, "the row is that of the last write")
        log = [one.event.event_id for one in await value(last.events(0, _ALL)) if isinstance(one.event, JobStarted)]
        same(log, self.written, "the history has every accepted write, and no other")
        await last.close()


@in_harness(LEASES_BY_ITS_CLOCK, HEARTBEAT, LATE_LIVES, DEAD_STAYS_DEAD, CLOSE_LEAVES, needs="clocked")
async def openings_take_over_from_each_other(new_harness: NewHarness) -> None:
    """Openings stall, wake and follow each other: each writes until it is declared dead, and nothing afterwards."""
    for seed in range(_SEEDS):
        harness = cast("ClockedHarness", new_harness())
        first = await harness.open()
        drawn = Random(seed)  # noqa: S311 - reproducible
        await _History(harness, drawn, await created(first, A), [_Opening(first)]).run()
        await harness.discard()


TAKEOVER_CASES: tuple[Case, ...] = (openings_take_over_from_each_other,)
