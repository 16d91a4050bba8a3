"""The common case of an event, decided in one step instead of many.

Its decisions are those that ``begin`` and ``finish`` reach for any request: a property holds them equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs
from returns.result import Success

from perdure.codecs import Codec, Opened
from perdure.jobs.decision import Alarm
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import Draft
from perdure.jobs.event_run import event_claim
from perdure.jobs.request import Request
from perdure.jobs.step import Commit, Execute
from perdure.programs import Program
from perdure.values.address import Address
from perdure.values.answer import Sent
from perdure.values.errors import InvalidInput
from perdure.values.event import Event, JobStarted
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.limits import Limits
from perdure.values.times import from_ms
from perdure.values.transition import Put, Transition
from perdure.values.turn_inputs import Decoded, printed_id

HOOK: Final = "on_event"

_KEEP: Final = Alarm.keep


@attrs.define(init=False, repr=False)
class PlainEvent(Draft):
    """An event that nothing is special about: its draft, and the delivery that its context shows.

    Most such events need no claim. It is made when the handler has an effect, or reads the id of its run.

    Args:
        codec: checks and encodes the state.
        instance: the stored instance, or the one that the event creates.
        request: the request.
        state: the decoded state.
        now_ms: the clock.
        limits: the engine's limits.
        epoch: the number of this engine's ownership of the store.
        new_id: draws the first id of this decision; the others count up from it.
        opened: the state with the members that newer code wrote; None if there are none.
    """

    instance: Instance
    request: Request
    _claim: Claim | None
    _epoch: int
    _new_id: Callable[[], int]
    _id_base: int | None

    def __init__(  # noqa: PLR0917 - keywords take longer, and only `begin_plain_event` calls it
        self,
        codec: Codec[Any],
        instance: Instance,
        request: Request,
        state: object,
        now_ms: int,
        limits: Limits,
        epoch: int,
        new_id: Callable[[], int],
        opened: Opened[Any] | None,
    ) -> None:
        self.address = instance.address
        self.state = state
        self.codec = codec
        self.current_alarm_ms = instance.alarm_ms
        self.now_ms = now_ms
        self.limits = limits
        self.encoded = None
        self.alarm = _KEEP
        self.messages = []
        self.inspection = None
        self.opened = opened
        self.received = request.command
        self.left = None
        self.instance = instance
        self.request = request
        self._claim = None
        self._epoch = epoch
        self._new_id = new_id
        self._id_base = None

    @property
    def found(self) -> Literal["created", "exists"]:
        """Whether the event creates the instance."""
        return "exists" if self.instance.version else "created"

    def id(self, offset: int) -> str:
        """Return an id of this decision, as `TurnInputs.id` does."""
        if self._id_base is None:
            self._id_base = self._new_id()
        return printed_id(self._id_base + offset)

    @property
    def claim(self) -> Claim:
        """The claim of the run, if it is needed."""
        if self._claim is None:
            self._claim = event_claim(
                self.request, owner=self._epoch, run_id=self.id(0), now_ms=self.now_ms, found=self.found
            )
        return self._claim

    @property
    def run_id(self) -> str:
        """The id of the run."""
        return self.claim.run_id

    @property
    def attempt(self) -> int:
        """The first one."""
        return 1

    @property
    def deliveries(self) -> int:
        """Of an event, one."""
        return 1

    def run(self, program: Program[Any, Any, Any]) -> Execute:
        """Return the same as a run, because it is special after all.

        It does not hold its program, which holds its context and so the event: that would be a cycle of garbage.
        """
        return Execute(
            hook=HOOK,
            program=program,
            instance=self.instance,
            draft=self,
            claim=self.claim,
            claimed="before_effect",
            request=self.request,
            started_ms=self.now_ms,
        )


def begin_plain_event(
    job: AnyDefinition,
    address: Address,
    instance: Instance | None,
    request: Request,
    decoded: Decoded | None,
    *,
    now_ms: int,
    limits: Limits,
    epoch: int,
    new_id: Callable[[], int],
) -> tuple[PlainEvent, Program[Any, Any, Any]] | None:
    """Return an event and the program of its handler, if nothing about its request and its instance is special.

    Args:
        job: the definition of the instance.
        address: the instance.
        instance: the stored instance; None if the event is the first one.
        request: the request, which is not traced.
        decoded: the decoded state of the row, if it is kept.
        now_ms: the clock.
        limits: the engine's limits.
        epoch: the number of this engine's ownership of the store.
        new_id: draws an id.
    """
    if (
        type(request.command) is not job.plain_event
        or request.idempotency_key is not None
        or request.inbound is not None
        or request.by is not None
    ):
        return None
    if instance is None:
        first = job.plain_first_state(limits)
        if first is None:
            return None
        instance, state, opened = _created(job, address, first, now_ms), first.value, None
    elif (
        instance.claim is not None
        or instance.event_claim is not None
        or instance.suspension is not None
        or instance.left is not None
        or instance.alarm_trace is not None
        or instance.state_version != job.plan.state_version
    ):
        return None
    elif decoded is not None and decoded.text is instance.state:
        state, opened = decoded.value, decoded.opened
    else:
        try:
            read = job.open_state(instance)
        except InvalidInput:
            return None
        state, opened = read.value, read.with_rest()
    event = PlainEvent(job.plan.state, instance, request, state, now_ms, limits, epoch, new_id, opened)
    program = job.event_program(instance, event, request.command)
    return None if program is None else (event, program)


def _created(job: AnyDefinition, address: Address, first: Decoded, now_ms: int) -> Instance:
    return Instance(
        address=address,
        created_ms=now_ms,
        updated_ms=now_ms,
        state=first.text,
        state_version=job.plan.state_version,
    )


def plain_event_handled(event: PlainEvent) -> Commit:
    """Settle an event whose handler succeeded, on a stored instance whose alarm stays as it is."""
    before = event.instance
    alarm_ms = before.alarm_ms
    after = before.after_event(event.encoded or before.state, event.now_ms, alarm_ms)
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version),
        write=Put(after, "state"),
        messages=tuple(event.messages) if event.messages else (),
        before=before,
    )
    if alarm_ms is None and before.pending_retry is None:
        return Commit(transition, _IDLE)
    scheduled_at = None if alarm_ms is None else from_ms(alarm_ms)
    return Commit(transition, Success(Sent(created=False, status=after.status, scheduled_at=scheduled_at)))


def plain_event_started(event: PlainEvent) -> tuple[Event, ...]:
    """Return the event of the log for an instance that this event creates."""
    if event.found == "exists":
        return ()
    return (JobStarted(event_id=event.id(1), at_ms=event.now_ms, address=str(event.address)),)


def plain_event_scheduled(event: PlainEvent, alarm_ms: int | None, events: tuple[Event, ...]) -> Commit:
    """Settle an event whose handler succeeded, and which creates the instance or changes its alarm.

    Args:
        event: the event.
        alarm_ms: the alarm.
        events: the events of the log.
    """
    before = event.instance
    after = before.after_event(event.encoded or before.state, event.now_ms, alarm_ms)
    is_stored = before.incarnation != 0
    transition = Transition(
        address=before.address,
        expected=Fence(before.incarnation, before.version) if is_stored else None,
        write=Put(after),
        messages=tuple(event.messages) if event.messages else (),
        events=events,
        before=before if is_stored else None,
    )
    scheduled_at = None if alarm_ms is None else from_ms(alarm_ms)
    answer = Sent(created=event.found == "created", status=after.status, scheduled_at=scheduled_at)
    return Commit(transition, Success(answer))


_IDLE: Final[Success[Sent]] = Success(Sent(created=False, status="idle", scheduled_at=None))
