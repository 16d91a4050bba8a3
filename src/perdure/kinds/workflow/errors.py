"""Workflow errors."""

from __future__ import annotations

import attrs

from perdure.values.errors import InvalidInput, PerdureError
from perdure.values.excerpt import excerpt
from perdure.values.frozen import frozen


@attrs.frozen(repr=False)
class Diverged(InvalidInput):
    """The program does not perform its journal's steps: other code wrote it, or the program is not deterministic.

    The engine leaves the workflow to other code, with all its data, and it continues when code that can follow it
    starts.

    Attributes:
        path: the step's path.
        recorded: the step name that the journal holds at this path. None if it holds none.
        performed: the step name that the program performs there. None if it performs none.
        line: the program line that waits there, or that was last to run.
    """

    path: str = attrs.field(default="", kw_only=True)
    recorded: str | None = attrs.field(default=None, kw_only=True)
    performed: str | None = attrs.field(default=None, kw_only=True)
    line: str | None = attrs.field(default=None, kw_only=True)


class ProgramStopped(BaseException):
    """Ends a program's interpretation when its own code raises an exception, before any finalizer runs.

    Attributes:
        cause: the exception.
    """

    def __init__(self, cause: Exception) -> None:
        super().__init__(cause)
        self.cause = cause


@frozen(repr=False, str=False)
class NotRecordable(PerdureError):
    """A step's outcome cannot be stored. A defect in the program, which is not retried: the step is parked.

    Attributes:
        step: the step's name.
        reason: why.
    """

    step: str
    reason: str

    def _text(self) -> str:
        return f"the outcome of {excerpt(self.step)} cannot be stored: {self.reason}"


@frozen(repr=False, str=False)
class JournalFull(PerdureError):
    """A workflow has as many steps as its definition allows. It is parked, with all its data.

    Attributes:
        limit: the definition's ``max_steps``.
    """

    limit: int

    def _text(self) -> str:
        return (
            f"the journal has {self.limit} steps, its limit; raise max_steps of the definition and resume the "
            "workflow, or call ctx.start_over(state) from time to time to begin an empty journal"
        )


@frozen(repr=False, str=False)
class NotInWorkflow(PerdureError):
    """A workflow performed an instruction that it cannot record. A program defect.

    Attributes:
        instruction: the instruction.
    """

    instruction: object

    def _text(self) -> str:
        return (
            f"a workflow cannot perform {excerpt(self.instruction)}: use effects, sleep, signals, messages and "
            "children; the alarm of a workflow is its own"
        )
