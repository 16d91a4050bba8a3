"""The operations of a workflow's program on its state."""

from __future__ import annotations

import attrs

from perdure.jobs.draft import ClosedDraft, Draft
from perdure.jobs.operations import GetState, SetState, UpdateState
from perdure.programs import PASS


@attrs.define(eq=False)
class StateOperations:
    """Answers the operations on the state. They leave no row: each replay repeats them."""

    draft: Draft | ClosedDraft

    def answer(self, instruction: object, /) -> object:
        """Answer an operation on the state; return PASS for anything else."""
        kind = instruction.__class__
        if kind is GetState or kind is SetState or kind is UpdateState:
            return self.draft.answer(instruction)
        return PASS

    def branch(self) -> StateOperations:
        """Return the operations of a branch, which refuse: the state has one writer."""
        return StateOperations(ClosedDraft())
