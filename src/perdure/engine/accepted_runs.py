"""Begins the run of a job that is accepted for now: one commit for its acceptance and its claim, if a slot is free."""

from __future__ import annotations

from typing import Protocol

import attrs

from perdure.engine.item import Item
from perdure.engine.resident import Resident
from perdure.engine.runner import Runner
from perdure.jobs.fast_paths import accepted_instance, as_found, with_claim
from perdure.jobs.request import ALARM
from perdure.jobs.step import Commit, Execute
from perdure.jobs.turn import begin
from perdure.runtime.run_context import leave_run, outside_runs
from perdure.values.address import Address
from perdure.values.instance import Instance
from perdure.values.transition import Loaded, Transition
from perdure.values.turn_inputs import NO_OTHERS


class Accepts(Protocol):
    """The alarms of an engine, for those that are due when they are set."""

    def accept(self, address: Address, due_ms: int) -> Item | None:
        """Count an alarm as fired, unless others wait for their turn; return its request."""
        ...

    def withdraw(self, item: Item) -> None:
        """Take that back: the alarm was not set."""
        ...


@attrs.frozen
class AcceptedRun:
    """A run that is claimed by the commit that accepts it. It has a slot.

    Attributes:
        execute: the run.
        transition: the acceptance and the claim.
        item: the request of its alarm.
    """

    execute: Execute
    transition: Transition
    item: Item


def accepted_run(runner: Runner, alarms: Accepts, resident: Resident, commit: Commit) -> AcceptedRun | None:
    """Return the run that an accepted job begins at once.

    None if its alarm is not due, if it must wait for a slot or for earlier alarms, or if more must be known of its turn
    than its row: then the alarm fires after the commit, as any other.
    """
    instance = accepted_instance(commit, runner.runtime.now_ms())
    if instance is None or instance.due_ms is None or not _is_plain(runner, resident):
        return None
    item = alarms.accept(resident.address, instance.due_ms)
    if item is None:
        return None
    accepted: AcceptedRun | None = None
    try:
        run = _decided(runner, resident, instance)
        transition = None if run is None else with_claim(commit, run)
        if run is not None and transition is not None:
            entered = runner.gates.try_enter(resident.job_name, run.alone, resident.address)
            accepted = AcceptedRun(run, transition, item) if entered else None
    finally:
        if accepted is None:
            alarms.withdraw(item)
    return accepted


def _is_plain(runner: Runner, resident: Resident) -> bool:
    """Whether no other engine shares the store, no other request waits, and nothing observes each turn."""
    if runner.others is not NO_OTHERS:
        return False
    return not (resident.waiting or resident.running or resident.deferred) and is_plain(runner)


def is_plain(runner: Runner) -> bool:
    """Return whether runs may start, and nothing observes each turn or must be known of it besides its row."""
    if runner.tracing is not None or runner.reporting.sinks.told:
        return False
    return runner.phase == "open" and runner.code == "trusted"


def _decided(runner: Runner, resident: Resident, instance: Instance) -> Execute | None:
    inputs = runner.inputs_of(resident)
    around = outside_runs()
    try:
        step = begin(resident.job, resident.address, Loaded(instance=as_found(instance)), ALARM, inputs)
    except Exception:  # noqa: BLE001 - a hook raised; the alarm's own turn reports that
        return None
    finally:
        if around is not None:
            leave_run(around)
    return step if isinstance(step, Execute) else None
