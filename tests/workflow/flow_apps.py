"""Apps of the same workflow: the present code, and the code of three deploys."""

from __future__ import annotations

from flows import (
    Approval,
    Declined,
    HasShop,
    Order,
    Shop,
    approval,
    charge,
    fulfilment,
    label,
    mail,
    refund,
    release,
    reserve,
)
from returns.result import Success

from perdure import App, Do, Undo, Workflow, WorkflowContext, program, saga, step_key
from perdure.programs import fail, gather, sleep

old = App(Shop()).with_jobs(fulfilment)


@program
def paid_later(undo: Undo[HasShop], order: Order) -> Do[str, Declined, HasShop]:
    yield from undo.after(reserve(order.item), release)
    key = yield from step_key()
    receipt = yield from undo.after(charge(key, order.cents), refund)
    match (yield from approval.receive().timeout("2 days").attempt()):
        case Success(Approval(by)):
            return f"{receipt} by {by}"
        case _:
            return (yield from fail(Declined("time")))


@program
def fulfil_later(ctx: WorkflowContext[Order]) -> Do[str, Declined, HasShop]:
    order = yield from ctx.state
    reference = yield from saga(paid_later, order)
    yield from sleep("3 days")
    printed, _ = yield from gather(label("a"), mail(reference))
    return printed


reordered = App(Shop()).with_jobs(Workflow("fulfilment", state=Order, run=fulfil_later, signals=(approval,), keep=None))


@program
def fulfil_more(ctx: WorkflowContext[Order]) -> Do[str, object, HasShop]:
    printed = yield from fulfilment.run(ctx)
    yield from mail("thanks")
    return printed


longer = App(Shop()).with_jobs(
    Workflow("fulfilment", state=Order, run=fulfil_more, signals=(approval,), keep=None, errors=Declined)
)
