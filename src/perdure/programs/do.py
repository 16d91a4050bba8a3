"""Do-notation: a generator function as a program."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from functools import partial, wraps
from typing import Any, Final, Never, ParamSpec, TypeVar, cast

from typing_extensions import TypeAliasType
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.programs.container import Program, node
from perdure.programs.instructions import DO
from perdure.values.errors import DefinitionError

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")
_E = DefaultTypeVar("_E", default=Never)
_R = DefaultTypeVar("_R", default=object)

Do = TypeAliasType("Do", Generator[Program[Any, _E, _R], None, A], type_params=(A, _E, _R))
"""The return annotation of a `program` function: ``Do[value, errors, services]``; the last two are optional."""


def program(function: Callable[P, Generator[Program[Any, E, R], None, A]]) -> Callable[P, Program[A, E, R]]:
    """Convert a generator function to a function that returns a `Program`.

    In the generator, ``value = yield from other_program`` runs another program and returns its value, whose type the
    checkers infer. A failure leaves the function (its `finally` blocks run); the function cannot catch it, use
    ``attempt()`` to inspect it. A defect is raised at the ``yield from`` and can be caught with `except`.

    Each run calls the generator function again: a program can be run, retried and raced any number of times.

    Args:
        function: a generator function annotated ``-> Do[value, errors, services]``.

    Returns:
        A function with the same parameters that returns the program.

    Raises:
        DefinitionError: `function` has no ``yield from``, so it is not a generator function.
    """
    if not inspect.isgeneratorfunction(function):
        raise DefinitionError(
            what=f"@program {getattr(function, '__qualname__', function)!s}",
            got=function,
            expected="a generator function, with a `yield from` in it; one without effects can return succeed(value)",
        )

    @wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Program[A, E, R]:
        return node(DO, partial(function, **kwargs) if kwargs else function, args)

    return made


@program
def _nothing() -> Do[None]:
    yield from ()


_MADE: Final = cast("Any", _nothing).__code__


def is_program_function(function: object, /) -> bool:
    """Return whether `program` made a function, whose call only builds a program and runs no code of yours.

    The code of the function decides, and not an attribute of it: ``functools.wraps`` copies all of them to a decorator,
    whose own code can raise.
    """
    return getattr(function, "__code__", None) is _MADE
