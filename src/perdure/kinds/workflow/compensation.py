"""Compensation: when the rest of a program does not succeed, its steps are undone, the last first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import attrs

from perdure.programs import Do, Program, program
from perdure.programs.combinators import Uninterrupted
from perdure.values.errors import DefinitionError

A = TypeVar("A")
E = TypeVar("E")
R = TypeVar("R")
P = ParamSpec("P")


@attrs.define(eq=False)
class Undo(Generic[R]):
    """Collects a `saga`'s compensations."""

    _stack: list[Callable[[], Program[Any, Any, R]]] = attrs.Factory(list[Any])

    def after(
        self,
        done: Program[A, E, R],
        undo: Callable[[A], Program[object, Any, R]],
        *,
        unknown: Callable[[], Program[object, Any, R]] | None = None,
    ) -> Program[A, E, R]:
        """Return a program that does something, and remembers how to undo it.

        Without `unknown`, a workflow waits for steps in `done` that are in progress before it halts there: a
        cancellation, a race and a time limit around it stop none of them half-way.

        Args:
            done: the program. If it does not succeed, there is nothing to undo.
            undo: returns the compensation for its value.
            unknown: returns the compensation if a step in `done` began and its outcome is not known, because it was
                stopped, or raised and was not repeated. If a later attempt succeeds, both compensations run.
        """
        forgotten = None if unknown is None else partial(self._stack.append, unknown)
        mark: Uninterrupted[A, A] = Uninterrupted(lambda value: self._remember(value, undo), forgotten)
        return done.map(mark)

    def _remember(self, value: A, undo: Callable[[A], Program[object, Any, R]]) -> A:
        self._stack.append(lambda: undo(value))
        return value

    def last_first(self) -> list[Program[Any, Any, R]]:
        """Return the compensations, the last first. `saga` performs them."""
        # The reverse order: a later step may depend on the effect of an earlier one.
        return [make() for make in self._stack[::-1]]


def saga(
    body: Callable[Concatenate[Undo[R], P], Program[A, E, R]], *args: P.args, **kwargs: P.kwargs
) -> Program[A, E, R]:
    """Run a program. When it fails, halts or is cancelled, undo its steps, the last first.

    In a workflow each compensation is a step: recorded, performed again after a crash, and retried when it raises. A
    compensation that fails with a typed error raises it as a defect. A defect in the program itself undoes nothing: the
    workflow is parked there, and can continue.

    Args:
        body: takes the `Undo` first, then the arguments.
        args: the body's other arguments.
        kwargs: the body's keyword arguments.

    Raises:
        DefinitionError: the body is not a function.
    """
    if not callable(body):
        raise DefinitionError("body of saga", body, "a function of (undo, ...) that returns a Program")
    return _saga(lambda undo: body(undo, *args, **kwargs))


@program
def _saga(body: Callable[[Undo[R]], Program[A, E, R]]) -> Do[A, E, R]:
    undo: Undo[R] = Undo()
    undoes = False
    try:
        undoes = True
        value = yield from body(undo)
        undoes = False
    # Not an error value: those and halts come by `finally`, with `undoes` still set.
    except (Exception, GeneratorExit):  # a defect, or the end of the run: nothing is undone
        undoes = False
        raise
    finally:
        if undoes:
            for compensation in undo.last_first():
                yield from compensation.or_raise()
    return value
