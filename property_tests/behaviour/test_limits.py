"""Each limit of the engine, below it, at it and above it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Add, AlarmIn, Mark, OnAlarm, Say, Tell, Total, Wait, app, machine, steps
from returns.result import Failure, Success
from world import HasOutside, Refused, World, play, say

from perdure import (
    App,
    Continuous,
    Debounce,
    Decision,
    Do,
    Limits,
    Task,
    TaskContext,
    effect,
    every,
    program,
    succeed,
    tell,
)
from perdure.client.local_gateway import engine_of
from perdure.values.errors import HookRaised, InvalidInput, Overloaded

FEW = settings(max_examples=25)


def failures(calls: list[Any]) -> list[Any]:
    return [call.result().failure() for call in calls if call.done() and isinstance(call.result(), Failure)]


# ---------------------------------------------------------------- recovery
PAGE = 5


@program
def speak(ctx: TaskContext[int], event: int) -> Do[None, Refused, HasOutside]:
    yield from say(f"{ctx.job}:{ctx.id}#{ctx.delivery}")
    yield from ctx.set_state(event)


speaker = Task("speaker", state=int, event=int, initial=0, on_event=speak)
elsewhere = Task("elsewhere", state=int, event=int, initial=0, on_event=speak)


@pytest.mark.parametrize(("unserved", "served"), [(0, PAGE - 1), (0, PAGE), (0, PAGE + 1), (PAGE, 1), (3, 2 * PAGE)])
def test_every_run_is_recovered_whichever_page_it_is_on(unserved: int, served: int) -> None:
    """Also behind a page of instances whose job this engine does not serve."""

    async def scenario(world: World) -> None:
        many = Limits(concurrency=3 * PAGE, max_pending=3 * PAGE, recovery_page=PAGE)
        jobs = await world.open(App(world.outside, limits=many).with_jobs(elsewhere, speaker))
        asked = [*((elsewhere, number) for number in range(unserved)), *((speaker, n) for n in range(served))]
        for job, number in asked:
            world.suspension(f"{job.name}:{number}#1")
            world.start(jobs.handle(job).send(str(number), 7))
            await world.settle()
        assert len(world.outside.heard) == unserved + served
        await world.crash()
        world.outside.heard.clear()
        world.outside.held.clear()
        await world.open(App(world.outside, limits=many).with_jobs(speaker))
        await world.settle()
        assert sorted(world.outside.heard) == sorted(f"speaker:{number}#2" for number in range(served))
        await world.crash()  # the others keep their claims: the next engine that serves their job recovers them
        world.outside.heard.clear()
        await world.open(App(world.outside, limits=many).with_jobs(elsewhere, speaker))
        await world.settle()
        assert len(world.outside.heard) == unserved

    play("memory", Path(), scenario)


def alarming(state: Any) -> Any:
    """A job whose alarm says who it is; two of them cannot read each other's states."""

    @program
    def execute(ctx: TaskContext[Any]) -> Do[None, Refused, HasOutside]:
        yield from say(ctx.id)

    return Task(
        "alarming",
        state=state,
        event=int,
        initial=state(),
        on_event=lambda ctx, _: ctx.schedule(after="1 second"),
        execute=execute,
    )


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_every_instance_that_is_left_is_taken_up_whichever_page_it_is_on(count: int) -> None:
    before, between = alarming(int), alarming(list[str])

    async def scenario(world: World) -> None:
        paged = Limits(recovery_page=PAGE)
        jobs = await world.open(App(world.outside, limits=paged).with_jobs(before))
        for number in range(count):
            await world.run(jobs.handle(before).send(str(number), 1))
        await world.crash()
        await world.open(App(world.outside, limits=paged).with_jobs(between))
        await world.advance(s=2)
        assert world.outside.heard == []
        await world.close()
        await world.open(App(world.outside, limits=paged).with_jobs(before))
        await world.advance(s=2)
        assert sorted(world.outside.heard) == sorted(map(str, range(count)))

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- requests, and messages beside them
@FEW
@given(room=st.integers(1, 4), asked=st.integers(0, 7))
@example(room=2, asked=2)
@example(room=2, asked=3)
def test_a_mailbox_takes_as_many_as_its_limit(room: int, asked: int) -> None:
    async def scenario(world: World) -> None:
        jobs = (await world.open(app(world.outside, mailbox_size=room))).handle(machine)
        world.suspension("held")
        first = world.start(jobs.send("a", steps(Say("held"))))
        await world.settle()
        calls = [world.start(jobs.send("a", steps(Add()))) for _ in range(asked)]
        await world.settle()
        refused = failures(calls)
        assert len(refused) == max(0, asked - room)
        assert all(isinstance(error, Overloaded) and error.limit == room for error in refused)
        assert isinstance(await world.attempt(jobs.send("b", steps(Add()))), Success)
        world.release("held")
        await world.settle()
        assert first.done()
        assert (await world.run(jobs.get_state("a"))).total == min(asked, room)

    play("memory", Path(), scenario)


@FEW
@given(room=st.integers(1, 4), asked=st.integers(0, 7), messages=st.integers(1, 3))
@example(room=1, asked=1, messages=1)
@example(room=2, asked=7, messages=3)
def test_a_full_engine_refuses_requests_and_takes_alarms_and_messages(room: int, asked: int, messages: int) -> None:
    """Accepted and stored work needs no room: a message is delivered at once, and is not a dead letter."""

    async def scenario(world: World) -> None:
        jobs = await world.open(app(world.outside, max_pending=room, message_deliveries=1))
        handle = jobs.handle(machine)
        told = tuple(Tell(f"target-{number}", (Add(), Mark(f"told-{number}"))) for number in range(messages))
        await world.run(handle.send("sender", OnAlarm(1_000, told)))
        calls = []
        for number in range(asked):
            world.suspension(f"held-{number}")
            calls.append(world.start(handle.send(f"other-{number}", steps(Say(f"held-{number}")))))
        await world.settle()
        assert len(failures(calls)) == max(0, asked - room)
        await world.advance(ms=1_000)
        assert sum(not call.done() for call in calls) == min(asked, room)
        heard = [word for word in world.outside.heard if word.startswith("told")]
        assert sorted(heard) == [f"told-{number}#1.1" for number in range(messages)]
        assert await world.messages() == ()
        assert await world.run(jobs.dead_letters()) == ()

    play("memory", Path(), scenario)


@FEW
@given(deliveries=st.integers(1, 4))
def test_a_message_is_delivered_as_often_as_its_limit(deliveries: int) -> None:
    async def scenario(world: World) -> None:
        jobs = await world.open(app(world.outside, message_deliveries=deliveries))
        world.outside.breaks.add("x")
        await world.run(jobs.handle(machine).send("a", steps(Tell("b", (Say("x"),)))))
        await world.advance(hours=12)
        assert world.outside.heard == ["x"] * deliveries
        (dead,) = await world.run(jobs.dead_letters())
        assert dead.deliveries == deliveries

    play("memory", Path(), scenario)


@FEW
@given(limit=st.integers(0, 4), sent=st.integers(0, 6), by=st.sampled_from(["event", "alarm", "decision"]))
@example(limit=3, sent=3, by="event")
@example(limit=3, sent=4, by="event")
@example(limit=3, sent=4, by="alarm")
@example(limit=3, sent=4, by="decision")
def test_a_turn_sends_as_many_messages_as_its_limit(limit: int, sent: int, by: str) -> None:
    """One more is a defect of the program: nothing of its draft is kept. The next turn may send as many again."""

    @program
    def decided(ctx: TaskContext[int], event: int) -> Do[None]:
        messages = tuple(tell(machine, "b").send(steps(Add())) for _ in range(event))
        yield from ctx.apply(Decision(event, messages=messages))

    deciding = Task("deciding", state=int, event=int, initial=0, on_event=decided)

    async def scenario(world: World) -> None:
        jobs = await world.open(app(world.outside, machine, deciding, messages_per_turn=limit))
        told = tuple(Tell("b") for _ in range(sent))
        for _ in range(2):
            if by == "decision":
                answer = await world.attempt(jobs.handle(deciding).send("a", sent))
            else:
                event = steps(*told) if by == "event" else OnAlarm(10, told)
                answer = await world.attempt(jobs.handle(machine).send("a", event))
                await world.advance(ms=20)
                if by == "alarm":
                    await world.attempt(jobs.handle(machine).resume("a"))
            if sent > limit and by != "alarm":
                assert isinstance(answer, Failure)
                assert isinstance(answer.failure(), HookRaised)
                assert f"at most {limit} messages" in str(answer.failure())
        target = await world.run(jobs.handle(machine).get_state("b"))
        assert (target or Total()).total == (2 * sent if sent <= limit else 0)

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- bytes
@frozen
class Text:
    text: str = ""


@program
def keep(ctx: TaskContext[Text], event: Text) -> Do[None]:
    yield from ctx.set_state(event)


@program
def twice(ctx: TaskContext[Text], event: Text) -> Do[None]:
    """The state is larger than the event."""
    yield from ctx.set_state(Text(event.text * 2))


@program
def pass_on(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(keeping, "told").send(Text("ü" * event))


keeping = Task("keeping", state=Text, event=Text, initial=Text(), on_event=keep)
doubling = Task("doubling", state=Text, event=Text, initial=Text(), on_event=twice)
passing = Task("passing", state=int, event=int, initial=0, on_event=pass_on)
recurring = Continuous("recurring", state=Text, schedule=every("1 hour"), execute=lambda ctx: succeed(None))
newest = Debounce("newest", event=Text, flush_after="1 hour", execute=lambda ctx: succeed(None))
texts = st.text(st.sampled_from('aé€😀"\\\n'), max_size=12)


def encoded_bytes(text: str) -> int:
    return len(keeping.plan.state.encode(Text(text)))


@settings(max_examples=60)
@given(
    text=texts,
    margin=st.integers(-1, 1),
    of=st.sampled_from(["state", "event", "start", "start state", "first of batch", "message"]),
)
@example(text="ü", margin=0, of="state")
@example(text="ü", margin=-1, of="state")
@example(text="ü", margin=-1, of="event")
@example(text="ü", margin=-1, of="start state")
@example(text="ü", margin=-1, of="first of batch")
@example(text="üüüü", margin=-1, of="message")
def test_a_value_may_have_as_many_bytes_as_its_limit(text: str, margin: int, of: str) -> None:
    """Bytes of its encoded form, not characters. An oversized value leaves nothing."""
    sized = {
        "state": text * 2,
        "message": "ü" * len(text),
    }.get(of, text)
    room = encoded_bytes(sized) + margin
    payload = {"event", "start", "message"}

    async def scenario(world: World) -> None:
        limits = Limits(**{"payload_bytes" if of in payload else "state_bytes": room})  # type: ignore[arg-type]
        jobs = await world.open(
            App(world.outside, limits=limits).with_jobs(keeping, doubling, passing, recurring, newest)
        )
        job: Any
        if of in {"start", "start state"}:
            job = recurring
            answer = await world.attempt(jobs.handle(recurring).start("a", Text(text)))
        elif of == "first of batch":
            job = newest
            answer = await world.attempt(jobs.handle(newest).add("a", Text(text)))
        elif of == "message":
            job = passing
            answer = await world.attempt(jobs.handle(passing).send("a", len(text)))
        else:
            job = doubling if of == "state" else keeping
            answer = await world.attempt(jobs.handle(job).send("a", Text(text)))
        assert isinstance(answer, Success) == (margin >= 0), answer
        if isinstance(answer, Failure):
            assert isinstance(
                answer.failure(), HookRaised if of in {"state", "first of batch", "message"} else InvalidInput
            )
            assert f"{room} bytes" in str(answer.failure())
            assert await world.row(job.address("a")) is None
        await world.settle()
        told = await world.run(jobs.handle(keeping).get_state("told"))
        assert told == (Text(sized) if of == "message" and margin >= 0 else None)

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- alarms
dues = st.lists(
    st.tuples(st.sampled_from([1_000, 1_000, 1_500, 2_000, 2_001]), st.booleans()),
    max_size=11,
)


@effect
def note(outside: Any, word: str) -> Any:
    outside.heard.append(f"{word} at {outside.world.now_ms}")
    return Success(None)


@program
def ring(ctx: TaskContext[int]) -> Do[None, Any, Any]:
    yield from note(f"{ctx.job}:{ctx.id}")


def bell(name: str) -> Any:
    return Task(
        name,
        state=int,
        event=int,
        initial=0,
        on_event=lambda ctx, after_ms: ctx.schedule(after=f"{after_ms} ms"),
        execute=ring,
    )


bells, strange_bells = bell("bells"), bell("strange-bells")


@settings(max_examples=50)
@given(batch=st.integers(1, 4), given_dues=dues)
@example(batch=2, given_dues=[(1_000, True)])
@example(batch=2, given_dues=[(1_000, True)] * 2)
@example(batch=2, given_dues=[(1_000, True)] * 3)
@example(batch=1, given_dues=[(1_000, False)] * 3 + [(1_000, True), (1_500, True)])
def test_every_alarm_fires_in_its_time_however_few_are_read_at_once(
    batch: int, given_dues: list[tuple[int, bool]]
) -> None:
    """Also when many are due at one instant, and beside those of jobs that this engine does not serve."""

    async def scenario(world: World) -> None:
        jobs = await world.open(App(world.outside).with_jobs(bells, strange_bells))
        began_ms = world.now_ms
        for number, (after_ms, served) in enumerate(given_dues):
            await world.run(jobs.handle(bells if served else strange_bells).send(str(number), after_ms))
        assert world.now_ms == began_ms
        await world.close()
        await world.open(App(world.outside, limits=Limits(alarm_batch=batch)).with_jobs(bells))
        await world.advance(s=10)
        expected = [
            f"bells:{number} at {began_ms + after_ms}" for number, (after_ms, served) in enumerate(given_dues) if served
        ]
        assert sorted(world.outside.heard) == sorted(expected)

    play("memory", Path(), scenario)


@FEW
@given(room=st.integers(1, 3), due=st.integers(0, 7))
def test_as_many_alarms_are_under_way_as_requests_may_be(room: int, due: int) -> None:
    async def scenario(world: World) -> None:
        jobs = await world.open(app(world.outside, max_pending=room))
        for number in range(due):
            await world.run(jobs.handle(machine).send(str(number), OnAlarm(1_000, (Wait(500), AlarmIn(10**7)))))
        await world.advance(ms=1_000)
        assert engine_of(world.jobs).alarms.under_way == min(due, room)
        await world.advance(s=10)
        assert engine_of(world.jobs).alarms.under_way == 0
        for number in range(due):
            assert (await world.run(jobs.handle(machine).status(str(number)))).run_count == 1

    play("memory", Path(), scenario)
