"""Mistakes that the checkers must see before anything runs."""

from __future__ import annotations

from attrs import frozen
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Client,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Decision,
    Do,
    Program,
    Retry,
    Task,
    TaskContext,
    TaskErrorContext,
    every,
    fail,
    program,
    succeed,
    tell,
)
from perdure.examples.mail import HasMailer, MailBounced, Mailer, send_mail
from perdure.examples.order_processor import Order, OrderEvent, OrderPlaced, order_processor
from perdure.examples.token_refresher import token_refresher
from perdure.examples.webhook_batcher import Batch, Webhook, collect, flush, webhook_batcher
from perdure.stores.postgres.enqueue import enqueue
from perdure.values.instance import Claim


@frozen
class OnlyMail:
    mailer: Mailer


# ---------------------------------------------------------------- services
def lacking(services: OnlyMail) -> None:
    App(services).with_jobs(order_processor)
    App(services).with_jobs(token_refresher)  # error: mypy, pyright
    App(services).with_jobs(order_processor, webhook_batcher)  # error: mypy, pyright


@program
def undeclared_service(ctx: TaskContext[Order]) -> Do[None, MailBounced]:
    yield from send_mail("1", "a", "b")  # error: mypy, pyright


# ---------------------------------------------------------------- errors
@program
def undeclared_error(ctx: TaskContext[Order]) -> Do[None, MailBounced]:
    yield from fail("no")  # error: mypy, pyright


def is_text(error: str) -> bool:
    return error == "no"


@program
def bouncing(ctx: ContinuousContext[int]) -> Do[None, MailBounced]:
    yield from fail(MailBounced("a"))


for_text = Retry(3, retry_if=is_text)
Continuous("c", state=int, schedule=every("5s"), execute=bouncing, retry=for_text)  # error: mypy, pyright


# ---------------------------------------------------------------- states and events
@program
def wrong_state(ctx: TaskContext[Order]) -> Do[None]:
    yield from ctx.set_state("pending")  # error: mypy, pyright


def decide_text(state: Order, event: OrderEvent) -> Result[Decision[str], MailBounced]:
    return Success(Decision("pending"))


def of_another_state(ctx: TaskContext[str], event: OrderEvent) -> Program[None]:
    return succeed(None)


def of_another_event(ctx: TaskContext[Order], event: Webhook) -> Program[None]:
    return succeed(None)


def not_a_container(ctx: TaskContext[Order]) -> int:
    return 1


Task("t", state=Order, event=OrderEvent, initial=Order(), decide=decide_text)  # error: mypy, pyright
Task("t", state=Order, event=OrderEvent, initial=Order(), on_event=of_another_state)  # error: mypy, pyright
Task("t", state=Order, event=OrderEvent, initial=Order(), on_event=of_another_event)  # error: mypy, pyright
Task("t", state=Order, event=OrderEvent, initial="new", on_event=lambda _, __: Failure("no"))  # error: mypy


def drop(ctx: DebounceContext[Webhook]) -> Program[None]:
    return succeed(None)


Debounce("d", event=Webhook, state=Batch, flush_after="1s", on_event=collect, execute=flush)  # error: mypy, pyright
Debounce("d", event=Batch, flush_after="1s", execute=drop)  # error: mypy, pyright


# ---------------------------------------------------------------- calls
async def calls(jobs: Client) -> None:
    await jobs.handle(order_processor).send("order-1", Webhook("1", "push", "{}"))  # error: mypy, pyright
    await jobs.handle(token_refresher).start("ann", Order())  # error: mypy, pyright
    await jobs.handle(webhook_batcher).add("ann", Order())  # error: mypy, pyright
    await jobs.handle(order_processor).start("order-1", Order())  # error: mypy, pyright
    await jobs.handle(webhook_batcher).send("ann", Webhook("1", "push", "{}"))  # error: mypy, pyright
    await jobs.handle("order-processor")  # error: mypy, pyright


def telling(services: HasMailer) -> None:
    tell(order_processor, "order-1").send(Order())  # error: mypy, pyright
    tell(token_refresher, "ann").send(Order())  # error: mypy, pyright
    enqueue(services, Order())  # error: mypy, pyright
    enqueue(services, tell(order_processor, "order-1").send(OrderPlaced))  # error: mypy, pyright


# ---------------------------------------------------------------- values
def assigned(ctx: TaskErrorContext[Order, OrderEvent], claim: Claim) -> None:
    ctx.failed_draft = None  # error: mypy, pyright
    claim.attempt = 2  # error: mypy, pyright
