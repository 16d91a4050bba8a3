"""Executes turns: loads the instance, decides, and begins the commit or the run of the decision.

Events that arrive within one step of the event loop are decided together.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.commits import MAX_CONFLICTS, MAX_SHARED_CONFLICTS, Commits, Reads, back_off_ms
from perdure.engine.mailbox.entry import MailboxEntry, Reading, TurnAnswered, answer_of_hook, is_interrupt
from perdure.engine.mailbox.instance_cache import InstanceCache, KnownKeys
from perdure.engine.mailbox.instance_cell import Begun, EngineRun, InstanceCell
from perdure.engine.runs.run_executor import run_of_mark
from perdure.engine.runs.runner import Runner
from perdure.engine.sinks import Tracing, turn_begun
from perdure.jobs.checkpoint import OF_A_CLAIMED_RUN
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst
from perdure.jobs.turn import begin
from perdure.programs import Raised
from perdure.programs.drivers import Suspended, asks_service
from perdure.runtime.record import LogRecord, Runtime
from perdure.runtime.tasks import enter_run, leave_run, outside_runs, run_around
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, OutcomeUnknown
from perdure.values.instance import Instance
from perdure.values.transition import KeepInstance, Loaded
from perdure.values.turn_inputs import Decoded, TurnInputs


@attrs.define
class Coalescing:
    """Remembers the events that had effects: none is begun on a pending commit, because it would begin again.

    Attributes:
        cache: knows whether a row that was read remains the stored one. If not, turns are decided on the outcome of
            a pending commit only if its commit compares the version of that row.
        keys: knows whether a keyed request is decided before its key is looked up.
    """

    cache: InstanceCache
    keys: KnownKeys
    _with_effects: set[tuple[str, type]] = attrs.Factory(set[tuple[str, type]])
    _most: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._most = self.cache.sizes.turns_in_a_commit

    def note_effect(self, cell: InstanceCell, request: Request) -> None:
        """Note that an event had an effect."""
        self._with_effects.add(_event_of(cell, request))

    def allows(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Return whether the turn of a request may be decided on the outcome of the instance's pending commit."""
        pending = cell.pending
        return (
            pending is not None
            and pending.may_take(entry, self._most)
            and (entry.request.idempotency_key is None or self.keys.may_skip(cell, entry))
            and (self.cache.may_use_rows or type(pending.transition.write) is not KeepInstance)
            and (not self._with_effects or _event_of(cell, entry.request) not in self._with_effects)
        )


def _event_of(cell: InstanceCell, request: Request) -> tuple[str, type]:
    """Return the job and the class of an event, whose programs are expected to have an effect or none."""
    event: object = getattr(request.command, "event", request.command)
    return cell.job.name, event.__class__


def traced_inputs(
    tracing: Tracing, address: Address, entry: MailboxEntry, loaded: Loaded, inputs: TurnInputs
) -> TurnInputs:
    """Begin the trace of a turn, unless it began before a conflict, and return the inputs with its context.

    Args:
        tracing: traces turns.
        address: the instance.
        entry: the request.
        loaded: the stored instance.
        inputs: the inputs of the turn.
    """
    if entry.span is None:
        turn = turn_begun(address, entry.request, loaded.instance, inputs)
        entry.span = None if turn is None else tracing.begin(turn)
    context = None if entry.span is None else entry.span.context
    return inputs if context is None else attrs.evolve(inputs, trace=context)


class _KeyMatters(Exception):
    """A decision depends on whether the key of its request is new, and no commit of it would find out."""


OnTurnLoaded: TypeAlias = Callable[[InstanceCell, MailboxEntry, Result[Loaded, Any]], None]


@attrs.define
class TurnExecutor:
    """Executes turns: waits and writes. The pure functions ``begin`` and ``finish`` decide.

    Attributes:
        runner: runs the programs of turns.
        runtime: the only interface to time and waiting.
        cache: keeps the instances of this process.
        keys: the idempotency keys that this process knows.
        coalescing: decides which turns join a pending commit.
        reads: reads the instances of turns.
    """

    runner: Runner
    runtime: Runtime = attrs.field(init=False)
    cache: InstanceCache = attrs.field(init=False)
    keys: KnownKeys = attrs.field(init=False)
    coalescing: Coalescing = attrs.field(init=False)
    reads: Reads = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.runtime, self.cache = self.runner.runtime, self.runner.cache
        self.keys = self.runner.commits.keys
        self.coalescing = Coalescing(self.cache, self.keys)
        self.reads = Reads(self.runner.store, self.runtime)

    # ------------------------------------------------------------ the turn
    def begin(self, cell: InstanceCell, entry: MailboxEntry, tell: OnTurnLoaded) -> Begun | Reading:
        """Execute the turn of one request as far as it goes synchronously.

        Args:
            cell: the instance.
            entry: the request.
            tell: called with both and the stored instance, in a later step of the event loop; it must call `decide`.

        Returns:
            The turn's only commit, which waits for the disk as a value; or its outcome; or the rest of it, if it must
            wait for something else first; or "reading", if the instance is read first.
        """
        # Only with rivals: an engine that owns its store conflicts with itself alone, and a wait would help nothing.
        if entry.conflicts > entry.backed_off and self.runner.others and cell.pending is None:
            entry.backed_off = entry.conflicts
            delay_ms = back_off_ms(self.runtime, entry.conflicts, self.runner.others)
            self.runtime.call_later(delay_ms, partial(self._read_later, cell, entry, tell))
            return "reading"
        key = entry.request.idempotency_key
        if key is None:
            if (pending := cell.pending) is not None:
                return self._decide(cell, entry, entry.request, pending.loaded, pending.decoded)
            if cell.loaded is not None and self.cache.may_use_rows:
                return self._decide(cell, entry, entry.request, cell.loaded, cell.decoded)
        begun = self._begin_unread(cell, entry, key)
        if begun is not None:
            return begun
        loaded = self._read(cell, entry, tell)
        return "reading" if loaded is None else self.decide(cell, entry, loaded)

    def _read(self, cell: InstanceCell, entry: MailboxEntry, tell: OnTurnLoaded) -> Result[Loaded, Any] | None:
        key = entry.request.idempotency_key
        now_ms = 0 if key is None else self.runtime.now_ms()
        cell.is_doubted = False
        return self.reads.load(cell.address, key, now_ms, partial(tell, cell, entry))

    def _read_later(self, cell: InstanceCell, entry: MailboxEntry, tell: OnTurnLoaded) -> None:
        """Read the row for a turn that has let its rivals on a shared store succeed first."""
        try:
            loaded = self._read(cell, entry, tell)
        except Exception as defect:  # noqa: BLE001 - a timer's callback: the event loop would only log it
            loaded = Failure(OutcomeUnknown(f"the engine failed before this turn: {defect!r}"))
        if loaded is not None:
            tell(cell, entry, loaded)

    def most_conflicts(self, entry: MailboxEntry) -> int:
        """Return how often the turn of a request may meet conflicts before its first effect."""
        return MAX_SHARED_CONFLICTS if self.runner.others and entry.request.inbound is None else MAX_CONFLICTS

    def decide(self, cell: InstanceCell, entry: MailboxEntry, loaded: Result[Loaded, Any]) -> Begun:
        """Continue synchronously with a turn whose instance was loaded."""
        if not isinstance(loaded, Success):
            return TurnAnswered(loaded)
        found = loaded.unwrap()
        self.cache.loaded(cell, found)
        if entry.request.idempotency_key is not None:
            self.keys.looked_up(cell, found)
        elif not self.cache.may_use_rows and cell.loaded is not None:
            found = cell.loaded  # the same row, of which the state may be decoded
        return self._decide(cell, entry, entry.request, found, cell.decoded)

    def _begin_unread(self, cell: InstanceCell, entry: MailboxEntry, key: str | None) -> Begun | None:
        """Execute a turn on a row that may be out of date, or with a key that was not looked up; None if it is read.

        The store refuses a commit over another row, or whose key must be new and is not.
        """
        if key is not None:
            begun = self._begin_keyed(cell, entry, key)
            return "after_flight" if begun is None and cell.pending is not None else begun
        if cell.loaded is None or not self.cache.may_decide(cell, entry):
            return None
        begun = self._decide(cell, entry, entry.request, cell.loaded, cell.decoded)
        return begun if self.cache.may_stand(entry, begun) else None

    def _begin_keyed(self, cell: InstanceCell, entry: MailboxEntry, key: str) -> Begun | None:
        """Execute the turn of a request whose key is in memory, or is taken for a new one; None if it is read."""
        pending = cell.pending
        loaded, decoded = (cell.loaded, cell.decoded) if pending is None else (pending.loaded, pending.decoded)
        if loaded is None or not self.keys.may_skip(cell, entry):
            return None
        now_ms = self.runtime.now_ms()
        known = self.keys.find(cell, key, now_ms)
        if known is not None:
            read = Loaded(instance=loaded.instance, remembered=known)
            return self._decide(cell, entry, entry.request, read, decoded)
        try:
            return self._decide(cell, entry, entry.request.unread(now_ms), loaded, decoded)
        except _KeyMatters:
            return None

    def _decide(
        self, cell: InstanceCell, entry: MailboxEntry, request: Request, loaded: Loaded, decoded: Decoded | None
    ) -> Begun:
        """Decide a request.

        Raises:
            _KeyMatters: its key was not looked up, and the decision has no commit that would find it.
        """
        runner = self.runner
        inputs = runner.inputs_of(cell, decoded, loaded.instance)
        if runner.tracing is not None:
            inputs = traced_inputs(runner.tracing, cell.address, entry, loaded, inputs)
        around = None if run_around() is None else outside_runs()
        try:
            step = begin(cell.job, cell.address, loaded, request, inputs)
        except BaseException as defect:  # noqa: BLE001 - a hook may raise any class; its caller gets `HookRaised`
            return self._not_begun(cell, request, loaded.instance, defect)
        finally:
            if around is not None:
                leave_run(around)
        # A decision that has no commit, now or later, does not find out that its key is known.
        if (
            request.unread_key_ms is not None
            and type(step) is not Execute
            and (type(step) is not Commit or step.transition.new_keys is None)
        ):
            raise _KeyMatters
        if runner.reporting.sinks.told:
            runner.reporting.decided(cell, entry, loaded.instance, step)
        if type(step) is Execute:
            if entry.span is not None:
                entry.span.runs(step.claim)
            if cell.decoded is None:
                self.cache.note_decoded(cell, step)
            if step.claimed == "before_effect" and runner.code == "trusted":
                return self._handle(cell, entry, step, inputs)
        return step if type(step) is Commit else self._wait_first(cell, entry, step)

    def _wait_first(
        self, cell: InstanceCell, entry: MailboxEntry, step: Execute | Mark | Defer | RecoverFirst
    ) -> Begun:
        """Continue with what must wait, on a committed row."""
        # A claim or a mark is written over the stored row. Over a pending one, its commit would have no row to compare.
        if cell.pending is not None or (entry.row_source == "kept" and type(step) is not Execute):
            return "after_flight"
        match step:
            case Mark():
                return run_of_mark(cell, entry, step)
            case Execute():  # of an event, if its code is suspect: it is claimed before its handler runs, as a run is
                return EngineRun(cell, entry, step, step.alone, self._slot_of(cell, step))
            case _:
                return step

    def _slot_of(self, cell: InstanceCell, execute: Execute) -> Literal["needed", "none"]:
        """Return whether a run takes a slot: an event of a kind whose runs do not hold the mailbox waits for no run."""
        takes_none = execute.claimed == "before_effect" and cell.job.occupancy == "claim_only"
        return "none" if takes_none and self.runner.phase == "open" else "needed"

    def _not_begun(
        self, cell: InstanceCell, request: Request, instance: Instance | None, defect: BaseException
    ) -> TurnAnswered:
        """Answer a request whose turn raised before there was a program."""
        if request.unread_key_ms is not None:
            raise _KeyMatters
        broken = Raised(defect)
        self.runner.note_end(broken)
        return answer_of_hook(self.runtime, cell.job, cell.address, request, instance, broken)

    # ------------------------------------------------------------ events
    def _handle(self, cell: InstanceCell, entry: MailboxEntry, execute: Execute, inputs: TurnInputs) -> Begun:
        """Handle an event. As long as its program neither waits nor has effects, it needs no slot, claim or task."""
        runner, step = self.runner, execute
        while True:
            around = enter_run((step.instance.address, step.claim, step.hook))
            try:
                begun = runner.until_effect(cell, step)
                if type(begun) is Suspended:
                    return self._has_effect(cell, entry, step, begun)
                # Decided again once the key is looked up: a repeat is answered as its first request was.
                if step.request.unread_key_ms is not None and type(begun) is not Success:
                    raise _KeyMatters
                if type(begun) is Raised and is_interrupt(begun):
                    runner.note_end(begun)
                    return TurnAnswered(Failure(EngineClosed()))
                if self.runtime.now_ms() != inputs.now_ms:
                    inputs = runner.inputs_of(cell)
                ended = runner.decide_end(cell, step, begun, inputs)
            finally:
                leave_run(around)
            if type(ended) is Commit:
                break
            step = ended
        if step.request.unread_key_ms is not None and ended.transition.new_keys is None:
            raise _KeyMatters
        return ended

    def _has_effect(
        self, cell: InstanceCell, entry: MailboxEntry, execute: Execute, begun: Suspended[Any, Any]
    ) -> Begun:
        """Continue an event that has an effect: on the committed row, so that its claim can be recorded over it."""
        # Dropped and begun again otherwise: an effect on an outcome that is never stored cannot be taken back.
        if cell.pending is None and entry.row_source == "read":
            # Services are called when the claim is durable, for all events of its commit in one step. Time, branches
            # and checkpoints need a task, and no claim before the first effect.
            calls = asks_service(begun) and type(begun.asked[0]) not in OF_A_CLAIMED_RUN
            claims: Literal["first", "at_effect"] = "first" if calls else "at_effect"
            slot = self._slot_of(cell, execute)
            return EngineRun(cell, entry, execute, execute.alone, slot, claims=claims, begun=begun)
        begun.drop()
        self.coalescing.note_effect(cell, execute.request)
        return "after_flight"


@attrs.define(eq=False)
class EventBatch:
    """The events of instances in memory that arrived in this step of the event loop.

    The code of a turn and that of its caller do not fit into the innermost cache of a processor together: decided one
    after the other, the same calls take a fifth less time. The commits of the batch leave as one group, at once.

    Attributes:
        runtime: ends the step.
        commits: writes the transitions of the turns.
        rows: know whether rows in memory are mostly the stored ones.
        decide: decides the turn of an instance's event; None if there is nothing to conclude. It raises nothing.
        conclude: begins to commit a turn that is decided; it raises nothing.
        cells: the instances whose events are decided when the step ends.
    """

    runtime: Runtime
    commits: Commits
    rows: InstanceCache
    decide: Callable[[InstanceCell], tuple[MailboxEntry, Begun | Reading] | None]
    conclude: Callable[[InstanceCell, MailboxEntry, Begun | Reading], None]
    _has_groups: bool = attrs.field(init=False)
    _largest: int = attrs.field(init=False)
    cells: list[InstanceCell] = attrs.Factory(list[InstanceCell])
    _context: Context = attrs.Factory(copy_context)  # of the engine: the batch is of no single caller

    def __attrs_post_init__(self) -> None:
        self._has_groups, self._largest = self.commits.has_groups, self.runtime.sizes.batch

    def take(self, cell: InstanceCell, entry: MailboxEntry) -> bool:
        """Take an event whose instance is in memory, to decide it at the end of this step; return whether it is one.

        A store that never waits gets each commit at once, so nothing is gained by a batch. Neither is where other
        engines write the same instances: their rows are read again, and each read would wait for the end of the step.
        """
        if type(entry.request.command) is not cell.job.event or not self._has_groups:
            return False
        if cell.loaded is None and cell.pending is None:
            return False
        if not self.rows.may_use_rows and not self.rows.are_current:
            return False
        # Busy from now on: a request that arrives in the same step queues behind this one.
        cell.state, cell.undecided = "busy", entry
        is_first = not self.cells
        self.cells.append(cell)
        if is_first:
            self._decide_soon()
        return True

    def _decide_soon(self) -> None:
        try:
            self.runtime.at_step_end(self._end_step)
        except Exception as defect:  # noqa: BLE001 - of the engine: a batch that is never decided blocks its callers
            self.runtime.log(LogRecord("error", "internal error before a batch", {"error": repr(defect)}))
            self._end_step()

    def _end_step(self) -> None:
        # The rest in the next step: a batch without a bound would keep timers and sockets waiting.
        batch, self.cells = self.cells[: self._largest], self.cells[self._largest :]
        if self.cells:
            self._decide_soon()
        self._context.copy().run(self._decide, batch)  # a variable that a handler sets reaches no later batch

    def _decide(self, batch: list[InstanceCell]) -> None:
        self.commits.hold_back()
        # Decide all, then commit all: turn and commit code do not fit together into the innermost processor cache.
        try:
            decided = [self.decide(cell) for cell in batch]
            for cell, turn in zip(batch, decided, strict=True):
                if turn is not None:
                    self.conclude(cell, *turn)
        finally:
            self.commits.flush()
