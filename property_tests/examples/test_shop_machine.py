"""The order of the web shop under the state machine of the kit: a customer pays each order at most once."""

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from web_shop.jobs import orders
from web_shop.order import OrderLine, ShopOrder
from web_shop.services import PaymentDeclined, PaymentError, PaymentsDown

from perdure.examples.mail import MailBounced
from perdure.testing import Fail
from perdure.testing.machine import InstanceView, JobMachine


@define
class Providers:
    """Charge every card; remember the keys, as a real provider does."""

    charged: set[str] = field(factory=set[str])

    @property
    def payments(self) -> "Providers":
        return self

    @property
    def mailer(self) -> "Providers":
        return self

    async def charge(self, key: str, card: str, cents: int) -> Result[str, PaymentError]:
        self.charged.add(key)
        return Success(f"receipt-{key}")

    async def refund(self, key: str, receipt: str) -> Result[None, PaymentsDown]:
        return Success(None)

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        return FutureResult.from_value(None)


def an_order_is_paid_at_most_once(view: InstanceView[ShopOrder]) -> None:
    calls = [call for call in view.effects if call.name == "charge" and not isinstance(call.outcome, Failure)]
    charged = {call.args[0] for call in calls}
    refunded = {call.args[1] for call in view.effects if call.name == "refund"}
    assert len(charged - {str(receipt).removeprefix("receipt-") for receipt in refunded}) <= 1


def a_paid_order_has_a_receipt_and_no_card(view: InstanceView[ShopOrder]) -> None:
    if view.state.stage in ("paid", "shipped"):
        assert view.state.receipt
    assert not view.state.card or view.state.stage == "paying"


def only_an_order_that_waits_has_an_alarm(view: InstanceView[ShopOrder]) -> None:
    if view.instance.suspension is None and view.instance.claim is None:
        assert (view.alarm is not None) == (view.state.stage in ("awaiting_payment", "paying", "refunding"))


ORDERS = JobMachine(
    job=orders,
    services=Providers,
    commands=("send", "trigger", "pause", "resume"),  # a terminated order is another order
    types={OrderLine: st.builds(OrderLine, st.just("book"), st.integers(1, 3), st.integers(0, 500))},
    invariants=(
        an_order_is_paid_at_most_once,
        a_paid_order_has_a_receipt_and_no_card,
        only_an_order_that_waits_has_an_alarm,
    ),
    faults=st.builds(
        Fail,
        st.just("charge"),
        st.sampled_from((PaymentsDown("503"), PaymentDeclined("no funds"))),
        times=st.integers(1, 3),
    ),
    durations=("1 s", "1 minute", "31 minutes"),
)


class TestOrders(ORDERS.TestCase):
    settings = settings(max_examples=8, stateful_step_count=20)
