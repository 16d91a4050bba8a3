"""Every kind of exception that is not an ``Exception``, in every hook: one process for each cell, on a real file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from exception_cells import JOBS, KINDS, RUNS

CELLS = Path(__file__).with_name("exception_cells.py")
ERROR_TYPES = {
    "panic": "Panic",
    "group": "BaseExceptionGroup",
    "generator_exit": "GeneratorExit",
    "system_exit": "SystemExit",
    "keyboard_interrupt": "KeyboardInterrupt",
    "cancelled": "CancelledError",
}
STOPS = {
    "system_exit": "a job raised SystemExit(3), which ends the process",
    "keyboard_interrupt": "a job raised KeyboardInterrupt(), which ends the process",
}
POLICIES = {"retry_if", "continuous retry_if"}
"""Hooks that are called when the run is over already."""

NOT_AWAITED = {"alarm", "message", "continuous alarm"}
"""Hooks whose exception no caller waits for."""


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, Any]]:
    """Run the whole table."""
    command = [sys.executable, str(CELLS), str(tmp_path_factory.mktemp("cells"))]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own script
    assert ended.returncode == 0, ended.stderr
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    return {(row["kind"], row["hook"]): row for row in rows}


def expected(kind: str, hook: str) -> dict[str, Any]:
    """The outcome of one cell by the rule of the guarantees page."""
    given_back = kind == "keyboard_interrupt" and hook not in POLICIES
    return {
        "kind": kind,
        "hook": hook,
        "ended": [0, 0],
        **answered(kind, hook, given_back=given_back),
        "stopped": None if hook == "upgrade" and kind == "system_exit" else STOPS.get(kind),
        **left(kind, hook, given_back=given_back),
    }


def answered(kind: str, hook: str, *, given_back: bool) -> dict[str, str]:
    """Return the answer of the caller: an error, or the outcome of a run."""
    if hook in NOT_AWAITED:
        return {"answer": "NoneType", "outcome": "NoneType"}
    if given_back:
        return {"answer": "EngineClosed", "outcome": "NoneType"}
    if hook in RUNS or hook.startswith("continuous") or hook == "debounce flush":
        return {"answer": "NoneType", "outcome": "Failed"}
    return {"answer": "Undecodable" if hook == "upgrade" else "HookRaised", "outcome": "NoneType"}


def left(kind: str, hook: str, *, given_back: bool) -> dict[str, Any]:
    """Return the state and the actions of the next start: nothing runs for ever, and no schedule is silent."""
    task_of_run = hook in RUNS or hook == "alarm"
    failed = ["str"] if hook.startswith("on_error") else []
    failed = [] if given_back else [*failed, ERROR_TYPES[kind]]
    if hook == "initial" and kind == "system_exit":
        failed = []  # the engine answers, and stops before anything is written
    if hook.startswith("continuous"):
        status = "scheduled"
    elif given_back:
        claimed = {"effect", "effect that waits", "finally", "branch"}
        status = "idle" if task_of_run or hook in claimed or hook == "upgrade" else "not_found"
    else:
        status = "parked" if task_of_run or hook == "debounce flush" else "not_found"
        status = "left" if hook == "upgrade" else status
    parked = "retries_exhausted" if status == "parked" else None
    return {
        "status": status,
        "scheduled": hook.startswith("continuous"),
        "failed": failed,
        "parked": parked,
        "messages": int(hook == "message"),
    }


@pytest.mark.parametrize("hook", JOBS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_whatever_is_raised_in_it(
    cells: dict[tuple[str, str], dict[str, Any]], kind: str, hook: str
) -> None:
    """The caller is answered, the run fails or is given back, and the process ends in order."""
    assert cells[kind, hook] == expected(kind, hook)
