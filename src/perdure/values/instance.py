"""A job instance: everything durable about one address, in one record."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import attrs

from perdure.values.address import Address
from perdure.values.excerpt import excerpt, fields_in_line
from perdure.values.failure import FailureRecord
from perdure.values.turn_value import turn_value

Cause: TypeAlias = Literal["alarm", "start", "trigger", "flush", "event"]
"""What set user code running."""

Suspension: TypeAlias = Literal["paused", "retries_exhausted", "recovery_exhausted", "undecodable"]
"""Why the alarms of an instance are held: it was paused by somebody, or parked for one of three reasons."""

Status: TypeAlias = Literal["scheduled", "idle", "running", "retrying", "paused", "parked"]
"""The one vocabulary for the status of a stored instance, whatever its kind."""


@turn_value
class Fence:
    """What a transition must find: the instance's incarnation and version.

    The incarnation comes from a sequence of the store that never goes back, so nothing of a purged instance can commit
    into its successor.
    """

    incarnation: int
    version: int


@turn_value(kw_only=True)
class Claim:
    """Somebody is running user code for this instance; committed before the code starts.

    Attributes:
        owner: epoch of the engine that runs it, from the store's own counter.
        cause: what set it running.
        run_id: the same for every delivery and every attempt of one logical run.
        attempt: failures of this run, plus 1.
        deliveries: claims of this attempt, this one included.
        recoveries: how often a dead process left this run behind.
        claimed_ms: when, integer milliseconds UTC.
        created: ``here`` when the claim itself created the instance, so that a failed first event leaves nothing.
        action: the command that is being served, by name; None for an alarm.
        payload: its input as JSON, so that a crashed event can be delivered again.
        key: its idempotency key, whose answer the run completes.
        message_id: the message that it consumes.
        message_sender: who sent that message, printed.
        uncounted: attempts before the instance was last resumed, which the retry policy does not count.
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
    payload: str | None = attrs.field(default=None, repr=excerpt)
    key: str | None = attrs.field(default=None, repr=excerpt)
    message_id: int | None = None
    message_sender: str | None = attrs.field(default=None, repr=excerpt)
    uncounted: int = 0


@turn_value(kw_only=True)
class PendingRetry:
    """A run that failed and will be tried again.

    Attributes:
        run_id: the run's identity, kept.
        cause: what set the run going at first.
        attempt: the number of the attempt to come.
        deliveries: claims of that attempt so far (0, unless it was parked in between).
        first_failed_ms: when the first attempt failed.
        at_ms: when the next attempt is due.
        error: what the last attempt failed with.
        uncounted: attempts before the instance was parked, which the retry policy does not count.
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


@turn_value(kw_only=True)
class Instance:
    """One stored job instance. Instants are integer milliseconds UTC; the state is JSON text.

    Attributes:
        address: kind, job name and id.
        incarnation: the store's number for this life of the address; 0 before its first commit.
        version: counts the transitions of this incarnation, from 1.
        state: the encoded state; empty when the kind keeps none at the moment.
        state_version: the version of the state's shape.
        data: what only the kind knows, as JSON; empty when it needs nothing.
        alarm_ms: when the schedule, the batch or the task itself wants to be woken.
        suspension: why alarms and retries are held back, if they are.
        pending_retry: the failed run that waits for its next attempt.
        claim: the execution in progress.
        event_claim: the event in progress, when it performs effects.
        run_count: logical runs begun; retries and repeats keep the number.
        event_count: events accepted.
        last_error: what the last run failed with; cleared by a run that succeeds.
    """

    __repr__ = fields_in_line

    address: Address
    created_ms: int
    updated_ms: int
    incarnation: int = 0
    version: int = 0
    state: str = ""
    state_version: int = 1
    data: str = ""
    alarm_ms: int | None = None
    suspension: Suspension | None = None
    pending_retry: PendingRetry | None = None
    claim: Claim | None = None
    event_claim: Claim | None = None
    run_count: int = 0
    event_count: int = 0
    last_error: FailureRecord | None = None

    def changed(self, **changes: Any) -> Instance:  # of the fields named
        """Give a copy with these fields changed: ``attrs.evolve``, in a third of the time, for every turn makes one."""
        copy: Any = _new(Instance)  # frozen for everybody else
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
        for name, value in changes.items():
            setattr(copy, name, value)
        changed: Instance = copy
        return changed

    @property
    def fence(self) -> Fence | None:
        """What the next transition expects to find; None when nothing is stored yet."""
        return Fence(self.incarnation, self.version) if self.incarnation else None

    @property
    def due_ms(self) -> int | None:
        """When the engine must wake the instance: what a store indexes. None while its alarms are held."""
        if self.suspension is not None:
            return None
        return self.alarm_ms if self.pending_retry is None else self.pending_retry.at_ms

    @property
    def owner(self) -> int | None:
        """The epoch of the engine that claims this instance, for either reason: what a store indexes for recovery."""
        claim = self.claim or self.event_claim
        return None if claim is None else claim.owner

    @property
    def status(self) -> Status:
        """The status that callers see."""
        if self.claim is not None and self.suspension is None:
            return "running"
        if self.suspension is not None:
            return "paused" if self.suspension == "paused" else "parked"
        if self.pending_retry is not None:
            return "retrying"
        return "idle" if self.alarm_ms is None else "scheduled"


_new = object.__new__
