"""The kill loop: a process under load is killed, again and again, and in the end nothing may be missing or twice.

``python property_tests/durability/kill_loop.py [--rounds 200] [--durability full relaxed] [--successor started waiting]
[--folder DIR]`` runs every combination; the folder must be on the disk in question.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice, product
from pathlib import Path
from random import Random
from statistics import median
from typing import IO, Literal

import attrs
from audit import Verdict, audit, stored_in
from bank import Happened

TELLER = Path(__file__).with_name("teller.py")
FILE, OUTSIDE = "jobs.db", "outside"
CLIENTS = tuple(f"client-{number}" for number in range(8))
Durability = Literal["full", "relaxed"]
Successor = Literal["started", "waiting"]
"""Whether the next process is started after the death of the one before, or waits for it beside it."""


@attrs.frozen
class Moment:
    """When a process is killed.

    Attributes:
        acknowledgements: after so many,
        delay_s: and then so long.
    """

    acknowledgements: int
    delay_s: float = 0.0


class Teller:
    """One process, and what it says."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        command = [sys.executable, str(TELLER), str(folder / FILE), durability, str(folder / OUTSIDE)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
        self._opened_s: float | None = None

    @property
    def opened_s(self) -> float:
        """Wait until it has opened the store, and say when that was."""
        if self._opened_s is None:
            word, opened_s = next(self.lines()).split()
            assert word == "open"
            self._opened_s = float(opened_s)
        return self._opened_s

    def begin(self, after: dict[str, int], more: int) -> None:
        """Tell it where its clients go on, once the store is open."""
        assert self.opened_s
        stdin = _pipe(self._process.stdin)
        stdin.write(json.dumps({"after": after, "more": more}) + "\n")
        stdin.flush()

    def lines(self) -> Iterator[str]:
        """Give what it says. What it had said when it was killed is still in the pipe; its last line may be cut."""
        return (line for line in _pipe(self._process.stdout) if line.endswith("\n"))

    def kill(self) -> float:
        """Kill it, and say when that was."""
        died_s = time.time()
        self._process.kill()
        return died_s

    def leave(self) -> None:
        """End it, however it is."""
        self._process.kill()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()
        self._process.wait()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None, "the process was started with pipes"
    return pipe


@attrs.define(kw_only=True)
class KillLoop:
    """The parent of all the processes. It remembers what was acknowledged; they do not.

    Attributes:
        folder: where the store and the journal of the outside lie.
        durability: how the store is opened.
        successor: when the next process is started.
        acknowledged: the newest step of each client that was acknowledged.
        takeovers_s: how long the store had no owner after each death.
    """

    folder: Path
    durability: Durability = "full"
    successor: Successor = "started"
    acknowledged: dict[str, int] = attrs.Factory(lambda: dict.fromkeys(CLIENTS, 0))
    takeovers_s: list[float] = attrs.Factory(list[float])

    def run(self, moments: list[Moment]) -> Verdict:
        """Kill a process at each of these moments, let a last one finish, and audit."""
        with ExitStack() as stack:
            teller = self._start(stack)
            for moment in moments:
                assert teller.opened_s, "the next one waits for an owner, not with it"
                waiting = self._start(stack) if self.successor == "waiting" else None
                died_s = self._killed(teller, moment)
                teller = waiting or self._start(stack)
                self.takeovers_s.append(teller.opened_s - died_s)
            self._finish(teller)
        return audit(self.acknowledged, stored_in(self.folder / FILE, _now_ms()), self._happened())

    def _start(self, stack: ExitStack) -> Teller:
        teller = Teller(self.folder, self.durability)
        stack.callback(teller.leave)
        return teller

    def _killed(self, teller: Teller, moment: Moment) -> float:
        teller.begin(self.acknowledged, 10**9)
        lines = teller.lines()
        for line in islice(lines, moment.acknowledgements):
            self._note(line)
        time.sleep(moment.delay_s)
        died_s = teller.kill()
        for line in lines:
            self._note(line)
        return died_s

    def _finish(self, teller: Teller) -> None:
        """Let every client repeat what was not answered, and wait until nothing is left to do."""
        teller.begin(self.acknowledged, 1)
        *answers, last = teller.lines()
        for line in answers:
            self._note(line)
        assert last == "quiet\n", "the last process did not finish"

    def _note(self, line: str) -> None:
        client, number = line.split()
        assert int(number) == self.acknowledged[client] + 1
        self.acknowledged[client] += 1

    def _happened(self) -> list[Happened]:
        lines = (self.folder / OUTSIDE).read_text(encoding="utf-8").splitlines()
        return [Happened(**json.loads(line)) for line in lines]


def random_moments(rounds: int, seed: int) -> list[Moment]:
    """Draw moments: from at once to some hundreds of answers later, and not only just after an answer."""
    random = Random(seed)  # noqa: S311 - reproducible on purpose
    return [Moment(random.choice((0, random.randrange(600))), random.uniform(0, 0.02)) for _ in range(rounds)]


def _now_ms() -> int:
    return int(time.time() * 1_000)


def main() -> None:
    """Run the loop in every form that is asked for, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="of each form")
    parser.add_argument("--durability", nargs="+", choices=("full", "relaxed"), default=("full", "relaxed"))
    parser.add_argument("--successor", nargs="+", choices=("started", "waiting"), default=("started", "waiting"))
    parser.add_argument("--folder", default=".", help="on the disk in question")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    verdicts: list[Verdict] = []
    for durability, successor in product(options.durability, options.successor):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            loop = KillLoop(folder=Path(folder), durability=durability, successor=successor)
            verdicts.append(loop.run(random_moments(options.rounds, options.seed)))
        print(f"{options.rounds} rounds of SIGKILL, durability {durability}, successor {successor}")
        _print(verdicts[-1], loop.takeovers_s)
    sys.exit(0 if all(verdict.holds for verdict in verdicts) else 1)


def _print(verdict: Verdict, takeovers_s: list[float]) -> None:
    takeovers_ms = sorted(takeover * 1_000 for takeover in takeovers_s)
    print(f"acknowledged steps     {verdict.acknowledged:,}")
    for name in ("lost", "twice", "broken", "unmarked"):
        found = getattr(verdict, name)
        print(f"{name:22} {len(found)} {' '.join(found[:5])}")
    print(f"marked repeats         {verdict.repeats}")
    print(f"without an owner       median {median(takeovers_ms):.0f} ms, longest {takeovers_ms[-1]:.0f} ms")


if __name__ == "__main__":
    main()
