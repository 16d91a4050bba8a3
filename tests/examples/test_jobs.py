"""The example jobs work at their own pace, on a virtual clock."""

from datetime import UTC, datetime

from attrs import define, field, frozen
from returns.future import FutureResult
from world import World, on_each_store

from perdure import App
from perdure.examples.mail import MailBounced
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
from perdure.examples.token_refresher import (
    AuthDown,
    AuthError,
    AuthRevoked,
    Token,
    TokenState,
    token_refresher,
)
from perdure.examples.webhook_batcher import SinkFull, Webhook, webhook_batcher
from perdure.values.errors import Rejected
from perdure.values.outcome import Retrying

LATER = datetime(2030, 1, 1, tzinfo=UTC)
TOKEN = TokenState("", "rt", LATER)


def with_access(token: str) -> TokenState:
    return TokenState(token, "rt", LATER)


@define
class Auth:
    """Answers with the prepared results first, then with fresh tokens."""

    answers: list[AuthError] = field(factory=list)
    calls: int = 0

    def refresh(self, refresh_token: str) -> FutureResult[Token, AuthError]:
        self.calls += 1
        if self.answers:
            return FutureResult.from_failure(self.answers.pop(0))
        return FutureResult.from_value(Token(f"at-{self.calls}", LATER))


@define
class Mailer:
    sent: list[tuple[str, str]] = field(factory=list)
    ids: set[str] = field(factory=set)

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        self.ids.add(message_id)
        self.sent.append((to, text))
        return FutureResult.from_value(None)


@define
class Sink:
    full: int = 0
    pushed: list[tuple[str, int]] = field(factory=list)

    def push(self, batch_id: str, events: tuple[Webhook, ...]) -> FutureResult[int, SinkFull]:
        self.pushed.append((batch_id, len(events)))
        if self.full:
            self.full -= 1
            return FutureResult.from_failure(SinkFull("full"))
        return FutureResult.from_value(len(events))


@frozen
class Services:
    auth: Auth = field(factory=Auth)
    mailer: Mailer = field(factory=Mailer)
    sink: Sink = field(factory=Sink)


def app(services: Services) -> App[Services]:
    return App(services).with_jobs(token_refresher, webhook_batcher, order_processor)


# ---------------------------------------------------------------- token refresher
@on_each_store
async def test_a_token_is_refreshed_at_once_and_every_half_hour(world: World) -> None:
    services = Services()
    tokens = (await world.open(app(services))).handle(token_refresher)
    await world.run(tokens.start("ada", TOKEN))
    assert await world.run(tokens.get_state("ada")) == with_access("at-1")
    await world.advance(minutes=61)
    assert await world.run(tokens.get_state("ada")) == with_access("at-3")


@on_each_store
async def test_an_auth_server_that_is_down_is_called_again(world: World) -> None:
    services = Services(Auth([AuthDown("503"), AuthDown("503")]))
    tokens = (await world.open(app(services))).handle(token_refresher)
    started = await world.run(tokens.start("ada", TOKEN))
    assert isinstance(started.outcome, Retrying)
    await world.advance(s=10)
    assert services.auth.calls == 3
    assert await world.run(tokens.get_state("ada")) == with_access("at-3")


@on_each_store
async def test_a_revoked_token_is_reported_and_ends_the_job(world: World) -> None:
    services = Services(Auth([AuthRevoked("by the user")]))
    tokens = (await world.open(app(services))).handle(token_refresher)
    await world.run(tokens.start("ada", TOKEN))
    assert services.mailer.sent == [("ops@example.com", "ada: by the user")]
    assert (await world.run(tokens.status("ada"))).status == "not_found"


# ---------------------------------------------------------------- webhook batcher
@on_each_store
async def test_webhooks_of_five_seconds_make_one_batch(world: World) -> None:
    services = Services()
    hooks = (await world.open(app(services))).handle(webhook_batcher)
    for number in range(3):
        await world.run(hooks.add("ada", Webhook(f"evt_{number}", "push", "{}")))
        await world.advance(s=1)
    assert services.sink.pushed == []
    await world.advance(s=2)
    assert [size for _, size in services.sink.pushed] == [3]


@on_each_store
async def test_a_full_sink_gets_the_same_batch_again(world: World) -> None:
    services = Services(sink=Sink(full=2))
    hooks = (await world.open(app(services))).handle(webhook_batcher)
    await world.run(hooks.add("ada", Webhook("evt_1", "push", "{}")))
    await world.advance(s=30)
    assert len(services.sink.pushed) == 3
    assert len(set(services.sink.pushed)) == 1
    assert (await world.run(hooks.status("ada"))).status == "not_found"


# ---------------------------------------------------------------- order processor
@on_each_store
async def test_an_order_goes_its_way(world: World) -> None:
    services = Services()
    jobs = await world.open(app(services))
    orders = jobs.handle(order_processor)
    await world.run(jobs.handle(token_refresher).start("ada@example.com", TOKEN))
    for event in (OrderPlaced("ada@example.com", 4990), PaymentReceived(4000), PaymentReceived(990), Shipped("1Z9")):
        await world.run(orders.send("o-1", event))
    assert services.auth.calls == 2  # a parcel that leaves makes the owner's token fresh
    await world.advance(hours=49)
    await world.run(orders.send("o-1", Delivered()))
    await world.advance(s=1)
    assert [text for _, text in services.mailer.sent] == [
        "o-1: thank you for your order of 49.90",
        "o-1: we received 40.00",
        "o-1: we received 9.90",
        "o-1: shipped, tracking 1Z9",
        "o-1: is it there yet?",
        "o-1: is it there yet?",
        "o-1: delivered",
    ]
    assert {to for to, _ in services.mailer.sent} == {"ada@example.com"}
    assert len(services.mailer.ids) == len(services.mailer.sent)
    assert (await world.run(orders.status("o-1"))).status == "not_found"


@on_each_store
async def test_an_unpaid_order_ends(world: World) -> None:
    orders = (await world.open(app(Services()))).handle(order_processor)
    await world.run(orders.send("o-1", OrderPlaced("ada@example.com", 4990)))
    await world.advance(minutes=5)
    assert (await world.run(orders.status("o-1"))).status == "not_found"


@on_each_store
async def test_an_oversized_value_is_refused_and_no_message_is_sent(world: World) -> None:
    services = Services()
    orders = (await world.open(app(services))).handle(order_processor)
    for event in (PaymentReceived(1), Shipped("1Z9"), Delivered(), Cancelled("why")):
        refused = await world.error_of(orders.send("o-1", event))
        assert isinstance(refused, Rejected)
        assert refused.error == IllegalTransition("new", type(event).__name__)
    assert services.mailer.sent == []
    assert await world.run(orders.get_state("o-1")) is None


@on_each_store
async def test_a_cancelled_order_ends(world: World) -> None:
    orders = (await world.open(app(Services()))).handle(order_processor)
    await world.run(orders.send("o-1", OrderPlaced("ada@example.com", 4990)))
    assert await world.run(orders.get_state("o-1")) == Order("pending", "ada@example.com", 4990)
    await world.run(orders.send("o-1", Cancelled("too late")))
    await world.advance(ms=1)
    assert (await world.run(orders.status("o-1"))).status == "not_found"
