"""How programs end: the four exits, as values, and the program layer's errors."""

from __future__ import annotations

import traceback
from datetime import timedelta
from typing import TypeAlias, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.values.errors import PerdureError
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


@frozen
class EffectTimeout:
    """The typed failure that `Program.timeout` returns: the program did not end in time and was cancelled.

    Attributes:
        after: the time limit.
    """

    after: timedelta


@attrs.frozen(repr=False)
class NotAProgram(PerdureError, TypeError):
    """A value that must be a program is not one. A defect in the code that returned it.

    Common causes are a forgotten ``yield from``, and a ``Result`` without ``lift``.

    Attributes:
        got: the value.
        source: the name of the function that returned it.
        expected: the values that are valid.
    """

    got: object
    source: str
    expected: str = "a Program (forgotten `yield from`, `return`, or `succeed(...)`?)"

    def _text(self) -> str:
        return f"{self.source} returned {excerpt(self.got)}; expected {self.expected}"


@attrs.frozen(repr=False)
class NothingReturned(PerdureError, TypeError):
    """An effect's function returned None, and its annotation does not allow that. A defect in that function.

    The common cause is a forgotten ``return``.

    Attributes:
        function: its name.
    """

    function: str

    def _text(self) -> str:
        return (
            f"{self.function} returned None; expected a container such as Success(value): a forgotten `return`? An "
            "effect without a value returns Success(None), or is annotated `-> None`"
        )


@attrs.frozen(repr=False)
class NoInterpreter(PerdureError, LookupError):
    """An instruction reached the outermost interpreter, which does not support it.

    For example, ``ctx.state`` was run outside an engine.

    Attributes:
        instruction: the instruction.
    """

    instruction: object

    def _text(self) -> str:
        return (
            f"no interpreter answers {excerpt(self.instruction)}; run the program under the `sandbox` that answers it, "
            "or pass run_async or run_sync a handler that does"
        )


@attrs.frozen(repr=False)
class FailureEscalated(PerdureError):
    """The defect that `Program.or_raise` makes from a failure that is not an exception.

    Attributes:
        error: the typed failure.
    """

    error: object

    def _text(self) -> str:
        return f"a failure was escalated with or_raise: {excerpt(self.error)}"


@attrs.frozen(repr=False)
class HaltedOutside(PerdureError):
    """A program halted where a halt cannot be returned: it was run as a `FutureResult` instead of to an `Exit`.

    Attributes:
        signal: the `halt` argument.
    """

    signal: object

    def _text(self) -> str:
        signal = excerpt(self.signal)
        return f"the program halted with {signal}, which no FutureResult can express; use run_async or run_sync"
