"""The text of a simulated run, one line for each step, and the difference between two runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, assert_never

from returns.result import Failure, Success

from perdure.jobs.context import (
    AlarmAfter,
    AlarmAt,
    AlarmChange,
    ClearAlarm,
    GetAlarm,
    GetState,
    KeepAlarm,
    Post,
    SetAlarm,
    SetState,
    UpdateState,
)
from perdure.programs import Raised
from perdure.testing.simulation.step import ContextStep, EffectStep, LogStep, NoReply, SleepStep, Step, TimeoutStep

if TYPE_CHECKING:
    from perdure.testing.simulation.simulated import Simulated

MAX_LINE = 160
"""The maximum length of a line; a longer one is cut and ends with an ellipsis."""


def trace_lines(run: Simulated[Any, Any, Any]) -> Iterator[str]:
    """Yield the lines of one run."""
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
    for what, from_, to, other_from, other_to in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        if what == "equal":
            lines += _shared(ours[from_:to])
        else:
            lines += [f"- {line}" for line in ours[from_:to]] + [f"+ {line}" for line in theirs[other_from:other_to]]
    return ["these runs differ (- left, + right):", *lines]


def _shared(lines: list[str]) -> list[str]:
    """Return the common lines of two runs: the first and the last, and the number of lines between them."""
    between = len(lines) - 2
    shown = lines if between <= 1 else [lines[0], f"     ({between} more)", lines[-1]]
    return [f"  {line}" for line in shown]


def _line(text: str) -> str:
    flat = text.replace("\n", "\\n")
    return flat if len(flat) <= MAX_LINE else f"{flat[: MAX_LINE - 1]}…"


def _branch(step: Step) -> str:
    return f"{step.branch}: " if step.branch else ""


def _step_text(step: Step) -> str:
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
        case Post(target, action, payload):
            return f"message to {target}: {action} {payload}".rstrip()
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
