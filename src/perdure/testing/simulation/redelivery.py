"""A run and its repeats: what the engine makes of a run that crashes or fails, as far as the program can see it."""

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
        runs: the first one and those after it, in order.
    """

    runs: tuple[Simulated[A, E, S], ...]

    @property
    def last(self) -> Simulated[A, E, S]:
        """The run that nothing followed."""
        return self.runs[-1]

    @property
    def committed(self) -> Changes[S] | None:
        """What is stored in the end: nothing but the draft of a run that succeeded."""
        return self.last.committed

    def reached(self, name: str) -> tuple[EffectStep, ...]:
        """The calls of an effect that reached its service, over all runs, in order.

        Args:
            name: of the `effect` function.
        """
        return tuple(step for run in self.runs for step in run.calls(name) if step.reached)

    def __repr__(self) -> str:
        told = (f"run {number}:\n{run!r}" for number, run in enumerate(self.runs, start=1))
        return "\n".join(told)


def run_with_redelivery(
    run: Callable[[HookContext[C, S], Faults], Simulated[A, E, S]],
    on: HookContext[C, S],
    /,
    *,
    faults: Faults = NO_FAULTS,
    at_most: int = 3,
) -> RedeliveryResult[A, E, S]:
    """Run a hook under a plan of faults, and again without faults until it ends well, as an engine would.

    Each repeat sees that it is one: ``ctx.delivery`` counts up after a crash, ``ctx.attempt`` after any other failure.
    The services are the same in all runs, if `run` keeps them: what they did is not undone.

    Args:
        run: simulates the hook on a stage, under a plan of faults.
        on: the stage of the first run.
        faults: what goes wrong in the first run.
        at_most: runs at most; a program that fails without any fault does so again and again.
    """
    runs = [run(on, faults)]
    while isinstance(runs[-1].exit, Failure | Raised | ProcessDied | Hung) and len(runs) < at_most:
        on = on.again(runs[-1])
        runs.append(run(on, NO_FAULTS))
    return RedeliveryResult(tuple(runs))


def assert_atomic(clean: Simulated[Any, Any, S], seen: Simulated[Any, Any, S], /) -> None:
    """Check that a run left what the clean one leaves, or nothing at all.

    Args:
        clean: the run without faults.
        seen: a run with some.

    Raises:
        AssertionError: it left something else; the message shows where the runs part.
    """
    if seen.committed is not None and seen.committed != clean.committed:
        raise AssertionError("\n".join(["committed part of the draft", *difference(clean, seen)]))
