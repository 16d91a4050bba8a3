"""The tracker in a world: its requests, their times, and its reaction to an endpoint or a store that refuses."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import orjson
import pytest
from collected import Collected
from fake_endpoint import FakeEndpoint, job, logged, logged_ids
from world import World, on_each_store

from perdure import App, Limits
from perdure.client.local_gateway import engine_of
from perdure.stores.contract import Store, overlay
from perdure.stores.values import Cursor, Retention
from perdure.telemetry.tracker import tracker
from perdure.values.errors import DefinitionError, StoreUnavailable
from perdure.values.event import EventsDropped, JobStarted, TaskScheduled
from perdure.values.retry import Backoff


def app_of(endpoint: FakeEndpoint, **options: Any) -> App[Any]:
    return App(None).with_jobs(job).with_sinks(endpoint.tracker(**options))


async def sent(world: World, *ids: str) -> None:
    for id_ in ids:
        await world.run(world.jobs.handle(job).send(id_, 1))


def lag(world: World, name: str = "tracker") -> Any:
    return engine_of(world.jobs).sinks.lags()[name]


async def rest(world: World) -> None:
    """Stop the engine, and open one without a tracker, to look at the store."""
    await world.close()
    await world.open(App(None).with_jobs(job))


async def dropped(world: World) -> list[EventsDropped]:
    return [each.event for each in await logged(world) if isinstance(each.event, EventsDropped)]


# ---------------------------------------------------------------- events
@on_each_store
async def test_an_event_arrives_with_its_origin(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, service="shop", environment="production"))
    await sent(world, "a")
    await world.advance(s=1)
    started, scheduled = (each.event for each in await logged(world))
    assert isinstance(started, JobStarted)
    assert isinstance(scheduled, TaskScheduled)
    first, second = endpoint.arrived
    assert first == {
        "event_id": started.event_id,
        "sequence": 1,
        "type": "job.started",
        "address": "task:job:a",
        "at_ms": started.at_ms,
        "at": "2026-01-01T00:00:00.000+00:00",
        "run_count": 0,
        "service": "shop",
        "environment": "production",
        "engine": first["engine"],
    } | {name: first[name] for name in ("by",) if name in first}
    assert first["engine"].startswith("perdure/")
    assert (second["sequence"], second["scheduled_at_ms"]) == (2, scheduled.scheduled_at_ms)


@on_each_store
async def test_a_batch_leaves_when_it_is_full_or_its_first_event_has_waited(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, batch_size=4, flush_interval="10s"))
    await world.advance(s=1)
    await sent(world, "a")
    await world.advance(ms=9_999)
    assert endpoint.bodies == []
    await world.advance(ms=1)
    assert [len(body) for body in endpoint.bodies] == [2]
    await sent(world, "b", "c", "d")
    await world.settle()
    assert [len(body) for body in endpoint.bodies] == [2, 4]


@on_each_store
async def test_no_body_of_several_events_is_larger_than_its_limit(world: World) -> None:
    unlimited = FakeEndpoint(world)
    await world.open(app_of(unlimited))
    await sent(world, "a")
    await world.advance(s=1)
    (size,) = (len(orjson.dumps({"events": body})) for body in unlimited.bodies)
    for limit, events in ((size, [2]), (size - 1, [1, 1])):
        await world.close()
        endpoint = FakeEndpoint(world)
        await world.open(app_of(endpoint, name=f"limit-{limit}", max_batch_bytes=limit))
        await world.advance(s=1)
        assert [len(body) for body in endpoint.bodies] == events


@on_each_store
async def test_only_selected_events_are_sent_and_the_rest_is_not_read_again(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, include=[TaskScheduled]))
    await sent(world, "a", "b")
    await world.advance(s=1)
    assert [event["type"] for event in endpoint.arrived] == ["task.scheduled", "task.scheduled"]
    assert lag(world).events == 0
    assert await position(world) == 4


@on_each_store
async def test_a_function_selects_events(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, include=lambda event: event.address.endswith(":b")))
    await sent(world, "a", "b", "c")
    await world.advance(s=1)
    assert {event["address"] for event in endpoint.arrived} == {"task:job:b"}
    await rest(world)
    assert await position(world) == 6


@on_each_store
async def test_a_tracker_starts_at_the_beginning_or_now(world: World) -> None:
    await world.open(App(None).with_jobs(job))
    await sent(world, "before")
    await world.close()
    early, late = FakeEndpoint(world), FakeEndpoint(world)
    both = App(None).with_jobs(job).with_sinks(early.tracker(), late.tracker(name="late", start="now"))
    await world.open(both)
    await sent(world, "after")
    await world.advance(s=1)
    assert [event["address"] for event in early.arrived] == ["task:job:before"] * 2 + ["task:job:after"] * 2
    assert [event["address"] for event in late.arrived] == ["task:job:after"] * 2
    assert await dropped(world) == []


# ---------------------------------------------------------------- failures
@on_each_store
async def test_no_request_waits_for_an_endpoint_that_hangs(world: World) -> None:
    endpoint = FakeEndpoint(world, script=["hang"])
    await world.open(app_of(endpoint, flush_interval="1 ms", timeout="30s"))
    await sent(world, "a")
    await world.advance(s=1)
    before = world.now_ms
    await sent(world, "b", "c")
    assert (world.now_ms, endpoint.asked, lag(world).events) == (before, 1, 6)
    await world.advance(s=31)
    assert endpoint.first_arrivals == await logged_ids(world)
    assert lag(world).events == 0


@on_each_store
async def test_delays_grow_and_a_longer_retry_after_is_respected(world: World) -> None:
    endpoint = FakeEndpoint(world, script=["500", "500", "503 40", "200"])
    await world.open(app_of(endpoint, backoff=Backoff.exponential("10s", max="20s")))
    await sent(world, "a")
    await world.advance(s=1)
    asked = []
    for _ in range(80):
        asked.append(endpoint.asked)
        await world.advance(s=1)
    first, second, third = (bisect_left(asked, number) for number in (2, 3, 4))
    assert 5 <= first <= 11
    assert 10 <= second - first <= 21
    assert 40 <= third - second <= 41
    assert [line for line in world.logs if line.startswith("tracker")] == [
        "tracker cannot export; it retries",
        "tracker cannot export; it retries",
        "tracker exports again",
    ]


@pytest.mark.parametrize("answer", ["401", "403", "404", "301", "405"])
@on_each_store
async def test_a_wrong_key_or_address_loses_nothing(world: World, answer: str) -> None:
    endpoint = FakeEndpoint(world, script=[answer] * 3)
    await world.open(app_of(endpoint))
    await sent(world, "a")
    await world.advance(s=1)
    assert lag(world).problem.startswith(f"the endpoint answered {answer}")
    await world.advance(minutes=5)
    assert endpoint.first_arrivals == await logged_ids(world)
    assert world.logs.count("tracker is misconfigured") == 1
    assert (lag(world).events, lag(world).problem) == (0, "")


@on_each_store
async def test_an_event_that_alone_is_refused_is_skipped_and_reported(world: World) -> None:
    endpoint = FakeEndpoint(world, poison=lambda event: event["address"] == "task:job:bad")
    others = Collected()
    await world.open(app_of(endpoint, backoff=Backoff.exponential("1s", max="2s")).with_sinks(others))
    await sent(world, "a", "bad", "b")
    await world.advance(s=2)
    assert [event["address"] for event in endpoint.arrived[:4]] == ["task:job:a"] * 2 + ["task:job:b"] * 2
    reports = await dropped(world)
    assert [(each.sink, each.count, each.reason, each.address) for each in reports] == [
        ("tracker", 1, "refused", "task:job:bad"),
        ("tracker", 1, "refused", "task:job:bad"),
    ]
    assert "answered 422" in reports[0].detail
    assert others.of(EventsDropped) == reports
    await sent(world, "c")
    await world.advance(s=20)
    assert await dropped(world) == reports, "a refused report is not reported"
    assert lag(world).events == 0
    assert world.logs.count("tracker skipped an event that the endpoint refuses") == 4  # two are reports


@on_each_store
async def test_an_endpoint_that_refuses_everything_loses_nothing(world: World) -> None:
    refusing = [True]
    endpoint = FakeEndpoint(world, poison=lambda _: refusing[0])
    await world.open(app_of(endpoint, batch_size=1))
    await sent(world, "a", "b")
    await world.advance(minutes=10)
    assert endpoint.arrived == []
    assert world.logs.count("the endpoint of the tracker refuses every event") == 1
    refusing[0] = False
    await world.advance(minutes=2)
    assert endpoint.first_arrivals == await logged_ids(world)


@on_each_store
async def test_events_that_retention_deleted_are_reported(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint))
    await sent(world, "a")
    await world.advance(s=1)
    endpoint.script = ["500"] * 3
    await sent(world, "b", "c")
    await world.advance(s=1)
    await world.inspect(lambda store: store.prune(Retention(now_ms=0, events_since_ms=0, max_events=1)))
    await world.crash()
    await world.open(app_of(endpoint))
    await world.advance(s=30)
    (report,) = await dropped(world)
    assert (report.sink, report.count, report.reason, report.detail) == ("tracker", 3, "retention", "sequence 3 to 5")
    assert [event["type"] for event in endpoint.arrived[2:]] == ["task.scheduled", "events.dropped"]
    assert world.logs.count("retention deleted events before the tracker exported them") == 1


@on_each_store
async def test_a_failing_store_is_queried_again(world: World) -> None:
    endpoint = FakeEndpoint(world)
    jobs = await world.open(app_of(endpoint))
    for operation in ("events", "cursors.move"):
        world.fail(operation, StoreUnavailable(operation, "disk"), times=2)
    await world.run(jobs.handle(job).send("a", 1))
    await world.advance(s=50)
    assert endpoint.first_arrivals == await logged_ids(world)
    assert world.logs.count("tracker cannot use the store; it retries") == 2


@on_each_store
async def test_a_selection_that_raises_is_logged_once_and_skips_nothing(world: World) -> None:
    broken = [True]

    def include(_: object) -> bool:
        return broken[0] and 1 / 0 > 0

    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, include=include))
    await sent(world, "a")
    await world.advance(minutes=5)
    assert world.logs.count("tracker raised an exception") == 1
    await rest(world)
    assert await position(world) == 0


# ---------------------------------------------------------------- the end
@on_each_store
async def test_the_engine_flushes_when_it_stops(world: World) -> None:
    endpoint = FakeEndpoint(world)
    await world.open(app_of(endpoint, flush_interval="1h"))
    await world.advance(s=1)
    await sent(world, "a")
    await rest(world)
    assert endpoint.first_arrivals == await logged_ids(world)


@pytest.mark.parametrize(("answer", "least_ms", "most_ms"), [("500", 0, 100), ("hang", 5_000, 5_100)])
@on_each_store
async def test_the_last_flush_is_bounded(world: World, answer: str, least_ms: int, most_ms: int) -> None:
    endpoint = FakeEndpoint(world, script=[answer] * 9)
    await world.open(app_of(endpoint, flush_interval="1h"))
    await world.advance(s=1)
    await sent(world, "a")
    before = world.now_ms
    await world.close()
    assert least_ms <= world.now_ms - before <= most_ms
    assert endpoint.asked == 1
    endpoint.script = []
    await world.open(app_of(endpoint))
    await world.advance(s=1)
    assert endpoint.first_arrivals == await logged_ids(world)


# ---------------------------------------------------------------- requirements
@on_each_store
async def test_a_store_without_cursors_is_refused(world: World) -> None:
    async def opened() -> None:
        store: Store = overlay(world.world.store, cursors=None)
        async with app_of(FakeEndpoint(world)).open(store, runtime=world.process.boundary.runtime):
            pass

    await world.open(App(None).with_jobs(job))
    with pytest.raises(DefinitionError, match="a store with cursors"):
        await world.run(opened())


@on_each_store
async def test_an_app_without_history_is_refused(world: World) -> None:
    app: App[Any] = App(None, limits=Limits(history_events=0)).with_jobs(job)
    with pytest.raises(DefinitionError, match="history_events above 0"):
        await world.open(app.with_sinks(FakeEndpoint(world).tracker()))


@on_each_store
async def test_a_world_opens_no_connections(world: World) -> None:
    await world.open(App(None).with_jobs(job).with_sinks(tracker("https://events.example.com")))
    await sent(world, "a")
    await world.advance(minutes=1)
    assert engine_of(world.jobs).sinks.lags() == {}
    assert world.logs == ["engine started"]


async def position(world: World, name: str = "tracker") -> int | None:
    def read(store: Store) -> Any:
        assert store.cursors is not None
        return store.cursors.read(name)

    found: Cursor = await world.inspect(read)
    return found.sequence
