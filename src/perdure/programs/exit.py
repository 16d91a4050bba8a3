"""The four ways in which a program can end, as values."""

from __future__ import annotations

import traceback
from typing import TypeAlias, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.frozen import frozen

A = TypeVar("A")
E = TypeVar("E")


@frozen
class Halted:
    """The program stopped deliberately, with `halt`. No code inside it could catch that.

    Attributes:
        signal: the `halt` argument.
    """

    __repr__ = fields_in_line

    signal: object


@frozen(repr=False)
class Raised:
    """The program raised an undeclared exception. Two are equal when they hold the same exception object.

    Attributes:
        cause: the exception, with its traceback.
    """

    cause: BaseException = attrs.field(eq=id)

    def __repr__(self) -> str:
        frames = traceback.extract_tb(self.cause.__traceback__, limit=-1)
        where = f", raised in {frames[0].name} ({frames[0].filename}:{frames[0].lineno})" if frames else ""
        return f"Raised({excerpt(self.cause)}{where})"

    def formatted(self) -> str:
        """Return the exception and its traceback as Python would print them."""
        return "".join(traceback.format_exception(self.cause))


ENDS_PROCESS = (KeyboardInterrupt, SystemExit)
"""Exceptions that request the end of the process, not only of the code that raises them."""


def is_closing(raised: BaseException) -> bool:
    """Return whether the frame that caught this exception is being closed, like a generator that is garbage-collected.

    A frame that is being closed must not wait. Python raises ``GeneratorExit`` in that frame itself. One that a job's
    code raised comes from a deeper frame.

    Args:
        raised: the exception, in the frame that caught it.
    """
    # By the depth of the traceback: a job may raise `GeneratorExit` itself, which is an ordinary defect.
    return isinstance(raised, GeneratorExit) and (raised.__traceback__ is None or raised.__traceback__.tb_next is None)


Exit: TypeAlias = Success[A] | Failure[E] | Halted | Raised
"""The exit of a `Program[A, E, R]`. Written as a union, so that `match` and `assert_never` know its members."""
