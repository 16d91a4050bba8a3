"""A plugin of pytest: which tests run which lines of the library, and how long they take.

It measures with `coverage`, also in the workers of pytest-xdist. Each process writes two files into the folder of the
environment variable `PERDURE_COVERING`: the data of `coverage`, with the test as its context, and a line of JSON for
each test, with its seconds, or null unless it passed, and the digest of its file. A run that is stopped leaves a map of
the tests before.

A run over all tests would take hours with `coverage`, so each file of tests has `FILE_S` seconds: its tests after them
are not run. After the minutes of `PERDURE_COVERING_MINUTES` the run stops.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Generator
from functools import cache
from hashlib import sha256
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ["PERDURE_COVERING"])
FILE_S = 10.0

_ends_at = time.monotonic() + 60 * float(os.environ["PERDURE_COVERING_MINUTES"])
_coverage = coverage.Coverage(
    data_file=str(FOLDER / "lines"), data_suffix=str(os.getpid()), source=[str(ROOT / "src" / "perdure")]
)
_coverage.start()
_seconds: list[float | None] = []
_of_file: Counter[str] = Counter()


@cache
def digest_of(file: str) -> str:
    """Return a digest of a file of tests."""
    return sha256((ROOT / file).read_bytes()).hexdigest()[:12]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mix the files: a run that is stopped has then measured some of each folder."""
    items.sort(key=lambda item: sha256(item.nodeid.partition("::")[0].encode()).digest())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _coverage.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        _coverage.switch_context("")
        if time.monotonic() > _ends_at:
            item.session.shouldstop = "the minutes of the map are over"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if _of_file[item.nodeid.partition("::")[0]] > FILE_S:
        pytest.skip("its file has taken its seconds")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds.append(report.duration if report.passed else None)
    _of_file[report.nodeid.partition("::")[0]] += report.duration


def pytest_runtest_logfinish(nodeid: str) -> None:
    parts = [part for part in _seconds if part is not None]
    passed = len(parts) == len(_seconds)
    _seconds.clear()
    record = [nodeid, sum(parts) if passed else None, digest_of(nodeid.partition("::")[0])]
    with (FOLDER / f"seconds.{os.getpid()}").open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps(record)}\n")


def pytest_unconfigure() -> None:
    _coverage.stop()
    _coverage.save()
