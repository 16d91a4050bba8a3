"""Small workflows and their services, for the tests of workflows."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol, TypeAlias

import attrs
from returns.future import FutureResult
from returns.result import Success

from perdure import Backoff, Do, Retry, Signal, Undo, Workflow, WorkflowContext, effect, program, saga, step, step_key
from perdure.jobs.definition import AnyDefinition
from perdure.kinds.workflow.journal import Row, row_of
from perdure.programs import EffectTimeout, bracket, fail, gather, now, race, sleep
from perdure.testing import World

Flow: TypeAlias = Workflow[Any, Any, Any, Any]


@attrs.frozen
class Order:
    item: str
    cents: int
    stage: str = "new"


@attrs.frozen
class Approval:
    by: str


@attrs.frozen
class Declined:
    why: str


@attrs.frozen
class NotApproved:
    pass


class HasShop(Protocol):
    @property
    def shop(self) -> Shop: ...


@attrs.define
class Shop:
    """Remembers its calls, and declines those in `declines`."""

    done: list[tuple[str, str]] = attrs.Factory(list[tuple[str, str]])
    declines: frozenset[str] = frozenset()

    @property
    def shop(self) -> Shop:
        return self

    def do(self, name: str, text: str) -> FutureResult[str, Declined]:
        if name in self.declines:
            return FutureResult.from_failure(Declined(name))
        self.done.append((name, text))
        return FutureResult.from_value(f"{name}:{text}")

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.done]

    @property
    def counts(self) -> Counter[tuple[str, str]]:
        return Counter(self.done)


@effect
def charge(services: HasShop, key: str, cents: int) -> FutureResult[str, Declined]:
    return services.shop.do("charge", f"{cents} {key[-2:]}")


@effect
def refund(services: HasShop, receipt: str) -> FutureResult[str, Declined]:
    return services.shop.do("refund", receipt)


@effect
def reserve(services: HasShop, item: str) -> FutureResult[str, Declined]:
    return services.shop.do("reserve", item)


@effect
def release(services: HasShop, parcel: str) -> FutureResult[str, Declined]:
    return services.shop.do("release", parcel)


@effect
def label(services: HasShop, text: str) -> FutureResult[str, Declined]:
    return services.shop.do("label", text)


@effect
def mail(services: HasShop, text: str) -> FutureResult[str, Declined]:
    return services.shop.do("mail", text)


@effect
def act(services: object, number: int) -> FutureResult[int, str]:
    return FutureResult.from_value(number + 1)


@effect
def double(services: object, number: int) -> FutureResult[int, str]:
    return FutureResult.from_value(number * 2)


approval = Signal("approval", Approval)
number = Signal("number", int)
stop = Signal("stop", str)


# ---------------------------------------------------------------- an order
@program
def paid(undo: Undo[HasShop], order: Order) -> Do[str, Declined | NotApproved, HasShop]:
    key = yield from step_key()
    receipt = yield from undo.after(charge(key, order.cents), refund)
    yield from undo.after(reserve(order.item), release)
    match (yield from approval.receive().timeout("2 days").attempt()):
        case Success(Approval(by)):
            return f"{receipt} by {by}"
        case _:
            return (yield from fail(NotApproved()))


@program
def fulfil(ctx: WorkflowContext[Order]) -> Do[str, Declined | NotApproved, HasShop]:
    order = yield from ctx.state
    reference = yield from saga(paid, order)
    yield from ctx.set_state(attrs.evolve(order, stage="approved"))
    yield from sleep("3 days")
    printed, _ = yield from gather(label("a"), mail(reference))
    yield from ctx.set_state(attrs.evolve(order, stage="sent"))
    return printed


fulfilment = Workflow(
    "fulfilment",
    state=Order,
    run=fulfil,
    signals=(approval,),
    retry_defects=Retry(max_attempts=3, delay=Backoff.constant("1 minute")),
    keep=None,
)


# ---------------------------------------------------------------- others
@program
def sleeping(ctx: WorkflowContext[int]) -> Do[str]:
    yield from sleep("1 hour")
    at = yield from now()
    return at.isoformat()


@program
def limited(ctx: WorkflowContext[int]) -> Do[str, Declined | EffectTimeout, HasShop]:
    retry = Retry[object](max_attempts=3, delay=Backoff.constant("2 seconds"), jitter=False)
    return (yield from label("a").timeout("1 second").retry(retry))


@program
def late(ctx: WorkflowContext[int]) -> Do[str, Declined | EffectTimeout, HasShop]:
    yield from sleep("1 second")
    return (yield from label("a").timeout("1 second"))


@program
def two_signals(ctx: WorkflowContext[int]) -> Do[int, Declined, HasShop]:
    yield from label("first")
    one = yield from number.receive()
    other = yield from number.receive()
    return one + other


@program
def racing(ctx: WorkflowContext[int]) -> Do[str, str]:
    won = yield from race(stop.receive(), sleep("1 hour").map(lambda _: "time"))
    one, other = yield from gather(act(1), double(2))
    return f"{won} {one} {other}"


@program
def child_body(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    yield from sleep("1 minute")
    if given < 0:
        yield from fail("negative")
    return (yield from act(given))


child = Workflow("child", state=int, run=child_body, keep=None)


@program
def parent_body(ctx: WorkflowContext[int]) -> Do[str, str]:
    given = yield from ctx.state
    one, other = yield from gather(child.call("c1", given).attempt(), child.call("c2", -1).attempt())
    return f"{one} {other}"


parent = Workflow("parent", state=int, run=parent_body, keep=None)


@program
def counting(ctx: WorkflowContext[int]) -> Do[int, str]:
    count = yield from ctx.state
    count = yield from act(count)
    yield from sleep("1 minute")
    if count < 5:
        yield from ctx.start_over(count)
    return count


@program
def held(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
    return (yield from bracket(reserve("a"), lambda parcel: sleep("1 hour").bind(lambda _: label(parcel)), release))


@program
def wide(ctx: WorkflowContext[int]) -> Do[int, str]:
    most = yield from ctx.state
    got = yield from gather(*(one_of_many(index) for index in range(most)), limit=5)
    return sum(got)


@program
def one_of_many(index: int) -> Do[int, str]:
    more = yield from act(index)
    yield from sleep("1 minute")
    return (yield from double(more))


@step
@program
def both(first: str, second: str) -> Do[str, Declined, HasShop]:
    one = yield from label(first)
    other = yield from mail(second)
    return one + other


@program
def in_one_step(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
    text = yield from both("a", "b")
    yield from sleep("1 minute")
    return text


# ---------------------------------------------------------------- access
def journal(world: World, job: AnyDefinition, id_: str) -> list[Row]:
    """The answers in a workflow's journal."""
    return [row for row in map(row_of, bodies(world, job, id_)) if row.form not in {"arrived", "waiting"}]


def bodies(world: World, job: AnyDefinition, id_: str) -> tuple[str, ...]:
    """The encoded rows of a workflow's journal."""
    instance = world.instance(job, id_)
    assert instance is not None

    def read(store: Any) -> FutureResult[tuple[str, ...], Any]:
        rows: FutureResult[tuple[str, ...], Any] = store.journal.read(instance.address, instance.incarnation, 0, 10_000)
        return rows

    rows: tuple[str, ...] = world.inspect(read)
    assert len(rows) == instance.journal_length
    return rows


def names(rows: list[Row]) -> list[str]:
    """The names of the steps."""
    return [row.name for row in rows]
