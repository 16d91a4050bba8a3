"""A stored schedule: its timing, its message, its commands and their answers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, TypeAlias, cast

import orjson

from perdure.codecs import Codec
from perdure.jobs.context import Post
from perdure.jobs.request import CommandSpec
from perdure.programs import Program
from perdure.programs.container import node_of
from perdure.programs.interpreter import note_begun
from perdure.values.address import Job
from perdure.values.answer import PauseResult, Terminated
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput
from perdure.values.excerpt import fields_in_line
from perdure.values.frozen import frozen
from perdure.values.schedule import CatchUp, CatchUpAll, Cron, Every, Schedule, cron, every
from perdure.values.status import Status
from perdure.values.times import format_duration, from_ms, to_ms

TICK: Final = "{tick}"
"""The text in a target's id that a firing replaces with its instant."""


# ---------------------------------------------------------------- the state
@frozen(kw_only=True)
class ScheduleTiming:
    """When a schedule fires: the ``cron`` arguments, or the ``every`` ones with ``align="start"``.

    Attributes:
        cron: the line's five fields. Instead of ``every``.
        every: the interval, such as ``30 minutes``. It counts from the schedule's ``put``.
        tz: the line's time zone, as an IANA name.
        catch_up: the missed instants to fire after downtime.
        catch_up_limit: with ``all``: how many missed instants are kept.
        stagger: shift each schedule by less than this.
    """

    __repr__ = fields_in_line

    cron: str | None = None
    every: str | None = None
    tz: str = "UTC"
    catch_up: CatchUp = "once"
    catch_up_limit: int | None = None
    stagger: str | None = None

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleTiming:
        """Return a schedule's timing.

        Raises:
            InvalidArgument: it is not a schedule, or an interval that counts from a run's end.
        """
        aligned = isinstance(schedule, Every) and schedule.align == "start"
        if not isinstance(schedule, Cron) and not aligned:
            expected = 'cron(...), or every(..., align="start"): a schedule does not know when the work ends'
            raise InvalidArgument("schedule of put", schedule, expected)
        given = schedule.catch_up
        missed: CatchUp = "all" if isinstance(given, CatchUpAll) else given
        limit = given.limit if isinstance(given, CatchUpAll) else None
        stagger = format_duration(schedule.stagger_ms) if schedule.stagger_ms else None
        if isinstance(schedule, Cron):
            return cls(cron=schedule.line, tz=schedule.tz, catch_up=missed, catch_up_limit=limit, stagger=stagger)
        interval = format_duration(schedule.interval_ms)
        return cls(every=interval, catch_up=missed, catch_up_limit=limit, stagger=stagger)

    def schedule(self) -> Schedule:
        """Return the schedule.

        Raises:
            InvalidInput: it has both ``cron`` and ``every``, or neither, or an invalid option.
        """
        made = _made(self)
        if isinstance(made, InvalidInput):
            raise made
        return made


def instants_of(timing: ScheduleTiming) -> ScheduleTiming:
    """Return a timing without the options for missed and shifted instants."""
    return ScheduleTiming(cron=timing.cron, every=timing.every, tz=timing.tz)


# By value: each turn of a schedule needs the parsed line, and many schedules share a few lines.
@lru_cache(maxsize=256)
def _made(timing: ScheduleTiming) -> Schedule | InvalidInput:
    # Returned, not raised: the cache keeps no exception, and a wrong line would be parsed at each request.
    if (timing.cron is None) == (timing.every is None):
        return InvalidInput("schedule", ("expected exactly one of cron and every",))
    try:
        if timing.cron is not None:
            return cron(
                timing.cron,
                tz=timing.tz,
                catch_up=timing.catch_up,
                catch_up_limit=timing.catch_up_limit,
                stagger=timing.stagger,
            )
        if timing.tz != "UTC":
            return InvalidInput("schedule", (f"tz: expected UTC for an interval, got {timing.tz!r}",))
        return every(
            timing.every or "",
            align="start",
            catch_up=timing.catch_up,
            catch_up_limit=timing.catch_up_limit,
            stagger=timing.stagger,
        )
    except DefinitionError as wrong:
        return InvalidInput("schedule", (f"{wrong.what}: expected {wrong.expected}, got {wrong.got!r}",))


@frozen(kw_only=True)
class ScheduledMessage:
    """A schedule: when it fires, and the message that each firing sends. The input of ``put``, and the stored state.

    Attributes:
        schedule: when it fires.
        target: the instance, printed ``kind:name:id``. In the id, ``{tick}`` stands for the firing's instant.
        action: the command, such as ``send``, ``start``, ``trigger`` or ``put``.
        input: the command's input, as JSON. None for a command without input.
        tick_field: an input member that each firing sets to its instant. None if it needs none.
    """

    __repr__ = fields_in_line

    schedule: ScheduleTiming
    target: str
    action: str
    input: object = None
    tick_field: str | None = None

    @classmethod
    def of(cls, schedule: Schedule, message: Program[None], *, tick_field: str | None = None) -> ScheduledMessage:
        """Build a schedule from its typed parts.

        Args:
            schedule: ``cron(...)`` or ``every(..., align="start")``.
            message: one ``tell`` message.
            tick_field: the input's field for the instant.

        Raises:
            InvalidArgument: an argument is not valid.
            InvalidInput: the message's input does not have the declared type.
        """
        is_program = isinstance(message, Program)  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
        post = node_of(message)[1] if is_program else None
        if not isinstance(post, Post):
            expected = "one message, such as tell(job, id).send(event)"
            raise InvalidArgument("message of put", message, expected)
        note_begun(message)  # it never runs, but it is used: a watch for forgotten programs must not report it
        payload = post.payload()
        return cls(
            schedule=ScheduleTiming.of(schedule),
            target=str(post.target),
            action=post.action,
            input=orjson.loads(payload) if payload else None,
            tick_field=tick_field,
        )


def firing_of(message: ScheduledMessage, tick_ms: int) -> tuple[str, str]:
    """Return a firing's target and encoded input.

    Raises:
        InvalidInput: the input has no members, and so none for the instant.
    """
    tick = printed_tick(tick_ms)
    target, given = message.target.replace(TICK, tick), message.input
    if message.tick_field is not None:
        # Checked at each firing: the input's type may have changed since the put.
        if not isinstance(given, dict):
            problem = "tick_field: expected an input with members, one of which is to be the instant"
            raise InvalidInput("schedule", (problem,))
        # A copy: the stored input is the same for each firing.
        given = {**cast("dict[str, object]", given), message.tick_field: tick}
    return target, "" if given is None else orjson.dumps(given).decode()


def printed_tick(tick_ms: int) -> str:
    """Print an instant as ids and inputs have it.

    >>> printed_tick(0)
    '1970-01-01T00:00:00Z'
    """
    return from_ms(tick_ms).isoformat().replace("+00:00", "Z")


# ---------------------------------------------------------------- commands
@frozen
class PutSchedule:
    """Create or change a schedule."""

    __repr__ = fields_in_line

    message: ScheduledMessage


@frozen(kw_only=True)
class BackfillRange:
    """The ``backfill`` input.

    Attributes:
        start: the range's first instant.
        end: its end, which does not belong to it. Not in the future.
        again: whether instants that have fired fire again.
    """

    start: datetime
    end: datetime
    again: bool = False


@frozen
class BackfillSchedule:
    """Fire a range's instants."""

    __repr__ = fields_in_line

    start_ms: int
    end_ms: int
    again: bool


def backfill_of(given: BackfillRange) -> BackfillSchedule:
    """Return an input's command."""
    return BackfillSchedule(to_ms(given.start, what="start"), to_ms(given.end, what="end"), given.again)


@frozen(kw_only=True)
class SchedulePut:
    """The ``put`` result.

    Attributes:
        created: whether it created the schedule, or changed it.
        status: the schedule's status after it.
        next_at: when it fires next. None while it is paused.
    """

    created: bool
    status: Status | None
    next_at: datetime | None


@frozen(kw_only=True)
class Backfilled:
    """The ``backfill`` result.

    Attributes:
        fired: the instants that fired now.
        skipped: those in the range that did not, because they had fired, or because the schedule is still to fire them.
        status: the schedule's status. None if there is no schedule.
    """

    fired: int = 0
    skipped: int = 0
    status: Status | None = None


ScheduleAnswer: TypeAlias = SchedulePut | Backfilled | Terminated | PauseResult

ANSWERS: Codec[Any] = Codec.of(ScheduleAnswer, what="answers of a schedule")


def _samples(targets: Iterable[Job]) -> tuple[tuple[str, tuple[object, ...] | None], ...]:
    """Return values for generated puts: pauses of the targets, which take no input of their types."""
    timings = (
        ScheduleTiming(cron="*/5 * * * *"),
        ScheduleTiming(every="7m", catch_up="all"),
        ScheduleTiming(cron="*/5 * * * *", catch_up="skip"),
    )
    addresses = tuple(f"{kind}:{name}:{id_}" for kind, name in targets for id_ in ("a", TICK))
    return (
        ("schedule", timings),
        ("target", addresses),
        ("action", ("pause", "resume")),
        ("input", (None,)),
        ("tick_field", (None,)),
    )


def commands_of_schedules(name: str, targets: Iterable[Job]) -> tuple[CommandSpec[Any], ...]:
    """Return a definition's commands.

    Args:
        name: the definition's name.
        targets: the jobs to which its schedules send.
    """
    message: Codec[Any] = Codec.of(ScheduledMessage, what=f"schedule of schedule:{name}")
    return (
        CommandSpec(
            name="put",
            command=PutSchedule,
            input=message,
            stored=(),
            absent="creates",
            answer=SchedulePut,
            repeat="changes_nothing",
            samples=_samples(targets),
        ),
        CommandSpec(
            name="backfill",
            command=backfill_of,
            input=Codec.of(BackfillRange, what=f"range of schedule:{name}"),
            answer=Backfilled,
        ),
    )


# ---------------------------------------------------------------- stored beside the state
@frozen(kw_only=True)
class FiredRange:
    """Instants that have fired: all that a timing has from the first one to the last one.

    Attributes:
        anchor_ms: where an interval counts from. 0 for a cron line.
    """

    __repr__ = fields_in_line

    first_ms: int
    last_ms: int
    timing: ScheduleTiming
    anchor_ms: int


@frozen(kw_only=True)
class ScheduleData:
    """A schedule's stored data. Integer milliseconds UTC.

    Attributes:
        anchor_ms: where an interval counts from.
        owed_ms: the instant that a resumption still fires, however late it is.
        fired: the instants that have fired, as a few ranges.
        forgotten_ms: instants up to here count as fired: their ranges were dropped.
    """

    __repr__ = fields_in_line

    anchor_ms: int
    next_ms: int
    owed_ms: int | None = None
    fired: tuple[FiredRange, ...] = ()
    forgotten_ms: int | None = None


DATA: Codec[ScheduleData] = Codec.of(ScheduleData, what="data of a schedule")
