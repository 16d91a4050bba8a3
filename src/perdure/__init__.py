"""Durable jobs written as pure programs.

The everyday names are here. Sharp tools live in submodules: ``perdure.programs`` (the container and its combinators),
``perdure.stores`` (the contract for storage interpreters), ``perdure.jobs`` (the contract for new kinds of jobs).
"""

from perdure.app import App
from perdure.client.attempt import attempt
from perdure.client.client import Client
from perdure.client.unwrap import unwrap
from perdure.codecs import Migrations
from perdure.jobs.decision import Alarm, Decision
from perdure.jobs.tell import tell
from perdure.kinds.continuous import Continuous, ContinuousContext
from perdure.kinds.debounce import Debounce, DebounceContext
from perdure.kinds.task import Task, TaskContext, TaskErrorContext
from perdure.programs import Do, Program, effect, fail, lift, program, succeed
from perdure.values.backoff import Backoff
from perdure.values.cron import cron
from perdure.values.every import every
from perdure.values.limits import Limits
from perdure.values.retry import Retry
from perdure.values.secret import Secret

__all__ = [
    "Alarm",
    "App",
    "Backoff",
    "Client",
    "Continuous",
    "ContinuousContext",
    "Debounce",
    "DebounceContext",
    "Decision",
    "Do",
    "Limits",
    "Migrations",
    "Program",
    "Retry",
    "Secret",
    "Task",
    "TaskContext",
    "TaskErrorContext",
    "attempt",
    "cron",
    "effect",
    "every",
    "fail",
    "lift",
    "program",
    "succeed",
    "tell",
    "unwrap",
]
