"""The three example jobs under the state machine of the kit: every law holds, whatever is sent, whatever crashes."""

from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from shop import Shop

from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import Order, decide_order, order_processor
from perdure.examples.token_refresher import AuthDown, AuthRevoked, token_refresher
from perdure.examples.webhook_batcher import SinkFull, webhook_batcher
from perdure.testing import Fail, Fault
from perdure.testing.machine import InstanceView, JobMachine, Model

CENTS = {int: st.integers(0, 500)}
INSTANTS = {datetime: st.just(datetime(2026, 1, 1, tzinfo=UTC))}


def failing(effect: str, *errors: object) -> st.SearchStrategy[Fault]:
    return st.builds(Fail, st.just(effect), st.sampled_from(errors), times=st.integers(1, 4))


def an_order_is_paid_before_it_ships(view: InstanceView[Order]) -> None:
    if view.state.status in ("paid", "shipped", "delivered"):
        assert view.state.paid >= view.state.amount


def an_order_that_waits_has_an_alarm(view: InstanceView[Order]) -> None:
    if view.state.status in ("pending", "shipped", "delivered", "cancelled") and view.instance.suspension is None:
        assert view.alarm is not None or view.instance.claim is not None


ORDERS = JobMachine(
    job=order_processor,
    services=Shop,
    beside=(token_refresher,),
    types=CENTS,
    invariants=(an_order_is_paid_before_it_ships, an_order_that_waits_has_an_alarm),
    model=Model(Order(), decide_order),
    faults=failing("send_mail", MailBounced("ada")),
)


WEBHOOKS = JobMachine(
    job=webhook_batcher,
    services=Shop,
    faults=failing("push", SinkFull("later")),
)

TOKENS = JobMachine(
    job=token_refresher,
    services=Shop,
    types=INSTANTS,
    faults=failing("refresh", AuthDown("no route"), AuthRevoked("gone")),
    durations=("1 s", "1 minute", "31 minutes"),
)


class TestOrders(ORDERS.TestCase):
    settings = settings(max_examples=8, stateful_step_count=20)


class TestWebhooks(WEBHOOKS.TestCase):
    settings = settings(max_examples=8, stateful_step_count=20)


class TestTokens(TOKENS.TestCase):
    settings = settings(max_examples=8, stateful_step_count=20)
