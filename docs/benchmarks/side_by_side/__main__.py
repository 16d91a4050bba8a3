"""The same durable jobs in this library and in systems that people would pick instead.

Run it with ``PYTHONPATH=docs/benchmarks python -m side_by_side [SYSTEM ...] [--quick] [--folder FOLDER]``. It makes a
virtual environment, installs the systems from PyPI and this checkout into it, and measures each system in processes of
its own. Every job appends a line to a file outside of the system, and records a small state: as its result where the
system keeps results, else as a row of a SQLite file with full durability. Rounds take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import define, field, frozen
from measured.figures import over_rounds, print_table
from measured.machine import conditions, versions

from side_by_side.crash import CONCURRENCY, JOB_MS, crash
from side_by_side.place import Place, to_argument
from side_by_side.system import NAMES

HERE = Path(__file__).parents[1]
CHECKOUT = HERE.parents[1]
PACKAGES = {
    "perdure": [f"{CHECKOUT}[sqlite]"],
    "dbos": ["dbos"],
    "huey": ["huey"],
    "apscheduler": ["apscheduler<4", "sqlalchemy"],
    "dura": ["dura"],
    "honker": ["honker"],
    "litequeue": ["litequeue"],
}
"""What is installed for each system."""

SETTINGS = {"perdure": ("accepted", "in the call", "relaxed")}
DEFAULT_AND_BEST = ("default", "best")
SURVIVING = {"perdure": ("accepted",)}

Workload = Literal["burst", "paced", "timers", "crash"]


@frozen(order=True)
class Case:
    """A system with a setting."""

    name: str
    setting: str

    def __str__(self) -> str:
        return f"{self.name}, {self.setting}"


@define
class Comparison:
    """What is measured, and what came out, by workload and case.

    Attributes:
        python: the interpreter of the virtual environment.
        folder: on the disk in question.
        jobs: of the burst and of the timers.
        paced_jobs: of the steady pace.
        timeout_s: how long jobs are waited for.
    """

    python: str
    folder: Path
    jobs: int
    paced_jobs: int
    timeout_s: float
    results: dict[tuple[Workload, Case], list[dict[str, Any]]] = field(factory=dict)

    def measure(self, workload: Workload, case: Case) -> None:
        """Measure one case once."""
        with tempfile.TemporaryDirectory(dir=self.folder, ignore_cleanup_errors=True) as scratch:
            place = Place(folder=Path(scratch), setting=case.setting)
            figures = self._crashed(case, place) if workload == "crash" else self._worked(workload, case, place)
        if figures is not None:
            self.results.setdefault((workload, case), []).append(figures)
            print(json.dumps({"workload": workload, "case": str(case), **figures}), flush=True)

    def _worked(self, workload: Workload, case: Case, place: Place) -> dict[str, Any] | None:
        jobs = self.paced_jobs if workload == "paced" else self.jobs
        command = [self.python, "-m", "side_by_side.host", workload, case.name, to_argument(place)]
        done = subprocess.run(
            [*command, str(jobs), str(self.timeout_s)],
            start_new_session=True,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"{case} failed at {workload}:\n{done.stderr[-2_000:]}")
            return None
        figures: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1])
        return figures

    def _crashed(self, case: Case, place: Place) -> dict[str, Any]:
        place = Place(folder=place.folder, setting=place.setting, concurrency=CONCURRENCY, job_ms=JOB_MS)
        return crash(self.python, case.name, place, self.timeout_s, environment()).printed()

    def table(self, workload: Workload, head: Iterable[str], row: Mapping[str, int]) -> None:
        """Print what came out of a workload."""
        print(f"\n{workload}\n")
        cases = [case for asked, case in self.results if asked == workload]
        print_table(["system, setting", *head], ([str(case), *self._cells(workload, case, row)] for case in cases))

    def _cells(self, workload: Workload, case: Case, row: Mapping[str, int]) -> Iterable[str]:
        rounds = self.results[workload, case]
        for name, digits in row.items():
            values = [_value(figures, name) for figures in rounds]
            yield "never" if None in values else over_rounds([value for value in values if value is not None], digits)


def _value(figures: dict[str, Any], name: str) -> float | None:
    group, _, within = name.partition(".")
    value = figures[group][within] if within else figures[group]
    return None if value is None else float(value)


def environment() -> dict[str, str]:
    """Give the environment in which the adapters are found."""
    return {**os.environ, "PYTHONPATH": str(HERE)}


def install(venv: Path, names: Iterable[str]) -> str:
    """Make a virtual environment with the systems, unless it is there; give its interpreter."""
    python = str(venv / "bin" / "python")
    if not venv.exists():
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    wanted = [package for name in names for package in PACKAGES[name]]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
    own = ("--force-reinstall", "--no-deps", str(CHECKOUT))  # the version may be the same, and the code another
    subprocess.run([python, "-m", "pip", "install", "--quiet", *own], check=True)
    code = "import sys; from importlib.metadata import version as v; print([f'{n} {v(n)}' for n in sys.argv[1:]])"
    subprocess.run([python, "-c", code, *names], check=True)
    return python


def cases(names: Iterable[str], workload: Workload) -> list[Case]:
    """Give the settings that a workload is measured with."""
    settings = SURVIVING if workload == "crash" else SETTINGS
    return [Case(name, setting) for name in names for setting in settings.get(name, DEFAULT_AND_BEST)]


def main(given: argparse.Namespace, scratch: Path) -> None:
    """Measure every system, in rounds that take turns, and print the tables."""
    print(versions())
    python = install(given.venv or scratch / "venv", given.systems)
    comparison = Comparison(python, scratch, given.jobs, given.paced_jobs, given.timeout)
    for _ in range(given.rounds):
        print(f"before the round: {conditions(scratch)}", flush=True)
        for workload in given.workloads:
            for case in cases(given.systems, workload):
                comparison.measure(workload, case)
    print(f"after the last: {conditions(scratch)}")
    waits = {"rate": 0, "waits.p50_ms": 1, "waits.p99_ms": 1, "cpu_ms": 2}
    for workload in given.workloads:
        if workload == "crash":
            names = ("accepted", "lost", "again", "marked", "in_flight", "recovered_s")
            head = ("accepted", "lost", "begun again", "and told so", "running at a kill", "recovered after s")
            comparison.table(workload, head, {name: 1 if name == "recovered_s" else 0 for name in names})
        else:
            comparison.table(workload, ("jobs/s", "p50 ms", "p99 ms", "CPU ms each"), waits)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", help=f"by default all: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="few jobs, one round")
    parser.add_argument("--workloads", nargs="+", default=("burst", "paced", "timers", "crash"))
    parser.add_argument("--jobs", type=int, help="of the burst and of the timers")
    parser.add_argument("--rounds", type=int)
    parser.add_argument(
        "--timeout", type=float, help="how long jobs are waited for, in seconds: those that are lost as well"
    )
    parser.add_argument("--venv", type=Path, help="a virtual environment to make, or to use again")
    parser.add_argument("--folder", type=Path, default=Path(), help="on the disk in question")
    given = parser.parse_args()
    given.systems = given.systems or NAMES
    given.jobs = given.jobs or (200 if given.quick else 2_000)
    given.paced_jobs = 40 if given.quick else 200
    given.timeout = given.timeout or (20.0 if given.quick else 150.0)
    given.rounds = given.rounds or (1 if given.quick else 3)
    return given


if __name__ == "__main__":
    options = parsed()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch_folder:
        main(options, Path(scratch_folder))
