"""Engines in processes of their own on one PostgreSQL: killed, stopped, cut off, closed, and the database crashes."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from chaos import MISHAPS, Chaos
from failover import fail_over
from hypothesis import settings
from postgres_server import PrivateCluster, needed_programs

NIGHTLY = settings.get_current_profile_name() == "nightly"
SHORT = ["kill", "cut", "stall long", "crash the database"]


@pytest.mark.parametrize("mishaps", [SHORT, [*MISHAPS, *MISHAPS]] if NIGHTLY else [SHORT], ids=len)
def test_processes_lose_nothing_and_apply_nothing_twice(
    mishaps: list[str], tmp_path: Path, postgres_cluster: PrivateCluster
) -> None:
    """Each acknowledged call is there once, each repeat is marked, answers are linearizable, nothing stays behind."""
    drawn = random.Random(1)  # noqa: S311 - reproducible
    chaos = Chaos(tmp_path, postgres_cluster, 3, drawn, lease_s=2.0, callers=2)
    verdict = asyncio.run(chaos.run(mishaps))
    wrong = {law: examples for law, examples in verdict.wrong.items() if law != "taken over late"}  # a loaded machine
    assert not any(wrong.values()), verdict.text()
    assert sum(call.answered_s is not None for call in verdict.calls) > 20


@pytest.mark.skipif(not NIGHTLY, reason="two servers take too long for each run: --hypothesis-profile=nightly")
def test_a_failover_to_a_synchronous_replica_loses_nothing(tmp_path: Path) -> None:
    """The primary is killed under load; the engines find the promoted replica by their URL."""
    verdict, _ = fail_over(tmp_path, needed_programs(), lease_s=6.0, seed=1)
    wrong = {law: examples for law, examples in verdict.wrong.items() if law != "taken over late"}
    assert not any(wrong.values()), verdict.text()
