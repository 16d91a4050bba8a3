"""Finds programs whose replays differ: they read a clock, a service, or a value that they change themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.replayed import NextStep
from perdure.values.errors import InvalidInput
from perdure.values.instance import Instance

_IDENTITY = re.compile(r" at 0x[0-9a-f]+")


def nondeterminism(job: AnyDefinition, instance: Instance, rows: Sequence[str]) -> str | None:
    """Replay a journal twice, and describe the first difference; None if the program follows it.

    Args:
        job: the definition.
        instance: the stored instance.
        rows: the rows of its journal, or those up to a step.
    """
    try:
        first, second = job.replayed(instance, rows), job.replayed(instance, rows)
    except InvalidInput as problem:
        return f"after {len(rows)} steps the program does not follow its own journal: {'; '.join(problem.problems)}"
    for one, other in zip_longest(first, second):
        if one is None or other is None or not _is_same(one, other):
            line = next((step.line for step in (one, other) if step is not None and step.line), "an unknown line")
            return (
                f"after {len(rows)} steps two replays wait for different steps at {line}: {_shown(one)}, then "
                f"{_shown(other)}; a program may use only its arguments and the answers of its steps"
            )
    return None


def _is_same(one: NextStep, other: NextStep) -> bool:
    if (one.path, one.name) != (other.path, other.name):
        return False
    return one.instruction == other.instruction or _printed(one) == _printed(other)


def _printed(step: NextStep) -> str:
    return _IDENTITY.sub("", repr(step.instruction))


def _shown(step: NextStep | None) -> str:
    return "no step" if step is None else f"step {step.path} {_printed(step)}"
