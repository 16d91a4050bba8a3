"""Everything ever stored can be read: a file of each schema, and every format in it.

Each ``schema_N.sql`` holds each kind of job in each status, claims, retries, remembered answers of every form, messages
and dead letters and the log. ``write_golden.py`` made it, with the real engine. A change that does not read it any more
goes red here; one that writes something else than it holds goes red as well, and needs a golden file beside this one.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from golden_jobs import Keep, Note, app, forgotten, notes, piles, reminders, ticks
from world import Outside, World, play
from write_golden import HERE, played

from perdure.cli.inspection.check import RowCheck
from perdure.cli.inspection.report import FindingTopic, Report, scan
from perdure.codecs import Codec
from perdure.jobs.plan import ANSWERS
from perdure.kinds.continuous.context import TICKS
from perdure.kinds.debounce.context import BATCHES
from perdure.stores.rows import event_body, from_json, logged_event, to_json
from perdure.stores.sqlite.reader import read_from_outside
from perdure.values.event import EVENT_TYPES
from perdure.values.instance import Claim, PendingRetry
from perdure.values.status import FailureRecord

GOLDEN = sorted(HERE.glob("schema_*.sql"))

STATUSES = {
    "continuous": {"scheduled", "running", "retrying", "paused", "retries_exhausted", "recovery_exhausted"},
    "debounce": {"scheduled", "running", "retrying", "paused", "retries_exhausted", "recovery_exhausted"},
    "reminder": {"scheduled", "running", "paused", "retries_exhausted"},
    "task": {
        "idle",
        "scheduled",
        "running",
        "retrying",
        "paused",
        "retries_exhausted",
        "recovery_exhausted",
        "left",
    },
}
SAME = {"undecodable": "left", "not_retryable": "retries_exhausted"}
"""Words of today for those of older files, and the other way round."""

LATER_EVENTS = {
    *("job.accepted", "job.left", "job.key_forgotten", "events.dropped", "job.noted"),
    *("message.dead_lettered", "message.redriven"),
}
RECORDS = {"claim": Claim, "event_claim": Claim, "pending_retry": PendingRetry, "last_error": FailureRecord}
DATA: dict[str, Codec[Any]] = {"continuous": TICKS, "debounce": BATCHES}


def restored(golden: Path, folder: Path) -> Path:
    path = folder / "jobs.db"
    with closing(sqlite3.connect(path)) as file:
        file.executescript(golden.read_text(encoding="utf-8"))
    return path


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path)


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(sql).fetchall()


def column(path: Path, table: str, name: str) -> list[Any]:
    return [value for (value,) in rows(path, f"SELECT {name} FROM {table} WHERE {name} IS NOT NULL")]  # noqa: S608


# ---------------------------------------------------------------- formats
def test_it_holds_every_kind_in_every_status(path: Path) -> None:
    found: dict[str, set[str]] = {}
    for kind, status, suspension in rows(path, "SELECT kind, status, suspension FROM instances"):
        found.setdefault(kind, set()).add(SAME.get(suspension, suspension or status))
    assert found == STATUSES


@pytest.mark.parametrize("name", RECORDS)
def test_records_of_instances_read_back_as_they_are(path: Path, name: str) -> None:
    """Field by field: one that was renamed would be read as its default, and be lost without a sound."""
    texts = column(path, "instances", name)
    assert texts
    for text in texts:
        record: object = from_json(RECORDS[name], text, what=name)
        assert json.loads(text).items() <= json.loads(to_json(record)).items()


def test_values_of_kinds_are_read_back_unchanged(path: Path) -> None:
    for kind, text in rows(path, "SELECT kind, data FROM instances WHERE data <> ''"):
        codec = DATA[kind]
        assert json.loads(text).items() <= json.loads(codec.encode(codec.decode(text.encode()))).items()
    frozen = [text for kind, text in rows(path, "SELECT kind, data FROM instances") if '"flushing":{' in text]
    assert len(frozen) >= 4


def test_remembered_answers_read_back_as_they_are(path: Path) -> None:
    texts = column(path, "keys", "answer")
    for text in texts:
        assert json.loads(text).items() <= json.loads(ANSWERS.encode(ANSWERS.decode(text.encode()))).items()
    answers = [json.loads(text) for text in texts]
    assert {answer["type"] for answer in answers} == {
        "RunAnswer",
        "Added",
        "Cleared",
        "Sent",
        "Terminated",
        "PauseResult",
    }
    forms = {(answer.get("outcome") or {}).get("form") for answer in answers}
    assert forms == {None, "completed", "retrying", "failed", "terminated", "running", "paused", "parked"}


def test_the_log_reads_back_as_it_is(path: Path) -> None:
    """Every event; only newer files hold those that came later."""
    found = set()
    for sequence, address, type_, at_ms, body in rows(path, "SELECT sequence, address, type, at_ms, body FROM events"):
        event = logged_event(sequence=sequence, address=address, type_=type_, at_ms=at_ms, body=body).event
        assert type(event) is EVENT_TYPES[type_]
        assert json.loads(body).items() <= json.loads(event_body(event)).items()
        found.add(type_)
    assert EVENT_TYPES.keys() - found <= LATER_EVENTS


def shape_of(value: object) -> object:
    """The structure of a format: the names of its fields, at any depth, whatever they hold."""
    if isinstance(value, dict):
        return tuple(sorted((key, shape_of(each)) for key, each in value.items()))
    return "list" if isinstance(value, list) else "value"


def shapes_of(path: Path) -> Iterator[tuple[str, str, object]]:
    for name in RECORDS:
        yield from (("instances", name, shape_of(json.loads(text))) for text in column(path, "instances", name))
    yield from (("instances", kind, shape_of(json.loads(text))) for kind, text in rows(path, _DATA))
    yield from (("keys", "answer", shape_of(json.loads(text))) for text in column(path, "keys", "answer"))
    yield from (("messages", "error", shape_of(json.loads(text))) for text in column(path, "messages", "error"))
    yield from (("events", type_, shape_of(json.loads(body))) for type_, body in rows(path, _EVENTS))
    yield ("schema", "", tuple(sql for (sql,) in rows(path, _SCHEMA)))


_DATA = "SELECT kind, data FROM instances WHERE data <> ''"
_EVENTS = "SELECT type, body FROM events"
_SCHEMA = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"


def test_every_stored_format_is_in_a_golden_file(tmp_path: Path) -> None:
    """A new form needs a golden file of its own, so that it is read for ever as well."""
    today = tmp_path / "today"
    today.mkdir()
    path = played(today)
    golden: set[Any] = set()
    for number, file in enumerate(GOLDEN):
        folder = tmp_path / str(number)
        folder.mkdir()
        golden |= set(shapes_of(restored(file, folder)))
    missing = {(table, name) for table, name, shape in set(shapes_of(path)) - golden}
    assert missing == set(), "write a new golden file beside those that are there, with tests/golden/write_golden.py"


# ---------------------------------------------------------------- the whole file
def report_of(path: Path, *jobs: Any) -> Report:
    with read_from_outside(path) as reader:
        return scan(reader, RowCheck(app(Outside(), *jobs).served), Report(f"sqlite:///{path}"), now_ms=0)


def test_the_check_reads_everything_that_its_code_can_read(path: Path) -> None:
    report = report_of(path)
    assert {(group.topic, tuple(example for example, _ in group.examples)) for group in report.groups.values()} == {
        (FindingTopic.UNREADABLE, ("forgotten",)),
        (FindingTopic.OLDER, ("older",)),
        (FindingTopic.WAITING, ("message 1 to task:elsewhere:far",)),
    }
    assert {group.topic for group in report_of(path, forgotten).groups.values()} >= {FindingTopic.RESUMES}


def test_an_engine_continues_from_it(path: Path) -> None:
    play("sqlite", path.parent, _continue)


async def _continue(world: World) -> None:
    jobs = await world.open(app(world.outside))
    of = jobs.handle
    assert sorted(world.outside.heard[:4]) == ["busy"] * 4  # the runs claimed when the process died
    assert await world.run(of(ticks).get_state("busy")) == Note("busy", 1)
    assert await world.run(of(notes).get_state("busy-event")) == Note("busy", 1)
    assert (await world.run(of(piles).status("busy"))).event_count == 1
    assert await world.run(of(notes).get_state("older")) == Note("of version 1")

    before = len(world.outside.heard)
    repeated = await world.run(of(notes).trigger("final", idempotency_key="final"))
    assert repeated.outcome is not None
    assert type(repeated.outcome).__name__ == "Failed"
    assert len(world.outside.heard) == before

    (dead,) = await world.run(jobs.dead_letters())
    await world.run(jobs.redrive(dead.message_id))
    assert "boom" in world.outside.heard
    assert len(await world.messages()) == 2

    for job in (notes, ticks, piles, reminders):
        await world.run(of(job).resume("paused"))
    await world.run(of(notes).resume("doomed"))
    await world.advance(hours=2)
    heard = set(world.outside.heard)
    assert {"scheduled", "ticking", "two", "tea", "paused", "doomed", "again", "typed"} <= heard
    assert "cannot read" in str(await world.error_of(of(notes).send("forgotten", Keep(""))))
