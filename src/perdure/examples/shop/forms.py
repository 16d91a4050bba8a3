"""The bodies of the shop's requests and responses: input is checked here."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from perdure.examples.shop.order import Stage


class NewLine(BaseModel):
    """One article of a new order."""

    article: str = Field(min_length=1, max_length=200)
    quantity: int = Field(ge=1, le=1_000)
    price_cents: int = Field(ge=0, le=10_000_000)


class NewOrder(BaseModel):
    """The body of ``POST /orders``."""

    customer: str = Field(min_length=3, max_length=320)
    lines: list[NewLine] = Field(min_length=1, max_length=100)


class NewPayment(BaseModel):
    """The body of ``POST /orders/{id}/payment``."""

    card: str = Field(min_length=1, max_length=200)


class NewCancellation(BaseModel):
    """The body of ``POST /orders/{id}/cancellation``."""

    reason: str = Field(min_length=1, max_length=1_000)


class OrderPage(BaseModel):
    """An order as its customer sees it."""

    id: UUID
    stage: Stage
    total_cents: int
    tracking: str
    note: str


class HistoryEntry(BaseModel):
    """One event in the history of an order."""

    sequence: int
    at: datetime
    type: str


class WaitingOrder(BaseModel):
    """An order that waits for its payment."""

    id: str
    due: datetime | None
