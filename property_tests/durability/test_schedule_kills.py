"""``docs/guarantees.md``: a schedule of processes that are killed at any moment fires each instant once."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from postgres_harness import PostgresHarness
from schedule_worker import INTERVAL_MS
from test_batch_kills import run

NIGHTLY = settings.get_current_profile_name() == "nightly"
WORKER = Path(__file__).with_name("schedule_worker.py")


def test_a_schedule_survives_kills(tmp_path: Path) -> None:
    firings, kills = (1_000, 40) if NIGHTLY else (60, 3)
    end = run(f"sqlite:///{tmp_path / 'jobs.db'}", firings, kills, seed=1, worker=WORKER)
    assert end == {"gaps": [INTERVAL_MS]}


def test_a_schedule_survives_kills_on_postgres(postgres_url: str) -> None:
    firings, kills = (1_000, 20) if NIGHTLY else (60, 2)
    harness = PostgresHarness(postgres_url, "full")
    try:
        end = run(harness.url, firings, kills, seed=2, worker=WORKER)
        assert end == {"gaps": [INTERVAL_MS]}
    finally:
        asyncio.run(harness.discard())


@contextmanager
def another_engine(url: str) -> Iterator[None]:
    command = [sys.executable, str(WORKER), url, "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:  # noqa: S603 - our own file
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "open\n"
            yield
        finally:
            other.kill()


@pytest.mark.skipif(not NIGHTLY, reason="each kill takes a lease")
def test_engines_on_postgres_fire_each_instant_once_over_kills(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        url = f"{harness.url}{'&' if '?' in harness.url else '?'}ownership=shared"
        with another_engine(url):
            end = run(url, 1_000, 3, seed=3, worker=WORKER)
        assert end == {"gaps": [INTERVAL_MS]}
    finally:
        asyncio.run(harness.discard())
