"""``docs/guarantees.md``: a killed agent loses no call, and repeats at most those in progress, with their keys.

``python property_tests/durability/test_agent_kills.py 200 sqlite:///FILE`` kills that many processes.
"""

import asyncio
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings

pytest.importorskip("pydantic_ai", reason="the extra pydantic-ai is not installed")

from agent_worker import CALLS, ROUNDS, WIDTH
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"
KILLS = 60 if NIGHTLY else 2
WORKER = Path(__file__).with_name("agent_worker.py")
ANSWER = str(sum(2 * number for number in range(ROUNDS * WIDTH)))


def lines_of(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def killed(command: list[str], log: Path, calls: int, pause_s: float) -> bool:
    """Kill a process a moment after it has performed some calls. Return False if it ended before."""
    wanted = len(lines_of(log)) + calls
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own file
        while process.poll() is None and len(lines_of(log)) < wanted:
            time.sleep(0.001)
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
        was_alive = process.poll() is None
        process.kill()
        return was_alive


def kill_loop(store: str, folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Each conversation has at most two kills, because a run whose process dies three times is parked.

    Returns:
        The kills and the repeated calls.
    """
    draw = random.Random(seed)  # noqa: S311 - reproducible
    done = repeats = number = 0
    while done < kills:
        log = folder / f"calls-{number}"
        command = [sys.executable, str(WORKER), store, f"c{number}", str(log)]
        here = 0
        for _ in range(2 if draw.random() < 0.5 else 1):
            here += killed(command, log, draw.randint(1, CALLS - 2), draw.uniform(0, 0.02))
        said = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout  # noqa: S603 - as above
        assert said.strip() == ANSWER
        counted = Counter(lines_of(log))
        assert len(counted) == CALLS, "a call is lost, or has another key"
        again = sum(counted.values()) - CALLS
        assert again <= WIDTH * here, "more repeats than calls in progress"
        assert max(counted.values()) <= 1 + here, "a call was repeated more than once for a kill"
        done, repeats, number = done + here, repeats + again, number + 1
    return done, repeats


def test_a_killed_agent_repeats_only_the_calls_in_progress(tmp_path: Path) -> None:
    kill_loop(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path, KILLS, seed=1)


def test_a_killed_agent_repeats_only_the_calls_in_progress_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        kill_loop(harness.url, tmp_path, KILLS, seed=2)
    finally:
        asyncio.run(harness.discard())


if __name__ == "__main__":
    folder = Path(sys.argv[3])
    print(kill_loop(sys.argv[2], folder, int(sys.argv[1]), seed=3))
