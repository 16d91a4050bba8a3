"""How a program can end: four ways, as values."""

from __future__ import annotations

import traceback
from typing import TypeAlias, TypeVar

import attrs
from returns.result import Failure, Success

A = TypeVar("A")
E = TypeVar("E")


@attrs.frozen
class Halted:
    """The program stopped early, on purpose, with `halt`. Nothing inside it could catch that.

    Attributes:
        signal: what `halt` was given.
    """

    signal: object


@attrs.frozen(repr=False)
class Raised:
    """The program broke: an exception that nobody declared. Two are equal when they hold the very same exception.

    Attributes:
        cause: the exception, with its traceback.
    """

    cause: BaseException = attrs.field(eq=id)

    def __repr__(self) -> str:
        frames = traceback.extract_tb(self.cause.__traceback__, limit=-1)
        where = f", raised in {frames[0].name} ({frames[0].filename}:{frames[0].lineno})" if frames else ""
        return f"Died({self.cause!r}{where})"

    def formatted(self) -> str:
        """Give the exception and its traceback as the interpreter would print them."""
        return "".join(traceback.format_exception(self.cause))


ENDS_PROCESS = (KeyboardInterrupt, SystemExit)
"""Exceptions that ask for the end of the process, not only of the code that they are raised in."""


def is_closing(raised: BaseException) -> bool:
    """Whether the frame that caught this exception is being closed, as a dropped generator or coroutine is.

    A frame that is being closed must not wait any more. Python raises ``GeneratorExit`` in that very frame then; one
    that the code of a job raised comes out of a deeper frame.

    Args:
        raised: what was caught, in the frame that caught it.
    """
    return isinstance(raised, GeneratorExit) and (raised.__traceback__ is None or raised.__traceback__.tb_next is None)


Exit: TypeAlias = Success[A] | Failure[E] | Halted | Raised
"""How a `Program[A, E, R]` ended. Written out as a union, so that `match` and `assert_never` know its parts."""
