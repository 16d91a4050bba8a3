"""The types of topics."""

from __future__ import annotations

from typing import assert_type

from attrs import frozen

from perdure import Client, Do, Task, Topic, Workflow, WorkflowContext, program, tell
from perdure.jobs.call import Call
from perdure.jobs.definition import AnyDefinition, CallError
from perdure.kinds.topic import TopicPublished


@frozen
class Price:
    cents: int


@program
def watch(ctx: WorkflowContext[int]) -> Do[int]:
    price = yield from prices.receive("eur", where=lambda price: price.cents < 5)
    assert_type(price, Price)
    yield from tell(prices, "eur").publish(Price(1))
    return price.cents


def listed() -> tuple[AnyDefinition, ...]:
    return (watcher,)


prices: Topic[Price] = Topic("prices", event=Price, subscribers=listed)
watcher = Workflow("watcher", state=int, run=watch, signals=(prices.signal,))
inferred = Topic("inferred", event=Price, subscribers=(watcher,))
assert_type(inferred, Topic[Price])


def calls(jobs: Client, notes: Task[int, Price]) -> None:
    handle = jobs.handle(prices)
    assert_type(handle.publish("eur", Price(1)), Call[TopicPublished, CallError])
    handle.subscribe("eur", notes.address("a"))
