"""A kind of job that the package has never heard of has all that the package's own kinds have."""

from __future__ import annotations

from attrs import frozen
from reminder import Reminder
from reminder.context import ReminderContext
from returns.result import Success
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Do, Program, Task, TaskContext, program, tell
from perdure.values.errors import InvalidInput, UnknownAction
from perdure.values.instance import Claim, Instance


@program
def remind(ctx: ReminderContext) -> Do[None, Refused, HasOutside]:
    text = yield from ctx.state
    yield from say(f"{ctx.id}: {text}")


reminder = Reminder.of("reminder", remind)


@frozen
class Nudge:
    text: str


def forward(ctx: TaskContext[int], event: Nudge) -> Program[None]:
    return tell(reminder, ctx.id).wish(event.text)


nudger = Task("nudger", state=int, event=Nudge, initial=0, on_event=forward)


@on_each_store
async def test_it_is_called_by_its_own_handle_and_woken_by_its_alarm(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(reminder))
    handle = jobs.handle(reminder)
    assert (await world.run(handle.wish("ann", "tea"))).changed
    assert (await world.run(handle.snooze("ann", 5_000))).changed
    assert await world.run(handle.get_state("ann")) == "tea"
    await world.advance(s=64)
    assert world.outside.heard == []
    await world.advance(s=2)
    assert world.outside.heard == ["ann: tea"]
    assert (await world.run(handle.status("ann"))).status == "not_found"
    assert await world.happened(reminder.address("ann")) == ["job.executed"]


@on_each_store
async def test_it_has_keys_pausing_ending_recovery_and_parking(world: World) -> None:
    app = App(world.outside).with_jobs(reminder)
    handle = (await world.open(app)).handle(reminder)
    first = await world.run(handle.wish("ann", "tea", idempotency_key="k"))
    assert await world.run(handle.wish("ann", "tea", idempotency_key="k")) == first
    await world.run(handle.pause("ann"))
    await world.advance(minutes=5)
    assert world.outside.heard == []
    world.suspension("ann: tea")
    await world.run(handle.resume("ann"))
    await world.crash()
    world.outside.held.clear()
    handle = (await world.open(app)).handle(reminder)
    assert world.outside.heard == ["ann: tea", "ann: tea"]
    assert "job.recovered" in await world.happened(reminder.address("ann"))
    world.outside.breaks.add("bob: milk")
    await world.run(handle.wish("bob", "milk"))
    await world.advance(minutes=1)
    assert (await world.run(handle.status("bob"))).parked == "retries_exhausted"
    assert (await world.run(handle.terminate("bob"))).terminated


@on_each_store
async def test_other_jobs_can_tell_it_and_tools_call_it_by_name(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(reminder, nudger))
    await world.run(jobs.handle(nudger).send("ann", Nudge("stand up")))
    await world.advance(minutes=1)
    assert world.outside.heard == ["ann: stand up"]
    named = jobs.handle_by_name("reminder", "reminder")
    assert named.actions == ("wish", "snooze", "terminate", "pause", "resume")
    answer = await world.run(named.call("wish", "bob", '"sit down"'))
    assert answer == {"type": "PauseResult", "changed": True, "status": "scheduled"}
    assert isinstance(await world.error_of(named.call("wish", "bob", "3")), InvalidInput)
    assert isinstance(await world.error_of(named.call("sing", "bob")), UnknownAction)


@on_each_store
async def test_a_wrong_input_leaves_nothing(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(reminder))
    wrong = jobs.handle(reminder).wish("ann", 3)  # type: ignore[arg-type] # the mistake under test
    assert isinstance(await world.error_of(wrong), InvalidInput)
    assert await world.row(reminder.address("ann")) is None


def test_its_program_is_a_value_like_any_other() -> None:
    from perdure.programs import run_sync, sandbox  # noqa: PLC0415

    stored = Instance(address=reminder.address("ann"), created_ms=0, updated_ms=0)
    ctx = ReminderContext(stored, Claim(owner=1, cause="alarm", run_id="r", claimed_ms=0))
    exit_ = run_sync(sandbox(ctx.state, lambda _: Success("tea")), None)
    assert exit_ == Success(Success("tea"))
