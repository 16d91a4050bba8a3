"""Mistakes in simulated runs that the checkers must see."""

from __future__ import annotations

from attrs import frozen

from perdure import App, Client, TaskContext
from perdure.examples.order_processor import Order, OrderEvent, on_order_event, order_processor
from perdure.examples.token_refresher import refresh_token, token_refresher
from perdure.testing import Crash, HookContext, explain, hook_context, simulate


@frozen
class Nothing:
    """Has no mailer."""


def services(stage: HookContext[TaskContext[Order], Order], event: OrderEvent) -> None:
    simulate(on_order_event(stage.ctx, event), Nothing(), on=stage)  # error: mypy, pyright
    simulate(on_order_event(stage.ctx, event), None)  # error: mypy, pyright


def stages(stage: HookContext[TaskContext[Order], Order]) -> None:
    hook_context(order_processor, state=Order(), tick=None)  # error: mypy, pyright
    refresh_token(stage.ctx)  # error: mypy, pyright
    order: HookContext[TaskContext[str], str] = hook_context(order_processor, state="no order")  # error: mypy, pyright
    del order


def faults() -> None:
    Crash("send_mail", when="meanwhile")  # error: mypy, pyright
    hook_context(token_refresher)  # error: mypy, pyright


def declarations() -> None:
    app = App(None)
    app.ensuring(token_refresher, "ada", lambda tokens: tokens.start("no state"))  # error: mypy, pyright
    app.ensuring(order_processor, "order-1", lambda order: order.start(Order()))  # error: mypy, pyright
    app.ensuring(order_processor, "order-1", "alarm")  # error: mypy, pyright


def explanations(jobs: Client) -> None:
    jobs.explain(order_processor, "order-1", lambda order: order.send("no event"))  # error: mypy, pyright
    jobs.explain(order_processor, "order-1", lambda order: order.flush())  # error: mypy, pyright
    jobs.explain(order_processor, "order-1", "trigger")  # error: mypy, pyright
    explain(token_refresher, "ada", lambda tokens: tokens.start("no state"), strict=True)  # error: mypy, pyright
