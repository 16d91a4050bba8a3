"""The typed handle and sender of a task."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs
from returns.future import FutureResult

from perdure.jobs.definition import CallError, EventError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import WaitFor
from perdure.kinds.task.context import SendCommand, TriggerTaskCommand
from perdure.programs import Program
from perdure.programs.future import mapped
from perdure.values.answer import RunAnswer, Sent, Triggered
from perdure.values.failure import Defect

S = TypeVar("S")
V = TypeVar("V")
E = TypeVar("E")
V_contra = TypeVar("V_contra", contravariant=True)


@attrs.frozen(repr=False)
class TaskHandle(JobHandle[S, E], Generic[S, V, E]):
    """The calls of a task."""

    def send(self, id_: str, event: V, /, *, idempotency_key: str | None = None) -> FutureResult[Sent, EventError[E]]:
        """Send an event. An absent instance is created with the definition's initial state.

        Args:
            id_: the instance.
            event: of the definition's event type; anything else fails with ``InvalidInput``.
            idempotency_key: a repeat with this key changes nothing and returns the first result.

        Returns:
            The result after the event is handled and durable. If nothing changed: ``Rejected`` with the handler's typed
            error, ``HookRaised`` if the handler raised, ``RunTimeout`` if it timed out.
        """
        return self._send(id_, SendCommand(event), "send", event, key=idempotency_key)

    def trigger(
        self, id_: str, /, *, wait_for: WaitFor = "completion", idempotency_key: str | None = None
    ) -> FutureResult[Triggered[E | Defect], CallError]:
        """Run ``execute`` now. A pending alarm remains, unless ``execute`` changes it.

        Args:
            id_: the instance.
            wait_for: ``completion``: return after the first attempt; ``start``: return after the claim.
            idempotency_key: a repeat with this key runs nothing and returns the first result.
        """
        answer: FutureResult[RunAnswer, CallError] = self._send(
            id_, TriggerTaskCommand(), "trigger", key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._triggered)


@attrs.frozen
class TaskSender(Generic[V_contra]):
    """The messages that other jobs can send to a task."""

    post: PostCommand

    def send(self, event: V_contra, /) -> Program[None]:
        """Send an event with the commit of this turn."""
        return self.post("send", event)

    def trigger(self) -> Program[None]:
        """Run ``execute``; an absent instance stays absent."""
        return self.post("trigger")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the instance."""
        return self.post("terminate", reason)
