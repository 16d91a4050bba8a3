"""The diagram of the order equals the observations of the testing kit."""

import re
from pathlib import Path

from returns.future import FutureResult

from perdure import App
from perdure.examples.mail import MailBounced
from perdure.examples.order_processor import (
    Cancelled,
    Delivered,
    OrderEvent,
    OrderPlaced,
    PaymentReceived,
    Shipped,
    order_processor,
)
from perdure.testing import World
from perdure.testing.coverage import CoverageObserver, as_mermaid

ROOT = Path(__file__).parents[2]
PLACED = OrderPlaced("ada", 100)
PAID = PaymentReceived(100)
LIVES: dict[str, list[OrderEvent | str]] = {
    "delivered": [PLACED, PaymentReceived(50), PaymentReceived(50), Shipped("T-1"), Delivered()],
    "on its way": [PLACED, PAID, Shipped("T-2"), "25 hours"],
    "never paid": [PLACED, "6 minutes"],
    "cancelled": [PLACED, Cancelled("too dear")],
    "cancelled when paid": [PLACED, PAID, Cancelled("too late")],
}


class Mailer:
    """Accepts every mail."""

    @property
    def mailer(self) -> "Mailer":
        return self

    def send(self, message_id: str, to: str, text: str) -> FutureResult[None, MailBounced]:
        return FutureResult.from_value(None)


def arrows(diagram: str) -> set[str]:
    return {line.strip() for line in diagram.splitlines() if "-->" in line}


def test_the_diagram_of_the_order_is_drawn_by_the_kit() -> None:
    observer = CoverageObserver()
    for life, steps in LIVES.items():
        with World(App(Mailer()).with_jobs(order_processor)) as world:
            world.watch(observer.of(world))
            for step in steps:
                if isinstance(step, str):
                    world.advance(step)
                else:
                    world.run(world.handle(order_processor).send(life, step))
                world.settle()
            world.advance("1 second")
    page = (ROOT / "docs" / "tutorial" / "4-an-order.md").read_text(encoding="utf-8")
    shown = re.search(r"^```mermaid\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert arrows(shown[1]) == arrows(as_mermaid(observer.jobs["task:order-processor"]))
