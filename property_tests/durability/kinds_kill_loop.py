"""Workflows and items of pools under kills: a process with hundreds of them is killed, and each must end right.

``python property_tests/durability/kinds_kill_loop.py [--rounds 200] [--workflows 300] [--items 1500] [--folder DIR]
[--store postgresql://…]``. Each effect appends a line to a file outside the store and syncs it before it answers: the
file says how often it happened. An item also says which delivery it is, so that the loop sees repeats that were not
marked. An operator in the same process cancels workflows, pauses and resumes instances, holds and releases the jobs,
and resumes those that are parked; the acknowledgement of a cancellation and of a hold is a line of the file, too.
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
from drawn_sizes import runtime_of_this_process
from returns.result import Result, Success

from perdure import App, Client, Do, ItemContext, Signal, WorkerPool, Workflow, WorkflowContext, effect, program
from perdure.programs import gather, sleep
from perdure.values.answer import Done, WasCancelled
from perdure.values.listings import Listing

SENT = 100
STEPS = 6
EXPECTED = Done(value=3 + 4 + 4 + SENT + 1)
"""Three steps from 0, two beside each other, the signal, and a last step."""

WORKERS = 16
CANCELLED = 20
"""Workflows that the operator cancels; nothing else ends them."""

HOLDS_S = 0.05

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


@attrs.frozen
class Operator:
    """Does to jobs and instances as an operator may, at any moment.

    Attributes:
        client: of the app.
        file: the descriptor of the file outside the store.
        random: which action, of which instance, and when.
        ids: the instances, as jobs and ids.
    """

    client: Client
    file: int
    random: Random
    ids: list[tuple[Any, str]]

    def note(self, line: str) -> None:
        """Write a line outside the store."""
        os.write(self.file, f"{line}\n".encode())
        os.fsync(self.file)

    async def tidy(self) -> None:
        """End the holds and pauses of a process that died before it ended them."""
        for definition in (flow, pool):
            self.note(f"released/{definition.name}")
            await self.client.handle(definition).release()
            paused: Listing = await self.client.list(definition, status="paused", limit=1_000)
            for each in paused.instances:
                await self.client.handle(definition).resume(each.address.id)

    async def operate(self) -> None:
        """Act until cancelled."""
        await self.tidy()
        while True:
            await asyncio.sleep(self.random.uniform(0.001, 0.03))
            await self.act(self.random.choice(("pause", "hold", "cancel", "resume")))

    async def act(self, action: str) -> None:
        """Do one thing, and undo it after a while."""
        definition, id_ = self.random.choice(self.ids)
        handle = self.client.handle(definition)
        match action:
            case "pause":
                await handle.pause(id_)
                await asyncio.sleep(self.random.uniform(0, HOLDS_S))
                await handle.resume(id_)
            case "hold":
                await handle.hold()
                self.note(f"held/{definition.name}")
                await asyncio.sleep(self.random.uniform(0, HOLDS_S))
                self.note(f"released/{definition.name}")
                await handle.release()
            case "cancel":
                await self.cancel(f"c{self.random.randrange(CANCELLED)}")
            case _:
                await resume_parked(self.client)

    async def cancel(self, id_: str) -> None:
        """Cancel a workflow, perhaps again."""
        if (await self.client.handle(flow).cancel(id_, "of the operator")).accepted:  # it has been started
            self.note(f"{id_}/cancelled")

    async def cancelled(self) -> None:
        """Cancel all of them, and wait until they have ended so."""
        handle = self.client.handle(flow)
        for number in range(CANCELLED):
            await self.cancel(f"c{number}")
            while (outcome := await handle.outcome(f"c{number}")) is None:
                await resume_parked(self.client)
                await asyncio.sleep(POLL_S)
            if outcome != WasCancelled("of the operator"):
                raise AssertionError((number, outcome))


async def work(folder: Path, store: str, workflows: int, items: int) -> None:
    """Start, signal and await the workflows, and put and await the items; a repeat of the calls changes nothing."""
    file = os.open(folder / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    app = App(Outside(file, Random())).with_jobs(flow, pool)  # noqa: S311 - how long a call takes
    opening = app.open(store or f"sqlite:///{folder}/jobs.db", on_locked="wait", runtime=runtime_of_this_process())
    async with opening as client:
        ids_of_all = [(flow, f"f{number}") for number in range(workflows)]
        ids_of_all += [(pool, f"i{number}") for number in range(items)]
        operator = Operator(client, file, Random(), ids_of_all)  # noqa: S311 - which action
        operating = asyncio.ensure_future(operator.operate())
        handle, ids = client.handle(flow), [f"f{number}" for number in range(workflows)]
        put = client.handle(pool).put_many([(f"i{number}", number) for number in range(items)])
        await put
        to_cancel = [f"c{number}" for number in range(CANCELLED)]
        starts = (handle.start(id_, 0, idempotency_key=f"start {id_}") for id_ in (*ids, *to_cancel))
        await asyncio.gather(*starts)
        await asyncio.gather(*(handle.signal(id_, go, SENT, idempotency_key=f"go {id_}") for id_ in ids))
        left = ids
        while left:
            await resume_parked(client)
            outcomes: list[Any] = [await handle.outcome(id_) for id_ in left]
            wrong = {str(outcome) for outcome in outcomes if outcome is not None and outcome != EXPECTED}
            if wrong:
                raise AssertionError(wrong)
            left = [id_ for id_, outcome in zip(left, outcomes, strict=True) if outcome is None]
            await asyncio.sleep(POLL_S)
        await items_done(client, items)
        await operator.cancelled()
        if operating.done():
            operating.result()
        operating.cancel()
    sys.stdout.write("all have ended\n")


async def items_done(client: Client, items: int) -> None:
    """Wait until every item is done, and compare the results."""
    handle = client.handle(pool)
    while (await handle.progress()).done < items:
        await resume_parked(client)
        await asyncio.sleep(POLL_S)
    for number in range(items):
        outcome: Any = await handle.outcome(f"i{number}")
        if outcome != Done(value=number + 1):
            raise AssertionError((number, outcome))


async def resume_parked(client: Client) -> None:
    """Resume workflows and items whose process died three times during one step, as an operator would."""
    for definition in (flow, pool):
        parked: Listing = await client.list(definition, status="parked", limit=1_000)
        for each in parked.instances:
            await client.handle(definition).resume(each.address.id)


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
        held: items that were performed during one hold, at most.
        after_cancel: effects of one workflow after the acknowledgement of its cancellation, at most.
    """

    kills: int
    missing: int
    surplus: int
    repeated: int
    most: int
    unmarked: int
    held: int
    after_cancel: int


def run(folder: Path, *, rounds: int, workflows: int, items: int, seed: int = 0, store: str = "") -> Verdict:
    """Kill a process repeatedly, let the last one end, and compare."""
    log, command = folder / "effects.log", [__file__, "--work", "--folder", str(folder), "--store", store]
    command += ["--workflows", str(workflows), "--items", str(items)]
    # Effects between two kills, so that work is left for the last.
    most = max(1, (workflows * STEPS + items) // max(1, rounds)) * len("f10/a\n")
    kills, output = killed(command, log, rounds=rounds, most_bytes=most, random=Random(seed))  # noqa: S311 - reproducible
    if output != b"all have ended\n":
        raise AssertionError(output)
    return _verdict(log, kills, workflows, items)


def killed(command: list[str], log: Path, *, rounds: int, most_bytes: int, random: Random) -> tuple[int, bytes]:
    """Start a script repeatedly and kill it; let the last one end, and return the number of kills and its output.

    Args:
        command: the script and its arguments.
        log: the file in which each effect is a line.
        rounds: how often it is killed at most.
        most_bytes: how much the file grows at most between two kills.
        random: when it is killed.
    """
    kills = 0
    while True:
        process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE)  # noqa: S603 - our own
        if kills < rounds and _reaches(process, log, _size(log) + random.randint(1, most_bytes)):
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        output, _ = process.communicate(timeout=DEADLINE_S)
        return kills, output


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
    written = log.read_text(encoding="ascii").split()
    lines = Counter(line for line in written if line[0] in "fi")
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
        held=_in_holds(written),
        after_cancel=_after_cancellations(written),
    )


def _in_holds(written: list[str]) -> int:
    """Return how many items were performed during one hold of their job, at most."""
    most = performed = 0
    is_held = False
    for line in written:
        if line in (f"held/{pool.name}", f"released/{pool.name}"):
            is_held, performed = line.startswith("held"), 0
        elif is_held and line.startswith("i"):
            performed += 1
            most = max(most, performed)
    return most


def _after_cancellations(written: list[str]) -> int:
    """Return how many effects a workflow had after its cancellation was acknowledged, at most."""
    after: Counter[str] = Counter()
    cancelled = set[str]()
    for line in written:
        id_, _, step = line.partition("/")
        if step == "cancelled":
            cancelled.add(id_)
        elif id_ in cancelled:
            after[id_] += 1
    return max(after.values(), default=0)


def main() -> None:
    """Run the loop, or the process that it kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--workflows", type=int, default=300)
    parser.add_argument("--items", type=int, default=1_500)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--store", default="", help="a URL of PostgreSQL, with a schema of its own")
    parser.add_argument("--work", action="store_true")
    given = parser.parse_args()
    if given.work:
        asyncio.run(work(given.folder, given.store, given.workflows, given.items))
        return
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        folder = given.folder or Path(temporary)
        verdict = run(folder, rounds=given.rounds, workflows=given.workflows, items=given.items, store=given.store)
        sys.stdout.write(
            f"{verdict}, {given.workflows * STEPS + given.items} effects, {time.monotonic() - began:.0f} s\n"
        )


if __name__ == "__main__":
    main()
