"""Whatever is cancelled, wherever the engine waits, it comes to rest as if it had not been."""

from __future__ import annotations

from pathlib import Path

import pytest
from cancel_sweep import Cancelled, Operation, cancelled, steps_of
from crash_sweep import undisturbed
from crash_table import OPERATIONS
from hypothesis import settings
from returns.result import Success

from perdure.testing.fault import When

NIGHTLY = settings.get_current_profile_name() == "nightly"
ASKED = [operation for operation in OPERATIONS if operation.request is not None]


def new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ASKED, ids=lambda operation: operation.name)
def test_a_caller_gives_up_anywhere(operation: Operation, when: When, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps"), when)):
        rested = cancelled(operation, "memory", tmp_path, place, what="caller", when=when)
        where = f"after {place} steps"
        if operation.repeated == "once":
            assert rested.found.looks == expected.looks, where
            assert isinstance(rested.answer, Success), where
        assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_engine_is_stopped_anywhere(operation: Operation, when: When, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps"), when)):
        rested = cancelled(operation, "memory", tmp_path, place, what="stop", when=when)
        where = f"after {place} steps"
        assert rested.remained == (), where
        assert rested.found.looks == expected.looks, where
        assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_stop_is_cancelled_anywhere(operation: Operation, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps")), 5):
        for then in range(1, 12):
            rested = cancelled(operation, "memory", tmp_path, place, then, what="stop")
            where = f"after {place} steps, and {then} of the stop"
            assert rested.remained == (), where
            assert rested.found.looks == expected.looks, where
            assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("what", ["instance", "time"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_run_is_cancelled_anywhere(operation: Operation, what: Cancelled, tmp_path: Path) -> None:
    for place in range(1, steps_of(operation, new(tmp_path, "steps"))):
        rested = cancelled(operation, "memory", tmp_path, place, what=what)
        assert rested.found.stuck == (), f"after {place} steps"
