"""The inferred types of definitions, handles, tellers and apps, without any plugin."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Never, assert_type

from attrs import frozen
from returns.context import RequiresContextFutureResult
from returns.future import FutureResult
from returns.io import IOResult
from returns.result import Result, Success

from perdure import (
    App,
    Backoff,
    Client,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Program,
    Retry,
    Task,
    TaskContext,
    every,
    succeed,
    tell,
)
from perdure.examples.mail import HasMailer, MailBounced, Mailer
from perdure.examples.order_processor import (
    Cancelled,
    Delivered,
    IllegalTransition,
    Order,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    order_processor,
)
from perdure.examples.token_refresher import Alerting, AuthApi, AuthDown, AuthRevoked, TokenState, token_refresher
from perdure.examples.webhook_batcher import Batch, HasSink, Sink, SinkFull, Webhook, webhook_batcher
from perdure.kinds.debounce import DebounceHandle
from perdure.kinds.task import TaskHandle, TaskSender
from perdure.values.answer import Added
from perdure.values.outcome import Started, Triggered
from perdure.values.status import Defect

# ---------------------------------------------------------------- definitions
assert_type(
    order_processor,
    Task[
        Order,
        OrderPlaced | PaymentReceived | Shipped | Delivered | Cancelled,
        IllegalTransition | MailBounced,
        HasMailer,
    ],
)
assert_type(token_refresher, Continuous[TokenState, AuthDown | AuthRevoked, Alerting])
assert_type(webhook_batcher, Debounce[Batch, Webhook, SinkFull, HasSink])


# ---------------------------------------------------------------- plain containers of `returns` as hooks
class HasClockwork:
    """Some services."""


def pure(ctx: TaskContext[int], event: str) -> Result[None, MailBounced]:
    return Success(None)


def impure(ctx: TaskContext[int], event: str) -> IOResult[int, MailBounced]:
    return IOResult.from_value(1)


def later(ctx: ContinuousContext[int]) -> FutureResult[int, SinkFull]:
    return FutureResult.from_value(1)


def reading(ctx: ContinuousContext[int]) -> RequiresContextFutureResult[int, SinkFull, HasClockwork]:
    return RequiresContextFutureResult.from_value(1)


def decide(state: int, event: str) -> Result[Decision[int], MailBounced]:
    return Success(Decision(state + 1))


pure_task = Task("pure", state=int, event=str, initial=0, on_event=pure)
assert_type(pure_task, Task[int, str, MailBounced, object])
impure_task = Task("impure", state=int, event=str, initial=0, on_event=impure)
assert_type(impure_task, Task[int, str, MailBounced, object])
decided_task = Task("decided", state=int, event=str, initial=0, decide=decide)
assert_type(decided_task, Task[int, str, MailBounced, object])
later_job = Continuous("later", state=int, schedule=every("5s"), execute=later, retry=Retry(3, Backoff.standard))
assert_type(later_job, Continuous[int, SinkFull, object])
reading_job = Continuous("reading", state=int, schedule=every("5s"), execute=reading)
assert_type(reading_job, Continuous[int, SinkFull, HasClockwork])


def drop(ctx: DebounceContext[Webhook]) -> Program[None]:
    return succeed(None)


newest = Debounce("newest", event=Webhook, flush_after="1s", execute=drop)
assert_type(newest, Debounce[Webhook, Webhook, Never, object])


# ---------------------------------------------------------------- apps
@frozen
class Services:
    mailer: Mailer
    auth: AuthApi
    sink: Sink


@asynccontextmanager
async def opened(services: Services) -> AsyncGenerator[Services]:
    yield services


def app_of(services: Services) -> App[Services]:
    app = App(services).with_jobs(token_refresher, webhook_batcher, order_processor)
    assert_type(app, App[Services])
    return app


def app_with_factory(services: Services) -> App[Services]:
    app = App(lambda: opened(services)).with_jobs(order_processor)
    assert_type(app, App[Services])
    return app


# ---------------------------------------------------------------- handles and tellers
async def calls(jobs: Client, state: TokenState) -> None:
    orders = jobs.handle(order_processor)
    assert_type(
        orders,
        TaskHandle[
            Order,
            OrderPlaced | PaymentReceived | Shipped | Delivered | Cancelled,
            IllegalTransition | MailBounced,
        ],
    )
    batches = jobs.handle(webhook_batcher)
    assert_type(batches, DebounceHandle[Batch, Webhook, SinkFull])
    started = await jobs.handle(token_refresher).start("ann", state)
    assert_type(started, Started[AuthDown | AuthRevoked | Defect])
    added = await batches.add("ann", Webhook("1", "push", "{}"))
    assert_type(added, Added)
    state_of_ann = await jobs.handle(token_refresher).get_state("ann")
    assert_type(state_of_ann, TokenState | None)


def outcomes(answer: Started[AuthDown | Defect], again: Triggered[SinkFull]) -> None:
    """Answers are covariant in their error."""
    wider: Started[AuthDown | AuthRevoked | Defect] = answer
    del wider, again


def telling() -> Program[None]:
    sender = tell(order_processor, "order-1")
    assert_type(sender, TaskSender[OrderPlaced | PaymentReceived | Shipped | Delivered | Cancelled])
    return sender.send(Delivered())
