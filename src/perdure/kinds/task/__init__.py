"""Tasks: user-controlled state machines."""

from perdure.kinds.task.context import TaskContext as TaskContext
from perdure.kinds.task.context import TaskErrorContext as TaskErrorContext
from perdure.kinds.task.definition import Task as Task
from perdure.kinds.task.handle import TaskHandle as TaskHandle
from perdure.kinds.task.handle import TaskSender as TaskSender

__all__ = ["Task", "TaskContext", "TaskErrorContext", "TaskHandle", "TaskSender"]
