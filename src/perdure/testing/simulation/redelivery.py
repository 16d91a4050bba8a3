"""A run and its repeats, as the engine repeats a run that crashes or fails, from the program's view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs
from returns.result import Failure

from perdure.programs import Raised
from perdure.testing.fault import NO_FAULTS, Faults
from perdure.testing.simulation.hook_context import HookContext
from perdure.testing.simulation.simulated import Changes, Hung, ProcessDied, Simulated
from perdure.testing.simulation.step import EffectStep
from perdure.testing.simulation.trace_text import difference

A = TypeVar("A")
E = TypeVar("E")
S = TypeVar("S")
C = TypeVar("C", bound=Any)  # of a kind's own context


@attrs.frozen
class RedeliveryResult(Generic[A, E, S]):
    """A run with its repeats.

    Attributes:
        runs: all runs, in order.
    """

    runs: tuple[Simulated[A, E, S], ...]

    @property
    def last(self) -> Simulated[A, E, S]:
        """The last run."""
        return self.runs[-1]

    @property
    def committed(self) -> Changes[S] | None:
        """The stored changes, which are the draft of the run that succeeded, or None."""
        return self.last.committed

    def reached(self, name: str) -> tuple[EffectStep, ...]:
        """Return the calls of an effect that reached its service, over all runs, in order.

        Args:
            name: the name of the `effect` function.
        """
        return tuple(step for run in self.runs for step in run.calls(name) if step.reached)

    def __repr__(self) -> str:
        runs = (f"run {number}:\n{run!r}" for number, run in enumerate(self.runs, start=1))
        return "\n".join(runs)


def run_with_redelivery(
    run: Callable[[HookContext[C, S], Faults], Simulated[A, E, S]],
    on: HookContext[C, S],
    /,
    *,
    faults: Faults = NO_FAULTS,
    at_most: int = 3,
) -> RedeliveryResult[A, E, S]:
    """Run a hook with a plan of faults, and repeat it without faults until it succeeds, as an engine would.

    Each repeat can detect that it is one: ``ctx.delivery`` counts up after a crash, ``ctx.attempt`` after any other
    failure. If `run` keeps the services, they are the same in all runs: their effects are not undone.

    Args:
        run: simulates the hook with a context and a plan of faults.
        on: the context of the first run.
        faults: the plan of the first run.
        at_most: the maximum number of runs, for a program that fails without a fault.
    """
    runs = [run(on, faults)]
    while isinstance(runs[-1].exit, Failure | Raised | ProcessDied | Hung) and len(runs) < at_most:
        on = on.again(runs[-1])
        runs.append(run(on, NO_FAULTS))
    return RedeliveryResult(tuple(runs))


def assert_atomic(clean: Simulated[Any, Any, S], seen: Simulated[Any, Any, S], /) -> None:
    """Check that a run stored the same changes as the clean run, or none.

    Args:
        clean: the run without faults.
        seen: a run with faults.

    Raises:
        AssertionError: it stored other changes; the message shows the first difference.
    """
    if seen.committed is not None and seen.committed != clean.committed:
        raise AssertionError("\n".join(["committed part of the draft", *difference(clean, seen)]))
