"""Tasks: user-controlled state machines."""

from typing import TYPE_CHECKING

from perdure.kinds.task.context import TaskContext as TaskContext
from perdure.kinds.task.context import TaskErrorContext as TaskErrorContext
from perdure.kinds.task.definition import Task as Task

if TYPE_CHECKING:
    from perdure.kinds.task.handle import Reply as Reply
    from perdure.kinds.task.handle import TaskHandle as TaskHandle
    from perdure.kinds.task.handle import TaskSender as TaskSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, {"perdure.kinds.task.handle": ("Reply", "TaskHandle", "TaskSender")})

__all__ = ["Reply", "Task", "TaskContext", "TaskErrorContext", "TaskHandle", "TaskSender"]
