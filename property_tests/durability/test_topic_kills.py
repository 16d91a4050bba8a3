"""``docs/guarantees.md``: a topic of processes that are killed at any moment sends each event once, in order."""

import asyncio
from pathlib import Path

from hypothesis import settings
from postgres_harness import PostgresHarness
from test_batch_kills import run

NIGHTLY = settings.get_current_profile_name() == "nightly"
WORKER = Path(__file__).with_name("topic_worker.py")


def test_a_topic_survives_kills(tmp_path: Path) -> None:
    events, kills = (400, 20) if NIGHTLY else (30, 2)
    assert run(f"sqlite:///{tmp_path / 'jobs.db'}", events, kills, seed=1, worker=WORKER) == {"wrong": []}


def test_a_topic_survives_kills_on_postgres(postgres_url: str) -> None:
    events, kills = (400, 10) if NIGHTLY else (30, 1)
    harness = PostgresHarness(postgres_url, "full")
    try:
        assert run(harness.url, events, kills, seed=2, worker=WORKER) == {"wrong": []}
    finally:
        asyncio.run(harness.discard())
