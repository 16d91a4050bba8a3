"""The life of an order against its rules, said plainly: money, patience, parcels, mails."""

from pathlib import Path

from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Success
from world import World, play

from perdure import App
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import (
    Cancelled,
    Delivered,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    order_processor,
)
from perdure.examples.token_refresher import Token, token_refresher

PRICE = 100
PAYMENT_S, PARCEL_S = 5 * 60, 24 * 3_600

steps = st.one_of(
    st.just(OrderPlaced("ada", PRICE)),
    st.sampled_from([10, 40, 60, PRICE - 1, PRICE]).map(PaymentReceived),
    st.just(Shipped("track-1")),
    st.just(Delivered()),
    st.just(Cancelled("no")),
    st.sampled_from([1, PAYMENT_S - 1, PAYMENT_S, PARCEL_S]),
)


@define
class Post:
    """Takes mails, and returns tokens."""

    sent: list[tuple[str, str]] = field(factory=list)

    @property
    def mailer(self) -> "Post":
        return self

    @property
    def auth(self) -> "Post":
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.sent.append((message_id, text))
        return FutureResult.from_value(None)

    def refresh(self, refresh_token: str) -> FutureResult[Token, object]:
        raise AssertionError("no call needs a token")


@define
class Model:
    status: str | None = None
    paid: int = 0
    due_s: int | None = None
    mails: int = 0
    now_s: int = 0

    def take(self, event: object) -> bool:
        match self.status, event:
            case None, OrderPlaced():
                self.status, self.paid, self.due_s = "pending", 0, self.now_s + PAYMENT_S
            case "pending", PaymentReceived(amount):
                self.paid += amount
                if self.paid >= PRICE:
                    self.status, self.due_s = "paid", None
            case "paid", Shipped():
                self.status, self.due_s = "shipped", self.now_s + PARCEL_S
            case ("shipped", Delivered()) | ("pending" | "paid", Cancelled()):
                self.status = None
            case _:
                return False
        self.mails += 1
        return True

    def wait(self, seconds: int) -> None:
        until_s = self.now_s + seconds
        while self.due_s is not None and self.status is not None and self.due_s <= until_s:
            if self.status == "pending":
                self.status, self.due_s = None, None
            else:
                self.mails, self.due_s = self.mails + 1, self.due_s + PARCEL_S
        self.now_s = until_s


@given(st.lists(steps, max_size=10).map(lambda later: [OrderPlaced("ada", PRICE), *later]))
def test_an_order_lives_by_its_rules(given_steps):
    async def scenario(world: World) -> None:
        post, model = Post(), Model()
        jobs = (await world.open(App(post).with_jobs(order_processor, token_refresher))).handle(order_processor)
        for step in given_steps:
            if isinstance(step, int):
                await world.advance(s=step)
                model.wait(step)
            else:
                answer = await world.attempt(jobs.send("o-1", step))
                assert isinstance(answer, Success) == model.take(step)
                await world.advance(ms=0)
            state = await world.run(jobs.get_state("o-1"))
            assert (None if state is None else state.status) == model.status
            assert state is None or state.paid == model.paid
            status = await world.run(jobs.status("o-1"))
            assert (status.next_run_at is not None) == (model.status is not None and model.due_s is not None)
            assert len(post.sent) == model.mails
        assert len({message_id for message_id, _ in post.sent}) == len(post.sent)

    play("memory", Path(), scenario)
