"""The program layer's errors."""

from __future__ import annotations

from datetime import timedelta

import attrs

from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen


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
