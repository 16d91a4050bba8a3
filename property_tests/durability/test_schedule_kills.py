"""``docs/guarantees.md``: a schedule of processes that are killed at any moment fires each instant once."""

import asyncio
from pathlib import Path

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
