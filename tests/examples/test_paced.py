"""The jobs at another pace are the same jobs: the same addresses, the same stored forms, other durations."""

from datetime import timedelta

import pytest
from returns.future import FutureResult
from world import World, on_each_store

from perdure import App
from perdure.cli.demo.schedule import Pace, at_pace
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Order, OrderPlaced, Patience, order_processor
from perdure.examples.token_refresher import token_refresher
from perdure.examples.webhook_batcher import webhook_batcher

PACE = Pace(
    refresh_every="3 s",
    flush_after="1 s",
    max_events=8,
    retry_delay="300 ms",
    patience=Patience(payment=timedelta(seconds=2), parcel="4 s"),
)
USUAL = {job.name: job for job in (token_refresher, webhook_batcher, order_processor)}
PACED = at_pace(PACE)


@pytest.mark.parametrize("paced", [PACED.token_refresher, PACED.webhook_batcher, PACED.order_processor])
def test_each_has_the_address_of_the_usual_one(paced):
    usual = USUAL[paced.name]
    assert paced.address("id") == usual.address("id")
    assert paced.plan.state.type_name == usual.plan.state.type_name
    assert paced.plan.errors.type_name == usual.plan.errors.type_name


class Mailer:
    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        return FutureResult.from_value(None)


class Services:
    mailer = Mailer()


@on_each_store
async def test_its_timers_are_its_own(world: World) -> None:
    orders = (await world.open(App(Services()).with_jobs(PACED.order_processor))).handle(PACED.order_processor)
    await world.run(orders.send("o", OrderPlaced("ada@example.com", 1)))
    await world.advance(ms=1999)
    assert await world.run(orders.get_state("o")) == Order("pending", "ada@example.com", 1)
    await world.advance(ms=1)
    assert await world.run(orders.get_state("o")) is None
