"""The inferred types of the calls of a client in another process: as precise as in process."""

from __future__ import annotations

from typing import assert_type

from returns.result import Failure, Success

from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Delivered, IllegalTransition, Order, order_processor
from perdure.jobs.definition import EventError
from perdure.remote import connect, connect_sync
from perdure.values.answer import Sent


async def in_a_loop(url: str) -> None:
    async with connect(url, order_processor, timeout="5 seconds") as jobs:
        assert_type(await jobs.handle(order_processor).get_state("1"), Order | None)


def without_a_loop(url: str) -> str:
    with connect_sync(url, order_processor, draw_keys=True) as jobs:
        call = jobs.handle(order_processor).send("1", Delivered())
        assert_type(jobs.run(jobs.handle(order_processor).get_state("1")), Order | None)
        ended = jobs.attempt(call)
        assert_type(ended, Success[Sent] | Failure[EventError[IllegalTransition | MailBounced]])
        match ended:
            case Success(sent):
                assert_type(sent, Sent)
                return "sent"
            case Failure(error):
                return str(error)
