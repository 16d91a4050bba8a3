"""The events of a world, as values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Result

from perdure.jobs.request import Request
from perdure.programs import Exit
from perdure.runtime.record import LogRecord
from perdure.testing.fault import Fault
from perdure.values.address import Address
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Fence
from perdure.values.message import StoredMessage
from perdure.values.transition import Transition


class Unanswered:
    """The type of `UNANSWERED`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "no answer"


UNANSWERED: Final = Unanswered()
"""The outcome of an effect that did not return: its worker died, or it still waits."""


@attrs.define(kw_only=True)
class EffectCall:
    """One call of an effect. Its outcome is filled in when it returns, so it is not a value.

    Attributes:
        name: the name of the ``@effect`` function.
        args: its arguments, without the services.
        kwargs: its keyword arguments.
        address: the instance whose run performs it.
        run_id: the run.
        attempt: failures of the run so far, plus 1.
        delivery: claims of this attempt so far.
        declares: whether its annotation declares errors.
        lease: whether the engine had a lease when it sent the call, by the clock of the store; ``good`` without leases.
        outcome: the result: a ``Success``, a ``Failure``, a plain value, the exception that it raised, or `UNANSWERED`.
    """

    __repr__ = fields_in_line

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    address: Address
    run_id: str
    attempt: int
    delivery: int
    declares: Literal["errors", "no_errors"]
    lease: Literal["good", "ended"] = "good"
    outcome: object = UNANSWERED

    def __str__(self) -> str:
        shown = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.name}({', '.join(shown)})"


# ---------------------------------------------------------------- kinds of events
@attrs.frozen
class WorkerOpened:
    """A worker opened the store."""

    __repr__ = fields_in_line

    store: str
    epoch: int


@attrs.frozen
class WorkerClosed:
    """A worker stopped gracefully."""

    __repr__ = fields_in_line


@attrs.frozen
class WorkerKilled:
    """A worker died."""

    __repr__ = fields_in_line

    at: str


@attrs.frozen
class RequestSent:
    """A request reached the engine."""

    __repr__ = fields_in_line

    number: int
    address: Address
    request: Request


@attrs.frozen
class RequestAnswered:
    """A request returned a ``Success`` or a ``Failure``."""

    __repr__ = fields_in_line

    number: int
    result: Result[Any, Any]  # of any request


@attrs.frozen
class EffectPerformed:
    """A run performed an effect."""

    __repr__ = fields_in_line

    call: EffectCall


@attrs.frozen
class ProgramEnded:
    """A program of the user ended.

    Attributes:
        address: the instance.
        hook: the user's function: ``execute``, ``on_event``, ``on_idle``, ``on_error``.
        exit: the program's exit.
        request: the request that it handled.
        run_id: the run.
    """

    __repr__ = fields_in_line

    address: Address
    hook: str
    exit: Exit[Any, Any]  # of any program
    request: Request
    run_id: str


@attrs.frozen
class TransitionCommitted:
    """A transition was committed."""

    __repr__ = fields_in_line

    transition: Transition
    fence: Fence


@attrs.frozen
class MessagesRead:
    """The engine read which messages may be delivered; recorded when there are some."""

    __repr__ = fields_in_line

    messages: tuple[StoredMessage, ...]


@attrs.frozen
class FaultInjected:
    """A fault took effect; for an effect, in a run of this instance."""

    __repr__ = fields_in_line

    fault: Fault
    address: Address | None = None


@attrs.frozen
class TimePassed:
    """The test moved the clock."""

    __repr__ = fields_in_line

    by_ms: int
    how: Literal["advance", "stall"] = "advance"


@attrs.frozen
class LogEmitted:
    """The engine wrote a log record."""

    __repr__ = fields_in_line

    record: LogRecord


TraceDetail: TypeAlias = (
    WorkerOpened
    | WorkerClosed
    | WorkerKilled
    | RequestSent
    | RequestAnswered
    | EffectPerformed
    | ProgramEnded
    | TransitionCommitted
    | MessagesRead
    | FaultInjected
    | TimePassed
    | LogEmitted
)


@attrs.frozen
class TraceEvent:
    """One event in a world.

    Attributes:
        at_ms: the wall clock, integer milliseconds since 1970 UTC.
        worker: the number of the worker, from 1.
        what: the event's details.
    """

    __repr__ = fields_in_line

    at_ms: int
    worker: int
    what: TraceDetail
