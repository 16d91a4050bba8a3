"""A continuous job's typed handle and sender."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from perdure.jobs.call import Call, mapped
from perdure.jobs.definition import CallError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import TriggerOptions, WaitFor
from perdure.kinds.continuous.context import StartCommand, TriggerCommand
from perdure.programs import Program
from perdure.values.answer import RunAnswer
from perdure.values.outcome import Started, Triggered
from perdure.values.status import Defect

S = TypeVar("S")
E = TypeVar("E")
S_contra = TypeVar("S_contra", contravariant=True)


@attrs.frozen(repr=False)
class ContinuousHandle(JobHandle[S, E], Generic[S, E]):
    """Calls to a continuous job."""

    def start(
        self,
        id_: str,
        state: S,
        /,
        *,
        wait_for: WaitFor = "completion",
        idempotency_key: str | None = None,
    ) -> Call[Started[E | Defect], CallError]:
        """Create the instance, and run it unless the definition says otherwise. An existing one is unchanged.

        Args:
            id_: the instance.
            state: the first state, with the definition's state type. Anything else fails with ``InvalidInput``.
            wait_for: ``completion``: return after the first attempt. ``start``: return after the claim.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        answer: Call[RunAnswer, CallError] = self._send(
            id_, StartCommand(state), "start", state, key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._started)

    def trigger(
        self,
        id_: str,
        /,
        *,
        new_run: bool = False,
        wait_for: WaitFor = "completion",
        idempotency_key: str | None = None,
    ) -> Call[Triggered[E | Defect], CallError]:
        """Run now. If the last run failed, this is its next attempt, under the same ``ctx.run_id``.

        Args:
            id_: the instance.
            new_run: abandon a failed run, and run under a new ``ctx.run_id``: external systems perform its effects
                again.
            wait_for: ``completion``: return after the first attempt. ``start``: return after the claim.
            idempotency_key: a repeat with this key runs nothing and returns the first result.
        """
        options = TriggerOptions(new_run=new_run)
        answer: Call[RunAnswer, CallError] = self._send(
            id_,
            TriggerCommand(options),
            "trigger",
            None if new_run is False else options,
            key=idempotency_key,
            wait_for=wait_for,
        )
        return mapped(answer, self._triggered)

    def _started(self, answer: RunAnswer) -> Started[E | Defect]:
        outcome = self._outcome(answer.outcome)
        return Started(created=answer.created, status=answer.status, outcome=outcome)


@attrs.frozen
class ContinuousSender(Generic[S_contra]):
    """The messages that other jobs can send to a continuous job."""

    post: PostCommand

    def start(self, state: S_contra, /) -> Program[None]:
        """Start an instance with this turn's commit. An existing one is unchanged."""
        return self.post("start", state)

    def trigger(self, *, new_run: bool = False) -> Program[None]:
        """Trigger a run. An absent instance stays absent. If the last run failed, this is its next attempt."""
        return self.post("trigger", None if new_run is False else TriggerOptions(new_run=new_run))

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the instance."""
        return self.post("terminate", reason)
