"""One simulated program run: its steps as values, its end, and its text.

`Simulated` prints as its trace. `difference` compares two runs' traces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from difflib import SequenceMatcher
from typing import Any, Generic, TypeAlias, TypeVar, assert_never

import attrs
from returns.result import Failure, Success
from typing_extensions import TypeVar as DefaultTypeVar

from perdure.jobs.context import (
    AlarmAfter,
    AlarmAt,
    AlarmChange,
    ClearAlarm,
    EndInstance,
    GetAlarm,
    GetState,
    KeepAlarm,
    Post,
    SetAlarm,
    SetState,
    UpdateState,
)
from perdure.jobs.draft import PostReply
from perdure.jobs.streams import Stream
from perdure.programs import Halted, Raised, ServiceCall
from perdure.programs.interpreter import SourceLocation
from perdure.runtime.record import LogRecord
from perdure.testing.fault import Fault, Faults
from perdure.values.excerpt import fields_in_line
from perdure.values.message import Message


@attrs.frozen
class NoReply:
    """The result never arrived: the run was interrupted, or the waiting branch was cancelled."""


@attrs.frozen(kw_only=True)
class EffectStep:
    """A service call, or another instruction that only an interpreter could perform.

    Attributes:
        instruction: the call, as data.
        call: this call's number among the effect's calls, from 1.
        answer: the service's result: ``Success(value)``, ``Failure(error)``, ``Raised(cause)`` when it raised.
        fault: this call's fault, if any.
        at_ms: when the program made the call, milliseconds from the run's start.
        branch: the concurrent branch, such as ``"gather[1]"``. Empty outside any branch.
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
        """The effect's name."""
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
    """A context operation.

    Attributes:
        operation: ``GetState``, ``SetAlarm`` or another one from `perdure.jobs.context`, or the kind's own operation.
        answer: the result. For an update, the new state. ``Raised`` when it was refused.
        branch: the concurrent branch. Empty outside any branch.
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
        branch: the concurrent branch. Empty outside any branch.
    """

    __repr__ = fields_in_line

    delay_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class TimeoutStep:
    """The program set a time limit for a part (`timeout`).

    Attributes:
        after_ms: the limit.
        branch: the concurrent branch. Empty outside any branch.
    """

    __repr__ = fields_in_line

    after_ms: int
    branch: str = ""


@attrs.frozen(kw_only=True)
class EmitStep:
    """The program, or an effect, emitted a chunk to a stream.

    Attributes:
        stream: the stream's name.
        value: the chunk.
        branch: the concurrent branch. Empty outside any branch.
    """

    __repr__ = fields_in_line

    stream: str
    value: object
    branch: str = ""


@attrs.frozen(kw_only=True)
class LogStep:
    """The program wrote a log record.

    Attributes:
        record: the record.
        branch: the concurrent branch. Empty outside any branch.
    """

    __repr__ = fields_in_line

    record: LogRecord
    branch: str = ""


Step: TypeAlias = EffectStep | ContextStep | SleepStep | TimeoutStep | EmitStep | LogStep


def effect_name(instruction: object) -> str:
    """Return an effect's name: its function's name, or any other instruction's class."""
    return instruction.name if type(instruction) is ServiceCall else type(instruction).__name__


MAX_LINE = 160
"""The maximum length of a line; a longer one is cut and ends with an ellipsis."""


def trace_lines(run: Simulated[Any, Any, Any]) -> Iterator[str]:
    """Yield the lines in one run."""
    if run.faults:
        yield f"with faults {run.faults!r}:"
    for number, step in enumerate(run.trace, start=1):
        yield _line(f"{number:>3}. {_branch(step)}{_step_text(step)}")
    yield _line(f"  => {_exit(run)}{_after(run.elapsed)}")
    if run.draft.state is not None or run.draft.alarm is not None or run.draft.messages:
        yield _line(f"     {_draft(run)}")
    for fault in run.unused_faults:
        yield _line(f"     no call for {fault!r}")
    for forgotten in run.never_run:
        yield _line(f"     built and never run (missing `yield from`?): {forgotten}")


def difference(left: Simulated[Any, Any, Any], right: Simulated[Any, Any, Any]) -> list[str]:
    """Return the difference between two runs: the steps that differ side by side, with the nearest common ones.

    The pytest plugin shows this for a failed ``assert one_run == another``.
    """
    ours, theirs = list(trace_lines(left)), list(trace_lines(right))
    lines: list[str] = []
    # Without the heuristic for long texts: it takes lines that occur often for noise, and a loop's steps do.
    for what, from_, to, other_from, other_to in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if what == "equal":
            lines += _shared(ours[from_:to])
        else:
            lines += [f"- {line}" for line in ours[from_:to]] + [f"+ {line}" for line in theirs[other_from:other_to]]
    return ["these runs differ (- left, + right):", *lines]


def _shared(lines: list[str]) -> list[str]:
    """Return the lines that two runs share: the first and the last, and how many lie between them."""
    between = len(lines) - 2
    shown = lines if between <= 1 else [lines[0], f"     ({between} more)", lines[-1]]
    return [f"  {line}" for line in shown]


def _line(text: str) -> str:
    # One step, one line: the difference of two runs is computed by lines.
    flat = text.replace("\n", "\\n")
    return flat if len(flat) <= MAX_LINE else f"{flat[: MAX_LINE - 1]}…"


def _branch(step: Step) -> str:
    return f"{step.branch}: " if step.branch else ""


def _step_text(step: Step) -> str:  # noqa: PLR0911 - one return for each step
    match step:
        case EffectStep():
            return _performed(step)
        case ContextStep(operation=operation, answer=Raised(cause)):
            return f"{_operation(operation, None)} was refused: {cause!r}"
        case ContextStep(operation=operation, answer=answer):
            return _operation(operation, answer)
        case SleepStep(delay_ms=delay_ms):
            return f"sleep {_ms(delay_ms)}"
        case TimeoutStep(after_ms=after_ms):
            return f"timeout after {_ms(after_ms)}"
        case EmitStep(stream=stream, value=value):
            return f"chunk of {stream}: {value!r}"
        case LogStep(record=record):
            return f"log {record.level}: {record.message} {dict(record.fields) or ''}".rstrip()
        case _:
            assert_never(step)


def _performed(step: EffectStep) -> str:
    text = f"{step.instruction!r} -> {_answer(step.answer)}"
    return text if step.fault is None else f"{text}, by {step.fault!r}"


def _answer(answer: Success[Any] | Failure[Any] | object) -> str:
    match answer:
        case Success():
            return f"Success({answer.unwrap()!r})"
        case Failure():
            return f"Failure({answer.failure()!r})"
        case Raised(cause):
            return f"raised {cause!r}"
        case NoReply():
            return "no answer"
        case _:
            return repr(answer)


def _operation(operation: object, answer: object) -> str:  # noqa: PLR0911 - one return for each operation
    match operation:
        case GetState():
            return f"state is {answer!r}"
        case SetState(state):
            return f"set state {state!r}"
        case UpdateState():
            return f"update state to {answer!r}"
        case GetAlarm():
            return f"alarm is {answer}"
        case SetAlarm(change):
            return _alarm(change)
        case Post(target, action):
            return f"message to {target}: {action} {operation.payload()}".rstrip()
        case PostReply(name, value):
            return f"reply {name} {value!r}"
        case _:
            return repr(operation)


def _alarm(change: AlarmChange) -> str:
    match change:
        case KeepAlarm():
            return "keep the alarm"
        case AlarmAfter(delay):
            return f"set the alarm after {delay}"
        case AlarmAt(instant):
            return f"set the alarm at {instant}"
        case ClearAlarm():
            return "cancel the alarm"


def _exit(run: Simulated[Any, Any, Any]) -> str:
    return repr(run.exit) if isinstance(run.exit, Raised) else _answer(run.exit)


def _draft(run: Simulated[Any, Any, Any]) -> str:
    fate = "drafted" if run.committed is None else "committed"
    parts = [f"state {run.draft.state!r}", f"alarm {run.draft.alarm}"]
    if run.draft.messages:
        parts.append(f"{len(run.draft.messages)} messages")
    return f"{fate}: {', '.join(parts)}"


def _after(elapsed: timedelta) -> str:
    return f" after {_ms(elapsed // timedelta(milliseconds=1))}" if elapsed else ""


def _ms(milliseconds: int) -> str:
    return str(timedelta(milliseconds=milliseconds)) if milliseconds >= 1_000 else f"{milliseconds} ms"  # noqa: PLR2004 - a second


V = TypeVar("V")
A_co = TypeVar("A_co", covariant=True)
E_co = TypeVar("E_co", covariant=True)
S_co = DefaultTypeVar("S_co", covariant=True, default=None)


@attrs.frozen
class ProcessDied:
    """The exit when the process died at an effect call.

    Attributes:
        fault: the crash.
    """

    fault: Fault


@attrs.frozen
class Hung:
    """The exit when a run never ends: it still waits after its time limit and its cancellation.

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
        alarm: when the alarm is due, if the changes are stored at the run's end.
        messages: the messages to send, in order.
    """

    __repr__ = fields_in_line

    state: S_co
    alarm: datetime | None = None
    messages: tuple[Message, ...] = ()


@attrs.frozen
class NeverRun:
    """A program that was built, but never run or made part of another one, perhaps for a missing ``yield from``.

    Attributes:
        program: the program's ``repr``.
        place: the source line that built it.
    """

    __repr__ = fields_in_line

    program: str
    place: SourceLocation

    def __str__(self) -> str:
        return f"{self.program} of {self.place}"


@attrs.frozen(kw_only=True, repr=False)
class Simulated(Generic[A_co, E_co, S_co]):
    """One program run's steps and exit. Its ``repr`` is a trace with one line for each step.

    Attributes:
        exit: ``Success``, ``Failure``, ``Halted`` or ``Raised``, as for any program. ``ProcessDied`` when its process
            died. ``Hung`` when it never ends.
        draft: the requested changes at the run's end.
        trace: the steps, in order.
        faults: the fault plan.
        unused_faults: faults whose call was not made.
        never_run: programs that were built but not run. After a run that ended early, this includes programs for later.
        elapsed: the virtual time that it took.
        journal: the instance's journal rows at the run's end.
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
        """The reason with which the run terminated its instance (``ctx.terminate``). None if it did not."""
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
        """The service calls, in order."""
        return tuple(step for step in self.trace if isinstance(step, EffectStep))

    def calls(self, name: str) -> tuple[EffectStep, ...]:
        """Return one effect's calls, in order.

        Args:
            name: the `effect` function's name.
        """
        return tuple(step for step in self.effects if step.name == name)

    def emitted(self, stream: Stream[V]) -> tuple[V, ...]:
        """Return the chunks of a stream, in order.

        Args:
            stream: the stream's declaration.
        """
        chunks: tuple[Any, ...] = tuple(
            step.value for step in self.trace if isinstance(step, EmitStep) and step.stream == stream.name
        )
        return chunks

    @property
    def logs(self) -> tuple[LogStep, ...]:
        """The log records, in order."""
        return tuple(step for step in self.trace if isinstance(step, LogStep))

    @property
    def slept(self) -> timedelta:
        """Its sleeps' total time."""
        return timedelta(milliseconds=sum(step.delay_ms for step in self.trace if isinstance(step, SleepStep)))

    # ------------------------------------------------------------ for tests
    def value(self) -> A_co:
        """Return a success's value.

        Raises:
            AssertionError: the run did not succeed. The message is its trace.
        """
        if isinstance(self.exit, Success):
            value: A_co = self.exit.unwrap()
            return value
        raise AssertionError(f"expected a success\n{self!r}")

    def error(self) -> E_co:
        """Return a failure's typed error.

        Raises:
            AssertionError: the run did not fail. The message is its trace.
        """
        if isinstance(self.exit, Failure):
            error: E_co = self.exit.failure()
            return error
        raise AssertionError(f"expected a failure\n{self!r}")

    def __repr__(self) -> str:
        return "\n".join(trace_lines(self))


AnySimulated = Simulated[Any, Any, Any]
