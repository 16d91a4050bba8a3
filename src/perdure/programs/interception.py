"""`sandbox` runs a program inside another one, to its exit. Interceptors answer that program's instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Never, Protocol, TypeVar

import attrs

from perdure.programs.container import Program, node
from perdure.programs.exit import Exit
from perdure.programs.instructions import SANDBOX


class Pass:
    """The type of `PASS`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PASS"


PASS: Final = Pass()
"""An interceptor's answer to an instruction that it does not handle: the next outer interpreter receives it."""


class Interceptor(Protocol):
    """Answers a program's instructions, at once and without waiting."""

    def answer(self, instruction: object, /) -> object:
        """Answer `instruction`.

        Returns:
            `PASS`: not handled. Otherwise a ``Success``, ``Failure`` or ``Halted``, or any other value, which is a
            success.

        Raises:
            Exception: raised at the instruction inside the program, as a defect that it may catch.
        """
        ...

    def branch(self) -> Interceptor:
        """Return the interceptor for one program that runs concurrently inside this one (`gather`, `race`, `timeout`).

        A mutable interceptor must not return itself here: its branches would run at once.
        """
        ...


@attrs.frozen
class AnswerEverywhere:
    """A function as an interceptor: the same one in every branch."""

    function: Callable[[object], object]

    def answer(self, instruction: object, /) -> object:
        """Call the function."""
        return self.function(instruction)

    def branch(self) -> AnswerEverywhere:
        """Return this interceptor."""
        return self


def as_interceptor(given: Interceptor | Callable[[object], object] | None) -> Interceptor:
    """Convert a `sandbox` argument to an interceptor. None answers nothing."""
    if given is None:
        return AnswerEverywhere(_answer_nothing)
    if callable(given) and not hasattr(given, "answer"):
        return AnswerEverywhere(given)
    return given  # type: ignore[return-value]  # a value with `answer` is an Interceptor, callable or not


def _answer_nothing(_: object) -> object:
    return PASS


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
        intercept: answers its instructions, before any outer interpreter receives them. See `Interceptor`. A function
            is also called in concurrent branches.
    """
    return node(SANDBOX, program, as_interceptor(intercept))
