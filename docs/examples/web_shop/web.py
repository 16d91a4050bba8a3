"""The shop over HTTP, in as many web processes as you like; one engine does the work.

The bodies of requests and responses are models, which check the input.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Annotated, TypeAlias
from uuid import UUID, uuid5

from fastapi import (
    APIRouter,
    FastAPI,
    Header,
    HTTPException,
    Query,
    Request,
    Response,
)
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field
from returns.result import Failure, Success

from perdure import attempt
from perdure.integrations.fastapi import Jobs, follow, handle_errors, lifespan
from perdure.integrations.web import OpenClient
from perdure.remote import connect
from perdure.values.errors import Rejected
from perdure.values.times import Duration
from web_shop.jobs import orders, progress
from web_shop.order import (
    Cancel,
    NotPossible,
    OrderEvent,
    OrderLine,
    Pay,
    Place,
    ShopOrder,
    Stage,
)


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


SHOP = UUID("a0c7bbd2-52a2-5b0c-9b0e-0b6b3a5b5f10")
"""The namespace of the order ids."""

FOLDER = Path(__file__).parent

TIMEOUT: Duration = "10 seconds"
"""How long a request waits for an engine that restarts."""

Key: TypeAlias = Annotated[
    str, Header(alias="Idempotency-Key", min_length=1, max_length=200)
]
"""Drawn by the browser, once for each click and the same for each repeat."""

shop = APIRouter()


@shop.post("/orders", status_code=201)
async def place(new: NewOrder, key: Key, jobs: Jobs, response: Response) -> OrderPage:
    """Place an order."""
    order_id = id_of(new.customer, key)
    lines = tuple(OrderLine(**line.model_dump()) for line in new.lines)
    await apply(jobs, order_id, Place(new.customer, lines), key)
    response.headers["location"] = f"/orders/{order_id}"
    return await show(order_id, jobs)


@shop.post("/orders/{order_id}/payment", status_code=202)
async def pay(order_id: UUID, new: NewPayment, key: Key, jobs: Jobs) -> OrderPage:
    """Pay an order. The engine charges the card after this response."""
    await apply(jobs, order_id, Pay(new.card), key)
    return await show(order_id, jobs)


@shop.post("/orders/{order_id}/cancellation", status_code=202)
async def cancel(
    order_id: UUID, new: NewCancellation, key: Key, jobs: Jobs
) -> OrderPage:
    """Cancel an order. The engine refunds a paid one after this response."""
    await apply(jobs, order_id, Cancel(new.reason), key)
    return await show(order_id, jobs)


@shop.get("/orders/{order_id}")
async def show(order_id: UUID, jobs: Jobs) -> OrderPage:
    """Show an order."""
    order = await jobs.handle(orders).get_state(str(order_id))
    if order is None:
        raise HTTPException(404, f"there is no order {order_id}")
    return page_of(order_id, order)


@shop.get("/orders/{order_id}/progress")
async def follow_order(order_id: UUID, jobs: Jobs, request: Request) -> Response:
    """Follow an order with server-sent events."""
    return await follow(request, jobs.handle(orders), str(order_id), progress)


@shop.get("/orders/{order_id}/page")
async def page(order_id: UUID, jobs: Jobs) -> Response:
    """Return the page that follows an order."""
    await show(order_id, jobs)  # 404 if there is none
    headers = {"Content-Security-Policy": "default-src 'self'"}
    return FileResponse(FOLDER / "order.html", headers=headers)


@shop.get("/order.js")
async def script() -> Response:
    """Return the page's script."""
    return FileResponse(FOLDER / "order.js")


@shop.get("/orders/{order_id}/history")
async def history(
    order_id: UUID, jobs: Jobs, before: int | None = None
) -> list[HistoryEntry]:
    """Show the newest events of an order; ``before`` is the last one of a page."""
    events = await jobs.history(orders, str(order_id), before=before, limit=50)
    return [
        HistoryEntry(
            sequence=logged.sequence, at=logged.event.at, type=logged.event.type
        )
        for logged in events
    ]


@shop.get("/waiting-orders")
async def waiting(
    jobs: Jobs,
    after: UUID | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
) -> list[WaitingOrder]:
    """List the orders that wait for a payment; ``after`` is the last one of a page."""
    page = jobs.list(
        orders,
        status="scheduled",  # only such an order has an alarm
        after=None if after is None else orders.address(str(after)),
        limit=limit,
    )
    return [
        WaitingOrder(id=listed.address.id, due=listed.report.next_run_at)
        for listed in await page
    ]


def id_of(customer: str, key: str) -> UUID:
    """Return the id of a new order.

    The engine keeps keys with an order, so a repeat of ``POST /orders`` must reach the
    same order: the id follows from the key, and from the customer who drew it.
    """
    return uuid5(SHOP, f"{customer}\n{key}")


def page_of(order_id: UUID, order: ShopOrder) -> OrderPage:
    """Return the part of an order that its customer sees."""
    return OrderPage(
        id=order_id,
        stage=order.stage,
        total_cents=order.total_cents,
        tracking=order.tracking,
        note=order.note,
    )


async def apply(jobs: Jobs, order_id: UUID, event: OrderEvent, key: str) -> None:
    """Send an event to an order; respond with 409 if it does not fit its stage."""
    order = jobs.handle(orders)
    match await attempt(order.send(str(order_id), event, idempotency_key=key)):
        case Success(_):
            pass
        case Failure(Rejected(NotPossible(stage, action))):
            raise HTTPException(409, f"{action} is not possible: the order is {stage}")
        case Failure(error):
            raise error  # `handle_errors` responds with a problem


def create_shop(open_client: OpenClient) -> FastAPI:
    """Create the web application.

    Args:
        open_client: opens a client of the engine.
    """
    app = FastAPI(title="Shop", lifespan=lifespan(open_client))
    handle_errors(app)
    app.include_router(shop)
    return app


def from_environment() -> FastAPI:
    """Create the web application of ``uvicorn --factory``.

    ``PERDURE_URL`` is the engine, by default the owner of ``shop.db`` in the current
    folder; ``PERDURE_TOKEN`` its token, if it needs one.
    """
    url = os.environ.get("PERDURE_URL", "sqlite:///shop.db")
    return create_shop(
        partial(connect, url, orders, token=os.environ.get("PERDURE_TOKEN"))
    )
