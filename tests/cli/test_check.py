"""``perdure check``: rows of a store that new code cannot read, found before it is deployed."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from returns.result import Result, Success

from perdure import (
    App,
    Continuous,
    ContinuousContext,
    Migrations,
    Program,
    Task,
    TaskContext,
    cron,
    every,
    succeed,
    tell,
)
from perdure.cli.inspection.check import CAN_READ, RowCheck
from perdure.cli.inspection.report import (
    EVERY_ROWS,
    MAX_GROUPS,
    FindingTopic,
    Progress,
    Report,
    finding,
    scan,
)
from perdure.cli.output import ProgressLine
from perdure.stores.sqlite.reader import read_from_outside

Found = dict[tuple[str, str, str], int]


@frozen
class OrderV1:
    euros: int


@frozen
class Order:
    cents: int


@frozen
class Renamed:
    price: int


@frozen
class Grown:
    euros: int
    note: str = ""


def in_cents(old: OrderV1) -> Order:
    return Order(old.euros * 100)


def no_rate(old: OrderV1) -> Order:
    raise LookupError(f"no rate for {old.euros}")


def orders(state: Any, initial: Any, *, event: Any = int, versions: Any = None) -> Any:
    def on_event(ctx: TaskContext[Any], event: int) -> Program[None]:
        return ctx.set_state(OrderV1(event)).bind(lambda _: ctx.schedule(after="1 hour"))

    def execute(ctx: TaskContext[Any]) -> Program[None]:
        return ctx.cancel_schedule()

    return Task(
        "orders", state=state, event=event, initial=initial, on_event=on_event, execute=execute, versions=versions
    )


def forward(ctx: TaskContext[int], event: int) -> Program[None]:
    return tell(OLD, "told").send(event)


def tick(ctx: ContinuousContext[int]) -> Program[None]:
    return succeed(None)


OLD = orders(OrderV1, OrderV1(0))
SENDER = Task("sender", state=int, event=int, initial=0, on_event=forward)
HOURLY = Continuous("ticker", state=int, schedule=every("1 hour", align="start"), execute=tick)


def app(*jobs: Any) -> App[None]:
    return App(None).with_jobs(*jobs)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that old code has written: three orders, a ticker, an answer that is remembered."""
    path = tmp_path / "jobs.db"

    async def write() -> None:
        async with app(OLD, SENDER, HOURLY).open(f"sqlite:///{path}") as jobs:
            for id_, euros in (("ann", 1), ("bob", 2), ("cem", 3)):
                await jobs.handle(OLD).send(id_, euros, idempotency_key="k")
            await jobs.handle(HOURLY).start("t", 1)

    asyncio.run(write())
    return path


def report_of(path: Path, *jobs: Any, now_ms: int = 0, accepted: frozenset[FindingTopic] = frozenset()) -> Report:
    with read_from_outside(path) as reader:
        return scan(reader, RowCheck(app(*jobs).served), Report("sqlite:///jobs.db", accepted), now_ms=now_ms)


def found(path: Path, *jobs: Any, now_ms: int = 0) -> Found:
    groups = report_of(path, *jobs, now_ms=now_ms).groups.values()
    return {(group.topic.value, group.job, group.reason): group.count for group in groups}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_the_code_that_wrote_it_can_read_everything(path: Path) -> None:
    report = report_of(path, OLD, SENDER, HOURLY)
    assert report.groups == {}
    assert report.seen == {"instances": 4, "keys": 3}


def test_it_looks_beside_a_running_owner(path: Path) -> None:
    async def beside() -> Report:
        async with app(OLD, SENDER, HOURLY).open(f"sqlite:///{path}") as jobs:
            await jobs.handle(OLD).send("dan", 4)
            return await asyncio.to_thread(report_of, path, OLD, SENDER, HOURLY)

    report = asyncio.run(beside())
    assert (report.groups, report.seen) == ({}, {"instances": 5, "keys": 3})


def test_older_versions_are_a_note(path: Path) -> None:
    new = orders(Order, Order(0), versions=Migrations(OrderV1).then(in_cents))
    assert found(path, new, HOURLY) == {("older", "task:orders", "version 1 is read as version 2"): 3}


def test_unreadable_rows_are_grouped_by_reason_with_examples(path: Path) -> None:
    (group,) = report_of(path, orders(Renamed, Renamed(0)), HOURLY).groups.values()
    assert (group.topic, group.count) == (FindingTopic.UNREADABLE, 3)
    assert group.reason == "$.price: missing; expected int; $['euros']: unknown key; Renamed has price"
    assert [example for example, _ in group.examples] == ["ann", "bob", "cem"]


def test_an_upcaster_that_raises_for_some_is_found(path: Path) -> None:
    new = orders(Order, Order(0), versions=Migrations(OrderV1).then(no_rate))
    report = report_of(path, new, HOURLY)
    (group,) = report.groups.values()
    assert (group.topic, group.count) == (FindingTopic.UNREADABLE, 3)
    assert group.reason == "$: the upcaster no_rate (version 1 to 2) raised LookupError"
    reasons = {reason for _, reason in group.examples}
    assert "$: the upcaster no_rate (version 1 to 2) raised LookupError: no rate for 2" in reasons


def test_a_state_of_newer_code_is_found(path: Path) -> None:
    execute(path, "UPDATE instances SET state_version = 7 WHERE id = 'bob'")
    reason = "$: its version is 7, and this code reads version 1: newer code wrote it"
    assert found(path, OLD, HOURLY) == {("unreadable", "task:orders", reason): 1}


def test_members_of_newer_code_are_no_problem_before_a_rollback(path: Path) -> None:
    execute(path, "UPDATE instances SET state = json_set(state, '$.note', 'new') WHERE id = 'bob'")
    assert found(path, OLD, HOURLY) == {}


def test_a_shape_that_changed_without_a_new_version_is_a_note(path: Path) -> None:
    reason = "its type changed without a new version: the next commit writes it in the new form"
    assert found(path, orders(Grown, Grown(0)), HOURLY) == {("reshaped", "task:orders", reason): 3}


def test_jobs_that_the_app_does_not_serve(path: Path) -> None:
    report = report_of(path, OLD)
    reason = "the app has no such job: its alarms do not fire, its messages wait"
    assert [(group.job, group.reason) for group in report.of(FindingTopic.NOT_SERVED)] == [
        ("continuous:ticker", reason)
    ]
    assert report.number("problem") == 1
    assert report_of(path, OLD, accepted=frozenset({FindingTopic.NOT_SERVED})).number("problem") == 0


@pytest.mark.parametrize("column", ["due_ms", "owner", "status"])
def test_an_index_that_differs_from_the_row(path: Path, column: str) -> None:
    execute(path, f"UPDATE instances SET {column} = 5 WHERE id = 'ann'")  # noqa: S608
    ((topic, job, reason),) = found(path, OLD, HOURLY)
    assert (topic, job) == ("index", "task:orders")
    assert reason == f"{column}: expected the value that the row holds"


def test_a_row_that_no_code_can_read_hides_no_other(path: Path) -> None:
    execute(path, "UPDATE instances SET pending_retry = 'no JSON' WHERE id = 'ann'")
    report = report_of(path, OLD, HOURLY)
    assert [(group.topic, group.count) for group in report.groups.values()] == [(FindingTopic.DAMAGED, 1)]
    assert report.seen["instances"] == 4


def test_messages_that_their_target_cannot_read(path: Path) -> None:
    async def send() -> None:
        async with app(SENDER).open(f"sqlite:///{path}") as jobs:  # the target is not served, so they wait
            await jobs.handle(SENDER).send("s", 5)

    asyncio.run(send())
    assert found(path, OLD, SENDER, HOURLY) == {}
    report = report_of(path, SENDER, HOURLY)
    (waiting,) = report.of(FindingTopic.WAITING)
    assert (waiting.job, waiting.count, waiting.reason) == ("task:orders", 1, "the app has no such job")
    assert [example for example, _ in waiting.examples] == ["message 1 to task:orders:told"]
    both = frozenset({FindingTopic.NOT_SERVED, FindingTopic.WAITING})
    assert report_of(path, SENDER, HOURLY, accepted=both).number("problem") == report.number("problem") - 4
    texts = orders(OrderV1, OrderV1(0), event=str)
    assert found(path, texts, SENDER, HOURLY) == {("message", "task:orders", "send: $: expected str"): 1}
    execute(path, "UPDATE messages SET action = 'sing'")
    ((topic, _, reason),) = found(path, OLD, SENDER, HOURLY)
    assert (topic, reason[:33]) == ("message", "task:orders has no action 'sing';")


def test_dead_letters_that_cannot_be_read_are_a_note(path: Path) -> None:
    letter = "1, 'task:sender:s', 'task:orders:ann', 'send', '\"five\"', 1, 10, NULL, NULL"
    execute(path, f"INSERT INTO dead_letters VALUES ({letter})")  # noqa: S608
    report = report_of(path, OLD, SENDER, HOURLY)
    assert [(group.topic, group.count) for group in report.groups.values()] == [(FindingTopic.DEAD_LETTER, 1)]
    assert report.number("problem") == 0


def test_answers_are_inspected_while_their_window_lasts(path: Path) -> None:
    execute(path, """UPDATE keys SET answer = '{"type":"Sung"}' WHERE address LIKE '%:ann'""")
    ((topic, job, _),) = found(path, OLD, HOURLY)
    assert (topic, job) == ("answer", "task:orders")
    assert found(path, OLD, HOURLY, now_ms=2**52) == {}


def test_the_claim_of_an_event_that_cannot_be_read(path: Path) -> None:
    claim = {"owner": 1, "cause": "event", "run_id": "r", "claimed_ms": 1, "action": "send", "payload": '"five"'}
    execute(path, f"UPDATE instances SET event_claim = '{json.dumps(claim)}', owner = 1 WHERE id = 'ann'")  # noqa: S608
    assert found(path, OLD, HOURLY) == {("unreadable", "task:orders", "$: expected int"): 1}


def test_alarms_that_another_schedule_has_set_are_a_note(path: Path) -> None:
    for schedule, differs in (
        (every("1 hour", align="start"), 0),
        (every("30 minutes", align="start"), 0),
        (every("45 minutes", align="start"), 1),
        (every("2 hours"), 1),
        (cron("0 0 29 2 *"), 1),
    ):
        ticker = Continuous("ticker", state=int, schedule=schedule, execute=tick)
        report = report_of(path, OLD, ticker)
        assert [group.count for group in report.of(FindingTopic.ALARM)] == [1] * differs, schedule
        assert report.number("problem") == 0


def test_instances_that_are_left_and_would_resume_are_a_note(path: Path) -> None:
    error = {"form": "defect", "error_type": "InvalidInput", "message": "$: ..."}
    mark = json.dumps({"codes": ["3f"], "since_ms": 1, "error": error})
    left = f"left_by = 'task:orders' || char(9) || '3f', left_mark = '{mark}'"
    execute(path, f"UPDATE instances SET {left}, due_ms = NULL, status = 'left' WHERE id = 'ann'")  # noqa: S608
    assert [topic for topic, _, _ in found(path, OLD, HOURLY)] == ["resumes"]


def test_stored_errors_that_lose_their_type_are_a_note(path: Path) -> None:
    def failing(ctx: TaskContext[OrderV1], event: int) -> Result[None, Order]:
        return Success(None)

    job = Task("orders", state=OrderV1, event=int, initial=OrderV1(0), on_event=failing)
    error = {"form": "failure", "error_type": "Old", "message": "m", "data": '{"code": 3}'}
    execute(path, f"UPDATE instances SET last_error = '{json.dumps(error)}' WHERE id = 'ann'")  # noqa: S608
    ((topic, _, _),) = found(path, job, HOURLY)
    assert topic == "error"


def test_memory_is_bounded_however_many_reasons_there_are() -> None:
    report = Report("s")
    for number in range(MAX_GROUPS + 50):
        report.add([finding(FindingTopic.UNREADABLE, "task:orders", f"reason {number}", "x")])
    assert len(report.groups) == MAX_GROUPS + 1
    assert report.number("problem") == MAX_GROUPS + 50


def test_a_store_of_many_pages_is_inspected_completely(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def write() -> None:
        async with app(OLD).open(f"sqlite:///{path}") as jobs:
            await asyncio.gather(*(jobs.handle(OLD).send(f"o-{at}", at, idempotency_key="k") for at in range(1_203)))

    asyncio.run(write())
    report = report_of(path, orders(Renamed, Renamed(0)))
    assert report.seen == {"instances": 1_203, "keys": 1_203}
    assert report.number("problem") == 1_203


def test_a_person_at_a_terminal_sees_how_far_it_is() -> None:
    terminal, report = StringIO(), Report("s")
    line = ProgressLine(terminal)
    progress = Progress(line)
    for _ in range(3):
        report.count("instances", EVERY_ROWS - 1)
        progress.show(report)
    line.clear()
    lines = terminal.getvalue().split("\r")
    assert lines == ["", "\x1b[Kperdure: checked 9,998 rows, 0 problems", "\x1b[K"]


def test_the_text_says_the_problems_first(path: Path) -> None:
    execute(path, "UPDATE instances SET state_version = 7 WHERE id = 'bob'")
    new = orders(Order, Order(0), versions=Migrations(OrderV1).then(in_cents))
    report = report_of(path, new, accepted=frozenset({FindingTopic.NOT_SERVED}))
    assert list(report.lines(CAN_READ)) == [
        "sqlite:///jobs.db: checked 4 instances, 3 keys",
        "",
        "PROBLEM: 1 instance that this code cannot decode: it would be left to other code",
        "  task:orders  1: $: its version is 7, and this code reads versions 1 to 2: newer code wrote it",
        "      example: bob",
        "",
        "note: 1 instance belongs to a job that this app does not serve",
        "  continuous:ticker  1: the app has no such job: its alarms do not fire, its messages wait",
        "      example: t",
        "",
        "note: 2 instances of older versions, which are upgraded when they are read",
        "  task:orders  2: version 1 is read as version 2",
        "      examples: ann, cem",
        "",
        "1 problem",
    ]
    data = report_of(path, new).data
    assert data["problems"] == 2
    assert [(group["topic"], group["matters"], group["count"]) for group in data["groups"]] == [
        ("unreadable", "problem", 1),
        ("not_served", "problem", 1),
        ("older", "note", 2),
    ]


# ---------------------------------------------------------------- the command
SHOP = """
from attrs import frozen
from perdure import App, Task

@frozen
class Order:
    FIELD: int

orders = Task("orders", state=Order, event=int, initial=Order(0), on_event=lambda ctx, _: ctx.state)
app = App(None).with_jobs(orders)
"""


def test_the_command_says_yes_no_or_that_it_cannot(path: Path, tmp_path: Path, start: Any) -> None:
    (tmp_path / "old.py").write_text(SHOP.replace("FIELD", "euros"))
    (tmp_path / "new.py").write_text(SHOP.replace("FIELD", "price"))
    store = ("--store", "sqlite:///jobs.db")
    runs = {
        "yes": start("check", "old:app", *store, "--unserved", "note"),
        "no": start("check", "new:app", "--json", PERDURE_STORE="sqlite:///jobs.db"),
        "nowhere": start("check", "old:app", "--store", "sqlite:///nowhere.db"),
        "memory": start("check", "old:app", "--store", "memory://"),
        "nothing": start("check", "old:nothing", *store),
    }
    assert [run.end() for run in runs.values()] == [0, 1, 2, 2, 2], [run.story for run in runs.values()]
    assert runs["yes"].seen[-1] == "this code can decode everything"
    assert runs["yes"].error == ""  # no terminal, so no progress
    assert json.loads("\n".join(runs["no"].seen))["problems"] == 4
    assert "there is no such file" in runs["nowhere"].error
    assert "only a file can be read without" in runs["memory"].error
    assert not (tmp_path / "nowhere.db").exists()


VERSIONS = """
from attrs import frozen
from perdure import App, Task
import money

@frozen
class Order:
    FIELD: int

orders = Task("orders", state=Order, event=int, initial=Order(0), on_event=lambda ctx, _: ctx.state)
app = App(None).with_jobs(orders)
"""


def test_the_code_of_python_path_is_checked_and_named(path: Path, tmp_path: Path) -> None:
    """As the console script, in the folder of the old version, with the new one in PYTHONPATH."""
    for version, field in (("old", "euros"), ("new", "price")):
        folder = tmp_path / version
        folder.mkdir()
        (folder / "shop.py").write_text(VERSIONS.replace("FIELD", field))
        (folder / "money.py").write_text("")

    def run(*options: str, path_of_code: str = "") -> subprocess.CompletedProcess[str]:
        store = ["--store", f"sqlite:///{path}", "--unserved", "note"]
        command = [sys.executable, "-P", "-m", "perdure", "check", "shop:app", *store, *options]
        outer = os.environ.get("PYTHONPATH")  # a changed copy of the library may be there
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, (path_of_code, outer)))}
        return subprocess.run(  # noqa: S603 - our own command
            command, cwd=tmp_path / "old", env=os.environ | paths, capture_output=True, text=True, check=False
        )

    here = run()
    assert here.returncode == 0, here.stderr
    assert here.stdout.splitlines()[:2] == [
        f"code: shop from {tmp_path}/old/shop.py",
        f"code: money from {tmp_path}/old/money.py",
    ]
    named = run("--json", path_of_code=str(tmp_path / "new"))
    assert named.returncode == 1, named.stderr
    assert json.loads(named.stdout)["code"] == {
        "shop": f"{tmp_path}/new/shop.py",
        "money": f"{tmp_path}/new/money.py",
    }
