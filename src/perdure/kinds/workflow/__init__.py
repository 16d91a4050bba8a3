"""Workflows: long programs, each effect of which is a durable step."""

from typing import TYPE_CHECKING

from perdure.kinds.workflow.commands import Diverged as Diverged
from perdure.kinds.workflow.commands import JournalFull as JournalFull
from perdure.kinds.workflow.commands import NotRecordable as NotRecordable
from perdure.kinds.workflow.commands import Signalled as Signalled
from perdure.kinds.workflow.context import WorkflowContext as WorkflowContext
from perdure.kinds.workflow.definition import Workflow as Workflow
from perdure.kinds.workflow.instructions import Broken as Broken
from perdure.kinds.workflow.instructions import Fulfilled as Fulfilled
from perdure.kinds.workflow.instructions import Promise as Promise
from perdure.kinds.workflow.instructions import Published as Published
from perdure.kinds.workflow.instructions import Settlement as Settlement
from perdure.kinds.workflow.instructions import Signal as Signal
from perdure.kinds.workflow.instructions import StateQuery as StateQuery
from perdure.kinds.workflow.instructions import Undo as Undo
from perdure.kinds.workflow.instructions import Update as Update
from perdure.kinds.workflow.instructions import patched as patched
from perdure.kinds.workflow.instructions import saga as saga
from perdure.kinds.workflow.instructions import step as step
from perdure.kinds.workflow.instructions import step_key as step_key
from perdure.values.address import promise_of as promise_of

if TYPE_CHECKING:
    from perdure.kinds.workflow.handle import WorkflowHandle as WorkflowHandle
    from perdure.kinds.workflow.handle import WorkflowSender as WorkflowSender
else:
    from perdure._lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__, {"perdure.kinds.workflow.handle": ("WorkflowHandle", "WorkflowSender")})

__all__ = [
    "Broken",
    "Diverged",
    "Fulfilled",
    "JournalFull",
    "NotRecordable",
    "Promise",
    "Published",
    "Settlement",
    "Signal",
    "Signalled",
    "StateQuery",
    "Undo",
    "Update",
    "Workflow",
    "WorkflowContext",
    "WorkflowHandle",
    "WorkflowSender",
    "patched",
    "promise_of",
    "saga",
    "step",
    "step_key",
]
