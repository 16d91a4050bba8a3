"""Each diagram is drawn, and the diagram of the order equals the observations of the testing kit."""

import re
import sys
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
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import diagrams  # noqa: E402 - the pages' pictures, as the site shows them

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


def test_each_diagram_is_drawn_from_its_page() -> None:
    """After a change: ``docs/draw_diagrams.py``."""
    sources = diagrams.diagrams()
    assert len(sources) >= 10
    stale = [
        file.name
        for file, source in sources.items()
        if not file.exists() or not file.read_text(encoding="utf-8").startswith(diagrams.digest(source))
    ]
    assert stale == []
    assert set(diagrams.PICTURES.iterdir()) == set(sources)


def test_a_changed_diagram_is_stale() -> None:
    file, source = next(iter(diagrams.diagrams().items()))
    assert not file.read_text(encoding="utf-8").startswith(diagrams.digest(f"{source}  a --> b\n"))


def test_a_picture_has_the_colours_of_the_page() -> None:
    """One file fits the light and the dark page: its shapes and texts name the theme's variables."""
    for file in diagrams.diagrams():
        svg = file.read_text(encoding="utf-8")
        assert "var(--color-foreground-primary)" in svg
        assert not re.search(r"https?://(?!www\.w3\.org/)", svg), file.name
