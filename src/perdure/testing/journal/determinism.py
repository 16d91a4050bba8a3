"""Finds programs whose replays differ: they read a clock, a service, or a value that they change themselves."""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import date
from itertools import zip_longest
from types import FrameType
from typing import Any, Final

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import NextStep
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance

_READS: Final = frozenset({time.time, time.time_ns, time.monotonic, time.monotonic_ns, time.perf_counter, os.urandom})
"""Functions of the interpreter whose results differ from call to call; `uuid4` and `secrets` call the last one."""

_DRAWN: Final = random.random.__self__  # type: ignore[attr-defined] # the generator behind the functions of `random`

_IDENTITY = re.compile(r" at 0x[0-9a-f]+")


def nondeterminism(job: AnyDefinition, instance: Instance, rows: Sequence[str]) -> str | None:
    """Replay a journal twice, and describe the first difference; None if the program follows it.

    Args:
        job: the definition.
        instance: the stored instance.
        rows: the rows of its journal, or those up to a step.
    """
    try:
        with _reads() as reads:
            first, second = job.replayed(instance, rows), job.replayed(instance, rows)
    except InvalidInput as problem:
        return f"after {len(rows)} steps the program does not follow its own journal: {'; '.join(problem.problems)}"
    if reads:
        return (
            f"after {len(rows)} steps the program calls {reads[0]}: another replay gets another value; read the clock "
            "with ctx.now, and perform other reads as effects"
        )
    for one, other in zip_longest(first, second):
        if one is None or other is None or not _is_same(one, other):
            line = next((step.line for step in (one, other) if step is not None and step.line), "an unknown line")
            return (
                f"after {len(rows)} steps two replays wait for different steps at {line}: {_shown(one)}, then "
                f"{_shown(other)}; a program may use only its arguments and the answers of its steps"
            )
    return None


@contextmanager
def _reads() -> Generator[list[str]]:
    """Collect the calls of clocks and random sources, each with the line of the program that makes it.

    A branch on a clock takes the same way in two replays that follow each other, so comparing them does not find it.
    """
    found: list[str] = []

    def note(frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call" and _is_read(called):
            caller = _caller(frame)
            if caller is not None:
                found.append(f"{called.__name__}() at {caller.f_code.co_filename}:{caller.f_lineno}")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


def _is_read(called: Any) -> bool:
    of = getattr(called, "__self__", None)
    if isinstance(of, type):
        return issubclass(of, date) and called.__name__ in {"now", "utcnow", "today"}
    return of is _DRAWN or called in _READS


def _caller(frame: FrameType | None) -> FrameType | None:
    """Return the frame outside of the standard library that calls.

    None for a log record, which has the time, and for Hypothesis, which measures collections of garbage.
    """
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if module in {"logging", "hypothesis"}:
            return None
        if module not in sys.stdlib_module_names:
            return frame
        frame = frame.f_back
    return None


def _is_same(one: NextStep, other: NextStep) -> bool:
    if (one.path, one.name) != (other.path, other.name):
        return False
    return one.instruction == other.instruction or _printed(one) == _printed(other)


def _printed(step: NextStep) -> str:
    return _IDENTITY.sub("", repr(step.instruction))


def _shown(step: NextStep | None) -> str:
    return "no step" if step is None else f"step {step.path} {_printed(step)}"
