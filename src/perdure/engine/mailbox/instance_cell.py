"""One instance in memory: its row, its queue, its runs, and its commit that is not durable yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.entry import MailboxEntry, TurnAnswered, Verdict
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import ENGINE_COMMANDS, Recover, Terminate
from perdure.jobs.step import Commit, Execute, Mark
from perdure.programs import Exit
from perdure.programs.drivers import Suspended
from perdure.runtime.record import Future, SpawnedTask
from perdure.values.address import Address
from perdure.values.errors import EngineClosed, OutcomeUnknown, StoreUnavailable
from perdure.values.instance import Fence, Instance
from perdure.values.message import Consumed
from perdure.values.transition import KeepInstance, Loaded, Put, Remembered, Transition, coalesced
from perdure.values.turn_inputs import Decoded

Stop = Literal["timed_out", "interrupted", "cancelled", "released"]
"""Why a run is stopped: it timed out, a terminate or a cancellation interrupts it, or the engine shuts down."""


@attrs.define(eq=False)
class EngineRun:
    """One run of a job's code, from its slot to the commit of its end. `RunExecutor` has the table of its states.

    Attributes:
        cell: the instance.
        entry: the request that it answers. In the mailbox again after a time in the background, the entry of its end.
        execute: the program. Of a mark: once that is decided.
        company: whether no other run may have a slot.
        slot: whether it holds a slot of the concurrency limits.
        mark: the claim that is stored before any code decides the rest; None for another run, and afterwards.
        claims: whether the claim is committed before the program continues, or at its first effect.
        begun: the program, while that waits at its first effect.
        context: the context variables of that program; None if it has not begun.
        place: whether it holds the mailbox, or continues beside it.
        beside: whether it leaves the mailbox when it is claimed: other turns may write the row until its end.
        state: how far it is.
        is_begun: whether a program of it has called a service, or may have.
        accepting: the request of a job that is accepted by the commit of the claim, until that is answered.
        claim_answer: completed with the answer to a claim that the program waits for.
        marked: the row with the claim of a mark.
        task: the task of its program, if that waits for something.
        stop: why that is being cancelled, if it is.
        exit_: how the program ended, from then on.
        conflicts: how often the commit of its end met a conflict.
        answer: the outcome, if that is known before the end is stored.
    """

    cell: InstanceCell
    entry: MailboxEntry
    execute: Execute
    company: Literal["alone", "beside_others"]
    slot: Literal["needed", "held", "none"]
    mark: Mark | None = None
    claims: Literal["first", "at_effect"] = "first"
    begun: Suspended[Any, Any] | None = None
    context: Context | None = None
    place: Literal["mailbox", "background"] = "mailbox"
    beside: bool = False
    state: Literal["admitted", "claiming", "running", "finishing", "committing", "over"] = "admitted"
    is_begun: bool = False
    accepting: MailboxEntry | None = None
    claim_answer: Future[Result[Instance, Any]] | None = None
    marked: Instance | None = None
    task: SpawnedTask[Any] | None = None
    stop: Stop | None = None
    exit_: Exit[Any, Any] | None = None
    conflicts: int = 0
    answer: TurnAnswered | None = None

    @property
    def run_id(self) -> str:
        """The id of its claim."""
        return (self.execute.claim if self.mark is None else self.mark.claim).run_id

    def claimed(self) -> Execute | None:
        """Return the program if its claim is stored."""
        return self.execute if self.mark is None and self.execute.claimed == "recorded" else None


Begun: TypeAlias = Commit | Verdict | EngineRun | Literal["after_flight"]
"""A turn as far as it goes synchronously: its only commit, its outcome, or its run; or it begins again when the turns
before it are durable."""

NOTHING_WAITS: Final[deque[MailboxEntry]] = deque(maxlen=0)
"""The queue of an instance without one, for which an idle instance needs no memory."""

OVERHEAD_BYTES: Final = 1_500
"""An instance without its texts."""

DECODED_FACTOR: Final = 2
"""A decoded state takes about so many times the size of its JSON."""


@attrs.define(eq=False)
class InstanceCell:
    """One instance in this process. It executes one turn at a time.

    Attributes:
        address: the instance.
        job: its definition.
        loaded: its committed row, or that there is none; None: it must be read.
        decoded: the state of that row, if the engine keeps it decoded.
        drafted: the state that the turn in progress has set.
        weight: the size of both in bytes, as the bound counts it.
        use: whether a caller asked something of it again since the bound last met it, or before, or never.
        pending: the turns that are decided and not durable.
        waiting: requests, in order.
        deferred: requests that wait for the end of the run in progress.
        running: the ids of the runs in progress.
        run: the run that holds the mailbox.
        state: whether turns are being executed.
        background: the run beside the queue, until its end is committed.
        runs: those of both whose programs wait in tasks.
        served: the requests that runs answer.
        undecided: the request whose turn waits for the row, or for the end of the step; nothing of it is decided.
        keys: the idempotency keys that this process has stored lately, with their results; None for none.
        keys_held: how many keys the address holds at most; None if they must be counted.
        is_doubted: whether its row was doubted since a turn last began to read it.
    """

    address: Address
    job: AnyDefinition
    loaded: Loaded | None = None
    decoded: Decoded | None = None
    drafted: Decoded | None = None
    weight: int = 0
    use: Literal["again", "once", "never"] = "never"
    pending: PendingCommit | None = None
    waiting: deque[MailboxEntry] = NOTHING_WAITS
    deferred: tuple[MailboxEntry, ...] = ()
    running: tuple[str, ...] = ()
    run: EngineRun | None = None
    state: Literal["idle", "busy"] = "idle"
    background: EngineRun | None = None
    runs: tuple[EngineRun, ...] = ()
    served: tuple[MailboxEntry, ...] = ()
    undecided: MailboxEntry | None = None
    keys: dict[str, Remembered] | None = None
    keys_held: int | None = None
    is_doubted: bool = False

    @property
    def job_name(self) -> str:
        """The job, printed ``kind:name``."""
        return f"{self.address.kind}:{self.address.name}"

    @property
    def row(self) -> Instance | None:
        """The committed row; None if there is none, or it must be read."""
        return None if self.loaded is None else self.loaded.instance

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits, nothing runs, and nothing is on its way to the store."""
        return not (self.waiting or self.deferred or self.running or self.background) and self.pending is None

    @property
    def begun(self) -> tuple[MailboxEntry, ...]:
        """The requests that may have changed something, and have no answer."""
        flown = () if self.pending is None else (entry for entry, _ in self.pending.steps)
        return (*self.served, *flown, *(entry for entry in self.waiting if entry.is_end))

    @property
    def is_interrupted(self) -> bool:
        """Whether an interrupting terminate waits at the head."""
        for entry in self.waiting:
            match entry.request.command:
                case Terminate(when="interrupt") if not entry.answer.done():
                    return True
                case Terminate() | Recover():
                    pass
                case _:
                    return False
        return False

    def decoded_of(self, transition: Transition, before: Decoded | None) -> Decoded | None:
        """Return the decoded state of the row that a transition writes, if a turn has set it or left it as it was.

        Args:
            transition: the transition.
            before: the decoded state of the row before, if that is not the committed one.
        """
        drafted, self.drafted = self.drafted, None
        if type(transition.write) is Put:
            state = transition.write.instance.state
            for decoded in (drafted, before, self.decoded):
                if decoded is not None and decoded.text is state:
                    return decoded
        elif type(transition.write) is KeepInstance:
            return before or self.decoded
        return None

    # ------------------------------------------------------------ the queue
    def put(self, entry: MailboxEntry, place: Literal["head", "tail"]) -> None:
        """Queue a request."""
        if self.waiting is NOTHING_WAITS:
            self.waiting = deque()
        if place == "head":
            # Behind a recovery, or an event that an engine died in would wait for a timer: see `is_event_between`.
            recovers = entry.is_end and bool(self.waiting) and type(self.waiting[0].request.command) is Recover
            self.waiting.insert(int(recovers and not self.waiting[0].is_end), entry)
        else:
            self.waiting.append(entry)

    def wake_deferred(self) -> None:
        """Queue the deferred requests first, in order, because the run in progress is settled."""
        self.put_first(self.deferred)
        self.deferred = ()

    def put_first(self, entries: Sequence[MailboxEntry]) -> None:
        """Queue requests before the others, in order."""
        for entry in reversed(entries):
            self.put(entry, "head")

    def queue_undecided(self) -> None:
        """Queue the event that waits for the end of the step, because earlier ones are decided again first."""
        if self.undecided is not None:
            self.put(self.undecided, "head")
            self.undecided = None

    def leave_queue(self, entry: MailboxEntry) -> None:
        """Remove a request, if it is at the head."""
        if self.waiting and self.waiting[0] is entry:
            self.waiting.popleft()

    def holds(self, entry: MailboxEntry) -> bool:
        """Whether a request waits, is deferred, is served by a task, or is in the pending commit."""
        return any(held is entry for held in self.entries)

    # ------------------------------------------------------------ runs
    @property
    def has_turn(self) -> bool:
        """Whether a turn is in progress: of a run that holds the mailbox, or until the row is read."""
        return self.undecided is not None or self.held > 0

    @property
    def settles_claims(self) -> bool:
        """Whether a turn, a task or an end will settle the claims in progress."""
        return bool(self.served) or any(entry.is_end for entry in (*self.waiting, *self.deferred))

    def forget(self, run_id: str) -> None:
        """Note that this process no longer runs a claim."""
        if self.running == (run_id,):
            self.running = ()
        elif self.running:
            self.running = tuple(running for running in self.running if running != run_id)

    def begin_serving(self, entry: MailboxEntry) -> None:
        """Note that a run answers a request."""
        self.served = (*self.served, entry)

    def end_serving(self, entry: MailboxEntry) -> None:
        """Note that the run has answered it, or never will."""
        if len(self.served) == 1 and self.served[0] is entry:
            self.served = ()
        else:
            self.served = tuple(other for other in self.served if other is not entry)

    def stop(self, run: EngineRun, why: Stop) -> None:
        """Cancel a run and record the reason. The first reason is kept; a shutdown cancels a run again."""
        # The first reason decides the outcome: a run that timed out must not count as released, and be delivered again.
        if run.task is not None and (run.stop is None or why == "released"):
            run.stop = run.stop or why
            run.task.cancel()

    def interrupt(self, run: EngineRun, execute: Execute, row: Instance) -> None:
        """Cancel a run in progress, if a request in the row says so. A run that is stopped already stays as it is."""
        if run.stop is None and self.job.interrupts(execute, row):
            self.stop(run, "cancelled")

    def interrupt_by(self, entries: Sequence[MailboxEntry], row: Instance) -> None:
        """Cancel the runs in progress that requests interrupt, which are stored in the row now."""
        if any(type(entry.request.command) in self.job.interrupting for entry in entries):
            for run in self.runs:
                if (execute := run.claimed()) is not None:
                    self.interrupt(run, execute, row)

    def close_intake(self) -> None:
        """Answer the requests that wait, because the engine stops."""
        for entry in (*self.waiting, *self.deferred):
            # The end of a run is settled during the stop: its effects have happened, and its commit is still possible.
            if not entry.is_end:
                entry.reply(Failure(EngineClosed()))

    def leave(self) -> None:
        """Answer all requests, because the engine stops although something of them has not ended."""
        if self.undecided is not None:
            self.undecided.reply(Failure(EngineClosed()))
            self.undecided = None
        # Begun turns first. A request that is in both gets the careful answer: its commit may be durable.
        for entry in self.begun:
            entry.reply(Failure(OutcomeUnknown("the engine stopped, and the run did not end")))
        for entry in (*self.waiting, *self.deferred):
            entry.reply(Failure(EngineClosed()))

    def stop_runs(self, why: Stop) -> None:
        """Cancel every run in progress."""
        for run in self.runs:
            self.stop(run, why)

    # ------------------------------------------------------------ its contents
    @property
    def pending_weight(self) -> int:
        """How much its requests count towards ``max_pending``."""
        return sum(entry.pending_weight for entry in self.entries)

    @property
    def entries(self) -> list[MailboxEntry]:
        """Its requests, wherever they are."""
        steps = () if self.pending is None else self.pending.steps
        undecided = () if self.undecided is None else (self.undecided,)
        return [*self.waiting, *self.deferred, *self.served, *undecided, *(entry for entry, _ in steps)]

    @property
    def held(self) -> int:
        """How many requests the turn in progress serves; the one of a run in the background is not of that turn."""
        return len(self.served) - (self.background is not None and self.background.place == "background")

    @property
    def summary(self) -> str:
        """Its state in one line, without the data of the job."""
        sizes = {name: len(getattr(self, name)) for name in ("waiting", "deferred", "running", "runs", "served")}
        is_set = {name: getattr(self, name) is not None for name in ("undecided", "run", "background", "pending")}
        held = [f"{name}={size}" for name, size in sizes.items() if size] + [
            name for name, is_ in is_set.items() if is_
        ]
        return f"{self.address} is {self.state}, with {', '.join(held) or 'nothing'}"


Stored: TypeAlias = Result[Fence, Any]  # a StoreError, Conflict or OutcomeUnknown

JOINT_CONFLICTS: Final = 2
"""How many conflicts turns meet that share a commit with a message. Then it is decided alone: it may be gone."""

_ALONE: Final = (*ENGINE_COMMANDS, Terminate)


@attrs.define(eq=False)
class PendingCommit:
    """A transition that is decided and not durable.

    While its group has not left, further turns of the instance are decided on its outcome and folded into it: their
    changes are one row, and each of their callers is answered when that is durable.

    Attributes:
        transition: the changes.
        cell: the instance; None for a transition of no turn.
        loaded: the row as the transition leaves it, if it is stored.
        decoded: the state of that row, if it is known.
        tell: called with the store's answer, inside its callback.
        steps: the turns that it is made of, with their requests; none for a claim.
        state: whether its group has left.
    """

    transition: Transition
    cell: InstanceCell | None
    loaded: Loaded
    decoded: Decoded | None
    tell: Callable[[PendingCommit, Stored], None]
    steps: list[tuple[MailboxEntry, Commit]] = attrs.Factory(list[tuple[MailboxEntry, Commit]])
    state: Literal["open", "left"] = "open"

    def leave(self) -> Transition:
        """Return the transition, to which nothing is folded from now on."""
        self.state = "left"
        return self.transition

    def remembered(self, key: str) -> Remembered | None:
        """Return the result that it stores under a key."""
        return next((remembered for remembered in self.transition.remember if remembered.key == key), None)

    # ------------------------------------------------------------ coalescing
    def may_take(self, entry: MailboxEntry, most: int) -> bool:
        """Return whether the turn of a request may be decided on the outcome of this pending commit.

        What the engine itself requests is decided on stored rows, and a new instance is stored first. Turns whose
        transition the store has refused are written one by one.

        Args:
            entry: the request.
            most: how many turns it holds at most.
        """
        request, write = entry.request, self.transition.write
        return (
            self.state == "open"
            and len(self.steps) < most
            and (type(write) is KeepInstance or (type(write) is Put and self.transition.expected is not None))
            and (entry.conflicts <= JOINT_CONFLICTS or (request.inbound or self.transition.inbound) is None)
            and not entry.is_end
            and entry.company == "any"
            and not isinstance(request.command, _ALONE)
            and not self._is_alone
        )

    @property
    def _is_alone(self) -> bool:
        """True if no other turn may join: an attempt was refused, or the inbound message may conflict permanently."""
        if not self.steps:
            return False
        first = self.steps[0][0]
        return first.company == "alone" or (self.transition.inbound is not None and first.conflicts > JOINT_CONFLICTS)

    def coalesce(self, entry: MailboxEntry, commit: Commit, written: Transition, decoded: Decoded | None) -> None:
        """Add a turn that was decided on the outcome of this pending commit.

        Args:
            entry: the request.
            commit: the decision.
            written: its transition, as it is stored.
            decoded: the state that it leaves, if it is known.
        """
        # A turn that writes nothing still waits for the commit: its answer rests on the pending row.
        if not written.is_empty:
            self.transition = coalesced(self.transition, written)
            self.loaded, self.decoded = outcome_of(written, self.loaded), decoded
        self.steps.append((entry, commit))


def taken_apart(pending: PendingCommit, stored: Stored) -> list[MailboxEntry]:
    """Take the turns off a commit that the store has refused; return the requests, to be decided again one by one.

    The store refuses a transition that holds a value that it cannot write, such as a text, and so the turn that it is
    of. No request is returned if there is only one, or if the store may have written them.
    """
    entries = [entry for entry, _ in pending.steps]
    if len(entries) <= 1 or isinstance(stored, Success) or not isinstance(stored.failure(), StoreUnavailable):
        return []
    # One refused value must fail only its own turn. Alone each, the others can be stored.
    pending.steps.clear()
    for entry in entries:
        entry.company = "alone"
    return entries


def is_coalescible(transition: Transition) -> bool:
    """Return whether a decided transition may become a part of a pending commit."""
    journal, inbound = transition.journal, transition.inbound
    is_read = bool(transition.remember) and transition.new_keys is None
    settles = inbound is not None and type(inbound) is not Consumed
    return not is_read and not settles and (journal is None or journal.earlier == "kept")


def outcome_of(transition: Transition, before: Loaded) -> Loaded:
    """Return the row as a transition leaves it.

    Args:
        transition: the transition.
        before: the row before.
    """
    write = transition.write
    if type(write) is Put:
        return Loaded(instance=write.instance)
    return before if type(write) is KeepInstance else Loaded()
