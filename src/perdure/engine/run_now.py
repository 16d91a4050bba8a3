"""Runs a claimed program in the caller's step of the event loop, as long as its services answer at once."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from perdure.engine.resident import Resident
from perdure.engine.runner import Runner
from perdure.jobs.checkpoint import AwaitChange, Checkpoint, ReadJournal
from perdure.jobs.step import Execute, run_of
from perdure.programs import Exit, Raised
from perdure.programs.drivers import Suspended, run_while_answered
from perdure.runtime.run_context import enter_run

_JOURNALS: Final = frozenset({Checkpoint, ReadJournal, AwaitChange})


def run_now(runner: Runner, resident: Resident, execute: Execute) -> Exit[Any, Any] | Suspended[Any, Any]:
    """Run a claimed program until its end, or until it must wait for something.

    It changes the context variables of its caller, who calls it in a context of the run.

    Args:
        runner: the services, and how to perform their effects.
        resident: the instance.
        execute: the run.
    """
    enter_run(run_of(execute))
    begun = runner.until_effect(resident, execute)
    if not isinstance(begun, Suspended):
        return begun
    perform = runner.perform
    try:
        return run_while_answered(
            begun, lambda asked, services: perform(asked, services, execute), partial(_must_wait, resident)
        )
    except BaseException as raised:  # noqa: BLE001 - a defect of the run, of whatever class
        return Raised(raised)


def _must_wait(resident: Resident, asked: type) -> bool:
    """Return whether an instruction needs a task: checkpoints do, and the end of a run that a terminate interrupts."""
    return asked in _JOURNALS or (bool(resident.waiting) and resident.is_interrupted)
