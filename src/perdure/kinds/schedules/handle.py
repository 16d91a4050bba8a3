"""A schedule's typed handle and sender."""

from __future__ import annotations

from datetime import datetime
from typing import Never

import attrs

from perdure.jobs.call import Call
from perdure.jobs.definition import CallError, PostCommand
from perdure.jobs.handle import JobHandle
from perdure.jobs.request import Request
from perdure.kinds.schedules.entry import (
    Backfilled,
    BackfillRange,
    PutSchedule,
    ScheduledMessage,
    SchedulePut,
    backfill_of,
)
from perdure.programs import Program
from perdure.values.limits import Limits
from perdure.values.schedule import Schedule


@attrs.frozen(repr=False)
class SchedulesHandle(JobHandle[ScheduledMessage, Never]):
    """A schedule's calls. ``get_state`` reads a schedule, ``terminate`` deletes it."""

    def put(
        self,
        id_: str,
        schedule: Schedule,
        message: Program[None],
        /,
        *,
        tick_field: str | None = None,
        idempotency_key: str | None = None,
    ) -> Call[SchedulePut, CallError]:
        """Create or change a schedule: at each instant, send a message to another instance.

        Another message alone keeps the instants. Another schedule begins now. A paused schedule stays paused.

        Args:
            id_: the schedule.
            schedule: ``cron(...)`` or ``every(..., align="start")``. An interval counts from this call.
            message: one ``tell`` message, such as ``tell(reports, "eu").send(Make())``. In the target's id,
                ``{tick}`` stands for the firing's instant, so that each firing starts an instance of its own.
            tick_field: a ``datetime`` field in the message's input that each firing sets to its instant.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """

        def build(limits: Limits) -> Request:
            given = ScheduledMessage.of(schedule, message, tick_field=tick_field)
            return self._put_request(given, limits, idempotency_key)

        return self.dispatch.request(self.definition, id_, build, self._name_of("put"))

    def put_message(
        self, id_: str, message: ScheduledMessage, /, *, idempotency_key: str | None = None
    ) -> Call[SchedulePut, CallError]:
        """Create or change a schedule from its stored form, such as one that ``get_state`` returned.

        Args:
            id_: the schedule.
            message: the timing and the message.
            idempotency_key: a repeat with this key changes nothing and returns the first result.
        """
        return self._send(id_, PutSchedule(message), "put", message, key=idempotency_key)

    def backfill(
        self,
        id_: str,
        /,
        *,
        start: datetime,
        end: datetime,
        again: bool = False,
        idempotency_key: str | None = None,
    ) -> Call[Backfilled, CallError]:
        """Fire a past range's instants, all in one commit, each once.

        Args:
            id_: the schedule. A paused one stays paused.
            start: the range's first instant.
            end: its end, which does not belong to it. The range has at most ``Limits.messages_per_turn`` instants.
            again: whether instants that have fired fire again.
            idempotency_key: a repeat with this key fires nothing and returns the first result.
        """

        def build(limits: Limits) -> Request:
            given = BackfillRange(start=start, end=end, again=again)
            payload = self.definition.encode_input("backfill", given, limits.payload_bytes)
            return Request(
                command=backfill_of(given), action="backfill", payload=payload, idempotency_key=idempotency_key
            )

        return self.dispatch.request(self.definition, id_, build, self._name_of("backfill"))

    def _put_request(self, given: ScheduledMessage, limits: Limits, key: str | None) -> Request:
        payload = self.definition.encode_input("put", given, limits.payload_bytes)
        return Request(command=PutSchedule(given), action="put", payload=payload, idempotency_key=key)


@attrs.frozen
class SchedulesSender:
    """The messages that other jobs can send to schedules."""

    post: PostCommand

    def put(self, schedule: Schedule, message: Program[None], /, *, tick_field: str | None = None) -> Program[None]:
        """Create or change the schedule with this turn's commit."""
        return self.post("put", ScheduledMessage.of(schedule, message, tick_field=tick_field))

    def terminate(self, reason: str = "terminated", /) -> Program[None]:
        """Delete the schedule."""
        return self.post("terminate", reason)
