"""All objects of a request are freed at once: none is in a cycle that waits for the garbage collector.

A collector that finds much runs long, and all callers wait for it meanwhile. A program that breaks is an exception to
the rule: its traceback holds the frames that hold it.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from classes import CLASSES

from costs import Class, cost_of


@contextmanager
def collecting(found: Counter[str]) -> Iterator[None]:
    """Disable the collector, and count in the end the objects that only it would free."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _converters(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let `cattrs` generate its converter of claims, once in a process, before anything is counted."""
    fires = next(each for each in CLASSES if each.name == "an alarm that fires")
    cost_of(fires, tmp_path_factory.mktemp("converters"))


@pytest.mark.parametrize("request_class", CLASSES, ids=lambda request_class: request_class.name)
def test_a_request_leaves_nothing_for_the_garbage_collector(request_class: Class, tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    cost_of(request_class, tmp_path, collecting(found))
    assert not found
