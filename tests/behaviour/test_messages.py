"""``reference/behaviour.md`` 1, *Messages between jobs*."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from machine import (
    Add,
    AlarmIn,
    Break,
    Call,
    End,
    OnAlarm,
    Refuse,
    Say,
    Steps,
    Tell,
    Total,
    Wait,
    app,
    at,
    machine,
    machine_with,
    steps,
)
from returns.result import Success
from world import ProcessDied, World, on_each_store, play

from perdure import App, Continuous, Debounce, DebounceContext, Do, Task, TaskContext, every, program, tell
from perdure.runtime.record import Sizes
from perdure.stores.contract import commit_one
from perdure.values.address import Address
from perdure.values.errors import StoreUnavailable
from perdure.values.instance import Claim, Instance
from perdure.values.message import Message, StoredMessage
from perdure.values.transition import Put, Transition


async def total(world: World, id_: str) -> int:
    state = await world.run(world.jobs.handle(machine).get_state(id_))
    return -1 if state is None else state.total


# ---------------------------------------------------------------- sending
@on_each_store
async def test_a_message_is_committed_with_the_turn_and_delivered_after(world: World) -> None:
    """`tell(definition, id).send(event, …)`: drafted, committed with the turn, delivered after the commit."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Add(5),)), Add())))
    assert (await total(world, "a"), await total(world, "b")) == (1, 5)
    assert await world.messages() == ()
    first, second = world.commits
    assert [message.target for message in first.messages] == [at("b")]
    assert (second.address, second.inbound is None) == (at("b"), False)


@pytest.mark.parametrize("end", [Refuse(), Break()])
@on_each_store
async def test_a_message_is_dropped_with_a_failed_draft(world: World, end: Any) -> None:
    """…dropped with a failed draft."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.error_of(jobs.send("a", steps(Tell("b"), end)))
    assert await total(world, "b") == -1


@on_each_store
async def test_within_one_store_a_message_is_applied_exactly_once(world: World) -> None:
    """Within one store a message is applied exactly once (the receiver's commit consumes it)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(*(Tell("b") for _ in range(20)))))
    assert await total(world, "b") == 20
    consuming = [transition for transition in world.commits if transition.inbound is not None]
    assert len(consuming) == 20


def joined(world: World) -> list[int]:
    """How many messages each consuming commit has consumed."""
    return [len(transition.message_ids) for transition in world.commits if transition.inbound is not None]


@on_each_store
async def test_messages_of_many_senders_to_one_instance_share_commits(world: World) -> None:
    """Each is consumed by the commit that applies it, together with the others that wait for the same instance."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("to", steps()))
    await world.all(*(jobs.send(f"from-{n}", steps(Tell("to", (Add(),)))) for n in range(40)))
    await world.settle()
    assert await total(world, "to") == 40
    assert sum(joined(world)) == 40
    assert world.kind == "memory" or len(joined(world)) < 40


@pytest.mark.parametrize("die_at", range(4, 60, 8))
@on_each_store
async def test_a_crash_repeats_and_loses_none_of_the_messages_that_share_a_commit(world: World, die_at: int) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("to", steps()))
    world.world.crash_after(die_at)

    def sends(calls: Any) -> list[Any]:
        return [calls.send(f"f-{n}", steps(Tell("to", (Add(),))), idempotency_key="once") for n in range(12)]

    try:
        await world.all(*sends(jobs))
        await world.settle()
        await world.crash()
    except ProcessDied:
        pass
    again = (await world.open(app(world.outside))).handle(machine)
    await world.all(*sends(again))
    await world.settle()
    assert await total(world, "to") == 12
    assert await world.messages() == ()


@on_each_store
async def test_a_refused_message_costs_its_neighbours_nothing(world: World) -> None:
    """It is rejected alone, in the commit that it shares."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("to", steps()))
    words = [Tell("to", (Refuse("full"),) if n % 3 == 0 else (Add(),)) for n in range(12)]
    await world.all(*(jobs.send(f"f-{n}", steps(word)) for n, word in enumerate(words)))
    await world.settle()
    assert await total(world, "to") == 8
    rejected = [n for n in range(12) if "message.rejected" in await world.happened(at(f"f-{n}"))]
    assert rejected == [0, 3, 6, 9]


@pytest.mark.parametrize("seed", range(5))
@on_each_store
async def test_order_is_kept_per_sender_and_receiver(world: World, seed: int) -> None:
    """Order is kept per (sender, receiver)."""
    world.restart_with(seed)
    jobs = (await world.open(app(world.outside))).handle(machine)
    calls = [
        jobs.send(f"from-{sender}", steps(*(Tell("to", (Say(f"{sender}{n}"),)) for n in range(4)))) for sender in "xyz"
    ]
    await world.all(*calls)
    await world.settle()
    for sender in "xyz":
        assert [word for word in world.outside.heard if word[0] == sender] == [f"{sender}{n}" for n in range(4)]


# ---------------------------------------------------------------- targets
@on_each_store
async def test_an_absent_target_is_created_or_not_found(world: World) -> None:
    """To an absent target: `start`, `send`, `add` create it, the others are consumed as `not_found`."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("sent"), Call("triggered", "trigger"), Call("ended", "terminate"))))
    assert [await total(world, id_) for id_ in ("sent", "triggered", "ended")] == [1, -1, -1]
    assert await world.messages() == ()
    assert await world.happened(at("ended")) == []


@on_each_store
async def test_a_target_can_be_triggered_and_terminated(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("b", OnAlarm(3_600_000, (Say("ran"),))))
    await world.run(jobs.send("a", steps(Call("b", "trigger"))))
    assert world.outside.heard == ["ran"]
    await world.run(jobs.send("a", steps(Call("b", "terminate"))))
    assert await total(world, "b") == -1


@on_each_store
async def test_an_ended_target_answers_terminated_also_without_a_reason(world: World) -> None:
    """Every termination emits `job.terminated` with its reason, from any caller."""
    ticking = Continuous("ticking", state=Add, schedule=every("1 hour"), execute=lambda _: Success(None))
    batching = Debounce("batching", event=Add, flush_after="1 hour", execute=lambda _: Success(None))

    @program
    def end(ctx: TaskContext[Total], event: Add) -> Do[None]:
        for target in (ticking, batching, machine):
            yield from tell(target, "b").terminate()

    ending = Task("ending", state=Total, event=Add, initial=Total(), on_event=end)
    jobs = await world.open(app(world.outside, machine, ticking, batching, ending))
    await world.run(jobs.handle(ticking).start("b", Add()))
    await world.run(jobs.handle(batching).add("b", Add()))
    await world.run(jobs.handle(machine).send("b", steps()))
    await world.run(jobs.handle(ending).send("a", Add()))
    for target in (ticking, batching, machine):
        last = (await world.history(target.address("b")))[-1]
        assert (last.type, last.reason) == ("job.terminated", "terminated")


@on_each_store
async def test_a_rejection_is_in_the_history_of_the_sender(world: World) -> None:
    """A rejection is recorded on the sender's history (`message.rejected`)."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Refuse("full"),)), Tell("b", (Add(),)))))
    (rejected,) = [event for event in await world.history(at("a")) if event.type == "message.rejected"]
    assert (rejected.target, rejected.action, rejected.error.error_type) == ("task:machine:b", "send", "Refused")
    assert "full" in rejected.error.message
    assert rejected.error.data is not None
    assert json.loads(rejected.error.data) == {"why": "full"}
    assert await total(world, "b") == 1
    assert await world.messages() == ()


@on_each_store
async def test_a_rejection_after_an_effect_is_consumed_as_well(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("b", (Say("x"), Refuse("full"))))))
    assert "message.rejected" in await world.happened(at("a"))
    assert world.outside.heard == ["x"]
    assert await world.messages() == ()


@on_each_store
async def test_a_message_that_its_target_cannot_read_is_left_to_code_that_can(world: World) -> None:
    """It is no dead letter, never deleted and never looped over: this code looks once a minute, other code at once."""
    wide = Task("target", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))
    narrow = Task("target", state=Total, event=Say, initial=Total(), on_event=lambda _, __: Success(None))

    @program
    def send(ctx: TaskContext[Total], event: Steps) -> Do[None]:
        yield from tell(wide, "b").send(event)

    sender = Task("sender", state=Total, event=Steps, initial=Total(), on_event=send)
    jobs = await world.open(App(world.outside).with_jobs(sender, narrow))
    await world.run(jobs.handle(sender).send("a", steps(Add())))
    commits = len(world.commits)
    await world.advance(hours=1)
    assert len(world.commits) - commits <= 60
    (left,) = await world.messages()
    assert (left.deliveries, left.error and left.error.error_type, len(left.codes)) == (0, "InvalidInput", 1)
    assert await world.row(narrow.address("b")) is None
    assert await world.run(jobs.dead_letters()) == ()
    await world.close()

    jobs = await world.open(App(world.outside).with_jobs(sender, wide))
    assert (await world.run(jobs.handle(wide).status("b"))).event_count == 1
    assert await world.messages() == ()


@on_each_store
async def test_a_left_message_is_buried_and_the_next_one_of_its_pair_is_delivered(world: World) -> None:
    """An operator who knows that no code will read it makes it a dead letter, and can turn it back."""
    wide = Task("target", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))
    narrow = Task("target", state=Total, event=Say, initial=Total(), on_event=lambda _, __: Success(None))

    @program
    def send(ctx: TaskContext[Total], event: Steps) -> Do[None]:
        yield from tell(wide, "b").send(event)
        yield from tell(narrow, "b").send(Say("x"))

    sender = Task("sender", state=Total, event=Steps, initial=Total(), on_event=send)
    jobs = await world.open(App(world.outside).with_jobs(sender, narrow))
    await world.run(jobs.handle(sender).send("a", steps(Add())))
    await world.advance(minutes=2)
    (left,) = await world.run(jobs.left_messages())
    assert (str(left.message.sender), left.error and left.error.error_type) == ("task:sender:a", "InvalidInput")
    assert await world.run(jobs.bury(left.message_id + 1)) == "not_found", "it is not left: it waits behind the other"

    assert await world.run(jobs.bury(left.message_id)) == "buried"
    await world.advance(ms=1)
    assert (await world.run(jobs.handle(narrow).status("b"))).event_count == 1
    assert await world.run(jobs.left_messages()) == ()
    assert await world.run(jobs.bury(left.message_id)) == "not_found"
    (dead,) = await world.run(jobs.dead_letters())
    assert (dead.message_id, dead.error) == (left.message_id, left.error)

    assert await world.run(jobs.redrive(left.message_id)) == "redriven"
    await world.advance(ms=1)
    assert [again.message_id for again in await world.run(jobs.left_messages())] == [left.message_id]


@pytest.mark.parametrize(("most", "seen"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_an_operator_sees_some_left_messages_at_a_time(most: int, seen: int, tmp_path: Path) -> None:
    wide = Task("target", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))
    narrow = Task("target", state=Total, event=Say, initial=Total(), on_event=lambda _, __: Success(None))
    sender = Task(
        "sender", state=Total, event=Steps, initial=Total(), on_event=lambda _, event: tell(wide, "b").send(event)
    )

    async def scenario(world: World) -> None:
        jobs = await world.open(App(world.outside).with_jobs(sender, narrow))
        for id_ in "xyz":
            await world.run(jobs.handle(sender).send(id_, steps(Add())))
        await world.advance(ms=1)
        found = await world.run(jobs.left_messages())
        assert [each.message.sender.id for each in found] == list("xyz")[:seen]
        for each in found:
            assert await world.run(jobs.bury(each.message_id)) == "buried"
        assert len(await world.run(jobs.left_messages())) == min(most, 3 - seen)

    play("memory", tmp_path, scenario, sizes=Sizes(left_messages=most))


@on_each_store
async def test_a_message_whose_run_is_left_in_progress_is_not_buried(world: World) -> None:
    """The claim of its target names it: other code continues the run, whose end consumes it."""
    wide = Task("target", state=Total, event=Steps, initial=Total(), on_event=lambda _, __: Success(None))
    narrow = Task("target", state=Total, event=Say, initial=Total(), on_event=lambda _, __: Success(None))
    sender = Task(
        "sender", state=Total, event=Steps, initial=Total(), on_event=lambda _, event: tell(wide, "b").send(event)
    )
    jobs = await world.open(App(world.outside).with_jobs(sender, narrow))
    await world.run(jobs.handle(sender).send("a", steps(Add())))
    await world.advance(ms=1)
    (left,) = await world.run(jobs.left_messages())
    claim = Claim(owner=1, cause="event", run_id="r", claimed_ms=0, action="send", message_id=left.message_id)
    target = Instance(address=narrow.address("b"), state='"no total"', created_ms=0, updated_ms=0, event_claim=claim)
    await world.inspect(lambda store: commit_one(store, Transition(address=target.address, write=Put(target))))
    await world.close()

    jobs = await world.open(App(world.outside).with_jobs(sender, narrow))
    assert (await world.run(jobs.handle(narrow).status("b"))).status == "left"
    assert await world.run(jobs.bury(left.message_id)) == "not_found"
    assert await world.run(jobs.dead_letters()) == ()


@on_each_store
async def test_a_dead_letter_is_kept_for_as_long_as_the_limits_say(world: World) -> None:
    """Retention: to the round of housekeeping, every ten minutes, in which its message is too old."""
    jobs = await world.open(app(world.outside, message_deliveries=1, dead_letter_retention="3600000 ms"))
    world.outside.breaks.add("x")
    await world.run(jobs.handle(machine).send("a", steps(Tell("b", (Say("x"),)))))
    await world.advance(minutes=60, s=1)  # housekeeping of the sixth round saw it an hour old, and not older
    assert len(await world.run(jobs.dead_letters())) == 1
    await world.advance(minutes=10)
    assert await world.run(jobs.dead_letters()) == ()


# ---------------------------------------------------------------- defects
@on_each_store
async def test_a_message_whose_handler_takes_too_long_is_retried_as_after_a_defect(world: World) -> None:
    job = machine_with(run_timeout="1 minute")
    jobs = await world.open(app(world.outside, job, message_deliveries=2))
    await world.run(jobs.handle(job).send("a", steps(Tell("b", (Wait(3_600_000),)))))
    await world.advance(ms=60_000)
    (head,) = await world.messages()
    assert (head.deliveries, head.error and head.error.form) == (1, "timed_out")
    await world.advance(ms=120_000)
    (dead,) = await world.run(jobs.dead_letters())
    assert (dead.deliveries, dead.error and dead.error.error_type) == (2, "RunTimeout")


@on_each_store
async def test_a_defect_is_retried_with_backoff_then_a_dead_letter_that_can_be_redriven(world: World) -> None:
    """A defect or overload is retried with backoff, then listed as a dead letter that can be redriven."""
    jobs = await world.open(app(world.outside, message_deliveries=3))
    world.outside.breaks.add("x")
    await world.run(jobs.handle(machine).send("a", steps(Tell("b", (Say("x"),)), Tell("b", (Say("after"),)))))
    waits = []
    for _ in range(2):
        (head,) = await world.messages()
        assert (head.error and (head.error.form, head.error.message)) == ("defect", "broke at x")
        assert "hear" in (head.error.traceback or "")
        waits.append(head.not_before_ms - world.now_ms)
        assert world.outside.heard == ["x"] * len(waits)  # what follows it from the same sender waits
        await world.advance(ms=waits[-1])
    assert waits == [1_000, 2_000]
    (dead,) = await world.run(jobs.dead_letters())
    assert (dead.deliveries, dead.error and dead.error.error_type) == (3, "RuntimeError")
    assert dead.error == head.error
    assert world.outside.heard == ["x", "x", "x", "after"]
    world.outside.breaks.clear()
    assert await world.run(jobs.redrive(dead.message_id)) == "redriven"
    assert world.outside.heard == ["x", "x", "x", "after", "x"]
    assert await world.run(jobs.dead_letters()) == ()
    assert await world.run(jobs.redrive(dead.message_id)) == "not_found"
    assert [event.attempt for event in await world.history(at("b")) if event.type == "job.failed"] == [1, 2, 3]


@on_each_store
async def test_a_redriven_dead_letter_has_as_many_deliveries_again(world: World) -> None:
    jobs = await world.open(app(world.outside, message_deliveries=3))
    world.outside.breaks.add("x")
    await world.run(jobs.handle(machine).send("a", steps(Tell("b", (Say("x"),)))))
    for round_ in (1, 2):
        for delay in (1_000, 2_000):
            assert await world.run(jobs.dead_letters()) == ()
            (head,) = await world.messages()
            assert head.not_before_ms - world.now_ms == delay
            await world.advance(ms=delay)
        (dead,) = await world.run(jobs.dead_letters())
        assert dead.deliveries == 3 * round_ == len(world.outside.heard)
        assert await world.run(jobs.redrive(dead.message_id)) == "redriven"


@on_each_store
async def test_an_overload_is_retried_with_backoff(world: World) -> None:
    """A defect or *overload* is retried."""
    jobs = (await world.open(app(world.outside, mailbox_size=1))).handle(machine)
    world.start(jobs.send("b", steps(Wait(1_500))))
    await world.settle()
    world.start(jobs.send("b", steps()))
    await world.settle()
    await world.run(jobs.send("a", steps(Tell("b", (Add(7),)))))
    (head,) = await world.messages()
    assert (head.deliveries, head.error and head.error.error_type) == (1, "Overloaded")
    await world.advance(s=3)
    assert await total(world, "b") == 7
    assert await world.messages() == ()


@on_each_store
async def test_a_store_that_does_not_answer_costs_no_message(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.fail("commit", StoreUnavailable("commit", "full"), after=1, times=3)
    await world.run(jobs.send("a", steps(Tell("b"))))
    await world.advance(s=10)
    assert await total(world, "b") == 1


# ---------------------------------------------------------------- held targets
@on_each_store
async def test_a_parked_targets_messages_wait(world: World) -> None:
    """A parked target's messages wait."""
    jobs = (await world.open(app(world.outside, message_deliveries=2))).handle(machine)
    await world.run(jobs.send("b", OnAlarm(1_000, (Say("x"),))))
    world.outside.refusals["x"] = 1
    await world.advance(s=1)
    await world.run(jobs.send("a", steps(Tell("b"), Tell("b"), Tell("c"))))
    await world.advance(hours=1)
    assert (await total(world, "b"), await total(world, "c")) == (0, 1)
    (head,) = await world.messages()
    assert isinstance(head, StoredMessage)
    assert (head.deliveries, head.error and head.error.error_type) == (0, "InstanceParked")
    assert "task:machine:b is parked (retries_exhausted)" in head.error.message
    await world.run(jobs.resume("b"))
    assert await total(world, "b") == 2
    assert await world.messages() == ()


@on_each_store
async def test_a_resumed_target_receives_the_messages_of_every_sender_at_once(world: World) -> None:
    """Their delivery waits for no timer; and so at the second time."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    for time in (1, 2):
        await world.run(jobs.send("b", OnAlarm(1_000, (Say("x"),))))
        world.outside.refusals["x"] = 1
        await world.advance(s=1)
        for sender in "pqr":
            await world.run(jobs.send(sender, steps(Tell("b"))))
        assert len(await world.messages()) == 3
        await world.run(jobs.resume("b"))
        await world.settle()
        assert await total(world, "b") == 3 * time
        assert await world.messages() == ()


@on_each_store
async def test_a_parked_targets_messages_wait_over_a_restart(world: World) -> None:
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("b", OnAlarm(1_000, (Say("x"),))))
    world.outside.refusals["x"] = 1
    await world.advance(s=1)
    await world.run(jobs.send("a", steps(Tell("b"))))
    await world.crash()
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.resume("b"))
    await world.advance(minutes=1)
    assert await total(world, "b") == 1


# ---------------------------------------------------------------- itself
@on_each_store
async def test_an_instance_may_tell_itself(world: World) -> None:
    """An instance may tell itself: a later turn, no deadlock…"""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("a", (Add(10), Say("later"))), Say("first"), Add())))
    await world.settle()
    assert world.outside.heard == ["first", "later"]
    assert await total(world, "a") == 11


@on_each_store
async def test_a_turn_that_terminates_drops_its_messages_to_itself(world: World) -> None:
    """…a turn that terminates drops its messages to itself."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    await world.run(jobs.send("a", steps(Tell("a"), Tell("b"), End())))
    assert (await total(world, "a"), await total(world, "b")) == (-1, 1)
    await world.run(jobs.send("a", steps(Tell("a", (AlarmIn(1_000),)))))
    await world.run(jobs.terminate("a"))
    assert await world.messages() == ()


@on_each_store
async def test_a_message_across_a_crash_is_applied_once(world: World) -> None:
    """Applied exactly once: also when the receiver dies while it handles it."""
    jobs = (await world.open(app(world.outside))).handle(machine)
    world.suspension("x")
    await world.run(jobs.send("a", steps(Tell("b", (Add(), Say("x"))), Tell("b", (Add(10),)))))
    await world.crash()
    world.outside.held.clear()
    await world.open(app(world.outside))
    await world.settle()
    assert await total(world, "b") == 11
    assert world.outside.heard == ["x", "x"]
    assert await world.messages() == ()


@on_each_store
async def test_a_turn_may_send_no_more_than_its_limit(world: World) -> None:
    """`messages_per_turn`: one more is a defect of the program."""
    jobs = (await world.open(app(world.outside, messages_per_turn=3))).handle(machine)
    await world.run(jobs.send("a", steps(*(Tell("b") for _ in range(3)))))
    error = await world.error_of(jobs.send("a", steps(*(Tell("b") for _ in range(4)))))
    assert "at most 3 messages" in str(error)


@on_each_store
async def test_a_message_is_bounded_like_an_event(world: World) -> None:
    """`payload_bytes`: an encoded event, input or message."""
    jobs = (await world.open(app(world.outside, payload_bytes=200))).handle(machine)
    await world.run(jobs.send("a", steps(Add())))

    @program
    def send(ctx: TaskContext[Total], event: Add) -> Do[None]:
        yield from tell(machine, "b").send(steps(End("x" * 200)))

    sender = Task("sender", state=Total, event=Add, initial=Total(), on_event=send)
    await world.close()
    handle = (await world.open(app(world.outside, machine, sender, payload_bytes=200))).handle(sender)
    error = await world.error_of(handle.send("a", Add()))
    assert "at most 200 bytes" in str(error)


@on_each_store
async def test_a_message_to_a_job_that_is_not_served_waits(world: World) -> None:
    """Instances of a job that is not served here are not touched: their messages wait."""
    sender = machine_with()
    other = Task("target", state=Total, event=Add, initial=Total(), on_event=lambda _, __: Success(None))

    @program
    def send(ctx: TaskContext[Total], event: Add) -> Do[None]:
        yield from tell(other, "b").send(event)

    first = Task("sender", state=Total, event=Add, initial=Total(), on_event=send)
    jobs = (await world.open(app(world.outside, sender, first))).handle(first)
    await world.run(jobs.send("a", Add()))
    await world.advance(hours=1)
    assert len(await world.messages()) == 1
    await world.close()
    await world.open(app(world.outside, other))
    await world.settle()
    assert await world.row(other.address("b")) is not None
    assert await world.messages() == ()


@on_each_store
async def test_messages_to_jobs_that_are_not_served_are_reported(world: World) -> None:
    """`health` counts them by job, and each target job is logged once, however many messages wait for it."""
    jobs = await world.open(app(world.outside))
    health = await world.run(jobs.health())
    assert (health.state, health.unserved_messages) == ("ok", 0)
    behind_each_other = [_to_gone(f"lost{number}", "1") for number in range(6) for _ in range(number + 1)]
    await _commit_all(world, [*(_to_gone("gone", f"{number}") for number in range(300)), *behind_each_other])
    for _ in range(3):
        await world.run(jobs.handle(machine).send("a", steps(Tell("b", (Add(),)))))
        await world.settle()
    health = await world.run(jobs.health())
    assert (health.state, health.unserved_messages) == ("degraded", 321)
    named = "task:gone (300), task:lost0 (1), task:lost1 (2), task:lost2 (3), task:lost3 (4), …"
    assert health.detail == f"321 messages wait for jobs that this app does not serve: {named}"
    warned = [record for record in world.world.logs if record.message == "messages wait for a job that is not served"]
    assert sorted(str(record.fields["job"]) for record in warned) == ["task:gone", *(f"task:lost{n}" for n in range(6))]
    assert {record.level for record in warned} == {"warning"}
    (gone,) = [record for record in warned if record.fields["job"] == "task:gone"]
    assert (gone.fields["message"], gone.fields["target"]) == (1, "task:gone:0")
    await _commit_all(world, [_to_gone("lost5", "1")] * 700)
    health = await world.run(jobs.health())
    assert health.unserved_messages == 1_000
    assert health.detail.startswith("at least 1,000 messages wait for jobs")
    await world.close()

    jobs = await world.open(app(world.outside, *(_taker(name) for name in ("gone", *(f"lost{n}" for n in range(6))))))
    await world.settle()
    health = await world.run(jobs.health())
    assert (health.state, health.unserved_messages, health.detail) == ("ok", 0, "")


async def _commit_all(world: World, transitions: Sequence[Transition]) -> None:
    async def commit() -> None:
        for each in transitions:
            await commit_one(world.world.store, each)

    await world.run(commit())
    await world.settle()


def _taker(name: str) -> Task[Total, Add]:
    return Task(name, state=Total, event=Add, initial=Total(), on_event=lambda _, __: Success(None))


def _to_gone(job: str, id_: str) -> Transition:
    target = Address("task", job, id_)
    message = Message(sender=at("a"), target=target, action="send", payload='{"amount":1}', sent_ms=0)
    return Transition(address=at("a"), messages=(message,))


@on_each_store
async def test_an_instance_that_is_used_up_leaves_its_messages_to_its_successor(world: World) -> None:
    """A turn that terminates drops its messages to itself; a batch that is flushed to its end does not terminate."""
    batches: list[int] = []

    @program
    def flush(ctx: DebounceContext[Add]) -> Do[None]:
        batch = yield from ctx.state
        batches.append(batch.amount)
        if batch.amount < 3:
            yield from tell(counted, ctx.id).add(Add(batch.amount + 1))
            yield from tell(counted, ctx.id).add(Add(batch.amount + 2))

    counted = Debounce("counted", event=Add, flush_after="1 second", execute=flush)
    jobs = (await world.open(App(world.outside).with_jobs(counted))).handle(counted)
    await world.run(jobs.add("a", Add(1)))
    await world.advance(s=3)
    assert batches == [1, 3]
