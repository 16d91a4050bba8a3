"""The simulated runs that a failed test used, found in the frames of the failure."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

from perdure.testing.simulation.simulated import Simulated

MOST: Final = 3
"""The maximum number of runs reported for one failure; the last ones."""

_OTHERS: Final = ("perdure.", "_pytest.", "pytest_", "hypothesis.")


def run_traces(error: BaseException) -> list[str]:
    """Return the trace of each run that the frames of a test held when it failed.

    Args:
        error: the exception of the test.
    """
    found: dict[str, str] = {}
    for name, run in _runs(error.__traceback__):
        trace = repr(run)
        found[trace] = f"{name} = simulate(...):\n{trace}" if name.isidentifier() else trace
    return list(found.values())[-MOST:]


def _runs(traceback: TracebackType | None) -> Iterator[tuple[str, Simulated[Any, Any, Any]]]:
    while traceback is not None:
        frame = traceback.tb_frame
        if not str(frame.f_globals.get("__name__", "")).startswith(_OTHERS):
            for name, value in tuple(frame.f_locals.items()):
                if isinstance(value, Simulated):
                    run: Simulated[Any, Any, Any] = value  # pyright: ignore[reportUnknownVariableType] # of any types
                    yield name, run
        traceback = traceback.tb_next
