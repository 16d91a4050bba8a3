"""The kill loop: a process under load is killed repeatedly, and in the end nothing may be missing or twice.

``python property_tests/durability/kill_loop.py [--rounds 200] [--durability full relaxed] [--form started waiting
power-cut] [--folder DIR]`` runs every combination; the folder must be on the disk in question.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal

import attrs
from audit import Stored, Verdict, audit, audit_prefix, stored_in
from bank import Happened, Step
from disk import Entry, Mercy, NoMercy, Whim, surviving, write_image
from processes import OUTSIDE, Customers, Journal, Teller, customers

FILE = "jobs.db"
Durability = Literal["full", "relaxed"]
Successor = Literal["started", "waiting"]
"""Whether the next process is started after the death of the one before, or waits for it beside it."""


@attrs.frozen
class Moment:
    """When a process is killed.

    Attributes:
        answers: after this number of answers,
        delay_s: and then this time.
        mercy: what of the disk survives that was not synced, if power is cut.
    """

    answers: int
    delay_s: float = 0.0
    mercy: Mercy = attrs.Factory(NoMercy)


class RealDisk:
    """The disk of this machine: it keeps the writes of a killed process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def teller(self, stack: ExitStack, durability: Durability) -> Teller:
        """Start a teller on it."""
        return _started(stack, Teller(self._folder, file=FILE, durability=durability, disk=None))

    def cut(self, mercy: Mercy) -> None:
        """Nothing is lost."""

    def stored(self) -> Stored:
        """Read its content."""
        return stored_in(self._folder / FILE, _now_ms())


class ForgetfulDisk:
    """A disk that loses unsynced writes when its power is cut."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cuts = 0
        self._here.mkdir()

    def teller(self, stack: ExitStack, durability: Durability) -> Teller:
        """Start a teller on it."""
        file, log = (str(place.relative_to(self._folder)) for place in (self._here / FILE, self._log))
        return _started(stack, Teller(self._folder, file=file, durability=durability, disk=log))

    def cut(self, mercy: Mercy) -> None:
        """Cut the power: what follows is done to what survives."""
        image = surviving(tuple(_entries(self._log)), mercy)
        self._cuts += 1
        # SQLite's index of its log is shared memory in a file: nothing that it holds may be relied on.
        write_image(image | {f"{FILE}-shm": b"\xa5" * 32_768}, self._here)

    def stored(self) -> Stored:
        """Read its content."""
        return stored_in(self._here / FILE, _now_ms())

    @property
    def _here(self) -> Path:
        return self._folder / f"disk-{self._cuts}"

    @property
    def _log(self) -> Path:
        return self._folder / f"disk-{self._cuts}.log"


def _started(stack: ExitStack, teller: Teller) -> Teller:
    stack.callback(teller.leave)
    return teller


def _entries(log: Path) -> Iterator[Entry]:
    """Return the operations on a disk. The last entry may be cut: that operation was not done yet."""
    with log.open("rb") as file:
        while True:
            try:
                yield pickle.load(file)  # noqa: S301 - our own teller wrote it
            except (EOFError, pickle.UnpicklingError):
                return


@attrs.define(kw_only=True)
class KillLoop:
    """The parent of all the processes.

    Attributes:
        folder: where everything lies.
        disk: where the store lies.
        durability: how the store is opened.
        successor: when the next process is started.
        takeovers_s: how long the store had no owner after each death.
    """

    folder: Path
    disk: RealDisk | ForgetfulDisk
    durability: Durability = "full"
    successor: Successor = "started"
    takeovers_s: list[float] = attrs.Factory(list[float])

    def run(self, trace: Sequence[Moment]) -> Verdict:
        """Kill a process at each of these moments, let a last one finish, and audit."""
        with ExitStack() as stack:
            teller = self.disk.teller(stack, self.durability)
            come = customers(self.folder, stack)
            for moment in trace:
                teller = self._succeeded(stack, teller, come, moment)
            come.finish()
            teller.finish()
            journals = tuple(come.journals())
        return audit(
            {each.name: each.newest_done for each in journals},
            self.disk.stored(),
            _happened(self.folder),
            frozenset[Step]().union(*(each.left_open for each in journals)),
        )

    def _succeeded(self, stack: ExitStack, teller: Teller, come: Customers, moment: Moment) -> Teller:
        """Kill a teller, and return the next one."""
        assert teller.opened_s, "the next one waits for an owner, not with it"
        waiting = self.disk.teller(stack, self.durability) if self.successor == "waiting" else None
        come.await_answers(moment.answers)
        time.sleep(moment.delay_s)
        died_s = teller.kill()
        self.disk.cut(moment.mercy)
        after = waiting or self.disk.teller(stack, self.durability)
        self.takeovers_s.append(after.opened_s - died_s)
        return after


def _happened(folder: Path) -> list[Happened]:
    lines = (folder / OUTSIDE).read_text(encoding="utf-8").splitlines()
    return [Happened(**json.loads(line)) for line in lines]


@attrs.frozen(kw_only=True)
class CutShort:
    """What relaxed durability lost at a cut.

    Attributes:
        acknowledged: steps that were acknowledged.
        missing: those of them that have no effect: the newest.
        broken: content that must not be there, or whose predecessor is missing.
    """

    acknowledged: int
    missing: int
    broken: tuple[str, ...]


def cut_relaxed(folder: Path, moment: Moment) -> CutShort:
    """Cut the power once, let the remaining work end, and look for more than the newest steps missing."""
    disk = ForgetfulDisk(folder)
    with ExitStack() as stack:
        teller = disk.teller(stack, "relaxed")
        come = customers(folder, stack)
        assert teller.opened_s
        come.await_answers(moment.answers)
        time.sleep(moment.delay_s)
        teller.kill()
        come.kill()
        journals: tuple[Journal, ...] = tuple(come.journals())
        disk.cut(moment.mercy)
        disk.teller(stack, "relaxed").finish()
    stored = disk.stored()
    done = {each.name: each.newest_done for each in journals}
    return CutShort(
        acknowledged=sum(done.values()),
        missing=len(audit(done, stored, _happened(folder)).lost),
        broken=audit_prefix({each.name: each.asked for each in journals}, stored),
    )


def random_moments(rounds: int, seed: int, most: int = 600) -> list[Moment]:
    """Draw moments: from at once to some hundreds of answers later, and not only just after an answer."""
    random = Random(seed)  # noqa: S311 - reproducible on purpose

    def mercy() -> Mercy:
        return random.choice((NoMercy(), Whim(random.randrange(2**32), random.choice((0.0, 0.5, 0.9)))))

    return [Moment(random.choice((0, random.randrange(most))), random.uniform(0, 0.02), mercy()) for _ in range(rounds)]


def _now_ms() -> int:
    return int(time.time() * 1_000)


# ---------------------------------------------------------------- the long form
def main() -> None:
    """Run the loop in every requested form, and print the outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="of each form")
    parser.add_argument("--durability", nargs="+", choices=("full", "relaxed"), default=("full", "relaxed"))
    forms = ("started", "waiting", "power-cut")
    parser.add_argument("--form", nargs="+", choices=forms, default=forms, help="what follows a kill")
    parser.add_argument("--folder", default=".", help="on the disk in question")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    results: list[bool] = []
    for durability, form in product(options.durability, options.form):
        print(f"{options.rounds} rounds of SIGKILL, durability {durability}, {form}", flush=True)
        trace = random_moments(options.rounds, options.seed)
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if (durability, form) == ("relaxed", "power-cut"):
                results.append(_cut_often(Path(folder), trace))
            else:
                results.append(_killed_often(Path(folder), durability, form, trace))
    sys.exit(0 if all(results) else 1)


def _killed_often(folder: Path, durability: Durability, form: str, trace: list[Moment]) -> bool:
    loop = KillLoop(
        folder=folder,
        disk=ForgetfulDisk(folder) if form == "power-cut" else RealDisk(folder),
        durability=durability,
        successor="waiting" if form == "waiting" else "started",
    )
    verdict = loop.run(trace)
    takeovers_ms = sorted(takeover * 1_000 for takeover in loop.takeovers_s)
    print(f"acknowledged steps     {verdict.acknowledged:,}")
    for name in ("lost", "twice", "broken", "unmarked"):
        found = getattr(verdict, name)
        print(f"{name:22} {len(found)} {' '.join(found[:5])}")
    print(f"marked repeats         {verdict.repeats}")
    print(f"left open by clients   {verdict.left_open}")
    print(f"without an owner       median {median(takeovers_ms):.0f} ms, longest {takeovers_ms[-1]:.0f} ms", flush=True)
    return verdict.holds


def _cut_often(folder: Path, trace: list[Moment]) -> bool:
    cuts: list[CutShort] = []
    for number, moment in enumerate(trace):
        (folder / str(number)).mkdir()
        cuts.append(cut_relaxed(folder / str(number), moment))
    broken = [problem for cut in cuts for problem in cut.broken]
    print(f"acknowledged steps     {sum(cut.acknowledged for cut in cuts):,}")
    print(f"missing, the newest    {sum(cut.missing for cut in cuts):,}")
    print(f"broken                 {len(broken)} {' '.join(broken[:5])}", flush=True)
    return not broken


if __name__ == "__main__":
    main()
