"""Engines in processes of their own on one PostgreSQL schema: killed, stopped and continued, closed, started."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from postgres_harness import PostgresHarness
from postgres_server import running_server
from sharing_process import ACCOUNTS, accounts

from perdure.stores.postgres import open_postgres
from perdure.testing.conformance.requirement import value

LEASE_MS = 2_000
ROUNDS = int(os.environ.get("PERDURE_CHAOS_ROUNDS", "3"))
SCRIPT = Path(__file__).with_name("sharing_process.py")


class Engines:
    """Processes on one schema."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schema = f"perdure_test_{secrets.token_hex(6)}"
        base = running_server()
        self.url = f"{base}&schema={self.schema}&durability=relaxed&ownership=shared&lease={LEASE_MS}ms"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start a process, and wait until it is open."""
        name = f"p{len(list(self.folder.glob('opened-*')))}"
        command = [sys.executable, str(SCRIPT), self.url, name, str(self.folder)]
        with (self.folder / f"error-{name}").open("wb") as error:
            self.running.append(subprocess.Popen(command, stderr=error))  # noqa: S603 - our own program
        until = time.monotonic() + 30
        while not (self.folder / f"opened-{name}").exists():
            assert time.monotonic() < until, (self.folder / f"error-{name}").read_text()
            time.sleep(0.05)

    def end(self, process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        """End a process."""
        self.running.remove(process)
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def end_all(self) -> None:
        """Close every process gracefully."""
        for process in tuple(self.running):
            self.end(process, signal.SIGTERM)

    def lines(self, kind: str) -> list[str]:
        """Return the lines of all processes."""
        return [line for file in sorted(self.folder.glob(f"{kind}-*")) for line in file.read_text().splitlines()]


@pytest.fixture
def engines(tmp_path: Path):
    found = Engines(tmp_path)
    yield found
    for process in found.running:
        process.kill()
        process.wait()


def suffer(engines: Engines, drawn: random.Random) -> None:
    """Let one process suffer, and keep three alive."""
    victim = drawn.choice(engines.running)
    match drawn.choice(["kill", "kill", "stop", "stop long", "close"]):
        case "kill":
            engines.end(victim, signal.SIGKILL)
        case "close":
            engines.end(victim, signal.SIGTERM)
        case how:
            victim.send_signal(signal.SIGSTOP)
            time.sleep(0.3 if how == "stop" else LEASE_MS / 1_000 * 1.6)
            victim.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    for process in tuple(engines.running):
        if process.poll() is not None:  # it lost its lease, and stopped
            engines.running.remove(process)
    while len(engines.running) < 3:
        engines.start()


async def stored(engines: Engines) -> tuple[Counter[str], list[str]]:
    """Return the deposits of all accounts, and the accounts with a claim."""
    store = await open_postgres(engines.url)
    deposits, left = Counter[str](), list[str]()
    for number in range(ACCOUNTS):
        row = (await value(store.load(accounts.address(str(number)), None, 0))).instance
        if row is not None:
            state = accounts.plan.state.decode(row.state.encode())
            deposits.update(f"{key} {number}" for key in state.keys)
            left += [str(row.address)] if row.owner is not None else []
    await store.close()
    return deposits, left


async def discarded(engines: Engines) -> None:
    harness = PostgresHarness(running_server())
    harness.schema = engines.schema
    await harness.discard()


def test_processes_lose_nothing_and_apply_nothing_twice(engines: Engines):
    """Each acknowledged deposit is there once; each repeated effect says so; nothing is left behind."""
    drawn = random.Random(int(os.environ.get("PERDURE_CHAOS_SEED", "1")))  # noqa: S311 - reproducible
    for _ in range(3):
        engines.start()
    time.sleep(1)
    for _ in range(ROUNDS):
        suffer(engines, drawn)
    for process in engines.running[1:]:
        engines.end(process, signal.SIGTERM)
    time.sleep(LEASE_MS / 1_000 * 1.25 + 6)  # the last engine recovers the rest, and still serves
    engines.end_all()
    deposits, left = asyncio.run(stored(engines))
    acknowledged, sent = set(engines.lines("acknowledged")), set(engines.lines("sent"))
    assert len(acknowledged) > 100
    assert [deposit for deposit, times in deposits.items() if times > 1] == [], "applied twice"
    assert acknowledged - set(deposits) == set(), "acknowledged and lost"
    assert set(deposits) <= sent
    words = [" ".join(line.split(" ")[:2]) for line in engines.lines("heard")]
    assert [word for word, times in Counter(words).items() if times > 1] == [], "repeated unmarked"
    assert left == [], "left behind by dead engines"
    asyncio.run(discarded(engines))
