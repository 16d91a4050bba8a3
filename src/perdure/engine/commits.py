"""Commits the transitions of turns, and takes note of the store's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from returns.future import FutureResult
from returns.result import Failure, Result, Success

from perdure.engine.eager_task import start_eagerly
from perdure.engine.reporting import Reporting
from perdure.engine.residents import Residents
from perdure.engine.turn_outcome import Committing, Rest, TurnAnswered
from perdure.jobs.step import Commit
from perdure.programs.future import answer_of, known_answer, telling
from perdure.runtime.record import LogRecord, Runtime
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

    def write(self, transition: Transition, tell: Callable[[Result[Fence, Any]], None]) -> None:
        """Commit a transition, and call back with the store's answer, perhaps before this returns.

        Args:
            transition: what is written, not empty.
            tell: called once, in the event loop; it must not run code of jobs.
        """
        self._write(transition, self._written(transition), tell)

    def _write(self, transition: Transition, written: Transition, tell: Callable[[Result[Fence, Any]], None]) -> None:
        began_ms = self.runtime.monotonic_ms()

        def answered(stored: Result[Fence, Any]) -> None:
            try:
                self._take_note(transition, stored, began_ms)
            except Exception as defect:  # noqa: BLE001 - of the engine; the store calls back to others, too
                fields = {"instance": str(transition.address), "error": repr(defect)}
                self.runtime.log(LogRecord("error", "internal error after a commit", fields))
                stored = Failure(OutcomeUnknown(f"the engine failed after a commit: {defect!r}"))
            tell(stored)

        storing = self.store.commit(written)
        stored = known_answer(storing)
        source = telling(storing) if stored is None else None
        if stored is not None:
            answered(stored)
        elif source is not None:
            source.tell(answered)
        else:
            start_eagerly(_await(storing, answered), self.runtime, name="perdure:commit")

    def settle(self, step: Commit, tell: Callable[[TurnAnswered | None], None]) -> None:
        """Commit the end of a run, and call back with its result, perhaps before this returns; None: a conflict."""
        written = self._written(step.transition)
        if written.is_empty:
            tell(self._unwritten(step))
        else:
            self._write(step.transition, written, lambda stored: tell(_result_of(step, stored)))

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
        return _result_of(step, stored)

    def _take_note(self, transition: Transition, stored: Result[Fence, Any], began_ms: float) -> None:
        self.reporting.stored(transition, stored, began_ms)
        self.residents.stored(transition, stored)
        if isinstance(stored, Success):
            self.committed(transition)
        elif isinstance(stored.failure(), OutcomeUnknown):
            self.in_doubt()


def _result_of(step: Commit, stored: Result[Fence, Any]) -> TurnAnswered | None:
    if isinstance(stored, Success):
        return TurnAnswered(step.result)
    return None if isinstance(stored.failure(), Conflict) else TurnAnswered(stored)


async def _await(storing: FutureResult[Fence, Any], answered: Callable[[Result[Fence, Any]], None]) -> None:
    """Wait for a store that does not call back. Its defect leaves the outcome unknown."""
    try:
        stored = await answer_of(storing)
    except BaseException as defect:
        answered(Failure(OutcomeUnknown(f"the store raised {defect!r}")))
        raise
    answered(stored)
