"""A backend for Django's tasks, from Django 6 on: each enqueued task is a worker pool's item.

Define the pool where your jobs are, and run its app with ``manage.py perdure run``::

    tasks = task_pool("tasks", workers=10)
    app = App(None).with_jobs(tasks)

Then name the backend in your settings::

    BACKEND = "perdure.integrations.django.tasks.PerdureBackend"
    TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"pool": "shop.jobs.tasks"}}}

Options:

- ``pool``: the pool's dotted path. The setting ``PERDURE_JOBS`` names it, too.
- ``outbox``: whether ``enqueue`` writes the task in the view's transaction, as ``send_after_commit`` does. By
  default False.
- ``priority_step``: each point of its priority ranks a task as if it had been enqueued this much earlier. By default
  ``"1 minute"``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from inspect import iscoroutinefunction
from traceback import format_exception
from typing import Any, Final, ParamSpec, TypeVar
from uuid import uuid4

from attrs import frozen
from returns.result import Failure, Result, Success

try:
    from django.tasks import TaskContext, TaskResult, TaskResultStatus
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TASK_MAX_PRIORITY, TASK_MIN_PRIORITY, Task, TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
except ImportError as missing:  # pragma: no cover - the tests need that Django
    raise ImportError(
        "perdure.integrations.django.tasks needs Django 6.0 or later, on Python 3.12 or later"
    ) from missing
from django.core import checks
from django.db import close_old_connections
from django.utils import timezone
from django.utils.json import normalize_json
from django.utils.module_loading import import_string

from perdure.integrations.django.client import jobs
from perdure.integrations.django.outbox import send_after_commit
from perdure.jobs.hooks import RetryPolicy
from perdure.kinds.worker_pool.definition import DEFAULT_WORKERS, WorkerPool
from perdure.kinds.worker_pool.items import ItemContext
from perdure.programs import Program, effect
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError
from perdure.values.outcome import Failed
from perdure.values.status import InstanceStatus, Status
from perdure.values.times import Duration, duration_ms

P = ParamSpec("P")
R = TypeVar("R")

WORKER: Final = "perdure"
"""The name of each attempt's worker in ``TaskResult.worker_ids``: engines have no names of their own."""

MAX_STEP_MS: Final = 365 * 86_400_000 // (TASK_MAX_PRIORITY - TASK_MIN_PRIORITY)
"""The largest ``priority_step``: the highest priority ranks a task a year earlier than the lowest one."""


@frozen(kw_only=True)
class EnqueuedTask:
    """A pool's item: an enqueued call.

    Attributes:
        arguments: its positional and keyword arguments, as JSON: ``{"args": [], "kwargs": {}}``.
        queue: its queue, which is the item's key: queues take turns.
        priority: from -100 to 100.
        is_async: whether its function is a coroutine function.
    """

    path: str
    arguments: str
    queue: str
    priority: int
    backend: str
    is_async: bool


@frozen(kw_only=True)
class TaskFailure:
    """An exception that a task's function raised.

    Attributes:
        exception: its class, as a dotted path.
    """

    exception: str
    message: str
    traceback: str


def _ready(
    task: Task[P, R], id_: str, args: Sequence[Any], kwargs: Mapping[str, Any], *, enqueued_at: Any
) -> TaskResult[P, R]:
    return TaskResult(
        task=task,
        id=id_,
        status=TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        last_attempted_at=None,
        finished_at=None,
        args=list(args),
        kwargs=dict(kwargs),
        backend=task.backend,
        errors=[],
        worker_ids=[],
    )


def _set(result: TaskResult[..., Any], fields: Mapping[str, Any]) -> None:
    """Set fields of a result, which is frozen for all code but a backend."""
    for name, value in fields.items():
        object.__setattr__(result, name, value)


# ---------------------------------------------------------------- in the engine
def _begun(id_: str, item: EnqueuedTask, attempt: int) -> TaskResult[..., Any]:
    """Return a running task's result, and send the signal ``task_started``."""
    found: Task[..., Any] = import_string(item.path)
    task = found.using(queue_name=item.queue, priority=item.priority, backend=item.backend)
    given, now = json.loads(item.arguments), timezone.now()
    result = _ready(task, id_, given["args"], given["kwargs"], enqueued_at=None)
    shown = {"status": TaskResultStatus.RUNNING, "started_at": now, "last_attempted_at": now}
    _set(result, shown | {"worker_ids": [WORKER] * attempt})
    task_started.send(type(task.get_backend()), task_result=result)
    return result


def _with_context(result: TaskResult[..., Any]) -> list[Any]:
    return [TaskContext(task_result=result), *result.args] if result.task.takes_context else result.args


def _ended(result: TaskResult[..., Any], value: object) -> Result[str, TaskFailure]:
    """Send the signal ``task_finished``, and return the value as JSON."""
    _set(result, {"_return_value": normalize_json(value)})
    _finish(result, TaskResultStatus.SUCCESSFUL)
    return Success(json.dumps(result.return_value))


def _failed(result: TaskResult[..., Any] | None, error: Exception) -> Result[str, TaskFailure]:
    name, text = f"{type(error).__module__}.{type(error).__qualname__}", "".join(format_exception(error))
    if result is not None:
        result.errors.append(TaskError(exception_class_path=name, traceback=text))
        _finish(result, TaskResultStatus.FAILED)
    return Failure(TaskFailure(exception=name, message=str(error), traceback=text))


def _finish(result: TaskResult[..., Any], status: TaskResultStatus) -> None:
    _set(result, {"finished_at": timezone.now(), "status": status})
    task_finished.send(type(result.task.get_backend()), task_result=result)


@effect(on="thread", name="call a task")
def _call(_: object, id_: str, item: EnqueuedTask, attempt: int) -> Result[str, TaskFailure]:
    result: TaskResult[..., Any] | None = None
    # The thread is used again: a connection that was lost meanwhile must not fail this task.
    close_old_connections()
    try:
        result = _begun(id_, item, attempt)
        return _ended(result, result.task.func(*_with_context(result), **result.kwargs))
    except Exception as error:  # noqa: BLE001 - the task's own, of any class, is its typed failure
        return _failed(result, error)
    finally:
        close_old_connections()


@effect(name="await a task")
async def _await(_: object, id_: str, item: EnqueuedTask, attempt: int) -> Result[str, TaskFailure]:
    result: TaskResult[..., Any] | None = None
    try:
        result = _begun(id_, item, attempt)
        return _ended(result, await result.task.func(*_with_context(result), **result.kwargs))
    except Exception as error:  # noqa: BLE001 - as in `_call`
        return _failed(result, error)


def _work(ctx: ItemContext[EnqueuedTask]) -> Program[str, TaskFailure, object]:
    def perform(item: EnqueuedTask) -> Program[str, TaskFailure, object]:
        return (_await if item.is_async else _call)(ctx.id, item, ctx.attempt)

    return ctx.item.bind(perform)


def _queue_of(item: EnqueuedTask) -> str:
    return item.queue


def task_pool(
    name: str,
    *,
    workers: int = DEFAULT_WORKERS,
    workers_per_queue: int | None = None,
    retry: RetryPolicy[TaskFailure] | None = None,
    keep: Duration | None = "1 day",
    run_timeout: Duration = "15 minutes",
) -> WorkerPool[EnqueuedTask, str, TaskFailure, object]:
    """Return a worker pool for Django's tasks. The engine runs functions in threads, and coroutines on its loop.

    Args:
        name: the pool's name.
        workers: at most this many tasks run at the same time.
        workers_per_queue: for one queue, at most this many.
        retry: the durable retry after a function has raised. Without it, the task has failed, and its item is
            parked until an operator resumes or terminates it.
        keep: how long a result is kept. None: until the item is terminated.
        run_timeout: the time limit for a task.

    Raises:
        DefinitionError: an argument is invalid.
    """
    return WorkerPool(
        name,
        item=EnqueuedTask,
        work=_work,
        workers=workers,
        key=_queue_of,
        workers_per_key=workers_per_queue,
        retry=retry,
        keep=keep,
        result=str,
        errors=TaskFailure,
        run_timeout=run_timeout,
    )


# ---------------------------------------------------------------- in the views
_READY: Final[frozenset[Status]] = frozenset(("queued", "scheduled", "retrying", "paused", "idle", "left"))


class PerdureBackend(BaseTaskBackend):
    """The backend. See the module's documentation for its options."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, dict(params))
        self._pool: WorkerPool[EnqueuedTask, str, TaskFailure, object] | None = None

    @property
    def pool(self) -> WorkerPool[EnqueuedTask, str, TaskFailure, object]:
        """The pool that the option names.

        Raises:
            DefinitionError: the option is missing, or is not the path of a pool that `task_pool` made.
        """
        # At first use: the option names a module of the project, whose models may not be ready when backends are made.
        if self._pool is None:
            path = self.options.get("pool", "")
            try:
                found = import_string(path)
            except ImportError:
                found = None
            # A pool that was made otherwise has other items, and its work would fail for each task.
            if not isinstance(found, WorkerPool) or found.policy.key is not _queue_of:
                expected = "the dotted path of a pool that task_pool returned, such as 'shop.jobs.tasks'"
                raise DefinitionError(f"option 'pool' of the task backend {self.alias!r}", path, expected)
            self._pool = found
        return self._pool

    def _step_ms(self) -> int:
        step: Duration = self.options.get("priority_step", "1 minute")
        what = f"option 'priority_step' of the task backend {self.alias!r}"
        step_ms = duration_ms(step, what=what, minimum_ms=0)
        if step_ms > MAX_STEP_MS:
            raise DefinitionError(what, step, f"at most {MAX_STEP_MS // 3_600_000} hours")
        return step_ms

    def check(self, **_: Any) -> list[checks.CheckMessage]:
        """Return the wrong options, for ``manage.py check``."""
        found = list[checks.CheckMessage]()
        for option in (lambda: self.pool, self._step_ms):
            try:
                option()
            except DefinitionError as error:
                found.append(checks.Error(str(error), id="perdure.E001"))
        return found

    def enqueue(self, task: Task[P, R], args: Sequence[Any], kwargs: Mapping[str, Any]) -> TaskResult[P, R]:
        """Put a task into the pool, now or with the outbox when the transaction has committed.

        Raises:
            InvalidTask: the backend cannot run it.
            PerdureError: the engine refused it, or did not answer. It may have been enqueued if the answer was lost.
        """
        self.validate_task(task)
        # Made here and not by the engine: it is the key of a repeat.
        id_ = uuid4().hex
        result = _ready(task, id_, args, kwargs, enqueued_at=timezone.now())
        item = EnqueuedTask(
            path=task.module_path,
            # Already normalized by Django, whose rules say which arguments a task may have.
            arguments=json.dumps({"args": result.args, "kwargs": result.kwargs}),
            queue=task.queue_name,
            priority=task.priority,
            backend=self.alias,
            is_async=iscoroutinefunction(task.func),
        )
        after = None if task.run_after is None else _aware(task.run_after)
        # From the lowest priority up: a head start cannot be negative.
        head_start = f"{(task.priority - TASK_MIN_PRIORITY) * self._step_ms()} ms"
        if self.options.get("outbox", False):
            send_after_commit(self.pool, id_, lambda sender: sender.put(item, at=after, head_start=head_start))
        else:
            jobs().run(jobs().handle(self.pool).put(id_, item, at=after, head_start=head_start, idempotency_key=id_))
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """Read a task's result.

        Raises:
            TaskResultDoesNotExist: there is none: it is no longer kept, was cancelled, or is still in the outbox.
            PerdureError: the engine did not answer.
        """
        handle = jobs().handle(self.pool)
        item, status = jobs().run(handle.get_state(result_id)), jobs().run(handle.status(result_id))
        if item is None or status.status == "not_found":
            raise TaskResultDoesNotExist(result_id)
        found: Task[..., Any] = import_string(item.path)
        task = found.using(queue_name=item.queue, priority=item.priority, backend=item.backend)
        given = json.loads(item.arguments)
        result = _ready(task, result_id, given["args"], given["kwargs"], enqueued_at=status.created_at)
        self._add_status(result, status)
        return result

    def _add_status(self, result: TaskResult[..., Any], status: InstanceStatus) -> None:
        outcome = None if status.status in _READY else jobs().run(jobs().handle(self.pool).outcome(result.id))
        shown: dict[str, Any] = {"status": TaskResultStatus.READY}
        match outcome:
            case Done(value):
                shown = {"status": TaskResultStatus.SUCCESSFUL, "_return_value": json.loads(value)}
            case Failed(TaskFailure(exception=name, traceback=text)):
                errors = [TaskError(exception_class_path=name, traceback=text)]
                shown = {"status": TaskResultStatus.FAILED, "errors": errors}
            case Failed(error):  # of the engine, such as a time limit
                text = "" if status.last_error is None else status.last_error.traceback or str(error)
                errors = [TaskError(exception_class_path="builtins.RuntimeError", traceback=text)]
                shown = {"status": TaskResultStatus.FAILED, "errors": errors}
            case _ if status.status == "running":
                shown = {"status": TaskResultStatus.RUNNING}
            case _:
                pass
        begun = status.run_count > 0 or status.status in ("running", "retrying")
        shown["worker_ids"] = [WORKER] * (status.attempt if begun else 0)
        if begun:
            shown["started_at"] = shown["last_attempted_at"] = status.started_at or status.updated_at
        if shown["status"] in (TaskResultStatus.SUCCESSFUL, TaskResultStatus.FAILED):
            shown["finished_at"] = status.updated_at
        _set(result, shown)


def _aware(instant: Any) -> Any:
    return instant if timezone.is_aware(instant) else timezone.make_aware(instant)
