"""What the pytest plugin adds to a failed test's report: a comparison in lines, and the test's simulated runs.

The plugin loads this module only when a test has failed.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# Values of every type pass here as Any, and narrowing one by its class leaves its type arguments unknown.

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final

import attrs
from returns.io import IOFailure, IOSuccess
from returns.result import Failure, Success

from perdure.programs.container import result_inside
from perdure.testing.simulated_run import Simulated
from perdure.testing.simulated_run import difference as runs_part

_CONTAINERS = (Success, Failure)


def difference(left: object, right: object) -> list[str] | None:
    """Return the difference between two library values.

    Args:
        left: a result, a ``returns`` container, an instance, a transition.
        right: the other value.

    Returns:
        One line for the values, then one for each field that differs, by its path. None when there is nothing to add to
        pytest's own report.
    """
    if isinstance(left, Simulated) and isinstance(right, Simulated):
        return runs_part(left, right)
    lines = list(_parts(_opened(left), _opened(right), ""))
    if lines in ([], [f"  {left!r} != {right!r}"]):
        return None
    return [f"{type(left).__name__} == {type(right).__name__}", *lines]


def _opened(value: Any) -> Any:  # an IOResult holds a Result
    return result_inside(value) if isinstance(value, IOSuccess | IOFailure) else value


def _parts(left: Any, right: Any, path: str) -> Iterator[str]:  # values of any type
    """Compare both recursively, and yield a line for each difference."""
    if left == right:
        return
    if type(left) is type(right) and attrs.has(type(left)):
        for field in attrs.fields(type(left)):
            yield from _parts(getattr(left, field.name), getattr(right, field.name), f"{path}.{field.name}")
    elif isinstance(left, _CONTAINERS) and type(left) is type(right):
        yield from _parts(_inside(left), _inside(right), f"{path}.{type(left).__name__.lower()}")
    elif isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        for at, (one, other) in enumerate(zip(left, right, strict=True)):
            yield from _parts(one, other, f"{path}[{at}]")
    else:
        yield f"  {path + ': ' if path else ''}{left!r} != {right!r}"


def _inside(container: Any) -> object:  # a Success or a Failure, of anything
    inside: object = container.unwrap() if isinstance(container, Success) else container.failure()
    return inside


MAX_SHOWN_RUNS: Final = 3
"""The maximum number of runs reported for one failure; the last ones."""

_OTHERS: Final = ("perdure.", "_pytest.", "pytest_", "hypothesis.")


def run_traces(error: BaseException) -> list[str]:
    """Return the trace for each run that a test's frames held when it failed."""
    found: dict[str, str] = {}
    for name, run in _runs(error.__traceback__):
        trace = repr(run)
        found[trace] = f"{name} = simulate(...):\n{trace}" if name.isidentifier() else trace
    return list(found.values())[-MAX_SHOWN_RUNS:]


def _runs(traceback: TracebackType | None) -> Iterator[tuple[str, Simulated[Any, Any, Any]]]:
    while traceback is not None:
        frame = traceback.tb_frame
        if not str(frame.f_globals.get("__name__", "")).startswith(_OTHERS):
            for name, value in tuple(frame.f_locals.items()):
                if isinstance(value, Simulated):
                    run: Simulated[Any, Any, Any] = value  # pyright: ignore[reportUnknownVariableType] # of any types
                    yield name, run
        traceback = traceback.tb_next
