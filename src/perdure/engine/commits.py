"""Commits the transitions of turns, and takes note of the store's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Result, Success

from perdure.engine.reporting import Reporting
from perdure.engine.residents import Residents
from perdure.engine.turn_outcome import Committing, Rest, TurnAnswered
from perdure.jobs.step import Commit
from perdure.programs.future import answer_of, known_answer, telling
from perdure.runtime.record import Runtime
from perdure.stores.store import Store
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Fence
from perdure.values.limits import Limits
from perdure.values.transition import Transition, over


@attrs.define
class Commits:
    """Writes the transitions of turns.

    Attributes:
        store: stores the instances.
        runtime: the clock of the reports.
        limits: whether a history is kept.
        reporting: tells sinks of commits.
        residents: the instances in this process.
        committed: called with every durable transition; set once, right after construction.
        in_doubt: called when the outcome of a commit is unknown; set with it.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    reporting: Reporting
    residents: Residents
    committed: Callable[[Transition], None] = attrs.field(init=False)
    in_doubt: Callable[[], None] = attrs.field(init=False)

    async def record(self, transition: Transition) -> Result[Fence, Any]:
        """Commit a claim, and return the store's answer."""
        began_ms = self.runtime.monotonic_ms()
        stored = await answer_of(self.store.commit(self._written(transition)))
        self._take_note(transition, stored, began_ms)
        return stored

    async def conclude(self, step: Commit) -> TurnAnswered | None:
        """Commit, and return the result; None if there was a conflict."""
        written = self._written(step.transition)
        if written.is_empty:
            return self._unwritten(step)
        began_ms = self.runtime.monotonic_ms()
        return self.concluded(step, await answer_of(self.store.commit(written)), began_ms)

    def commit(self, step: Commit, tell: Callable[[Result[Fence, Any], float], None]) -> Committing:
        """Commit, as far as it goes synchronously.

        Args:
            step: the end of a turn that ran synchronously.
            tell: called with the store's answer, if the store calls back, and with the time of the call (ms).

        Returns:
            The outcome, or "told" if the store will call back.
        """
        written = self._written(step.transition)
        if written.is_empty:
            return self._unwritten(step)
        began_ms = self.runtime.monotonic_ms()
        storing = self.store.commit(written)
        stored = known_answer(storing)
        if stored is not None:
            return self.concluded(step, stored, began_ms)
        source = telling(storing)
        if source is None:
            return Rest(self._stored(step, storing, began_ms))
        source.tell(lambda stored: tell(stored, began_ms))
        return "told"

    def _written(self, transition: Transition) -> Transition:
        """Return a transition as it is stored: over its row, and without its events if no history is kept."""
        if transition.events and not self.limits.keeps_history:
            transition = attrs.evolve(transition, events=())
        return over(self.residents.row(transition.address), transition)

    def _unwritten(self, step: Commit) -> TurnAnswered:
        """Return the result of a turn that stores nothing. Its failures are logged nevertheless."""
        if step.transition.events:
            self.committed(step.transition)
        return TurnAnswered(step.result)

    async def _stored(self, step: Commit, storing: FutureResult[Fence, Any], began_ms: float) -> TurnAnswered | None:
        return self.concluded(step, await answer_of(storing), began_ms)

    def concluded(self, step: Commit, stored: Result[Fence, Any], began_ms: float) -> TurnAnswered | None:
        """Return the result of a commit that the engine began at ``began_ms``; None if there was a conflict."""
        self._take_note(step.transition, stored, began_ms)
        if isinstance(stored, Success):
            return TurnAnswered(step.result)
        return None if isinstance(stored.failure(), Conflict) else TurnAnswered(stored)

    def _take_note(self, transition: Transition, stored: Result[Fence, Any], began_ms: float) -> None:
        self.reporting.stored(transition, stored, began_ms)
        self.residents.stored(transition, stored)
        if isinstance(stored, Success):
            self.committed(transition)
        elif isinstance(stored.failure(), OutcomeUnknown):
            self.in_doubt()
