"""A simulated capacity agrees with engines that run: how late runs begin, how many at once, and what calls cost."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from postgres_harness import PostgresHarness
from returns.result import Result, Success

from perdure import (
    App,
    Do,
    ItemContext,
    Limit,
    Limits,
    Task,
    TaskContext,
    WorkerPool,
    Workflow,
    WorkflowContext,
    effect,
    program,
    tell,
)
from perdure.cli.commands import run_command
from perdure.cli.process import ExitCode
from perdure.rehearsal import Capacity, CapacityOptions, Image, MeasuredLoad, capacity, measured_in, read_image
from perdure.rehearsal.simulated_load import NO_TIME
from perdure.stores.at_rest import open_reader
from perdure.testing import Delay, World
from perdure.testing.cluster import Cluster
from perdure.testing.world.trace import TraceEvent, TransitionCommitted
from perdure.values.address import Address
from perdure.values.errors import DefinitionError
from perdure.values.transition import Put


@effect
def charge(services: object, customer: str) -> Result[int, str]:
    return Success(1)


@program
def on_event(ctx: TaskContext[int], event: int) -> Do[None, str, object]:
    yield from ctx.set_state(event)
    yield from ctx.schedule(after="1 hour")


@program
def soon(ctx: TaskContext[int], event: int) -> Do[None, str, object]:
    yield from ctx.schedule(after="10 s")


@program
def bill(ctx: TaskContext[int]) -> Do[None, str, object]:
    yield from charge(ctx.id)
    yield from ctx.schedule(after="1 day")


@program
def move(ctx: WorkflowContext[str]) -> Do[int, str, object]:
    return (yield from charge((yield from ctx.state)))


plans = Task("plans", state=int, event=int, initial=0, on_event=on_event, execute=bill, accepted_in_events="payload")
quick = Task("quick", state=int, event=int, initial=0, on_event=soon, execute=bill)
moves = Workflow("moves", state=str, run=move)
app = App(object(), limits=Limits(concurrency=4, shutdown_timeout="1 second")).with_jobs(plans, moves)
only_plans = App(object(), limits=Limits(concurrency=4, shutdown_timeout="1 second")).with_jobs(plans)
only_quick = App(object(), limits=Limits(concurrency=4, shutdown_timeout="1 second")).with_jobs(quick)
CUSTOMERS = 40
FEW = 24


def read(path: Path, code: App[Any] = app) -> tuple[Image, MeasuredLoad]:
    with open_reader(f"sqlite:///{path}") as reader:
        image = read_image(reader)
        return image, measured_in(reader, image)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which 40 customers came in the same millisecond, so that all are due together."""
    path = tmp_path_factory.mktemp("shop") / "jobs.db"
    with World(app, store=path) as world:
        plan = world.handle(plans)
        world.concurrently(*(plan.send(f"c-{number}", number) for number in range(CUSTOMERS)))
    return path


def simulated(path: Path, **options: Any) -> Capacity:
    image, past = read(path)
    return capacity(only_plans, image=image, past=past, options=CapacityOptions(**({"lasting": "2 hours"} | options)))


# ---------------------------------------------------------------- lateness
def test_runs_that_are_due_together_wait_for_slots(stored: Path) -> None:
    found = simulated(stored, durations={"charge": "1 s"}, arrivals=0, costs={"charge": 0.02})
    one, two, four = found.loads
    assert (one.runs, two.runs, four.runs) == (40, 40, 40)
    assert (one.most_running, two.most_running, four.most_running) == (4, 8, 16)
    assert one.late_ms == (5_000, 9_000, 9_000)
    assert two.late_ms == (2_000, 4_000, 4_000)
    assert four.late_ms == (1_000, 2_000, 2_000)
    assert one.spend == {"charge": pytest.approx(0.8)}
    assert one.mean_running == pytest.approx(40 / 7_200, rel=0.01)
    assert found.durations == {"charge": ("given", 1_000.0)}


@pytest.mark.parametrize("engines", [1, 2])
def test_it_agrees_with_engines_that_run(tmp_path: Path, engines: int) -> None:
    """Engines divide the instances by their ids, so that one has more than half: the last runs are later than with
    slots for all.
    """
    due: dict[Address, int] = {}
    late: dict[Address, int] = {}

    def watch(moment: TraceEvent) -> None:
        if isinstance(moment.what, TransitionCommitted) and isinstance(moment.what.transition.write, Put):
            row = moment.what.transition.write.instance
            if row.claim is not None:
                late.setdefault(row.address, moment.at_ms - due[row.address])
            elif row.alarm_ms is not None:
                due.setdefault(row.address, row.alarm_ms)

    with Cluster(only_quick) as cluster:
        for _ in range(engines):
            cluster.open()
        cluster.watch(watch)
        cluster.inject(Delay("charge", "1 s", times=1_000))
        for number in range(FEW):
            cluster.run_on(cluster.up[0], lambda client, n=number: client.handle(quick).send(f"c-{n}", n))  # type: ignore[misc]
        cluster.advance("18 s")
    with World(only_quick, store=tmp_path / "jobs.db") as world:
        world.concurrently(*(world.handle(quick).send(f"c-{number}", number) for number in range(FEW)))
    image, past = read(tmp_path / "jobs.db", only_quick)
    options = CapacityOptions(lasting="30 s", durations={"charge": "1 s"}, arrivals=0, engines=(engines,))
    (predicted,) = capacity(only_quick, image=image, past=past, options=options).loads
    assert len(late) == predicted.runs == FEW
    assert 0.9 <= max(late.values()) / predicted.late_ms[2] <= (1.1 if engines == 1 else 1.5)


# ---------------------------------------------------------------- pools, keys and named limits
@program
def paint(ctx: ItemContext[str]) -> Do[int, str, object]:
    return (yield from charge((yield from ctx.item)))


def items(path: Path, **options: Any) -> Capacity:
    """Ten items, five for each of two customers, are due together in an hour. Each takes a second."""
    pool = WorkerPool("thumbs", item=str, work=paint, key=lambda item: item[:1], keep="0 ms", **options)
    code = App(object(), limits=Limits(concurrency=8)).with_jobs(pool)
    with World(code, store=path / "jobs.db") as world:
        thumbs = world.handle(pool)
        world.concurrently(*(thumbs.put(f"{n}", f"{'ab'[n % 2]}{n}", after="1 hour") for n in range(10)))
    image, past = read(path / "jobs.db")
    chosen = CapacityOptions(lasting="2 hours", durations={"charge": "1 s"}, arrivals=0, engines=(1, 2))
    return capacity(code, image=image, past=past, options=chosen)


def shape(found: Capacity) -> list[tuple[int, int, int]]:
    """Return the runs, the most at once, and the seconds that the last one was late, for each number of engines."""
    return [(each.runs, each.most_running, round(each.late_ms[2] / 1_000)) for each in found.loads]


def test_the_workers_of_a_pool_are_simulated(tmp_path: Path) -> None:
    found = items(tmp_path, workers=2)
    assert shape(found) == [(10, 2, 4), (10, 4, 2)]
    assert found.left_out == (NO_TIME,)


def test_the_workers_of_a_key_are_those_of_one_engine(tmp_path: Path) -> None:
    found = items(tmp_path, workers=4, workers_per_key=1)
    assert shape(found) == [(10, 2, 4), (10, 2, 4)]
    assert "not simulated: workers_per_key of pool:thumbs in several engines, which have it each" in [*found.lines()]


def test_a_limit_with_a_name_holds_over_all_engines(tmp_path: Path) -> None:
    found = items(tmp_path, workers=8, limits=(Limit("bank", concurrency=2),))
    assert shape(found) == [(10, 2, 4), (10, 2, 4)]
    assert any("another number of the limit bank" in line for line in found.lines())


def test_a_limit_for_each_key_is_simulated(tmp_path: Path) -> None:
    by_customer = Limit("customer", concurrency_per_key=2).by(lambda key: key)
    assert shape(items(tmp_path, workers=8, limits=(by_customer,))) == [(10, 4, 2), (10, 4, 2)]


def test_a_postgresql_store_is_read_beside_its_engine(postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)

    async def main() -> Capacity:
        async with only_plans.open(harness.url) as client:
            for number in range(12):
                await client.handle(plans).send(f"c-{number}", number)
            found = await asyncio.to_thread(of_store)
            assert await client.handle(plans).get_state("c-1") == 1
            return found

    def of_store() -> Capacity:
        with open_reader(harness.url) as reader:
            image = read_image(reader)
            past = measured_in(reader, image)
        options = CapacityOptions(lasting="2 hours", durations={"charge": "1 s"}, arrivals=0, engines=(1, 2))
        return capacity(only_plans, image=image, past=past, options=options)

    try:
        found = asyncio.run(main())
    finally:
        asyncio.run(harness.discard())
    assert [(each.runs, each.most_running) for each in found.loads] == [(12, 4), (12, 8)]


# ---------------------------------------------------------------- arrivals and durations
def test_a_message_is_no_request_from_outside(tmp_path: Path) -> None:
    """The instance that sent it sends it again in the simulation."""

    @program
    def tell_plans(ctx: TaskContext[int], event: int) -> Do[None, str, object]:
        yield from tell(plans, "p").send(event)

    bells = Task(
        "bells", state=int, event=int, initial=0, on_event=tell_plans, execute=bill, accepted_in_events="payload"
    )
    code = App(object()).with_jobs(bells, plans)
    with World(code, store=tmp_path / "jobs.db") as world:
        world.run(world.handle(bells).send("b", 7))
        world.advance("1 minute")
    _, past = read(tmp_path / "jobs.db")
    assert [str(each.address) for each in past.arrivals] == ["task:bells:b"]


def test_the_requests_of_the_history_come_again(tmp_path: Path) -> None:
    with World(app, store=tmp_path / "jobs.db") as world:
        plan = world.handle(plans)
        world.run(plan.send("a", 1))
        world.advance("2 hours")
        world.run(plan.send("a", 2))
        world.run(plan.send("b", 2))
    image, past = read(tmp_path / "jobs.db")
    assert [(each.at_ms - past.since_ms, each.address.id, each.payload) for each in past.arrivals] == [
        (0, "a", "1"),
        (7_200_000, "a", "2"),
        (7_200_000, "b", "2"),
    ]
    assert {each.id for each in past.begun} == {"a", "b"}

    def runs(arrivals: float) -> int:
        options = CapacityOptions(lasting="8 hours", engines=(1,), arrivals=arrivals)
        return capacity(app, image=image, past=past, options=options).loads[0].runs

    # Two hours of history, four times. Each instance runs an hour after its event, unless the end comes before.
    none, once, twice = runs(0), runs(1), runs(2)
    assert (none, once, twice) == (2, 2 + 4 + 6, 2 + 2 * (4 + 6))


@pytest.mark.parametrize(("most", "kept", "hours"), [(4, 3, 4), (3, 3, 4), (2, 2, 2), (1, 1, 0)])
def test_the_measured_time_ends_with_the_last_request_that_is_kept(
    tmp_path: Path, most: int, kept: int, hours: int
) -> None:
    with World(app, store=tmp_path / "jobs.db") as world:
        plan = world.handle(plans)
        for number in range(3):
            world.run(plan.send("a", number))
            world.advance("2 hours" if number < 2 else "0 ms")
    with open_reader(f"sqlite:///{tmp_path}/jobs.db") as reader:
        past = measured_in(reader, read_image(reader), most=most)
    assert (len(past.arrivals), past.window_ms) == (
        kept,
        hours * 3_600_000 or 60_000,
    )  # shorter than a minute counts as a minute


def test_durations_are_those_of_journals_then_of_runs(tmp_path: Path) -> None:
    with World(app, store=tmp_path / "jobs.db") as world:
        world.inject(Delay("charge", "3 s", times=100))
        world.run(world.handle(moves).start("m", "x"))
        world.run(world.handle(plans).send("a", 1))
        world.advance("2 hours")
    image, past = read(tmp_path / "jobs.db")
    assert (past.effects, past.runs) == ({"charge": (3_000,)}, {"workflow:moves": (3_000,), "task:plans": (3_000,)})
    for known, source in ((past, "measured"), (attrs.evolve(past, effects={}), "run"), (MeasuredLoad(), "assumed")):
        found = capacity(app, image=image, past=known, options=CapacityOptions(lasting="2 days", arrivals=0))
        assert found.durations["charge"] == (source, 100.0 if source == "assumed" else 3_000.0)


# ---------------------------------------------------------------- limits and errors
def test_numbers_out_of_their_ranges_are_refused() -> None:
    CapacityOptions(lasting="1 ms", engines=(1, 64), arrivals=64, costs={"charge": 0}, durations={"charge": "0 s"})
    wrong: tuple[dict[str, Any], ...] = (
        {"engines": ()},
        {"engines": (0,)},
        {"engines": (65,)},
        {"arrivals": -0.1},
        {"arrivals": 64.1},
        {"costs": {"charge": -1}},
        {"durations": {"charge": "-1 s"}},
        {"lasting": "0 s"},
    )
    for option in wrong:
        with pytest.raises(DefinitionError):
            CapacityOptions(**({"lasting": "1 day"} | option))


def test_too_many_runs_are_refused(stored: Path) -> None:
    image, past = read(stored)
    options = CapacityOptions(lasting="2 hours", engines=(1,), arrivals=0)
    capacity(only_plans, image=image, past=past, options=options, most=CUSTOMERS)
    with pytest.raises(DefinitionError, match="runs of a simulation"):
        capacity(only_plans, image=image, past=past, options=options, most=CUSTOMERS - 1)


def test_a_short_history_that_would_be_repeated_for_long_is_refused_before_anything_runs(tmp_path: Path) -> None:
    with World(app, store=tmp_path / "jobs.db") as world:
        world.run(world.handle(plans).send("a", 1))
    image, past = read(tmp_path / "jobs.db")
    assert (len(past.arrivals), past.window_ms) == (1, 60_000)

    def simulated(lasting: str, arrivals: float = 1.0, **most: int) -> Capacity:
        options = CapacityOptions(lasting=lasting, engines=(1,), arrivals=arrivals)
        return capacity(app, image=image, past=past, options=options, **most)

    assert "arrivals: 1 requests in 1 min of history, 20.0 times" in [
        *simulated("20 minutes", most_arriving=20).lines()
    ]
    for lasting, arrivals in (("21 minutes", 1.0), ("20 minutes", 1.1)):
        with pytest.raises(DefinitionError, match=r"at most 20: simulate up to (20|18)m, or only a part"):
            simulated(lasting, arrivals, most_arriving=20)
    with pytest.raises(DefinitionError, match=r"at most 100,000: .* got 525600"):
        simulated("365 days")


# ---------------------------------------------------------------- the command
def test_the_command_prints_a_table_and_writes_a_picture(
    stored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "late.svg"
    command = ["capacity", "test_capacity:only_plans", "--store", f"sqlite:///{stored}", "--for", "2 hours"]
    command += ["--duration", "charge=1 s", "--cost", "charge=0.02", "--arrivals", "0"]
    assert run_command([*command, "--svg", str(picture)]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["1", "engine", "2", "engines", "4", "engines"]
    assert lines[4].split() == ["late,", "the", "longest", "9", "s", "4", "s", "2", "s"]
    assert lines[-4].split() == ["cost", "of", "charge", "0.80", "0.80", "0.80"]
    assert lines[-2:] == ["charge takes 1 s: given", f"not simulated: {NO_TIME}"]
    assert picture.read_text(encoding="utf-8").count("<polyline") == 3
    assert run_command([*command, "--json", "--engines", "8"]) == ExitCode.DONE
    (load,) = json.loads(capsys.readouterr().out)["loads"]
    assert (load["engines"], load["late_ms"]) == (8, [0, 1_000, 1_000])
    for wrong in (["--engines", "no"], ["--cost", "charge"], ["--for", "soon"], ["--services", "test_capacity:no"]):
        assert run_command([*command, *wrong]) == ExitCode.MISCONFIGURED
