"""Programs that run others: several concurrently, or one between the acquisition and a resource's release."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Never, TypeVar, overload

import attrs

from perdure.programs.container import Do, Program, node, program
from perdure.programs.errors import NotAProgram
from perdure.programs.instructions import PARALLEL, Gather, Race, Supervision, Supervisor
from perdure.values.errors import DefinitionError

A = TypeVar("A")
A1 = TypeVar("A1")
A2 = TypeVar("A2")
A3 = TypeVar("A3")
A4 = TypeVar("A4")
A5 = TypeVar("A5")
E = TypeVar("E")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E5 = TypeVar("E5")
R = TypeVar("R")

DEFAULT_LIMIT = 100
"""The default number of programs that one `gather` runs at once."""


# The overloads with Never: pyright cannot unite two error types that are Never.
@overload
def gather(
    p1: Program[A1, Never, R], p2: Program[A2, Never, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2], Never, R]: ...
@overload
def gather(
    p1: Program[A1, Never, R], p2: Program[A2, Never, R], p3: Program[A3, Never, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2, A3], Never, R]: ...
@overload
def gather(p1: Program[A1, E1, R], /, *, limit: int = ...) -> Program[tuple[A1], E1, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2], E1 | E2, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], p3: Program[A3, E3, R], /, *, limit: int = ...
) -> Program[tuple[A1, A2, A3], E1 | E2 | E3, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R],
    p2: Program[A2, E2, R],
    p3: Program[A3, E3, R],
    p4: Program[A4, E4, R],
    /,
    *,
    limit: int = ...,
) -> Program[tuple[A1, A2, A3, A4], E1 | E2 | E3 | E4, R]: ...
@overload
def gather(
    p1: Program[A1, E1, R],
    p2: Program[A2, E2, R],
    p3: Program[A3, E3, R],
    p4: Program[A4, E4, R],
    p5: Program[A5, E5, R],
    /,
    *,
    limit: int = ...,
) -> Program[tuple[A1, A2, A3, A4, A5], E1 | E2 | E3 | E4 | E5, R]: ...
@overload
def gather(*programs: Program[A, E, R], limit: int = ...) -> Program[tuple[A, ...], E, R]: ...
def gather(*programs: Program[Any, Any, Any], limit: int = DEFAULT_LIMIT) -> Program[Any, Any, Any]:
    """Run programs concurrently and return all their values, in program order.

    The first program that fails, halts or raises decides the result: the others are cancelled and awaited, and those
    that did not start never do.

    Args:
        programs: the programs. Type checkers cannot combine different `services` types: annotate one program with the
            combined type.
        limit: how many run at once.

    Raises:
        DefinitionError: the limit is below 1.
        NotAProgram: an argument is not a program.
    """
    if limit < 1:
        raise DefinitionError(what="limit of gather", got=limit, expected="a whole number from 1 on")
    return node(PARALLEL, Gather(_checked("gather", programs), limit))


@overload
def race(p1: Program[A1, Never, R], p2: Program[A2, Never, R], /) -> Program[A1 | A2, Never, R]: ...
@overload
def race(p1: Program[A1, E1, R], p2: Program[A2, E2, R], /) -> Program[A1 | A2, E1 | E2, R]: ...
@overload
def race(
    p1: Program[A1, E1, R], p2: Program[A2, E2, R], p3: Program[A3, E3, R], /
) -> Program[A1 | A2 | A3, E1 | E2 | E3, R]: ...
@overload
def race(*programs: Program[A, E, R]) -> Program[A, E, R]: ...
def race(*programs: Program[Any, Any, Any]) -> Program[Any, Any, Any]:
    """Run programs concurrently and return the first exit, whichever it is. The others are cancelled and awaited.

    Raises:
        DefinitionError: there is no program.
        NotAProgram: an argument is not a program.
    """
    if not programs:
        raise DefinitionError(what="race", got=programs, expected="at least one program")
    return node(PARALLEL, Race(_checked("race", programs)))


def supervised(supervisor: Supervisor) -> Program[None, Never, Any]:
    """Run the programs that a supervisor starts, until nothing runs.

    An exception that the supervisor raises cancels the programs and is raised by this one.
    """
    return node(PARALLEL, Supervision(supervisor))


def _checked(source: str, programs: tuple[Program[Any, Any, Any], ...]) -> tuple[Program[Any, Any, Any], ...]:
    for place, given in enumerate(programs):
        if not isinstance(given, Program):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise NotAProgram(given, f"argument {place + 1} of {source}")
    return programs


B = TypeVar("B")


@attrs.frozen(eq=False)
class Uninterrupted(Generic[A, B]):
    """Maps a program's value if the program's outcome must be known: a workflow does not stop its steps half-way.

    Use it as ``done.map(Uninterrupted(...))``.

    Attributes:
        use: the value's function.
        if_unknown: called when a step was stopped, or failed for good, after it had begun. With it the steps may be
            stopped.
    """

    use: Callable[[A], B]
    if_unknown: Callable[[], None] | None = None

    def __call__(self, value: A) -> B:
        """Apply the function to the program's value."""
        return self.use(value)


def _same(value: A) -> A:
    return value


@program
def bracket(
    acquire: Program[A, E1, R],
    use: Callable[[A], Program[B, E2, R]],
    release: Callable[[A], Program[object, E3, R]],
) -> Do[B, E1 | E2 | E3, R]:
    """Acquire a resource, use it, and release it exactly once however the use exits.

    This includes success, failure, halt, defect and cancellation. Nothing can interrupt after `acquire` ends and before
    `use` starts. When `acquire` does not succeed there is nothing to release. A release that does not succeed replaces
    the use's outcome.
    """
    # Marked, so that a workflow waits for the acquisition: stopped half-way, nothing could be released.
    held: Uninterrupted[Any, Any] = Uninterrupted(_same)
    resource = yield from acquire.map(held)
    try:
        return (yield from use(resource))
    finally:
        yield from release(resource)
