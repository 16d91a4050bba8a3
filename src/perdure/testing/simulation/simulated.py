"""The result of one simulated run of a program."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

import attrs
from returns.result import Failure, Success
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.jobs.context import EndInstance
from perdure.programs import Halted, Raised
from perdure.programs.watch import SourceLocation
from perdure.testing.fault import Fault, Faults
from perdure.testing.simulation.step import EffectStep, LogStep, SleepStep, Step
from perdure.testing.simulation.trace_text import trace_lines
from perdure.values.excerpt import fields_in_line
from perdure.values.message import Message

A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
S_co = DefaultTypeVar("S_co", covariant=True, default=None)


@attrs.frozen
class ProcessDied:
    """The exit of a run whose process died at a call of an effect.

    Attributes:
        fault: the crash.
    """

    fault: Fault


@attrs.frozen
class Hung:
    """The exit of a run that never ends: it still waits after its time limit and its cancellation.

    A finalizer whose effect hangs does that: limit it with `timeout`. In an engine such a run keeps its instance
    claimed.

    Attributes:
        waiting: the waiting tasks and their awaitables, one line each.
    """

    __repr__ = fields_in_line

    waiting: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Changes(Generic[S_co]):
    """The changes that a run requested.

    Attributes:
        state: the state.
        alarm: when the alarm is due, if the changes are stored at the end of the run.
        messages: the messages to send, in order.
    """

    __repr__ = fields_in_line

    state: S_co
    alarm: datetime | None = None
    messages: tuple[Message, ...] = ()


@attrs.frozen
class NeverRun:
    """A program that was built, but neither run nor made part of another one, perhaps for a missing ``yield from``.

    Attributes:
        program: the ``repr`` of the program.
        place: the source line that built it.
    """

    __repr__ = fields_in_line

    program: str
    place: SourceLocation

    def __str__(self) -> str:
        return f"{self.program} of {self.place}"


@attrs.frozen(kw_only=True, repr=False)
class Simulated(Generic[A_co, E_co, S_co]):
    """The steps and the exit of one run of a program. Its ``repr`` is a trace with one line for each step.

    Attributes:
        exit: ``Success``, ``Failure``, ``Halted`` or ``Raised``, as for any program; ``ProcessDied`` when its process
            died; ``Hung`` when it never ends.
        draft: the requested changes at the end of the run.
        trace: its steps, in order.
        faults: the plan of faults.
        unused_faults: faults whose call was not made.
        never_run: programs that were built but not run. After a run that ended early, this includes programs for later.
        elapsed: the virtual time that it took.
        journal: the rows of the instance's journal at the end of the run.
    """

    exit: Success[A_co] | Failure[E_co] | Halted | Raised | ProcessDied | Hung
    draft: Changes[S_co]
    trace: tuple[Step, ...]
    faults: Faults = ()
    unused_faults: Faults = ()
    never_run: tuple[NeverRun, ...] = ()
    elapsed: timedelta = timedelta(0)
    journal: tuple[str, ...] = ()

    # ------------------------------------------------------------ changes
    @property
    def committed(self) -> Changes[S_co] | None:
        """The stored changes, which are the draft after a success, otherwise None."""
        return self.draft if isinstance(self.exit, Success) else None

    @property
    def ended(self) -> str | None:
        """The reason with which the run terminated its instance (``ctx.terminate``); None if it did not."""
        match self.exit:
            case Halted(EndInstance(reason)):
                return reason
            case _:
                return None

    @property
    def state(self) -> S_co:
        """The drafted state."""
        return self.draft.state

    @property
    def alarm(self) -> datetime | None:
        """When the drafted alarm is due."""
        return self.draft.alarm

    @property
    def messages(self) -> tuple[Message, ...]:
        """The drafted messages to other jobs."""
        return self.draft.messages

    # ------------------------------------------------------------ steps
    @property
    def effects(self) -> tuple[EffectStep, ...]:
        """The calls of services, in order."""
        return tuple(step for step in self.trace if isinstance(step, EffectStep))

    def calls(self, name: str) -> tuple[EffectStep, ...]:
        """Return the calls of one effect, in order.

        Args:
            name: the name of the `effect` function.
        """
        return tuple(step for step in self.effects if step.name == name)

    @property
    def logs(self) -> tuple[LogStep, ...]:
        """The log records, in order."""
        return tuple(step for step in self.trace if isinstance(step, LogStep))

    @property
    def slept(self) -> timedelta:
        """The total time of its sleeps."""
        return timedelta(milliseconds=sum(step.delay_ms for step in self.trace if isinstance(step, SleepStep)))

    # ------------------------------------------------------------ for tests
    def value(self) -> A_co:
        """Return the value of a success.

        Raises:
            AssertionError: the run did not succeed; the message is its trace.
        """
        if isinstance(self.exit, Success):
            value: A_co = self.exit.unwrap()
            return value
        raise AssertionError(f"expected a success\n{self!r}")

    def error(self) -> E_co:
        """Return the typed error of a failure.

        Raises:
            AssertionError: the run did not fail; the message is its trace.
        """
        if isinstance(self.exit, Failure):
            error: E_co = self.exit.failure()
            return error
        raise AssertionError(f"expected a failure\n{self!r}")

    def __repr__(self) -> str:
        return "\n".join(trace_lines(self))


AnySimulated = Simulated[Any, Any, Any]
