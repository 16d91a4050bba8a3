"""The kit for testing jobs and stores. No other package of the library imports it, nor hypothesis or pytest."""

import importlib

try:
    importlib.import_module("hypothesis")
except ModuleNotFoundError as error:
    _missing = f"no module {error.name}: perdure.testing needs the extra 'testing': pip install 'perdure[testing]'"
    raise ModuleNotFoundError(_missing, name=error.name) from error

from perdure.jobs.draft import HookBug
from perdure.testing.fault import Crash, Delay, Fail, Fault, Faults, Hang, Raise, Succeed, TwoFaults
from perdure.testing.fixtures import Worlds
from perdure.testing.histories import Histories, HistoryStep, InstanceHistory
from perdure.testing.hooks import HookContext, explain, hook_context
from perdure.testing.laws import RedeliveryResult, assert_atomic, every_fault, faults, run_with_redelivery
from perdure.testing.machine import InstanceView, InvariantViolated, JobLaws, JobMachine, Model
from perdure.testing.migration import MigrationLosesData, check_migrations
from perdure.testing.simulated_run import (
    Changes,
    ContextStep,
    EffectStep,
    EmitStep,
    Hung,
    LogStep,
    NeverRun,
    NoReply,
    ProcessDied,
    Simulated,
    SleepStep,
    Step,
    TimeoutStep,
)
from perdure.testing.simulator import FakeServices, NoAnswer, fake_services, simulate
from perdure.testing.typed import NoSample, examples_of, from_type
from perdure.testing.world import (
    START,
    UNANSWERED,
    Clock,
    EffectCall,
    Interleaving,
    NoWorker,
    TraceEvent,
    UnansweredCall,
    UnexpectedSuccess,
    WorkerDied,
    WorkerRunning,
    World,
)
from perdure.values.times import from_ms, to_ms

__all__ = [
    "START",
    "UNANSWERED",
    "Changes",
    "Clock",
    "ContextStep",
    "Crash",
    "Delay",
    "EffectCall",
    "EffectStep",
    "EmitStep",
    "Fail",
    "FakeServices",
    "Fault",
    "Faults",
    "Hang",
    "Histories",
    "HistoryStep",
    "HookBug",
    "HookContext",
    "Hung",
    "InstanceHistory",
    "InstanceView",
    "Interleaving",
    "InvariantViolated",
    "JobLaws",
    "JobMachine",
    "LogStep",
    "MigrationLosesData",
    "Model",
    "NeverRun",
    "NoAnswer",
    "NoReply",
    "NoSample",
    "NoWorker",
    "ProcessDied",
    "Raise",
    "RedeliveryResult",
    "Simulated",
    "SleepStep",
    "Step",
    "Succeed",
    "TimeoutStep",
    "TraceEvent",
    "TwoFaults",
    "UnansweredCall",
    "UnexpectedSuccess",
    "WorkerDied",
    "WorkerRunning",
    "World",
    "Worlds",
    "assert_atomic",
    "check_migrations",
    "every_fault",
    "examples_of",
    "explain",
    "fake_services",
    "faults",
    "from_ms",
    "from_type",
    "hook_context",
    "run_with_redelivery",
    "simulate",
    "to_ms",
]
