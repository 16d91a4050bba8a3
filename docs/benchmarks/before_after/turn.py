"""One turn of a case: the CPU and the wall clock of some short rounds, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from attrs import Factory, define, frozen
from measured.cpu import CpuTime
from measured.figures import Spread

Figures: TypeAlias = dict[str, list[float]]
"""The figures of each round by name: CPU in µs, rates a second, waits in ms."""

SELDOM = (10_000, 20, 50)
"""The thresholds of the garbage collector in `perdure run`."""


@frozen
class Turn:
    """The settings of a turn.

    Attributes:
        folder: for the files of one source tree; on the disk in question.
        rounds: the number of short rounds.
        cold: the number of instances in the file of the cold requests.
        seconds: of steady alarms.
        offset: the number of requests that earlier turns made, so that cold ones stay cold.
    """

    folder: Path
    rounds: int
    cold: int
    seconds: float
    offset: int = 0


@define
class Rounds:
    """Collects the figures of rounds."""

    figures: Figures = Factory(dict[str, list[float]])

    def add(self, **figures: float) -> None:
        """Add figures of one round."""
        for name, value in figures.items():
            self.figures.setdefault(name, []).append(value)

    @contextmanager
    def calls(self, operations: int) -> Iterator[None]:
        """Count the calls of functions of Python and of C, of all threads: a figure that no neighbour disturbs."""
        python = c = 0

        def count(_: FrameType, event: str, __: object) -> None:
            nonlocal python, c
            if event == "call":
                python += 1
            elif event == "c_call":
                c += 1

        threading.setprofile_all_threads(count)
        try:
            yield
        finally:
            threading.setprofile_all_threads(None)
        self.add(python_calls=python / operations, c_calls=c / operations)

    async def of_clients(self, call: Callable[[int], Awaitable[object]], *, clients: int, calls: int) -> None:
        """Let clients call one after the other, until the number of calls is reached."""
        waits: list[float] = []
        begun = 0

        async def client() -> None:
            nonlocal begun
            while begun < calls:
                number, start = begun, time.perf_counter()
                begun += 1
                await call(number)
                waits.append(time.perf_counter() - start)

        gc.collect()
        before, start = CpuTime.now(), time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
        took, used, waited = time.perf_counter() - start, CpuTime.now().since(before), Spread.of(waits)
        self.used(used, calls)
        self.add(rate=calls / took, p50_ms=waited.p50_ms, p99_ms=waited.p99_ms)

    async def counted(self, call: Callable[[int], Awaitable[object]], *, clients: int, calls: int) -> None:
        """Count the calls of functions while clients call."""
        with self.calls(calls):
            await Rounds().of_clients(call, clients=clients, calls=calls)

    def used(self, cpu: CpuTime, operations: int) -> None:
        """Add the CPU time of operations: of the event loop's thread, and of the driver's."""
        loop, driver = cpu.main / operations * 1e6, cpu.others / operations * 1e6
        self.add(cpu_us=loop + driver, loop_us=loop, driver_us=driver)
