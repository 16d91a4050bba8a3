"""An open loop: requests leave at a fixed rate, whether or not the ones before are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def paced(call: Callable[[int], Awaitable[object]], *, rate: float, until: Callable[[], bool]) -> list[float]:
    """Ask at a fixed rate; give the seconds from when each request was due to leave to its answer.

    A request that leaves late because the loop is busy has waited as well: so no stall hides.
    """
    waits: list[float] = []
    began = time.perf_counter()

    async def one(number: int, due: float) -> None:
        await call(number)
        waits.append(time.perf_counter() - due)

    async with asyncio.TaskGroup() as requests:
        number = 0
        while not until():
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            requests.create_task(one(number, due))
            number += 1
    return waits
