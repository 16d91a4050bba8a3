"""The typed handle of a task, and its teller."""

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
            event: of the definition's event type; anything else is ``InvalidInput``.
            idempotency_key: a repeat with this key changes nothing and gets the first answer.

        Returns:
            The answer after the event is handled and safe. When nothing changed: ``Rejected`` with the handler's typed
            error, ``HookRaised`` when the handler raised, ``RunTimeout`` when it took too long.
        """
        return self._send(id_, SendCommand(event), "send", event, key=idempotency_key)

    def trigger(
        self, id_: str, /, *, wait_for: WaitFor = "completion", idempotency_key: str | None = None
    ) -> FutureResult[Triggered[E | Defect], CallError]:
        """Run ``execute`` now. A pending alarm stays, unless ``execute`` changes it.

        Args:
            id_: the instance.
            wait_for: ``completion``: the answer comes after the first attempt; ``start``: after the claim.
            idempotency_key: a repeat with this key runs nothing and gets the first answer.
        """
        answer: FutureResult[RunAnswer, CallError] = self._send(
            id_, TriggerTaskCommand(), "trigger", key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._triggered)


@attrs.frozen
class TaskSender(Generic[V_contra]):
    """What other jobs can tell a task."""

    post: PostCommand

    def send(self, event: V_contra, /) -> Program[None]:
        """Send an event with the commit of this turn."""
        return self.post("send", event)

    def trigger(self) -> Program[None]:
        """Ask for a run of ``execute``; an absent instance is left absent."""
        return self.post("trigger")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Ask for the end of the instance."""
        return self.post("terminate", reason)
