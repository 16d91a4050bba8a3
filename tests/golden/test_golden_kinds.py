"""Everything that workflows, pools, batches, schedules and topics ever stored can be read, and continues.

Each ``kinds_N.sql`` is a file that an engine left in the middle of all of it: ``python tests/golden/write_golden.py
kinds``. A change that cannot continue from it goes red here. One that writes another form goes red as well, and needs a
golden file beside this one.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from later_kinds import (
    Add,
    Order,
    Services,
    app,
    approved,
    batches,
    children,
    limited,
    news,
    notes,
    orders,
    pool,
    spend,
    table,
)
from later_kinds import write_scene as write
from test_golden import restored
from waiting_kinds import START, Price, all_jobs, far, go, imports, prices, reports, watcher, write_waiting
from waiting_kinds import notes as price_notes
from write_golden import HERE

from perdure.cli.inspection.check import RowCheck
from perdure.cli.inspection.report import FindingTopic, Report, scan
from perdure.codecs import Codec
from perdure.jobs.messages import plain_action
from perdure.kinds.schedules.entry import ANSWERS as SCHEDULE_ANSWERS
from perdure.kinds.schedules.entry import DATA as SCHEDULE_DATA
from perdure.kinds.topic.entry import ANSWERS as TOPIC_ANSWERS
from perdure.kinds.topic.entry import DATA as TOPIC_DATA
from perdure.kinds.worker_pool import BatchProgress
from perdure.stores.sqlite.reader import read_from_outside
from perdure.testing import Clock, World
from perdure.values.answer import Done, WasCancelled

GOLDEN = sorted(HERE.glob("kinds_*.sql"))


@pytest.fixture(params=GOLDEN, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path)


# ---------------------------------------------------------------- forms
def form_of(value: object) -> object:
    """The structure of a value: names of fields and types of elements, whatever they hold."""
    match value:
        case dict():
            return tuple(sorted((key, form_of(each)) for key, each in value.items()))
        case list():
            return frozenset(map(form_of, value))
        case str() if value[:1] in {"{", "["}:
            return form_of(parsed(value))
        case _:
            return type(value).__name__


def parsed(text: str) -> Any:
    """JSON, or text that only begins as JSON does."""
    try:
        return json.loads(text)
    except ValueError:
        return 0


def head_of(body: str) -> object:
    """A row of a journal: what its elements are, in order, and which form of row it is."""
    head, _, rest = body.partition("\n")
    elements = json.loads(head)
    return tuple(type(each).__name__ for each in elements), elements[2], rest[:1] in {"{", "["}


def forms_in(path: Path) -> Iterator[tuple[str, str, object]]:
    with closing(sqlite3.connect(path)) as file:
        for kind, data in file.execute("SELECT kind, data FROM instances"):
            yield "data", kind, form_of(data)
        for (body,) in file.execute("SELECT body FROM journal"):
            yield "journal", "", head_of(body)
        for type_, body in file.execute("SELECT type, body FROM events"):
            yield "event", type_, form_of(body)
        for (answer,) in file.execute("SELECT answer FROM keys"):
            yield "answer", "", form_of(answer)


def test_every_form_that_these_kinds_store_is_in_a_golden_file(tmp_path: Path) -> None:
    """A new form needs a golden file of its own, so that it is read for ever as well."""
    golden: set[Any] = set()
    for file in GOLDEN:
        folder = tmp_path / file.stem
        folder.mkdir()
        golden |= set(forms_in(restored(file, folder)))
    write(tmp_path / "jobs.db")
    missing = set(forms_in(tmp_path / "jobs.db")) - golden
    assert missing == set(), "write a new golden file beside those that are there, with tests/golden/write_golden.py"


def test_it_holds_each_kind_and_each_status_of_a_workflow(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        found = set(file.execute("SELECT kind, COALESCE(suspension, status) FROM instances"))
    assert {kind for kind, _ in found} == {"workflow", "pool", "batch", "task", "topic", "schedule"}
    assert {status for kind, status in found if kind == "workflow"} == {
        *("scheduled", "idle", "done", "queued", "paused", "retries_exhausted")
    }


def test_the_check_finds_nothing_that_this_code_cannot_read(path: Path) -> None:
    with read_from_outside(path) as reader:
        report = scan(reader, RowCheck(app().served), Report(f"sqlite:///{path}"), now_ms=0)
    assert {group.topic for group in report.groups.values()} <= {FindingTopic.RESUMES}


# ---------------------------------------------------------------- the engine continues
def outcome(world: World, id_: str, job: Any = orders) -> Any:
    found = world.run(world.handle(job).outcome(id_))
    return found.value if isinstance(found, Done) else found


def test_workflows_continue_from_their_journals(path: Path) -> None:
    services = Services()
    with World(app(services), store=path, seed=2) as world:
        flows = world.handle(orders)
        world.advance("1 minute")
        world.run(flows.signal("waits", approved, "Ann"))
        world.run(flows.resume("paused"))
        assert world.run(flows.update("answers", spend, 5, idempotency_key="first")) == 6  # the stored reply
        assert outcome(world, "done") == "DONE"
        assert isinstance(outcome(world, "stopped"), WasCancelled)
        world.advance("2 days")
        ends = {id_: outcome(world, id_) for id_ in ("sleeps", "large", "by key", "waits", "patched", "again", "race")}
        assert ends == {
            "sleeps": "SLEEPSSLEEPS AGAIN",
            "large": "5000",
            "by key": "5",
            "waits": "Ann",
            "patched": "True",
            "again": "OVEROVER AGAIN",
            "race": "None",
        }
        assert outcome(world, "promise") == "5"
        assert outcome(world, "parent") == "C0C0 AGAIN C1C1 AGAIN"
        assert outcome(world, "parallel") == outcome(world, "forked") == "('LEFTLEFT AGAIN', 'RIGHTRIGHT AGAIN')"
        assert outcome(world, "saga") == WasCancelled(reason="enough")
        assert outcome(world, "paused") == "PAUSEDPAUSED AGAIN"
        assert outcome(world, "large state") == "LARGE STATE, LARGE SLARGE STATE, LARGE S AGAIN"
        assert outcome(world, "later") == "LATERLATER AGAIN"
        assert world.run(flows.status("breaks")).status == "parked"
        assert outcome(world, "parent 1", children) == "C1C1 AGAIN"
        assert world.run(flows.get_state("answers")) == Order("answers", "changed")
        assert {"unbook", "release"} <= set(services.heard)
        assert {"sleeps", "book trip", "left", "before"} & set(services.heard) == set()  # nothing is performed again
        world.advance("5 days")
        assert [outcome(world, str(number), limited) for number in range(3)] == [
            f"LIMITED {number}LIMITED {number} AGAIN" for number in range(3)
        ]


def test_pools_schedules_and_topics_continue(path: Path) -> None:
    services = Services()
    with World(app(services), store=path, seed=2) as world:
        of = world.handle
        world.advance("1 hour")
        assert outcome(world, "busy", pool) == "LONG"
        assert outcome(world, "done", pool) == "DONE"
        assert world.run(of(pool).put("done", "done", idempotency_key="item")).created  # the stored answer
        world.run(of(notes).release())
        world.run(of(notes).resume("b"))
        world.advance("3 days")
        assert outcome(world, "later", pool) == "LATER"
        progress: BatchProgress | None = world.run(of(batches).get_state("open"))
        assert progress is not None
        assert (progress.put, progress.done, progress.failed) == (2, 1, 1)
        assert outcome(world, "batch") != ""
        assert world.run(of(notes).get_state("b")) == ("first", "published", "waits")
        seen = world.run(of(notes).get_state("a"))
        assert seen == ("first", "published", "waits", "nightly", "nightly", "nightly")
        assert world.run(of(table).status("paused")).status == "paused"
        assert world.run(of(news).publish("eur", Add("last"))).subscribers == 2


# ---------------------------------------------------------------- what waits in topics, schedules and queues
WAITING = sorted(HERE.glob("waiting_*.sql"))
KIND_DATA: dict[str, Codec[Any]] = {"schedule": SCHEDULE_DATA, "topic": TOPIC_DATA}
KIND_ANSWERS: dict[str, Codec[Any]] = {"schedule": SCHEDULE_ANSWERS, "topic": TOPIC_ANSWERS}


def rows(path: Path, sql: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(sql).fetchall()


def column(path: Path, table_: str, name: str) -> list[Any]:
    return [value for (value,) in rows(path, f"SELECT {name} FROM {table_} WHERE {name} IS NOT NULL")]  # noqa: S608


_DATA = "SELECT kind, data FROM instances WHERE data <> ''"


@pytest.fixture(params=WAITING, ids=lambda path: path.stem)
def waiting_path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return restored(request.param, tmp_path)


def test_waiting_events_ranges_and_places_read_back_as_they_are(waiting_path: Path) -> None:
    """Field by field, as the records of the first kinds."""
    read = 0
    for kind, text in rows(waiting_path, _DATA):
        if kind in KIND_DATA:
            codec = KIND_DATA[kind]
            assert json.loads(text).items() <= json.loads(codec.encode(codec.decode(text.encode()))).items()
            read += 1
    for address, text in rows(waiting_path, _ANSWERS):
        codec = KIND_ANSWERS[address.partition(":")[0]]
        assert json.loads(text).items() <= json.loads(codec.encode(codec.decode(text.encode()))).items()
        read += 1
    assert read >= 10
    states = {(kind, id_): json.loads(text) for kind, id_, text in rows(waiting_path, _STATES)}
    assert states["topic", "eur"].keys() == {"task:notes:a", "task:far:a", "workflow:watcher:w"}
    (action,) = column(waiting_path, "messages", "action")
    assert plain_action(action) == ("send", states["topic", "eur"]["task:far:a"]["renewed"])
    ((places,),) = rows(waiting_path, "SELECT answer FROM keys WHERE address = 'under_way:imports:workflow'")
    assert json.loads(places).keys() == {"a"}
    assert rows(waiting_path, _LANES) == [("a", None), ("b", "start"), ("c", "start")]


def test_each_format_of_waiting_rows_is_in_a_golden_file(tmp_path: Path) -> None:
    today = tmp_path / "today.db"
    write_waiting(today)
    golden: set[Any] = set()
    for number, file in enumerate(WAITING):
        (tmp_path / str(number)).mkdir()
        golden |= set(shapes_of(restored(file, tmp_path / str(number))))
    missing = {(table_, name) for table_, name, shape in set(shapes_of(today)) - golden}
    assert missing == set(), "write a new golden file with tests/golden/write_golden.py waiting"


def shapes_of(path: Path) -> Iterator[tuple[str, str, object]]:
    yield from (("data", kind, form_of(json.loads(text))) for kind, text in rows(path, _DATA))
    yield from (("state", kind, form_of(json.loads(text))) for kind, _, text in rows(path, _STATES))
    yield from (("answer", "", form_of(json.loads(text))) for text in column(path, "keys", "answer"))
    yield from (("entry", address, key) for address, key in rows(path, "SELECT address, key FROM keys"))
    yield from (("action", re.sub("[0-9]+", "N", action), "") for action in column(path, "messages", "action"))


_ANSWERS = "SELECT address, answer FROM keys WHERE address NOT LIKE 'under_way:%'"
_STATES = "SELECT kind, id, state FROM instances WHERE state IS NOT NULL AND state <> ''"
_LANES = "SELECT id, lane FROM instances WHERE name = 'imports' ORDER BY id"


def test_an_engine_continues_schedules_topics_and_queued_starts(waiting_path: Path) -> None:
    """The next instants fire, with those that were missed; waiting events arrive; places pass on."""
    with World(all_jobs, store=waiting_path, clock=Clock(START + timedelta(minutes=3))) as world:
        fired = [made.day for made in world.run(world.handle(reports).get_state("eu")) or ()]
        world.advance("2 minutes")
        later = [made.day for made in world.run(world.handle(reports).get_state("eu")) or ()]
        assert later[: len(fired)] == fired
        assert [day for day in later if day is not None and day.year == START.year] == [
            START + timedelta(minutes=minute) for minute in range(1, 6)
        ]
        assert world.run(world.handle(far).get_state("a")) == (0, 80)
        world.run(world.handle(prices).resume("usd"))
        world.run(world.handle(prices).publish("eur", Price(40)))
        world.settle()
        assert world.run(world.handle(far).get_state("a")) == (0, 80, 70, 40)
        assert world.run(world.handle(price_notes).get_state("a")) == (0, 80, 40)
        assert isinstance(world.run(world.handle(watcher).outcome("w")), Done)
        world.run(world.handle(imports).signal("a", go, 1))
        world.run(world.handle(imports).resume("c"))
        world.advance("2 seconds")
        world.run(world.handle(imports).signal("c", go, 3))
        world.advance("2 seconds")
        ended = [world.run(world.handle(imports).outcome(id_)) for id_ in "abc"]
        assert ended == [Done("a 1"), Done("b 2"), Done("c 3")]
