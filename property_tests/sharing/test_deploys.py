"""A rolling deploy: engines of two versions of the code share a store, and callers retry with their keys."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, cast

import pytest
from attrs import Factory, define, field, frozen
from returns.result import Success
from world import HasOutside, Outside, Refused, say

from perdure import App, Do, Migrations, Task, TaskContext, program, tell
from perdure.client.client import Client
from perdure.client.local_gateway import engine_of
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.values.errors import Undecodable


@frozen
class Euros:
    """The first version of the state."""

    euros: int = 0


@frozen
class Cents:
    """The second version."""

    cents: int = 0


@program
def deposit(ctx: TaskContext[Any], euros: int) -> Do[None, Refused, HasOutside]:
    """Add to the balance, and set the alarm."""
    yield from ctx.update_state(
        lambda state: Euros(state.euros + euros) if isinstance(state, Euros) else Cents(state.cents + 100 * euros)
    )
    yield from ctx.schedule(after="3 seconds")


@program
def report(ctx: TaskContext[Any]) -> Do[None, Refused, HasOutside]:
    """Say the name of the version."""
    state = yield from ctx.state
    yield from say(type(state).__name__)


def account(state: Any, versions: Any = None) -> Any:
    return Task(
        "accounts",
        state=state,
        event=int,
        initial=state(),
        on_event=deposit,
        execute=report,
        versions=versions,
    )


def in_cents(old: Euros) -> Cents:
    """Upgrade the state."""
    return Cents(old.euros * 100)


OLD = account(Euros)
NEW = account(Cents, Migrations(Euros).then(in_cents))
PLACES = 12
CALLERS = 8


def test_an_engine_does_not_park_the_instances_of_a_newer_one():
    outside = Outside()
    with Cluster(App(outside).with_jobs(OLD)) as cluster:
        old = cluster.open()
        cluster.run_on(old, lambda client: client.handle(OLD).send("a", 1))
        new = cluster.open(App(outside).with_jobs(NEW))
        cluster.run_on(new, lambda client: client.handle(NEW).send("a", 1))
        task = old.call(lambda client: client.handle(OLD).send("a", 1))
        assert cluster.run_until(task.done, patience="5 s")
        assert isinstance(task.result().failure(), Undecodable)
        assert [row.suspension for row in cluster.instances()] == [None]
        cluster.advance("60 s")
        (row,) = cluster.instances()
        assert (row.suspension, row.state_version) == (None, 2)
        assert set(outside.heard) == {"Cents"}, "the alarm is the business of the newer engine"
        cluster.run_on(new, lambda client: client.handle(NEW).send("a", 1))


def deposit_at(client: Client, job: Any, id_: str, key: str) -> Any:
    return client.handle(job).send(id_, 1, idempotency_key=key)


@define
class Deploy:
    """Callers, and a deploy that replaces the engines one by one."""

    cluster: Cluster
    new: App[Any]
    totals: Counter[str] = Factory(Counter[str])
    done: int = 0

    async def caller(self, number: int) -> None:
        """Make deposits, each until it is answered."""
        for turn in range(30):
            key, id_ = f"{number}.{turn}", str(int(self.cluster.runtime.random() * PLACES))
            self.totals[id_] += 1
            while not await self.is_answered(key, id_):
                await self.cluster.runtime.sleep(20)
            await self.cluster.runtime.sleep(self.cluster.runtime.random() * 1_000)
        self.done += 1

    async def is_answered(self, key: str, id_: str) -> bool:
        """Make a deposit at any engine, and return whether it succeeded within ten seconds."""
        engine = self.cluster.drawn()
        job = NEW if engine.app is self.new else OLD
        task = engine.call(partial(deposit_at, job=job, id_=id_, key=key))
        for _ in range(200):
            if task.done():
                return not task.cancelled() and isinstance(task.result(), Success)
            await self.cluster.runtime.sleep(50)
        return False

    async def deploy(self, engines: list[ClusterEngine]) -> None:
        """Replace engines."""
        for engine in engines:
            self.cluster.begin(self.new)
            await self.cluster.runtime.sleep(2_000)
            engine.close()
            await self.cluster.runtime.sleep(1_000)


@pytest.mark.parametrize("seed", range(3))
def test_callers_with_keys_see_no_error_during_a_deploy(seed):
    """Four engines are replaced one by one, under load; each caller retries at another engine until it is answered."""
    outside = Outside()
    with Cluster(App(outside).with_jobs(OLD), seed=seed) as cluster:
        engines = [cluster.open() for _ in range(4)]
        scene = Deploy(cluster, App(outside).with_jobs(NEW))
        for number in range(CALLERS):
            cluster.runtime.spawn(scene.caller(number), name=f"caller {number}")
        cluster.runtime.spawn(scene.deploy(engines), name="deploy")
        assert cluster.run_until(lambda: scene.done == CALLERS, patience="300 s")
        cluster.advance("60 s")
        rows = cluster.instances()
        assert [row.address for row in rows if row.suspension or row.due_ms is not None or row.owner is not None] == []
        for id_, count in scene.totals.items():
            state = cluster.run_on(cluster.drawn(), partial(state_of, id_=id_))
            assert state == Cents(100 * count), "each acknowledged deposit is applied once"


def state_of(client: Client, id_: str) -> Any:
    return client.handle(NEW).get_state(id_)


@define
class Slow:
    """An external system that takes three seconds."""

    cluster: Cluster = field(init=False)
    heard: list[str] = Factory(list[str])

    @property
    def outside(self) -> Slow:
        return self

    async def hear(self, word: str) -> Success[None]:
        """Hear a word."""
        self.heard.append(word)
        await self.cluster.runtime.sleep(3_000)
        return Success(None)


@program
def receive(ctx: TaskContext[Any], event: Any) -> Do[None, Refused, HasOutside]:
    """Say the number of the text, or send it on."""
    if event.startswith("to "):
        yield from tell(TEXTS, event.removeprefix("to ")).send("word")
    else:
        yield from say(event)
    yield from ctx.update_state(lambda state: state)


def texts(event: Any) -> Any:
    """Define a job that says its events."""
    return Task("texts", state=Euros, event=event, initial=Euros(), on_event=receive, execute=report)


TEXTS, NUMBERS = texts(str), texts(int)


def test_a_message_is_no_dead_letter_while_an_engine_handles_it():
    """The engine of its share cannot decode it; the engine that wrote it has claimed it. Its run is not repeated."""
    slow = Slow()
    with Cluster(App(slow).with_jobs(TEXTS)) as cluster:
        slow.cluster = cluster
        writer = cluster.open()
        reader = cluster.open(App(slow).with_jobs(NUMBERS))
        cluster.advance("1500 ms")
        share = engine_of(cast("Client", reader.client)).membership.share
        target = next(str(n) for n in range(99) if TEXTS.address(str(n)) in share)
        cluster.run_on(writer, lambda client: client.handle(TEXTS).send("sender", f"to {target}"))
        cluster.advance("30 s")
        assert slow.heard == ["word"]
        assert cluster.inspect(lambda store: store.dead_letters(0, 9)) == ()
        assert [row.address for row in cluster.instances() if row.owner is not None] == []
