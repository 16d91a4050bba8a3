"""``docs/guarantees.md``: workflows and items of processes that are killed end right, and repeats are marked.

The long form is a script: ``python property_tests/durability/kinds_kill_loop.py``.
"""

import asyncio
from pathlib import Path

from hypothesis import settings
from kinds_kill_loop import WORKERS, Verdict, run
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"


def check(verdict: Verdict, workflows: int) -> None:
    assert (verdict.missing, verdict.surplus, verdict.unmarked) == (0, 0, 0)
    assert verdict.repeated <= verdict.kills * (workflows + WORKERS)
    assert verdict.held <= 2 * WORKERS  # those in progress, also those that the next process delivers again
    assert verdict.after_cancel <= 2  # those in progress


def test_workflows_and_items_survive_kills(tmp_path: Path) -> None:
    rounds, workflows, items = (60, 300, 1_500) if NIGHTLY else (4, 30, 60)
    check(run(tmp_path, rounds=rounds, workflows=workflows, items=items), workflows)


def test_workflows_and_items_survive_kills_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    rounds, workflows, items = (30, 100, 500) if NIGHTLY else (2, 10, 30)
    harness = PostgresHarness(postgres_url, "full")
    try:
        check(run(tmp_path, rounds=rounds, workflows=workflows, items=items, store=harness.url), workflows)
    finally:
        asyncio.run(harness.discard())
