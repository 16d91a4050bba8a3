"""``docs/how-to/batch-items-of-a-pool.md``: a workflow that waits for one item of a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from returns.result import Failure, Result, Success

from perdure import App, Defect, Do, ItemContext, WorkerPool, Workflow, WorkflowContext, effect, program, tell
from perdure.kinds.worker_pool.items import MAX_ITEM_WAITERS
from perdure.programs import gather
from perdure.testing import WorkerDied, World
from perdure.values.answer import Done
from perdure.values.outcome import Failed


@attrs.frozen
class NoPaper:
    tray: int


@effect
def print_page(_: object, page: int) -> Result[str, NoPaper]:
    return Failure(NoPaper(page)) if page < 0 else Success(f"page {page}")


@program
def print_one(ctx: ItemContext[int]) -> Do[str, NoPaper]:
    return (yield from print_page((yield from ctx.item)))


@program
def give_up(ctx: ItemContext[int], error: NoPaper | Defect) -> Do[None]:
    yield from ctx.item


prints = WorkerPool("prints", item=int, work=print_one)
passing = WorkerPool("passing", item=int, work=print_one, keep="0 ms")
lenient = WorkerPool("lenient", item=int, work=print_one, on_error=give_up)
POOLS = {"prints": prints, "passing": passing, "lenient": lenient}


@program
def printing(ctx: WorkflowContext[tuple[str, int]]) -> Do[str, NoPaper | Defect]:
    name, page = yield from ctx.state
    yield from tell(POOLS[name], ctx.id).put(page)
    return (yield from POOLS[name].done(ctx.id))


@program
def waiting(ctx: WorkflowContext[str]) -> Do[str, NoPaper | Defect]:
    item = yield from ctx.state
    return (yield from prints.done(item))


@program
def impatient(ctx: WorkflowContext[str]) -> Do[str, Any]:
    item = yield from ctx.state
    yield from prints.done(item).timeout("1 minute").attempt()
    return "gave up"


@program
def several(ctx: WorkflowContext[int]) -> Do[list[str], Any]:
    count = yield from ctx.state
    for number in range(count):
        yield from tell(prints, f"{ctx.id}-{number}").put(number)
    return list((yield from gather(*(prints.done(f"{ctx.id}-{number}") for number in range(count)))))


printer = Workflow("printer", state=tuple[str, int], run=printing, keep=None)
waiter = Workflow("waiter", state=str, run=waiting, keep=None)
quitter = Workflow("quitter", state=str, run=impatient, keep=None)
many = Workflow("many", state=int, run=several, keep=None)
app = App(None).with_jobs(prints, passing, lenient, printer, waiter, quitter, many)


def outcome(world: World, job: Any, id_: str) -> Any:
    return world.run(world.handle(job).outcome(id_))


@pytest.mark.parametrize("name", list(POOLS))
def test_a_result_and_a_typed_error_arrive(name: str) -> None:
    with World(app) as world:
        world.run(world.handle(printer).start("good", (name, 7)))
        world.run(world.handle(printer).start("bad", (name, -1)))
        world.advance("1 minute")
        assert outcome(world, printer, "bad") == Failed(NoPaper(-1))
        if name == "prints":
            assert outcome(world, printer, "good") == Done(value="page 7")


def test_an_end_that_is_over_is_told_at_once_and_an_absent_item_is_an_error() -> None:
    with World(app) as world:
        world.run(world.handle(prints).put("p", 1))
        world.run(world.handle(prints).put("q", -1))
        world.advance("1 minute")
        for item in ("p", "q", "none"):
            world.run(world.handle(waiter).start(item, item))
        world.advance("1 second")
        assert outcome(world, waiter, "p") == Done(value="page 1")
        assert outcome(world, waiter, "q") == Failed(NoPaper(-1))
        absent = outcome(world, waiter, "none")
        assert isinstance(absent, Failed)
        assert "it was never stored, or is no longer kept" in absent.error.message


@pytest.mark.parametrize("ends", ["cancel", "terminate"])
def test_an_item_that_is_cancelled_is_told(ends: str) -> None:
    with World(app) as world:
        world.run(world.handle(prints).hold())
        world.run(world.handle(prints).put("p", 1))
        for number in range(2):
            world.run(world.handle(waiter).start(f"w{number}", "p"))
        world.advance("1 second")
        assert outcome(world, waiter, "w0") is None
        world.run(getattr(world.handle(prints), ends)("p"))
        world.advance("1 second")
        for number in range(2):
            found = outcome(world, waiter, f"w{number}")
            assert isinstance(found, Failed)
            assert found.error.error_type == "ItemCancelled"


def test_a_workflow_that_gives_up_is_no_longer_told() -> None:
    with World(app) as world:
        world.run(world.handle(prints).hold())
        world.run(world.handle(prints).put("p", 1))
        world.run(world.handle(quitter).start("w", "p"))
        world.advance("2 minutes")
        assert outcome(world, quitter, "w") == Done(value="gave up")
        world.run(world.handle(prints).release())
        world.advance("1 minute")
        assert not [each for each in world.trace if "child_ended" in str(each)]
        assert not world.messages()


@pytest.mark.parametrize("waiters", [MAX_ITEM_WAITERS, MAX_ITEM_WAITERS + 1])
def test_at_most_100_workflows_wait_for_one_item(waiters: int) -> None:
    with World(app) as world:
        world.run(world.handle(prints).hold())
        world.run(world.handle(prints).put("p", 1))
        for number in range(waiters):
            world.run(world.handle(waiter).start(f"w{number}", "p"))
            world.advance("10 ms")
        world.advance("1 second")
        refused = [number for number in range(waiters) if isinstance(outcome(world, waiter, f"w{number}"), Failed)]
        assert len(refused) == waiters - MAX_ITEM_WAITERS
        world.run(world.handle(prints).release())
        world.advance("1 minute")
        told = [outcome(world, waiter, f"w{number}") for number in range(waiters) if number not in refused]
        assert told == [Done(value="page 1")] * MAX_ITEM_WAITERS


def test_a_parked_item_is_told_once_also_if_it_is_resumed() -> None:
    with World(app) as world:
        world.run(world.handle(printer).start("bad", ("prints", -1)))
        world.advance("1 minute")
        assert outcome(world, printer, "bad") == Failed(NoPaper(-1))
        world.run(world.handle(prints).resume("bad"))
        world.advance("1 minute")
        assert outcome(world, printer, "bad") == Failed(NoPaper(-1))
        assert not world.messages()


def to_its_end(world: World) -> Any:
    for _ in range(12):
        try:
            if not world.is_open:
                world.open()
            world.run(world.handle(many).start("m", 3, idempotency_key="s"))
            world.advance("1 minute")
            found = outcome(world, many, "m")
        except WorkerDied:
            continue
        if found is not None:
            return found
    return None


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_crash_anywhere_loses_no_end_and_tells_none_twice(store: str, tmp_path: Path) -> None:
    def place(point: int) -> str | Path:
        return "memory://" if store == "memory" else tmp_path / f"{point}.db"

    expected = Done(value=["page 0", "page 1", "page 2"])
    with World(app, store=place(-1)) as world:
        assert to_its_end(world) == expected
        points = len(world.crash_points)
    for point in range(0, points + 1, 1 if store == "memory" else 5):
        with World(app, store=place(point), seed=point) as world:
            world.crash_after(point)
            assert to_its_end(world) == expected, point
