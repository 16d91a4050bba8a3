"""Pairs of features, each of which works alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st
from machine import Add, Mark, OnAlarm, machine, steps
from returns.result import Failure, Success
from world import HasOutside, Refused, World, play, say

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    Do,
    Limits,
    Retry,
    Task,
    TaskContext,
    every,
    program,
    tell,
)
from perdure.jobs.draft import TooManyMessages
from perdure.values.errors import IdempotencyConflict, InstanceParked, InvalidInput, Undecodable
from perdure.values.schedule import CatchUp


# ---------------------------------------------------------------- undecodable x message
@program
def take(ctx: TaskContext[Any], event: int) -> Do[None]:
    yield from ctx.update_state(lambda state: [*state, event])


@program
def pass_on(ctx: TaskContext[int], event: int) -> Do[None]:
    yield from tell(readable, "a").send(event)


def box(state: Any) -> Any:
    """The same job, in code that can read the stored rows, and in code that cannot."""
    return Task("box", state=state, event=int, initial=state(), on_event=take)


readable, unreadable = box(list[int]), box(dict[str, int])
senders = Task("senders", state=int, event=int, initial=0, on_event=pass_on)

happens = st.one_of(
    st.tuples(st.just("tell"), st.sampled_from("xyz")),
    st.tuples(st.just("send"), st.none() | st.sampled_from("kl")),
    st.tuples(st.sampled_from(["deploy unreadable", "deploy readable", "crash", "pause", "resume"]), st.none()),
    st.tuples(st.just("wait"), st.sampled_from([10, 30_000, 7_200_000])),
)


@settings(max_examples=80)
@given(st.lists(happens, max_size=14))
@example([("deploy unreadable", None), ("tell", "x"), ("tell", "x"), ("wait", 7_200_000), ("deploy readable", None)])
@example([("deploy unreadable", None), ("tell", "x"), ("crash", None), ("tell", "x"), ("resume", None)])
@example([("pause", None), ("deploy unreadable", None), ("tell", "x"), ("deploy readable", None), ("resume", None)])
@example([("deploy unreadable", None), ("send", "k"), ("deploy readable", None), ("send", "k"), ("send", "k")])
def test_messages_to_an_unreadable_instance_wait_until_it_is_readable(given_: list[tuple[str, Any]]) -> None:
    """Each is applied once, in the order of its sender. A request that was refused left nothing, not even its key."""

    async def scenario(world: World) -> None:
        current = readable
        jobs = await world.open(App(world.outside).with_jobs(current, senders))
        await world.run(jobs.handle(current).send("a", 0))
        messages: dict[str, list[int]] = {"x": [], "y": [], "z": []}
        sent: list[int] = [0]
        keys: dict[str, int] = {}
        for number, (action, detail) in enumerate(given_, start=1):
            match action:
                case "tell":
                    await world.run(jobs.handle(senders).send(detail, number))
                    messages[detail].append(number)
                case "send":
                    event = keys.get(detail, number)
                    answer = await world.attempt(jobs.handle(current).send("a", event, idempotency_key=detail))
                    assert isinstance(answer, Success) == (current is readable or detail in keys), answer
                    if isinstance(answer, Failure):
                        assert isinstance(answer.failure(), Undecodable | InstanceParked)
                    elif detail not in keys:
                        sent.append(event)
                        keys |= {} if detail is None else {detail: event}
                case "pause" | "resume":
                    await world.attempt(getattr(jobs.handle(current), action)("a"))
                case "wait":
                    await world.advance(ms=detail)
                case _:
                    current = {"deploy unreadable": unreadable, "deploy readable": readable}.get(action, current)
                    await (world.crash() if action == "crash" else world.close())
                    jobs = await world.open(App(world.outside).with_jobs(current, senders))
        await world.close()
        jobs = await world.open(App(world.outside).with_jobs(readable, senders))
        await world.attempt(jobs.handle(readable).resume("a"))
        await world.advance(minutes=2)
        state = await world.run(jobs.handle(readable).get_state("a"))
        assert sorted(state) == sorted([*sent, *(number for each in messages.values() for number in each)])
        for each in (*messages.values(), sent):
            assert [number for number in state if number in each] == each
        assert await world.messages() == ()
        assert await world.run(jobs.dead_letters()) == ()

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- key x two actions
flushed = Debounce("flushed", event=int, flush_after="1 hour", execute=lambda ctx: say(f"flush {ctx.run_count}"))
hourly = Continuous("hourly", state=int, schedule=every("1 hour"), execute=lambda ctx: say(f"run {ctx.run_count}"))
SHARED = (("pause", ()), ("resume", ()), ("terminate", ()), ("terminate", ("why",)))
ACTIONS: dict[str, tuple[Any, tuple[tuple[str, tuple[Any, ...]], ...]]] = {
    "task": (
        machine,
        (
            ("send", (steps(Add(), Mark("x")),)),
            ("send", (OnAlarm(10**7, (Mark("y"),)),)),
            ("trigger", ()),
            *SHARED,
        ),
    ),
    "debounce": (flushed, (("add", (1,)), ("add", (2,)), ("flush", ()), ("clear", ()), *SHARED)),
    "continuous": (hourly, (("start", (1,)), ("start", (2,)), ("trigger", ()), *SHARED)),
}


@settings(max_examples=80)
@given(data=st.data(), kind=st.sampled_from(sorted(ACTIONS)))
def test_a_key_belongs_to_the_first_action_that_was_made_with_it(data: st.DataObject, kind: str) -> None:
    """The same request gets the first answer, another one is refused, and neither changes anything."""
    job, actions = ACTIONS[kind]
    made = st.tuples(st.sampled_from(actions), st.none() | st.sampled_from("kl"))
    given_ = data.draw(st.lists(made, max_size=12), label="requests")

    async def scenario(world: World) -> None:
        handle: Any = (await world.open(App(world.outside).with_jobs(job))).handle(job)
        table: dict[str, tuple[Any, Any]] = {}
        for (action, inputs), key in given_:
            await world.settle()
            before, heard = await world.row(job.address("a")), list(world.outside.heard)
            answer = await world.attempt(getattr(handle, action)("a", *inputs, idempotency_key=key))
            first = table.get(key or "")
            if first is None:
                assert isinstance(answer, Success)
                table |= {} if key is None else {key: ((action, inputs), answer)}
                continue
            if first[0] == (action, inputs):
                assert answer == first[1]
            else:
                assert isinstance(answer, Failure)
                assert isinstance(answer.failure(), IdempotencyConflict)
            await world.settle()
            assert (await world.row(job.address("a")), world.outside.heard) == (before, heard)

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- refused state x caught error
@frozen
class Change:
    """Set the state, or update it: fine, of another type, or too large; or raise while it is computed."""

    how: str
    value: str


ROOM = 30
GOOD, WRONG, LARGE, BROKEN = "good", "wrong type", "too large", "raises"


def _value(change: Change) -> Any:
    return {GOOD: change.value, WRONG: 7, LARGE: change.value + "x" * ROOM}[change.how]


def _updated(change: Change) -> Any:
    if change.how == BROKEN:
        raise InvalidInput("the update", (change.value,))
    return _value(change)


@program
def change_it(ctx: TaskContext[str], change: Change, by: str) -> Do[None]:
    if by == "set" and change.how != BROKEN:
        yield from ctx.set_state(_value(change))
    else:
        yield from ctx.update_state(lambda _: _updated(change))


@program
def change_all(ctx: TaskContext[str], event: tuple[tuple[Change, str], ...]) -> Do[None, Refused, HasOutside]:
    expected = yield from ctx.state
    for change, by in event:
        try:
            yield from change_it(ctx, change, by)
            expected = change.value
        except InvalidInput:
            pass
        found = yield from ctx.state
        assert found == expected, f"the program sees {found!r} after {expected!r}"
    yield from say(expected)


changes = st.tuples(
    st.builds(Change, st.sampled_from([GOOD, WRONG, LARGE, BROKEN]), st.text("abü", max_size=6)),
    st.sampled_from(["set", "update"]),
)
careful = Task("careful", state=str, event=tuple[tuple[Change, str], ...], initial="", on_event=change_all)


@settings(max_examples=80)
@given(st.lists(st.lists(changes, max_size=5), min_size=1, max_size=3))
@example([[(Change(GOOD, "a"), "set"), (Change(LARGE, "b"), "set")]])
@example([[(Change(GOOD, "a"), "set"), (Change(WRONG, "b"), "update")], [(Change(BROKEN, "c"), "update")]])
@example([[(Change(LARGE, "b"), "set")]])
def test_a_refused_state_whose_error_is_caught_leaves_the_one_before(events: list[list[tuple[Change, str]]]) -> None:
    async def scenario(world: World) -> None:
        handle = (await world.open(App(world.outside, limits=Limits(state_bytes=ROOM)).with_jobs(careful))).handle(
            careful
        )
        expected = ""
        for event in events:
            await world.run(handle.send("a", tuple(event)))
            expected = next((change.value for change, _ in reversed(event) if change.how == GOOD), expected)
            assert await world.run(handle.get_state("a")) == expected
            assert world.outside.heard[-1] == expected

    play("memory", Path(), scenario)


@frozen
class Post:
    """Tell another job: fine, or too large."""

    number: int
    fits: bool


@program
def tell_all(ctx: TaskContext[int], posts: tuple[Post, ...]) -> Do[None]:
    refused = 0
    for post in posts:
        try:
            yield from tell(hearing, "b").send(f"{post.number}" if post.fits else "x" * 1_000)
        except (InvalidInput, TooManyMessages):
            refused += 1
    yield from ctx.set_state(refused)


@program
def hear(ctx: TaskContext[tuple[str, ...]], event: str) -> Do[None]:
    yield from ctx.update_state(lambda heard: (*heard, event))


talking = Task("talking", state=int, event=tuple[Post, ...], initial=0, on_event=tell_all)
hearing = Task("hearing", state=tuple[str, ...], event=str, initial=(), on_event=hear)


@settings(max_examples=50)
@given(st.lists(st.builds(Post, st.integers(0, 99), st.booleans()), max_size=8), st.integers(0, 4))
@example([Post(1, fits=True), Post(2, fits=False), Post(3, fits=True), Post(4, fits=True)], 2)
def test_a_refused_message_whose_error_is_caught_is_not_sent(posts: list[Post], room: int) -> None:
    async def scenario(world: World) -> None:
        limits = Limits(messages_per_turn=room, payload_bytes=900)
        jobs = await world.open(App(world.outside, limits=limits).with_jobs(talking, hearing))
        await world.run(jobs.handle(talking).send("a", tuple(posts)))
        expected = tuple(f"{post.number}" for post in posts if post.fits)[:room]
        assert (await world.run(jobs.handle(hearing).get_state("b")) or ()) == expected
        assert await world.run(jobs.handle(talking).get_state("a")) == len(posts) - len(expected)

    play("memory", Path(), scenario)


# ---------------------------------------------------------------- missed over repeated skips
MINUTE_MS = 60_000
CATCH_UPS: tuple[CatchUp, ...] = ("once", "skip", "all")
periods = st.lists(
    st.tuples(
        st.sampled_from(["up", "down", "crashed", "failing"]),
        st.integers(1, 40).map(lambda tenths: tenths * MINUTE_MS),
    ),
    max_size=8,
)


@settings(max_examples=100)
@given(catch_up=st.sampled_from(CATCH_UPS), given_=periods, limit=st.integers(1, 4))
@example(catch_up="skip", given_=[("down", 25 * MINUTE_MS), ("up", MINUTE_MS), ("down", 25 * MINUTE_MS)], limit=1)
@example(
    catch_up="skip", given_=[("up", 10 * MINUTE_MS), *[("down", 16 * MINUTE_MS), ("up", 1 * MINUTE_MS)] * 3], limit=1
)
@example(catch_up="once", given_=[("down", 35 * MINUTE_MS), ("failing", 12 * MINUTE_MS)], limit=1)
@example(catch_up="all", given_=[("down", 40 * MINUTE_MS), ("down", 40 * MINUTE_MS)], limit=2)
@example(catch_up="once", given_=[("failing", 10 * MINUTE_MS), ("down", 10 * MINUTE_MS)], limit=1)
@example(catch_up="skip", given_=[("failing", 10 * MINUTE_MS), ("down", 35 * MINUTE_MS)], limit=1)
@example(catch_up="all", given_=[("failing", 10 * MINUTE_MS), ("down", 35 * MINUTE_MS)], limit=4)
def test_every_tick_is_run_or_counted_as_missed(catch_up: CatchUp, given_: list[tuple[str, int]], limit: int) -> None:
    """However often an engine finds that it is late: between two runs, each tick in between is counted once.

    Except for a tick that passes during a run, its retries included: it is neither run nor counted, unless all are.
    """
    ran: dict[str, tuple[int, int]] = {}
    ended_ms: dict[str, int] = {}
    clock: list[World] = []

    @program
    def execute(ctx: ContinuousContext[int]) -> Do[None, Refused, HasOutside]:
        assert ctx.tick is not None
        seen = round(ctx.tick.timestamp() * 1_000), ctx.missed
        assert ran.setdefault(ctx.run_id, seen) == seen, "a repeat of a run receives another tick"
        ended_ms[ctx.run_id] = clock[0].now_ms
        yield from say("run")

    job = Continuous(
        "ticking",
        state=int,
        schedule=every(
            "10 minutes", align="start", catch_up=catch_up, catch_up_limit=limit if catch_up == "all" else None
        ),
        execute=execute,
        start_immediately=False,
        retry=Retry(2, Backoff.constant("1 second")),
    )

    async def scenario(world: World) -> None:
        clock.append(world)
        app_ = App(world.outside).with_jobs(job)
        jobs = await world.open(app_)
        anchor_ms = world.now_ms
        await world.run(jobs.handle(job).start("a", 0))
        for action, ms in given_:
            match action:
                case "up" | "failing":
                    world.outside.refusals["run"] = 3 if action == "failing" else 0
                    await world.advance(ms=ms)
                case _:
                    await (world.crash() if action == "crashed" else world.close())
                    world.shift_wall_clock(ms)
                    await world.open(app_)
                    await world.settle()
        world.outside.refusals.clear()
        await world.advance(minutes=60)
        last_ms, passed = anchor_ms, 0
        for run_id, (tick_ms, missed) in ran.items():
            expected = (1 + missed + passed) * 10 * MINUTE_MS
            assert tick_ms - last_ms == expected, f"{missed} ticks counted before {tick_ms}"
            last_ms = tick_ms
            passed = 0 if catch_up == "all" else (ended_ms[run_id] - tick_ms) // (10 * MINUTE_MS)
        assert 0 <= world.now_ms - last_ms < 10 * MINUTE_MS + 1_000

    play("memory", Path(), scenario)
