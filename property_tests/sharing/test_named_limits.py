"""Named limits hold over all engines of a shared store: also over kills, and over stalls and partitions."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from functools import partial
from typing import Any, Literal, Protocol

import attrs
import pytest
from attrs import frozen
from returns.result import Result, Success

from perdure import App, Client, Do, ItemContext, Limit, WorkerPool, effect, program
from perdure.client.local_gateway import engine_of
from perdure.programs import sleep
from perdure.testing.cluster import Cluster, ClusterEngine

KEYS = ("ann", "bob", "cat")
CONCURRENCY, PER_KEY = 3, 2
RUNS, RUNS_OF_KEY, WINDOW_MS = 4, 2, 10_000
ITEMS = 12

LATENCY_MS = 100
"""The way of a run from the moment in which it is counted to its service, and of the store's time to an engine."""

Trouble = Literal["none", "kills", "delays"]


@frozen
class Call:
    customer: str
    number: int


@attrs.define
class Desk:
    """Notes when runs begin and end.

    Attributes:
        notes: each begin or end: when, which, the customer and the run.
        cluster: tells the time; set when it is open.
    """

    notes: list[tuple[int, str, str, str]] = attrs.Factory(list[tuple[int, str, str, str]])
    running: dict[str, tuple[str, ClusterEngine]] = attrs.Factory(dict[str, Any])
    most: Counter[str] = attrs.Factory(Counter[str])
    cluster: Cluster = attrs.field(init=False)

    @property
    def desk(self) -> Desk:
        return self

    def note(self, event: str, customer: str, run_id: str) -> Result[None, Exception]:
        self.notes.append((self.cluster.now_ms, event, customer, run_id))
        if event == "end":
            self.running.pop(run_id, None)
            return Success(None)
        number = next(number for number, call in reversed(self.cluster.effects) if call.run_id == run_id)
        self.running[run_id] = (customer, self.cluster.engines[number - 1])
        alive = [each for each, engine in self.running.values() if engine.is_up and self.cluster.has_lease(engine)]
        self.most[""] = max(self.most[""], len(alive))
        self.most[customer] = max(self.most[customer], alive.count(customer))
        return Success(None)


class HasDesk(Protocol):
    @property
    def desk(self) -> Desk: ...


@effect
def note(services: HasDesk, event: str, customer: str, run_id: str) -> Result[None, Exception]:
    return services.desk.note(event, customer, run_id)


@program
def calling(ctx: ItemContext[Call]) -> Do[str, Exception, HasDesk]:
    call = yield from ctx.item
    yield from note("begin", call.customer, ctx.run_id)
    yield from sleep("2 s")
    yield from note("end", call.customer, ctx.run_id)
    return "done"


def customer(call: Call) -> str:
    return call.customer


def calls_with(*limits: Any) -> WorkerPool[Call, str, Exception, HasDesk]:
    return WorkerPool("calls", item=Call, work=calling, key=customer, workers=6, limits=limits, run_timeout="1 minute")


def put_call(job: WorkerPool[Call, str, Exception, HasDesk], number: int, client: Client) -> Any:
    return client.handle(job).put(f"i{number}", Call(KEYS[number % 3], number))


def trouble_for(cluster: Cluster, kind: Trouble, chance: random.Random) -> None:
    """Kill an engine and open another one, or delay one for at most three seconds."""
    up = cluster.up
    if kind == "none" or len(up) < 2 or chance.random() < 0.5:
        return
    engine = up[chance.randrange(len(up))]
    if kind == "kills":
        engine.crash()
        cluster.begin()
    elif chance.random() < 0.5:
        engine.freeze(f"{chance.randrange(3_000)} ms")
    else:
        engine.cut_off(f"{chance.randrange(3_000)} ms")


def worked_over_engines(limit: Limit, kind: Trouble, seed: int, rest: str = "30 s") -> tuple[Desk, int]:
    """Return the notes of three engines, and how many items are done."""
    chance = random.Random(seed)  # noqa: S311 - a seed reproduces the history
    desk = Desk()
    job = calls_with(limit)
    with Cluster(App(desk).with_jobs(job), seed=seed) as cluster:
        desk.cluster = cluster
        engines = [cluster.open() for _ in range(3)]
        for number in range(ITEMS):
            put = partial(put_call, job, number)
            cluster.run_on(engines[number % 3], put)
        for _ in range(10):
            trouble_for(cluster, kind, chance)
            cluster.advance(f"{chance.randrange(1, 3_000)} ms")
        if not cluster.up:
            cluster.open()
        cluster.advance(rest)
        done = sum(row.status in {"done", "parked"} for row in cluster.instances())  # parked after three deaths
        for engine in cluster.up:
            assert engine.client is not None
            assert not engine_of(engine.client).named.in_memory, engine.number
    return desk, done


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", ["none", "kills", "delays"])
def test_no_more_runs_are_in_progress_than_a_limit_allows(kind: Trouble, seed: int) -> None:
    limit = Limit("phones", concurrency=CONCURRENCY, concurrency_per_key=PER_KEY)
    desk, done = worked_over_engines(limit, kind, seed)
    assert desk.most[""] <= CONCURRENCY, desk.notes
    assert all(desk.most[key] <= PER_KEY for key in KEYS), desk.notes
    assert done == ITEMS, desk.notes
    if kind == "none":
        assert desk.most[""] == CONCURRENCY
        begun = [at for at, event, *_ in desk.notes if event == "begin"]
        assert max(begun) - min(begun) <= 14_000, desk.notes  # twelve runs of 2 s, three at a time: six rounds at most


def most_in_a_window(begun: list[int], window_ms: int) -> int:
    return max((sum(start <= at < start + window_ms for at in begun) for start in begun), default=0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("kind", "late_ms"), [("none", LATENCY_MS), ("kills", LATENCY_MS), ("delays", 3_600)])
def test_no_window_holds_more_runs_than_a_limit_allows(kind: Trouble, late_ms: int, seed: int) -> None:
    limit = Limit("phones", rate=(RUNS, "10 s"), rate_per_key=(RUNS_OF_KEY, "10 s"))
    desk, done = worked_over_engines(limit, kind, seed, "45 s")
    begun = defaultdict[str, list[int]](list)
    for at, event, key, _ in desk.notes:
        if event == "begin":
            begun[""].append(at)
            begun[key].append(at)
    assert most_in_a_window(begun[""], WINDOW_MS - late_ms) <= RUNS, begun
    assert all(most_in_a_window(begun[key], WINDOW_MS - late_ms) <= RUNS_OF_KEY for key in KEYS), begun
    assert done == ITEMS, begun
    if kind == "none":
        assert most_in_a_window(begun[""], 1_000) == RUNS
        assert max(begun[""]) - min(begun[""]) <= 3 * WINDOW_MS + 3_000, begun


@pytest.mark.parametrize("kind", ["none", "kills"])
def test_engines_take_turns_if_a_limit_has_less_than_one_run_for_each(kind: Trouble) -> None:
    desk, done = worked_over_engines(Limit("phones", concurrency=1), kind, 1, "60 s")
    assert desk.most[""] == 1
    assert done == ITEMS, desk.notes
