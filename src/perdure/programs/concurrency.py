"""Programs that run several programs concurrently, as `Program.timeout` does with one program and a timer.

Each branch has the services of the outer program and its own branch of each interceptor around it. When the outer
program ends, for any reason, none of its branches is still running: cancelled branches have run their finalizers.
"""

from __future__ import annotations

from typing import Any, Never, TypeVar, overload

from perdure.programs.container import Program, node
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
    """Run programs concurrently and return all their values, in the order of the programs.

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
    """Run programs concurrently and return the first exit, of any kind. The others are cancelled and awaited.

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
