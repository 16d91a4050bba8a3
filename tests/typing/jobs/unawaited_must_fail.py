"""Calls that are never awaited, which both checkers report with these options."""
# mypy: enable-error-code="unused-awaitable"
# pyright: reportUnusedCallResult=true

from __future__ import annotations

from perdure import Client
from perdure.examples.order_processor import Delivered, order_processor


async def never_awaited(jobs: Client) -> None:
    orders = jobs.handle(order_processor)
    orders.send("1", Delivered())  # error: mypy, pyright
    orders.terminate("1")  # error: mypy, pyright
    jobs.redrive(1)  # error: mypy, pyright
    orders.send("1", Delivered()).future()  # error: mypy, pyright
