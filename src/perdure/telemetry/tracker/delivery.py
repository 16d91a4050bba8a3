"""The order in which a page of events is sent, and which events are skipped: a pure generator.

An endpoint that refuses a batch as wrong may mean one event of it, or every event, because it changed. So a refused
batch is halved until one event is alone. That event is skipped only if the endpoint accepts a later one and then
refuses it again: then the endpoint works, and the event is at fault. If it accepts none of the page, nothing is lost.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TypeAlias

import attrs

from perdure.telemetry.tracker.payload import Outgoing, fitting
from perdure.telemetry.tracker.response import EventsAccepted, EventsRefused


@attrs.frozen
class Send:
    """Send a batch until the endpoint accepts or refuses it, and continue with that verdict.

    Attributes:
        batch: the events, at least one.
    """

    batch: Sequence[Outgoing]


@attrs.frozen
class Advance:
    """Move the position.

    Attributes:
        done: the number of the last event that is exported.
        skipped: events before it that are not, with the responses to them.
    """

    done: int
    skipped: tuple[tuple[Outgoing, str], ...] = ()


@attrs.frozen
class Blocked:
    """The endpoint refuses every event of the page.

    Attributes:
        event: the first.
        reason: the response to it.
    """

    event: Outgoing
    reason: str


Step: TypeAlias = Send | Advance | Blocked
Delivery: TypeAlias = Generator[Step, EventsAccepted | EventsRefused | None, None]
"""Yields the steps; it is sent the verdict of each ``Send``, and None after others."""


def delivery(page: Sequence[Outgoing], *, batch_size: int, max_bytes: int) -> Delivery:
    """Yield the steps that export a page.

    Args:
        page: events in order.
        batch_size: the maximum number of events of a batch.
        max_bytes: the maximum size of a batch of more than one event.
    """
    size = batch_size
    while page:
        count = fitting(page, size, max_bytes)
        match (yield Send(page[:count])):
            case EventsAccepted():
                yield Advance(page[count - 1].done)
                page, size = page[count:], min(size * 2, batch_size)
            case EventsRefused(reason) if count == 1:
                page = yield from _doubted(page, reason)
            case _:
                size = (count + 1) // 2


def _doubted(
    page: Sequence[Outgoing], reason: str
) -> Generator[Step, EventsAccepted | EventsRefused | None, Sequence[Outgoing]]:
    """Find out whether the endpoint refuses the first events or all; return the events that remain."""
    for index in range(1, len(page)):
        if isinstance((yield Send(page[index : index + 1])), EventsAccepted):
            skipped = yield from _again(page[:index])
            yield Advance(page[index].done, skipped)
            return page[index + 1 :]
    yield Blocked(page[0], reason)
    return ()


def _again(
    events: Sequence[Outgoing],
) -> Generator[Step, EventsAccepted | EventsRefused | None, tuple[tuple[Outgoing, str], ...]]:
    """Send each event again; return those that are still refused."""
    refused: list[tuple[Outgoing, str]] = []
    for event in events:
        verdict = yield Send((event,))
        if isinstance(verdict, EventsRefused):
            refused.append((event, verdict.reason))
    return tuple(refused)
