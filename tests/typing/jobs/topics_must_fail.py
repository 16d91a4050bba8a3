"""Mistakes with topics that type checkers must see."""

from __future__ import annotations

from attrs import frozen

from perdure import Client, Debounce, Topic, succeed, tell


@frozen
class Price:
    """An event."""

    cents: int


batches = Debounce("batches", event=Price, flush_after="1 minute", execute=lambda ctx: succeed(None))
prices: Topic[Price] = Topic("prices", event=Price, subscribers=(batches,))


def mistakes(jobs: Client) -> None:
    jobs.handle(prices).publish("eur", 7)  # error: mypy, pyright
    jobs.handle(prices).subscribe("eur", "task:notes:a")  # error: mypy, pyright
    tell(prices, "eur").publish("text")  # error: mypy, pyright
    prices.receive("eur", where=lambda price: price.euros < 5)  # error: mypy, pyright
