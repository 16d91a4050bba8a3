"""Who answers the instructions of a program that runs inside a `sandbox`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

import attrs


class Pass:
    """The type of `PASS`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PASS"


PASS: Final = Pass()
"""What an interceptor answers to an instruction that is not its own: the next interpreter outwards is asked."""


class Interceptor(Protocol):
    """Answers the instructions of a program, at once and without waiting."""

    def answer(self, instruction: object, /) -> object:
        """Answer `instruction`.

        Returns:
            `PASS`: not mine. Otherwise a ``Success``, ``Failure`` or ``Halted``, or any other value, which succeeds.

        Raises:
            Exception: raised at the instruction inside the program, as a defect it may catch.
        """
        ...

    def branch(self) -> Interceptor:
        """Give the interceptor for one program that runs concurrently inside this one (`gather`, `race`, `timeout`).

        A mutable interceptor must not hand itself out here: its parts would run at once.
        """
        ...


@attrs.frozen
class AnswerEverywhere:
    """A plain function as an interceptor: the same one in every branch."""

    function: Callable[[object], object]

    def answer(self, instruction: object, /) -> object:
        """Ask the function."""
        return self.function(instruction)

    def branch(self) -> AnswerEverywhere:
        """Give itself."""
        return self


def as_interceptor(given: Interceptor | Callable[[object], object] | None) -> Interceptor:
    """Make an interceptor of what `sandbox` was given; None answers nothing."""
    if given is None:
        return AnswerEverywhere(_answer_nothing)
    if callable(given) and not hasattr(given, "answer"):
        return AnswerEverywhere(given)
    return given  # type: ignore[return-value]  # what has `answer` is an Interceptor, callable or not


def _answer_nothing(_: object) -> object:
    return PASS
