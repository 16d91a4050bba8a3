"""Measure the engine of two source trees in turns in one run: `python -m before_after --before FOLDER/src`.

Run it with ``PYTHONPATH=docs/benchmarks`` and Python 3.12 or later. ``--before`` is the ``src`` of another checkout,
such as that of ``git worktree add FOLDER COMMIT``; ``--now`` is this one by default. Each turn of a case is a process
of its own. CPU is the least of all short rounds, since noise only ever adds to it; rates and waits are medians; calls
of functions are counted, which no neighbour on the machine disturbs. A request's share of the bare loop is the CPU of a
``sqlite3`` loop that writes the same rows in groups of the same size, divided by that of the request. ``--honker
PYTHON``, an interpreter with ``honker`` and ``attrs``, adds the same burst in both systems.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import define, field, frozen
from measured.figures import print_table
from measured.machine import conditions, versions
from side_by_side.place import Place, to_argument

from before_after.case import CASES
from before_after.turn import Figures

HERE = Path(__file__).parents[1]
TURN_TIMEOUT_S = 600
BURST_JOBS = 2_000
BESIDE = {
    "burst beside others: before": ("before", "perdure", "accepted"),
    "burst beside others: now": ("now", "perdure", "accepted"),
    "burst beside others: honker, best": ("honker", "honker", "best"),
}


@frozen
class Tree:
    """A source tree.

    Attributes:
        name: of its column.
        source: its ``src``.
        python: the interpreter.
    """

    name: str
    source: Path
    python: str = sys.executable

    def output(self, module: str, *arguments: str) -> str:
        """Run a module of the benchmarks with this tree."""
        command = [self.python, "-m", module, *arguments]
        done = subprocess.run(
            command,
            env={**os.environ, "PYTHONPATH": f"{self.source}:{HERE}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=TURN_TIMEOUT_S,
            start_new_session=True,  # the CPU of a burst is that of its process group
        )
        if done.returncode:
            raise SystemExit(f"{self.name}: {' '.join(command)} failed\n{done.stderr[-2_000:]}")
        return done.stdout.splitlines()[-1]


@define
class Run:
    """The figures of a run so far, by case and tree."""

    figures: dict[tuple[str, str], Figures] = field(factory=dict[tuple[str, str], Figures])

    def add(self, case: str, tree: str, figures: Figures) -> None:
        """Add the figures of a turn."""
        known = self.figures.setdefault((case, tree), {})
        for name, values in figures.items():
            known.setdefault(name, []).extend(values)

    def least(self, case: str, tree: str, name: str) -> float | None:
        """Return the least of a figure's rounds."""
        return min(self.figures.get((case, tree), {}).get(name, []), default=None)

    def median(self, case: str, tree: str, name: str) -> float | None:
        """Return the median of a figure's rounds."""
        values = self.figures.get((case, tree), {}).get(name)
        return statistics.median(values) if values else None

    def row(self, case: str) -> list[str]:
        """Return a line of the table."""
        before, now = (self.least(case, tree, "cpu_us") for tree in ("before", "now"))
        gain = "" if before is None or now is None else f"{before / now:.2f}"
        return [
            case,
            *(printed(self.least(case, tree, "cpu_us"), 1) for tree in ("before", "now")),
            gain,
            " → ".join(filter(None, (printed(self.share(case, tree), 2) for tree in ("before", "now")))),
            " → ".join(filter(None, (self.calls(case, tree) for tree in ("before", "now")))),
            *(printed(self.median(case, tree, "rate")) for tree in ("before", "now")),
            *(self.waits(case, tree) for tree in ("before", "now")),
        ]

    def share(self, case: str, tree: str) -> float | None:
        """Return the CPU of the bare loop as a share of the case's."""
        bare, used = self.least(case, tree, "bare_us"), self.least(case, tree, "cpu_us")
        return None if bare is None or used is None else bare / used

    def calls(self, case: str, tree: str) -> str:
        """Return the calls of functions of Python and of C for each operation."""
        return " + ".join(filter(None, (printed(self.least(case, tree, f"{of}_calls")) for of in ("python", "c"))))

    def waits(self, case: str, tree: str) -> str:
        """Return the waits, p50 and p99."""
        return ", ".join(filter(None, (printed(self.median(case, tree, name), 2) for name in ("p50_ms", "p99_ms"))))


HEAD = (
    "case",
    "CPU µs before",
    "now",
    "before / now",
    "of the bare loop",
    "calls, Python + C",
    "a second, before",
    "now",
    "p50, p99 ms before",
    "now",
)


def printed(value: float | None, digits: int = 0) -> str:
    """Print a figure, or nothing if there is none."""
    return "" if value is None else f"{value:,.{digits}f}"


def take_turns(given: argparse.Namespace, scratch: Path) -> Run:
    """Measure every case, the trees in turns."""
    trees, run = [Tree("before", given.before.resolve()), Tree("now", given.now.resolve())], Run()
    for tree in trees:
        (scratch / tree.name).mkdir()
    for number in range(given.rounds):
        print(f"before the round: {conditions(scratch)}", flush=True)
        for case in given.cases:
            for tree in trees if number % 2 == 0 else reversed(trees):
                settings = (str(given.short), str(given.cold), str(given.seconds), str(number * 1_000_003))
                turn = json.loads(tree.output("before_after.case", case, str(scratch / tree.name), *settings))
                if not Path(turn["source"]).is_relative_to(tree.source):
                    raise SystemExit(f"{tree.name} ran {turn['source']} instead of {tree.source}")
                run.add(case, tree.name, turn["figures"])
            print(f"  {case}: {' | '.join(run.row(case)[1:])}", flush=True)
        if given.honker:
            beside(run, {"honker": Tree("honker", HERE, given.honker), **{tree.name: tree for tree in trees}}, scratch)
    print(f"after the last: {conditions(scratch)}\n")
    return run


def beside(run: Run, trees: Mapping[str, Tree], scratch: Path) -> None:
    """Measure the same burst, whose jobs write two lines to a file, in both systems."""
    for case, (name, system, setting) in BESIDE.items():
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            place = to_argument(Place(folder=Path(folder), setting=setting))
            arguments = ("burst", system, place, str(BURST_JOBS), "120")
            figures = json.loads(trees[name].output("side_by_side.host", *arguments))
        waits = figures["waits"]
        gathered = {"cpu_us": [figures["cpu_ms"] * 1e3], "rate": [figures["rate"]]}
        run.add(case, "now", {**gathered, "p50_ms": [waits["p50_ms"]], "p99_ms": [waits["p99_ms"]]})


def chosen(parts: Iterable[str]) -> list[str]:
    """Return the cases whose names contain one of the texts."""
    return [case for case in CASES if any(part in case for part in parts)]


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, required=True, help="the src of the earlier checkout")
    parser.add_argument("--now", type=Path, default=HERE.parents[1] / "src", help="the src of the later one")
    parser.add_argument("--quick", action="store_true", help="two rounds of few short ones: about three minutes")
    parser.add_argument("--only", nargs="+", default=[""], help="texts that the names of the cases contain")
    parser.add_argument("--rounds", type=int, help="turns of each tree")
    parser.add_argument("--honker", metavar="PYTHON", help="an interpreter that has honker and attrs")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args()
    given.cases = chosen(given.only)
    given.rounds = given.rounds or (2 if given.quick else 5)
    given.short, given.cold, given.seconds = (8, 100_000, 2.0) if given.quick else (12, 1_000_000, 8.0)
    return given


def main(given: argparse.Namespace, scratch: Path) -> None:
    """Measure, and print the table."""
    print(versions())
    run = take_turns(given, scratch)
    print_table(HEAD, [run.row(case) for case in (*given.cases, *(BESIDE if given.honker else ()))])


if __name__ == "__main__":
    options = parsed()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch_folder:
        main(options, Path(scratch_folder))
