"""Named limits hold over all engines of a shared store: also over kills, and over stalls and partitions."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs
import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from limit_worker import CONCURRENCY as CONCURRENCY_OF_WORKERS
from limit_worker import PER_KEY as PER_KEY_OF_WORKERS
from limit_worker import RATE as RATE_OF_WORKERS
from limit_worker import WINDOW_S
from postgres_harness import SharedPostgresHarness
from returns.result import Result, Success

from perdure import App, Client, Do, ItemContext, Limit, WorkerPool, effect, program
from perdure.client.local_gateway import engine_of
from perdure.engine.runs.permits import BUSY, Instants, Permits, PermitsName, PermitsWanted, StoredPermits
from perdure.programs import sleep
from perdure.testing.cluster import Cluster, ClusterEngine
from perdure.testing.world.trace import TraceEvent, TransitionCommitted
from perdure.values.limits import Rate

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
        running: the customer and the engine of each run in progress.
        most: the most runs at the same time, of each customer and of all.
        alive_at_begins: when each run began, and how many there were then, of engines with a lease.
        cluster: tells the time; set when it is open.
    """

    notes: list[tuple[int, str, str, str]] = attrs.Factory(list[tuple[int, str, str, str]])
    running: dict[str, tuple[str, ClusterEngine]] = attrs.Factory(dict[str, Any])
    most: Counter[str] = attrs.Factory(Counter[str])
    alive_at_begins: list[tuple[int, int]] = attrs.Factory(list[Any])
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
        self.alive_at_begins.append((self.cluster.now_ms, len(alive)))
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


# ---------------------------------------------------------------- many keys, few workers, a backlog
@attrs.define
class Begun:
    """The items that began."""

    items: list[int] = attrs.Factory(list[int])


@effect
def begin_item(begun: Begun, item: int) -> Result[None, str]:
    begun.items.append(item)
    return Success(None)


@program
def of_its_key(ctx: ItemContext[int]) -> Do[None, str, Begun]:
    yield from begin_item((yield from ctx.item))
    yield from sleep("10 ms")


def key_of_item(keys: int, item: int) -> str:
    return f"{item % keys}"


PER_KEY_LIMITS = (
    Limit("keys", concurrency_per_key=1),
    Limit("keys", concurrency=3, concurrency_per_key=2),
    Limit("keys", rate_per_key=(3, "1 s")),
)


@pytest.mark.parametrize("engines", [1, 3])
@pytest.mark.parametrize("limit", PER_KEY_LIMITS, ids=lambda limit: f"{limit.concurrency}, {limit.rate_per_key}")
@pytest.mark.parametrize(("workers", "keys", "items"), [(2, 40, 40), (3, 20, 40), (20, 100, 100)])
def test_a_backlog_of_more_keys_than_workers_begins_without_a_pause(
    engines: int, limit: Limit, workers: int, keys: int, items: int
) -> None:
    """Lanes that have permits begin, although lanes ahead of them must not ask for permits yet."""
    pool = WorkerPool(
        "keys", item=int, work=of_its_key, key=partial(key_of_item, keys), workers=workers, limits=[limit]
    )
    for seed in range(2):
        begun = Begun()
        with Cluster(App(begun).with_jobs(pool), seed=seed) as cluster:
            up = [cluster.open() for _ in range(engines)]
            cluster.run_on(up[0], lambda client: client.handle(pool).hold())
            cluster.run_on(up[0], lambda client: client.handle(pool).put_many((f"{n}", n) for n in range(items)))
            cluster.run_on(up[0], lambda client: client.handle(pool).release())
            cluster.advance("10 s")
            assert sorted(begun.items) == list(range(items))
            for engine in up:
                assert engine.client is not None
                assert not engine_of(engine.client).named.in_memory, engine.number


# ---------------------------------------------------------------- a run is counted once
ENTRIES = 24
WHOLE_WINDOW = Limit("entries", rate=(ENTRIES, "1 minute"))


@effect(limits=[WHOLE_WINDOW])
def begin_call(begun: Begun, item: int) -> Result[None, str]:
    begun.items.append(item)
    return Success(None)


@program
def with_a_call(ctx: ItemContext[int]) -> Do[None, str, Begun]:
    yield from begin_call((yield from ctx.item))


@pytest.mark.parametrize("together", [1, 3, 8])
@pytest.mark.parametrize("seed", range(3))
def test_engines_that_write_an_entry_together_count_each_call_once(together: int, seed: int) -> None:
    """An engine that forgot its part of the entry reads it again, once for each write that another engine prevents."""
    pool = WorkerPool("entries", item=int, work=with_a_call, workers=together)
    begun = Begun()
    with Cluster(App(begun).with_jobs(pool), seed=seed, latency="20 ms") as cluster:
        up = [cluster.open() for _ in range(3)]
        for first in range(0, ENTRIES, together):
            for number in range(first, first + together):
                cluster.run_on(up[number % 3], lambda client, n=number: client.handle(pool).put(f"i{n}", n))
            cluster.advance("1500 ms")
        assert sorted(begun.items) == list(range(ENTRIES))


@pytest.mark.parametrize("seed", range(3))
def test_engines_that_are_far_from_a_rate_ask_for_more_permits_at_a_time(seed: int) -> None:
    pool = WorkerPool(
        "far", item=int, work=of_its_key, key=str, workers=5, limits=[Limit("far", rate=(10_000, "1 minute"))]
    )
    begun = Begun()
    with Cluster(App(begun).with_jobs(pool), seed=seed) as cluster:
        told: list[TraceEvent] = []
        cluster.watch(told.append)
        up = [cluster.open() for _ in range(3)]
        cluster.run_on(up[0], lambda client: client.handle(pool).hold())
        cluster.run_on(up[0], lambda client: client.handle(pool).put_many((f"{n}", n) for n in range(200)))
        cluster.run_on(up[0], lambda client: client.handle(pool).release())
        assert cluster.run_until(lambda: len(begun.items) == 200)
        written = [event.what.transition.address for event in told if isinstance(event.what, TransitionCommitted)]
        asked = written.count(PermitsName("far", None).address)
        assert asked <= 40, asked  # 62 to 84 with as many permits as there are free workers


def test_a_refused_write_keeps_the_permits_that_an_engine_used_lately() -> None:
    """Engines on a slow store refuse each other's writes, and still ask for more permits each time."""
    pool = WorkerPool(
        "busy", item=int, work=of_its_key, key=str, workers=8, limits=[Limit("busy", rate=(10_000, "1 minute"))]
    )
    begun, items = Begun(), 160
    with Cluster(App(begun).with_jobs(pool), latency="100 ms") as cluster:
        up = [cluster.open() for _ in range(3)]
        cluster.advance("1 s")  # they know each other
        cluster.run_on(up[0], lambda client: client.handle(pool).hold())
        cluster.run_on(up[0], lambda client: client.handle(pool).put_many((f"{n}", n) for n in range(items)))
        cluster.run_on(up[0], lambda client: client.handle(pool).release())
        since_ms = cluster.now_ms
        assert cluster.run_until(lambda: len(begun.items) == items)
        assert cluster.now_ms - since_ms < 3_600


@given(
    ownership=st.sampled_from(["alone", "shared"]),
    granted=st.integers(0, 60),
    lately=st.integers(0, 60),
    begun=st.integers(0, 100),
)
def test_a_busy_engine_asks_before_it_has_used_all_permits(
    ownership: Literal["alone", "shared"], granted: int, lately: int, begun: int
) -> None:
    runs = 100
    permits = Permits(1, ownership, None, Rate(runs, 60_000), granted=granted, lately=lately, begun=[(0, begun)])
    assert permits.wants_ahead == (ownership == "shared" and lately >= BUSY and granted <= lately)
    planned = permits.plan(StoredPermits(), PermitsWanted(0), Instants(0, 1, 250), 64)
    free = runs - begun
    if permits.wants_ahead:  # as many as it has, and no more than a half of the rest beside them
        assert min(granted, free) <= planned.granted <= max(min(granted, free), free // 2)
        assert planned.granted >= min(2 * lately, free // 2)
    else:
        assert planned.granted == 0  # none of them is used: they are returned


@pytest.mark.parametrize("seed", range(3))
def test_a_key_with_one_item_costs_two_writes(seed: int) -> None:
    """The engine of a key's share begins its items, so no other one writes the entry."""
    pool = WorkerPool("sparse", item=int, work=of_its_key, key=str, workers=5, limits=[PER_KEY_LIMITS[0]])
    begun, items = Begun(), 100
    with Cluster(App(begun).with_jobs(pool), seed=seed, latency="50 ms") as cluster:
        told: list[TraceEvent] = []
        cluster.watch(told.append)
        up = [cluster.open() for _ in range(3)]
        cluster.advance("1 s")  # they know each other
        cluster.run_on(up[0], lambda client: client.handle(pool).hold())
        cluster.run_on(up[0], lambda client: client.handle(pool).put_many((f"{n}", n) for n in range(items)))
        cluster.run_on(up[0], lambda client: client.handle(pool).release())
        cluster.advance("10 s")
        assert sorted(begun.items) == list(range(items))
        written = Counter(
            event.what.transition.address
            for event in told
            if isinstance(event.what, TransitionCommitted) and event.what.transition.address.kind == "limit"
        )
        assert len(written) == items
        assert sum(written.values()) <= 2.2 * items


def test_a_key_whose_entry_another_engine_wrote_begins_without_a_pause() -> None:
    """The lanes of an engine that has closed go to the others, whose first write of an entry is refused."""
    keys = 20
    pool = WorkerPool(
        "moved", item=int, work=of_its_key, key=partial(key_of_item, keys), workers=5, limits=[PER_KEY_LIMITS[0]]
    )
    begun = Begun()
    with Cluster(App(begun).with_jobs(pool)) as cluster:
        up = [cluster.open() for _ in range(3)]
        for first in range(0, 3 * keys, keys):
            put = [(f"{number}", number) for number in range(first, first + keys)]
            cluster.run_on(up[-1], lambda client, put=put: client.handle(pool).put_many(put))
            since_ms = cluster.now_ms
            assert cluster.run_until(lambda last=first + keys: len(begun.items) == last)
            # Without a second read of its lane, an item waits for the engine's next look at the store.
            assert cluster.now_ms - since_ms < 400
            cluster.advance("5 s")
            up.pop(0).close()


# ---------------------------------------------------------------- kills, stalls, partitions and changes together
GRACE_MS = 2_000 + LATENCY_MS
"""How long engines may use the numbers before a change."""

STALL_MS = 3_000
"""The longest stall or partition: shorter than a lease. Runs that were counted before it begin after it."""

BACKLOG = 30
NIGHTLY = settings.get_current_profile_name() == "nightly"
SLICES, SEEDS = (20, 50) if NIGHTLY else (2, 2)


@attrs.define
class Changes:
    """The numbers that were set, and when."""

    set_at: list[tuple[int, int, int]] = attrs.Factory(list[Any])

    def most(self, field: Literal[1, 2], at_ms: int, late_ms: int) -> int:
        """Return the greatest number that may have been in effect at an instant, or so long before."""
        before = [change for change in self.set_at if change[0] <= at_ms - late_ms]
        lately = [change for change in self.set_at if at_ms - late_ms < change[0] <= at_ms]
        return max(change[field] for change in (*before[-1:], *lately))


def set_numbers(concurrency: int, rate: int, client: Client) -> Any:
    return client.set_limit("phones", concurrency=concurrency, rate=(rate, "10 s"))


def change_numbers(cluster: Cluster, changes: Changes, chance: random.Random) -> None:
    """Set other numbers through an engine that reaches the store."""
    concurrency, rate = chance.randrange(1, 6), chance.randrange(4, 13)
    up = [engine for engine in cluster.up if engine.client is not None]
    if not up:
        return
    asked_ms, engine = cluster.now_ms, up[chance.randrange(len(up))]
    answer = engine.call(partial(set_numbers, concurrency, rate))
    cluster.run_until(answer.done, patience="10 s")
    if answer.done() and isinstance(answer.result(), Success):
        changes.set_at.append((asked_ms, concurrency, rate))
        changes.set_at.append((cluster.now_ms, concurrency, rate))
    else:  # it may be in effect, or not
        *_, (_, before, rate_before) = changes.set_at
        changes.set_at.append((asked_ms, max(concurrency, before), max(rate, rate_before)))


def trouble_of_any_kind(cluster: Cluster, changes: Changes, chance: random.Random) -> None:
    action = chance.randrange(5)
    if action == 0:
        change_numbers(cluster, changes, chance)
    else:
        trouble_for(cluster, "kills" if action == 1 else "delays", chance)
    cluster.advance(f"{chance.randrange(1, 3_000)} ms")


def broken_laws_of(desk: Desk, changes: Changes) -> list[str]:
    """Return the begins that were too many: of runs at the same time, and in a window."""
    begun, broken = list[int](), list[str]()
    for at_ms, alive in desk.alive_at_begins:
        begun.append(at_ms)
        if alive > changes.most(1, at_ms, GRACE_MS + STALL_MS):
            broken.append(f"{alive} runs at {at_ms}")
        window_ms = WINDOW_MS - LATENCY_MS - STALL_MS
        number = sum(at_ms - window_ms < each <= at_ms for each in begun)
        if number > changes.most(2, at_ms, GRACE_MS + STALL_MS + WINDOW_MS):
            broken.append(f"{number} begins in the window to {at_ms}")
    return broken


def world_with_changes(seed: int) -> None:
    """Let engines suffer while numbers change, and check the laws of the limit."""
    chance = random.Random(seed)  # noqa: S311 - a seed reproduces the history
    desk, changes = Desk(), Changes()
    job = calls_with(Limit("phones", concurrency=CONCURRENCY, rate=(8, "10 s"), concurrency_per_key=PER_KEY))
    with Cluster(App(desk).with_jobs(job), seed=seed) as cluster:
        desk.cluster = cluster
        changes.set_at.append((0, CONCURRENCY, 8))
        engines = [cluster.open() for _ in range(3)]
        for number in range(BACKLOG):
            cluster.run_on(engines[number % 3], partial(put_call, job, number))
        for _ in range(12):
            trouble_of_any_kind(cluster, changes, chance)
        calm = cluster.open()
        cluster.advance("8 s")  # a lease, and the longest stall
        assert not broken_laws_of(desk, changes), (seed, broken_laws_of(desk, changes), changes.set_at)
        # No permit is lost for longer than a lease and two looks: the engine that is left has all of them then.
        for engine in cluster.up:
            if engine is not calm:
                engine.crash()
        cluster.run_on(calm, partial(set_numbers, 4, 1_000))
        cluster.run_on(calm, partial(put_more, job))
        cluster.advance("7 s")
        desk.most.clear()
        cluster.advance("4 s")
        assert desk.most[""] == 4, (seed, desk.most, changes.set_at)
        cluster.advance("90 s")
        rows = cluster.instances()
        assert all(row.status in {"done", "parked"} for row in rows), (seed, Counter(row.status for row in rows))
        assert len(rows) == BACKLOG + MORE
        assert all(desk.most[key] <= PER_KEY for key in KEYS), seed
        for engine in cluster.up:
            assert engine.client is not None
            assert not engine_of(engine.client).named.in_memory, (seed, engine.number)


MORE = 30


def test_a_change_reaches_the_other_engine_within_two_seconds() -> None:
    desk = Desk()
    job = calls_with(Limit("phones", concurrency=4, rate=(1_000, "10 s")))
    with Cluster(App(desk).with_jobs(job)) as cluster:
        desk.cluster = cluster
        first, second = cluster.open(), cluster.open()
        cluster.run_on(first, partial(put_more, job))
        cluster.advance("5 s")
        assert (desk.most[""], {number for number, _ in cluster.effects}) == (4, {1, 2})
        cluster.run_on(first, partial(set_numbers, 1, 1_000))
        cluster.advance("4 s")  # and the runs in progress end
        desk.most.clear()
        cluster.advance("6 s")
        assert desk.most[""] == 1
        cluster.run_on(second, partial(set_numbers, 4, 1_000))
        cluster.advance("4 s")
        desk.most.clear()
        cluster.advance("4 s")
        assert desk.most[""] == 4


def put_more(job: WorkerPool[Call, str, Exception, HasDesk], client: Client) -> Any:
    return client.handle(job).put_many((f"m{number}", Call(KEYS[number % 3], number)) for number in range(MORE))


@pytest.mark.parametrize("first", range(SLICES))
def test_no_fault_and_no_change_breaks_a_limit_loses_a_permit_or_starves_a_key(first: int) -> None:
    """With the profile `nightly`, 1,000 worlds: kills, stalls and partitions while the numbers change."""
    for seed in range(first * SEEDS, (first + 1) * SEEDS):
        world_with_changes(seed)


# ---------------------------------------------------------------- processes on PostgreSQL
WORKER = Path(__file__).with_name("limit_worker.py")
LEASE_S, LATE_S, GRACE_S = 3.0, 1.0, 3.0
ROUNDS, PROCESSES = (60, 4) if NIGHTLY else (6, 3)


@attrs.define
class Workers:
    """Engines in processes of their own, and the moments at which they were killed."""

    store: str
    journal: Path
    running: list[subprocess.Popen[str]] = attrs.Factory(list[Any])
    died: dict[int, float] = attrs.Factory(dict[int, float])

    def open(self) -> None:
        command = [sys.executable, str(WORKER), self.store, str(self.journal)]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603
        self.running.append(worker)
        assert worker.stdout is not None
        assert worker.stdout.readline() == "open\n"

    def ask(self, worker: subprocess.Popen[str], line: str) -> str:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(f"{line}\n")
        worker.stdin.flush()
        return worker.stdout.readline().strip()

    def kill(self, number: int) -> None:
        worker = self.running.pop(number)
        self.end(worker)
        self.died[worker.pid] = time.monotonic()

    def end(self, worker: subprocess.Popen[str]) -> None:
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                pipe.close()

    def stall(self, number: int, seconds: float) -> None:
        worker = self.running[number]
        worker.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        worker.send_signal(signal.SIGCONT)

    def runs(self) -> list[tuple[float, float, str]]:
        """Return when each run began and ended, and its key; a run of a killed process ended with that."""
        begun, ended = dict[tuple[str, str], tuple[float, str]](), list[tuple[float, float, str]]()
        for line in self.journal.read_text().splitlines():
            at, pid, word, key, run_id = line.split()
            if word == "begin":
                begun[pid, run_id] = float(at), key
            else:
                since, of = begun.pop((pid, run_id))
                ended.append((since, float(at), of))
        return sorted([*ended, *((at, self.died[int(pid)], key) for (pid, _), (at, key) in begun.items())])


def assert_kept(runs: list[tuple[float, float, str]], changes: list[tuple[float, int, int]]) -> None:
    """Compare each begin with the greatest numbers that may have been in effect."""
    for number, (at, _, key) in enumerate(runs):
        alive = [of for since, until, of in runs[: number + 1] if until > at]
        before = [change for change in changes if change[0] <= at - GRACE_S]
        lately = [change for change in changes if at - GRACE_S < change[0] <= at]
        concurrency = max(change[1] for change in (*before[-1:], *lately))
        assert len(alive) <= concurrency, (at, alive, changes)
        assert alive.count(key) <= PER_KEY_OF_WORKERS, (at, alive)
        earlier = [change for change in changes if change[0] <= at - WINDOW_S - GRACE_S]
        in_window = [change for change in changes if at - WINDOW_S - GRACE_S < change[0] <= at]
        rate = max(change[2] for change in (*earlier[-1:], *in_window))
        begun = sum(at - (WINDOW_S - LATE_S) < since <= at for since, *_ in runs)
        assert begun <= rate, (at, begun, changes)


def test_killed_and_stalled_processes_keep_a_limit_that_changes(postgres_url: str, tmp_path: Path) -> None:
    """SIGKILL and SIGSTOP of engines on one PostgreSQL; their runs are counted by the file that they append to."""
    harness = SharedPostgresHarness(postgres_url)
    chance = random.Random(7)  # noqa: S311 - reproducible
    workers = Workers(harness.url.replace("lease=30s", f"lease={LEASE_S:.0f}s"), tmp_path / "journal")
    changes = [(0.0, CONCURRENCY_OF_WORKERS, RATE_OF_WORKERS)]
    try:
        for _ in range(PROCESSES):
            workers.open()
        items = 25 * ROUNDS
        assert workers.ask(workers.running[0], f"put 0 {items}") == "put"
        for _ in range(ROUNDS):
            action, number = chance.randrange(3), chance.randrange(len(workers.running))
            if action == 0:
                workers.kill(number)
                workers.open()
            elif action == 1:
                workers.stall(number, chance.uniform(0.1, 0.5))
            else:
                concurrency, rate = chance.randrange(1, 9), chance.randrange(100, 300)
                changes.append((time.monotonic(), concurrency, rate))
                assert workers.ask(workers.running[number], f"set {concurrency} {rate}") == "set"
                changes.append((time.monotonic(), concurrency, rate))
            time.sleep(chance.uniform(0.1, 1.0))
        while len(workers.running) > 1:
            workers.kill(0)
        (last,) = workers.running
        changes.append((time.monotonic(), 4, 100_000))
        assert workers.ask(last, "set 4 100000") == "set"
        changes.append((time.monotonic(), 4, 100_000))
        assert workers.ask(last, f"put {items} {MORE}") == "put"
        left_at, deadline = time.monotonic(), time.monotonic() + 120
        while not (progress := workers.ask(last, "done")).startswith("0 "):
            assert time.monotonic() < deadline, progress
            time.sleep(0.5)
        done, parked = map(int, progress.split()[1:])
        assert done + parked == items + MORE  # an item whose process died three times is parked
        runs = workers.runs()
        assert_kept(runs, changes)
        most = max(sum(since <= at < until for since, until, _ in runs) for at, *_ in runs if at > left_at)
        assert most == 4, most
    finally:
        for worker in workers.running:
            workers.end(worker)
        asyncio.run(harness.discard())
