"""A worker dies at every crash point of a workflow: it reaches the same end, and repeats only uncommitted effects."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs
import pytest
from flows import (
    Approval,
    Declined,
    HasShop,
    NotApproved,
    Order,
    Shop,
    approval,
    label,
    mail,
    paid,
)

from perdure import App, Do, Workflow, WorkflowContext, program, saga
from perdure.programs import gather, sleep
from perdure.testing import WorkerDied, World
from perdure.testing.world.boundary import Interleaving
from perdure.values.answer import Done


@program
def soon(ctx: WorkflowContext[Order]) -> Do[str, Declined | NotApproved, HasShop]:
    order = yield from ctx.state
    reference = yield from saga(paid, order)
    yield from ctx.set_state(attrs.evolve(order, stage="approved"))
    yield from sleep("2 seconds")
    printed, _ = yield from gather(label("a"), mail(reference))
    yield from ctx.set_state(attrs.evolve(order, stage="sent"))
    return printed


job = Workflow("soon", state=Order, run=soon, signals=(approval,), keep=None)


IN_PROGRESS_TOGETHER = [[], ["charge"], ["reserve"], ["label"], ["mail"], ["label", "mail"]]


def to_its_end(world: World) -> object:
    flow = world.handle(job)
    for _ in range(12):
        try:
            if not world.is_open:
                world.open()
            world.run(flow.start("o", Order("book", 49), idempotency_key="s"))
            world.run(flow.signal("o", approval, Approval("ann"), idempotency_key="a"))
            world.advance("5 seconds")
            outcome = world.run(flow.outcome("o"))
        except WorkerDied:
            continue
        if outcome is not None:
            return outcome
    return None


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("interleaving", ["turns", "operations"])
def test_a_crash_anywhere_repeats_at_most_the_step_in_progress(
    interleaving: Interleaving, store: str, tmp_path: Path
) -> None:
    def place(point: int) -> str | Path:
        return "memory://" if store == "memory" else tmp_path / f"{point}.db"

    with World(App(Shop()).with_jobs(job), store=place(-1), interleaving=interleaving) as world:
        expected = to_its_end(world)
        points = len(world.crash_points)
    assert expected == Done(value="label:a")
    assert points > 30
    for point in range(points + 1):
        shop = Shop()
        with World(App(shop).with_jobs(job), store=place(point), seed=point, interleaving=interleaving) as world:
            world.crash_after(point)
            assert to_its_end(world) == expected, point
        counts = Counter(shop.names)
        assert counts.keys() == {"charge", "reserve", "label", "mail"}
        assert max(counts.values()) <= 2, point
        repeated = sorted(name for name, count in counts.items() if count == 2)
        assert repeated in IN_PROGRESS_TOGETHER, point
