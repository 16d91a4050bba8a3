"""An engine that is killed under the load of clients in another process: nothing acknowledged is lost or repeated."""

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path

from remote_app import adder
from returns.result import Success

from perdure import attempt
from perdure.remote import connect

CLIENTS, REQUESTS, KILLS = 8, 30, 2
INSTANCES = 5


async def started(folder: Path) -> asyncio.subprocess.Process:
    """Start an engine on the file, and return when it serves."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", "run", "remote_app:app", "--store", "sqlite:///jobs.db"),
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    while b"serving" not in await process.stdout.readline():
        assert not process.stdout.at_eof()
    return process


async def killed_under_load(folder: Path) -> tuple[Counter[str], dict[str, int], list[object]]:
    """Send keyed requests while the engine is killed and started again. Return the acknowledged and stored values."""
    acknowledged: Counter[str] = Counter()
    failures: list[object] = []
    answers = asyncio.Semaphore(0)

    async def customer(number: int) -> None:
        for request in range(REQUESTS):
            id_, amount = f"id-{(number + request) % INSTANCES}", 10 ** (number % 3)
            sent = await attempt(numbers.send(id_, amount, idempotency_key=f"{number}-{request}"))
            answers.release()
            if isinstance(sent, Success):
                acknowledged[id_] += amount
            else:
                failures.append(sent.failure())

    async with connect(f"sqlite:///{folder}/jobs.db", adder) as jobs:
        numbers = jobs.handle(adder)
        customers = asyncio.gather(*(customer(number) for number in range(CLIENTS)))
        for _ in range(KILLS):
            engine = await started(folder)
            for _ in range(CLIENTS * REQUESTS // (KILLS + 2)):
                await answers.acquire()
            engine.send_signal(signal.SIGKILL)
            await engine.wait()
        engine = await started(folder)
        await customers
        stored = {f"id-{n}": (await attempt(numbers.get_state(f"id-{n}"))).unwrap() for n in range(INSTANCES)}
        engine.send_signal(signal.SIGTERM)
        assert await engine.wait() == 0
    return acknowledged, stored, failures


def test_every_keyed_request_of_a_remote_client_is_applied_once_over_kills(tmp_path):
    acknowledged, stored, failures = asyncio.run(killed_under_load(tmp_path))
    assert failures == []
    assert stored == dict(acknowledged)
