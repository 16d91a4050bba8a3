"""What a program did, step by step, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import attrs
from returns.result import Failure, Success

from perdure.programs import Call, Halted, Raised
from perdure.runtime.record import LogRecord
from perdure.testing.fault import Fault


@attrs.frozen
class NoReply:
    """The answer never came: the run was cut, or what waited for it was cancelled."""


@attrs.frozen(kw_only=True)
class EffectStep:
    """A call of a service, or another instruction that only an interpreter could perform.

    Attributes:
        instruction: what was asked, as data.
        call: which call of this effect it was, from 1.
        answer: what the service gave: ``Success(value)``, ``Failure(error)``, ``Raised(cause)`` when it raised.
        fault: what was made to go wrong there, if anything.
        at_ms: when it was asked, milliseconds from the start of the run.
        branch: where, when several programs ran at once: ``"gather[1]"``; empty outside.
    """

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
        """What it was called with, without the services."""
        return self.instruction.args if isinstance(self.instruction, Call) else ()

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The keyword arguments it was called with."""
        return self.instruction.kwargs if isinstance(self.instruction, Call) else {}

    @property
    def reached(self) -> bool:
        """Whether the service heard of it."""
        return self.fault is None or self.fault.when == "after"


@attrs.frozen(kw_only=True)
class ContextStep:
    """An operation of the context.

    Attributes:
        operation: which one: ``GetState``, ``SetAlarm`` or another of `perdure.jobs.draft`, or one of the kind's own.
        answer: what it gave; of an update, the new state; ``Raised`` when it was refused.
        branch: where, when several programs ran at once; empty outside.
    """

    operation: object
    answer: object
    branch: str = ""


@attrs.frozen(kw_only=True)
class SleepStep:
    """The program asked to wait.

    Attributes:
        delay_ms: how long.
        branch: where, when several programs ran at once; empty outside.
    """

    delay_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class TimeoutStep:
    """The program gave a part of itself so long (`timeout`).

    Attributes:
        after_ms: how long.
        branch: where, when several programs ran at once; empty outside.
    """

    after_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class LogStep:
    """The program wrote a line for the operator.

    Attributes:
        record: the line.
        branch: where, when several programs ran at once; empty outside.
    """

    record: LogRecord
    branch: str = ""


Step: TypeAlias = EffectStep | ContextStep | SleepStep | TimeoutStep | LogStep


def effect_name(instruction: object) -> str:
    """What an effect is called: the name of its function, or the class of any other instruction."""
    return instruction.name if type(instruction) is Call else type(instruction).__name__
