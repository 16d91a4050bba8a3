"""``reference/behaviour.md`` 1, *Addresses and names*, *Types*."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from attrs import frozen
from machine import Add, OnAlarm, Step, Steps, Total, app, at, machine, machine_with, steps
from returns.result import Failure, Result, Success
from world import World, on_each_store

from perdure import App, Decision, Retry, Task
from perdure.jobs.call import Call
from perdure.values.address import Address
from perdure.values.errors import (
    DefinitionError,
    HookRaised,
    InvalidId,
    InvalidInput,
    Rejected,
    UnknownAction,
    UnknownJob,
)
from perdure.values.excerpt import excerpt
from perdure.values.outcome import Failed


def nothing(*_: Any) -> Result[None, str]:
    return Success(None)


def define(**options: Any) -> Task[Any, Any, Any, Any]:
    given: dict[str, Any] = {"state": Total, "event": Steps, "initial": Total(), "on_event": nothing}
    name = options.pop("name", "job")
    return Task(name, **{key: value for key, value in (given | options).items() if value is not ...})


# ---------------------------------------------------------------- addresses
def test_an_address_is_printed_kind_name_id() -> None:
    """An instance has an address (kind, job name, id), printed `kind:name:id`. The id is any text."""
    address = Address("task", "machine", "a:b c/ü")
    assert str(address) == "task:machine:a:b c/ü"
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "x" * 129, 7, None])
def test_a_name_cannot_contain_a_colon(name: Any) -> None:
    """Kind and name cannot contain `:`."""
    with pytest.raises(DefinitionError) as refused:
        define(name=name)
    assert repr(name) in str(refused.value)


@pytest.mark.parametrize("id_", ["", "x" * 513, 7, None, "\ud800"])
@on_each_store
async def test_a_bad_id_fails_at_the_call(world: World, id_: Any) -> None:
    """The id is any text of 1 to 512 characters. A bad id fails at the call."""
    jobs = await world.open(app(world.outside))
    handle = jobs.handle(machine)
    calls: tuple[Callable[[], Call[Any, Any]], ...] = (
        lambda: handle.send(id_, steps()),
        lambda: handle.trigger(id_),
        lambda: handle.terminate(id_),
        lambda: handle.pause(id_),
        lambda: handle.resume(id_),
        lambda: handle.status(id_),
        lambda: handle.get_state(id_),
        lambda: jobs.history(machine, id_),
    )
    for call in calls:
        error = await world.error_of(call())
        assert isinstance(error, InvalidId)
        assert excerpt(id_) in str(error)
    assert world.commits == []


@pytest.mark.parametrize("id_", ["a", "x" * 512, "ü" * 512, ":", " ", "a\x00b", "'; --"])
@on_each_store
async def test_any_text_is_an_id(world: World, id_: str) -> None:
    """The id is any text of 1 to 512 characters."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send(id_, steps(Add())))
    await world.crash()
    jobs = (await world.open(app(world.outside))).handle(machine)
    assert await world.run(jobs.get_state(id_)) == Total(1)


# ---------------------------------------------------------------- definitions
@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({"run_timeout": "1 fortnight"}, "1 fortnight"),
        ({"run_timeout": 5}, "5"),
        ({"run_timeout": timedelta(0)}, "0"),
        ({"runs": 0}, "0"),
        ({"runs": True}, "True"),
        ({"on_event": None}, "exactly one of"),
        ({"decide": nothing}, "exactly one of"),
        ({"on_event": "handler"}, "handler"),
        ({"execute": 5}, "execute of task:job"),
        ({"on_idle": 5}, "on_idle of task:job"),
        ({"on_error": 5}, "on_error of task:job"),
        ({"retry": 3}, "retry of task:job"),
        ({"retry": Retry(max_attempts=2, on_exhausted="continue")}, "'park' or 'purge'"),
        ({"state": complex}, "complex"),
        ({"event": complex}, "event of task:job"),
        ({"tags": {int: "number"}}, "tags of task:job"),
    ],
)
def test_an_invalid_definition_fails_when_it_is_defined(options: dict[str, Any], shown: str) -> None:
    """Every mistake of a definition (duration, limits, name, illegal option pairs, a type that cannot be encoded)
    fails when it is defined, with the value and the fix in the message."""
    with pytest.raises(DefinitionError) as refused:
        define(**options)
    assert shown in str(refused.value)
    assert "expected" in str(refused.value)


def test_an_initial_value_is_checked_when_it_is_defined() -> None:
    """…fails when it is defined."""
    with pytest.raises(DefinitionError, match="initial of task:job"):
        define(initial=5)


def test_two_definitions_of_one_name_clash() -> None:
    """Each kind and name once: they are the address that instances are stored under."""
    with pytest.raises(DefinitionError, match="task:machine twice"):
        App(None).with_jobs(machine, machine_with())


def test_another_object_is_not_a_job() -> None:
    with pytest.raises(DefinitionError, match="expected a definition, such as a Task"):
        App(None).with_jobs("machine")  # type: ignore[arg-type]


@on_each_store
async def test_a_job_that_is_not_served_is_unknown(world: World) -> None:
    """Every bad input gets a typed error that names the expected value, the received one, and the fix."""
    jobs = await world.open(app(world.outside))
    for ask, why in (
        (lambda: jobs.handle(define()), "does not serve"),
        (lambda: jobs.handle(machine_with()), r"serves another definition of task:machine"),
        (lambda: jobs.handle_by_name("task", "other"), r"does not serve task:other \(served: task:machine\)"),
    ):
        with pytest.raises(UnknownJob, match=why):
            ask()
    assert isinstance(await world.error_of(jobs.until(define(), "a")), UnknownJob)
    named = jobs.handle_by_name("task", "machine")
    error = await world.error_of(named.call("explode", "a"))
    assert isinstance(error, UnknownAction)
    assert "send" in str(error)
    assert await world.run(named.call("send", "a", '{"type":"Steps","steps":[{"type":"Add","amount":2}]}')) == {
        "type": "Sent",
        "created": True,
        "status": "idle",
        "scheduled_at": None,
    }


# ---------------------------------------------------------------- types
@pytest.mark.parametrize("event", [None, 5, "Steps", Add(), Steps([Add()]), Steps((Add("1"),)), OnAlarm("5")])  # type: ignore[arg-type, list-item]
@on_each_store
async def test_an_invalid_input_leaves_no_trace(world: World, event: Any) -> None:
    """Strict: no coercion; values given in process are checked by the same rules. An invalid value leaves no
    trace: no instance, no counter, no event."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    error = await world.error_of(jobs.send("a", event, idempotency_key="k"))
    assert isinstance(error, InvalidInput)
    assert "send of task:machine" in str(error) or "event of task:machine" in str(error)
    assert world.commits == []
    assert (await world.run(jobs.send("a", steps(), idempotency_key="k"))).created


@pytest.mark.parametrize(
    "payload",
    ["", "{", "[]", '{"type":"Steps"}', '{"type":"Steps","steps":[],"more":1}', '{"type":"Nothing"}', '{"more":1}'],
)
@on_each_store
async def test_unknown_keys_and_missing_ones_are_refused(world: World, payload: str) -> None:
    """Strict: unknown keys refused."""
    named = (await world.open(app(world.outside))).handle_by_name("task", "machine")
    assert isinstance(await world.error_of(named.call("send", "a", payload)), InvalidInput)
    assert world.commits == []


@on_each_store
async def test_a_state_of_another_type_is_a_defect(world: World) -> None:
    """Values given in process are checked by the same rules: a hook that sets the wrong state breaks."""
    wrong: Any = Total(total="1")  # type: ignore[arg-type]
    job = machine_with(on_event=lambda ctx, _: ctx.set_state(wrong))
    jobs = (await world.open(app(world.outside, job))).handle(job)
    error = await world.error_of(jobs.send("a", steps()))
    assert isinstance(error, HookRaised)
    assert error.error_type == "InvalidInput"
    assert await world.row(at("a")) is None


@on_each_store
async def test_errors_are_stored_and_come_back_typed(world: World) -> None:
    """State, events, inputs and errors are attrs classes or anything cattrs structures."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", OnAlarm(3_600_000, ())))

    @frozen
    class Late:
        since: datetime
        by: timedelta

    late = Late(world.now, timedelta(seconds=5))

    def fail(_: Any) -> Result[None, Late]:
        return Failure(late)

    fail.__annotations__["return"] = Result[None, Late]
    job = machine_with(execute=fail)
    await world.close()
    handle = (await world.open(app(world.outside, job))).handle(job)
    first = await world.run(handle.trigger("a", idempotency_key="k"))
    assert first.outcome == Failed(late)
    await world.crash()
    handle = (await world.open(app(world.outside, job))).handle(job)
    assert (await world.run(handle.trigger("a", idempotency_key="k"))).outcome == Failed(late)


# ---------------------------------------------------------------- tags
@frozen
class Opened:
    by: str


@frozen
class Closed:
    by: str


@frozen
class Renamed:
    by: str


@frozen
class Door:
    last: Opened | Closed | None = None


@frozen
class RenamedDoor:
    last: Renamed | Closed | None = None


def door_of(state: Any, opened: Any) -> Task[Any, Any, Any, Any]:
    """The same job before and after `Opened` was renamed: the tags are the same."""

    def decide(_: Any, event: Any) -> Result[Decision[Any], str]:
        return Success(Decision(state(event)))

    return Task(
        "door",
        state=state,
        event=opened | Closed,
        initial=state(),
        decide=decide,
        tags={opened: "opened", Closed: "closed"},
    )


@on_each_store
async def test_renaming_a_class_orphans_nothing(world: World) -> None:
    """Union tags are stable names in the definition, so that renaming a class orphans nothing."""
    before, after = door_of(Door, Opened), door_of(RenamedDoor, Renamed)
    jobs = (await world.open(App(world.outside).with_jobs(before))).handle(before)
    await world.run(jobs.send("a", Opened("me")))
    row = await world.row(before.address("a"))
    assert row is not None
    assert row.state == '{"last":{"type":"opened","by":"me"}}'
    await world.close()
    jobs = (await world.open(App(world.outside).with_jobs(after))).handle(after)
    assert await world.run(jobs.get_state("a")) == RenamedDoor(Renamed("me"))


def test_each_type_gets_the_tags_that_concern_it() -> None:
    """A tag may concern the state, the events or the errors alone."""

    def decide(_: Total, __: Opened | Closed) -> Result[Decision[Total], Add | Renamed]:
        return Failure(Renamed("me"))

    decide.__annotations__["return"] = Result[Decision[Total], Add | Renamed]
    job = Task(
        "job",
        state=Total,
        event=Opened | Closed,
        initial=Total(),
        decide=decide,
        tags={Opened: "opened", Renamed: "renamed", Step.__args__[0]: "add"},
    )
    assert job.plan.commands["send"].input is not None
    assert job.plan.commands["send"].input.encode(Opened("me")) == b'{"type":"opened","by":"me"}'
    assert job.plan.errors is not None
    assert job.plan.errors.encode(Renamed("me")) == b'{"type":"renamed","by":"me"}'
    assert b'"type":"add"' in job.plan.state.encode(Total(on_alarm=(Add(),)))


@on_each_store
async def test_a_rejection_is_typed(world: World) -> None:
    jobs = (await world.open(App(world.outside).with_jobs(door_of(Door, Opened)))).handle_by_name("task", "door")
    assert (await world.run(jobs.call("send", "a", '{"type":"opened","by":"me"}')))["created"]
    job = define(decide=lambda _, __: Failure("no"), on_event=...)
    await world.close()
    handle = (await world.open(App(world.outside).with_jobs(job))).handle(job)
    error = await world.error_of(handle.send("a", steps()))
    assert isinstance(error, Rejected)
    assert error.error == "no"
