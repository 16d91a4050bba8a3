"""An opening that is cancelled, or that fails, anywhere: nothing of it remains, and the next opening succeeds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import attrs
import pytest
from machine import OnAlarm, machine, steps
from world import Outside

from perdure import App, attempt
from perdure.app import OpenApp
from perdure.runtime.simulated import Simulation
from perdure.testing.world.boundary import Backend, backend_of

A = TypeVar("A")
FOREVER_MS = 600_000


@attrs.define
class House:
    """Services that take a moment to open and to close, in a simulation over a real file.

    Attributes:
        path: of the file.
        simulation: of all its engines.
        ground: runs it.
        entered: how often services were opened, less how often they were closed.
        broken: whether opening the services raises.
    """

    path: Path
    simulation: Simulation
    ground: Backend
    entered: int = 0
    broken: bool = False

    @classmethod
    def at(cls, folder: Path) -> House:
        """Build one."""
        folder.mkdir()
        return cls(folder / "jobs.db", Simulation(), backend_of(folder / "jobs.db"))

    def app(self) -> App[Any]:
        """Make an app whose services are opened with it."""
        return App(self._services).with_jobs(machine)

    @asynccontextmanager
    async def _services(self) -> AsyncGenerator[Outside]:
        await self.simulation.runtime.sleep(1)
        if self.broken:
            raise ConnectionError("the service is down")
        self.entered += 1
        try:
            yield Outside()
        finally:
            self.entered -= 1

    def opening(self, on_locked: Any = "raise") -> OpenApp:
        """Make an app that is not open yet."""
        return self.app().open(f"sqlite:///{self.path}", runtime=self.simulation.runtime, on_locked=on_locked)

    def run(self, work: Coroutine[Any, Any, A]) -> A:
        """Run to the end."""
        task = self.simulation.runtime.spawn(work, name="test")
        assert self.ground.run_until(self.simulation, task.done, FOREVER_MS), self.simulation.blocked
        return task.result()

    def leave(self) -> None:
        """End the loop."""
        self.ground.close()


async def begins(begun: list[str], work: Callable[[], Coroutine[Any, Any, A]]) -> A:
    """Note that it began: an opening cancelled earlier leaves no trace."""
    begun.append("begun")
    return await work()


async def serves(open_app: OpenApp) -> None:
    """Open, serve a request, and close."""
    async with open_app as jobs:
        assert (await attempt(jobs.handle(machine).send("a", steps()))).unwrap() is not None


async def leaves_a_run_behind(open_app: OpenApp) -> None:
    """Leave an alarm that is due at the next start."""
    async with open_app as jobs:
        await attempt(jobs.handle(machine).send("due", OnAlarm(1)))


def cancelled_after(house: House, opening: OpenApp, steps_taken: int) -> bool:
    """Cancel an opening after a number of steps; False when it was open before."""
    begun: list[str] = []
    task = house.simulation.runtime.spawn(begins(begun, opening.__aenter__), name="opening")
    taken = 0

    def reached() -> bool:
        nonlocal taken
        taken += bool(begun)
        return taken > steps_taken or task.done()

    house.ground.run_until(house.simulation, reached, 2_000)
    if task.done():
        house.run(opening.__aexit__(None, None, None))
        return False
    task.cancel()
    assert house.ground.run_until(house.simulation, task.done, FOREVER_MS), house.simulation.blocked
    with suppress(house.simulation.runtime.cancelled):
        task.result()
        house.run(opening.__aexit__(None, None, None))  # the cancellation came too late
    return True


def remains_nothing(house: House) -> None:
    house.ground.run_until(house.simulation, lambda: False, 0)
    assert house.entered == 0, "the services are still open"
    assert [task.name for task in house.simulation.alive] == []
    assert house.simulation.timers == ()


def test_an_opening_is_cancelled_anywhere(tmp_path: Path) -> None:
    place = 0
    again = True
    while again:
        house = House.at(tmp_path / str(place))
        house.run(leaves_a_run_behind(house.opening()))
        again = cancelled_after(house, house.opening(), place)
        remains_nothing(house)
        house.run(serves(house.opening()))
        house.leave()
        place += 1
    assert place > 5


@pytest.mark.parametrize("place", range(0, 30, 3))
def test_a_standby_is_cancelled_anywhere(place: int, tmp_path: Path) -> None:
    house = House.at(tmp_path / "house")
    owner = house.opening()
    house.run(owner.__aenter__())
    try:
        stood_by = cancelled_after(house, house.opening("wait"), place)
        assert stood_by, "two engines own one file"
    finally:
        house.run(owner.__aexit__(None, None, None))
    remains_nothing(house)
    house.run(serves(house.opening("wait")))
    remains_nothing(house)
    house.leave()


def test_services_that_fail_to_open_leave_the_file_to_the_next(tmp_path: Path) -> None:
    house = House.at(tmp_path / "house")
    house.broken = True
    with pytest.raises(ConnectionError):
        house.run(serves(house.opening()))
    remains_nothing(house)
    house.broken = False
    house.run(serves(house.opening()))
    house.leave()
