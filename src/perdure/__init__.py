"""Durable jobs written as pure programs.

The everyday names are here. Sharp tools live in submodules: ``perdure.program`` (the container and its combinators),
``perdure.stores`` (the contract for storage interpreters), ``perdure.jobs`` (the contract for new kinds of jobs).
"""

from perdure.app import App, Engine
from perdure.client.ask import ask
from perdure.client.attempt import attempt
from perdure.client.jobs import Jobs
from perdure.codecs import Versions
from perdure.jobs.decision import After, At, Cancel, Decision, Keep
from perdure.jobs.tell import tell
from perdure.kinds.continuous import Continuous, ContinuousContext
from perdure.kinds.debounce import Debounce, DebounceContext
from perdure.kinds.task import Task, TaskContext, TaskErrorContext
from perdure.program import Do, Program, effect, fail, lift, program, succeed
from perdure.values.backoff import Backoff
from perdure.values.catch_up import CatchUpAll
from perdure.values.cron import cron
from perdure.values.every import every
from perdure.values.limits import Limits
from perdure.values.retry import Retry

__all__ = [
    "After",
    "App",
    "At",
    "Backoff",
    "Cancel",
    "CatchUpAll",
    "Continuous",
    "ContinuousContext",
    "Debounce",
    "DebounceContext",
    "Decision",
    "Do",
    "Engine",
    "Jobs",
    "Keep",
    "Limits",
    "Program",
    "Retry",
    "Task",
    "TaskContext",
    "TaskErrorContext",
    "Versions",
    "ask",
    "attempt",
    "cron",
    "effect",
    "every",
    "fail",
    "lift",
    "program",
    "succeed",
    "tell",
]
