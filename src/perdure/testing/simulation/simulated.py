"""What one simulated run of a program came to."""

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
from perdure.testing.simulation.trace_text import tell
from perdure.values.message import Message

A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
S_co = DefaultTypeVar("S_co", covariant=True, default=None)


@attrs.frozen
class ProcessDied:
    """How a run ended whose process died: at this call of an effect, by this fault.

    Attributes:
        fault: the crash.
    """

    fault: Fault


@attrs.frozen
class Hung:
    """How a run ended that never does: it waits for what never comes even after its time was up and it was cancelled.

    A finalizer whose effect hangs does that: limit it with `timeout`. In an engine such a run keeps its instance.

    Attributes:
        waiting: who waits for what, one line each.
    """

    waiting: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Changes(Generic[S_co]):
    """What a run asked to be stored.

    Attributes:
        state: the state.
        alarm: when the alarm is due, should this be stored at the end of the run.
        messages: what to send, in order.
    """

    state: S_co
    alarm: datetime | None = None
    messages: tuple[Message, ...] = ()


@attrs.frozen
class NeverRun:
    """A program that was built, but neither run nor made a part of another one: a ``yield from`` was forgotten?

    Attributes:
        program: the program, printed.
        place: the line that built it.
    """

    program: str
    place: SourceLocation

    def __str__(self) -> str:
        return f"{self.program} of {self.place}"


@attrs.frozen(kw_only=True, repr=False)
class Simulated(Generic[A_co, E_co, S_co]):
    """What one run of a program did, and what it came to. Printed, it is a story of one line for each step.

    Attributes:
        exit: ``Success``, ``Failure``, ``Halted`` or ``Raised``, as for any program; ``ProcessDied`` when its process
            died; ``Hung`` when it never ends.
        draft: what the run had asked to be stored when it ended.
        trace: what it did, in order.
        faults: what was made to go wrong.
        unused_faults: those of the faults whose call never came.
        never_run: programs that were built, and forgotten. After a run that ended early, also those for later.
        elapsed: how much virtual time it took.
    """

    exit: Success[A_co] | Failure[E_co] | Halted | Raised | ProcessDied | Hung
    draft: Changes[S_co]
    trace: tuple[Step, ...]
    faults: Faults = ()
    unused_faults: Faults = ()
    never_run: tuple[NeverRun, ...] = ()
    elapsed: timedelta = timedelta(0)

    # ------------------------------------------------------------ what it left
    @property
    def committed(self) -> Changes[S_co] | None:
        """What is stored of the draft: all of it after a success, nothing after anything else."""
        return self.draft if isinstance(self.exit, Success) else None

    @property
    def ended(self) -> str | None:
        """The reason with which the run ended its instance (``ctx.terminate``); None if it did not."""
        match self.exit:
            case Halted(EndInstance(reason)):
                return reason
            case _:
                return None

    @property
    def state(self) -> S_co:
        """The state, as the run drafted it."""
        return self.draft.state

    @property
    def alarm(self) -> datetime | None:
        """When the alarm is due, as the run drafted it."""
        return self.draft.alarm

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages to other jobs, as the run drafted them."""
        return self.draft.messages

    # ------------------------------------------------------------ what it did
    @property
    def effects(self) -> tuple[EffectStep, ...]:
        """The calls of services, in order."""
        return tuple(step for step in self.trace if isinstance(step, EffectStep))

    def calls(self, name: str) -> tuple[EffectStep, ...]:
        """The calls of one effect, in order.

        Args:
            name: of the `effect` function.
        """
        return tuple(step for step in self.effects if step.name == name)

    @property
    def logs(self) -> tuple[LogStep, ...]:
        """The lines for the operator, in order."""
        return tuple(step for step in self.trace if isinstance(step, LogStep))

    @property
    def slept(self) -> timedelta:
        """How long it asked to wait, all its sleeps together."""
        return timedelta(milliseconds=sum(step.delay_ms for step in self.trace if isinstance(step, SleepStep)))

    # ------------------------------------------------------------ for tests
    def value(self) -> A_co:
        """Give what it succeeded with.

        Raises:
            AssertionError: it did not succeed; the message is its story.
        """
        if isinstance(self.exit, Success):
            value: A_co = self.exit.unwrap()
            return value
        raise AssertionError(f"expected a success\n{self!r}")

    def error(self) -> E_co:
        """Give the typed error that it failed with.

        Raises:
            AssertionError: it did not fail; the message is its story.
        """
        if isinstance(self.exit, Failure):
            error: E_co = self.exit.failure()
            return error
        raise AssertionError(f"expected a failure\n{self!r}")

    def __repr__(self) -> str:
        return "\n".join(tell(self))


AnySimulated = Simulated[Any, Any, Any]
