"""``docs/guarantees.md``: a value in parts is whole or absent, whichever process is killed.

``python test_large_kills.py STORE ROUNDS SEED`` plays rounds, and prints the findings.
"""

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from large_worker import IDS, purge_all
from postgres_harness import PostgresHarness

from perdure.cli.commands import run_command

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 60 if NIGHTLY else 2
AUDITED = ("parts", "orphans", "dangling", "instances")
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
            if life(store, number, performed, (draw.randint(1, 12), draw.uniform(0, 0.2))) is None:
                found["kills"] += 1
        end = life(store, number, performed, None)
        assert end is not None
        assert end["ends"] == ["Done(value=True)"] * len(IDS) * 4
        assert max(performed.values()) <= 1 + kills
        found["repeats"] += sum(performed.values()) - len(performed)
        found.update(end["found"])
    assert (found["dangling"], found["orphans"]) == (0, 0)
    return found


def check_copies(url: str, folder: Path, found: Counter[str], rounds: int) -> None:
    """Copy the store and back it up: each of them holds the same parts, and no row outlasts the last instance."""
    ids = [f"{number}{each}" for number in range(rounds) for each in IDS]
    copies = [f"sqlite:///{folder / 'copied.db'}", url]
    assert run_command(["copy", url, copies[0]]) == 0
    if url.startswith("sqlite"):
        assert run_command(["backup", "--store", url, "--output", str(folder / "backup.db")]) == 0
        copies.append(f"sqlite:///{folder / 'backup.db'}")
    for each in copies:
        assert run_command(["verify", "--store", each]) == 0
        audited = asyncio.run(purge_all(each, ids))
        assert {name: audited[name] for name in AUDITED} == {name: found[name] for name in AUDITED}
        assert run_command(["verify", "--store", each]) == 0  # no row without an instance
    with closing(sqlite3.connect(folder / "copied.db")) as connection:
        assert connection.execute("SELECT count(*) FROM journal").fetchone() == (0,)


def test_no_value_is_named_without_its_parts(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    found = kill_loop(url, ROUNDS, seed=1)
    assert found["kills"] > 0
    assert found["parts"] >= ROUNDS * len(IDS) * 6 * 49
    check_copies(url, tmp_path, found, ROUNDS)


def test_no_value_is_named_without_its_parts_on_postgres(postgres_url: str, tmp_path: Path) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        found = kill_loop(harness.url, ROUNDS, seed=2)
        assert found["kills"] > 0
        check_copies(harness.url, tmp_path, found, ROUNDS)
    finally:
        asyncio.run(harness.discard())


def main(store: str, rounds: str, seed: str) -> None:
    """Play rounds on a store, check its copies, and print the findings."""
    found = kill_loop(store, int(rounds), int(seed))
    with TemporaryDirectory() as folder:
        check_copies(store, Path(folder), found, int(rounds))
    sys.stdout.write(f"{dict(found)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
