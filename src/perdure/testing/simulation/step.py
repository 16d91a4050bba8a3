"""The steps of a program, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
from returns.result import Failure, Success

from perdure.programs import Halted, Raised, ServiceCall
from perdure.runtime.record import LogRecord
from perdure.testing.fault import Fault
from perdure.values.excerpt import fields_in_line


@attrs.frozen
class NoReply:
    """The result never arrived: the run was interrupted, or the waiting branch was cancelled."""


@attrs.frozen(kw_only=True)
class EffectStep:
    """A call of a service, or another instruction that only an interpreter could perform.

    instruction: the call, as data.
    call: the number of this call of this effect, from 1.
    answer: the result of the service: ``Success(value)``, ``Failure(error)``, ``Raised(cause)`` when it raised.
    fault: the fault of this call, if any.
    at_ms: when the program made the call, milliseconds from the start of the run.
    branch: the concurrent branch, such as ``"gather[1]"``; empty outside of one.
    """

    __repr__ = fields_in_line

    instruction: object
    call: int
    answer: Success[Any] | Failure[Any] | Halted | Raised | NoReply
    fault: Fault | None = None
    at_ms: int = 0
    branch: str = ""

    @property
    def name(self) -> str:
        """The name of the effect."""
        return effect_name(self.instruction)

    @property
    def args(self) -> tuple[Any, ...]:
        """Its arguments, without the services."""
        return self.instruction.args if isinstance(self.instruction, ServiceCall) else ()

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """Its keyword arguments."""
        return self.instruction.kwargs if isinstance(self.instruction, ServiceCall) else {}

    @property
    def reached(self) -> bool:
        """Whether the call reached the service."""
        return self.fault is None or self.fault.when == "after"


@attrs.frozen(kw_only=True)
class ContextStep:
    """An operation of the context.

    Attributes:
        operation: ``GetState``, ``SetAlarm`` or another of `perdure.jobs.context`, or one of the kind's own.
        answer: its result; for an update, the new state; ``Raised`` when it was refused.
        branch: the concurrent branch; empty outside of one.
    """

    __repr__ = fields_in_line

    operation: object
    answer: object
    branch: str = ""


@attrs.frozen(kw_only=True)
class SleepStep:
    """The program slept.

    Attributes:
        delay_ms: how long.
        branch: the concurrent branch; empty outside of one.
    """

    __repr__ = fields_in_line

    delay_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class TimeoutStep:
    """The program set a time limit for a part of itself (`timeout`).

    Attributes:
        after_ms: the limit.
        branch: the concurrent branch; empty outside of one.
    """

    __repr__ = fields_in_line

    after_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class LogStep:
    """The program wrote a log record.

    Attributes:
        record: the record.
        branch: the concurrent branch; empty outside of one.
    """

    __repr__ = fields_in_line

    record: LogRecord
    branch: str = ""


Step: TypeAlias = EffectStep | ContextStep | SleepStep | TimeoutStep | LogStep


def effect_name(instruction: object) -> str:
    """Return the name of an effect: the name of its function, or the class of any other instruction."""
    return instruction.name if type(instruction) is ServiceCall else type(instruction).__name__
