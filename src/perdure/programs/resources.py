"""Resources that are always released."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from perdure.programs.container import Program
from perdure.programs.do import Do, program

A = TypeVar("A")
B = TypeVar("B")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
R = TypeVar("R")


@attrs.frozen(eq=False)
class Uninterrupted(Generic[A, B]):
    """Maps the value of a program whose outcome must be known: a workflow does not stop its steps half-way.

    Use it as ``done.map(Uninterrupted(...))``.

    Attributes:
        use: the function of the value.
        if_unknown: called when a step was stopped, or failed for good, after it had begun. With it the steps may be
            stopped.
    """

    use: Callable[[A], B]
    if_unknown: Callable[[], None] | None = None

    def __call__(self, value: A) -> B:
        """Apply the function to the value of the program."""
        return self.use(value)


def _same(value: A) -> A:
    return value


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
    held: Uninterrupted[Any, Any] = Uninterrupted(_same)
    resource = yield from acquire.map(held)
    try:
        return (yield from use(resource))
    finally:
        yield from release(resource)
