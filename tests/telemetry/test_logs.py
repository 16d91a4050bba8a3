"""Log lines carry their run: through `logging`, through structlog, as text and as JSON."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from perdure import App, Do, Task, TaskContext, program
from perdure.runtime.on_asyncio import asyncio_runtime
from perdure.runtime.record import LogRecord
from perdure.telemetry.logs import JsonLine, LogLine, RunFilter, add_run
from perdure.testing import World

log = logging.getLogger("shop")


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The lines of all loggers, as JSON."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLine())
    handler.addFilter(RunFilter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield stream
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
def captured() -> Iterator[list[Any]]:
    """The events of structlog, once it is configured."""
    events: list[Any] = []

    def keep(_logger: object, _method: str, event: Any) -> Any:
        events.append(event)
        raise structlog.DropEvent

    structlog.configure(processors=[add_run, keep])
    yield events
    structlog.reset_defaults()


@program
def handle(ctx: TaskContext[int], event: int) -> Do[None]:
    log.info("packed %s", event, extra={"parcel": event})
    structlog.get_logger().info("weighed", grams=event)
    yield from ctx.set_state(event)


orders = Task("orders", state=int, event=int, initial=0, on_event=handle)
app: App[None] = App(None).with_jobs(orders)


def test_a_line_of_a_program_carries_its_run(lines: io.StringIO, captured: list[Any]) -> None:
    with World(app) as world:
        world.run(world.jobs.handle(orders).send("a-1", 7))
    log.info("outside")
    packed, outside = (json.loads(line) for line in lines.getvalue().splitlines())
    run = {"job": "task:orders", "id": "a-1", "hook": "on_event", "attempt": 1}
    assert {name: packed[name] for name in run} == run
    assert (packed["message"], packed["level"], packed["logger"], packed["parcel"]) == ("packed 7", "info", "shop", 7)
    assert set(outside) == {"at", "level", "logger", "message"}
    (weighed,) = captured
    assert {name: weighed[name] for name in run} == run
    assert (weighed["run"], weighed["grams"]) == (packed["run"], 7)


def test_a_record_of_the_engine_is_its_constant_message_and_fields(lines: io.StringIO) -> None:
    asyncio_runtime().log(LogRecord("warning", "run failed, will be retried", {"job": "task:orders", "attempt": 2}))
    (line,) = map(json.loads, lines.getvalue().splitlines())
    del line["at"]
    message = "run failed, will be retried"
    assert line == {"level": "warning", "logger": "perdure", "message": message, "job": "task:orders", "attempt": 2}


def test_the_engine_logs_to_structlog_once_it_is_configured(lines: io.StringIO, captured: list[Any]) -> None:
    asyncio_runtime().log(LogRecord("error", "sink raised an exception", {"event": "job.failed", "sink": "s"}))
    assert captured == [{"event": "sink raised an exception", "event_type": "job.failed", "sink": "s"}]
    assert lines.getvalue() == ""


def broken(_logger: object, _method: str, _event: Any) -> Any:
    raise ZeroDivisionError


def test_a_processor_that_raises_loses_no_record(lines: io.StringIO) -> None:
    structlog.configure(processors=[broken])
    try:
        asyncio_runtime().log(LogRecord("info", "engine started", {}))
    finally:
        structlog.reset_defaults()
    assert json.loads(lines.getvalue())["message"] == "engine started"


def test_an_exception_is_a_text_of_the_line(lines: io.StringIO) -> None:
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        log.exception("failed")
    (line,) = map(json.loads, lines.getvalue().splitlines())
    assert line["exception"].endswith("ZeroDivisionError: division by zero")


@pytest.mark.parametrize(("level", "logged"), [("info", ["warned", "mine"]), ("debug", ["request", "warned", "mine"])])
def test_the_requests_of_the_http_client_are_logged_at_debug_only(level: str, logged: list[str]) -> None:
    code = f"""
import logging
from perdure.telemetry.logs import log_to_stderr

log_to_stderr({level!r})
logging.getLogger("httpx2").info("request")
logging.getLogger("httpx2").warning("warned")
logging.getLogger("shop").info("mine")
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert [line.rpartition(" ")[2] for line in ended.stderr.splitlines()] == logged


def test_lines_of_text_show_the_run() -> None:
    record = logging.makeLogRecord({"name": "shop", "levelname": "INFO", "msg": "packed", "created": 0.0, "msecs": 0.0})
    vars(record)["perdure"] = {"job": "task:orders", "id": "a"}
    assert LogLine().format(record) == "1970-01-01T00:00:00.000Z INFO shop: packed job='task:orders' id='a'"


anything = st.recursive(
    st.none() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()) | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.text(min_size=1).filter(str.isidentifier), anything), st.text())
def test_any_value_is_one_line_of_json(fields: dict[str, object], message: str) -> None:
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "perdure": fields, "perdure_message": message})
    line = JsonLine().format(record)
    assert "\n" not in line
    read = json.loads(line)
    assert {*read} == {"at", "level", "logger", "message", *fields}
    assert (read["level"], read["logger"], read["message"]) == ("info", "x", message or record.getMessage())


@pytest.mark.parametrize("wrap", [lambda value: value, lambda value: [value], lambda value: ["\ud800", {1: value}]])
def test_a_value_that_cannot_be_printed_loses_no_line(wrap: Callable[[object], object]) -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise ZeroDivisionError

    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "packed", "parcel": wrap(Unprintable())})
    read = json.loads(JsonLine().format(record))
    assert (read["level"], read["message"]) == ("info", "packed")
    assert "Unprintable" in str(read["parcel"]) or "list" in str(read["parcel"])


def test_a_field_of_a_line_hides_none_of_its_facts(lines: io.StringIO) -> None:
    log.warning("late", extra={"level": "debug", "at": "never", "logger": "another", "parcel": 7})
    line = json.loads(lines.getvalue())
    assert (line["level"], line["logger"], line["message"], line["parcel"]) == ("warning", "shop", "late", 7)
    assert line["at"] != "never"


def test_a_field_of_a_line_hides_no_fact_of_its_run() -> None:
    fields = {"name": "shop", "levelname": "INFO", "msg": "packed", "job": "mine", "parcel": 7}
    record = logging.makeLogRecord({**fields, "perdure": {"job": "task:orders", "id": "o-1"}})
    line = json.loads(JsonLine().format(record))
    assert (line["job"], line["id"], line["parcel"]) == ("task:orders", "o-1", 7)
