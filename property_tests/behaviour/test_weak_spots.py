"""Known ways to lose work (`docs/guarantees.md`), each as a property.

The fifth, a failing run that silences its schedule, is `test_continuous_never_silent`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from attrs import define, evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st
from returns.future import FutureResult
from returns.result import Success

from perdure import (
    App,
    Backoff,
    Continuous,
    ContinuousContext,
    Debounce,
    DebounceContext,
    Do,
    Retry,
    Task,
    TaskContext,
    cron,
    effect,
    every,
    program,
)
from perdure.testing import Clock, Delay, Fail, Fault, Hang, Raise, WorkerDied, World
from perdure.values.errors import InvalidInput

STORES = ("memory", "sqlite")
START = datetime(2026, 1, 1, tzinfo=UTC)


# ---------------------------------------------------------------- jobs that would lose something
@frozen
class Refused:
    why: str = "no"


@define
class Outside:
    """A service that remembers its calls."""

    calls: list[str] = field(factory=list[str])

    def tell(self, word: str) -> FutureResult[None, Refused]:
        self.calls.append(word)
        return FutureResult.from_value(None)


class HasOutside(Protocol):
    def tell(self, word: str) -> FutureResult[None, Refused]: ...


@effect
def reach(services: HasOutside, word: str) -> FutureResult[None, Refused]:
    return services.tell(word)


@frozen
class Total:
    number: int = 0


@frozen
class Plus:
    number: int = 1


@program
def count_up(ctx: ContinuousContext[Total]) -> Do[None, Refused, HasOutside]:
    total = yield from ctx.state
    yield from reach(f"run {ctx.run_count}.{ctx.attempt}.{ctx.delivery}")
    yield from ctx.set_state(Total(total.number + 1))


@program
def add_up(ctx: TaskContext[Total], event: Plus) -> Do[None, Refused, HasOutside]:
    total = yield from ctx.state
    yield from reach("added")
    yield from ctx.set_state(Total(total.number + event.number))


@program
def collect(ctx: DebounceContext[tuple[int, ...]], event: Plus) -> Do[None, Refused, HasOutside]:
    numbers = yield from ctx.state
    yield from ctx.set_state((*numbers, event.number))


@program
def deliver(ctx: DebounceContext[tuple[int, ...]]) -> Do[None, Refused, HasOutside]:
    numbers = yield from ctx.state
    yield from reach(" ".join(map(str, numbers)))


hourly = Continuous("hourly", state=Total, schedule=every("1 hour"), execute=count_up, start_immediately=False)
totals = Task("totals", state=Total, event=Plus, initial=Total(), on_event=add_up)
batches = Debounce(
    "batches",
    event=Plus,
    state=tuple[int, ...],
    initial=(),
    flush_after="5 s",
    on_event=collect,
    execute=deliver,
    retry=Retry(5, Backoff.constant("1 s")),
)


@contextmanager
def world_over(store: str, app: App[Any], **options: Any) -> Generator[World]:
    with tempfile.TemporaryDirectory(prefix="perdure-") as folder:
        place = "memory://" if store == "memory" else Path(folder) / "jobs.db"
        with World(app, store=place, **options) as world:
            yield world


def revived(world: World) -> World:
    """The world with a worker that lives, whatever was to happen to it."""
    world.cancel_crash()
    if not world.is_open:
        world.open()
    return world


# ---------------------------------------------------------------- one
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=30, deadline=None)
@given(
    rounds=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    fault=st.none() | st.sampled_from([Fail("reach", Refused()), Raise("reach"), Delay("reach", "1 s")]),
    interleaving=st.sampled_from(["turns", "operations"]),
    seed=st.integers(0, 2**16),
)
def test_concurrent_additions_are_never_lost(
    store: str, rounds: list[int], fault: Fault | None, interleaving: Literal["turns", "operations"], seed: int
) -> None:
    """As many as were answered with success are in the state: no turn overwrote the state that another one had read."""
    app = App(Outside()).with_jobs(hourly, totals)
    with world_over(store, app, seed=seed, interleaving=interleaving) as world:
        world.run(world.handle(hourly).start("a", Total()))
        added, ran = 0, 0
        for number in rounds:
            if fault is not None:
                world.inject(fault)
            calls: list[Any] = [world.handle(totals).send("a", Plus(3)) for _ in range(number)]
            answers = world.concurrently(
                *calls, *(world.handle(hourly).trigger("a", new_run=True) for _ in range(number))
            )
            added += sum(isinstance(answer, Success) for answer in answers[:number])
            ran += number
        runs = Counter(type(call.outcome) for call in world.effects if call.address.name == "hourly")
        assert world.run(world.handle(hourly).status("a")).run_count == ran
        assert world.run(world.handle(hourly).get_state("a")) == Total(runs[Success])
        assert (world.run(world.handle(totals).get_state("a")) or Total()) == Total(3 * added)


# ---------------------------------------------------------------- two
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=30, deadline=None)
@given(
    before=st.integers(1, 3),
    meanwhile=st.integers(1, 4),
    end=st.sampled_from(["released", "crash", "restart"]) | st.sampled_from([Fail("reach", Refused()), Raise("reach")]),
    seed=st.integers(0, 2**16),
)
def test_an_add_during_a_flush_is_never_lost(
    store: str, before: int, meanwhile: int, end: str | Fault, seed: int
) -> None:
    """An event added while a batch is being flushed is in the next one, however the flush ends."""
    outside = Outside()
    with world_over(store, App(outside).with_jobs(batches), seed=seed) as world:
        for number in range(before):
            world.run(world.handle(batches).add("a", Plus(number)))
        world.inject(Hang("reach") if isinstance(end, str) else Delay("reach", "1 s"))
        world.advance("5 s")
        for number in range(before, before + meanwhile):
            world.run(world.handle(batches).add("a", Plus(number)))
        match end:
            case "released":
                world.release("reach")
            case "crash":
                world.crash()
                world.open()
            case "restart":
                world.restart()
            case _:
                world.inject(end)
        world.advance("5 minutes")
        assert world.instances() == ()
    delivered = [words.split() for words in dict.fromkeys(outside.calls)]
    assert sorted(int(word) for batch in delivered for word in batch) == list(range(before + meanwhile))


# ---------------------------------------------------------------- three
no_events = st.one_of(
    st.none(), st.integers(), st.text(), st.builds(Total), st.builds(Plus, st.sampled_from(["1", None, 1.5, True]))
)


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=30, deadline=None)
@given(value=no_events, kind=st.sampled_from(["start", "add", "send"]), key=st.none() | st.just("k"))
def test_an_invalid_first_event_leaves_nothing(store: str, value: Any, kind: str, key: str | None) -> None:
    """No instance, no event of the log, no alarm, no key: the next request finds the same as a first one."""
    if kind == "start" and isinstance(value, Total):
        value = Plus()
    outside = Outside()
    with world_over(store, App(outside).with_jobs(hourly, totals, batches)) as world:
        handles: dict[str, Any] = {
            "start": world.handle(hourly),
            "add": world.handle(batches),
            "send": world.handle(totals),
        }
        refusal = world.error_of(getattr(handles[kind], kind)("a", value, idempotency_key=key))
        assert isinstance(refusal, InvalidInput)
        assert world.instances() == ()
        assert world.events == ()
        assert world.advance_to_next_alarm() is None
        assert outside.calls == []
        good = Total() if kind == "start" else Plus()
        assert world.run(getattr(handles[kind], kind)("a", good, idempotency_key=key)).created


@pytest.mark.parametrize("store", STORES)
@settings(max_examples=20, deadline=None)
@given(
    fault=st.sampled_from([Fail("reach", Refused()), Fail("reach", Refused(), when="after"), Raise("reach")]),
    crash=st.none() | st.integers(0, 6),
)
def test_a_first_event_that_the_job_refuses_leaves_nothing(store: str, fault: Fault, crash: int | None) -> None:
    """Not even where it had reached outside, so that there was a claim: no instance, no alarm, no key."""
    with world_over(store, App(Outside()).with_jobs(totals)) as world:
        world.inject(evolve(fault, times=2))
        if crash is not None:
            world.crash_after(crash)
        try:
            world.error_of(world.handle(totals).send("a", Plus(), idempotency_key="k"))
        except WorkerDied:
            world.open()
        revived(world).settle()
        world.advance("1 minute")
        assert world.instances() == ()
        assert world.advance_to_next_alarm() is None
        world.clear_faults()
        assert world.run(world.handle(totals).send("a", Plus(), idempotency_key="k")).created


# ---------------------------------------------------------------- four
@pytest.mark.parametrize("store", STORES)
@settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, 14),
    again=st.none() | st.integers(0, 14),
    kind=st.sampled_from(["at once", "later", "failing"]),
    interleaving=st.sampled_from(["turns", "operations"]),
)
def test_a_start_that_crashes_anywhere_heals(
    store: str, at: int, again: int | None, kind: str, interleaving: Literal["turns", "operations"]
) -> None:
    """Repeated once with its key, it has started one instance that runs, and every repeat of a run is marked."""
    job = Continuous(
        "starting", state=Total, schedule=every("1 hour"), execute=count_up, start_immediately=kind != "later"
    )
    outside = Outside()
    with world_over(store, App(outside).with_jobs(job), interleaving=interleaving) as world:
        if kind == "failing":
            world.inject(Fail("reach", Refused()))
        for crash_points in (at, again):
            if crash_points is not None:
                world.crash_after(crash_points)
            try:
                world.attempt(world.handle(job).start("a", Total(), idempotency_key="k"))
            except WorkerDied:
                try:
                    world.open()
                except WorkerDied:
                    revived(world)
        world.attempt(revived(world).handle(job).start("a", Total(), idempotency_key="k"))
        world.advance("2 hours 1 s")
        assert len(world.instances()) == 1
        status = world.run(world.handle(job).status("a"))
        assert status.status == "scheduled"
        assert status.next_run_at is not None
        assert status.next_run_at > world.now
        assert Counter(event.type for event in world.events)["job.started"] == 1
        assert max(Counter(outside.calls).values(), default=1) == 1, "a run was repeated, and could not see it"
        state = world.run(world.handle(job).get_state("a"))
        assert state is not None
        assert state.number >= 1


# ---------------------------------------------------------------- six
CHANGES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/Berlin", date(2026, 3, 29)),
    ("Europe/Berlin", date(2026, 10, 25)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),  # by half an hour
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Antarctica/Troll", date(2026, 3, 29)),  # by two hours
    ("Antarctica/Troll", date(2026, 10, 25)),
    ("America/Havana", date(2026, 3, 8)),
    ("America/Havana", date(2026, 11, 1)),  # back to midnight
]
lines = st.builds(
    "{} {} * * *".format,
    st.sampled_from(["0", "30", "59", "*/15", "0,30"]),
    st.sampled_from(["0", "1", "2", "3", "0-4", "*", "*/2", "23"]),  # starred: it follows real time
)


@pytest.mark.parametrize(("zone", "day"), CHANGES)
@settings(max_examples=12, deadline=None)
@given(line=lines, minutes=st.integers(-1_500, 1_500), steps=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_a_cron_line_never_fires_in_the_past_around_both_changes_of_five_zones(
    zone: str, day: date, line: str, minutes: int, steps: list[int]
) -> None:
    """Whenever it is read, the next tick is in the future; and each run begins at the tick it was set for."""
    job = Continuous("ticking", state=Total, schedule=cron(line, tz=zone), execute=count_up, start_immediately=False)
    clock = Clock(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes))
    at_ms = clock.now_ms
    for _ in range(50):
        tick_ms = cron(line, tz=zone).ticks.after(at_ms)
        assert tick_ms > at_ms
        at_ms = tick_ms
    with World(App(Outside()).with_jobs(job), clock=clock) as world:
        world.run(world.handle(job).start("a", Total()))
        for step in steps:
            due = world.run(world.handle(job).status("a")).next_run_at
            assert due is not None
            assert due > world.now
            runs = len(world.effects)
            world.advance(f"{step} minutes")
            assert (len(world.effects) > runs) == (due <= world.now)
        executed = [event.at_ms for event in world.events if event.type == "job.executed"]
        assert executed == sorted(set(executed)), "a tick came twice, or before the one that it follows"
