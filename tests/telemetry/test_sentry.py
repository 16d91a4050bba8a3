"""Defects reach Sentry over a socket: once for each run, with its job, and without secrets."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any

import attrs
import pytest
import sentry_sdk

from perdure import App, Backoff, Do, Retry, Secret, Task, TaskContext, fail, program
from perdure.telemetry.sentry import MAX_RUNS, Reports, report_of, sentry
from perdure.testing import World
from perdure.values.event import JobFailed
from perdure.values.status import FailureRecord


@attrs.frozen
class Card:
    number: Annotated[str, Secret]


@program
def handle(ctx: TaskContext[int], event: Card) -> Do[None, str]:
    if event.number == "refused":
        yield from fail("no funds")
    yield from ctx.set_state(1)
    yield from ctx.schedule(after="1 minute")
    if event.number == "4111111111111111":
        raise ValueError(f"card {event.number}")


@program
def execute(ctx: TaskContext[int]) -> Do[None]:
    state = yield from ctx.state
    raise ZeroDivisionError(f"bug at {state}")


retry: Retry[Any] = Retry(max_attempts=3, delay=Backoff.constant("1 s"), jitter=False)
orders = Task("orders", state=int, event=Card, errors=str, initial=0, on_event=handle, execute=execute, retry=retry)
app: App[None] = App(None).with_jobs(orders).with_sinks(sentry())


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    """The events that a server of Sentry receives."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            items = [json.loads(line) for line in body.splitlines() if line.startswith(b"{")]
            received.extend(item for item in items if "exception" in item)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - of the base class
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sentry_sdk.init(f"http://key@127.0.0.1:{server.server_port}/1", default_integrations=False, shutdown_timeout=0)
    yield received
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_run_is_reported_once_however_often_it_fails(events: list[dict[str, Any]]) -> None:
    with World(app, at_end="leave") as world:
        world.run(world.jobs.handle(orders).send("a", Card("x")))
        world.advance("10 minutes")
        assert isinstance(world.error_of(world.jobs.handle(orders).send("b", Card("refused"))), Exception)
    sentry_sdk.flush(timeout=10)
    (event,) = events
    assert event["transaction"] == "task:orders execute"
    assert (event["tags"]["perdure.job"], event["tags"]["perdure.error"]) == ("task:orders", "ZeroDivisionError")
    assert (event["contexts"]["perdure"]["id"], event["contexts"]["perdure"]["attempt"]) == ("a", 1)
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ZeroDivisionError", "bug at 1")
    assert exception["stacktrace"]["frames"][-1]["context_line"] == 'raise ZeroDivisionError(f"bug at {state}")'


def test_a_secret_is_not_reported(events: list[dict[str, Any]]) -> None:
    with World(app, at_end="leave") as world:
        world.error_of(world.jobs.handle(orders).send("a", Card("4111111111111111")))
    sentry_sdk.flush(timeout=10)
    (event,) = events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert "4111111111111111" not in json.dumps(event)


def failed(run: int) -> JobFailed:
    error = FailureRecord(form="defect", error_type="E", message="m")
    return JobFailed(
        event_id="e",
        at_ms=0,
        address="task:a:1",
        run_id=f"run-{run}",
        hook="execute",
        attempt=1,
        delivery=1,
        duration_ms=0,
        error=error,
    )


def test_the_sink_remembers_a_bounded_number_of_runs() -> None:
    sent: list[Any] = []
    reports = Reports(sent.append)
    for run in (*range(MAX_RUNS), *range(MAX_RUNS)):
        reports(failed(run))
    assert len(sent) == MAX_RUNS
    reports(failed(MAX_RUNS))
    reports(failed(0))  # forgotten by now
    assert len(sent) == MAX_RUNS + 2


def test_a_failure_without_a_traceback_has_no_frames() -> None:
    assert "stacktrace" not in report_of(failed(1))["exception"]["values"][0]
