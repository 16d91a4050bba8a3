"""The job that the benchmarks ask: an order of ordinary size, and an effect-free event that changes it."""

from __future__ import annotations

from attrs import evolve, frozen

from perdure import Do, Task, TaskContext, program


@frozen
class Order:
    """A state of about 200 bytes."""

    customer: str = "customer-00000042"
    address: str = "Schwarzwaldallee 200, 4058 Basel, Switzerland"
    note: str = "please leave the parcel at the neighbour's door if nobody opens"
    items: int = 0
    total_cents: int = 0


@frozen
class Added:
    """Something was put into the basket."""

    cents: int


@program
def on_event(ctx: TaskContext[Order], event: Added) -> Do[None]:
    """Add to the order: no effects, so one commit."""
    order = yield from ctx.state
    yield from ctx.set_state(evolve(order, items=order.items + 1, total_cents=order.total_cents + event.cents))


orders = Task("orders", state=Order, event=Added, initial=Order(), on_event=on_event)
