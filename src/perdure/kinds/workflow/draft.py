"""The draft of a run of a workflow, which also holds its replay."""

from __future__ import annotations

from typing import Never

import attrs
from returns.result import Success

from perdure.jobs.draft import Draft
from perdure.kinds.workflow.replay import Replay
from perdure.programs import Instruction
from perdure.values.errors import InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance


@attrs.frozen
class GetDraft(Instruction["WorkflowDraft", Never]):
    """Read the draft itself."""


@attrs.define(kw_only=True)
class WorkflowDraft(Draft):
    """The draft of a run.

    Attributes:
        replay: the replay of the run; None before the journal is read.
        problem: why this code cannot follow the journal.
        noticed: the row with a request that was stored during the replay.
    """

    __repr__ = fields_in_line

    replay: Replay | None = None
    problem: InvalidInput | None = None
    noticed: Instance | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the program of the workflow has ended with a value."""
        return self.replay is not None and isinstance(self.replay.exit, Success)

    def answer(self, operation: object) -> object:
        """Return itself for `GetDraft`; answer all others as a draft does."""
        return self if type(operation) is GetDraft else super().answer(operation)
