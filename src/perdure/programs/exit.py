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


Exit: TypeAlias = Success[A] | Failure[E] | Halted | Raised
"""How a `Program[A, E, R]` ended. Written out as a union, so that `match` and `assert_never` know its parts."""
