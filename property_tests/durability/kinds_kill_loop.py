"""Workflows and items of pools under kills: a process with hundreds of them is killed, and each must end right.

``python property_tests/durability/kinds_kill_loop.py [--rounds 200] [--workflows 300] [--items 1500] [--folder DIR]``.
Each effect appends a line to a file outside the store and syncs it before it answers: the file says how often it
happened. An item also says which delivery it is, so that the loop sees repeats that were not marked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import attrs
from returns.result import Result, Success

from perdure import (
    App,
    Client,
    Do,
    ItemContext,
    Signal,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    unwrap,
)
from perdure.programs import gather, sleep
from perdure.values.listed import Listing
from perdure.values.outcome import Done

SENT = 100
STEPS = 6
EXPECTED = Done(value=3 + 4 + 4 + SENT + 1)
"""Three steps from 0, two beside each other, the signal, and a last step."""

WORKERS = 16

POLL_S = 0.1
DEADLINE_S = 300


# ---------------------------------------------------------------- the process
@attrs.frozen
class Outside:
    """An external system, which remembers each call for ever.

    Attributes:
        file: the descriptor of its file.
        random: how long it takes.
    """

    file: int
    random: Random

    async def act(self, key: str, number: int) -> Result[int, str]:
        """Do something that lasts."""
        await asyncio.sleep(self.random.uniform(0.001, 0.02))
        os.write(self.file, f"{key}\n".encode())
        os.fsync(self.file)
        return Success(number + 1)


@effect
async def act(services: Outside, key: str, number: int) -> Result[int, str]:
    """Call the external system."""
    return await services.act(key, number)


go = Signal("go", int)


@program
def six(ctx: WorkflowContext[int]) -> Do[int, str, Outside]:
    """Six effects, a sleep and a signal."""
    number = yield from ctx.state
    for _ in range(3):
        number = yield from act(f"{ctx.id}/{number}", number)
    yield from sleep("300 ms")
    one, other = yield from gather(act(f"{ctx.id}/a", number), act(f"{ctx.id}/b", number))
    sent = yield from go.receive()
    return (yield from act(f"{ctx.id}/last", number + one + other + sent))


flow = Workflow("six", state=int, run=six, signals=(go,), keep=None)


@program
def one(ctx: ItemContext[int]) -> Do[int, str, Outside]:
    """One effect, which names the run and its delivery."""
    number = yield from ctx.item
    return (yield from act(f"{ctx.id}/{ctx.run_id}/{ctx.attempt}/{ctx.delivery}", number))


def tenant(number: int) -> str:
    """Three tenants."""
    return f"t{number % 3}"


pool = WorkerPool("items", item=int, work=one, workers=WORKERS, key=tenant, workers_per_key=6, keep="1 day")


async def work(folder: Path, workflows: int, items: int) -> None:
    """Start, signal and await the workflows, and put and await the items; a repeat of the calls changes nothing."""
    file = os.open(folder / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    app = App(Outside(file, Random())).with_jobs(flow, pool)  # noqa: S311 - how long a call takes
    async with app.open(f"sqlite:///{folder}/jobs.db") as client:
        handle, ids = client.handle(flow), [f"f{number}" for number in range(workflows)]
        put = client.handle(pool).put_many([(f"i{number}", number) for number in range(items)])
        await unwrap(put)
        await asyncio.gather(*(unwrap(handle.start(id_, 0, idempotency_key=f"start {id_}")) for id_ in ids))
        await asyncio.gather(*(unwrap(handle.signal(id_, go, SENT, idempotency_key=f"go {id_}")) for id_ in ids))
        left = ids
        while left:
            await resume_parked(client)
            outcomes: list[Any] = [await unwrap(handle.outcome(id_)) for id_ in left]
            wrong = {str(outcome) for outcome in outcomes if outcome is not None and outcome != EXPECTED}
            if wrong:
                raise AssertionError(wrong)
            left = [id_ for id_, outcome in zip(left, outcomes, strict=True) if outcome is None]
            await asyncio.sleep(POLL_S)
        await items_done(client, items)
    sys.stdout.write("all have ended\n")


async def items_done(client: Client, items: int) -> None:
    """Wait until every item is done, and compare the results."""
    handle = client.handle(pool)
    while (await unwrap(handle.progress())).done < items:
        await resume_parked(client)
        await asyncio.sleep(POLL_S)
    for number in range(items):
        outcome: Any = await unwrap(handle.outcome(f"i{number}"))
        if outcome != Done(value=number + 1):
            raise AssertionError((number, outcome))


async def resume_parked(client: Client) -> None:
    """Resume workflows and items whose process died three times during one step, as an operator would."""
    for definition in (flow, pool):
        parked: Listing = await unwrap(client.list(definition, status="parked", limit=1_000))
        for each in parked.instances:
            await unwrap(client.handle(definition).resume(each.address.id))


# ---------------------------------------------------------------- the loop
@attrs.frozen(kw_only=True)
class Verdict:
    """The result of a loop.

    Attributes:
        kills: how often the process was killed.
        missing: effects that never happened.
        surplus: effects that no workflow has.
        repeated: how many effects happened more than once.
        most: how often the most frequent one happened.
        unmarked: how many deliveries of items said the same of themselves as another.
    """

    kills: int
    missing: int
    surplus: int
    repeated: int
    most: int
    unmarked: int


def run(folder: Path, *, rounds: int, workflows: int, items: int, seed: int = 0) -> Verdict:
    """Kill a process repeatedly, let the last one end, and compare."""
    random, log, kills = Random(seed), folder / "effects.log", 0  # noqa: S311 - reproducible on purpose
    most = max(
        1, (workflows * STEPS + items) // max(1, rounds)
    )  # effects between two kills, so that work is left for the last
    while True:
        process = subprocess.Popen(  # noqa: S603 - this file
            [
                *(sys.executable, __file__, "--work", "--folder", str(folder)),
                *("--workflows", str(workflows), "--items", str(items)),
            ],
            stdout=subprocess.PIPE,
        )
        if kills < rounds and _reaches(process, log, _size(log) + random.randint(1, most) * len("f10/a\n")):
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        output, _ = process.communicate(timeout=DEADLINE_S)
        if output != b"all have ended\n":
            raise AssertionError(output)
        return _verdict(log, kills, workflows, items)


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _reaches(process: subprocess.Popen[bytes], log: Path, size: int) -> bool:
    """Wait until the external system was called some times; False if the process has ended before."""
    until = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < until:
        if _size(log) >= size:
            return True
        time.sleep(0.001)
    return False


def _verdict(log: Path, kills: int, workflows: int, items: int) -> Verdict:
    lines = Counter(log.read_text(encoding="ascii").split())
    happened: Counter[str] = Counter()
    for line, times in lines.items():
        happened[line if line.startswith("f") else line.partition("/")[0]] += times
    expected = {f"f{number}/{step}" for number in range(workflows) for step in ("0", "1", "2", "a", "b", "last")}
    expected |= {f"i{number}" for number in range(items)}
    return Verdict(
        kills=kills,
        missing=len(expected - happened.keys()),
        surplus=len(happened.keys() - expected),
        repeated=sum(times > 1 for times in happened.values()),
        most=max(happened.values(), default=0),
        unmarked=sum(times > 1 for line, times in lines.items() if line.startswith("i")),
    )


def main() -> None:
    """Run the loop, or the process that it kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workflows", type=int, default=300)
    parser.add_argument("--items", type=int, default=1_500)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--work", action="store_true")
    given = parser.parse_args()
    if given.work:
        asyncio.run(work(given.folder, given.workflows, given.items))
        return
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        folder = given.folder or Path(temporary)
        verdict = run(folder, rounds=given.rounds, workflows=given.workflows, items=given.items)
        sys.stdout.write(
            f"{verdict}, {given.workflows * STEPS + given.items} effects, {time.monotonic() - began:.0f} s\n"
        )


if __name__ == "__main__":
    main()
