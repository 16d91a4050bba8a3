"""Each diagram is drawn, and the diagram of the order equals the observations of the testing kit."""

import re
import sys
from pathlib import Path

from order_job import OrderEvent, Paid, Placed, Shipped, orders
from returns.result import Result, Success
from token_job import MailBounced

from perdure import App
from perdure.testing import World
from perdure.testing.coverage import CoverageObserver, as_mermaid

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
import diagrams  # noqa: E402 - the pages' pictures, as the site shows them

PLACED = Placed("ada", 100)
LIVES: dict[str, list[OrderEvent | str]] = {
    "on its way": [PLACED, Paid(100), Shipped("T-2"), "25 hours"],
    "never paid": [PLACED, "6 minutes"],
}


class Outbox:
    """Accepts every mail."""

    async def send_mail(self, to: str, text: str) -> Result[None, MailBounced]:
        return Success(None)


def arrows(diagram: str) -> set[str]:
    return {line.strip() for line in diagram.splitlines() if "-->" in line}


def test_the_diagram_of_the_order_is_drawn_by_the_kit() -> None:
    observer = CoverageObserver()
    for life, steps in LIVES.items():
        with World(App(Outbox()).with_jobs(orders)) as world:
            world.watch(observer.of(world))
            for step in steps:
                if isinstance(step, str):
                    world.advance(step)
                else:
                    world.run(world.handle(orders).send(life, step))
                world.settle()
            world.advance("1 second")
    page = (ROOT / "docs" / "tutorial" / "4-an-order.md").read_text(encoding="utf-8")
    shown = re.search(r"^```mermaid\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert arrows(shown[1]) == arrows(as_mermaid(observer.jobs["task:orders"]))


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
