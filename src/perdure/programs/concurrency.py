"""Programs that run several programs at once, as `Program.timeout` does with one and a timer.

Each branch has the services of the whole and its own branch of each interceptor around it. When the whole has ended,
for whatever reason, none of its branches runs any more: those that were cancelled have run their finalizers.
"""

from __future__ import annotations

from typing import Any, Never, TypeVar, overload

from perdure.programs.container import Program, node
from perdure.programs.errors import NotAProgram
from perdure.programs.instructions import PARALLEL, Gather, Race
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
"""How many programs of one `gather` run at once unless it says otherwise."""


# The overloads with Never: pyright does not know the union of two errors that cannot be.
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
    """Run the programs concurrently and give all their values, in the order of the programs.

    The first to fail, to halt or to die decides for all: the others are cancelled and awaited, those that did not begin
    never do.

    Args:
        programs: what to run. Where their needs differ, none of the type checkers can add them up: annotate one with
            the needs of the whole.
        limit: how many run at once.

    Raises:
        DefinitionError: the limit is below 1.
        NotAProgram: one of them is not a program.
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
    """Run the programs concurrently; the first to end decides, however it ends. The others are cancelled and awaited.

    Raises:
        DefinitionError: there is none: nobody could win.
        NotAProgram: one of them is not a program.
    """
    if not programs:
        raise DefinitionError(what="race", got=programs, expected="at least one program")
    return node(PARALLEL, Race(_checked("race", programs)))


def _checked(source: str, programs: tuple[Program[Any, Any, Any], ...]) -> tuple[Program[Any, Any, Any], ...]:
    for place, given in enumerate(programs):
        if not isinstance(given, Program):  # pyright: ignore[reportUnnecessaryIsInstance] - nobody else checks
            raise NotAProgram(given, f"argument {place + 1} of {source}")
    return programs
