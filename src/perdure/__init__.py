"""Durable jobs written as pure programs.

The everyday names are here. Sharp tools live in submodules: ``perdure.programs`` (the container and its combinators),
``perdure.stores`` (the contract for storage interpreters), ``perdure.jobs`` (the contract for new job kinds).

Each name is imported at its first use, so that a module with definitions never loads the engine.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.app import App
    from perdure.client.client import Client
    from perdure.client.gateway import attempt
    from perdure.codecs import Migrations
    from perdure.jobs.call import Call
    from perdure.jobs.context import Alarm, Decision
    from perdure.jobs.definition import tell
    from perdure.jobs.streams import BeganAgain, Chunk, ChunksDropped, Heartbeat, Stream
    from perdure.kinds.continuous import Continuous, ContinuousContext
    from perdure.kinds.debounce import Debounce, DebounceContext
    from perdure.kinds.schedules import Schedules
    from perdure.kinds.task import Reply, Task, TaskContext, TaskErrorContext
    from perdure.kinds.topic import Topic
    from perdure.kinds.worker_pool import BatchContext, ItemContext, PoolBatch, WorkerPool
    from perdure.kinds.workflow import (
        Promise,
        Published,
        Signal,
        StateQuery,
        Undo,
        Update,
        Workflow,
        WorkflowContext,
        patched,
        saga,
        step,
        step_key,
    )
    from perdure.programs import Do, Program, effect, fail, lift, program, succeed
    from perdure.values.attributes import Attribute, Condition, attribute
    from perdure.values.limits import KeepHistory, Limit, Limits, LimitUse
    from perdure.values.retry import Backoff, Retry
    from perdure.values.schedule import cron, every
    from perdure.values.secret import Secret
    from perdure.values.status import Defect
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "perdure.app": ("App",),
            "perdure.client.gateway": ("attempt",),
            "perdure.client.client": ("Client",),
            "perdure.codecs": ("Migrations",),
            "perdure.jobs.call": ("Call",),
            "perdure.jobs.context": ("Alarm", "Decision"),
            "perdure.jobs.definition": ("tell",),
            "perdure.jobs.streams": ("BeganAgain", "Chunk", "ChunksDropped", "Heartbeat", "Stream"),
            "perdure.kinds.continuous": ("Continuous", "ContinuousContext"),
            "perdure.kinds.debounce": ("Debounce", "DebounceContext"),
            "perdure.kinds.schedules": ("Schedules",),
            "perdure.kinds.task": ("Reply", "Task", "TaskContext", "TaskErrorContext"),
            "perdure.kinds.topic": ("Topic",),
            "perdure.kinds.worker_pool": ("BatchContext", "ItemContext", "PoolBatch", "WorkerPool"),
            "perdure.kinds.workflow": (
                "Promise",
                "Published",
                "Signal",
                "StateQuery",
                "Undo",
                "Update",
                "Workflow",
                "WorkflowContext",
                "patched",
                "saga",
                "step",
                "step_key",
            ),
            "perdure.programs": ("Do", "Program", "effect", "fail", "lift", "program", "succeed"),
            "perdure.values.retry": ("Backoff", "Retry"),
            "perdure.values.schedule": ("cron", "every"),
            "perdure.values.attributes": ("Attribute", "Condition", "attribute"),
            "perdure.values.status": ("Defect",),
            "perdure.values.limits": ("KeepHistory", "Limit", "LimitUse", "Limits"),
            "perdure.values.secret": ("Secret",),
        },
    )

__all__ = [
    "Alarm",
    "App",
    "Attribute",
    "Backoff",
    "BatchContext",
    "BeganAgain",
    "Call",
    "Chunk",
    "ChunksDropped",
    "Client",
    "Condition",
    "Continuous",
    "ContinuousContext",
    "Debounce",
    "DebounceContext",
    "Decision",
    "Defect",
    "Do",
    "Heartbeat",
    "ItemContext",
    "KeepHistory",
    "Limit",
    "LimitUse",
    "Limits",
    "Migrations",
    "PoolBatch",
    "Program",
    "Promise",
    "Published",
    "Reply",
    "Retry",
    "Schedules",
    "Secret",
    "Signal",
    "StateQuery",
    "Stream",
    "Task",
    "TaskContext",
    "TaskErrorContext",
    "Topic",
    "Undo",
    "Update",
    "WorkerPool",
    "Workflow",
    "WorkflowContext",
    "attempt",
    "attribute",
    "cron",
    "effect",
    "every",
    "fail",
    "lift",
    "patched",
    "program",
    "saga",
    "step",
    "step_key",
    "succeed",
    "tell",
]
