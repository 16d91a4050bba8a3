"""Running a program inside another one, to its exit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Never, TypeVar

from perdure.programs.container import Program, node
from perdure.programs.exit import Exit
from perdure.programs.instructions import SANDBOX
from perdure.programs.interception import Interceptor, as_interceptor

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")


def sandbox(
    program: Program[A, E, R], intercept: Interceptor | Callable[[object], object] | None = None
) -> Program[Exit[A, E], Never, R]:
    """Run `program` to its exit, which becomes a value: failures, halts and defects included.

    Cancellation, `KeyboardInterrupt` and their like are nobody's exit: they go on outwards.

    Args:
        program: what to run.
        intercept: answers its instructions, before any interpreter further out is asked; see `Interceptor`. A plain
            function serves as well: it is then asked in concurrent branches too.
    """
    return node(SANDBOX, program, as_interceptor(intercept))
