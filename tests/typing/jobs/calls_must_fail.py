"""Mistakes with the answers and errors of calls that the checkers must see."""

from __future__ import annotations

from typing import assert_never

from returns.result import Failure, Success

from perdure import Client, attempt
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Delivered, order_processor
from perdure.examples.webhook_batcher import SinkFull
from perdure.jobs.definition import EventError
from perdure.values.answer import Sent
from perdure.values.errors import HookRaised, OutcomeUnknown, Rejected, RequestError, RunTimeout, StoreError


async def no_failure(jobs: Client) -> str:
    ended = await attempt(jobs.handle(order_processor).send("1", Delivered()))
    match ended:
        case Success():
            return "sent"
        case _:
            assert_never(ended)  # error: mypy, pyright


async def falls_off_the_end(jobs: Client) -> str:  # error: mypy, pyright
    match await attempt(jobs.handle(order_processor).send("1", Delivered())):  # error: pyright
        case Success():
            return "sent"


def timeouts_forgotten(error: EventError[SinkFull]) -> str:
    match error:
        case Rejected() | HookRaised() | RequestError() | StoreError() | OutcomeUnknown():
            return "known"
        case _:
            assert_never(error)  # error: mypy, pyright


async def another_answer(jobs: Client) -> int:
    match await attempt(jobs.handle(order_processor).send("1", Delivered())):
        case Success(sent):
            return sent.event_count  # error: mypy, pyright
        case Failure(Rejected(error)):
            return error.attempts  # error: mypy, pyright
        case Failure(error):
            return error.run_timeout_ms  # error: mypy, pyright


async def another_error(jobs: Client) -> Success[Sent] | Failure[EventError[MailBounced]]:
    return await attempt(jobs.handle(order_processor).send("1", Delivered()))  # error: mypy, pyright


async def never_awaited(jobs: Client) -> str:
    orders = jobs.handle(order_processor)
    attempt(orders.send("1", Delivered()))  # error: mypy, pyright
    return orders.get_state("1").status  # error: mypy, pyright


async def raised_twice(jobs: Client) -> None:
    sent = await jobs.handle(order_processor).send("1", Delivered())
    await attempt(sent)  # error: mypy, pyright


async def not_a_call(jobs: Client) -> None:
    await jobs.handle(order_processor)  # error: mypy, pyright
    await attempt(await jobs.handle(order_processor).status("1"))  # error: mypy, pyright


def timed_out(error: RunTimeout) -> str:
    return error.traceback  # error: mypy, pyright
