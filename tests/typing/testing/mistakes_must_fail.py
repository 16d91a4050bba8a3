"""Mistakes in simulated runs that the checkers must see."""

from __future__ import annotations

from attrs import frozen

from perdure import Jobs, TaskContext
from perdure.examples.order_processor import Order, OrderEvent, on_order_event, order_processor
from perdure.examples.token_refresher import refresh_token, token_refresher
from perdure.testing import Crash, Stage, explained, on_stage, simulate


@frozen
class Nothing:
    """Has no mailer."""


def services(stage: Stage[TaskContext[Order], Order], event: OrderEvent) -> None:
    simulate(on_order_event(stage.ctx, event), Nothing(), on=stage)  # error: mypy, pyright
    simulate(on_order_event(stage.ctx, event), None)  # error: mypy, pyright


def stages(stage: Stage[TaskContext[Order], Order]) -> None:
    on_stage(order_processor, state=Order(), tick=None)  # error: mypy, pyright
    refresh_token(stage.ctx)  # error: mypy, pyright
    order: Stage[TaskContext[str], str] = on_stage(order_processor, state="no order")  # error: mypy, pyright
    del order


def faults() -> None:
    Crash("send_mail", when="meanwhile")  # error: mypy, pyright
    on_stage(token_refresher)  # error: mypy, pyright


def explanations(jobs: Jobs) -> None:
    jobs.explain(order_processor, "order-1", lambda order: order.send("no event"))  # error: mypy, pyright
    jobs.explain(order_processor, "order-1", lambda order: order.flush())  # error: mypy, pyright
    jobs.explain(order_processor, "order-1", "trigger")  # error: mypy, pyright
    explained(token_refresher, "ada", lambda tokens: tokens.start("no state"))  # error: mypy, pyright
