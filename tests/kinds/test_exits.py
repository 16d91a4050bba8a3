"""A kind receives the value of its run, and decides exits by itself before the rules that all kinds share."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import attrs
from reminder import Reminder
from reminder.context import ReminderContext
from returns.future import FutureResult
from returns.result import Failure, Result, Success
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Do, Program, program
from perdure.jobs.hooks import value_of
from perdure.jobs.run import run_failed
from perdure.jobs.step import Commit, Execute
from perdure.jobs.transitions import EventRecorder, answered, put
from perdure.programs import Exit, Halted, Raised, fail, halt, sleep
from perdure.testing import hook_context, simulate
from perdure.testing.migration import rows_of
from perdure.values.event import JobNoted
from perdure.values.instance import Instance
from perdure.values.status import InstanceStatus
from perdure.values.transition import Put
from perdure.values.turn_inputs import TurnInputs

DAY_MS = 86_400_000


@attrs.frozen
class Later:
    """A program that halts with it runs again so much later."""

    by_ms: int


@attrs.frozen(eq=False)
class Question(Reminder[Any]):
    """Stores the value of its run; a halt with `Later` postpones it; a failed attempt leaves a note."""

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit:
        if not isinstance(value, str):
            raise TypeError(value)
        noted = EventRecorder(inputs, execute.instance.address, 1).add(JobNoted, name="told.apart", data='{"by":1}')
        kept = put(
            execute.instance,
            inputs.now_ms,
            events=(noted,),
            data=value,
            claim=None,
            alarm_ms=None,
            pending_retry=None,
        )
        return answered(kept, None)

    def report(self, instance: Instance) -> InstanceStatus:
        return attrs.evolve(super().report(instance), phase="done" if instance.data else None)

    @property
    def simulation_timeout_ms(self) -> int:
        return 7 * DAY_MS

    def exited(self, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute | None:
        match exit_:
            case Halted(Later(by_ms)):
                due_ms = inputs.now_ms + by_ms
                return answered(put(execute.instance, inputs.now_ms, claim=None, alarm_ms=due_ms), None)
            case Failure():
                step = run_failed(self, execute, exit_, inputs)
                if isinstance(step, Commit) and isinstance(step.transition.write, Put):
                    noted = Put(step.transition.write.instance.changed(data="tried"))
                    return Commit(attrs.evolve(step.transition, write=noted), step.result)
                return step
            case _:
                return None


@program
def answer(ctx: ReminderContext) -> Do[str, Refused, HasOutside]:
    text = yield from ctx.state
    if text == "fails":
        yield from fail(Refused("no"))
    if text == "later" and ctx.run_count == 1:
        yield from halt(Later(120_000))
    yield from say(text)
    return text.upper()


def question() -> Question:
    base = Reminder.of("question", answer)
    return Question(base.name, base.plan, base.remind)


async def row(world: World, job: Question, id_: str) -> Instance:
    found = await world.row(job.address(id_))
    assert found is not None
    return found


@on_each_store
async def test_the_value_of_a_run_is_stored_and_a_halt_has_the_meaning_of_the_kind(world: World) -> None:
    job = question()
    handle = (await world.open(App(world.outside).with_jobs(job))).handle(job)
    for text in ("tea", "later", "fails"):
        await world.run(handle.wish(text, text))
    await world.advance(minutes=1)
    assert world.outside.heard == ["tea"]
    assert (await row(world, job, "tea")).data == "TEA"
    assert (await world.run(handle.status("later"))).status == "scheduled"
    failed = await row(world, job, "fails")
    assert (failed.data, failed.status) == ("tried", "parked")
    await world.advance(minutes=2)
    assert (await row(world, job, "later")).data == "LATER"
    assert (await world.run(handle.status("tea"))).phase == "done"
    [noted] = [event for event in await world.history(job.address("tea")) if isinstance(event, JobNoted)]
    assert (noted.name, noted.data) == ("told.apart", '{"by":1}')


@program
def patient(ctx: ReminderContext) -> Do[None]:
    yield from sleep("3 days")


def test_a_kind_decides_how_long_a_simulated_hook_may_take() -> None:
    job = question()
    on = hook_context(job, state="tea")
    assert isinstance(simulate(patient(on.ctx), object(), on=on).exit, Success)
    assert isinstance(simulate(patient(on.ctx), object(), on=on, run_timeout="1 day").exit, Raised)


def test_rows_of_a_kind_that_accepts_only_some_values_are_those_of_a_defect() -> None:
    assert any(row.suspension == "retries_exhausted" for row in rows_of(question()).values())


def test_the_value_type_is_read_from_the_annotation() -> None:
    def by_alias() -> Do[int, Refused]: ...
    def by_program() -> Program[str, Refused]: ...
    def by_future() -> FutureResult[bytes, Refused]: ...
    def by_generator() -> Generator[Program[Any, Refused], Any, float]: ...
    def by_union() -> Program[int] | Result[str, Refused]: ...
    def by_nothing(): ...  # type: ignore[no-untyped-def]
    def by_other() -> int: ...

    read = [value_of(each) for each in (by_alias, by_program, by_future, by_generator)]
    assert read == [int, str, bytes, float]
    assert value_of(by_union) == int | str
    assert value_of(by_nothing) is Any
    assert value_of(by_other) is Any
