"""Workflows of K effect steps on SQLite (synchronous=FULL), 64 under way: rate, CPU and bytes of a step.

Run as a script: ``python docs/benchmarks/workflow.py``. With ``--dbos``, DBOS on SQLite runs in turns with it; install
``dbos`` next to perdure for that. With ``--signals``, it measures N signals that are sent to one workflow together, and
with ``--children`` a workflow that waits for N children.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from returns.future import FutureResult

from perdure import App, Defect, Do, Limits, Signal, Workflow, WorkflowContext, effect, program
from perdure.programs import gather
from perdure.values.answer import Done

SHAPES = ((1, 2_000, 64), (10, 400, 64), (100, 64, 64), (10, 80, 8), (100, 8, 8), (1_000, 8, 8), (10_000, 8, 8))
"""Steps of a workflow, workflows of a round, and how many are under way. Trust lines of equal numbers under way."""

COMPARED = 10
"""DBOS runs beside the shapes of at most this many steps, in rounds of at least this many workflows."""


@effect
def act(_: object, number: int) -> FutureResult[int, str]:
    """Do nothing: the figures are those of the library."""
    return FutureResult.from_value(number + 1)


@program
def body(ctx: WorkflowContext[int]) -> Do[int, str]:
    """Perform as many steps as the state says."""
    steps = yield from ctx.state
    number = 0
    for _ in range(steps):
        number = yield from act(number)
    return number


flow = Workflow("bench", state=int, run=body, keep=None, max_steps=100_000)


def written_bytes() -> int:
    """The bytes that this process has sent to the disk so far."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(fields["write_bytes"])


async def round_of(steps: int, workflows: int, under_way: int, path: Path) -> str:
    """Run workflows, and describe the cost of a step."""
    async with App(None).with_jobs(flow).open(f"sqlite:///{path}") as jobs:
        handle = jobs.handle(flow)
        ids: Iterator[int] = iter(range(workflows))

        async def client() -> None:
            for number in ids:
                await handle.start(f"{number}", steps, wait_for="completion")

        before, wall, cpu = written_bytes(), time.perf_counter(), time.process_time()
        await asyncio.gather(*(client() for _ in range(under_way)))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if await handle.outcome("0") != Done(value=steps):
            raise AssertionError(steps)
        written = written_bytes() - before
    count, size = steps * workflows, await asyncio.to_thread(lambda: path.stat().st_size)
    return (
        f"perdure  K={steps:6,} x {workflows:5,}, {under_way:2} under way: {count / wall:7,.0f} steps/s  "
        f"CPU {1e6 * cpu / count:6.0f} us/step  written {written / count:6,.0f} B  file {size / count:5,.0f} B"
    )


SIGNALS = ((1_000, 10), (2_000, 10), (4_000, 10), (8_000, 10), (1_000, 10_000))
"""How many signals are sent together, and the characters of each."""

word = Signal("word", str)


@program
def collecting(ctx: WorkflowContext[int]) -> Do[int]:
    """Receive as many words as the state says; return the number of their characters."""
    count = yield from ctx.state
    length = 0
    for _ in range(count):
        length += len((yield from word.receive()))
    return length


collect = Workflow("collect", state=int, run=collecting, signals=(word,), keep=None, inbox=100_000, max_steps=100_000)


async def signals_of(count: int, size: int, path: Path) -> str:
    """Send signals to one workflow, and describe the cost of one until all are received."""
    app = App(None, limits=Limits(on_full="block")).with_jobs(collect)
    async with app.open(f"sqlite:///{path}", debug=False) as jobs:
        handle = jobs.handle(collect)
        await handle.start("c", count)
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(handle.signal("c", word, "x" * size) for _ in range(count)))
        await jobs.until(collect, "c")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if await handle.outcome("c") != Done(value=count * size):
            raise AssertionError(count)
    return (
        f"{count:6,} signals of {size:6,} characters: {count / wall:7,.0f} signals/s  "
        f"CPU {1e6 * cpu / count:5.0f} us/signal"
    )


CHILDREN = ((300, 50), (1_500, 50), (3_000, 50), (1_000, 10_000), (10_000, 10_000))
"""How many children a workflow has, and how many are under way at a time."""


@program
def echoing(ctx: WorkflowContext[int]) -> Do[int]:
    """Return the state."""
    return (yield from ctx.state)


echo = Workflow("echo", state=int, run=echoing, keep=None)


@program
def gathering(ctx: WorkflowContext[tuple[int, int]]) -> Do[int, Defect]:
    """Call as many children as the state says; return the sum of their values."""
    count, limit = yield from ctx.state
    return sum((yield from gather(*(echo.call(f"{ctx.run_id}-{n}", n) for n in range(count)), limit=limit)))


family = Workflow("family", state=tuple[int, int], run=gathering, keep=None, max_steps=100_000)


async def children_of(count: int, limit: int, path: Path) -> str:
    """Run a workflow with children, and describe the cost of one."""
    async with App(None).with_jobs(echo, family).open(f"sqlite:///{path}", debug=False) as jobs:
        handle = jobs.handle(family)
        wall, cpu = time.perf_counter(), time.process_time()
        await handle.start("f", (count, limit))
        await jobs.until(family, "f")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        if await handle.outcome("f") != Done(value=sum(range(count))):
            raise AssertionError(count)
    return (
        f"{count:6,} children, at most {limit:,} at a time: {1e3 * wall / count:6.2f} ms/child  "
        f"CPU {1e6 * cpu / count:5.0f} us/child"
    )


DBOS = """
import os, sys, time, tempfile
from dbos import DBOS
steps, workflows = int(sys.argv[1]), int(sys.argv[2])
path = os.path.join(tempfile.mkdtemp(), "dbos.sqlite")
DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{path}", "run_admin_server": False,
             "log_level": "ERROR"})
@DBOS.step()
def act(number):
    return number + 1
@DBOS.workflow()
def flow(steps):
    number = 0
    for _ in range(steps):
        number = act(number)
    return number
DBOS.launch()
wall, cpu = time.perf_counter(), time.process_time()
handles = [DBOS.start_workflow(flow, steps) for _ in range(workflows)]
assert all(handle.get_result() == steps for handle in handles)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
count = steps * workflows
print(f"DBOS     K={steps:6,} x {workflows:5,}              : {count / wall:7,.0f} steps/s  "
      f"CPU {1e6 * cpu / count:6.0f} us/step", flush=True)
os._exit(0)
"""


def main() -> None:
    """Run all shapes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dbos", metavar="PYTHON", help="the interpreter of an environment that has dbos")
    parser.add_argument("--signals", action="store_true", help="measure signals, and not steps")
    parser.add_argument("--children", action="store_true", help="measure children, and not steps")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--most", type=int, default=10_000, help="the largest K")
    arguments = parser.parse_args()
    gc.set_threshold(10_000, 2, 500)
    for _ in range(cast("int", arguments.rounds)):
        for count, size in SIGNALS if arguments.signals else ():
            with tempfile.TemporaryDirectory() as folder:
                print(asyncio.run(signals_of(count, size, Path(folder) / "jobs.db")), flush=True)
        for count, limit in CHILDREN if arguments.children else ():
            with tempfile.TemporaryDirectory() as folder:
                print(asyncio.run(children_of(count, limit, Path(folder) / "jobs.db")), flush=True)
        for steps, workflows, under_way in () if arguments.signals or arguments.children else SHAPES:
            if steps > cast("int", arguments.most):
                continue
            with tempfile.TemporaryDirectory() as folder:
                print(asyncio.run(round_of(steps, workflows, under_way, Path(folder) / "jobs.db")), flush=True)
            python: str | None = arguments.dbos
            if python is not None and steps <= COMPARED and workflows > under_way:
                shape = (str(steps), str(max(COMPARED, 300 // steps)))
                subprocess.run([python, "-W", "ignore", "-c", DBOS, *shape], check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    sys.exit(main())
