"""The typed handle of a continuous job, and its teller."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs
from returns.future import FutureResult

from perdure.jobs.definition import CallError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import WaitFor
from perdure.kinds.continuous.context import StartCommand, TriggerCommand
from perdure.programs import Program
from perdure.programs.future import mapped
from perdure.values.answer import RunAnswer, Started, Triggered
from perdure.values.failure import Defect

S = TypeVar("S")
E = TypeVar("E")
S_contra = TypeVar("S_contra", contravariant=True)


@attrs.frozen(repr=False)
class ContinuousHandle(JobHandle[S, E], Generic[S, E]):
    """The calls of a continuous job."""

    def start(
        self,
        id_: str,
        state: S,
        /,
        *,
        wait_for: WaitFor = "completion",
        idempotency_key: str | None = None,
    ) -> FutureResult[Started[E | Defect], CallError]:
        """Create the instance, and run it unless the definition says otherwise. An existing one is left as it is.

        Args:
            id_: the instance.
            state: its first state, of the definition's state type; anything else is ``InvalidInput``.
            wait_for: ``completion``: the answer comes after the first attempt; ``start``: after the claim.
            idempotency_key: a repeat with this key changes nothing and gets the first answer.
        """
        answer: FutureResult[RunAnswer, CallError] = self._send(
            id_, StartCommand(state), "start", state, key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._started)

    def trigger(
        self, id_: str, /, *, wait_for: WaitFor = "completion", idempotency_key: str | None = None
    ) -> FutureResult[Triggered[E | Defect], CallError]:
        """Run now, as a new run. An open retry of an older run is given up for it.

        Args:
            id_: the instance.
            wait_for: ``completion``: the answer comes after the first attempt; ``start``: after the claim.
            idempotency_key: a repeat with this key runs nothing and gets the first answer.
        """
        answer: FutureResult[RunAnswer, CallError] = self._send(
            id_, TriggerCommand(), "trigger", key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._triggered)

    def _started(self, answer: RunAnswer) -> Started[E | Defect]:
        outcome = self._outcome(answer.outcome)
        return Started(created=answer.found == "created", status=answer.status, outcome=outcome)


@attrs.frozen
class ContinuousSender(Generic[S_contra]):
    """What other jobs can tell a continuous job."""

    post: PostCommand

    def start(self, state: S_contra, /) -> Program[None]:
        """Start an instance with the commit of this turn; an existing one is left as it is."""
        return self.post("start", state)

    def trigger(self) -> Program[None]:
        """Ask for a run; an absent instance is left absent."""
        return self.post("trigger")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Ask for the end of the instance."""
        return self.post("terminate", reason)
