"""The inferred types of calls: answers and errors, as they are returned, raised, matched and composed."""

from __future__ import annotations

import asyncio
from typing import Never, assert_never, assert_type

from returns.future import FutureResult
from returns.io import IOResult
from returns.result import Failure, Success

from perdure import Client, attempt
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Delivered, IllegalTransition, Order, order_processor
from perdure.examples.token_refresher import AuthDown, AuthRevoked, TokenState, token_refresher
from perdure.examples.webhook_batcher import SinkFull, Webhook, webhook_batcher
from perdure.jobs.call import Call
from perdure.jobs.definition import CallError, EventError
from perdure.testing import World
from perdure.values.answer import Added, PauseResult, Sent, Terminated
from perdure.values.errors import HookRaised, OutcomeUnknown, Rejected, RequestError, RunTimeout, StoreError
from perdure.values.listings import Listing
from perdure.values.outcome import Flushed, Started, Triggered
from perdure.values.status import Defect, InstanceStatus


# ---------------------------------------------------------------- the result of each call
def handles(jobs: Client, state: TokenState) -> None:
    orders, batches, tokens = jobs.handle(order_processor), jobs.handle(webhook_batcher), jobs.handle(token_refresher)
    assert_type(orders.send("1", Delivered()), Call[Sent, EventError[IllegalTransition | MailBounced]])
    assert_type(orders.trigger("1"), Call[Triggered[IllegalTransition | MailBounced | Defect], CallError])
    assert_type(batches.add("1", Webhook("1", "a", "{}")), Call[Added, EventError[SinkFull]])
    assert_type(batches.flush("1"), Call[Flushed[SinkFull | Defect], CallError])
    assert_type(tokens.start("1", state), Call[Started[AuthDown | AuthRevoked | Defect], CallError])
    assert_type(tokens.trigger("1"), Call[Triggered[AuthDown | AuthRevoked | Defect], CallError])
    assert_type(orders.terminate("1"), Call[Terminated, CallError])
    assert_type(orders.pause("1"), Call[PauseResult, CallError])
    assert_type(orders.status("1"), Call[InstanceStatus, CallError])
    assert_type(orders.get_state("1"), Call[Order | None, CallError])


# ---------------------------------------------------------------- raised
async def raising(jobs: Client) -> None:
    assert_type(await jobs.handle(order_processor).send("1", Delivered()), Sent)
    assert_type(await jobs.handle(order_processor).get_state("1"), Order | None)
    assert_type(await jobs.list(order_processor), Listing)


async def in_tasks(jobs: Client) -> None:
    orders = jobs.handle(order_processor)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(orders.send("1", Delivered()))
    assert_type(task.result(), Sent)
    sent, state = await asyncio.gather(orders.send("1", Delivered()), orders.get_state("1"))
    assert_type(sent, Sent)
    assert_type(state, Order | None)


# ---------------------------------------------------------------- matched
async def matching(jobs: Client) -> str:
    call = jobs.handle(order_processor).send("1", Delivered())
    match await attempt(call):
        case Success(sent):
            assert_type(sent, Sent)
            return "sent"
        case Failure(Rejected(IllegalTransition(status=status))):
            return status
        case Failure(Rejected(error)):
            assert_type(error, IllegalTransition | MailBounced)
            return "rejected"
        case Failure(error):
            return str(error)


async def matching_every_error(jobs: Client) -> str:
    ended = await attempt(jobs.handle(webhook_batcher).add("1", Webhook("1", "a", "{}")))
    assert_type(ended, Success[Added] | Failure[EventError[SinkFull]])
    match ended:
        case Success(added):
            assert_type(added, Added)
            return "added"
        case Failure(error):
            return named(error)
        case _:
            assert_never(ended)


def named(error: EventError[SinkFull]) -> str:
    match error:
        case Rejected(reason):
            assert_type(reason, SinkFull)
            return "rejected"
        case HookRaised() | RunTimeout():
            return "failed"
        case RequestError() | StoreError() | OutcomeUnknown():
            return "not done"
        case _:
            assert_never(error)


async def matching_without_rejection(jobs: Client) -> str:
    match await attempt(jobs.handle(order_processor).status("1")):
        case Success(status):
            return status.status
        case Failure(error):
            assert_type(error, CallError)
            return str(error)


def never_rejected(error: EventError) -> EventError[Never]:
    return error


# ---------------------------------------------------------------- composed
async def composing(jobs: Client) -> None:
    call = jobs.handle(order_processor).send("1", Delivered()).future()
    assert_type(call, FutureResult[Sent, EventError[IllegalTransition | MailBounced]])
    assert_type(call.map(lambda sent: sent.created), FutureResult[bool, EventError[IllegalTransition | MailBounced]])
    assert_type(await call.alt(str), IOResult[Sent, str])


# ---------------------------------------------------------------- in a world
def in_a_world(world: World) -> None:
    orders = world.handle(order_processor)
    assert_type(world.run(orders.send("1", Delivered())), Sent)
    refused = world.error_of(orders.send("1", Delivered()))
    assert isinstance(refused, Rejected)
    assert_type(refused.error, IllegalTransition | MailBounced)
    match world.attempt(orders.send("1", Delivered())):
        case Success(sent):
            assert_type(sent, Sent)
        case Failure(Rejected(error)):
            assert_type(error, IllegalTransition | MailBounced)
        case Failure():
            pass
