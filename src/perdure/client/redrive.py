"""Turns a dead letter into an ordinary message again, and records who did it."""

from __future__ import annotations

from typing import Any, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.running import RunningEngine
from perdure.engine.runs.runner import inputs_beside_turns
from perdure.jobs.messages import redriven
from perdure.programs.future import answer_of
from perdure.values.event import Event


@attrs.frozen
class Redrive:
    """Redrives dead letters for a caller.

    Attributes:
        engine: the engine.
        by: the caller; None for one in this process.
    """

    engine: RunningEngine
    by: str | None

    async def perform(self, message_id: int) -> Result[Literal["redriven", "not_found"], Any]:
        """Redrive one, and log the event with it, in one transaction.

        The engine reads its messages again in any case: a redrive may be durable although its caller gave up, or its
        answer was lost.
        """
        try:
            return await self._perform(message_id)
        finally:
            self.engine.outbox.wake.notify()

    async def _perform(self, message_id: int) -> Result[Literal["redriven", "not_found"], Any]:
        found = await answer_of(self.engine.store.dead_letters(message_id - 1, 1))
        if not isinstance(found, Success):
            return Failure(found.failure())
        letters = [letter for letter in found.unwrap() if letter.message_id == message_id]
        if not letters:
            return Success("not_found")
        inputs = inputs_beside_turns(self.engine.runtime, self.engine.store, self.engine.limits)
        events: tuple[Event, ...] = (redriven(letters[0], self.by, inputs),)
        kept = events if self.engine.limits.keeps_history else ()
        outcome = await answer_of(self.engine.store.redrive(message_id, kept))
        if outcome == Success("redriven"):
            self.engine.redriven(events)
        return outcome
