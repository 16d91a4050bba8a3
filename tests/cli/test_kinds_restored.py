"""A backup of a store with workflows and pool items under way: the restored store continues each to the same end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from returns.future import FutureResult

from perdure import App, Backoff, Do, ItemContext, Retry, Signal, WorkerPool, Workflow, WorkflowContext, effect, program
from perdure.cli.commands import run_command
from perdure.programs import gather, sleep
from perdure.testing import Clock, Delay, World
from perdure.values.answer import Done


@attrs.define
class Outside:
    """Remembers its calls."""

    done: list[str] = attrs.Factory(list[str])


@effect
def act(services: Outside, name: str) -> FutureResult[str, str]:
    services.done.append(name)
    return FutureResult.from_failure(name) if name.startswith("bad") else FutureResult.from_value(name)


@effect
def last(services: Outside, name: str) -> FutureResult[str, str]:
    services.done.append(f"last {name}")
    return FutureResult.from_value(name)


go = Signal("go", int)


@program
def child_body(ctx: WorkflowContext[int]) -> Do[int, str, Outside]:
    yield from act("child")
    yield from sleep("2 hours")
    return 1


child = Workflow("child", state=int, run=child_body)


@program
def body(ctx: WorkflowContext[int]) -> Do[str, Any, Outside]:
    """A step, two signals, a sleep, a child, and a last step."""
    number = yield from ctx.state
    yield from act(f"first {number}")
    one = yield from go.receive()
    other = yield from go.receive()
    yield from ctx.set_state(one + other)
    _, below = yield from gather(sleep("1 hour"), child.call(f"c{number}", 0))
    return (yield from last(f"{one} {other} {below}"))


@program
def work(ctx: ItemContext[str]) -> Do[str, str, Outside]:
    return (yield from act((yield from ctx.item)))


flow = Workflow("flow", state=int, run=body, signals=(go,), keep=None)
pool = WorkerPool(
    "pool",
    item=str,
    work=work,
    workers=2,
    key=lambda item: item[0],
    retry=Retry(2, Backoff.constant("1 hour"), jitter=False),
    keep=None,
)
app = App(Outside()).with_jobs(flow, child, pool)
ITEMS = ["a1", "a2", "b1", "bad", "c1"]


def begin(world: World) -> None:
    """Leave workflows at each kind of wait, and items at each status."""
    flows, items = world.handle(flow), world.handle(pool)
    for number in range(5):
        world.run(flows.start(f"f{number}", number))
    world.advance("1 second")
    for number in range(1, 5):
        for value in range(min(number, 2)):
            world.run(flows.signal(f"f{number}", go, value))
    world.advance("1 second")
    for item in ITEMS:
        world.run(items.put(item, item))
    world.run(items.put("later", "later", after="3 hours"))
    world.advance("115 minutes")
    world.run(items.put("bad 2", "bad 2"))
    world.advance("1 second")
    world.inject(*[Delay("last", "1 day")] * 2, *[Delay("act", "1 day")] * 2)
    for item in ("d1", "d2", "d3", "e1"):
        world.run(items.put(item, item))
    world.advance("10 minutes")  # f2 to f4 are in their last step, or about to begin it; two items are in progress


def end(world: World) -> dict[str, object]:
    """Send the signals that are missing, and return the outcomes, when nothing is left to do."""
    flows, items = world.handle(flow), world.handle(pool)
    for id_, values in {"f0": (0, 1), "f1": (1,)}.items():
        for value in values:
            world.run(flows.signal(id_, go, value))
    world.advance("3 days")
    outcomes: dict[str, object] = {f"f{n}": world.run(flows.outcome(f"f{n}")) for n in range(5)}
    names = [*ITEMS, "bad 2", "later", "d1", "d2", "d3", "e1"]
    return outcomes | {name: str(world.run(items.outcome(name))) for name in names}


def counted(path: Path, sql: str) -> Any:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchone()[0]


def test_a_restored_store_continues_every_workflow_and_item(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, copy = tmp_path / "jobs.db", tmp_path / "copy.db"
    with World(app, Outside(), store=path, at_end="leave") as world:
        begin(world)
        world.crash()
        crashed_at = world.clock.now
    statuses = "SELECT group_concat(DISTINCT status) FROM instances"
    assert set(counted(path, statuses).split(",")) >= {"running", "scheduled", "queued", "done", "retrying"}
    assert run_command(["backup", "--store", f"sqlite:///{path}", "--output", str(copy)]) == 0
    assert run_command(["verify", "--store", f"sqlite:///{copy}"]) == 0
    capsys.readouterr()
    assert run_command(["stats", "--store", f"sqlite:///{copy}"]) == 0
    rows = counted(copy, "SELECT count(*) FROM journal")
    assert f"journal rows  {rows}\n" in capsys.readouterr().out
    assert rows > 10
    with World(app, Outside(), store=copy, clock=Clock(crashed_at)) as restored:
        outcomes = end(restored)
    with World(app, Outside(), store=path, clock=Clock(crashed_at)) as original:
        assert end(original) == outcomes
    assert outcomes["f0"] == outcomes["f4"] == Done(value="0 1 1")
    assert run_command(["verify", "--store", f"sqlite:///{copy}"]) == 0
