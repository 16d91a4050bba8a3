"""The loop of a program whose run is watched: the watch records each step of it, and nothing of other runs."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

import attrs

from perdure.programs.container import Program
from perdure.programs.exit import Exit
from perdure.programs.interpreter import Fork, Loop
from perdure.programs.watch import Watch, seen_by

A = TypeVar("A")
E = TypeVar("E")


def watched(loop: Loop[A, E], watch: Watch) -> Loop[A, E]:
    """Drive a loop one step after the other, each of them under the watch; branches as well.

    While a run waits, other runs take steps, so a watch is set for a step, never for a run.
    """
    answer: Any = None
    raised: BaseException | None = None
    while True:
        try:
            with seen_by(watch):
                instruction, services = loop.send(answer) if raised is None else loop.throw(raised)
        except StopIteration as stop:
            exit_: Exit[A, E] = stop.value
            return exit_
        if isinstance(instruction, Fork):
            instruction = attrs.evolve(instruction, begin=partial(_branch, instruction, watch))
        answer, raised = None, None
        try:
            answer = yield instruction, services
        except GeneratorExit:
            loop.close()
            raise
        except BaseException as exception:  # noqa: BLE001 - raised at the instruction, as without a watch
            raised = exception


def _branch(fork: Fork, watch: Watch, program: Program[Any, Any, Any]) -> Loop[Any, Any]:
    return watched(fork.begin(program), watch)
