"""Read external events from JSON lines: webhooks for contacts and order events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import orjson
from attrs import frozen

from perdure.codecs import Codec
from perdure.examples.order_processor import (
    Cancelled,
    Delivered,
    OrderEvent,
    OrderPlaced,
    PaymentReceived,
    Shipped,
)
from perdure.examples.webhook_batcher import Webhook
from perdure.values.address import check_id
from perdure.values.errors import InvalidId, InvalidInput


@frozen
class IncomingWebhook:
    """A service called our webhook, about a contact.

    Attributes:
        id: the sender's event id: the same when the sender repeats the event.
        contact: the contact. Webhooks are batched by contact.
        kind: the type of event, such as ``invoice.paid``.
        payload: any JSON.
    """

    id: str
    contact: str
    kind: str
    payload: Any  # JSON of the sender, passed on unchanged

    @property
    def event(self) -> Webhook:
        """The event for the job."""
        return Webhook(self.id, self.kind, orjson.dumps(self.payload).decode())


@frozen
class IncomingOrder:
    """An event for one order.

    Attributes:
        id: the sender's event id: the same when the sender repeats the event.
    """

    id: str
    order: str
    event: OrderEvent


Incoming: TypeAlias = IncomingWebhook | IncomingOrder

INCOMING_TAGS: dict[type, str] = {
    IncomingWebhook: "webhook",
    IncomingOrder: "order",
    OrderPlaced: "placed",
    PaymentReceived: "paid",
    Shipped: "shipped",
    Delivered: "delivered",
    Cancelled: "cancelled",
}
"""The event classes by the ``type`` of a line."""

INCOMING: Codec[Incoming] = Codec.of(Incoming, what="event", tags=INCOMING_TAGS)


@frozen
class Malformed:
    """A line that is not a valid event.

    Attributes:
        line: its number, from 1.
    """

    line: int
    problem: str


def read_incoming(lines: Iterable[bytes]) -> Iterator[Incoming | Malformed]:
    """Read one event per line, and skip empty lines.

    An event may be repeated under its id. A line that reuses an id for another event is
    malformed.

    Args:
        lines: UTF-8 JSON, as an open file yields them.
    """
    first: dict[str, Incoming] = {}
    for number, line in enumerate(lines, start=1):
        if line.strip():
            read = _read(number, line)
            if isinstance(read, Malformed) or first.setdefault(read.id, read) == read:
                yield read
            else:
                yield Malformed(
                    number,
                    f"$.id: {read.id!r} was the id of another event; use a new one",
                )


def _read(number: int, line: bytes) -> Incoming | Malformed:
    try:
        incoming = INCOMING.decode(line)
        check_id(
            incoming.contact
            if isinstance(incoming, IncomingWebhook)
            else incoming.order
        )
        check_id(incoming.id)
    except InvalidInput as error:
        return Malformed(number, "; ".join(error.problems))
    except InvalidId as error:
        return Malformed(number, str(error))
    return incoming
