"""``reference/events.md``: the history says who sent which request and when, if the definition says so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import pytest
from attrs import frozen
from returns.result import Result, Success
from world import STORES

from perdure import (
    App,
    Continuous,
    Debounce,
    Do,
    ItemContext,
    Secret,
    Task,
    TaskContext,
    WorkerPool,
    effect,
    every,
    program,
    tell,
)
from perdure.jobs.redaction import MAX_PAYLOAD_IN_EVENT
from perdure.programs import fail, sleep
from perdure.testing import Crash, WorkerDied, World
from perdure.values.errors import DefinitionError, Rejected
from perdure.values.event import JobAccepted


@frozen
class Order:
    item: str
    card: Annotated[str, Secret] = ""


@effect
def touch(_: object) -> Result[None, str]:
    return Success(None)


@program
def on_order(ctx: TaskContext[int], event: Order) -> Do[None, str, object]:
    if event.item == "none":
        yield from fail("sold out")
    if event.item.startswith("shipped"):
        yield from touch()
    if event.item == "none at last":
        yield from touch()
        yield from fail("sold out")
    yield from ctx.update_state(lambda total: total + 1)


def nothing(_: object) -> Any:
    return Success(None)


@program
def work(ctx: ItemContext[int]) -> Do[None]:
    yield from sleep("1 s")


def count(ctx: Any, event: Any = None) -> Any:
    return ctx.update_state(lambda total: total + 1)


@program
def pass_on(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(ORDERS, "told").send(Order("by message"))
    yield from ctx.set_state(event)


ORDERS = Task("orders", state=int, event=Order, initial=0, on_event=on_order, accepted_in_events="payload")
SENDER = Task("sender", state=int, event=int, initial=0, on_event=pass_on)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str | Path:
    return "memory://" if request.param == "memory" else tmp_path / "jobs.db"


def accepted(world: World, job: Any, id_: str) -> list[JobAccepted]:
    return [event for event in reversed(world.history(job, id_)) if isinstance(event, JobAccepted)]


def test_each_accepted_event_is_in_the_history_once_with_its_input_and_without_secrets(store: str | Path) -> None:
    with World(App(object()).with_jobs(ORDERS), store=store) as world:
        order = world.handle(ORDERS)
        world.run(order.send("a", Order("tea", card="4111")))
        world.advance("1 s")
        world.run(order.send("a", Order("shipped tea"), idempotency_key="k"))
        world.run(order.send("a", Order("shipped tea"), idempotency_key="k"))  # a repeat
        for refused in ("none", "none at last"):
            assert isinstance(world.error_of(order.send("a", Order(refused))), Rejected)
        found = accepted(world, ORDERS, "a")
        assert [(each.action, each.payload, each.told_by) for each in found] == [
            ("send", '{"item":"tea","card":"<secret>"}', None),
            ("send", '{"item":"shipped tea","card":"<secret>"}', None),
        ]
        assert all(each.received_at <= each.at for each in found)


def test_an_event_that_a_crash_interrupts_is_in_the_history_once(store: str | Path) -> None:
    with World(App(object()).with_jobs(ORDERS), store=store) as world:
        world.inject(Crash("touch"))
        with pytest.raises(WorkerDied):
            world.run(world.handle(ORDERS).send("a", Order("shipped tea")))
        world.open()
        world.settle()
        assert [each.payload for each in accepted(world, ORDERS, "a")] == ['{"item":"shipped tea","card":"<secret>"}']


def test_a_message_names_the_instance_that_sent_it() -> None:
    with World(App(object()).with_jobs(ORDERS, SENDER)) as world:
        world.run(world.handle(SENDER).send("s", 1))
        world.settle()
        (found,) = accepted(world, ORDERS, "told")
        assert (found.told_by, found.payload) == ("task:sender:s", '{"item":"by message","card":"<secret>"}')
        assert accepted(world, SENDER, "s") == []


@pytest.mark.parametrize(("option", "payloads"), [("sender", False), ("payload", True)])
def test_every_kind_records_its_accepted_requests(option: Any, *, payloads: bool) -> None:
    batch = Debounce(
        "d", event=int, state=int, initial=0, flush_after="1 hour", on_event=count, execute=nothing,
        accepted_in_events=option,
    )  # fmt: skip
    tick = Continuous("c", state=int, schedule=every("1 hour"), execute=count, accepted_in_events=option)
    pool = WorkerPool("p", item=int, work=work, workers=1, keep="1 day", accepted_in_events=option)
    with World(App(object()).with_jobs(batch, tick, pool)) as world:
        world.run(world.handle(batch).add("a", 3))
        world.run(world.handle(batch).add("a", 4))
        world.run(world.handle(tick).start("a", 5))
        world.run(world.handle(tick).start("a", 6))  # it exists
        world.run(world.handle(tick).trigger("a"))
        world.run(world.handle(tick).pause("a"))
        world.run(world.handle(pool).put("a", 7))
        found = [(each.action, each.payload) for job in (batch, tick, pool) for each in accepted(world, job, "a")]
        item = '{"item":7,"after":"0ms","at":null,"head_start":"0ms"}'
        expected = [("add", "3"), ("add", "4"), ("start", "5"), ("trigger", None), ("put", item)]
        assert found == [(action, payload if payloads else None) for action, payload in expected]


@pytest.mark.parametrize(("more", "is_shown"), [(0, True), (1, False)])
def test_a_long_input_is_left_out(more: int, *, is_shown: bool) -> None:
    room = MAX_PAYLOAD_IN_EVENT - len('{"item":"","card":"<secret>"}')
    with World(App(object()).with_jobs(ORDERS)) as world:
        world.run(world.handle(ORDERS).send("a", Order("x" * (room + more))))
        (found,) = accepted(world, ORDERS, "a")
        assert (found.payload is not None) == is_shown


def test_another_option_is_refused() -> None:
    wrong: Any = True
    with pytest.raises(DefinitionError, match="accepted_in_events of task:t"):
        Task("t", state=int, event=int, initial=0, on_event=count, accepted_in_events=wrong)
