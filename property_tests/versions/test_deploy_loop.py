"""Rollouts and rollbacks of real processes: the laws of the matrix of versions, on a shared database and on a file."""

import asyncio
from pathlib import Path

from deploy_loop import ON_A_FILE, SHARED, Deploy
from hypothesis import settings
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS, STEPS = (20, 200) if NIGHTLY else (1, 8)


def test_two_versions_follow_each_other_on_a_file(tmp_path: Path) -> None:
    Deploy(tmp_path, f"sqlite:///{tmp_path}/jobs.db", ON_A_FILE).run(rounds=ROUNDS, steps=STEPS)


def test_two_versions_share_a_database(tmp_path: Path, postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)
    try:
        store = f"{harness.url}&ownership=shared&lease=2s"
        Deploy(tmp_path, store, SHARED).run(rounds=ROUNDS, steps=STEPS)
    finally:
        asyncio.run(harness.discard())
