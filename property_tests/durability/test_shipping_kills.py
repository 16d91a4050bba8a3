"""``docs/guarantees.md``, *A shipped snapshot is restored whole*: engine and backup are killed, alone and together.

``python test_shipping_kills.py ROUNDS SEED`` plays rounds, and prints the findings.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import attrs
from hypothesis import settings

from perdure.stores.sqlite.object_storage import BackupBucket
from perdure.stores.sqlite.shipping import restore_from

NIGHTLY = settings.get_current_profile_name() == "nightly"
Victim = Literal["engine", "backup", "both"]
VICTIMS: tuple[Victim, ...] = ("engine", "backup", "both")
EVERY_MS = 50
PATIENCE_S = 120
SHOP = """
from perdure import App, Continuous, every

count = lambda ctx: ctx.state.bind(lambda n: ctx.set_state(n + 1))
ticker = Continuous("ticker", state=int, schedule=every("20 ms"), execute=count)
app = App(None).with_jobs(ticker).ensuring(ticker, "a", lambda job: job.start(0))
"""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def count_in(path: Path) -> int:
    """Return how many runs a store has."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE_S)) as database:
        row = database.execute("SELECT state FROM instances").fetchone()
    return 0 if row is None else int(row[0])


@attrs.define
class KillLoop:
    """An engine that counts, and the process that ships its store.

    Attributes:
        folder: their files.
        url: the backups.
        settings: the variables that reach them.
        seen: when a count was read from the engine's file, and the count.
        found: kills by victim, and other counts.
        behind_ms: for each round, how much older the restored snapshot was than the kill.
    """

    folder: Path
    url: str
    settings: Mapping[str, str] = attrs.Factory(dict[str, str])
    seen: list[tuple[int, int]] = attrs.Factory(list)
    found: Counter[str] = attrs.Factory(Counter)
    behind_ms: list[int] = attrs.Factory(list)
    _running: dict[str, subprocess.Popen[str]] = attrs.Factory(dict)

    def start(self, *, is_early: bool = False) -> None:
        """Start those of both that do not run, and wait for them, or not for the backup's whole copy."""
        run = ["run", "shop:app", "--store", "sqlite:///jobs.db"]
        ship = ["backup", "--store", "sqlite:///jobs.db", "--to", self.url, "--every", f"{EVERY_MS}ms"]
        for name, arguments, line in (("engine", run, "serving"), ("backup", ship, "shipped")):
            if name not in self._running:
                self._running[name] = process = subprocess.Popen(  # noqa: S603 - our own command
                    [sys.executable, "-m", "perdure", *arguments],
                    cwd=self.folder,
                    stdout=subprocess.PIPE,
                    text=True,
                    env={**os.environ, **self.settings},
                )
                assert process.stdout is not None
                if is_early and name == "backup":
                    continue
                assert any(line in text for text in process.stdout), f"{name} ended with {process.wait(PATIENCE_S)}"

    def look(self) -> int:
        """Read the engine's count. It was committed before the noted time."""
        count = count_in(self.folder / "jobs.db")
        self.seen.append((now_ms(), count))
        return count

    def kill(self, victim: Victim) -> None:
        """Kill one of them or both."""
        names = [name for name in ("engine", "backup") if victim in (name, "both")]
        for name in names:
            self._running[name].kill()
        for name in names:
            self.end(name)
        self.found[victim] += 1

    def end(self, name: str, number: signal.Signals | None = None) -> int:
        """Wait for a process that ends."""
        process = self._running.pop(name)
        if number is not None:
            process.send_signal(number)
        code = process.wait(PATIENCE_S)
        assert process.stdout is not None
        process.stdout.close()
        return code

    def restored(self) -> tuple[int, int]:
        """Restore the newest snapshot, and return its moment and count."""
        target = self.folder / "restored.db"
        config = {name.lower(): text for name, text in self.settings.items()}
        done = restore_from(BackupBucket(self.url, config=config), target)
        count = count_in(target)
        for each in self.folder.glob("restored.db*"):
            each.unlink()
        return done.moment_ms, count

    def round(self, victim: Victim, runs: int) -> None:
        """Kill after some runs, and compare the restored store with the counts that were seen before its moment."""
        self.start(is_early=not runs and bool(self.behind_ms))
        until = self.look() + runs
        while self.look() < until:
            time.sleep(0.005)  # of a process of its own
        killed_ms = now_ms()
        self.kill(victim)
        moment_ms, count = self.restored()
        self.behind_ms.append(killed_ms - moment_ms)
        due = max((count for at_ms, count in self.seen if at_ms < moment_ms), default=0)
        assert count >= due, f"a store of {moment_ms} has {count} runs of {due}"
        self.found["runs"] = self.seen[-1][1]

    def finish(self) -> None:
        """Stop both: the engine is not harmed, and the rest is shipped."""
        self.start()
        assert self.end("engine", signal.SIGTERM) == 0
        assert self.end("backup", signal.SIGTERM) == 0
        assert self.restored()[1] == self.look()

    def leave(self) -> None:
        """End both, however they are."""
        for name in list(self._running):
            self._running[name].kill()
            self.end(name)


def kill_loop(
    folder: Path, victims: Sequence[Victim], seed: int, url: str = "", settings: Mapping[str, str] | None = None
) -> KillLoop:
    """Play a round for each victim. By default the backups are in a folder."""
    (folder / "shop.py").write_text(SHOP, encoding="utf-8")
    draw = random.Random(seed)  # noqa: S311 - reproducible
    loop = KillLoop(folder, url or (folder / "bucket").as_uri(), settings or {})
    try:
        for victim in victims:
            loop.round(victim, max(0, draw.randrange(-10, 30)))
        loop.finish()
    finally:
        loop.leave()
    return loop


def test_kills_of_engine_and_backup_lose_nothing_that_was_shipped(tmp_path: Path) -> None:
    rounds = 20 if NIGHTLY else 1
    found = kill_loop(tmp_path, ("both", "engine", "backup") * rounds if NIGHTLY else ("both",), seed=1).found
    assert found["both"] == rounds


def test_kills_beside_an_s3_server_lose_nothing_that_was_shipped(tmp_path: Path, s3_settings: dict[str, str]) -> None:
    victims: tuple[Victim, ...] = ("both", "engine", "backup") * 5 if NIGHTLY else ("both", "backup")
    found = kill_loop(tmp_path, victims, seed=2, url="s3://backups/kills", settings=s3_settings).found
    assert found["both"] == (5 if NIGHTLY else 1)


def main(rounds: str, seed: str) -> None:
    """Play rounds, and print the findings."""
    with TemporaryDirectory() as folder:
        loop = kill_loop(Path(folder), [VICTIMS[each % 3] for each in range(int(rounds))], int(seed))
    behind = sorted(loop.behind_ms)
    sys.stdout.write(f"{dict(loop.found)}, behind: median {behind[len(behind) // 2]} ms, most {behind[-1]} ms\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
