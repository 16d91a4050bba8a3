"""Resources that are always released."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from perdure.programs.container import Program
from perdure.programs.do import Do, program

A = TypeVar("A")
B = TypeVar("B")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
R = TypeVar("R")


@program
def bracket(
    acquire: Program[A, E1, R],
    use: Callable[[A], Program[B, E2, R]],
    release: Callable[[A], Program[object, E3, R]],
) -> Do[B, E1 | E2 | E3, R]:
    """Acquire a resource, use it, and release it exactly once after any exit of the use.

    This includes success, failure, halt, defect and cancellation. Nothing can interrupt between the end of `acquire`
    and the start of `use`; when `acquire` does not succeed there is nothing to release. A release that does not succeed
    replaces the outcome of the use.
    """
    resource = yield from acquire
    try:
        return (yield from use(resource))
    finally:
        yield from release(resource)
