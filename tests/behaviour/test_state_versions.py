"""States that older and newer code wrote: read in the present form, written so by the next commit, never lost."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, frozen
from machine import app, at, machine, steps
from reminder import Reminder
from reminder.context import ReminderContext
from world import HasOutside, Refused, World, on_each_store, say

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Migrations,
    Program,
    Task,
    TaskContext,
    every,
    program,
)
from perdure.client.local_gateway import engine_of
from perdure.jobs.transitions import put
from perdure.stores.contract import commit_one
from perdure.values.address import Address
from perdure.values.errors import Undecodable
from perdure.values.times import from_ms


@frozen
class AccountV1:
    euros: int


@frozen
class AccountV2:
    cents: int


@frozen
class Account:
    cents: int
    owner: str


def in_cents(old: AccountV1) -> AccountV2:
    return AccountV2(old.euros * 100)


def with_owner(old: AccountV2) -> Account:
    return Account(old.cents, "no one")


VERSIONS = Migrations(AccountV1).then(in_cents).then(with_owner)


@program
def deposit(ctx: TaskContext[Any], euros: int) -> Do[None, Refused, HasOutside]:
    if euros < 0:
        yield from say("a debt")
    if euros:
        yield from ctx.update_state(lambda account: evolve(account, **_more(account, euros)))
    yield from ctx.schedule(after="1 hour")


def _more(account: Any, euros: int) -> dict[str, int]:
    return (
        {"euros": account.euros + euros} if isinstance(account, AccountV1) else {"cents": account.cents + euros * 100}
    )


@program
def tell_balance(ctx: Any) -> Do[None, Refused, HasOutside]:
    state = yield from ctx.state
    yield from say(f"{state}")


def task(state: Any, initial: Any, versions: Any = None) -> Any:
    return Task(
        "accounts",
        state=state,
        event=int,
        initial=initial,
        on_event=deposit,
        execute=tell_balance,
        versions=versions,
    )


OLD = task(AccountV1, AccountV1(0))
NEW = task(Account, Account(0, "new"), VERSIONS)
ANN = OLD.address("ann")


async def ann_of_old_code(world: World, event: int = 5) -> None:
    jobs = (await world.open(App(world.outside).with_jobs(OLD))).handle(OLD)
    await world.run(jobs.send("ann", event))
    await world.close()


@on_each_store
async def test_an_older_state_is_read_in_the_present_form_and_reading_writes_nothing(world: World) -> None:
    await ann_of_old_code(world)
    jobs = (await world.open(App(world.outside).with_jobs(NEW))).handle(NEW)
    before = await world.row(ANN)
    assert await world.run(jobs.get_state("ann")) == Account(500, "no one")
    assert (await world.run(jobs.status("ann"))).status == "scheduled"
    assert await world.row(ANN) == before
    assert before is not None
    assert (before.state, before.state_version) == ('{"euros":5}', 1)


@pytest.mark.parametrize(("event", "cents"), [(1, 600), (0, 500)])
@on_each_store
async def test_the_next_commit_writes_the_new_form(world: World, event: int, cents: int) -> None:
    """…also when the turn leaves the state as it is."""
    await ann_of_old_code(world)
    jobs = (await world.open(App(world.outside).with_jobs(NEW))).handle(NEW)
    await world.run(jobs.send("ann", event))
    row = await world.row(ANN)
    assert row is not None
    assert (row.state, row.state_version) == (f'{{"cents":{cents},"owner":"no one"}}', 3)
    assert await world.run(jobs.get_state("ann")) == Account(cents, "no one")


@on_each_store
async def test_its_alarm_remains_and_runs_on_the_present_schema(world: World) -> None:
    await ann_of_old_code(world)
    await world.open(App(world.outside).with_jobs(NEW))
    await world.advance(hours=1)
    assert world.outside.heard == ["Account(cents=500, owner='no one')"]
    row = await world.row(ANN)
    assert row is not None
    assert (row.state_version, row.status) == (3, "idle")


@on_each_store
async def test_a_pause_and_an_end_do_not_read_the_state(world: World) -> None:
    await ann_of_old_code(world)
    jobs = (await world.open(App(world.outside).with_jobs(NEW))).handle(NEW)
    await world.run(jobs.pause("ann"))
    row = await world.row(ANN)
    assert row is not None
    assert (row.state_version, row.suspension) == (1, "paused")
    await world.run(jobs.resume("ann"))
    assert await world.run(jobs.get_state("ann")) == Account(500, "no one")
    assert (await world.run(jobs.terminate("ann"))).terminated


@on_each_store
async def test_a_run_that_old_code_left_claimed_continues_with_the_present_schema(world: World) -> None:
    jobs = (await world.open(App(world.outside).with_jobs(OLD))).handle(OLD)
    await world.run(jobs.send("ann", 5))
    world.suspension("AccountV1(euros=5)")
    world.start(jobs.trigger("ann"))
    await world.settle()
    await world.crash()
    world.outside.held.clear()
    await world.open(App(world.outside).with_jobs(NEW))
    assert world.outside.heard[-1] == "Account(cents=500, owner='no one')"
    row = await world.row(ANN)
    assert row is not None
    assert (row.state_version, row.claim) == (3, None)


@on_each_store
async def test_a_new_instance_is_of_the_present_version(world: World) -> None:
    """…whether its first turn claims or not."""
    jobs = (await world.open(App(world.outside).with_jobs(NEW))).handle(NEW)
    for id_, event in (("plain", 1), ("claimed", -1)):
        await world.run(jobs.send(id_, event))
        row = await world.row(NEW.address(id_))
        assert row is not None
        assert row.state_version == 3
    assert {row.state_version for row in rows_written(world)} == {3}


def rows_written(world: World) -> list[Any]:
    return [commit.write.instance for commit in world.commits if hasattr(commit.write, "instance")]


# ---------------------------------------------------------------- the other kinds
def tick(ctx: ContinuousContext[Any]) -> Program[None, Refused, HasOutside]:
    return ctx.state.bind(lambda state: say(f"{state}")).map(lambda _: None)


def ticker(state: Any, versions: Any = None) -> Any:
    return Continuous("accounts", state=state, schedule=every("1 hour"), execute=tick, versions=versions)


@on_each_store
async def test_continuous_jobs(world: World) -> None:
    old, new = ticker(AccountV1), ticker(Account, VERSIONS)
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.start("ann", AccountV1(5)))
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.advance(hours=1)
    await world.run(jobs.start("bob", Account(7, "bob")))
    assert world.outside.heard == [
        "AccountV1(euros=5)",
        "Account(cents=500, owner='no one')",
        "Account(cents=7, owner='bob')",
    ]
    for id_ in ("ann", "bob"):
        row = await world.row(new.address(id_))
        assert row is not None
        assert row.state_version == 3


def keep(ctx: DebounceContext[Any], euros: int) -> Program[None, Refused, HasOutside]:
    return ctx.update_state(lambda account: evolve(account, **_more(account, euros)))


@program
def flush(ctx: DebounceContext[Any]) -> Do[None, Refused, HasOutside]:
    state = yield from ctx.state
    yield from say(f"{state}")


def batcher(state: Any, initial: Any, versions: Any = None) -> Any:
    return Debounce(
        "accounts",
        event=int,
        state=state,
        initial=initial,
        flush_after="1 minute",
        on_event=keep,
        execute=flush,
        versions=versions,
    )


@on_each_store
async def test_the_batches_of_a_debounce_the_one_that_collects_and_the_frozen_one(world: World) -> None:
    old, new = batcher(AccountV1, AccountV1(0)), batcher(Account, Account(0, "new"), VERSIONS)
    jobs = (await world.open(App(world.outside).with_jobs(old))).handle(old)
    await world.run(jobs.add("ann", 5))
    world.outside.refusals["AccountV1(euros=5)"] = 1
    await world.advance(minutes=1)
    assert (await world.run(jobs.status("ann"))).parked == "retries_exhausted"
    await world.run(jobs.add("ann", 7))
    await world.close()

    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    assert await world.run(jobs.get_state("ann")) == Account(700, "no one")
    await world.run(jobs.add("ann", 1))
    row = await world.row(new.address("ann"))
    assert row is not None
    assert (row.state, row.state_version) == ('{"cents":800,"owner":"no one"}', 3)
    await world.run(jobs.resume("ann"))
    await world.advance(minutes=2)
    assert world.outside.heard == [
        "AccountV1(euros=5)",
        "Account(cents=500, owner='no one')",
        "Account(cents=800, owner='no one')",
    ]
    assert await world.row(new.address("ann")) is None


def as_text(minutes: int) -> str:
    return f"in {minutes} minutes"


def remind(ctx: ReminderContext) -> Program[None, Refused, HasOutside]:
    return ctx.state.bind(say).map(lambda _: None)


@on_each_store
async def test_a_third_partys_kind(world: World) -> None:
    new = Reminder.of("reminder", remind, versions=Migrations(int).then(as_text))
    jobs = (await world.open(App(world.outside).with_jobs(new))).handle(new)
    await world.run(jobs.wish("ann", "tea"))
    row = await world.row(new.address("ann"))
    assert row is not None
    assert row.state_version == 2
    await _rewrite(world, new.address("ann"), state="3", state_version=1)
    assert await world.run(jobs.get_state("ann")) == "in 3 minutes"
    await world.advance(minutes=1)
    assert world.outside.heard == ["in 3 minutes"]


async def _rewrite(world: World, address: Address, **changes: Any) -> None:
    """Store a row as other code would have written it."""
    row = await world.row(address)
    assert row is not None
    await world.inspect(lambda store: commit_one(store, put(row, row.updated_ms, **changes)))
    if world.world.is_open:
        engine_of(world.jobs).cache.close()  # the engine knows its own writes only


# ---------------------------------------------------------------- unreadable states
@on_each_store
async def test_an_unreadable_value_of_a_kind_parks_as_well_and_hides_nothing(world: World) -> None:
    """The library's own data, as a newer version of it may have written it."""
    job = batcher(Account, Account(0, "new"))
    jobs = await world.open(App(world.outside).with_jobs(job))
    for id_ in ("ann", "bob"):
        await world.run(jobs.handle(job).add(id_, 1))
    await _rewrite(world, job.address("ann"), data='{"colour":"blue"}')
    assert [entry.address.id for entry in await world.run(jobs.list())] == ["ann", "bob"]
    assert isinstance(await world.error_of(jobs.handle(job).status("ann")), Undecodable)
    assert isinstance(await world.error_of(jobs.handle(job).add("ann", 1)), Undecodable)
    row = await world.row(job.address("ann"))
    assert row is not None
    assert (row.status, row.data) == ("left", '{"colour":"blue"}')
    assert isinstance(await world.error_of(jobs.handle(job).resume("ann")), Undecodable)
    assert (await world.run(jobs.handle(job).terminate("ann"))).terminated


async def left_by(world: World, definition: Any) -> Undecodable:
    """Deploy a definition that cannot read the instance: it is left, bytes and version kept, and each call says why."""
    jobs = (await world.open(App(world.outside).with_jobs(definition))).handle(definition)
    before = await world.row(ANN)
    read = await world.error_of(jobs.get_state("ann"))
    assert isinstance(read, Undecodable)
    assert await world.row(ANN) == before
    sent = await world.error_of(jobs.send("ann", 1))
    assert isinstance(sent, Undecodable)
    assert sent.problems == read.problems
    after = await world.row(ANN)
    assert before is not None
    assert after is not None
    assert after.left is not None
    assert (after.suspension, after.status) == (None, "left")
    assert (after.state, after.state_version, after.alarm_ms) == (before.state, before.state_version, before.alarm_ms)
    assert isinstance(await world.error_of(jobs.resume("ann")), Undecodable)
    for call in (jobs.send("ann", 1), jobs.trigger("ann")):
        again = await world.error_of(call)
        assert isinstance(again, Undecodable)
        assert again.problems == read.problems
    report = await world.run(jobs.status("ann"))
    assert report.left is not None
    assert (report.left.message, report.since) == ("; ".join(read.problems), from_ms(after.left.since_ms))
    commits = len(world.commits)
    await world.advance(hours=5)
    assert len(world.commits) == commits
    assert isinstance(await world.error_of(jobs.get_state("ann")), Undecodable)
    return read


async def resumes_under(world: World, definition: Any, state: Any) -> None:
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(definition))).handle(definition)
    assert (await world.run(jobs.status("ann"))).left is None
    assert await world.run(jobs.get_state("ann")) == state
    assert (await world.happened(ANN)).count("job.resumed") == 1


@on_each_store
async def test_a_state_of_newer_code_is_left_and_comes_back_with_it(world: World) -> None:
    jobs = (await world.open(App(world.outside).with_jobs(NEW))).handle(NEW)
    await world.run(jobs.send("ann", 5))
    await world.close()
    read = await left_by(world, OLD)
    assert read.problems == ("$: its version is 3, and this code reads version 1: newer code wrote it",)
    await resumes_under(world, NEW, Account(500, "new"))


@on_each_store
async def test_a_state_that_is_too_old_is_left_and_comes_back_with_code_that_reads_it(world: World) -> None:
    await ann_of_old_code(world)
    retired = task(Account, Account(0, "new"), Migrations(AccountV2, number=2).then(with_owner))
    read = await left_by(world, retired)
    assert read.problems == ("$: its version is 1, and this code reads versions 2 to 3: older code wrote it",)
    await resumes_under(world, NEW, Account(500, "no one"))


def broken(_: AccountV1) -> AccountV2:
    raise KeyError("rate")


@on_each_store
async def test_an_upcaster_that_raises_is_left_and_is_reported_with_its_traceback(world: World) -> None:
    await ann_of_old_code(world)
    read = await left_by(world, task(Account, Account(0, "x"), Migrations(AccountV1).then(broken).then(with_owner)))
    assert read.problems == ("$: the upcaster broken (version 1 to 2) raised KeyError: 'rate'",)
    failed, left = (await world.history(ANN))[-2:]
    assert (failed.type, failed.hook, failed.error.form) == ("job.failed", "broken (version 1 to 2)", "defect")
    assert "raise KeyError" in failed.error.traceback
    assert (left.type, left.error_type) == ("job.left", "UpcastFailed")
    await resumes_under(world, NEW, Account(500, "no one"))


def lying(old: AccountV1) -> AccountV2:
    return old  # type: ignore[return-value] # the mistake under test


@on_each_store
async def test_an_upcaster_that_returns_another_type_is_named(world: World) -> None:
    await ann_of_old_code(world)
    job = task(Account, Account(0, "x"), Migrations(AccountV1).then(lying).then(with_owner))
    read = await left_by(world, job)
    assert read.problems == ("$: expected AccountV2, got AccountV1(euros=5)",)
    await resumes_under(world, NEW, Account(500, "no one"))


@on_each_store
async def test_resuming_by_hand_tries_again(world: World) -> None:
    """A reason that lies outside the code, such as a table that the upcaster reads, may be fixed while it runs."""
    await ann_of_old_code(world)
    rates: dict[str, int] = {}

    def by_rate(old: AccountV1) -> AccountV2:
        return AccountV2(old.euros * rates["euro"])

    by_rate.__annotations__ = {"old": AccountV1, "return": AccountV2}
    job = task(Account, Account(0, "x"), Migrations(AccountV1).then(by_rate).then(with_owner))
    jobs = (await world.open(App(world.outside).with_jobs(job))).handle(job)
    assert isinstance(await world.error_of(jobs.trigger("ann")), Undecodable)
    assert isinstance(await world.error_of(jobs.resume("ann")), Undecodable)
    rates["euro"] = 100
    assert (await world.run(jobs.resume("ann"))).changed
    assert await world.run(jobs.get_state("ann")) == Account(500, "no one")


@on_each_store
async def test_a_job_without_versions_stores_version_one(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps()))
    row = await world.row(at("a"))
    assert row is not None
    assert row.state_version == 1
