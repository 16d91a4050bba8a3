"""The instances that an instance exchanges messages with, read from its events and its claims. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from perdure.stores.values import LoggedEvent
from perdure.values.address import Address
from perdure.values.errors import InvalidId
from perdure.values.instance import Instance

MAX_NEIGHBOURS: Final = 50


@attrs.frozen(kw_only=True)
class Neighbour:
    """An instance on the other end of a message.

    Attributes:
        address: the instance.
        relation: ``to`` or ``from``.
        note: the event that names it.
    """

    address: Address
    relation: str
    note: str


def neighbours_in(events: Sequence[LoggedEvent], instance: Instance | None, /) -> tuple[Neighbour, ...]:
    """Return the neighbours that events and claims name, each once in each direction, at most 50."""
    found: dict[tuple[str, str], Neighbour] = {}
    for relation, text, note in (*_of_claims(instance), *_of_events(events)):
        try:
            address = Address.parse(text)
        except InvalidId:
            continue
        if len(found) < MAX_NEIGHBOURS:
            found.setdefault((relation, text), Neighbour(address=address, relation=relation, note=note))
    return tuple(found.values())


def _of_claims(instance: Instance | None) -> Iterator[tuple[str, str, str]]:
    for claim in () if instance is None else (instance.claim, instance.event_claim):
        if claim is not None and claim.message_sender is not None:
            yield "from", claim.message_sender, "its message is being handled"


def _of_events(events: Sequence[LoggedEvent]) -> Iterator[tuple[str, str, str]]:
    """Read the members by name: an event of any type that has them names neighbours."""
    for logged in events:
        event: object = logged.event
        note = logged.event.type
        target, sender = getattr(event, "target", None), getattr(event, "sender", None)
        told_by, told = getattr(event, "told_by", None), getattr(event, "told", ())
        for text in (target, *(told or ())):
            if text:
                yield "to", str(text), note
        for text in (sender, told_by):
            if text:
                yield "from", str(text), note
