"""``docs/guarantees.md``: a batch of a process that is killed at any moment counts each item once, and ends once."""

import asyncio
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import settings
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"
WORKER = Path(__file__).with_name("batch_worker.py")


def run(store: str, items: int, kills: int, seed: int, worker: Path = WORKER) -> dict[str, Any]:
    """Kill the worker some times, each time after a drawn while, then let it end."""
    draw = random.Random(seed)  # noqa: S311 - reproducible
    for left in reversed(range(kills + 1)):
        command = [sys.executable, str(worker), store, str(items)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own file
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            if left == 0:
                line: dict[str, Any] = json.loads(process.stdout.readline())
                assert process.wait(60) == 0
                return line
            try:
                process.wait(draw.uniform(0.02, 0.4))
            except subprocess.TimeoutExpired:
                process.kill()
    raise AssertionError


def check(end: dict[str, Any], items: int) -> None:
    expected = {"put": items, "done": items, "rest": 0, "told": [[items], [0]], "workflow": items, "watched": True}
    assert end == expected


def test_a_batch_survives_kills(tmp_path: Path) -> None:
    items, kills = (5_000, 40) if NIGHTLY else (300, 5)
    check(run(f"sqlite:///{tmp_path / 'jobs.db'}", items, kills, seed=1), items)


def test_a_batch_survives_kills_on_postgres(postgres_url: str) -> None:
    items, kills = (2_000, 20) if NIGHTLY else (200, 3)
    harness = PostgresHarness(postgres_url, "full")
    try:
        check(run(harness.url, items, kills, seed=2), items)
    finally:
        asyncio.run(harness.discard())
