"""After a death, events are claimed before they are handled: a handler without effects may have killed the process."""

from typing import Any

import pytest
from attrs import frozen
from returns.result import Success
from world import World, on_each_store

from perdure import App, Debounce, Decision, Migrations, Task
from perdure.jobs.recovery import RELEASED
from perdure.programs import Program, succeed
from perdure.values.errors import Undecodable
from perdure.values.transition import Put

job: Task[Any, Any, Any, Any] = Task(
    "job", state=int, event=int, initial=0, decide=lambda state, event: Success(Decision(state + event))
)


def flushed(*_: Any) -> Program[Any]:
    return succeed(None)


batch: Debounce[Any, Any, Any, Any] = Debounce("batch", event=int, flush_after="1 hour", execute=flushed)


def app(world: World) -> App[Any]:
    return App(world.outside).with_jobs(job, batch)


async def cost(world: World) -> list[int]:
    """Say how many commits an event of each kind costs, and check that the first of two is a claim."""
    costs = []
    for call in (world.jobs.handle(job).send("a", 1), world.jobs.handle(batch).add("a", 1)):
        before = len(world.commits)
        await world.run(call)
        commits = world.commits[before:]
        costs.append(len(commits))
        claimed = [isinstance(each.write, Put) and each.write.instance.event_claim is not None for each in commits]
        assert claimed == [True] * (len(commits) - 1) + [False]
    return costs


@on_each_store
async def test_an_event_costs_a_second_commit_for_a_minute_after_a_death_only(world: World) -> None:
    await world.open(app(world))
    assert await cost(world) == [1, 1]
    await world.close()
    await world.open(app(world))
    assert await cost(world) == [1, 1], "the engine before was closed"
    await world.crash()
    await world.open(app(world))
    assert await cost(world) == [2, 2]
    await world.advance(ms=59_999)
    assert await cost(world) == [2, 2]
    await world.advance(ms=1)
    assert await cost(world) == [1, 1]
    assert await world.run(world.jobs.handle(job).get_state("a")) == 5


@on_each_store
async def test_a_first_event_that_is_claimed_and_fails_leaves_no_instance(world: World) -> None:
    """As without the claim: a failed run leaves no trace."""

    def refuse(*_: Any) -> Any:
        raise ZeroDivisionError

    broken: Any = Task("job", state=int, event=int, initial=0, on_event=refuse)
    await world.open(App(world.outside).with_jobs(broken))
    await world.crash()
    jobs = await world.open(App(world.outside).with_jobs(broken))
    await world.error_of(jobs.handle(broken).send("a", 1))
    assert await world.row(broken.address("a")) is None


@frozen
class Old:
    count: int


@frozen
class New:
    count: int
    name: str = ""


def upcast(old: Old) -> New:
    return New(old.count, "upcast")


old: Any = Task("rows", state=Old, event=int, initial=Old(0), decide=lambda row, _: Success(Decision(row)))


def rows_with(upcaster: Any) -> Any:
    return Task(
        "rows",
        state=New,
        event=int,
        initial=New(0),
        decide=lambda row, _: Success(Decision(row)),
        versions=Migrations(Old).then(upcaster),
    )


new = rows_with(upcast)


async def old_row(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(old))
    await world.run(jobs.handle(old).send("a", 1))


@on_each_store
async def test_an_older_state_costs_two_more_commits_once(world: World) -> None:
    """…a claim of its upgrade, and the upgrade: only in that minute, and only for the first request."""
    await old_row(world)
    await world.crash()
    jobs = await world.open(App(world.outside).with_jobs(new))
    for expected in (4, 2):
        before = len(world.commits)
        await world.run(jobs.handle(new).send("a", 1))
        assert len(world.commits) - before == expected
    causes = [
        (claim := commit.write.instance.event_claim) and claim.cause
        for commit in world.commits[-6:]
        if isinstance(commit.write, Put)
    ]
    assert causes == ["upgrade", None, "event", None, "event", None]


@on_each_store
async def test_an_upgrade_that_is_claimed_and_fails_leaves_the_same_bytes(world: World) -> None:
    """As without the claim, and none is left."""

    def broken(_: Old) -> New:
        raise ZeroDivisionError

    await old_row(world)
    before = await world.row(old.address("a"))
    await world.crash()
    bad = rows_with(broken)
    jobs = await world.open(App(world.outside).with_jobs(bad))
    for _ in range(2):
        assert isinstance(await world.error_of(jobs.handle(bad).send("a", 1)), Undecodable)
    row = await world.row(old.address("a"))
    assert before is not None
    assert row is not None
    assert (row.state, row.state_version, row.status) == (before.state, 1, "left")
    assert row.event_claim is None
    await world.crash()
    jobs = await world.open(App(world.outside).with_jobs(new))
    assert await world.run(jobs.handle(new).get_state("a")) == New(0, "upcast")
    assert (await world.run(jobs.handle(new).status("a"))).status == "idle"


@pytest.mark.parametrize(("raised", "owner"), [(SystemExit, None), (KeyboardInterrupt, RELEASED)])
@on_each_store
async def test_a_first_event_that_ends_the_process_in_order_is_not_counted(
    world: World, raised: type[BaseException], owner: int | None
) -> None:
    """An exit fails the event and leaves no instance; an interrupted one is delivered at the next start, uncounted."""

    def initial(_: str) -> int:
        raise raised

    ends, fine = (
        Task("job", state=int, event=int, initial=first, decide=lambda state, event: Success(Decision(state + event)))
        for first in (initial, 0)
    )
    await world.open(App(world.outside).with_jobs(ends))
    await world.crash()
    jobs = await world.open(App(world.outside).with_jobs(ends))
    await world.error_of(jobs.handle(ends).send("a", 1))
    row = await world.row(ends.address("a"))
    assert (row and row.event_claim and row.event_claim.owner) == owner
    await world.close()
    jobs = await world.open(App(world.outside).with_jobs(fine))
    assert await world.run(jobs.handle(fine).get_state("a")) == (None if raised is SystemExit else 1)
