"""The tracker loses nothing: whatever the endpoint answers, and wherever the engine dies."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import orjson
from fake_endpoint import SCRIPTED, FakeEndpoint, job, logged_ids
from hypothesis import example, given
from hypothesis import strategies as st
from world import STORES, ProcessDied, StoreKind, World, play

from perdure import App
from perdure.telemetry.tracker.batches import (
    Advance,
    Blocked,
    EventsAccepted,
    EventsRefused,
    Outgoing,
    Send,
    delivery,
)

Step: TypeAlias = tuple[str, Any]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("abc")),
        st.tuples(st.just("advance"), st.sampled_from([1, 5, 70])),
        st.tuples(st.just("answer"), st.lists(st.sampled_from(SCRIPTED), min_size=1, max_size=3)),
        st.tuples(st.just("crash_after"), st.integers(1, 12)),
        st.tuples(st.sampled_from(["crash", "close"]), st.none()),
    ),
    max_size=25,
)


async def taken(world: World, app: App[Any], endpoint: FakeEndpoint, step: Step) -> None:
    match step:
        case "send", id_:
            await world.attempt(world.jobs.handle(job).send(id_, 1))
        case "advance", seconds:
            await world.advance(s=seconds)
        case "answer", answers:
            endpoint.script += answers
        case "crash_after", crash_points:
            world.world.crash_after(crash_points)
        case "crash", _:
            await world.crash()
            await world.open(app)
        case _:
            await world.close()
            await world.open(app)


async def exported(world: World, steps: list[Step], batch_size: int, max_bytes: int) -> None:
    endpoint = FakeEndpoint(world)
    app: App[Any] = (
        App(None).with_jobs(job).with_sinks(endpoint.tracker(batch_size=batch_size, max_batch_bytes=max_bytes))
    )
    await world.open(app)
    for step in [*steps, ("send", "last")]:
        try:
            await taken(world, app, endpoint, step)
        except ProcessDied:
            world.world.clear_faults()
            world.world.cancel_crash()  # a later one, for which the worker did not live
            await world.open(app)
    world.world.cancel_crash()
    await world.crash()
    await world.open(app)
    endpoint.script.clear()
    await world.advance(minutes=10)
    stored = await logged_ids(world)
    assert endpoint.first_arrivals == stored, "every stored event arrives, in the order of the log"
    contents = {(event["event_id"], event["sequence"], repr(event)) for event in endpoint.arrived}
    assert len(contents) == len(stored), "a duplicate is the same event"
    assert all(len(body) <= batch_size for body in endpoint.bodies)
    sizes = [len(orjson.dumps({"events": body})) for body in endpoint.bodies if len(body) > 1]
    assert all(size <= max_bytes for size in sizes)


@example(
    steps=[("crash_after", 4), ("send", "a"), ("crash_after", 4)], batch_size=1, max_bytes=900, kind="memory", seed=0
)
@example(steps=[("send", id_) for id_ in "abcabc"], batch_size=100, max_bytes=900, kind="memory", seed=0)
@given(
    steps=STEPS,
    batch_size=st.sampled_from([1, 2, 100]),
    max_bytes=st.one_of(st.integers(1, 3_000), st.just(2**18)),
    kind=st.sampled_from(STORES),
    seed=st.integers(0, 99),
)
def test_every_stored_event_arrives_in_order(
    steps: list[Step], batch_size: int, max_bytes: int, kind: StoreKind, seed: int
) -> None:
    with TemporaryDirectory() as folder:
        play(kind, Path(folder), lambda world: exported(world, steps, batch_size, max_bytes), seed=seed)


def event_of(number: int) -> Outgoing:
    return Outgoing(event_id=f"{number}", type="t", address="task:a:a", sequence=number, done=number, body=b"{}")


@given(st.integers(1, 20), st.sets(st.integers(0, 19), max_size=3), st.integers(1, 8))
def test_events_beside_a_refused_one_are_sent_in_batches_that_grow_again(
    count: int, refused: set[int], batch_size: int
) -> None:
    page, accepted, skipped, least = [event_of(number) for number in range(count)], list[int](), list[int](), 1
    numbers = list[int]()
    steps = delivery(page, batch_size=batch_size, max_bytes=1_000_000)
    verdict: EventsAccepted | EventsRefused | None = None
    blocked = False
    while True:
        try:
            step = steps.send(verdict)
        except StopIteration:
            break
        verdict = None
        match step:
            case Send(batch):
                numbers = [event.sequence for event in batch]
                assert len(numbers) >= min(least, count - numbers[0]), "the batches stay small"
                verdict, least = EventsRefused("no"), 1
                if not refused.intersection(numbers):
                    verdict = EventsAccepted()
                    accepted += numbers
            case Advance(done, left_out):
                skipped += [event.sequence for event, _ in left_out]
                least = min(2 * len(numbers), batch_size) if done == numbers[-1] else 1
                assert sorted({*accepted, *skipped}) == list(range(done + 1))
            case Blocked():
                blocked = True
    last = max((number for number in range(count) if number not in refused), default=-1)
    assert set(accepted) == {number for number in range(count) if number not in refused}
    assert blocked == any(number > last for number in refused if number < count)
    assert skipped == [number for number in sorted(refused) if number < last]
