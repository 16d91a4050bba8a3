"""``docs/guarantees.md``: a reader misses nothing and sees no unmarked repeat, whichever process is killed.

The same program returns values in parts. ``python test_stream_kills.py STORE ROUNDS SEED`` prints the findings.
"""

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hypothesis import settings
from postgres_harness import PostgresHarness
from stream_worker import ALL, IDS

from perdure import BeganAgain, Chunk

NIGHTLY = settings.get_current_profile_name() == "nightly"
ROUNDS = 60 if NIGHTLY else 3
WORKER = Path(__file__).with_name("stream_worker.py")


@contextmanager
def worker(store: str, number: int, seen: dict[str, list[dict[str, Any]]]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process whose readers continue after the last items that were seen."""
    offsets = [str(items[-1]["offset"] if items else -1) for items in seen.values()]
    command = [sys.executable, str(WORKER), store, str(number), *offsets]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603 - our own file
        try:
            yield process
        finally:
            process.kill()


def line_of(output: IO[bytes] | None) -> dict[str, Any] | None:
    """Read a line. None after the process's death."""
    assert output is not None
    line = output.readline()
    return json.loads(line) if line.endswith(b"\n") else None


def kill_after(store: str, number: int, seen: dict[str, list[dict[str, Any]]], items: int, pause_s: float) -> None:
    """Kill a process a moment after its readers have received some items, or before that if it does nothing."""
    with worker(store, number, seen) as process:
        while line := line_of(process.stdout):
            assert line["form"] != "end" or items > 0
            if "id" in line:
                seen[line.pop("id")].append(line)
                items -= 1
            if items <= 0 or line["form"] == "end":
                break
        with suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
        process.kill()
        while line := line_of(process.stdout):
            if "id" in line:
                seen[line.pop("id")].append(line)


def let_it_end(store: str, number: int, seen: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Let a process end the runs. Return all items as a late reader receives them, and the counts of parts."""
    with worker(store, number, seen) as process:
        while line := line_of(process.stdout):
            if line["form"] == "end":
                return line
            if "id" in line:
                seen[line.pop("id")].append(line)
    raise AssertionError(seen)


def check(items: list[dict[str, Any]], late: list[dict[str, Any]]) -> int:
    """Compare the items of a reader with the emitted chunks; return the number of marks."""
    assert items == late
    assert [item["offset"] for item in items] == list(range(len(items)))
    kept: list[tuple[str, str]] = []
    marks = 0
    for item in items:
        if item["form"] == BeganAgain.__name__:
            marks += 1
            kept = [(step, value) for step, value in kept if item["step"] != step]
        else:
            assert item["form"] == Chunk.__name__
            assert (item["step"], item["value"]) not in kept, "a repeat without a mark"
            kept.append((item["step"], item["value"]))
    assert [value for _, value in kept] == list(ALL)
    return marks


def kill_loop(store: str, rounds: int, seed: int) -> Counter[str]:
    """Each round has runs of its own, because a run that is killed three times is parked."""
    draw = random.Random(seed)  # noqa: S311 - reproducible
    found: Counter[str] = Counter()
    for number in range(rounds):
        seen: dict[str, list[dict[str, Any]]] = {f"{number}{each}": [] for each in IDS}
        kill_after(store, number, seen, draw.randint(1, 170), draw.uniform(0, 0.02))
        found["kills"] += 1
        if draw.random() < 0.5:
            kill_after(store, number, seen, draw.randint(0, 20), draw.uniform(0, 0.1))
            found["kills"] += 1
        end = let_it_end(store, number, seen)
        found["marks"] += sum(check(seen[id_], end["again"][id_]) for id_ in seen)
        found.update(end["found"])
    assert (found["dangling"], found["orphans"]) == (0, 0)
    # Two texts in 49 parts each, for each workflow.
    assert found["parts"] == rounds * len(IDS) * 98
    return found


def test_a_reader_misses_nothing_over_kills(tmp_path: Path) -> None:
    assert kill_loop(f"sqlite:///{tmp_path / 'jobs.db'}", ROUNDS, seed=1)["marks"] > ROUNDS


def test_a_reader_misses_nothing_over_kills_on_postgres(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url, "full")
    try:
        assert kill_loop(harness.url, ROUNDS, seed=2)["marks"] > ROUNDS
    finally:
        asyncio.run(harness.discard())


if __name__ == "__main__":
    sys.stdout.write(f"{dict(kill_loop(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))}\n")
