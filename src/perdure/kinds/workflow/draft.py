"""The draft of a run of a workflow, which also holds its replay."""

from __future__ import annotations

from typing import Any, Never

import attrs
from returns.result import Success

from perdure.codecs import Opened
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
        stored: the stored state with the members that newer code wrote, if the workflow has changed its first state.
    """

    __repr__ = fields_in_line

    replay: Replay | None = None
    problem: InvalidInput | None = None
    noticed: Instance | None = None
    stored: Opened[Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the program of the workflow has ended with a value."""
        return self.replay is not None and isinstance(self.replay.exit, Success)

    def closed(self, state: object, opened: Opened[Any]) -> tuple[bytes, Opened[Any] | None]:
        """Encode a state of a replay, which begins with the first state: the stored one has the newest members."""
        data, after = super().closed(state, opened)
        return data, self.stored or after

    def answer(self, operation: object) -> object:
        """Return itself for `GetDraft`; answer all others as a draft does."""
        return self if type(operation) is GetDraft else super().answer(operation)
