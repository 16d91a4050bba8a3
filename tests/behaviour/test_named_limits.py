"""Limits with a name, on a store of one engine: in progress, in a window, by key and cost, in jobs and effects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
import pytest
from returns.result import Result, Success

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    ItemContext,
    Limit,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    every,
    program,
)
from perdure.programs import sleep
from perdure.testing import World
from perdure.values.errors import DefinitionError, HookRaised
from perdure.values.limits import MAX_LIMITS


@attrs.frozen
class Refused:
    reason: str


@attrs.define
class Desk:
    """Counts runs in progress, by key, and notes when they began."""

    now: Callable[[], int] = lambda: 0
    running: dict[str, int] = attrs.Factory(dict[str, int])
    most: dict[str, int] = attrs.Factory(dict[str, int])
    begun: list[tuple[int, str]] = attrs.Factory(list[Any])

    def begin(self, key: str) -> None:
        self.begun.append((self.now(), key))
        for name in ("", key):
            self.running[name] = self.running.get(name, 0) + 1
            self.most[name] = max(self.most.get(name, 0), self.running[name])

    def end(self, key: str) -> None:
        for name in ("", key):
            self.running[name] -= 1


class HasDesk(Protocol):
    @property
    def desk(self) -> Desk: ...


@attrs.define
class Services:
    desk: Desk = attrs.Factory(Desk)


@effect
def begins(services: HasDesk, key: str) -> Result[None, Refused]:
    return Success(services.desk.begin(key))


@effect
def ends(services: HasDesk, key: str) -> Result[None, Refused]:
    return Success(services.desk.end(key))


@program
def worked(key: str) -> Do[None, Refused, HasDesk]:
    yield from begins(key)
    yield from sleep("1 second")
    yield from ends(key)


def tenant(id_: str) -> str:
    return id_.partition("-")[0]


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None, Refused, HasDesk]:
    yield from worked(tenant(ctx.id))


@program
def tick(ctx: ContinuousContext[int]) -> Do[None, Refused, HasDesk]:
    yield from worked(tenant(ctx.id))


@program
def flush(ctx: DebounceContext[int]) -> Do[None, Refused, HasDesk]:
    yield from worked(tenant(ctx.id))


@program
def item(ctx: ItemContext[str]) -> Do[None, Refused, HasDesk]:
    key = yield from ctx.item
    yield from worked(tenant(key))


PHONES = Limit("phones", concurrency=3, concurrency_per_key=2)
"""In progress at the same time: three, and two of each tenant."""

event_job = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[PHONES.by(tenant)])
tick_job = Continuous("tick", state=int, execute=tick, schedule=every("1 hour"), limits=[PHONES.by(tenant)])
flush_job = Debounce("flush", event=int, flush_after="1 ms", execute=flush, limits=[PHONES.by(tenant)])
item_job = WorkerPool("item", item=str, work=item, key=tenant, workers=20, limits=[PHONES])


def begun_together(world: World) -> None:
    """Let each job begin four runs of each of two tenants."""
    for tenant_name in ("ann", "bob"):
        for n in range(4):
            id_ = f"{tenant_name}-{n}"
            world.start(world.handle(event_job).send(id_, 1))
            world.start(world.handle(tick_job).start(id_, 0))
            world.start(world.handle(flush_job).add(id_, 1))
            world.start(world.handle(item_job).put(id_, id_))


def test_jobs_of_all_kinds_share_a_limit_and_each_run_has_its_turn() -> None:
    desk = Desk()
    with World(App(Services(desk)).with_jobs(event_job, tick_job, flush_job, item_job)) as world:
        begun_together(world)
        world.advance("13 s")
        assert desk.running[""] == 0  # 32 runs of a second, three at a time
        assert desk.most == {"": 3, "ann": 2, "bob": 2}
        assert len(desk.begun) == 32


@program
def calls_twice(ctx: TaskContext[int], event: int) -> Do[None, Refused, HasDesk]:
    yield from begins("")
    yield from render(tenant(ctx.id), event)
    yield from ends("")


def key_of_call(key: str, pages: int) -> str:
    return key


def cost_of_call(key: str, pages: int) -> int:
    return pages


@effect(limits=[PHONES.by(key_of_call, cost=cost_of_call)])
async def render(services: HasDesk, key: str, pages: int) -> Result[int, Refused]:
    services.desk.begin(key)
    return Success(pages)


@program
def in_a_workflow(ctx: WorkflowContext[int]) -> Do[int, Refused, HasDesk]:
    return (yield from limited_call(tenant(ctx.id)))


PROVIDER = Limit("provider", rate=(2, "1 minute"))


@effect(limits=[PROVIDER])
def limited_call(services: HasDesk, key: str) -> Result[int, Refused]:
    services.desk.begin(key)
    return Success(7)


async def rendered(services: HasDesk, key: str) -> Result[int, Refused]:
    return Success(len(key))


render_flow = Workflow("flow", state=int, run=in_a_workflow)


def test_calls_of_a_workflow_wait_for_the_rate_of_their_effect() -> None:
    desk = Desk()
    with World(App(Services(desk)).with_jobs(render_flow)) as world:
        desk.now = lambda: world.now_ms
        first_ms = world.now_ms
        for n in range(5):
            world.run(world.handle(render_flow).start(f"ann-{n}", n))
        world.advance("130 s")
        begun = [(at - first_ms) // 1_000 for at, _ in desk.begun]
        assert begun == [0, 0, 60, 60, 120]
        assert [row.status for row in world.instances()] == ["done"] * 5


def test_a_rate_counts_the_runs_before_a_crash() -> None:
    limit = Limit("phones", rate=(2, "1 minute"))
    job = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[limit])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        desk.now = lambda: world.now_ms
        first_ms = world.now_ms
        for n in range(3):
            world.start(world.handle(job).send(f"ann-{n}", 1))
            world.advance("5 s")
            world.crash()
            world.open()
        world.start(world.handle(job).send("ann-9", 1))
        world.advance("2 minutes")
        begun = sorted(at - first_ms for at, _ in desk.begun)
        assert all(sum(at <= each < at + 60_000 for each in begun) <= 2 for at in begun), begun
        assert len(begun) >= 3


def never(*_: object) -> str:
    raise ValueError("no tenant")


def test_a_key_that_cannot_be_computed_is_the_empty_one_and_an_error_in_the_log() -> None:
    limit = Limit("phones", concurrency_per_key=1)
    job = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[limit.by(never)])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for n in range(3):
            world.start(world.handle(job).send(f"ann-{n}", 1))
        world.advance("4 s")
        assert desk.most[""] == 1
        assert len(desk.begun) == 3
        assert [record.level for record in world.logs if "limit" in record.message]


@pytest.mark.parametrize(("characters", "too_long"), [(200, False), (201, True)])
def test_the_longest_key_counts_and_a_longer_one_is_the_empty_one(characters: int, *, too_long: bool) -> None:
    def long(id_: str) -> str:
        return id_[-1] * characters

    limit = Limit("phones", concurrency_per_key=1)
    job = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[limit.by(long)])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for tenant_name in ("ann", "bob"):
            world.start(world.handle(job).send(tenant_name, 1))
        world.advance("500 ms")
        assert len(desk.begun) == (1 if too_long else 2)
        world.advance("4 s")
        assert any("limit" in record.message for record in world.logs) == too_long


def test_a_heavier_use_gets_more_turns() -> None:
    """While both wait, three runs of one job begin for each of the other."""
    limit = Limit("phones", concurrency=1)
    heavy: Any = Task("heavy", state=int, event=int, initial=0, on_event=on_event, limits=[limit.by(weight=3)])
    light: Any = Task("light", state=int, event=int, initial=0, on_event=on_event, limits=[limit])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(heavy, light)) as world:
        for n in range(12):
            world.start(world.handle(light).send(f"light-{n}", 1))
            world.start(world.handle(heavy).send(f"heavy-{n}", 1))
        world.advance("12 s")
        begun = [key for _, key in desk.begun]
        assert 8 <= begun[:12].count("heavy") <= 10


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: Limit("phones"), "expected a concurrency or a rate, of all or per key"),
        (lambda: Limit("a:b", concurrency=1), "without ':'"),
        (lambda: Limit("phones", concurrency=0), "a whole number from 1 to 100,000"),
        (lambda: Limit("phones", concurrency=100_001), "a whole number from 1 to 100,000"),
        (lambda: Limit("phones", rate=(0, "1 minute")), "a number from 1 to 100,000 and a duration"),
        (lambda: PHONES.by(cost=3), "at most 2: a higher cost never fits"),
        (lambda: PHONES.by(weight=1_001), "a whole number from 1 to 1,000"),
        (lambda: PHONES.by("ann"), "a function that returns text"),  # type: ignore[call-overload, arg-type]
        (lambda: with_limits(PHONES), "phones.by(key): it has a number per key"),
        (lambda: with_limits(PROVIDER, PROVIDER), "different limits"),
        (lambda: with_limits("provider"), "limits, such as [stripe, tenants.by(tenant_of)]"),
        (lambda: with_limits(*many(MAX_LIMITS + 1)), "a list of at most 8 limits"),
        (lambda: effect(limits=[PHONES])(rendered), "phones.by(key): it has a number per key"),
    ],
)
def test_a_limit_that_cannot_work_is_refused_with_the_remedy(wrong: Callable[[], object], sentence: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        wrong()
    assert sentence in str(refused.value)


def many(number: int) -> list[Limit]:
    return [Limit(f"limit {n}", concurrency=1) for n in range(number)]


def with_limits(*limits: Any) -> object:
    return Task("event", state=int, event=int, initial=0, on_event=on_event, limits=limits)


def test_a_job_names_up_to_eight_limits() -> None:
    job: Any = with_limits(*many(MAX_LIMITS))
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for n in range(3):
            world.start(world.handle(job).send(f"ann-{n}", 1))
        world.advance("4 s")
        assert desk.most[""] == 1
        assert len(desk.begun) == 3


calls_job = Task("event", state=int, event=int, initial=0, on_event=calls_twice)


def test_a_call_costs_its_pages_and_one_that_never_fits_is_a_defect() -> None:
    desk = Desk()
    with World(App(Services(desk)).with_jobs(calls_job)) as world:
        for n in range(3):
            world.start(world.handle(calls_job).send(f"ann-{n}", 2))
        world.advance("1 s")
        assert desk.running["ann"] == 3
        with pytest.raises(HookRaised, match="a whole number from 1 to 2; got 3"):
            world.run(world.handle(calls_job).send("bob-1", 3))


def test_two_limits_of_one_name_are_refused_at_the_opening() -> None:
    other = Task("other", state=int, event=int, initial=0, on_event=on_event, limits=[Limit("phones", concurrency=4)])
    with (
        pytest.raises(DefinitionError, match="one definition of it"),
        World(App(Services()).with_jobs(event_job, other)),
    ):
        pass
