"""Look for bugs that no test finds: generic mutants of each package, and the tests that run the changed lines.

A night's run, at the top of the repository, and the table of its results in the documentation::

    uv run --group mutation python property_tests/mutants/search.py --mutants 40 --minutes 300 --publish

1. Run all tests once, and note which lines of the library each of them runs (`covering.py`). The folder of the results
   keeps this map; it is made again for other sources or tests, or with ``--fresh``.
2. Draw mutants of each package (`generic.py`), by a seed: the same ones at each run over the same files.
3. Run up to a minute of tests that reach the changed line against each mutant, and write its fate into
   ``results.jsonl``. A run that was stopped continues there.

It ends with the survivors: each is a missing test or an equivalent change. Write down the latter in `equivalent.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path
from typing import Any

import attrs
from equivalent import EQUIVALENT
from generic import Change, changes_of
from mutant import ROOT, SOURCE, verdict_of

PACKAGES = (
    "engine",
    "kinds/workflow",
    "kinds/worker_pool",
    "kinds",
    "jobs",
    "stores/sqlite",
    "stores/postgres",
    "stores",
    "wire",
    "client",
    "remote",
    "server",
    "values",
    "codecs",
    "programs",
    "runtime",
    "telemetry",
    "integrations",
    "dashboard",
    "cli",
    "testing",
)
"""Each file belongs to the first of these whose path it has."""

TESTS = ("tests", "property_tests")
NOT_MAPPED = ("property_tests/mutants", "tests/project", "tests/typing", "tests/test_typing.py")
"""They say nothing about behaviour, or run the tests themselves."""

BUDGET_S = 30.0
MAX_TESTS = 60
SLOWEST_S = 15.0
PAGE = ROOT / "docs" / "contributing" / "surviving-mutants.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"


# ---------------------------------------------------------------- which tests reach a line
@attrs.define
class Reached:
    """The lines that each test runs.

    Attributes:
        lines: the data of `coverage`, with the tests as contexts.
        seconds: the time of each test that passed.
    """

    lines: Any
    seconds: dict[str, float]
    _of_file: dict[str, dict[int, list[str]]] = attrs.Factory(dict)

    def tests_of(self, change: Change) -> list[str]:
        """Return the tests to run against a mutant: cheap ones first, of as many files as possible."""
        by_line = self._lines_of(change.file)
        lines = range(change.first, change.last + 1)
        tests = {test for line in lines for test in by_line.get(line, ()) if test}
        if not tests and any(line in by_line for line in lines):  # it runs when the module is imported
            tests = {test for found in by_line.values() for test in found if test}
        usable = {test for test in tests if self.seconds.get(test, SLOWEST_S) < SLOWEST_S}
        return list(self._within_budget(_of_many_files(sorted(usable, key=self._cost), change)))

    def _lines_of(self, file: str) -> dict[int, list[str]]:
        if file not in self._of_file:
            self._of_file[file] = self.lines.contexts_by_lineno(str(SOURCE / file))
        return self._of_file[file]

    def _cost(self, test: str) -> tuple[float, str]:
        return self.seconds[test], test

    def _within_budget(self, tests: Sequence[str]) -> Iterator[str]:
        left = BUDGET_S
        for test in tests[:MAX_TESTS]:
            left -= self.seconds[test]
            if left >= 0:
                yield test


def _of_many_files(tests: Sequence[str], change: Change) -> list[str]:
    """Take turns between the files of the tests; those whose name resembles the file of the mutant come first."""
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    words = set(Path(change.file).with_suffix("").as_posix().replace("/", "_").split("_"))
    ordered = sorted(files, key=lambda file: (-len(words & set(file.replace("/", "_").split("_"))), file))
    rounds = zip_longest(*(files[file] for file in ordered))
    return [test for each in rounds for test in each if test is not None]


def reached(folder: Path, tests: Sequence[str], *, fresh: bool) -> Reached:
    """Return the map of the folder; make it if there is none."""
    import coverage  # noqa: PLC0415 - of the group `mutation`: the tests import this module without it

    whole, made_of = folder / "lines", folder / "made_of"
    if fresh or not made_of.exists() or made_of.read_text(encoding="utf-8") != _digest():
        for old in [*folder.glob("lines*"), *folder.glob("seconds*")]:
            old.unlink()
        command = [sys.executable, "-m", "pytest", "-q", "-pcovering", "-pno:randomly", "-pno:cacheprovider"]
        command += [*(f"--ignore={each}" for each in NOT_MAPPED), "--hypothesis-profile=mutants", "-Wdefault", *tests]
        environment = os.environ | {"PERDURE_COVERING": str(folder)}
        subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603 - our own tests
        combined = coverage.Coverage(data_file=str(whole))
        combined.combine([str(folder)])
        combined.save()
        made_of.write_text(_digest(), encoding="utf-8")
    lines = coverage.CoverageData(str(whole))
    lines.read()
    noted = [
        json.loads(line) for file in folder.glob("seconds.*") for line in file.read_text(encoding="utf-8").splitlines()
    ]
    return Reached(lines, {test: seconds for test, seconds in noted if seconds is not None})


def _digest() -> str:
    """Return a digest of the sources and the tests."""
    files = [path for folder in ("src", *TESTS) for path in (ROOT / folder).rglob("*.py")]
    return sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


# ---------------------------------------------------------------- the mutants of a package
def package_of(file: str) -> str | None:
    """Return the package of a file below ``src/perdure``; None for the files beside the packages."""
    return next((package for package in PACKAGES if file.startswith(f"{package}/")), None)


def drawn(package: str, seed: int) -> Iterator[Change]:
    """Yield the mutants of a package in the order of a seed."""
    files = [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")]
    changes = [
        change
        for file in files
        if package_of(file) == package
        for change in changes_of(file, (SOURCE / file).read_text(encoding="utf-8"))
    ]
    changes.sort(key=lambda one: sha256(f"{seed}:{one.key}".encode()).digest())
    yield from (change for change in changes if change.is_code)


# ---------------------------------------------------------------- their fates
def fate_of(change: Change, tests: Sequence[str], predicted_s: float) -> tuple[str, str]:
    """Return a mutant's fate, ``killed`` or ``survived``, and the reason."""
    if not tests:
        return "survived", "no test reaches it"
    patience_s = 60 + 4 * predicted_s
    found = verdict_of(tests, change, patience_s)
    if found.fate == "broken":  # it hangs, or does not even import
        plain = verdict_of(tests, None, patience_s)
        return ("killed", found.output[-100:]) if plain.fate == "survived" else ("unknown", plain.output[-1_000:])
    failed = [line for line in found.output.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return found.fate, failed[0] if failed else f"{len(tests)} tests"


def results(folder: Path) -> list[dict[str, Any]]:
    """Return the fates that are known for the sources and tests of today."""
    file, of = folder / "results.jsonl", _digest()
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [record for record in map(json.loads, lines) if record["of"] == of]


def judge(folder: Path, given: argparse.Namespace, deadline: float) -> None:
    """Judge the mutants of each package, up to the deadline: one of each package after the other."""
    found = reached(folder, given.tests, fresh=given.fresh)
    known, of = {each["key"] for each in results(folder)}, _digest()
    queues = [[(package, change) for change, _ in zip(drawn(package, given.seed), range(given.mutants), strict=False)]
              for package in given.packages]  # fmt: skip
    for package, change in (entry for each in zip_longest(*queues) for entry in each if entry is not None):
        if change.key in known:
            continue
        if time.monotonic() > deadline:
            return
        tests = found.tests_of(change)
        fate, reason = fate_of(change, tests, sum(found.seconds[test] for test in tests))
        record = {"package": package, "key": change.key, "fate": fate, "file": change.file, "line": change.first,
                  "shown": change.shown, "tests": len(tests), "reason": reason, "of": of}  # fmt: skip
        with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
        print(f"{fate:9} {change.file}:{change.first} {change.shown} ({reason})", flush=True)


# ---------------------------------------------------------------- the table
def table(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of the documentation."""
    lines = [
        "| package | tried | killed | survived | of them equivalent | killed of the others |",
        "|---|---|---|---|---|---|",
    ]
    for package in [*PACKAGES, None]:
        fates = [each for each in found if package in {None, each["package"]} and each["fate"] != "unknown"]
        if not fates:
            continue
        killed = sum(each["fate"] == "killed" for each in fates)
        equal = sum(each["fate"] == "survived" and (each["file"], each["shown"]) in EQUIVALENT for each in fates)
        rate = f"{100 * killed / (len(fates) - equal):.0f} %" if len(fates) > equal else "-"
        name = "all" if package is None else f"`{package}`"
        lines.append(f"| {name} | {len(fates)} | {killed} | {len(fates) - killed} | {equal} | {rate} |")
    return "\n".join(lines) + "\n"


def publish(text: str) -> None:
    """Write the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", nargs="+", default=list(PACKAGES), choices=PACKAGES, help="all by default")
    parser.add_argument("--mutants", type=int, default=20, help="of each package (20)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other mutants (0)")
    parser.add_argument("--minutes", type=float, default=60, help="time limit; later mutants are not tried (60)")
    parser.add_argument("--folder", type=Path, default=ROOT / ".mutants", help="where the results stay (.mutants)")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="the tests that the map is made of (all)")
    parser.add_argument("--fresh", action="store_true", help="make the map again")
    parser.add_argument("--publish", action="store_true", help="write the table into the documentation")
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    given.folder.mkdir(parents=True, exist_ok=True)
    judge(given.folder.resolve(), given, deadline)
    found = results(given.folder)
    for each in found:
        if each["fate"] == "survived" and (each["file"], each["shown"]) not in EQUIVALENT:
            print(f"\nsurvived: src/perdure/{each['file']}:{each['line']} {each['shown']} ({each['reason']})")
    print(f"\n{table(found)}")
    if given.publish:
        publish(table(found))


if __name__ == "__main__":
    main()
