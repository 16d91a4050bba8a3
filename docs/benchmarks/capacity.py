"""How well a simulated capacity predicts one engine: 200 tasks on a SQLite file, due together, with 8 slots.

python docs/benchmarks/capacity.py
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import attrs
from returns.result import Result, Success

from perdure import App, Do, Limits, Task, TaskContext, effect, program
from perdure.rehearsal import CapacityOptions, Image, MeasuredLoad, capacity, measured_in, read_image
from perdure.stores.at_rest import open_reader

TASKS = 200
CALL_MS = 50
began: list[float] = []


@effect
async def call(_: object) -> Result[None, str]:
    """Take a known time."""
    began.append(time.time() * 1_000)
    await asyncio.sleep(CALL_MS / 1_000)
    return Success(None)


@program
def on_event(ctx: TaskContext[int], _: int) -> Do[None]:
    """Become due with all others."""
    yield from ctx.schedule(after="3 s")


@program
def execute(_: TaskContext[int]) -> Do[None, str, object]:
    """Call once."""
    yield from call()


tasks = Task("tasks", state=int, event=int, initial=0, on_event=on_event, execute=execute)
app = App(object(), limits=Limits(concurrency=8)).with_jobs(tasks)


def read(url: str) -> tuple[Image, MeasuredLoad]:
    """Return the image and the past of the store."""
    with open_reader(url) as reader:
        image = read_image(reader)
        return image, measured_in(reader, image)


def shown(name: str, late: tuple[float, ...]) -> None:
    """Print one line."""
    print(f"{name:<34} half {late[0]:6,.0f} ms   99 % {late[1]:6,.0f} ms   longest {late[2]:6,.0f} ms")


async def main() -> None:
    """Send, let the engine run, and compare with both predictions."""
    url = f"sqlite:///{Path(tempfile.mkdtemp()) / 'jobs.db'}"
    async with app.open(url) as jobs:
        handle = jobs.handle(tasks)
        await asyncio.gather(*(handle.send(f"t-{number}", 1) for number in range(TASKS)))
        image, _ = read(url)
        first = min(each.alarm_ms or 0 for each, _ in image.instances.values())
        while len(began) < TASKS:  # noqa: ASYNC110 - another wait would be part of the measurement
            await asyncio.sleep(0.1)
    _, past = read(url)
    late = sorted(at_ms - first for at_ms in began)
    shown("the engine", (late[TASKS // 2], late[TASKS * 99 // 100], late[-1]))
    options = CapacityOptions(lasting="60 s", engines=(1,), arrivals=0)
    given = attrs.evolve(options, durations={"call": f"{CALL_MS} ms"})
    for name, each in ((f"predicted, {CALL_MS} ms given", given), ("predicted, durations as measured", options)):
        shown(name, capacity(app, image=image, past=past, options=each).loads[0].late_ms)


if __name__ == "__main__":
    asyncio.run(main())
