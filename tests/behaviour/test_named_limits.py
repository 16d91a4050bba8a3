"""Limits with a name, on a store of one engine: in progress, in a window, by key and cost, in jobs and effects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
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
from perdure.client.local_gateway import engine_of
from perdure.engine.caller_reads import BUSIEST
from perdure.programs import sleep
from perdure.testing import World
from perdure.values.errors import DefinitionError, HookRaised, RequestError
from perdure.values.limits import MAX_LIMITS, Rate
from perdure.values.listings import KeyUse, LimitNumbers, NamedLimit


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


def test_a_limit_with_both_numbers_asks_for_begins_again_when_a_run_ends() -> None:
    limit = Limit("phones", concurrency=2, rate=(10, "1 minute"))
    job: Any = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[limit])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        desk.now = lambda: world.now_ms
        first_ms = world.now_ms
        for n in range(12):
            world.start(world.handle(job).send(f"ann-{n}", 1))
        world.advance("2 minutes")
        assert [(at - first_ms) // 1_000 for at, _ in desk.begun] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 60, 60]


def test_looks_at_a_limit_and_at_its_key_in_one_moment_have_an_order() -> None:
    limit = Limit("phones", rate=(1, "1 hour"), rate_per_key=(1, "1 hour"))
    job: Any = Task("event", state=int, event=int, initial=0, on_event=on_event, limits=[limit.by(tenant)])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for n in range(2):
            world.start(world.handle(job).send(f"ann-{n}", 1))
        world.advance("2 hours")
        assert len(desk.begun) == 2


def test_a_pool_keeps_the_concurrency_of_a_key_beside_a_rate_of_all() -> None:
    """The permits to run are taken before those to begin: here those of the key before those of the limit."""
    limit = Limit("phones", concurrency=4, rate=(100, "1 minute"), concurrency_per_key=2)
    job: Any = WorkerPool("item", item=str, work=item, key=tenant, workers=20, limits=[limit])
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for n in range(6):
            world.start(world.handle(job).put(f"ann-{n}", f"ann-{n}"))
        world.advance("5 s")
        assert (desk.most["ann"], len(desk.begun), desk.running["ann"]) == (2, 6, 0)


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


# ---------------------------------------------------------------- read and changed while engines run
def sender(*limits: Any, name: str = "event") -> Any:
    return Task(name, state=int, event=int, initial=0, on_event=on_event, limits=limits)


def send_many(world: World, job: Any, number: int, of: str = "ann") -> None:
    for n in range(number):
        world.start(world.handle(job).send(f"{of}-{n}", 1))


def test_a_changed_concurrency_is_in_effect_until_it_is_reset_and_over_restarts() -> None:
    job, desk = sender(Limit("phones", concurrency=1)), Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        send_many(world, job, 12)
        world.advance("500 ms")
        assert world.run(world.jobs.set_limit("phones", concurrency=4)) == LimitNumbers(concurrency=4)
        world.advance("100 ms")
        assert desk.running[""] == 4
        assert world.run(world.jobs.set_limit("phones", concurrency=2)) == LimitNumbers(concurrency=2)
        world.advance("1 s")
        assert desk.running[""] == 2
        world.crash()
        desk.running = {}
        world.open()
        send_many(world, job, 6)
        world.advance("300 ms")
        assert desk.running[""] == 2
        assert world.run(world.jobs.reset_limit("phones")) == LimitNumbers(concurrency=1)
        world.advance("1 s")
        assert desk.running[""] == 1
        world.advance("20 s")
        assert desk.running[""] == 0
        assert [limit.current for limit in world.run(world.jobs.limits())] == [LimitNumbers(concurrency=1)]


def test_a_raised_rate_lets_those_begin_that_wait() -> None:
    limit, desk = Limit("phones", rate=(1, "1 hour"), rate_per_key=(3, "1 hour")), Desk()
    job = sender(limit.by(tenant))
    with World(App(Services(desk)).with_jobs(job)) as world:
        send_many(world, job, 5)
        world.advance("2 s")
        assert len(desk.begun) == 1
        numbers = world.run(world.jobs.set_limit("phones", rate=(4, "1 hour")))
        assert numbers == LimitNumbers(rate=Rate(4, 3_600_000), rate_per_key=Rate(3, 3_600_000))
        world.advance("2 s")
        assert len(desk.begun) == 3
        world.run(world.jobs.set_limit("phones", rate_per_key=(100, "1 hour")))
        world.advance("2 s")
        assert len(desk.begun) == 4  # the first change is still in effect, and counts those before it
        world.run(world.jobs.set_limit("phones", rate=(3, "1 minute")))
        world.advance("56 s")
        assert len(desk.begun) == 4
        world.advance("8 s")
        assert len(desk.begun) == 5


def test_a_run_that_costs_more_than_a_changed_number_takes_all_of_it() -> None:
    limit = Limit("phones", concurrency=5)
    heavy, light, desk = sender(limit.by(cost=4), name="heavy"), sender(limit, name="light"), Desk()
    with World(App(Services(desk)).with_jobs(heavy, light)) as world:
        send_many(world, light, 2, "light")
        world.advance("100 ms")
        send_many(world, heavy, 2, "heavy")
        world.run(world.jobs.set_limit("phones", concurrency=2))
        world.advance("500 ms")
        assert desk.running == {"": 2, "light": 2}
        world.advance("1 s")
        assert (desk.running[""], desk.running["heavy"]) == (1, 1)
        assert world.run(world.jobs.limits())[0].in_use == 2
        world.run(world.jobs.set_limit("phones", concurrency=5))
        world.advance("200 ms")
        assert desk.running["heavy"] == 1  # the second one costs four again, and the first one has two
        world.advance("4 s")
        assert (desk.running[""], len(desk.begun)) == (0, 4)
        assert world.run(world.jobs.limits())[0].in_use == 0


def test_a_report_has_the_permits_in_use_and_the_runs_that_wait() -> None:
    limit = Limit("phones", concurrency=3, rate=(20, "1 minute"), concurrency_per_key=2)
    unused = Limit("archive", rate_per_key=(2, "1 hour"))
    job, other = sender(limit.by(tenant)), sender(unused.by(tenant), name="other")
    with World(App(Services()).with_jobs(job, other)) as world:
        send_many(world, job, 4, "ann")
        send_many(world, job, 2, "bob")
        world.advance("500 ms")
        archive, phones = world.run(world.jobs.limits())
        declared = LimitNumbers(concurrency=3, rate=Rate(20, 60_000), concurrency_per_key=2)
        assert archive == NamedLimit(name="archive", **dict.fromkeys(("declared", "current"), LimitNumbers.of(unused)))
        assert phones == NamedLimit(
            name="phones",
            declared=declared,
            current=declared,
            in_use=3,
            waiting=3,
            keys=2,
            busiest=(KeyUse(key="ann", in_use=2, waiting=2), KeyUse(key="bob", in_use=1, waiting=1)),
            leased=3,
            wanted=0,
            begun=3,
        )
        assert engine_of(world.jobs).limits_in_use() == {"phones": (3, 3), "archive": (0, 0)}


def test_a_report_names_the_ten_busiest_keys() -> None:
    job = sender(Limit("phones", concurrency_per_key=1).by(str))
    with World(App(Services()).with_jobs(job)) as world:
        send_many(world, job, BUSIEST + 1)
        world.advance("500 ms")
        (phones,) = world.run(world.jobs.limits())
        assert (phones.keys, len(phones.busiest), phones.in_use) == (BUSIEST + 1, BUSIEST, BUSIEST + 1)


@pytest.mark.parametrize(
    ("name", "numbers", "sentence"),
    [
        ("telephones", {"concurrency": 1}, "the engine knows no limit 'telephones' (known: phones)"),
        ("phones", {}, "expected one of concurrency, rate, concurrency_per_key, rate_per_key"),
        ("phones", {"concurrency": 0}, "a whole number from 1 to 100000"),
        ("phones", {"concurrency": 100_001}, "a whole number from 1 to 100000"),
        ("phones", {"rate": (1, "1 s")}, "a number that the code declares: concurrency, concurrency_per_key"),
        ("phones", {"rate": (0, "1 s")}, "a number from 1 to 100,000 and a duration"),
        ("phones", {"rate": 5}, "a number from 1 to 100,000 and a duration"),
        ("phones", {"rate": (1, timedelta(days=20, milliseconds=1))}, "a window below 10,000 days"),
        ("", {"concurrency": 1}, "the engine knows no limit ''"),
    ],
)
def test_a_change_that_cannot_work_is_refused(name: str, numbers: Any, sentence: str) -> None:
    with World(App(Services()).with_jobs(sender(PHONES.by(tenant)))) as world:
        with pytest.raises(RequestError) as refused:
            world.run(world.jobs.set_limit(name, **numbers))
        assert sentence in str(refused.value)
        assert world.run(world.jobs.limits())[0].current == LimitNumbers.of(PHONES)


def test_an_explanation_says_which_limit_the_run_would_wait_for() -> None:
    other = Limit("others", rate=(1, "1 hour"))
    job, free = sender(Limit("phones", concurrency_per_key=1).by(tenant), other), sender(name="free")
    with World(App(Services()).with_jobs(job, free)) as world:
        explained = [waits(world, job, "ann-1")]
        world.start(world.handle(job).send("ann-0", 1))
        world.advance("500 ms")
        explained += [waits(world, job, each) for each in ("ann-1", "bob-1")]
        world.advance("2 s")
        explained += [waits(world, job, "ann-1"), waits(world, free, "ann-1")]
        assert explained == [(), ("phones", "others"), ("others",), ("others",), ()]


def waits(world: World, job: Any, id_: str) -> tuple[str, ...]:
    answers = {"begins": Success(None), "ends": Success(None)}
    explained = world.run(world.jobs.explain(job, id_, lambda sender: sender.send(1), answers=answers))
    found: tuple[str, ...] = explained.waits_for
    stopped = world.run(world.jobs.explain(job, id_, lambda sender: sender.send(1)))
    assert stopped.waits_for == found
    return found


# ---------------------------------------------------------------- what counts as begun, and what stays in memory
def test_a_run_that_another_limit_keeps_back_does_not_count_as_begun() -> None:
    rate, phones = Limit("calls", rate=(2, "1 hour")), Limit("phones", concurrency=1)
    job, blocker, desk = sender(rate, phones), sender(phones, name="blocker"), Desk()
    with World(App(Services(desk)).with_jobs(job, blocker)) as world:
        send_many(world, blocker, 1, "bob")
        world.advance("100 ms")
        send_many(world, job, 1)
        world.advance("800 ms")  # more than three times the term of a permit to begin
        assert [limit.begun for limit in world.run(world.jobs.limits())] == [0, 0]
        world.advance("3 s")
        assert (desk.begun[-1][1], world.run(world.jobs.limits())[0].begun) == ("ann", 1)


@program
def calls_and_waits(ctx: TaskContext[int], event: int) -> Do[None, Refused, HasDesk]:
    yield from limited_call("ann")


def test_a_call_whose_run_ends_before_the_rate_lets_it_begin_does_not_count() -> None:
    job: Any = Task("event", state=int, event=int, initial=0, on_event=calls_and_waits, run_timeout="2 s")
    desk = Desk()
    with World(App(Services(desk)).with_jobs(job)) as world:
        for n in range(5):
            world.start(world.handle(job).send(f"ann-{n}", 1))
        world.advance("10 s")
        assert len(desk.begun) == 2
        assert [limit.begun for limit in world.run(world.jobs.limits())] == [2]
        world.advance("1 minute")
        assert world.run(world.jobs.limits())[0].begun == 0
        world.run(world.handle(job).send("ann-5", 1))
        assert len(desk.begun) == 3


KEYS = 100_000


def test_a_hundred_thousand_keys_leave_nothing_in_memory() -> None:
    """Each key has a run, 50 at a time, and is forgotten."""
    job = sender(Limit("phones", concurrency_per_key=1).by(str))
    with World(App(Services()).with_jobs(job)) as world:
        world.run(world.handle(job).send("first", 1))
        named, most = engine_of(world.jobs).named, 0
        for first in range(0, KEYS, 50):
            addresses = [job.address(f"{n}") for n in range(first, first + 50)]
            assert all(named.try_take("task:event", address) for address in addresses)
            assert all(named.begin_placed(address) for address in addresses)
            most = max(most, named.in_memory)
            for address in addresses:
                named.leave(address)
            world.settle()
        assert (most, named.in_memory) == (50, 0)
