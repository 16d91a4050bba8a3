"""Whatever is cancelled, wherever the engine waits, it comes to rest as if it had not been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from cancel_sweep import MAX_STEPS, Cancelled, Operation, cancelled, steps_of
from crash_sweep import undisturbed
from crash_table import OPERATIONS
from hypothesis import settings
from returns.result import Success

from perdure.testing.fault import When

STRIDE = 1 if settings.get_current_profile_name() in {"nightly", "mutants"} else 3
"""Each place is tried by night; each third one in an ordinary run."""
ASKED = [operation for operation in OPERATIONS if operation.request is not None]


def gist(result: Any) -> tuple[object, ...]:
    """The part of an answer about the request, without instants and without the run that a repeat finds in progress."""
    answer = result.unwrap() if isinstance(result, Success) else result.failure()
    said = attrs.asdict(answer) if attrs.has(type(answer)) else {"answer": answer}
    return type(answer), *(item for item in said.items() if isinstance(item[1], bool | str) and item[0] != "status")


def new(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ASKED, ids=lambda operation: operation.name)
def test_a_caller_gives_up_anywhere(operation: Operation, when: When, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    compares = operation.repeated == "once" and "redrive" not in operation.name  # a redrive carries no key
    # A caller that gives up in the step of its request takes that back: then the repeat is the first request.
    tries = [cancelled(operation, "memory", tmp_path, steps, target="caller", when=when) for steps in (0, MAX_STEPS)]
    answers = [gist(one.answer) for one in tries if compares]
    for place in range(1, steps_of(operation, new(tmp_path, "steps"), when), STRIDE):
        rested = cancelled(operation, "memory", tmp_path, place, target="caller", when=when)
        where = f"after {place} steps"
        if compares:
            assert rested.found.looks == expected.looks, where
            assert gist(rested.answer) in answers, where
        assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_engine_is_stopped_anywhere(operation: Operation, when: When, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps"), when), STRIDE):
        rested = cancelled(operation, "memory", tmp_path, place, target="stop", when=when)
        where = f"after {place} steps"
        assert rested.remained == (), where
        assert rested.found.looks == expected.looks, where
        assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_the_stop_is_cancelled_anywhere(operation: Operation, tmp_path: Path) -> None:
    expected = undisturbed(operation, "memory", new(tmp_path, "undisturbed"))
    for place in range(1, steps_of(operation, new(tmp_path, "steps")), 5):
        for then in range(1, 12):
            rested = cancelled(operation, "memory", tmp_path, place, then, target="stop")
            where = f"after {place} steps, and {then} of the stop"
            assert rested.remained == (), where
            assert rested.found.looks == expected.looks, where
            assert (rested.found.stuck, rested.found.unmarked) == ((), ()), where


@pytest.mark.parametrize("target", ["instance", "time"])
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
def test_a_run_is_cancelled_anywhere(operation: Operation, target: Cancelled, tmp_path: Path) -> None:
    for place in range(1, steps_of(operation, new(tmp_path, "steps")), STRIDE):
        rested = cancelled(operation, "memory", tmp_path, place, target=target)
        assert rested.found.stuck == (), f"after {place} steps"
