"""``docs/guarantees.md``: processes that are killed at any moment never have more instances under way than allowed."""

import asyncio
import random
import subprocess
import sys
import time
from pathlib import Path

from hypothesis import settings
from postgres_harness import PostgresHarness
from under_way_worker import CONCURRENCY

NIGHTLY = settings.get_current_profile_name() == "nightly"
WORKER = Path(__file__).with_name("under_way_worker.py")


def begun(store: str, journal: Path, starts: int) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WORKER), store, str(journal), str(starts)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own file
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def over(process: "subprocess.Popen[str]") -> str:
    """Wait for the end of a process, and return its last lines."""
    process.wait(100)
    assert process.stdout is not None
    with process.stdout as said:
        return said.read()


def run(store: str, journal: Path, *, starts: int, kills: int, engines: int) -> None:
    """Kill a process some times, each time after a drawn while, then let all end."""
    draw = random.Random(kills)  # noqa: S311 - reproducible
    processes = [begun(store, journal, starts) for _ in range(engines)]
    for _ in range(kills):
        time.sleep(draw.uniform(0.02, 0.3))
        process = processes.pop(0)
        process.kill()
        over(process)
        processes.append(begun(store, journal, starts))
    for process in processes:
        assert over(process) == "done\n"


def check(journal: Path, starts: int) -> None:
    under_way, ended = set[str](), set[str]()
    for line in journal.read_text().splitlines():
        word, id_ = line.split()
        if word == "begin" and id_ not in ended:
            under_way.add(id_)
        else:
            under_way.discard(id_)
            ended.add(id_)
        assert len(under_way) <= CONCURRENCY, line
    assert len(ended) == starts


def test_a_limited_job_survives_kills(tmp_path: Path) -> None:
    starts, kills = (400, 40) if NIGHTLY else (20, 1)
    run(f"sqlite:///{tmp_path / 'jobs.db'}", tmp_path / "journal", starts=starts, kills=kills, engines=1)
    check(tmp_path / "journal", starts)


def test_engines_share_the_places_of_a_limited_job_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    # Only then: a kill takes the time of a lease.
    starts, kills = (400, 20) if NIGHTLY else (20, 0)
    harness = PostgresHarness(postgres_url, "full")
    try:
        run(f"{harness.url}&ownership=shared", tmp_path / "journal", starts=starts, kills=kills, engines=2)
        check(tmp_path / "journal", starts)
    finally:
        asyncio.run(harness.discard())
