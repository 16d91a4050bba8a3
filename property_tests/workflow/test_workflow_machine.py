"""Hypothesis drives a workflow through requests, crashes, faults and time."""

from __future__ import annotations

from flows import Order, Shop, approval, fulfil, fulfilment
from hypothesis import settings
from hypothesis import strategies as st

from perdure import Workflow
from perdure.kinds.workflow.header import header_of
from perdure.testing import InstanceView, JobMachine


def signals_are_counted(view: InstanceView) -> bool:
    header = header_of(view.instance)
    return 0 <= header.waiting <= header.signals and header.skips <= view.instance.journal_length


def an_ended_workflow_waits_for_nothing(view: InstanceView) -> bool:
    header = header_of(view.instance)
    return header.ended is None or not (header.failing or header.waits_for)


TYPES = {int: st.integers(-1, 3), str: st.sampled_from(["a", "b"])}
COMMANDS = ("start", "signal.approval", "cancel", "pause", "resume", "terminate", "outcome", "fork")
INVARIANTS = (signals_are_counted, an_ended_workflow_waits_for_nothing)
DURATIONS = ("1 second", "1 hour", "1 day")

TestWorkflow = JobMachine(
    job=fulfilment, services=Shop, types=TYPES, commands=COMMANDS, invariants=INVARIANTS, durations=DURATIONS
).TestCase
TestWorkflow.settings = settings(TestWorkflow.settings, max_examples=60, stateful_step_count=25)

TestWorkflowOnDisk = JobMachine(
    job=fulfilment,
    services=Shop,
    types=TYPES,
    commands=COMMANDS,
    invariants=INVARIANTS,
    durations=DURATIONS,
    store="sqlite",
    interleaving="operations",
).TestCase
TestWorkflowOnDisk.settings = settings(TestWorkflowOnDisk.settings, max_examples=20, stateful_step_count=20)


def a_queued_start_has_not_begun(view: InstanceView) -> bool:
    row = view.instance
    return row.lane is None or (row.claim is None and row.ended_ms is None and header_of(row).cancel is None)


limited = Workflow("limited", state=Order, run=fulfil, signals=(approval,), keep="1 hour", concurrency=1)
TestLimitedWorkflow = JobMachine(
    job=limited,
    services=Shop,
    types=TYPES,
    commands=(*COMMANDS, "signal_with_start.approval"),
    invariants=(*INVARIANTS, a_queued_start_has_not_begun),
    durations=DURATIONS,
).TestCase
TestLimitedWorkflow.settings = settings(TestLimitedWorkflow.settings, max_examples=30, stateful_step_count=20)
