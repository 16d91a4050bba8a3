"""A debounce's typed handle and sender."""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from perdure.jobs.call import Call, mapped
from perdure.jobs.definition import CallError, EventError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import WaitFor
from perdure.kinds.debounce.context import AddCommand, ClearCommand, FlushCommand
from perdure.programs import Program
from perdure.values.answer import Added, Cleared, RunAnswer
from perdure.values.outcome import Flushed, Parked, Paused
from perdure.values.status import Defect

S = TypeVar("S")
V = TypeVar("V")
E = TypeVar("E")
V_contra = TypeVar("V_contra", contravariant=True)


@attrs.frozen(repr=False)
class DebounceHandle(JobHandle[S, E], Generic[S, V, E]):
    """A debounce's calls."""

    def add(self, id_: str, event: V, /, *, idempotency_key: str | None = None) -> Call[Added, EventError[E]]:
        """Add an event to the collecting batch. The first one starts it. Never waits for a flush.

        Args:
            id_: the instance.
            event: of the definition's event type. Anything else fails with ``InvalidInput``.
            idempotency_key: a repeat with this key adds nothing and returns the first result.
        """
        return self._send(id_, AddCommand(event), "add", event, key=idempotency_key)

    def flush(
        self, id_: str, /, *, wait_for: WaitFor = "completion", idempotency_key: str | None = None
    ) -> Call[Flushed[E | Defect], CallError]:
        """Flush now, after a flush in progress. A batch that waits for a retry is retried now.

        Args:
            id_: the instance.
            wait_for: ``completion``: return after the first attempt. ``start``: return after the claim.
            idempotency_key: a repeat with this key flushes nothing and returns the first result.
        """
        answer: Call[RunAnswer, CallError] = self._send(
            id_, FlushCommand(), "flush", key=idempotency_key, wait_for=wait_for
        )
        return mapped(answer, self._flushed)

    def clear(self, id_: str, /, *, idempotency_key: str | None = None) -> Call[Cleared, CallError]:
        """Discard every batch that is not being flushed, without running."""
        return self._send(id_, ClearCommand(), "clear", key=idempotency_key)

    def _flushed(self, answer: RunAnswer) -> Flushed[E | Defect]:
        outcome = self._outcome(answer.outcome)
        ran = outcome is not None and not isinstance(outcome, Paused | Parked)
        return Flushed(flushed=ran, reason="empty" if answer.found == "empty" else None, outcome=outcome)


@attrs.frozen
class DebounceSender(Generic[V_contra]):
    """The messages that other jobs can send to a debounce."""

    post: PostCommand

    def add(self, event: V_contra, /) -> Program[None]:
        """Add an event with this turn's commit."""
        return self.post("add", event)

    def flush(self) -> Program[None]:
        """Flush the batch. An absent instance stays absent."""
        return self.post("flush")

    def clear(self) -> Program[None]:
        """Discard the batch. An absent instance stays absent."""
        return self.post("clear")

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Terminate the instance."""
        return self.post("terminate", reason)
