"""``docs/guarantees.md``: an attempt after a kill begins at a number that the last one has reached, and skips none."""

import asyncio
import random
import subprocess
import sys
from pathlib import Path

from heartbeat_worker import LAST
from hypothesis import settings
from postgres_harness import PostgresHarness

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 30 if NIGHTLY else 1
WORKER = Path(__file__).with_name("heartbeat_worker.py")


def lines_of(store: str, id_: str, kill_after: int | None) -> list[tuple[str, str, int]]:
    """Run the worker to its end, or kill it after some lines. Return the lines that it printed."""
    found: list[tuple[str, str, int]] = []
    with subprocess.Popen([sys.executable, str(WORKER), store, id_], stdout=subprocess.PIPE) as process:  # noqa: S603
        assert process.stdout is not None
        for line in process.stdout:
            effect, form, number = line.decode().split()
            found.append((effect, form, int(number)))
            if kill_after is not None and len(found) >= kill_after:
                process.kill()
    return found


def kill_loop(url: str) -> None:
    draw = random.Random(1)  # noqa: S311 - reproducible
    continued = 0
    for number in range(ROUNDS):
        printed: list[tuple[str, str, int]] = []
        while not printed or printed[-1] != ("all", "end", 0):
            kill_after = draw.randint(5, LAST) if len(printed) < 4 * LAST else None
            printed += lines_of(url, f"id {number}", kill_after)
        for effect in ("count", "thread"):
            continued += check([(form, at) for name, form, at in printed if name == effect])
    assert continued >= ROUNDS


def check(lines: list[tuple[str, int]]) -> int:
    """Check that no attempt begins after the number that was reached; return how many did not begin at the first."""
    at = stored = continued = 0
    for form, number in lines:
        if form == "begins":
            assert number <= stored, "a number is left out"
            continued += number > 0
        else:
            assert number == at + 1
        at, stored = number, max(stored, number)
    assert stored == LAST
    return continued


def test_an_attempt_after_a_kill_continues_and_leaves_nothing_out(tmp_path: Path) -> None:
    kill_loop(f"sqlite:///{tmp_path / 'jobs.db'}")


def test_an_attempt_after_a_kill_continues_and_leaves_nothing_out_on_postgres(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        kill_loop(harness.url)
    finally:
        asyncio.run(harness.discard())
