"""The order of the web shop: what its alarm does, and that a repeat charges nothing twice."""

from typing import Any

import pytest
from attrs import define, evolve, field
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from web_shop.jobs import orders, work
from web_shop.order import Cancel, NotPossible, OrderLine, Pay, Place, Ship, ShopOrder
from web_shop.services import PaymentDeclined, PaymentError, PaymentsDown
from world import World, on_each_store

from perdure import App, TaskContext
from perdure.examples.mail import MailBounced
from perdure.testing import Crash, Fail, Fault, HookContext, hook_context, run_with_redelivery, simulate
from perdure.values.errors import Rejected

PLACE = Place("ada@example.com", (OrderLine("book", 2, 1_250),))


@define
class Providers:
    """A provider that keeps the keys, and charges nothing twice."""

    charged: dict[str, tuple[str, int]] = field(factory=dict[str, tuple[str, int]])
    refunded: list[str] = field(factory=list[str])
    mails: list[str] = field(factory=list[str])

    @property
    def payments(self) -> "Providers":
        return self

    @property
    def mailer(self) -> "Providers":
        return self

    async def charge(self, key: str, card: str, cents: int) -> Result[str, PaymentError]:
        if card == "no funds":
            return Failure(PaymentDeclined(card))
        self.charged[key] = (card, cents)
        return Success(key)

    async def refund(self, key: str, receipt: str) -> Result[None, PaymentsDown]:
        self.refunded.append(receipt)
        return Success(None)

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.mails.append(text)
        return FutureResult.from_value(None)


@on_each_store
async def test_an_order_is_paid_and_refunded(world: World) -> None:
    providers = Providers()
    shop = (await world.open(App(providers).with_jobs(orders))).handle(orders)
    await world.run(shop.send("o-1", PLACE))
    await world.run(shop.send("o-1", Pay("card")))
    await world.advance(ms=1)
    assert list(providers.charged.values()) == [("card", 2_500)]
    await world.run(shop.send("o-1", Cancel("too late")))
    await world.advance(ms=1)
    assert providers.refunded == list(providers.charged)
    state = await world.run(shop.get_state("o-1"))
    assert state is not None
    assert (state.stage, state.note, state.card) == ("cancelled", "too late", "")
    assert providers.mails == ["o-1: paid, thank you", "o-1: cancelled, your money is on its way"]


@on_each_store
async def test_a_declined_card_leaves_the_order_for_another_one(world: World) -> None:
    shop = (await world.open(App(Providers()).with_jobs(orders))).handle(orders)
    await world.run(shop.send("o-1", PLACE))
    await world.run(shop.send("o-1", Pay("no funds")))
    await world.advance(ms=1)
    state = await world.run(shop.get_state("o-1"))
    assert state is not None
    assert (state.stage, state.note) == ("awaiting_payment", "no funds")
    await world.advance(minutes=31)
    state = await world.run(shop.get_state("o-1"))
    assert state is not None
    assert (state.stage, state.note) == ("cancelled", "not paid in time")
    refused = await world.error_of(shop.send("o-1", Ship("1Z9")))
    assert isinstance(refused, Rejected)
    assert refused.error == NotPossible("cancelled", "Ship")


PAYING = ShopOrder(stage="paying", customer="ada@example.com", lines=PLACE.lines, card="card")


@pytest.mark.parametrize(
    "fault",
    [
        Crash("charge", when="after"),
        Crash("send_mail", when="after"),
        Fail("charge", PaymentsDown("503"), when="after"),
    ],
)
def test_a_repeat_charges_with_the_same_key(fault: Fault) -> None:
    providers = Providers()

    def run(on: HookContext[TaskContext[ShopOrder], ShopOrder], faults: tuple[Fault, ...]) -> Any:
        return simulate(work(on.ctx), providers, on=on, faults=faults)

    seen = run_with_redelivery(run, hook_context(orders, state=PAYING, id="o-1"), faults=(fault,))
    assert len(seen.runs) == 2
    assert len(providers.charged) == 1
    assert seen.committed is not None
    assert seen.committed.state == evolve(PAYING, stage="paid", card="", receipt=next(iter(providers.charged)))
