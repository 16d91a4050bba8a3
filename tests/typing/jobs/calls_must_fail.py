"""Mistakes with the answers and errors of calls that the checkers must see."""

from __future__ import annotations

from typing import assert_never

from returns.result import Failure, Success

from perdure import Jobs, ask, attempt
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Delivered, order_processor
from perdure.examples.webhook_batcher import SinkFull
from perdure.jobs.definition import EventError
from perdure.values.answer import Sent
from perdure.values.errors import Crashed, OutcomeUnknown, Rejected, RequestError, RunTimedOut, StoreError


async def no_failure(jobs: Jobs) -> str:
    ended = await attempt(jobs.of(order_processor).send("1", Delivered()))
    match ended:
        case Success():
            return "sent"
        case _:
            assert_never(ended)  # error: mypy, pyright


async def falls_off_the_end(jobs: Jobs) -> str:  # error: mypy, pyright
    match await attempt(jobs.of(order_processor).send("1", Delivered())):  # error: pyright
        case Success():
            return "sent"


def timeouts_forgotten(error: EventError[SinkFull]) -> str:
    match error:
        case Rejected() | Crashed() | RequestError() | StoreError() | OutcomeUnknown():
            return "known"
        case _:
            assert_never(error)  # error: mypy, pyright


async def another_answer(jobs: Jobs) -> int:
    match await attempt(jobs.of(order_processor).send("1", Delivered())):
        case Success(sent):
            return sent.event_count  # error: mypy, pyright
        case Failure(Rejected(error)):
            return error.attempts  # error: mypy, pyright
        case Failure(error):
            return error.max_run_ms  # error: mypy, pyright


async def another_error(jobs: Jobs) -> Success[Sent] | Failure[EventError[MailBounced]]:
    return await attempt(jobs.of(order_processor).send("1", Delivered()))  # error: mypy, pyright


async def not_a_call(jobs: Jobs) -> None:
    await ask(jobs.of(order_processor))  # error: mypy, pyright
    await attempt(await jobs.of(order_processor).status("1"))  # error: mypy, pyright


def timed_out(error: RunTimedOut) -> str:
    return error.traceback  # error: mypy, pyright
