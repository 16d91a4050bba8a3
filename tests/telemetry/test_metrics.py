"""The metrics of an engine at work, read by the SDK."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from world import HasOutside, Refused, World, on_each_store, say

from perdure import App, Backoff, Do, Retry, Task, TaskContext, program, tell
from perdure.telemetry.opentelemetry import opentelemetry


@program
def on_event(ctx: TaskContext[str], word: str) -> Do[None, Refused, HasOutside]:
    if word.startswith("tell"):
        yield from tell(orders, "b").send(word.removeprefix("tell "))
    else:
        yield from say(word)
    yield from ctx.set_state(word)
    yield from ctx.schedule(after="1 hour")


@program
def execute(ctx: TaskContext[str]) -> Do[None, Refused, HasOutside]:
    yield from say("executing")


orders = Task(
    "orders",
    state=str,
    event=str,
    initial="",
    on_event=on_event,
    execute=execute,
    retry=Retry(2, Backoff.constant("1 minute"), jitter=False),
)
Points = dict[frozenset[tuple[str, Any]], Any]


def read(reader: InMemoryMetricReader) -> dict[str, Points]:
    """The points of each metric by their attributes, without those of the job."""
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: {frozenset(own(point.attributes).items()): point for point in metric.data.data_points}
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def own(attributes: Any) -> dict[str, Any]:
    of_job = {"perdure.kind": "task", "perdure.job": "orders"}
    return {name: value for name, value in attributes.items() if of_job.get(name) != value}


def point(points: Points, **attributes: str) -> Any:
    return points[frozenset((f"perdure.{name}", value) for name, value in attributes.items())]


@on_each_store
async def test_the_metrics_of_requests_runs_alarms_messages_and_commits(world: World) -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    app = App(world.outside).with_jobs(orders).with_sinks(opentelemetry(meter_provider=meters))
    world.outside.refusals["executing"] = 1
    jobs = await world.open(app)
    await world.run(jobs.handle(orders).send("a", "tell hello"))
    world.shift_wall_clock(3_600_000 + 5_000)
    await world.advance(minutes=61)
    await world.advance(minutes=61)
    found = read(reader)
    requests = point(found["perdure.request.duration"], action="send", outcome="ok")
    assert requests.count == 1
    assert point(found["perdure.message.deliveries"], action="send", outcome="consumed").value == 1
    assert point(found["perdure.run.duration"], outcome="retrying").count == 1
    assert point(found["perdure.run.duration"], outcome="completed").count == 2
    lateness = point(found["perdure.alarm.lateness"])
    assert lateness.count == 3
    assert 5 <= lateness.max <= 65
    assert point(found["perdure.commit.duration"], outcome="committed").count >= 5
    assert point(found["perdure.in_flight"], work="requests").value == 0
    await world.close()
    assert point(read(reader)["perdure.in_flight"], work="requests").value == 0
