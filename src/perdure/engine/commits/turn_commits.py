"""Commits the transitions of turns, takes note of the store's answers, and says how often a turn repeats a conflict.

On a shared store a turn starts again after a short random wait, so that a rival succeeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.commits.batcher import StoreBatcher
from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswered
from perdure.engine.mailbox.instance_cache import NO_INSTANCE, InstanceCache
from perdure.engine.mailbox.instance_cell import InstanceCell, PendingCommit, Stored, outcome_of
from perdure.engine.mailbox.known_keys import KnownKeys
from perdure.engine.observing.reporting import SLOW_COMMIT_MS, Reporting, defect_in
from perdure.jobs.step import Commit
from perdure.runtime.record import Runtime
from perdure.stores.contract import Store
from perdure.values.errors import Conflict, OutcomeUnknown
from perdure.values.instance import Fence
from perdure.values.limits import Limits
from perdure.values.transition import AS_EXPECTED, KeepInstance, Loaded, Put, Transition, over
from perdure.values.turn_inputs import OtherEngines

MAX_CONFLICTS: Final = 5
"""How often a turn without effects starts again after a conflict."""

MAX_SHARED_CONFLICTS: Final = 200
"""The same on a shared store, where other engines write the same instances."""

LONGEST_MS: Final = 50
"""The longest wait between two tries."""


async def back_off(runtime: Runtime, tried: int, others: OtherEngines) -> None:
    """Wait before the third and each later try, if there can be rivals.

    Args:
        runtime: the clock and the random number.
        tried: the number of earlier tries.
        others: the other engines.
    """
    # The first repetition is immediate: often the row was only out of date. Later ones wait a random time, or the same
    # engines meet again.
    if tried > 1 and others:
        await runtime.sleep(runtime.random() * min(LONGEST_MS, 2 ** min(tried, 6)))


@attrs.define
class Commits:
    """Writes the transitions of turns, those together that are ready together.

    Attributes:
        store: stores the instances.
        runtime: the clock of the reports.
        limits: whether a history is kept.
        reporting: tells sinks of commits.
        cache: keeps the instances of this process.
        keys: the idempotency keys that this process knows.
        committed: called with every durable transition, and with those of the turns that it is made of; set once, right
            after construction.
        in_doubt: called when the outcome of a commit is unknown; set with it.
    """

    store: Store
    runtime: Runtime
    limits: Limits
    reporting: Reporting
    cache: InstanceCache
    keys: KnownKeys = attrs.field(init=False)
    committed: Callable[[Transition, Sequence[Transition]], None] = attrs.field(init=False)
    in_doubt: Callable[[], None] = attrs.field(init=False)
    _group: StoreBatcher[Transition] = attrs.field(init=False)
    _keeps_history: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._keeps_history = self.limits.keeps_history
        self.keys = KnownKeys(self.cache, self.limits.keys_per_address)
        self._group = StoreBatcher(
            runtime=self.runtime,
            send_all=self.store.commit,
            lost=OutcomeUnknown,
            synchronous=self.store.synchronous,
        )

    # ------------------------------------------------------------ turns that wait as values
    def begin(
        self, cell: InstanceCell, entry: MailboxEntry, commit: Commit, tell: Callable[[PendingCommit, Stored], None]
    ) -> None:
        """Commit a turn, or coalesce it into the pending commit of the instance.

        Args:
            cell: the instance.
            entry: the request.
            commit: the decision.
            tell: called with the store's answer to a new pending commit, perhaps before this returns.
        """
        written, pending = commit.transition, cell.pending
        write = written.write
        if type(write) is Put and write.changes == "state" and pending is None:
            drafted, cell.drafted = cell.drafted, None
            decoded = drafted if drafted is not None and drafted.text is write.instance.state else None
            pending = PendingCommit(written, cell, Loaded(instance=write.instance), decoded, tell, [(entry, commit)])
        else:
            written = self._written(written)
            if pending is not None:
                pending.coalesce(entry, commit, written, cell.decoded_of(written, pending.decoded))
                return
            pending = self._pending_commit(written, cell, tell)
            pending.steps.append((entry, commit))
        cell.pending = pending
        self._group.add(pending)

    @property
    def has_groups(self) -> bool:
        """Whether commits leave in groups: the store does not answer within its call."""
        return not self._group.synchronous

    def hold_back(self) -> None:
        """Keep the commits that begin from now on together until `flush`, which follows in this step."""
        self._group.hold_back()

    def flush(self) -> None:
        """Send the commits that have begun since `hold_back`, unless others are on their way."""
        self._group.flush()

    def result_without_write(self, commit: Commit) -> TurnAnswered | None:
        """Return the result of a turn that stores nothing; None if it stores something.

        Its failures are logged nevertheless.
        """
        transition = commit.transition
        if type(transition.write) is not KeepInstance:
            return None
        if not transition.is_empty and (self._keeps_history or not _has_events_only(transition)):
            return None
        # Nothing is stored, but sinks and logs report what the turn says: a rejection, for example.
        if transition.events:
            self.committed(transition, (transition,))
        return TurnAnswered(commit.result)

    # ------------------------------------------------------------ runs
    def submit(
        self, transition: Transition, cell: InstanceCell | None, tell: Callable[[PendingCommit, Stored], None]
    ) -> None:
        """Commit a transition of a run, and call back with the store's answer, perhaps before this returns.

        Args:
            transition: the changes, not empty.
            cell: the instance.
            tell: called once, in the event loop; it runs no code of jobs, and passes its arguments to `accept_answer`.
        """
        if transition.before is None or (transition.events and not self._keeps_history):
            transition = self._written(transition)
        write = transition.write
        if type(write) is Put and cell is not None:
            decoded = cell.decoded_of(transition, None)
            pending = PendingCommit(transition, cell, Loaded(instance=write.instance), decoded, tell)
        else:
            pending = self._pending_commit(transition, cell, tell)
        self._group.add(pending)

    def accept_answer(self, pending: PendingCommit, stored: Stored, transition: Transition) -> Stored:
        """Take note of the store's answer to a pending commit of `submit`, and return it.

        Args:
            pending: the pending commit.
            stored: the answer.
            transition: the decided transition, with its events.
        """
        try:
            self.on_answer(pending, stored, (transition,))
        # The commit may be durable: the answer is unknown, and not a failure that a caller would repeat without a key.
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

        def tell(pending: PendingCommit, answered: Stored) -> None:
            stored = self.accept_answer(pending, answered, transition)
            # The waiting task may be cancelled by now; the note above is taken anyway.
            if not answer.done():
                answer.set_result(stored)

        self.submit(transition, self.cache.get(transition.address), tell)
        stored: Result[Fence, Any] = answer.result() if answer.done() else await answer
        return stored

    async def conclude(self, step: Commit) -> TurnAnswered | None:
        """Commit, and return the result; None if there was a conflict."""
        unwritten = self.result_without_write(step)
        if unwritten is not None:
            return unwritten
        return result_of(step, await self.record(step.transition))

    # ------------------------------------------------------------ the answer
    def on_answer(self, pending: PendingCommit, stored: Stored, turns: Sequence[Transition] | None = None) -> None:
        """Take note of the store's answer to a pending commit.

        Args:
            pending: the pending commit.
            stored: the answer.
            turns: the decisions that it is made of, with their events; None: those of its steps.
        """
        cell, steps = pending.cell, pending.steps
        is_single = len(steps) == 1
        if stored is AS_EXPECTED and cell is not None and (is_single or not steps) and not self.cache.watched:
            self.cache.keep(cell, pending.loaded, pending.decoded)
        else:
            self.cache.on_answer(pending, stored)  # first: whatever fails below, no older row is kept
        took_ms = self._group.took_ms
        if self.reporting.sinks.told or took_ms > SLOW_COMMIT_MS:
            self.reporting.stored(pending.transition, stored, took_ms=took_ms)
        if type(stored) is Success:
            if pending.transition.remember and cell is not None:
                self.keys.stored(cell, pending.transition.remember)
            if turns is None:
                turns = (steps[0][1].transition,) if is_single else [commit.transition for _, commit in steps]
            self.committed(pending.transition, turns)
        # The commit may have set an alarm or written a message that no loop of this engine knows.
        elif isinstance(stored.failure(), OutcomeUnknown):
            self.in_doubt()

    def _pending_commit(
        self, written: Transition, cell: InstanceCell | None, tell: Callable[[PendingCommit, Stored], None]
    ) -> PendingCommit:
        write = written.write
        if type(write) is Put:
            after = Loaded(instance=write.instance)
        else:
            after = outcome_of(written, NO_INSTANCE if cell is None else cell.loaded or NO_INSTANCE)
        return PendingCommit(
            written,
            cell,
            after,
            None if cell is None else cell.decoded_of(written, None),
            tell,
        )

    def _written(self, transition: Transition) -> Transition:
        """Return a transition as it is stored: over its row, and without its events if no history is kept."""
        if transition.events and not self._keeps_history:
            transition = attrs.evolve(transition, events=())
        if transition.before is not None or transition.expected is None:
            return transition
        return over(self.cache.row(transition.address), transition)


def result_of(step: Commit, stored: Stored) -> TurnAnswered | None:
    """Return the result of a turn whose commit was answered; None if there was a conflict."""
    if isinstance(stored, Success):
        return TurnAnswered(step.result)
    return None if isinstance(stored.failure(), Conflict) else TurnAnswered(stored)


def _has_events_only(transition: Transition) -> bool:
    return attrs.evolve(transition, events=()).is_empty
