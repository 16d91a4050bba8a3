"""The pure handler for schedules: puts, backfills and alarms.

No user code runs here, so a firing is one commit: it sends the messages, notes their instants and sets the next alarm.
The row's version fences it. Whichever engine commits first has fired, and no second one can.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from typing import Any, Final, TypeAlias, assert_never, cast

import attrs
import orjson

from perdure.codecs.codec import RowCodec
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import AlarmDue, Request, too_large, within
from perdure.jobs.step import Commit, Step
from perdure.jobs.transitions import EventRecorder, answered, put, refuse, reply, stored
from perdure.kinds.schedules.entry import (
    DATA,
    Backfilled,
    BackfillSchedule,
    FiredRange,
    PutSchedule,
    ScheduleData,
    ScheduledMessage,
    SchedulePut,
    ScheduleTiming,
    firing_of,
    instants_of,
    printed_tick,
)
from perdure.values.address import Address, Job
from perdure.values.errors import InvalidId, InvalidInput, RequestError, UnknownAction
from perdure.values.event import Event, JobNoted, JobStarted
from perdure.values.instance import Instance
from perdure.values.message import Message
from perdure.values.schedule import (
    MAX_CATCH_UP,
    CatchUpAll,
    Run,
    Schedule,
    Skip,
    due,
    first_tick,
    latest_due,
    offset_ms,
    settle,
    ticks_of,
)
from perdure.values.times import from_ms
from perdure.values.turn_inputs import TurnInputs

ScheduleCommand: TypeAlias = PutSchedule | BackfillSchedule | AlarmDue

Targets: TypeAlias = Mapping[Job, AnyDefinition]

MAX_FIRED_RANGES: Final = 32
"""The fired ranges that a row keeps: each gap between firings, such as a pause, begins one."""

MAX_SHOWN: Final = 20
"""The instants that one history event names."""

_DATA: RowCodec[ScheduleData] = RowCodec(DATA)


def data_of(instance: Instance) -> ScheduleData:
    """Decode a schedule's stored data.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return _DATA.read(instance.data)


def message_of(job: AnyDefinition, instance: Instance) -> ScheduledMessage:
    """Decode a schedule's state.

    Raises:
        InvalidInput: this code cannot decode it.
    """
    return cast("ScheduledMessage", job.open_state(instance).value)


def begin(
    job: AnyDefinition,
    targets: Targets,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Step:
    """Decide a schedule's command or alarm.

    Raises:
        InvalidInput: this code cannot read the stored schedule, or its message.
    """
    command = cast("ScheduleCommand", request.command)
    match command:
        case PutSchedule():
            return _put(job, targets, address, instance, request, inputs)
        case BackfillSchedule():
            if instance is None:
                return reply(address, Backfilled())
            return _backfill(job, targets, instance, command, inputs)
        case AlarmDue():
            return reply(address, None) if instance is None else _alarm(job, targets, instance, inputs)
        case _:
            assert_never(command)


# ---------------------------------------------------------------- put
def _put(
    job: AnyDefinition,
    targets: Targets,
    address: Address,
    instance: Instance | None,
    request: Request,
    inputs: TurnInputs,
) -> Commit:
    message = cast("PutSchedule", request.command).message
    try:
        schedule = message.schedule.schedule()
        _checked(targets, message, inputs)
    except RequestError as problem:
        return refuse(address, problem)
    refused = too_large(request.payload, inputs.limits.state_bytes, what=job.plan.state.what)
    if refused is not None:
        return refuse(address, refused)
    now_ms = inputs.now_ms
    if instance is None:
        data = ScheduleData(anchor_ms=now_ms, next_ms=first_tick(schedule, now_ms))
        fresh = Instance(address=address, created_ms=now_ms, updated_ms=now_ms)
        events: tuple[Event, ...] = EventRecorder(inputs, address, 0).optional(JobStarted)
        return _put_as(fresh, request.payload, schedule, data, inputs, events=events)
    data, before = data_of(instance), message_of(job, instance)
    # The same instants: the alarm and the fired ranges stay, or a change of the message would skip an instant.
    if instants_of(before.schedule) == instants_of(message.schedule):
        return _put_as(instance, request.payload, schedule, data, inputs)
    # An instant that was due before the change fires with it, as it was promised: the alarm may be a moment late.
    due_before = _Firing.of(before, instance, data, inputs)
    # A schedule that is suspended, left or held fires nothing: its instants belong to the resumption.
    if instance.suspension is None and instance.left is None and inputs.hold == "released":
        with suppress(InvalidInput):  # a put must be able to replace a message that this code cannot read
            due_before = due_before.fire_due(targets)
    # An instant owed by a pause belongs to the old timing.
    after = attrs.evolve(due_before.data, anchor_ms=now_ms, next_ms=first_tick(schedule, now_ms), owed_ms=None)
    return _put_as(
        instance,
        request.payload,
        schedule,
        after,
        inputs,
        messages=due_before.messages,
        events=due_before.events("schedule.fired"),
    )


def _put_as(
    before: Instance,
    state: str,
    schedule: Schedule,
    data: ScheduleData,
    inputs: TurnInputs,
    *,
    messages: tuple[Message, ...] = (),
    events: tuple[Event, ...] = (),
) -> Commit:
    transition = put(
        before,
        inputs.now_ms,
        messages=messages,
        events=events,
        state=state,
        left=None,
        **_armed(schedule, before.address, data),
    )
    after = stored(transition)
    due_ms = None if after is None else after.due_ms
    next_at = None if due_ms is None else from_ms(due_ms)
    status = None if after is None else after.status
    return answered(transition, SchedulePut(created=before.incarnation == 0, status=status, next_at=next_at))


def _armed(schedule: Schedule, address: Address, data: ScheduleData) -> dict[str, Any]:
    """Return the instance fields that set the alarm for the data's next instant."""
    return {"alarm_ms": data.next_ms + offset_ms(schedule, str(address)), "data": _DATA.write(data)}


def check_message(targets: Targets, message: ScheduledMessage, tick_ms: int) -> tuple[Address, str]:
    """Return a firing's target and input, if this code can read them.

    Raises:
        InvalidInput: no target has this address, or its command does not take this input.
        UnknownAction: the target's kind has no such command.
    """
    text, payload = firing_of(message, tick_ms)
    try:
        target = Address.parse(text)
    except InvalidId as wrong:
        raise InvalidInput("schedule", (f"target: {wrong}",)) from wrong
    definition = targets.get((target.kind, target.name))
    if definition is None:
        known = ", ".join(sorted(f"{kind}:{name}" for kind, name in targets))
        problem = f"target: expected an instance of {known}, which the definition lists; got {text}"
        raise InvalidInput("schedule", (problem,))
    # Such commands are for instances, with data that a schedule cannot provide.
    if definition.spec(message.action).sender != "anyone":
        raise UnknownAction(f"{target.kind}:{target.name}", message.action, tuple(definition.plan.offered))
    definition.parse(message.action, payload)
    return target, payload


def _checked(targets: Targets, message: ScheduledMessage, inputs: TurnInputs) -> None:
    """Check a new schedule's message. A firing checks it again, because a deploy may change the target."""
    target, payload = check_message(targets, message, inputs.now_ms)
    within(payload.encode(), inputs.limits.payload_bytes, what=f"{message.action} to {target}")
    codec = targets[target.kind, target.name].spec(message.action).input
    # Refused, because every tool that lists schedules shows their messages.
    if codec is not None and codec.secret:
        raise InvalidInput("schedule", ("input: expected an input whose type has no secrets: schedules are shown",))


# ---------------------------------------------------------------- firings
def _alarm(job: AnyDefinition, targets: Targets, instance: Instance, inputs: TurnInputs) -> Commit:
    message = message_of(job, instance)
    fired = _Firing.of(message, instance, data_of(instance), inputs).fire_due(targets)
    transition = put(
        instance,
        inputs.now_ms,
        messages=fired.messages,
        events=fired.events("schedule.fired"),
        **_armed(message.schedule.schedule(), instance.address, fired.data),
    )
    return answered(transition, None)


def _backfill(
    job: AnyDefinition, targets: Targets, instance: Instance, command: BackfillSchedule, inputs: TurnInputs
) -> Commit:
    address, message, data = instance.address, message_of(job, instance), data_of(instance)
    input_of = f"range of {address.kind}:{address.name}"
    if command.end_ms > inputs.now_ms:
        problem = f"end: expected an instant that is not in the future, got {from_ms(command.end_ms).isoformat()}"
        return refuse(address, InvalidInput(input_of, (problem,)))
    most = inputs.limits.messages_per_turn
    ticks = ticks_of(message.schedule.schedule(), data.anchor_ms)
    # One more than the limit is counted, not all: a range of years would take seconds.
    if ticks.count(command.start_ms - 1, command.end_ms - 1, most=most + 1) > most:
        problem = f"expected at most {most:,} instants (Limits.messages_per_turn); split the range"
        return refuse(address, InvalidInput(input_of, (problem,)))
    # `- 1`: ticks are counted after an instant, and the range includes its start and excludes its end.
    found = ticks.last(command.start_ms - 1, command.end_ms - 1, most=most)
    # From the next instant on the alarm fires them: fired here too, they would be fired twice.
    past = tuple(tick_ms for tick_ms in found if tick_ms < data.next_ms)
    timing = TimingInstants.of(message, data)
    wanted = past if command.again else tuple(tick_ms for tick_ms in past if not has_fired(data, tick_ms, timing))
    firing = _Firing.of(message, instance, data, inputs)
    for run in _runs(past, frozenset(wanted)):
        firing = firing.fire(targets, run)
    done = Backfilled(fired=len(wanted), skipped=len(found) - len(wanted), status=instance.status)
    if not wanted:
        return reply(address, done)
    transition = put(
        instance,
        inputs.now_ms,
        messages=firing.messages,
        events=firing.events("schedule.backfilled"),
        data=_DATA.write(firing.data),
    )
    return answered(transition, done)


@attrs.frozen(kw_only=True)
class _Firing:
    """One turn's firings.

    Attributes:
        data: the data after the firings.
        inputs: the clock and the ids.
        messages: the messages so far.
        ticks: the instants that fired.
        missed: how many due instants will not fire.
    """

    message: ScheduledMessage
    schedule: Schedule
    instance: Instance
    data: ScheduleData
    inputs: TurnInputs
    messages: tuple[Message, ...] = ()
    ticks: tuple[int, ...] = ()
    missed: int = 0

    @classmethod
    def of(cls, message: ScheduledMessage, instance: Instance, data: ScheduleData, inputs: TurnInputs) -> _Firing:
        return cls(message=message, schedule=message.schedule.schedule(), instance=instance, data=data, inputs=inputs)

    def fire_due(self, targets: Targets) -> _Firing:
        """Fire the instants that are due, by the schedule's catch-up, as far as one commit holds their messages."""
        firing, now_ms = self, self.inputs.now_ms
        shift_ms = offset_ms(self.schedule, str(self.instance.address))
        # In this commit as many as fit: the alarm stays due, and the next turn continues.
        while firing.data.next_ms + shift_ms <= now_ms and len(firing.messages) < self.inputs.limits.messages_per_turn:
            firing = firing._next(targets, shift_ms)
        return firing

    def _next(self, targets: Targets, shift_ms: int) -> _Firing:
        data, now_ms = self.data, self.inputs.now_ms
        # A pause owes one firing even where missed instants are skipped: resuming must not do nothing.
        owes = data.owed_ms == data.next_ms and self.schedule.catch_up == "skip"
        policy = attrs.evolve(self.schedule, catch_up="once") if owes else self.schedule
        decided = due(policy, anchor_ms=data.anchor_ms, nominal_ms=data.next_ms, now_ms=now_ms, offset_ms=shift_ms)
        match decided:
            case Run(nominal_ms, missed):
                run = self._run(nominal_ms, now_ms - shift_ms)
                fired = self.fire(targets, run)
                next_ms = settle(
                    self.schedule,
                    anchor_ms=data.anchor_ms,
                    nominal_ms=run[-1],
                    ended_ms=now_ms,
                    offset_ms=shift_ms,
                )
            case Skip(next_ms, missed):
                fired = self
        # `next_ms` is behind all fired ones, in the same commit: an instant cannot fire twice.
        after = attrs.evolve(fired.data, next_ms=next_ms, owed_ms=None)
        return attrs.evolve(fired, data=after, missed=self.missed + missed)

    def _run(self, first_ms: int, until_ms: int) -> tuple[int, ...]:
        """Return the instants to fire from a first one on: with ``all``, all that are due and that a commit holds."""
        if not isinstance(self.schedule.catch_up, CatchUpAll):
            return (first_ms,)
        # Together: deciding each alone would count all missed ones again each time.
        later = ticks_of(self.schedule, self.data.anchor_ms).last(first_ms, until_ms, most=MAX_CATCH_UP)
        # Cut to the commit: the rest follows with the next turn.
        return (first_ms, *later)[: self.inputs.limits.messages_per_turn - len(self.messages)]

    def fire(self, targets: Targets, run: tuple[int, ...]) -> _Firing:
        """Send the messages of neighbouring instants.

        Raises:
            InvalidInput: this code cannot read the message, or its target.
        """
        messages = tuple(self._message(targets, tick_ms) for tick_ms in run)
        data = with_fired(self.data, TimingInstants.of(self.message, self.data), run[0], run[-1])
        return attrs.evolve(self, data=data, messages=self.messages + messages, ticks=self.ticks + run)

    def _message(self, targets: Targets, tick_ms: int) -> Message:
        try:
            target, payload = check_message(targets, self.message, tick_ms)
        except UnknownAction as wrong:
            raise InvalidInput("schedule", (str(wrong),)) from wrong
        return Message(
            sender=self.instance.address,
            target=target,
            action=self.message.action,
            payload=payload,
            sent_ms=self.inputs.now_ms,
        )

    def events(self, name: str) -> tuple[Event, ...]:
        """Return the firings' event for the history. None if nothing fired and nothing was missed."""
        if not self.ticks and not self.missed:
            return ()
        shown = [printed_tick(tick_ms) for tick_ms in self.ticks[:MAX_SHOWN]]
        data = {"count": len(self.ticks), "missed": self.missed, "ticks": shown, "target": self.message.target}
        log = EventRecorder(self.inputs, self.instance.address, self.instance.run_count)
        return log.optional(JobNoted, name=name, data=orjson.dumps(data).decode())


def _runs(ticks: tuple[int, ...], wanted: frozenset[int]) -> Iterator[tuple[int, ...]]:
    """Yield the wanted ones of neighbouring ticks, in runs between which one is not wanted."""
    for is_wanted, run in groupby(ticks, wanted.__contains__):
        if is_wanted:
            yield tuple(run)


# ---------------------------------------------------------------- the instants that have fired
@attrs.frozen
class TimingInstants:
    """All instants of a timing.

    Attributes:
        timing: without its options for missed and shifted instants.
        anchor_ms: where an interval counts from. 0 for a cron line.
    """

    timing: ScheduleTiming
    anchor_ms: int

    @classmethod
    def of(cls, message: ScheduledMessage, data: ScheduleData) -> TimingInstants:
        """Return a schedule's instants."""
        timing = instants_of(message.schedule)
        # A cron line has the same instants whatever its anchor: without this, each put would begin a new range.
        return cls(timing, data.anchor_ms if timing.cron is None else 0)


def has_fired(data: ScheduleData, tick_ms: int, of: TimingInstants) -> bool:
    """Return whether one of a timing's instants has fired, as far as the row knows.

    One before its ranges counts as fired.
    """
    # Ranges that were dropped: "fired" is the safe answer, because a backfill must not repeat.
    if data.forgotten_ms is not None and tick_ms <= data.forgotten_ms:
        return True
    return any(
        each.first_ms <= tick_ms <= each.last_ms
        # A range of the same timing has the instant: to look for it would take a millisecond for each.
        and (TimingInstants(each.timing, each.anchor_ms) == of or _after(each, tick_ms - 1) == tick_ms)
        for each in data.fired
    )


def _after(each: FiredRange, instant_ms: int) -> int:
    return ticks_of(each.timing.schedule(), each.anchor_ms).after(instant_ms)


def with_fired(data: ScheduleData, of: TimingInstants, first_ms: int, last_ms: int) -> ScheduleData:
    """Note that a timing's instants have fired, from one to another. Ranges without an instant between them join."""
    new = FiredRange(first_ms=first_ms, last_ms=last_ms, timing=of.timing, anchor_ms=of.anchor_ms)
    # By instants: a backfill adds ranges before existing ones.
    ranges = tuple(_joined(sorted((*data.fired, new), key=lambda each: (each.first_ms, each.last_ms))))
    # The newest stay: backfills are about recent pauses.
    kept, dropped = ranges[-MAX_FIRED_RANGES:], ranges[:-MAX_FIRED_RANGES]
    ends = [each.last_ms for each in dropped]
    if data.forgotten_ms is not None:
        ends.append(data.forgotten_ms)
    return attrs.evolve(data, fired=kept, forgotten_ms=max(ends, default=None))


def _joined(ranges: list[FiredRange]) -> Iterator[FiredRange]:
    """Yield ranges in order, and join neighbours that share a timing."""
    before: FiredRange | None = None
    for each in ranges:
        if before is None:
            before = each
        elif _is_next(before, each):
            before = attrs.evolve(before, last_ms=max(before.last_ms, each.last_ms))
        else:
            yield before
            before = each
    if before is not None:
        yield before


def _is_next(before: FiredRange, each: FiredRange) -> bool:
    if before.timing != each.timing or before.anchor_ms != each.anchor_ms:
        return False
    # The next instant of the range belongs to the other one: nothing lies between them.
    return each.first_ms <= before.last_ms or _after(before, before.last_ms) >= each.first_ms


# ---------------------------------------------------------------- resuming, and reports
def rearmed(job: AnyDefinition, instance: Instance, inputs: TurnInputs) -> Instance:
    """Skip the instants inside a pause except the last one, as a continuous job does."""
    # Not due yet: nothing was missed.
    if instance.alarm_ms is not None and instance.alarm_ms > inputs.now_ms:
        return instance
    data, schedule = data_of(instance), message_of(job, instance).schedule.schedule()
    nominal_ms = latest_due(
        schedule,
        anchor_ms=data.anchor_ms,
        nominal_ms=data.next_ms,
        now_ms=inputs.now_ms,
        offset_ms=offset_ms(schedule, str(instance.address)),
    )
    return instance.changed(data=_DATA.write(attrs.evolve(data, next_ms=nominal_ms, owed_ms=nominal_ms)))


def upcoming(job: AnyDefinition, instance: Instance, most: int) -> tuple[int, ...]:
    """Return the next instants, the alarm's first.

    Raises:
        InvalidInput: this code cannot decode the schedule.
    """
    data = data_of(instance)
    ticks = ticks_of(message_of(job, instance).schedule.schedule(), data.anchor_ms)
    found = [data.next_ms]
    while len(found) < most:
        found.append(ticks.after(found[-1]))
    return tuple(found)
