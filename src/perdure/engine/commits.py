"""The way to the store and back: batches of reads and commits, their answers, and how often a turn repeats a conflict.

One batch is under way while the next one collects. On a shared store a turn starts again after a short random wait, so
that a rival succeeds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Generic, Literal, Protocol, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswered
from perdure.engine.mailbox.instance_cache import NO_INSTANCE, InstanceCache, KnownKeys
from perdure.engine.mailbox.instance_cell import InstanceCell, PendingCommit, Stored, outcome_of
from perdure.engine.reporting import SLOW_COMMIT_MS, Reporting, defect_in
from perdure.jobs.step import Commit
from perdure.runtime.record import LogRecord, Runtime
from perdure.stores.contract import Store
from perdure.stores.values import LoadRequest
from perdure.values.address import Address
from perdure.values.errors import Conflict, OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Fence
from perdure.values.limits import Limits
from perdure.values.transition import AS_EXPECTED, KeepInstance, Loaded, Put, Transition, over
from perdure.values.turn_inputs import OtherEngines

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

Answers: TypeAlias = Sequence[Result[Any, Any]]
SendAll: TypeAlias = Callable[[Sequence[R], Callable[[Answers], None]], None]


class GroupMember(Protocol[R_co]):
    """One request in a group."""

    def leave(self) -> R_co:
        """Return the request, which does not change from now on."""
        ...

    @property
    def tell(self) -> Callable[[Any, Result[Any, Any]], None]:
        """Called with the request and the store's answer, inside its callback: run no code of jobs here."""
        ...


@attrs.define(kw_only=True)
class StoreBatcher(Generic[R]):
    """The requests of one kind to the store.

    A batch is sent at the end of the event-loop step in which its first request arrived. If another batch is under way
    then, it is sent two loop steps after that one completes, so that callers can enqueue (1) and turns can be decided
    (2). A store that never waits gets each request immediately: nothing is ready together.

    Attributes:
        lost: makes the error of requests whose answer is not known.
        synchronous: whether the store answers within each call, so that a group gains nothing.
        largest: how many requests one group holds at most.
        took_ms: how long the group took whose answers are passed on now, from its first request.
    """

    runtime: Runtime
    send_all: SendAll[R]
    lost: Callable[[str], Exception]
    synchronous: bool = False
    largest: int = attrs.field(default=attrs.Factory(lambda self: self.runtime.sizes.batch, takes_self=True))
    took_ms: float = 0.0
    _waiting: list[GroupMember[R]] = attrs.Factory(list[Any])
    _begun_ms: list[float] = attrs.Factory(list[float])  # the first request of each group that they will leave in
    _state: Literal["idle", "gathering", "leaving", "under_way"] = "idle"

    def add(self, member: GroupMember[R]) -> None:
        """Send a request with the next group, or alone if the store answers within the call."""
        if self.synchronous:
            self._send([member], self.runtime.monotonic_ms())
            return
        waiting = self._waiting
        if len(waiting) % self.largest == 0:
            self._begun_ms.append(self.runtime.monotonic_ms())
        waiting.append(member)
        if self._state == "idle":
            self._leave_soon(1)

    def hold_back(self) -> None:
        """Keep the requests that arrive from now on together until `flush`, which follows in this step."""
        if self._state == "idle":
            self._state = "gathering"

    def flush(self) -> None:
        """Send the requests that have arrived since `hold_back`, unless another group is on its way."""
        if self._state == "gathering":
            self._state = "idle"
            if self._waiting:
                self._leave()

    def _leave_soon(self, steps: int) -> None:
        self._state = "leaving"
        leave = self._leave if steps == 1 else partial(self._leave_soon, steps - 1)
        try:
            self.runtime.at_step_end(leave)
        except Exception as defect:  # noqa: BLE001 - of the engine: a group that never leaves blocks all
            self.runtime.log(LogRecord("error", "internal error before a group", {"error": repr(defect)}))
            self._leave()

    def _leave(self) -> None:
        group, self._waiting = self._waiting[: self.largest], self._waiting[self.largest :]
        self._state = "under_way"
        self._send(group, self._begun_ms.pop(0))

    def _send(self, group: Sequence[GroupMember[R]], since_ms: float) -> None:
        try:
            self.send_all([member.leave() for member in group], partial(self._answered, group, since_ms))
        except Exception as defect:  # noqa: BLE001 - a store that raises instead of answering
            self._answered(group, since_ms, [Failure(self.lost(f"the store raised: {defect!r}"))] * len(group))

    def _answered(self, group: Sequence[GroupMember[R]], since_ms: float, answers: Answers) -> None:
        self._state = "idle"
        self.took_ms = self.runtime.monotonic_ms() - since_ms
        # Zipped without this check, callers would get the answers of their neighbours.
        if len(answers) != len(group):
            answers = [Failure(self.lost(f"the store gave {len(answers)} answers to {len(group)} requests"))] * len(
                group
            )
        for member, answer in zip(group, answers, strict=True):
            try:
                member.tell(member, answer)
            except Exception as defect:  # noqa: BLE001 - of the engine: its neighbours and the store continue
                self.runtime.log(LogRecord("error", "internal error after a group", {"error": repr(defect)}))
        # Two steps: in the first the callers that were answered send again, in the second the engine decides. Groups
        # that leave earlier are smaller, and each costs the same round trip (docs/decisions/0025).
        if self._waiting and self._state == "idle":
            self._leave_soon(2)


OnLoaded = Callable[[Result[Loaded, Any]], None]


@attrs.define(eq=False)
class _Reading:
    """One read.

    Attributes:
        request: the read.
        on_loaded: called with the answer, in the next step of the event loop.
        tell: called with this and the answer.
        answer: an answer that came within the call.
        state: whether the call has returned.
    """

    request: LoadRequest
    on_loaded: OnLoaded
    tell: Callable[[_Reading, Result[Any, Any]], None]
    answer: Result[Loaded, Any] | None = None
    state: Literal["calling", "waiting"] = "calling"

    def leave(self) -> LoadRequest:
        return self.request


class Reads:
    """The reads of turns.

    Args:
        runtime: ends the step of the event loop.
    """

    __slots__ = ("_reads", "_runtime", "_told")

    def __init__(self, store: Store, runtime: Runtime) -> None:
        self._runtime = runtime
        self._told: list[tuple[OnLoaded, Result[Loaded, Any]]] = []
        self._reads: StoreBatcher[LoadRequest] = StoreBatcher(
            runtime=runtime,
            send_all=store.load,
            lost=lambda reason: StoreUnavailable("load", reason),
            synchronous=store.synchronous,
        )

    def load(self, address: Address, key: str | None, now_ms: int, tell: OnLoaded) -> Result[Loaded, Any] | None:
        """Read an instance and the stored answer of a key.

        Args:
            address: the instance.
            key: the idempotency key of the request.
            now_ms: the clock, for the expiry of the key.
            tell: called with the answer, in the step of the event loop after the callback of the store.

        Returns:
            The answer if the store gives it within the call; otherwise None, and the function is called.
        """
        reading = _Reading(LoadRequest(address, key, now_ms), tell, self._answered)
        self._reads.add(reading)
        reading.state = "waiting"
        return reading.answer

    def _answered(self, reading: _Reading, answer: Result[Any, Any]) -> None:
        # An answer within the call is returned by it. Passed on as well, the turn would be decided twice.
        if reading.state == "calling":
            reading.answer = answer
        else:
            self._tell_later(reading.on_loaded, answer)

    def _tell_later(self, tell: OnLoaded, answer: Result[Loaded, Any]) -> None:
        """Pass an answer on in the next step of the event loop: user code does not run in the store's callback."""
        self._told.append((tell, answer))
        if len(self._told) == 1:
            self._runtime.call_soon(self._tell_all)

    def _tell_all(self) -> None:
        told, self._told = deque(self._told), []
        try:
            while told:
                tell, answer = told.popleft()
                tell(answer)
        finally:  # a defect in one turn keeps no other from its own
            for left in told:
                self._tell_later(*left)


MAX_CONFLICTS: Final = 5
"""How often a turn without effects starts again after a conflict."""

MAX_SHARED_CONFLICTS: Final = 200
"""The same on a shared store, where other engines write the same instances."""

LONGEST_MS: Final = 50
"""The longest wait between two tries."""


def back_off_ms(runtime: Runtime, tried: int, others: OtherEngines) -> float:
    """Return how long to wait before a try, in milliseconds: only before the third and later ones, and with rivals.

    Args:
        runtime: the random number.
        tried: the number of earlier tries.
        others: the other engines.
    """
    # The first repetition is immediate: often the row was only out of date. Later ones wait a random time, or the same
    # engines meet again.
    return runtime.random() * min(LONGEST_MS, 2 ** min(tried, 6)) if tried > 1 and others else 0


async def back_off(runtime: Runtime, tried: int, others: OtherEngines) -> None:
    """Wait before a try, as `back_off_ms` says."""
    delay_ms = back_off_ms(runtime, tried, others)
    if delay_ms:
        await runtime.sleep(delay_ms)


@attrs.define
class Commits:
    """Writes the transitions of turns, those together that are ready together.

    Attributes:
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
            written = self._written(written, cell)
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
            transition = self._written(transition, cell)
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

    def _written(self, transition: Transition, cell: InstanceCell | None) -> Transition:
        """Return a transition as it is stored: over its row, and without its events if no history is kept."""
        if transition.events and not self._keeps_history:
            transition = attrs.evolve(transition, events=())
        if transition.before is not None or transition.expected is None:
            return transition
        return over(None if cell is None else cell.row, transition)


def result_of(step: Commit, stored: Stored) -> TurnAnswered | None:
    """Return the result of a turn whose commit was answered; None if there was a conflict."""
    if isinstance(stored, Success):
        return TurnAnswered(step.result)
    return None if isinstance(stored.failure(), Conflict) else TurnAnswered(stored)


def _has_events_only(transition: Transition) -> bool:
    return attrs.evolve(transition, events=()).is_empty
