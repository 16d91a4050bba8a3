"""The metrics of an engine at work, as ``/metrics`` and every client show them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import attrs
import httpx2
import pytest
from collected import Collected
from fake_endpoint import FakeEndpoint
from fake_endpoint import job as exported
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client import exposition as text_format
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from returns.future import FutureResult
from test_metrics import orders
from world import World, on_each_store

from perdure import App, Task, attempt
from perdure.client.client import gateway_of
from perdure.programs.future import answer_of
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.simulated import Simulation
from perdure.server.api import asgi
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import MemoryBackend
from perdure.stores.url import open_store
from perdure.stores.values import StoredWork
from perdure.telemetry.prometheus import prometheus
from perdure.telemetry.prometheus.metrics import LIMIT_MS, METRICS
from perdure.telemetry.prometheus.page import OPENMETRICS
from perdure.values.errors import DefinitionError, EngineClosed, MetricsDisabled, StoreUnavailable
from perdure.values.listings import StatusCount, StoreCounts


@attrs.frozen
class Scraped:
    """The samples of an exposition."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def of(cls, text: str, parse: Callable[[str], Any] = parse_text) -> Scraped:
        found = [sample for family in parse(text) for sample in family.samples]
        return cls({(each.name, frozenset(each.labels.items())): each.value for each in found})

    def __call__(self, name: str, **labels: str) -> float:
        return self.samples[f"perdure_{name}", frozenset(labels.items())]

    def of_orders(self, name: str, **labels: str) -> float:
        return self(name, kind="task", job_name="orders", **labels)

    def has(self, name: str) -> bool:
        return any(known == f"perdure_{name}" for known, _ in self.samples)


async def scraped(world: World) -> Scraped:
    await world.advance(s=1)  # a page is repeated for a second
    return Scraped.of(await world.run(world.jobs.metrics()))


# ---------------------------------------------------------------- the numbers
@on_each_store
async def test_the_metrics_of_requests_runs_alarms_messages_and_commits(world: World) -> None:
    app = App(world.outside).with_jobs(orders).with_sinks(prometheus())
    world.outside.refusals["executing"] = 1
    jobs = await world.open(app)
    empty = await scraped(world)
    assert (empty.of_orders("runs_total", outcome="failed"), empty("commits_total", outcome="unknown")) == (0, 0)
    await world.run(jobs.handle(orders).send("a", "tell hello"))
    world.shift_wall_clock(3_600_000 + 5_000)
    await world.advance(minutes=61)
    await world.advance(minutes=61)
    now = await scraped(world)
    assert now.of_orders("requests_total", action="send", outcome="ok") == 1
    assert now.of_orders("request_duration_seconds_count", action="send") == 1
    assert now.of_orders("message_deliveries_total", outcome="consumed") == 1
    assert now.of_orders("runs_total", outcome="retrying") == 1
    assert now.of_orders("runs_total", outcome="completed") == 2
    assert now.of_orders("run_duration_seconds_count") == 3
    assert now.of_orders("run_claims_total", cause="alarm") == 3
    assert now.of_orders("alarm_lateness_seconds_count") == 3
    assert now.of_orders("alarm_lateness_seconds_bucket", le="1.0") < 3
    assert now("commits_total", outcome="committed") == now("commit_duration_seconds_count") >= 5
    assert now("commit_size_bytes_sum") >= len('"hello"')
    assert now.of_orders("instances", status="idle") == 2
    assert (now("counts_complete"), now("store_up"), now("store_degraded"), now("dead_letters")) == (1, 1, 0, 0)
    assert now("in_flight", work="requests") == 0
    assert now("oldest_due_alarm_age_seconds") == 0
    assert now.has("info")
    assert (now("store_file_bytes") > 0) == (world.kind == "sqlite")


@on_each_store
async def test_the_size_of_a_commit_is_in_bytes(world: World) -> None:
    jobs = await world.open(App(world.outside).with_jobs(orders).with_sinks(prometheus()))
    await world.run(jobs.handle(orders).send("a", "é" * 100))
    assert (await scraped(world))("commit_size_bytes_sum") >= len(('"' + "é" * 100 + '"').encode())


@on_each_store
async def test_an_overdue_alarm_a_dead_letter_and_the_lag_of_a_tracker_are_seen(world: World) -> None:
    endpoint = FakeEndpoint(world)
    endpoint.script.extend(["500"] * 100)
    app = App(world.outside).with_jobs(exported).with_sinks(endpoint.tracker(flush_interval="1s"), prometheus())
    jobs = await world.open(app)
    await world.run(jobs.handle(exported).send("a", 1))
    await world.run(jobs.handle(exported).pause("a"))
    await world.advance(minutes=3)
    now = await scraped(world)
    assert now("sink_failing", sink="tracker") == 1
    assert now("sink_lag_events", sink="tracker") >= 2
    assert 180 <= now("sink_lag_seconds", sink="tracker") <= 190
    assert now("oldest_due_alarm_age_seconds") == 0, "a paused alarm is not due"
    endpoint.script.clear()
    await world.advance(minutes=10)
    later = await scraped(world)
    assert (later("sink_lag_events", sink="tracker"), later("sink_failing", sink="tracker")) == (0, 0)
    assert later("sink_lag_seconds", sink="tracker") == 0


# ---------------------------------------------------------------- the store
def counting_store(store: Store, calls: list[str]) -> Store:
    def health() -> Any:
        calls.append("health")
        return store.health()

    return overlay(store, health=health)


def on_simulation(scenario: Callable[[Simulation, Store], Any]) -> Any:
    simulation = Simulation(seed=1)

    async def main() -> Any:
        return await scenario(simulation, MemoryBackend().open())

    return simulation.run(main())


def test_many_scrapes_read_the_store_once() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        calls: list[str] = []
        app = App(None).with_sinks(prometheus())
        async with app.open(counting_store(store, calls), runtime=simulation.runtime) as jobs:
            spawn = simulation.runtime.spawn
            scrapes = [spawn(_text(jobs), name=f"scrape {number}") for number in range(50)]
            texts = {await scrape for scrape in scrapes}
            assert (len(texts), len(calls)) == (1, 1)
            await simulation.runtime.sleep(999)
            assert {await _text(jobs)} == texts
            await simulation.runtime.sleep(1)
            await _text(jobs)
            assert len(calls) == 2

    on_simulation(scenario)


async def _text(jobs: Any) -> str:
    return await jobs.metrics()


def test_a_store_that_hangs_delays_a_scrape_by_two_seconds_at_most_and_is_read_once() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        runtime, calls = simulation.runtime, list[str]()
        released = runtime.future()

        async def hang() -> Any:
            calls.append("health")
            if len(calls) > 1:
                await released
            return await answer_of(store.health())

        app = App(None).with_sinks(prometheus())
        hanging = overlay(store, health=lambda: FutureResult(hang()))
        async with app.open(hanging, runtime=runtime) as jobs:
            assert Scraped.of(await _text(jobs))("store_up") == 1
            await runtime.sleep(1_000)
            for _ in range(3):
                began_ms = runtime.monotonic_ms()
                now = Scraped.of(await _text(jobs))
                assert runtime.monotonic_ms() - began_ms <= LIMIT_MS
                assert (now("store_up"), now.has("instances"), now.has("store_file_bytes")) == (0, False, False)
                await runtime.sleep(1_000)
            assert len(calls) == 2
            released.set_result(None)
            await runtime.sleep(1_000)
            assert Scraped.of(await _text(jobs))("store_up") == 1

    on_simulation(scenario)


@pytest.mark.parametrize("failing", ["fails", "raises"])
def test_a_store_that_fails_is_down_and_the_rest_is_exposed(failing: str) -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        def health() -> Any:
            if failing == "raises":
                raise ZeroDivisionError("bug of a store")
            return FutureResult.from_failure(StoreUnavailable("health", "disk"))

        app = App(None).with_sinks(prometheus())
        async with app.open(overlay(store, health=health), runtime=simulation.runtime) as jobs:
            now = Scraped.of(await _text(jobs))
            assert (now("store_up"), now("in_flight", work="requests")) == (0, 0)

    on_simulation(scenario)


def test_a_store_that_still_counts_exposes_no_instances() -> None:
    partial = StoreCounts(
        instances=(StatusCount(kind="task", name="orders", status="idle", number=3),), complete=False, dead_letters=2
    )

    async def scenario(simulation: Simulation, store: Store) -> None:
        app = App(None).with_sinks(prometheus())
        answers = {"instances": partial, "work": StoredWork()}
        counts = {name: lambda *_, answer=answer: FutureResult.from_value(answer) for name, answer in answers.items()}
        counting = overlay(store, counts=SimpleNamespace(**counts))
        async with app.open(counting, runtime=simulation.runtime) as jobs:
            now = Scraped.of(await _text(jobs))
            assert (now("counts_complete"), now("dead_letters"), now.has("instances")) == (0, 2, False)

    on_simulation(scenario)


def test_a_store_that_does_not_count_exposes_no_counts() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        app = App(None).with_sinks(prometheus())
        async with app.open(overlay(store, counts=None), runtime=simulation.runtime) as jobs:
            now = Scraped.of(await _text(jobs))
            assert (now("store_up"), now.has("counts_complete"), now.has("dead_letters")) == (1, False, False)

    on_simulation(scenario)


def test_a_large_page_is_rendered_in_pieces_and_equals_one_rendered_at_once() -> None:
    jobs = [Task(f"job{number}", state=int, event=int, initial=0, decide=lambda *_: None) for number in range(30)]

    async def scenario(simulation: Simulation, store: Store) -> None:
        registry, runtime = CollectorRegistry(), simulation.runtime
        Counter("shop_mails", "Mails.", ["to"], registry=registry).labels("ada").inc(3)
        app = App(None).with_jobs(*jobs).with_sinks(prometheus(registry=registry))
        async with app.open(store, runtime=runtime) as client:
            for job in jobs:
                await attempt(client.handle(job).send("a", 1))
            for accept, encode in (("", text_format.generate_latest), (OPENMETRICS, openmetrics.generate_latest)):
                turns = [0]

                async def count(turns: list[int] = turns) -> None:
                    while True:
                        turns[0] += 1
                        await runtime.sleep(0)

                other = runtime.spawn(count(), name="another request")
                page = (await attempt(gateway_of(client).exposition(accept))).unwrap()
                other.cancel()
                assert page.text == encode(registry)
                assert turns[0] > 10, "another task ran between the pieces"

    on_simulation(scenario)


def test_a_page_that_is_rendered_ends_with_its_engine() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        never = simulation.runtime.future()

        async def hang() -> Any:
            return await never

        app = App(None).with_sinks(prometheus())
        hanging = overlay(store, health=lambda: FutureResult(hang()))
        async with app.open(hanging, runtime=simulation.runtime) as jobs:
            scrape = simulation.runtime.spawn(_metrics(jobs), name="scrape")
            await simulation.runtime.sleep(1)
        assert isinstance((await scrape).failure(), EngineClosed)

    on_simulation(scenario)


async def _metrics(jobs: Any) -> Any:
    return await attempt(jobs.metrics())


# ---------------------------------------------------------------- registries
def test_a_registry_of_the_user_has_both_metrics_and_loses_them_with_the_engine() -> None:
    registry = CollectorRegistry()
    own = Counter("shop_mails", "Mails.", registry=registry)
    own.inc(3)

    async def scenario(simulation: Simulation, store: Store) -> None:
        app = App(None).with_sinks(prometheus(registry=registry))
        async with app.open(store, runtime=simulation.runtime) as jobs:
            await simulation.runtime.sleep(1)
            exposed = generate_latest(registry).decode()
            assert Scraped.of(exposed)("store_up") == 1, "read without a scrape of /metrics"
            assert "shop_mails_total 3.0" in exposed
            assert "shop_mails_total 3.0" in await _text(jobs)
            with pytest.raises(DefinitionError, match="a registry for each engine"):
                async with app.open(MemoryBackend().open(), runtime=simulation.runtime):
                    pass
        assert b"perdure" not in generate_latest(registry)
        async with app.open(MemoryBackend().open(), runtime=simulation.runtime) as jobs:
            assert "perdure_store_up 1.0" in await _text(jobs)

    on_simulation(scenario)


def test_the_store_is_read_again_every_ten_seconds_only_for_a_registry_of_the_user() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        for registry, expected in ((CollectorRegistry(), 4), (None, 0)):
            calls: list[str] = []
            app = App(None).with_sinks(prometheus(registry=registry))
            opened = counting_store(MemoryBackend().open(), calls)
            async with app.open(opened, runtime=simulation.runtime):
                await simulation.runtime.sleep(35_000)
                assert len(calls) == expected

    on_simulation(scenario)


def test_one_sink_of_an_app_exposes_metrics() -> None:
    async def scenario(simulation: Simulation, store: Store) -> None:
        app = App(None).with_sinks(prometheus(), prometheus(name="second"))
        with pytest.raises(DefinitionError, match="one that exposes metrics"):
            async with app.open(store, runtime=simulation.runtime):
                pass

    on_simulation(scenario)


# ---------------------------------------------------------------- HTTP
def test_both_formats_are_served_and_read_by_the_official_parsers() -> None:
    async def main() -> None:
        api = asgi(App(None).with_sinks(prometheus()), "memory://", access="unchecked")
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            for accept, media_type, parse in (
                ("*/*", "text/plain; version=0.0.4; charset=utf-8", parse_text),
                (
                    "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3",
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    parse_openmetrics,
                ),
            ):
                response = await http.get("/metrics", headers={"Accept": accept})
                assert (response.status_code, response.headers["content-type"]) == (200, media_type)
                assert Scraped.of(response.text, parse)("store_up") == 1
                families = {family.name for family in parse(response.text)}
                assert {metric.name.removesuffix("_total") for metric in METRICS} <= families
            assert (await http.get("/metrics", params={"name[]": "x"})).status_code == 422

    asyncio.run(main())


def test_without_a_sink_the_answer_is_404_and_names_the_sink_to_add() -> None:
    async def main() -> None:
        api = asgi(App(None).with_sinks(Collected()), "memory://", access="unchecked")
        transport = httpx2.ASGITransport(api)
        async with api.lifespan(), httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
            response = await http.get("/metrics")
            assert (response.status_code, response.json()["code"]) == (404, "metrics_disabled")
            assert "prometheus() of perdure.telemetry.prometheus" in response.json()["detail"]
            refused = await attempt(api.client.metrics())
            assert isinstance(refused.failure(), MetricsDisabled)

    asyncio.run(main())


def test_the_runtime_of_production_serves_metrics() -> None:
    async def main() -> str:
        store = await open_store("memory://", runtime=asyncio_runtime())
        async with App(None).with_sinks(prometheus()).open(store) as jobs:
            return await _text(jobs)

    assert Scraped.of(asyncio.run(main()))("store_up") == 1
