"""The order of items of a key under kills: a process that works on them, one of each key at a time, is killed.

``python property_tests/durability/order_kill_loop.py [--rounds 50] [--items 600] [--store URL]``. Each effect appends a
line to a file outside the store and syncs it before it answers. Each process puts further items, so that some are put
after a restart. With ``--skew SECONDS`` each process has a clock that is wrong by that, ahead or behind in turn, so it
goes back at every second restart.
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
from pathlib import Path
from random import Random

import attrs
from drawn_sizes import runtime_of_this_process
from returns.result import Result, Success

from perdure import App, Do, ItemContext, WorkerPool, effect, program
from perdure.values.errors import EngineClosed, OutcomeUnknown

KEYS = 4
POLL_S = 0.05
DEADLINE_S = 300
LOST_ITS_LEASE = 75
"""How a process ends whose engine stopped by itself: on a busy machine a lease of 2 s runs out. It is started again."""


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

    async def act(self, id_: str) -> Result[str, str]:
        """Note the call, then take a while: the process may die between both."""
        os.write(self.file, f"{id_}\n".encode())
        os.fsync(self.file)
        await asyncio.sleep(self.random.uniform(0.001, 0.02))
        return Success(id_)


@effect
async def act(services: Outside, id_: str) -> Result[str, str]:
    """Call the external system."""
    return await services.act(id_)


@program
def work(ctx: ItemContext[int]) -> Do[str, str, Outside]:
    """One effect."""
    yield from ctx.item
    return (yield from act(ctx.id))


def key(number: int) -> str:
    """A few keys."""
    return f"k{number % KEYS}"


WORKERS = 3
pool = WorkerPool("ordered", item=int, work=work, workers=WORKERS, key=key, workers_per_key=1, keep=None)


async def serve(folder: Path, store: str, items: int, skew_s: float) -> None:
    """Put items, a few at a time while others are worked on, and wait until all are done."""
    file = os.open(folder / "effects.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    app = App(Outside(file, Random())).with_jobs(pool)  # noqa: S311 - how long a call takes
    runtime, wrong_ms = runtime_of_this_process(), int(1_000 * skew_s)
    wrong = attrs.evolve(runtime, now_ms=lambda: runtime.now_ms() + wrong_ms)
    async with app.open(store, runtime=wrong) as client:
        handle = client.handle(pool)
        for number in range(items):
            await handle.put(f"{key(number)}/{number:05}", number)
            if number % KEYS == 0:
                await asyncio.sleep(0.002)
        while (await handle.progress()).done < items:
            for each in (await client.list(pool, status="parked", limit=100)).instances:
                await handle.resume(each.address.id)  # its process died three times during its effect
            await asyncio.sleep(POLL_S)
    sys.stdout.write("all are done\n")


# ---------------------------------------------------------------- the loop
@attrs.frozen(kw_only=True)
class Verdict:
    """The result of a loop.

    Attributes:
        kills: how often the process was killed, or lost its lease.
        missing: items without an effect.
        repeated: effects that happened more than once.
        overtaken: effects of an item after the first one of a later item of its key.
    """

    kills: int
    missing: int
    repeated: int
    overtaken: int


def run(folder: Path, *, rounds: int, items: int, store: str = "", seed: int = 0, skew_s: float = 0) -> Verdict:
    """Kill a process repeatedly, let the last one end, and compare."""
    random, log, kills = Random(seed), folder / "effects.log", 0  # noqa: S311 - reproducible on purpose
    least = 2 * KEYS  # effects between two kills: an item that dies three times is parked, and others pass it
    most = least + max(1, items // max(1, 2 * rounds))
    command = [*(sys.executable, __file__, "--work", "--folder", str(folder), "--items", str(items))]
    command += ["--store", store or f"sqlite:///{folder}/jobs.db"]
    while True:
        wrong = f"--skew={skew_s if kills % 2 == 0 else -skew_s}"
        process = subprocess.Popen([*command, wrong], stdout=subprocess.PIPE)  # noqa: S603 - this file
        if kills < rounds and _reaches(process, log, _lines(log) + random.randint(least, most)):
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        output, _ = process.communicate(timeout=DEADLINE_S)
        if process.returncode == LOST_ITS_LEASE and kills < 10 * rounds:
            kills += 1
            continue
        if output != b"all are done\n":
            raise AssertionError(output)
        return _verdict(log, kills, items)


def _lines(log: Path) -> int:
    return log.read_bytes().count(b"\n") if log.exists() else 0


def _reaches(process: subprocess.Popen[bytes], log: Path, lines: int) -> bool:
    """Wait until the external system was called some times; False if the process has ended before."""
    until = time.monotonic() + DEADLINE_S
    while process.poll() is None and time.monotonic() < until:
        if _lines(log) >= lines:
            return True
        time.sleep(0.001)
    return False


def _verdict(log: Path, kills: int, items: int) -> Verdict:
    lines = log.read_text(encoding="ascii").split()
    newest: dict[str, str] = {}
    overtaken = 0
    for line in lines:
        of = line.partition("/")[0]
        overtaken += line < newest.get(of, "")
        newest[of] = max(line, newest.get(of, ""))
    return Verdict(
        kills=kills,
        missing=items - len(set(lines)),
        repeated=len(lines) - len(set(lines)),
        overtaken=overtaken,
    )


def main() -> None:
    """Run the loop, or the process that it kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--items", type=int, default=600)
    parser.add_argument("--store", default="")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--skew", type=float, default=0)
    parser.add_argument("--work", action="store_true")
    given = parser.parse_args()
    if given.work:
        try:
            asyncio.run(serve(given.folder, given.store, given.items, given.skew))
        except (EngineClosed, OutcomeUnknown):  # a request meets the end of the lease before or after its commit
            sys.exit(LOST_ITS_LEASE)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        verdict = run(folder, rounds=given.rounds, items=given.items, store=given.store, skew_s=given.skew)
        sys.stdout.write(f"{verdict}\n")


if __name__ == "__main__":
    main()
