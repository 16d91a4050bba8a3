"""A plugin of pytest: which tests run which lines of the library, and how long they take.

It measures with `coverage`, also in the workers of pytest-xdist. Each process writes two files into the folder of the
environment variable `PERDURE_COVERING`: the data of `coverage`, with the test as its context, and a line of JSON for
each test, with its seconds, or null unless it passed. A run that is stopped leaves a map of the tests before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import coverage
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = Path(os.environ["PERDURE_COVERING"])

_coverage = coverage.Coverage(
    data_file=str(FOLDER / "lines"), data_suffix=str(os.getpid()), source=[str(ROOT / "src" / "perdure")]
)
_coverage.start()
_seconds: list[float | None] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _coverage.switch_context(item.nodeid)
    try:
        return (yield)
    finally:
        _coverage.switch_context("")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds.append(report.duration if report.passed else None)


def pytest_runtest_logfinish(nodeid: str) -> None:
    parts = [part for part in _seconds if part is not None]
    passed = len(parts) == len(_seconds)
    _seconds.clear()
    with (FOLDER / f"seconds.{os.getpid()}").open("a", encoding="utf-8") as file:
        file.write(f"{json.dumps([nodeid, sum(parts) if passed else None])}\n")


def pytest_unconfigure() -> None:
    _coverage.stop()
    _coverage.save()
