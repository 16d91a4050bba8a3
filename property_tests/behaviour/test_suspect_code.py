"""Code that kills its process before any handler begins: counted, alone, parked; everything else is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import evolve, frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from world import ProcessDied, World, play

from perdure import App, Continuous, Debounce, Do, Migrations, Task, TaskContext, every, program, tell
from perdure.programs import sleep

Kind: TypeAlias = Literal["task", "continuous", "debounce"]
KINDS: tuple[Kind, ...] = ("task", "continuous", "debounce")
Way: TypeAlias = Literal["first message", "first request", "message", "request", "alarm", "start"]
WAYS: tuple[Way, ...] = ("first message", "first request", "message", "request", "alarm", "start")
Code: TypeAlias = Literal["old", "other", "new"]
CODES_BEFORE: tuple[Code, ...] = ("old", "other")


@frozen
class Old:
    id: str
    count: int = 0


@frozen
class New:
    id: str
    count: int = 0
    made: str = "new"


@program
def count(ctx: Any, _: object) -> Do[None]:
    yield from ctx.update_state(lambda state: evolve(state, id=ctx.id, count=state.count + 1))
    if isinstance(ctx, TaskContext):
        yield from ctx.schedule(after="1 hour")


@program
def execute(ctx: Any) -> Do[None]:
    yield from sleep("10 seconds")
    yield from ctx.update_state(lambda state: evolve(state, count=state.count + 100))


def jobs_of(world: World, code: Code) -> dict[Kind, Any]:
    """Return the jobs in the code of one deploy: `other` can read no state, and `new` kills at that of a killer."""

    def kill_at(id_: str) -> None:
        if id_.startswith("killer"):
            world.process.boundary.die("the code of a job")

    def upcast(old: Old) -> New:
        kill_at(old.id)
        return New(old.id, old.count)

    def initial(id_: str) -> New:
        kill_at(id_)
        return New(id_)

    forms: dict[Code, dict[str, Any]] = {
        "old": {"state": Old},
        "other": {"state": int},
        "new": {"state": New, "versions": Migrations(Old).then(upcast)},
    }
    first: Any = {"old": Old, "other": lambda _: 0, "new": initial}[code]
    empty: Any = {"old": Old(""), "other": 0, "new": New("")}[code]
    form = {"execute": execute, **forms[code]}
    return {
        "task": Task("t", event=str, initial=first, on_event=count, **form),
        "continuous": Continuous("c", schedule=every("1 hour"), **form),
        "debounce": Debounce("d", event=str, initial=empty, on_event=count, flush_after="1 hour", **form),
    }


def call(handle: Any, kind: Kind, id_: str, code: Code, **key: Any) -> Any:
    """Make the request that creates an instance, or goes to the one that exists."""
    match kind:
        case "task":
            return handle.send(id_, "x", **key)
        case "continuous":
            return handle.start(id_, Old(id_), **key) if code == "old" else handle.trigger(id_)
        case "debounce":
            return handle.add(id_, "x", **key)


def app_of(world: World, jobs: dict[Kind, Any]) -> tuple[App[Any], Any]:
    @program
    def pass_on(_: object, to: str) -> Do[None]:
        kind, id_ = to.split()
        if kind == "task":
            yield from tell(jobs["task"], id_).send("x")
        elif kind == "continuous":
            yield from tell(jobs["continuous"], id_).trigger()
        else:
            yield from tell(jobs["debounce"], id_).add("x")

    sender: Any = Task("sender", state=int, event=str, initial=0, on_event=pass_on)
    return App(world.outside).with_jobs(sender, *jobs.values()), sender


async def serve(world: World, jobs: dict[Kind, Any], rows: list[tuple[Kind, str, Way]]) -> None:
    """Open the app, make the requests whose answers a caller may never have had, and let alarms fire."""
    app, sender = app_of(world, jobs)
    client = await world.open(app)
    for kind, id_, way in rows:
        if way in {"message", "first message"}:
            await world.attempt(client.handle(sender).send(id_, f"{kind} {id_}", idempotency_key="k"))
        elif way in {"request", "first request"}:
            await world.attempt(call(client.handle(jobs[kind]), kind, id_, "new", idempotency_key="k"))
        if not world.world.is_open:
            raise ProcessDied("after the answer to a request")
    await world.advance(hours=3)


killers = st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(WAYS)), min_size=1, max_size=3)


@settings(max_examples=60)
@given(killers, st.integers(0, 2**32 - 1))
@example([(kind, way) for kind in KINDS for way in WAYS], 0)
def test_code_that_kills_before_a_handler_is_parked_and_its_neighbours_are_served(
    given_: list[tuple[Kind, Way]], seed: int
) -> None:
    """Each kills once without a claim and three times with one, at most; no neighbour is parked with them."""
    rows: list[tuple[Kind, str, Way]] = [(kind, "neighbour", "message") for kind in KINDS]
    for number, (kind, way) in enumerate(given_):
        rows.append(("task" if way.startswith("first") else kind, f"killer-{number}", way))

    async def scenario(world: World) -> None:
        for code in CODES_BEFORE:
            jobs = jobs_of(world, code)
            client = await world.open(app_of(world, jobs)[0])
            for kind, id_, way in rows:
                if (code == "old" and not way.startswith("first")) or (code == "other" and way == "start"):
                    await world.attempt(call(client.handle(jobs[kind]), kind, id_, code))
            await world.advance(minutes=1 if code == "old" else 0)
            await world.close()
        jobs = jobs_of(world, "new")
        for starts in range(1, 1_000):
            try:
                await serve(world, jobs, rows)
                break
            except ProcessDied:
                assert starts <= 4 * len(given_)
        for kind, id_, way in rows:
            row = await world.row(jobs[kind].address(id_))
            expected = None if id_ == "neighbour" else "recovery_exhausted"
            assert (None if row is None else row.suspension) == expected, (kind, way)
        served = await world.run(world.jobs.handle(jobs["task"]).get_state("neighbour"))
        assert served.count == 102, "created, told once, and run once by its alarm"

    play("memory", Path(), scenario, seed=seed)
