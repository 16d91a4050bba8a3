"""Code of a run never sees the run of other code, however runs are nested in each other's effects or overlap."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Result, Success

from perdure import App, Do, Task, TaskContext, effect, program
from perdure.programs import gather, sleep
from perdure.runtime.tasks import run_context
from perdure.stores.memory import memory_store


@attrs.frozen
class Visit:
    """The steps of the handler of one instance, each a pause, or visits of other instances side by side."""

    steps: tuple[tuple["Visit", ...], ...] = ()


visits = st.recursive(
    st.builds(Visit, st.lists(st.just(()), max_size=3).map(tuple)),
    lambda inner: st.builds(Visit, st.lists(st.lists(inner, max_size=3).map(tuple), max_size=3).map(tuple)),
    max_leaves=12,
)


@attrs.define
class Services:
    """The services of effects: the plan of each instance, the handle, and the observations."""

    plan: dict[str, Visit] = attrs.Factory(dict[str, Visit])
    handle: Any = None
    wrong: list[object] = attrs.Factory(list[object])
    seen: int = 0

    def check(self, id_: str) -> None:
        """Compare the context with the instance whose code this is."""
        self.seen += 1
        run = run_context.get()
        if run is None or run.id != id_:
            self.wrong.append((id_, run))

    async def pause(self, id_: str) -> Result[None, None]:
        self.check(id_)
        await asyncio.sleep(0)
        self.check(id_)
        return Success(None)

    async def visit(self, id_: str, other: str) -> Result[None, None]:
        self.check(id_)
        await self.handle.send(other, 1)
        self.check(id_)
        return Success(None)


@effect
def pause(services: Services, id_: str) -> FutureResult[None, None]:
    return FutureResult(services.pause(id_))


@effect
def visit(services: Services, id_: str, other: str) -> FutureResult[None, None]:
    return FutureResult(services.visit(id_, other))


@effect
def plan_of(services: Services, id_: str) -> Result[Visit, None]:
    services.check(id_)
    return Success(services.plan[id_])


@program
def on_event(ctx: TaskContext[int], _event: int) -> Do[None, None, Services]:
    before = run_context.get()
    assert before is not None
    assert (before.id, before.run_id, before.hook) == (ctx.id, ctx.run_id, "on_event")
    yield from sleep("1 ms")  # a task executes this turn and then others: none of them sees its run
    todo = yield from plan_of(ctx.id)
    for number, others in enumerate(todo.steps):
        yield from pause(ctx.id)
        yield from gather(*(visit(ctx.id, _name(ctx.id, number, place)) for place in range(len(others))))
        assert run_context.get() == before


def initial(_id: str) -> int:
    """Code of a job that belongs to no run, although it may execute inside an effect of another one."""
    assert run_context.get() is None
    return 0


job = Task("job", state=int, event=int, initial=initial, on_event=on_event)


def _name(parent: str, number: int, place: int) -> str:
    return f"{parent}.{number}-{place}"


def _instances(id_: str, todo: Visit) -> dict[str, Visit]:
    plan = {id_: todo}
    for number, others in enumerate(todo.steps):
        for place, other in enumerate(others):
            plan |= _instances(_name(id_, number, place), other)
    return plan


async def _play(roots: Sequence[Visit], store: Any) -> Services:
    services = Services()
    for number, root in enumerate(roots):
        services.plan |= _instances(str(number), root)
    async with App(services).with_jobs(job).open(store) as jobs:
        services.handle = jobs.handle(job)
        await asyncio.gather(*(services.handle.send(str(number), 1) for number in range(len(roots))))
        assert run_context.get() is None
    return services


@given(st.lists(visits, min_size=1, max_size=4))
def test_no_code_sees_the_run_of_other_code(roots: list[Visit]) -> None:
    services = asyncio.run(_play(roots, memory_store()))
    assert services.wrong == []
    assert services.seen >= len(services.plan)


@settings(max_examples=20)
@given(st.lists(visits, min_size=1, max_size=4))
def test_no_code_sees_the_run_of_other_code_on_a_file(roots: list[Visit]) -> None:
    """Requests come back from the thread of the store."""
    with TemporaryDirectory() as folder:
        services = asyncio.run(_play(roots, f"sqlite:///{Path(folder) / 'jobs.db'}"))
    assert services.wrong == []
