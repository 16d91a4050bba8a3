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
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import cache, partial
from hashlib import sha256
from itertools import zip_longest
from math import log
from pathlib import Path
from typing import Any

import attrs
from equivalent import EQUIVALENT
from forks import USED_UP
from generic import Change, changes_of
from mutant import ROOT, SOURCE, Verdict, verdict_of

sys.path.append(str(ROOT / "tests" / "plugins"))
from shares import EXPENSIVE

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
NOT_MAPPED = (
    *("property_tests/mutants/", "tests/project/", "tests/typing/"),  # nothing about behaviour, or the tests themselves
    # Kills, sweeps, browsers and programs: minutes for each, most in other processes, whose lines are not seen.
    *(each for each in EXPENSIVE if not each.startswith(("tests/stores/", "property_tests/st", "property_tests/sh"))),
)
"""The beginnings of the files of tests that no mutant meets."""

BUDGET_S = 30.0
PATIENCE_S = 200
NEAR_FILES = 9
FIRST_FILES = 3
NEAR_S = 7.0  # of the processor, for the first files and again for the others
MAX_TESTS = 60
FIRST_TESTS = 10  # most mutants are killed by one of the first: the other files need not be imported
SLOWEST_S = 15.0
FEWEST = 10  # of fewer mutants there is no rate
PAGE = ROOT / "docs" / "contributing" / "surviving-mutants.md"
BEGIN, END = "<!-- results -->\n", "<!-- end of results -->"


# ---------------------------------------------------------------- which tests reach a line
@attrs.frozen
class Reached:
    """The lines that each test runs: a map of the tests.

    Attributes:
        lines: the file with the data of `coverage`, with the tests as contexts.
        seconds: the time of each test that passed.
    """

    lines: Path
    seconds: dict[str, float]

    def tests_of(self, change: Change) -> list[str]:
        """Return the tests that reach a mutant, of as many files as possible, and cheap ones first."""
        from coverage.numbits import num_in_numbits  # noqa: PLC0415 - of the group `mutation`, as below

        by_test = self._lines_of(change.file)
        lines = range(change.first, change.last + 1)
        tests = {test for test, bits in by_test if any(num_in_numbits(line, bits) for line in lines)}
        if tests and change.runs_on_import:  # which test imports it first is chance
            tests = {test for test, _ in by_test}
        usable = {test for test in tests if self.seconds.get(test, SLOWEST_S) < SLOWEST_S}
        return _of_many_files(sorted(usable, key=self._cost), change)

    def _lines_of(self, file: str) -> list[tuple[str, bytes]]:
        """Return each test that runs lines of a file, with their bits."""
        query = (
            "SELECT context, numbits FROM line_bits JOIN context ON context.id = context_id "
            "JOIN file ON file.id = file_id WHERE path = ?"
        )
        with closing(sqlite3.connect(self.lines)) as base:
            return base.execute(query, (str(SOURCE / file),)).fetchall()

    def _cost(self, test: str) -> tuple[float, str]:
        return self.seconds[test], test

    def fitting(self, tests: Sequence[str]) -> list[str]:
        """Return those that fit into the time of a mutant."""
        left, fitting = BUDGET_S, list[str]()
        for test in tests[:MAX_TESTS]:
            left -= self.seconds[test]
            if left >= 0:
                fitting.append(test)
        return fitting

    def fate_of(self, change: Change, tests: Sequence[str]) -> tuple[str, str]:
        """Return a mutant's fate, and the reason: the test that killed it."""
        patience_s = PATIENCE_S + 4 * sum(self.seconds[test] for test in tests)
        for some in filter(None, (tests[:FIRST_TESTS], tests[FIRST_TESTS:])):
            plain = partial(verdict_of, some, None, patience_s)
            fate, reason = _fate_of(verdict_of(some, change, patience_s), some, plain)
            if fate != "survived":
                return fate, reason
        return "survived", f"{len(tests)} tests"


@attrs.frozen(eq=False)
class Near:
    """The files of tests whose path and text have the words of a mutant: no map, but the rate is a lower bound of it.

    Attributes:
        texts: the words of each file.
        left_out: tests that fail here without a mutant, or need more time than a file has.
        passing: tests that killed a mutant, and pass without one.
    """

    texts: dict[str, Counter[str]]
    left_out: set[str] = attrs.Factory(set)
    passing: set[str] = attrs.Factory(set)

    def tests_of(self, change: Change) -> list[str]:
        """Return the files whose words are most like those of a mutant's file and of the function that has it."""
        path = _words(change.file)
        names = set(_words(change.near))
        return sorted(self.texts, key=lambda file: (-self._likeness(file, path, names), file))

    def _likeness(self, file: str, path: Counter[str], names: set[str]) -> float:
        words = self.texts[file]
        of_path = sum(1 / self._files_with(word) for word in _words(file) & path)
        return 20 * of_path + sum(log(1 + words[name]) / self._files_with(name) for name in names if words[name])

    @cache  # noqa: B019 - it lives as long as the program
    def _files_with(self, word: str) -> int:
        return 1 + sum(word in words for words in self.texts.values())

    def fitting(self, tests: Sequence[str]) -> list[str]:
        """Return the first files."""
        return list(tests[:NEAR_FILES])

    def fate_of(self, change: Change, tests: Sequence[str]) -> tuple[str, str]:
        """Return a mutant's fate, and the reason: the test that killed it."""
        for some in filter(None, (tests[:FIRST_FILES], tests[FIRST_FILES:])):
            fate, reason = self._fate_of(change, some)
            if fate != "survived":
                return fate, reason
        return "survived", f"tests of {len(tests)} files"

    def _fate_of(self, change: Change, tests: Sequence[str]) -> tuple[str, str]:
        while True:
            found = verdict_of(tests, change, PATIENCE_S, cpu_s=NEAR_S, without=self.left_out)
            used_up = _used_up_by(found)
            test = used_up or _failed_in(found)
            if test is None:
                plain = partial(verdict_of, tests, None, PATIENCE_S, cpu_s=NEAR_S, without=self.left_out)
                return _fate_of(found, tests, plain)
            # A test that used up the time may be a slow one, or the last of many: alone it has more.
            fails = used_up is None or verdict_of([test], change, PATIENCE_S, cpu_s=4 * NEAR_S).fate != "survived"
            if fails and self._passes(test):
                return "killed", test
            self.left_out.add(test)

    def _passes(self, test: str) -> bool:
        """Whether a test passes without a mutant, here and today."""
        if test not in self.passing and verdict_of([test], None, PATIENCE_S, cpu_s=NEAR_S).fate == "survived":
            self.passing.add(test)
        return test in self.passing


def _used_up_by(found: Verdict) -> str | None:
    """Return the test that used up the time."""
    return next((line.removeprefix(USED_UP) for line in found.output.splitlines() if line.startswith(USED_UP)), None)


def near(tests: Sequence[str]) -> Near:
    """Read the files of tests."""
    return Near({file: _words((ROOT / file).read_text(encoding="utf-8")) for file in _files_of(tests)})


def _words(text: str) -> Counter[str]:
    return Counter(word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", text) if len(word) > 2)


def _of_many_files(tests: Sequence[str], change: Change) -> list[str]:
    """Take turns between the files of the tests; those whose name resembles the file of the mutant come first."""
    files: dict[str, list[str]] = {}
    for test in tests:
        files.setdefault(test.partition("::")[0], []).append(test)
    words = set(Path(change.file).with_suffix("").as_posix().replace("/", "_").split("_"))
    ordered = sorted(files, key=lambda file: (-len(words & set(file.replace("/", "_").split("_"))), file))
    rounds = zip_longest(*(files[file] for file in ordered))
    return [test for each in rounds for test in each if test is not None]


def reached(folder: Path, given: argparse.Namespace) -> Reached:
    """Return the map of the folder; measure the files of tests that it lacks."""
    whole, made_of = folder / "lines", folder / "made_of"
    if given.fresh or not made_of.exists() or made_of.read_text(encoding="utf-8") != digest_of(["src"]):
        for old in [*folder.glob("lines*"), *folder.glob("seconds*")]:
            old.unlink()
        made_of.write_text(digest_of(["src"]), encoding="utf-8")
    files = {file: _version_of(file) for file in _files_of(given.tests)}
    measured = {(test.partition("::")[0], digest) for test, _, digest in _noted(folder)}
    if missing := [file for file in files.items() if file not in measured]:
        _measure(folder, dict(missing), given.map_minutes)
    seconds = {
        test: seconds
        for test, seconds, digest in _noted(folder)
        if seconds is not None and files.get(test.partition("::")[0]) == digest
    }
    return Reached(whole, seconds)


@cache
def _version_of(file: str) -> str:
    return sha256((ROOT / file).read_bytes()).hexdigest()[:12]


def _as_of_today(test: str) -> str:
    """Return a test, or a file of tests, with the version of its file: a changed test is another one."""
    return f"{test}@{_version_of(test.partition('::')[0])}"


def _files_of(tests: Sequence[str]) -> list[str]:
    """Return the files of tests below these folders."""
    found = [
        path for each in tests for path in ([ROOT / each] if each.endswith(".py") else (ROOT / each).rglob("test_*.py"))
    ]
    files = sorted(path.relative_to(ROOT).as_posix() for path in found)
    return [file for file in files if not file.startswith(NOT_MAPPED)]


def _measure(folder: Path, files: dict[str, str], minutes: float) -> None:
    """Run files of tests with `coverage`, and add their lines to the map."""
    import coverage  # noqa: PLC0415 - of the group `mutation`: the tests import this module without it

    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-pcovering",
        "-pno:randomly",
        "-pno:cacheprovider",
        "-ohang_timeout=20",
    ]
    command += ["--hypothesis-profile=few", "-Wdefault", "--tb=no", "-rN", *files]
    environment = os.environ | {"PERDURE_COVERING": str(folder), "PERDURE_COVERING_MINUTES": str(minutes)}
    run = subprocess.run(command, cwd=ROOT, env=environment, check=False)  # noqa: S603 - our own tests
    combined = coverage.Coverage(data_file=str(folder / "lines"))
    combined.load()
    combined.combine([str(folder)])
    combined.save()
    if run.returncode in {0, 1}:  # to the end: a file without a record has no test that runs here
        with (folder / "seconds").open("a", encoding="utf-8") as noted:
            noted.writelines(f"{json.dumps([file, None, digest])}\n" for file, digest in files.items())


def _noted(folder: Path) -> list[tuple[str, float | None, str]]:
    """Return the measured tests, with the digest of the file of each."""
    return [
        tuple(json.loads(line))
        for file in folder.glob("seconds*")
        for line in file.read_text(encoding="utf-8").splitlines()
    ]


def digest_of(folders: Sequence[str]) -> str:
    """Return a digest of the Python files of folders."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    return sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


# ---------------------------------------------------------------- the mutants of a package
def package_of(file: str) -> str | None:
    """Return the package of a file below ``src/perdure``; None for the files beside the packages."""
    return next((package for package in PACKAGES if file.startswith(f"{package}/")), None)


def drawn(package: str, seed: int) -> Iterator[Change]:
    """Yield the mutants of a package in the order of a seed."""
    changes = sorted(_changes_of(package), key=lambda one: sha256(f"{seed}:{one.key}".encode()).digest())
    yield from (change for change in changes if change.is_code)


@cache
def _changes_of(package: str) -> list[Change]:
    files = [path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py")]
    return [
        change
        for file in files
        if package_of(file) == package
        for change in changes_of(file, (SOURCE / file).read_text(encoding="utf-8"))
    ]


# ---------------------------------------------------------------- their fates
def _failed_in(found: Verdict) -> str | None:
    """Return the test that failed."""
    failed = re.search(r"^(?:FAILED|ERROR) ((?:tests|property_tests)/\S+?::.*?)(?: - .*)?$", found.output, re.MULTILINE)
    return None if failed is None else failed[1]


def _fate_of(found: Verdict, tests: Sequence[str], plain: Callable[[], Verdict]) -> tuple[str, str]:
    if found.fate == "broken":  # it hangs, or does not even import
        of_plain = plain()
        return ("killed", found.output[-100:]) if of_plain.fate == "survived" else ("unknown", of_plain.output[-1_000:])
    if found.fate == "survived":
        return "survived", f"{len(tests)} tests"
    return "killed", _failed_in(found) or found.output[-100:]


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the fates of each mutant of today's sources: the first that was found, and those with later tests."""
    file, of = folder / "results.jsonl", digest_of(["src"])
    found: dict[str, list[dict[str, Any]]] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else []:
        record = json.loads(line)
        if record["of"] == of:
            found.setdefault(record["key"], []).append(record)
    return found


def judge(folder: Path, given: argparse.Namespace) -> None:
    """Judge the mutants of each package, up to the time limit: one of each package after the other.

    A mutant that was killed stays so. One that survived meets the tests that it has not met, once some have changed.
    """
    found = near(given.tests) if given.near else reached(folder, given)
    deadline = time.monotonic() + 60 * given.minutes
    known, of, tested = results(folder), digest_of(["src"]), digest_of(TESTS)
    queues = [[(package, change) for change, _ in zip(drawn(package, given.seed), range(given.mutants), strict=False)]
              for package in given.packages]  # fmt: skip
    for package, change in (entry for each in zip_longest(*queues) for entry in each if entry is not None):
        before = known.get(change.key, [])
        if before and (before[-1]["fate"] == "killed" or before[-1]["tested"] == tested):
            continue
        if time.monotonic() > deadline:
            return
        met = {test for record in before for test in record["met"]}
        tests = found.fitting([test for test in found.tests_of(change) if _as_of_today(test) not in met])
        fate, reason = found.fate_of(change, tests) if tests else ("survived", "no test reaches it")
        record = {"package": package, "key": change.key, "fate": fate, "file": change.file, "line": change.first,
                  "shown": change.shown, "met": [*map(_as_of_today, tests)], "reason": reason, "of": of,
                  "tested": tested}  # fmt: skip
        with (folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps(record, ensure_ascii=False)}\n")
        print(f"{fate:9} {change.file}:{change.first} {change.shown} ({reason})", flush=True)


# ---------------------------------------------------------------- the table
def table(found: Sequence[Sequence[dict[str, Any]]]) -> str:
    """Return the table of the documentation: the fates of each mutant, in the order in which they were found."""
    lines = [
        "| package | mutants | tried | killed at first | killed now | equivalent | rate at first | rate now |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for package in [*PACKAGES, None]:
        fates = [each for each in found if package in {None, each[-1]["package"]} and each[-1]["fate"] != "unknown"]
        if not fates:
            continue
        at_first = sum(each[0]["fate"] == "killed" for each in fates)
        now = sum(each[-1]["fate"] == "killed" for each in fates)
        equal = sum(is_equivalent(each[-1]) for each in fates)
        of = len(fates) - equal
        rates = [f"{100 * number / of:.0f} %" if of >= FEWEST else "-" for number in (at_first, now)]
        name = "all" if package is None else f"`{package}`"
        there = sum(_count_of(each) for each in PACKAGES if package in {None, each})
        lines.append(f"| {name} | {there:,} | {len(fates)} | {at_first} | {now} | {equal} | {rates[0]} | {rates[1]} |")
    return "\n".join(lines) + "\n"


def is_equivalent(record: dict[str, Any]) -> bool:
    """Say whether a survivor was read, and no caller can observe the change."""
    return record["fate"] == "survived" and (record["file"], record["shown"]) in EQUIVALENT


@cache
def _count_of(package: str) -> int:
    return len(_changes_of(package))


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
    parser.add_argument("--near", action="store_true", help="no map: the files of tests with the words of a mutant")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other mutants (0)")
    parser.add_argument(
        "--minutes", type=float, default=60, help="time limit without the map; later mutants are not tried (60)"
    )
    parser.add_argument(
        "--map-minutes", type=float, default=120, help="time limit of the map; the next run continues it (120)"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / ".mutants", help="where the results stay (.mutants)")
    parser.add_argument("--tests", nargs="+", default=list(TESTS), help="the tests that the map is made of (all)")
    parser.add_argument("--fresh", action="store_true", help="make the map again")
    parser.add_argument("--publish", action="store_true", help="write the table into the documentation")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    judge(given.folder.resolve(), given)
    found = list(results(given.folder).values())
    for each in (fates[-1] for fates in found):
        if each["fate"] == "survived" and not is_equivalent(each):
            print(f"\nsurvived: src/perdure/{each['file']}:{each['line']} {each['shown']} ({each['reason']})")
    print(f"\n{table(found)}")
    if given.publish:
        publish(table(found))


if __name__ == "__main__":
    main()
