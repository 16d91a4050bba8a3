"""A job instance: one address's durable data, in one record.

Code that cannot read an instance leaves it to other code: the mark `Left` says which code did, since when and why.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import excerpt, fields_in_line, size_only
from perdure.values.frozen import made_late, turn_value
from perdure.values.status import FailureRecord, Status, Suspension

MAX_CODES: Final = 16
"""Versions of the code that a mark keeps. Of more than that, the one that was first to leave tries again."""


UNKNOWN_CODE: Final = "unknown"
"""Stands for the code of a version that parked instances which it could not read, before there was a mark."""


@attrs.frozen(kw_only=True)
class Left:
    """Who left an instance or a message, since when, and why.

    Engines with these codes do not try again by themselves. An engine with other code tries immediately.

    Attributes:
        codes: fingerprints of the definitions that could not read it, the oldest first.
        since_ms: when the first definition left it.
        error: why the last definition left it. The error message begins with the problem's path.
    """

    __repr__ = fields_in_line

    codes: tuple[str, ...]
    since_ms: int
    error: FailureRecord

    def key(self, address: Address) -> str:
        """Return the text by which a store finds all that the same versions left in one job."""
        return left_key(address, self.codes)


def left_by(before: Left | None, code: str, error: FailureRecord, now_ms: int) -> Left:
    """Return the mark with one more code.

    Args:
        before: the mark so far. None if nothing left it.
        code: the fingerprint of the definition that leaves it now.
        error: why.
        now_ms: the present.
    """
    if before is None:
        return Left(codes=(code,), since_ms=now_ms, error=error)
    # Bounded, because every deployment adds one. The newest stay: older code is the least likely to run again.
    codes = (*(one for one in before.codes if one != code), code)[-MAX_CODES:]
    return Left(codes=codes, since_ms=before.since_ms, error=error)


def left_key(address: Address, codes: tuple[str, ...]) -> str:
    """Return the text by which a store finds the rows that these code versions of an address's job left."""
    # Sorted: stores group and index rows by this text.
    return f"{address.kind}:{address.name}\t{' '.join(sorted(codes))}"


def codes_of(key: str | None) -> tuple[str, ...]:
    """Return a key's codes. None has no codes."""
    return () if key is None else tuple(key.partition("\t")[2].split(" "))


def is_left_to(key: str, job: tuple[str, str], code: str) -> bool:
    r"""Return whether a row with this key belongs to a job, and was not left by a code.

    >>> [is_left_to("task:orders\t3f 9a", ("task", "orders"), code) for code in ("77", "9a")]
    [True, False]
    """
    head, _, codes = key.partition("\t")
    return head == f"{job[0]}:{job[1]}" and code not in codes.split(" ")


HEALS: Final = {
    "Diverged": "Deploy code that follows its journal: it continues by itself. Or terminate it.",
    "NewerOnly": (
        "Run an engine of the version that wrote it, usually a newer one: it continues there by itself. If an older "
        "version wrote it, declare a version of the state with an upgrade from that one, and deploy."
    ),
    "UpcastFailed": "Fix the function that upgrades its state, and deploy: it continues by itself.",
    "Unreadable": "Start the engine with the key that it is encrypted with, then resume it.",
}
"""How an operator heals a mark, by the class of its error."""

HEALS_ANY: Final = (
    "Deploy code that reads it: it continues by itself. If no version wrote this, it is damage: terminate it, or "
    "restore the row from a backup and resume it."
)


def heals(left: Left) -> str:
    """Return how an operator heals a mark, in one or two sentences."""
    return HEALS.get(left.error.error_type, HEALS_ANY)


Cause: TypeAlias = str
"""The cause of a run: ``alarm``, ``start``, ``trigger``, ``flush``, ``event``, ``upgrade``, or another kind's word.

The handler of an ``event`` is claimed before its first effect. An ``upgrade`` runs the upcasters of a stored state, and
is claimed only after a process died.
"""


@turn_value
class Fence:
    """The incarnation and version that a transition expects.

    The store takes the incarnation from a sequence that never goes back, so a purged instance's turn cannot commit into
    its successor.
    """

    incarnation: int
    version: int


class _NamesRun:
    """Makes a run's id when it is first read: an event without effects needs none."""

    __slots__ = ("name_run",)
    name_run: Callable[[], str]


@turn_value(kw_only=True)
class Claim(_NamesRun):
    """User code is running for this instance. The claim is committed before the code starts.

    Attributes:
        owner: the running engine's epoch, from the store's own counter.
        cause: the run's cause.
        run_id: the same for all deliveries and attempts in one logical run.
        attempt: this run's failures, plus 1.
        deliveries: this attempt's claims, this one included.
        recoveries: how many times a process died during this run.
        claimed_ms: when it was claimed, integer milliseconds UTC.
        created: ``here`` when the claim itself created the instance, so that a failed first event leaves nothing.
        action: the handled command's name. None for an alarm.
        payload: the command's input as JSON, so that an event can be delivered again after a crash.
        key: the command's idempotency key, for which the run stores its result.
        message_id: the message that the run consumes.
        message_sender: that message's sender as a printed address.
        uncounted: attempts before the instance was last resumed, which the retry policy does not count.
        trace: the claiming turn's trace context. None if it was not traced. See `perdure.values.trace`.
        by: the caller's token name. None if it had none, or if this is not the first attempt.
    """

    __repr__ = fields_in_line

    owner: int
    cause: Cause
    run_id: str
    claimed_ms: int
    attempt: int = 1
    deliveries: int = 1
    recoveries: int = 0
    created: Literal["before", "here"] = "before"
    action: str | None = None
    payload: str | None = attrs.field(default=None, repr=size_only)
    key: str | None = attrs.field(default=None, repr=excerpt)
    message_id: int | None = None
    message_sender: str | None = attrs.field(default=None, repr=excerpt)
    uncounted: int = 0
    trace: str | None = None
    by: str | None = attrs.field(default=None, repr=excerpt)


def _named(claim: Claim) -> str:
    run_id = claim.name_run()
    del claim.name_run  # it holds the inputs of the turn, and the row may keep the claim for long
    return run_id


made_late(Claim, "run_id", _named)


@turn_value(kw_only=True)
class PendingRetry:
    """A failed run that is due to be retried.

    Attributes:
        cause: what caused the run's first attempt.
        deliveries: that attempt's claims so far (0, unless it was parked in between).
        first_failed_ms: when the first attempt failed.
        at_ms: when the next attempt is due.
        error: the last attempt's error.
        uncounted: attempts before the instance was parked, which the retry policy does not count.
        trace: the failed turn's trace context. None if it was not traced.
    """

    __repr__ = fields_in_line

    run_id: str
    cause: Cause
    attempt: int
    first_failed_ms: int
    at_ms: int
    error: FailureRecord
    deliveries: int = 0
    uncounted: int = 0
    trace: str | None = None


@turn_value(kw_only=True)
class Instance:
    """One stored job instance. Instants are integer milliseconds UTC. The state is JSON text.

    Attributes:
        address: kind, job name and id.
        incarnation: the store's number for this lifetime of the address. 0 before the first commit.
        version: counts this incarnation's transitions, from 1.
        state: the encoded state. Empty when the kind stores none at the moment.
        state_version: the state's schema version.
        data: data that only the kind interprets, as JSON. Empty when the kind needs none.
        alarm_ms: when the schedule, the batch or the task itself is due.
        suspension: why alarms and retries are suspended, if they are.
        pending_retry: the failed run that is due to be retried.
        claim: the execution in progress.
        event_claim: the event that is being handled, when it performs effects or a process died shortly before. Or the
            state upgrade, when a process died shortly before.
        run_count: logical runs started. Retries and repeats do not increase it.
        event_count: events accepted.
        last_error: the last run's error. A run that succeeds clears it.
        alarm_trace: the trace context of the turn that set the alarm. None if that turn was not traced.
        journal_length: how many rows the journal has.
        lane: the lane in which the instance waits for a free worker, or from which it was taken. The alarm or retry
            instant is then its position in the lane. None: its alarm fires by itself.
        ended_ms: when it ended, for a kind that keeps it for its result. None while it has not ended.
        suspended_ms: when it was last paused or parked. None if it never was.
        left: the code versions that cannot read it. None: no version has left it.
    """

    __repr__ = fields_in_line

    address: Address
    created_ms: int
    updated_ms: int
    incarnation: int = 0
    version: int = 0
    state: str = attrs.field(default="", repr=size_only)
    state_version: int = 1
    data: str = attrs.field(default="", repr=size_only)
    alarm_ms: int | None = None
    suspension: Suspension | None = None
    pending_retry: PendingRetry | None = None
    claim: Claim | None = None
    event_claim: Claim | None = None
    run_count: int = 0
    event_count: int = 0
    last_error: FailureRecord | None = None
    alarm_trace: str | None = None
    journal_length: int = 0
    lane: str | None = None
    ended_ms: int | None = None
    suspended_ms: int | None = None
    left: Left | None = None

    def changed(self, **changes: Any) -> Instance:  # of the fields named
        """Return a copy with these fields changed, three times as fast as ``attrs.evolve``."""
        # Spelled out, because each turn copies the row: a new field must be added here, and in `after_event`.
        copy: Any = _new(Instance)  # frozen for all other code
        copy.address = self.address
        copy.created_ms = self.created_ms
        copy.updated_ms = self.updated_ms
        copy.incarnation = self.incarnation
        copy.version = self.version
        copy.state = self.state
        copy.state_version = self.state_version
        copy.data = self.data
        copy.alarm_ms = self.alarm_ms
        copy.suspension = self.suspension
        copy.pending_retry = self.pending_retry
        copy.claim = self.claim
        copy.event_claim = self.event_claim
        copy.run_count = self.run_count
        copy.event_count = self.event_count
        copy.last_error = self.last_error
        copy.alarm_trace = self.alarm_trace
        copy.journal_length = self.journal_length
        copy.lane = self.lane
        copy.ended_ms = self.ended_ms
        copy.suspended_ms = self.suspended_ms
        copy.left = self.left
        for name, value in changes.items():
            setattr(copy, name, value)
        changed: Instance = copy
        return changed

    def after_event(self, state: str, now_ms: int, alarm_ms: int | None) -> Instance:
        """Return the instance after an event that changed its state and its alarm, twice as fast as `changed`.

        The result no longer has that event's claim.

        Args:
            state: the encoded state.
            now_ms: the present.
            alarm_ms: the alarm.
        """
        copy: Any = _new(Instance)  # frozen for all other code
        copy.address = self.address
        copy.created_ms = self.created_ms
        copy.updated_ms = now_ms
        copy.incarnation = self.incarnation
        # As `put` does: the version guards against a second decision on the same row.
        copy.version = self.version + 1
        copy.state = state
        copy.state_version = self.state_version
        copy.data = self.data
        copy.alarm_ms = alarm_ms
        copy.suspension = self.suspension
        copy.pending_retry = self.pending_retry
        copy.claim = self.claim
        copy.event_claim = None
        copy.run_count = self.run_count
        copy.event_count = self.event_count + 1
        copy.last_error = self.last_error
        copy.alarm_trace = self.alarm_trace
        copy.journal_length = self.journal_length
        copy.lane = self.lane
        copy.ended_ms = self.ended_ms
        copy.suspended_ms = self.suspended_ms
        copy.left = self.left
        after: Instance = copy
        return after

    @property
    def fence(self) -> Fence | None:
        """The fence that the next transition expects. None when nothing is stored yet."""
        return Fence(self.incarnation, self.version) if self.incarnation else None

    @property
    def due_ms(self) -> int | None:
        """When the engine must start a turn, as a store indexes it. None while suspended or left, and in a lane."""
        # Stores index this value and fire by it: each query for due work would find an instance that must not run.
        if self.suspension is not None or self.lane is not None or self.left is not None:
            return None
        # The retry first: it continues the run of the last alarm, and the next alarm waits for its end.
        return self.alarm_ms if self.pending_retry is None else self.pending_retry.at_ms

    @property
    def rank_ms(self) -> int | None:
        """The place in the lane, as a store orders it: the least comes first. None for an instance that is not queued.

        An instance is queued if it has a lane, and is neither claimed nor suspended nor left.
        """
        if self.lane is None or self.suspension is not None or self.left is not None:
            return None
        if self.claim is not None or self.event_claim is not None:
            return None
        return self.alarm_ms if self.pending_retry is None else self.pending_retry.at_ms

    @property
    def owner(self) -> int | None:
        """The claiming engine's epoch, as a store indexes it for recovery.

        If the instance is left, its runs wait for code that reads it. An upgrade claim does not wait.
        """
        # The run first, as the recovery takes them: stores index this value to find abandoned claims.
        claim = self.claim or self.event_claim
        if self.left is not None:
            claim = self.event_claim if self.event_claim is not None and self.event_claim.cause == "upgrade" else None
        return None if claim is None else claim.owner

    @property
    def status(self) -> Status:
        """The status that callers receive."""
        if self.left is not None:
            return "left"
        if self.suspension is not None:
            return "paused" if self.suspension == "paused" else "parked"
        return "running" if self.claim is not None else self._status_at_rest

    @property
    def _status_at_rest(self) -> Status:
        if self.ended_ms is not None:
            return "done"
        if self.pending_retry is not None:
            return "retrying"
        if self.lane is not None:
            return "queued"
        return "idle" if self.alarm_ms is None else "scheduled"


_new = object.__new__
