"""``docs/guarantees.md``: an outcome in parts is whole or absent, whichever process is killed."""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import settings
from large_worker import IDS
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 60 if NIGHTLY else 3
WORKER = Path(__file__).with_name("large_worker.py")


def life(store: str, number: int, performed: Counter[str], kill: tuple[int, float] | None) -> dict[str, Any] | None:
    """Run a process, and kill it a moment after so many steps were performed. Return its findings if it ended."""
    end: dict[str, Any] | None = None
    steps = 0
    with subprocess.Popen([sys.executable, str(WORKER), store, str(number)], stdout=subprocess.PIPE) as process:  # noqa: S603 - our own file
        assert process.stdout is not None
        for data in process.stdout:
            line = json.loads(data)
            if line["form"] == "performed":
                performed[line["name"]] += 1
                steps += 1
                if kill is not None and kill[0] == steps:
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(kill[1])
                    process.kill()
            elif line["form"] == "end":
                end = line
        process.kill()
    return end


def kill_loop(store: str, rounds: int, seed: int) -> Counter[str]:
    """Each round has workflows of its own: a run that is killed three times is parked. At most two kills each."""
    draw = random.Random(seed)  # noqa: S311 - reproducible
    found: Counter[str] = Counter()
    for number in range(rounds):
        performed: Counter[str] = Counter()
        kills = draw.randint(1, 2)
        for _ in range(kills):
            if life(store, number, performed, (draw.randint(1, 5), draw.uniform(0, 0.2))) is None:
                found["kills"] += 1
        end = life(store, number, performed, None)
        assert end is not None
        assert end["ends"] == ["Done(value=True)"] * len(IDS)
        assert max(performed.values()) <= 1 + kills
        found["repeats"] += sum(performed.values()) - len(performed)
        for each in end["found"]:
            found.update(each)
    assert found["dangling"] == 0
    return found


def test_no_outcome_is_named_without_its_parts(tmp_path: Path) -> None:
    found = kill_loop(f"sqlite:///{tmp_path / 'jobs.db'}", ROUNDS, seed=1)
    assert found["kills"] > 0
    assert found["parts"] >= ROUNDS * len(IDS) * 3 * 49


def test_no_outcome_is_named_without_its_parts_on_postgres(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        assert kill_loop(harness.url, ROUNDS, seed=2)["kills"] > 0
    finally:
        asyncio.run(harness.discard())
