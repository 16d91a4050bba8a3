"""Commits the transitions of turns, and takes note of the store's answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.flight import Flight, Stored, outcome_of
from perdure.engine.incident import defect_in
from perdure.engine.item import Item
from perdure.engine.reporting import SLOW_COMMIT_MS, Reporting
from perdure.engine.resident import Resident
from perdure.engine.residents import NO_INSTANCE, Residents
from perdure.engine.store_groups import StoreGroups
from perdure.engine.turn_outcome import TurnAnswered
from perdure.jobs.step import Commit
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Fence
from perdure.values.limits import Limits
from perdure.values.transition import AS_EXPECTED, KeepInstance, Loaded, Put, Transition, over


@attrs.define
class Commits:
    """Writes the transitions of turns, those together that are ready together.

    Attributes:
        store: stores the instances.
        runtime: the clock of the reports.
        limits: whether a history is kept.
        reporting: tells sinks of commits.
        residents: the instances in this process.
        committed: called with every durable transition, and with those of the turns that it is made of; set once, right
            after construction.
        in_doubt: called when the outcome of a commit is unknown; set with it.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    reporting: Reporting
    residents: Residents
    committed: Callable[[Transition, Sequence[Transition]], None] = attrs.field(init=False)
    in_doubt: Callable[[], None] = attrs.field(init=False)
    _group: StoreGroups[Transition] = attrs.field(init=False)
    _keeps_history: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keeps_history = self.limits.keeps_history
        self._group = StoreGroups(
            runtime=self.runtime,
            send_all=self.store.commit_all,
            send_one=self.store.commit,
            lost=OutcomeUnknown,
            name="perdure:commit",
            waits=self.store.waits,
        )

    # ------------------------------------------------------------ turns that wait as values
    def begin(self, resident: Resident, item: Item, commit: Commit, tell: Callable[[Flight, Stored], None]) -> None:
        """Commit a turn, or fold it into the flight of the instance.

        Args:
            resident: the instance.
            item: the request.
            commit: the decision.
            tell: called with the store's answer to a new flight, perhaps before this returns.
        """
        written, flight = commit.transition, resident.flight
        write = written.write
        if type(write) is Put and write.changes == "state" and flight is None:
            drafted, resident.drafted = resident.drafted, None
            decoded = drafted if drafted is not None and drafted.text is write.instance.state else None
            flight = Flight(written, resident, Loaded(instance=write.instance), decoded, tell, [(item, commit)])
        else:
            written = self._written(written)
            if flight is not None:
                flight.fold(item, commit, written, resident.decoded_of(written, flight.decoded))
                return
            flight = self._flight(written, resident, tell)
            flight.steps.append((item, commit))
        resident.flight = flight
        self._group.add(flight)

    @property
    def waits(self) -> bool:
        """Whether the store waits for anything, so that commits leave in groups."""
        return self._group.waits == "for_io" and self._group.send_all is not None

    def gather(self) -> None:
        """Keep the commits that begin from now on together until `leave`, which follows in this step."""
        self._group.gather()

    def leave(self) -> None:
        """Send the commits that have begun since `gather`, unless others are on their way."""
        self._group.leave()

    def unwritten(self, commit: Commit) -> TurnAnswered | None:
        """Return the result of a turn that stores nothing; None if it stores something.

        Its failures are logged nevertheless.
        """
        transition = commit.transition
        if type(transition.write) is not KeepInstance:
            return None
        if not transition.is_empty and (self._keeps_history or not _has_events_only(transition)):
            return None
        if transition.events:
            self.committed(transition, (transition,))
        return TurnAnswered(commit.result)

    # ------------------------------------------------------------ runs
    def fly(self, transition: Transition, resident: Resident | None, tell: Callable[[Flight, Stored], None]) -> None:
        """Commit a transition of a run, and call back with the store's answer, perhaps before this returns.

        Args:
            transition: the changes, not empty.
            resident: the instance.
            tell: called once, in the event loop; it must not run code of jobs, and passes its arguments to `taken`.
        """
        if transition.before is None or (transition.events and not self._keeps_history):
            transition = self._written(transition)
        write = transition.write
        if type(write) is Put and resident is not None:
            decoded = resident.decoded_of(transition, None)
            flight = Flight(transition, resident, Loaded(instance=write.instance), decoded, tell)
        else:
            flight = self._flight(transition, resident, tell)
        self._group.add(flight)

    def taken(self, flight: Flight, stored: Stored, transition: Transition) -> Stored:
        """Take note of the store's answer to a flight of `fly`, and return it.

        Args:
            flight: the flight.
            stored: the answer.
            transition: the decided transition, with its events.
        """
        try:
            self.landed(flight, stored, (transition,))
        except Exception as defect:  # noqa: BLE001 - of the engine; the store calls back to others, too
            self.runtime.log(defect_in("a commit", transition.address, defect))
            return Failure(OutcomeUnknown(f"the engine failed after a commit: {defect!r}"))
        return stored

    # ------------------------------------------------------------ coroutines
    async def record(self, transition: Transition) -> Result[Fence, Any]:
        """Commit a claim, and return the store's answer.

        Cancelling this wait does not cancel the commit.
        """
        answer = self.runtime.future()

        def tell(flight: Flight, answered: Stored) -> None:
            stored = self.taken(flight, answered, transition)
            if not answer.done():
                answer.set_result(stored)

        self.fly(transition, self.residents.get(transition.address), tell)
        stored: Result[Fence, Any] = answer.result() if answer.done() else await answer
        return stored

    async def conclude(self, step: Commit) -> TurnAnswered | None:
        """Commit, and return the result; None if there was a conflict."""
        unwritten = self.unwritten(step)
        if unwritten is not None:
            return unwritten
        return result_of(step, await self.record(step.transition))

    # ------------------------------------------------------------ the answer
    def landed(self, flight: Flight, stored: Stored, turns: Sequence[Transition] | None = None) -> None:
        """Take note of the store's answer to a flight.

        Args:
            flight: the flight.
            stored: the answer.
            turns: the decisions that it is made of, with their events; None: those of its steps.
        """
        resident = flight.resident
        if stored is AS_EXPECTED and resident is not None and len(flight.steps) <= 1 and not self.residents.watched:
            self.residents.keep(resident, flight.loaded, flight.decoded)
        else:
            self.residents.landed(flight, stored)  # first: whatever fails below, no older row is kept
        took_ms = self._group.took_ms
        if self.reporting.sinks.told or took_ms > SLOW_COMMIT_MS:
            self.reporting.stored(flight.transition, stored, took_ms=took_ms)
        if type(stored) is Success:
            self.committed(flight.transition, turns or [commit.transition for _, commit in flight.steps])
        elif isinstance(stored.failure(), OutcomeUnknown):
            self.in_doubt()

    def _flight(self, written: Transition, resident: Resident | None, tell: Callable[[Flight, Stored], None]) -> Flight:
        write = written.write
        if type(write) is Put:
            after = Loaded(instance=write.instance)
        else:
            after = outcome_of(written, NO_INSTANCE if resident is None else resident.loaded or NO_INSTANCE)
        return Flight(
            written,
            resident,
            after,
            None if resident is None else resident.decoded_of(written, None),
            tell,
        )

    def _written(self, transition: Transition) -> Transition:
        """Return a transition as it is stored: over its row, and without its events if no history is kept."""
        if transition.events and not self._keeps_history:
            transition = attrs.evolve(transition, events=())
        if transition.before is not None or transition.expected is None:
            return transition
        return over(self.residents.row(transition.address), transition)


def result_of(step: Commit, stored: Stored) -> TurnAnswered | None:
    """Return the result of a turn whose commit was answered; None if there was a conflict."""
    if isinstance(stored, Success):
        return TurnAnswered(step.result)
    return None if isinstance(stored.failure(), Conflict) else TurnAnswered(stored)


def _has_events_only(transition: Transition) -> bool:
    return attrs.evolve(transition, events=()).is_empty
