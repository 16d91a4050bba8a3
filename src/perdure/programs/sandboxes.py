"""Programs that run inside another one, to their exit."""

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
    """Run `program` to its exit and return that as a value: failures, halts and defects included.

    Cancellation, `KeyboardInterrupt` and the like are not exits: they propagate.

    Args:
        program: the program.
        intercept: answers its instructions, before any outer interpreter receives them; see `Interceptor`. A function
            is also called in concurrent branches.
    """
    return node(SANDBOX, program, as_interceptor(intercept))
