"""``docs/guarantees.md``: under kills and operators, the effects of each kind agree with the outcomes.

The long form is a script: ``python property_tests/durability/operated_kill_loop.py``.
"""

import asyncio
from pathlib import Path

import pytest
from hypothesis import settings
from operated_kill_loop import audit, run
from postgres_harness import PostgresHarness, SharedPostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"


def test_effects_agree_with_the_outcomes(tmp_path: Path) -> None:
    rounds, each = (40, 30) if NIGHTLY else (3, 4)
    kills, wrong = run(tmp_path, rounds=rounds, each=each)
    assert (kills > 0, wrong) == (True, [])


def test_effects_agree_with_the_outcomes_on_postgres(tmp_path: Path, postgres_url: str) -> None:
    rounds, each = (20, 15) if NIGHTLY else (2, 3)
    harness = PostgresHarness(postgres_url, "full")
    try:
        kills, wrong = run(tmp_path, rounds=rounds, each=each, store=harness.url)
    finally:
        asyncio.run(harness.discard())
    assert (kills > 0, wrong) == (True, [])


def test_effects_agree_with_the_outcomes_although_the_clock_jumps_at_each_restart(tmp_path: Path) -> None:
    rounds, each = (40, 30) if NIGHTLY else (3, 4)
    kills, wrong = run(tmp_path, rounds=rounds, each=each, skew_s=0.5)
    assert (kills > 0, wrong) == (True, [])


def test_effects_agree_with_the_outcomes_beside_an_engine_with_another_clock(tmp_path: Path, postgres_url: str) -> None:
    rounds, each = (20, 15) if NIGHTLY else (2, 3)
    harness = SharedPostgresHarness(postgres_url, "full")
    try:
        store = harness.url.replace("lease=30s", "lease=5s")
        kills, wrong = run(tmp_path, rounds=rounds, each=each, store=store, skew_s=30)
    finally:
        asyncio.run(harness.discard())
    assert (kills > 0, wrong) == (True, [])


DONE = [f"+n0/{number}" for number in range(3)]
BATCH = "batch/n0/r/1/1/0,1,2"


@pytest.mark.parametrize(
    ("lines", "outcome", "wrong"),
    [
        ([*DONE, BATCH], "done", ""),
        ([*DONE[:2], "-n0/1", "-n0/0", BATCH], "cancelled", ""),
        ([*DONE[:2], BATCH], "done", "done saga n0"),
        ([*DONE[:2], "-n0/1", BATCH], "cancelled", "cancelled saga n0"),
        ([*DONE[:1], "-n0/0", *DONE[:1], BATCH], "cancelled", "done again ['n0/0']"),
        ([*DONE, "ring/n0/r/1/1", "ring/n0/r/1/1", BATCH], "done", "twice: ring/n0/r/1/1"),
        ([*DONE, "gone/items/x1", "item/x1/r/1/1", BATCH], "done", "after its end: item/x1/r/1/1"),
        ([*DONE, "gone/trips/x1", "+x1/2", BATCH], "done", "after its end: +x1/2"),
        ([*DONE, "batch/n0/r/1/1/0,2"], "done", "in no batch: 0 1"),
        ([*DONE, "early/beat/n0/r/1/1/0.5", BATCH], "done", "too soon: early/beat/n0"),
    ],
)
def test_the_audit_sees_each_loss(lines: list[str], outcome: str, wrong: str) -> None:
    found = audit(lines, {"n0": outcome}, 1)
    assert len(found) == (wrong != "")
    assert wrong in "".join(found)
