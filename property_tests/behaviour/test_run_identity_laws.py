"""One logical run has one id and new marks for each repeat, whatever ends its attempts and repeats them."""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from machine import Add, OnAlarm, Say, Tell, app, machine, machine_with, steps
from world import World, play

from perdure import Backoff, Retry

ENDS = ("refused", "raised", "crashed", "stopped")
"""How an attempt ends that did not succeed."""

KEY = "k"


def marks(world):
    return [(call.run_id, call.attempt, call.delivery) for call in world.world.effects]


def assert_one_run(world):
    """Each call has the id of the first, and marks of its own."""
    found = marks(world)
    assert len({run_id for run_id, *_ in found}) == 1, found
    assert len(set(found)) == len(found), found
    assert all(attempt > 1 or delivery > 1 for _, attempt, delivery in found[1:]), found


async def fail(world, end, call, job):
    """Let one attempt of a request end, and the recovered one of a crash as well."""
    if end == "raised":
        world.outside.breaks.add("x")
        await world.attempt(call())
        world.outside.breaks.clear()
        return
    world.outside.refusals["x"] = 1
    if end == "refused":
        await world.attempt(call())
        return
    world.suspension("x")
    world.start(call())
    await world.settle()
    world.outside.held.clear()
    await (world.crash() if end == "crashed" else world.close())
    await world.open(app(world.outside, job))
    await world.settle()


@given(st.lists(st.sampled_from(ENDS), max_size=4))
@example(["refused"])
@example(["raised", "crashed", "refused"])
@example(["crashed"])
def test_a_keyed_event_is_one_run_until_it_is_applied(ends):
    async def scenario(world: World) -> None:
        await world.open(app(world.outside))

        def call():
            return world.jobs.handle(machine).send("a", steps(Say("x"), Add()), idempotency_key=KEY)

        for end in ends:
            await fail(world, end, call, machine)
        await world.run(call())
        assert_one_run(world)
        count = len(marks(world))
        await world.run(call())
        assert len(marks(world)) == count
        await world.run(world.jobs.handle(machine).send("a", steps(Say("x"), Add()), idempotency_key="another"))
        assert len({run_id for run_id, *_ in marks(world)}) == 2

    play("memory", Path(), scenario)


@given(st.integers(0, 6), st.integers(1, 3))
@example(1, 3)
@example(3, 2)
@example(2, 1)
def test_a_message_is_one_run_until_it_is_consumed(failures, deliveries):
    """Deliveries after backoff, and redrives of the dead letter; each redrive has as many again."""

    async def scenario(world: World) -> None:
        await world.open(app(world.outside, message_deliveries=deliveries))
        world.outside.breaks.add("x")
        await world.run(world.jobs.handle(machine).send("a", steps(Tell("b", (Say("x"), Add())))))
        redrives = seconds = 0
        while len(marks(world)) < failures:
            seconds += 1
            assert seconds <= 60 * failures, f"{marks(world)}: delivered again, and not run"
            await world.advance(ms=1_000)
            letters = await world.run(world.jobs.dead_letters())
            if letters and len(marks(world)) < failures:
                redrives += 1
                await world.run(world.jobs.redrive(letters[0].message_id))
        assert redrives == max(0, len(marks(world)) - 1) // deliveries
        world.outside.breaks.clear()
        for letter in await world.run(world.jobs.dead_letters()):
            await world.run(world.jobs.redrive(letter.message_id))
        await world.advance(hours=1)
        assert_one_run(world)
        assert (await world.run(world.jobs.handle(machine).get_state("b"))).total == 1

    play("memory", Path(), scenario)


@given(st.lists(st.sampled_from(("policy", "operator", *ENDS[2:])), max_size=5))
@example(["operator"])
@example(["crashed", "operator", "policy"])
def test_a_run_is_one_run_also_if_an_operator_retries_it(ends):
    """By the policy or by an operator's trigger; `new_run` abandons it."""
    job = machine_with(retry=Retry(20, Backoff.constant("1 minute"), jitter=False))

    async def scenario(world: World) -> None:
        await world.open(app(world.outside, job))
        await world.run(world.jobs.handle(job).send("a", OnAlarm(3_600_000, (Say("x"), Add()))))

        def call():
            return world.jobs.handle(job).trigger("a")

        await fail(world, "refused", call, job)
        for end in ends:
            if end == "policy":
                world.outside.refusals["x"] = 1
                await world.advance(minutes=1)
            else:
                await fail(world, "refused" if end == "operator" else end, call, job)
        assert_one_run(world)
        assert (await world.run(world.jobs.handle(job).status("a"))).run_count == 1
        await world.run(world.jobs.handle(job).trigger("a", new_run=True))
        assert len({run_id for run_id, *_ in marks(world)}) == 2

    play("memory", Path(), scenario)
