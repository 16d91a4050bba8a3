"""``perdure verify``: each thing that can be wrong with a store is found, and nothing else."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from perdure.cli.commands import run_command
from perdure.cli.inspection.report import FindingTopic, Report, ShowProgress, silent
from perdure.cli.inspection.verify import SOUND, verified
from perdure.stores.contract import Store, commit_one
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.reader import read_from_outside
from perdure.stores.values import Retention
from perdure.testing.conformance.assertions import value
from perdure.testing.conformance.histories import (
    ERROR,
    address,
    created,
    instance,
    message,
    message_id,
    put,
    remembered,
    started,
)
from perdure.values.instance import Fence
from perdure.values.limits import KeepHistory
from perdure.values.message import DeadLettered
from perdure.values.transition import JournalChange, Put, Transition

A, B = address("a"), address("b")


async def write(store: Store) -> None:
    """Something in every table: two instances, three messages of a pair, a dead letter, a key, eight events."""
    assert store.histories is not None
    await value(store.histories.declare({(A.kind, A.name): KeepHistory(age="1 day")}))
    await value(commit_one(store, Transition(address=A, events=(started(A), started(A), started(B)))))
    await value(store.prune(Retention(now_ms=0, events_since_ms=9, max_events=0)))
    for at in (A, B):
        await value(commit_one(store, put(at, alarm_ms=5, state='{"n":1}')))
    kept = attrs.evolve(instance(A, state='{"n":1}', alarm_ms=5, version=2), journal_length=2)
    rows = JournalChange(("[]", "[1]"))
    await value(commit_one(store, Transition(address=A, expected=Fence(1, 1), write=Put(kept), journal=rows)))
    for payload in ("1", "2", "3"):
        events, key = (started(A),), remembered("k", '"done"')
        await value(
            commit_one(store, Transition(address=A, messages=(message(A, B, payload),), remember=(key,), events=events))
        )
    await value(
        commit_one(store, Transition(address=B, messages=(message(B, A, "9"),), events=(started(B), started(B))))
    )
    fate = DeadLettered(message_id=await message_id(store, "9"), deliveries=10, error=ERROR)
    await value(commit_one(store, Transition(address=A, inbound=fate)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.db"

    async def main() -> None:
        store = await open_sqlite(path)
        await write(store)
        await value(store.close())

    asyncio.run(main())
    return path


def report_of(path: Path, progress: ShowProgress = silent) -> Report:
    with read_from_outside(path) as reader:
        return verified(reader, Report(str(path)), progress=progress)


def found(path: Path) -> set[tuple[FindingTopic, str, str]]:
    return {(topic, job, reason.partition(",")[0]) for topic, job, reason in report_of(path).groups}


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def test_a_store_of_everything_is_sound(path: Path) -> None:
    report = report_of(path)
    assert report.groups == {}
    assert report.seen == {"instances": 2, "messages": 3, "dead letters": 1, "keys": 1, "events": 8}


def test_a_new_store_holds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        await value((await open_sqlite(tmp_path / "new.db")).close())

    asyncio.run(main())
    store = f"sqlite:///{tmp_path}/new.db"
    assert run_command(["verify", "--store", store]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{store}: nothing is stored", "", SOUND]


def test_it_looks_beside_the_owner(path: Path) -> None:
    async def beside() -> Report:
        store = await open_sqlite(path)
        await created(store, address("new"))
        report = await asyncio.to_thread(report_of, path)
        await value(store.close())
        return report

    report = asyncio.run(beside())
    assert (report.groups, report.seen["instances"]) == ({}, 3)


@pytest.mark.parametrize(
    ("statement", "topic", "job", "reason"),
    [
        (
            "UPDATE instances SET due_ms = NULL WHERE id = 'a'",
            "index",
            "task:orders",
            "due_ms: expected the value",
        ),
        (
            "UPDATE instances SET owner = 3 WHERE id = 'a'",
            "index",
            "task:orders",
            "owner: expected the value",
        ),
        ("UPDATE instances SET status = 'idle' WHERE id = 'a'", "index", "task:orders", "status: expected the value"),
        ("UPDATE instances SET claim = '{'", "damaged", "task:orders", "its Claim does not decode"),
        ("UPDATE instances SET suspension = 'sung'", "damaged", "task:orders", "its suspension is 'sung'"),
        ("UPDATE instances SET state = '{'", "damaged", "task:orders", "its state is not JSON"),
        ("UPDATE instances SET data = 'x'", "damaged", "task:orders", "its data is not JSON"),
        ("UPDATE messages SET payload = '{'", "damaged", "messages", "its payload is not JSON"),
        ("UPDATE messages SET target = 'x'", "damaged", "messages", "instance id: expected"),
        ("UPDATE dead_letters SET error = '{'", "damaged", "messages", "its FailureRecord does not decode"),
        ("UPDATE dead_letters SET payload = '{'", "damaged", "messages", "its payload is not JSON"),
        ("UPDATE keys SET address = 'x'", "damaged", "keys", "instance id: expected"),
        ("UPDATE keys SET answer = '{'", "damaged", "task:orders", "the answer of key 'k' is not JSON"),
        ("UPDATE messages SET place = 'behind'", "order", "messages", "expected the oldest message of a pair"),
        ("UPDATE messages SET place = 'head'", "order", "messages", "expected the oldest message of a pair"),
        (
            "UPDATE messages SET place = iif(payload = '2', 'head', 'behind')",
            "order",
            "messages",
            "expected the oldest message of a pair",
        ),
        ("UPDATE dead_letters SET message_id = 2", "order", "messages", "it is both undelivered"),
        ("UPDATE counters SET incarnation = 1", "numbers", "counters", "a number in use"),
        ("UPDATE counters SET message_id = 3", "numbers", "counters", "a number in use"),
        ("UPDATE counters SET sequence = 4", "numbers", "counters", "a number in use"),
        ("DELETE FROM counters", "numbers", "counters", "expected one row of counters"),
        ("DELETE FROM events WHERE sequence = 6", "history", "events", "events are missing"),
        ("DELETE FROM kept_events WHERE sequence = 2", "history", "task:orders", "kept events are missing"),
        ("UPDATE kept_events SET number = 9 WHERE sequence = 3", "history", "task:orders", "kept events are missing"),
        (
            "UPDATE kept_events SET address = 'task:orders2:a' WHERE sequence = 3",
            "history",
            "task:orders",
            "kept events are of another job",
        ),
        (
            "UPDATE kept_events SET sequence = 4 WHERE sequence = 3",
            "history",
            "task:orders",
            "kept events are newer than the log",
        ),
        ("DELETE FROM histories", "history", "task:orders", "no bound deletes its kept events"),
        ("DELETE FROM journal WHERE place = 0", "journal", "task:orders", "expected the rows that the instance counts"),
        ("DELETE FROM journal WHERE place = 1", "journal", "task:orders", "expected the rows that the instance counts"),
        ("DELETE FROM journal", "journal", "task:orders", "expected the rows that the instance counts"),
        ("INSERT INTO journal VALUES (1, 2, '')", "journal", "task:orders", "expected the rows that the instance"),
        ("INSERT INTO journal VALUES (2, 0, '')", "journal", "task:orders", "expected the rows that the instance"),
        ("UPDATE journal SET place = 2 WHERE place = 1", "journal", "task:orders", "expected the rows that the"),
        ("INSERT INTO journal VALUES (9, 0, '')", "journal", "journal", "its instance is missing"),
        ("DROP INDEX instances_due", "file", "schema", "it is missing"),
        ("ALTER TABLE events ADD COLUMN mine TEXT", "file", "schema", "it differs from the one"),
    ],
)
def test_each_defect_is_found_alone(path: Path, statement: str, topic: str, job: str, reason: str) -> None:
    execute(path, statement)
    ((found_topic, found_job, found_reason),) = report_of(path).groups
    assert (found_topic.value, found_job) == (topic, job)
    assert found_reason.startswith(reason)
    assert report_of(path).number("problem") > 0


def test_the_beginning_of_the_log_may_be_gone(path: Path) -> None:
    execute(path, "DELETE FROM events WHERE sequence < 6")
    assert found(path) == set()
    execute(path, "DELETE FROM events")
    assert found(path) == set()


def test_an_event_of_newer_code_is_a_note(path: Path) -> None:
    execute(path, "UPDATE events SET type = 'job.sung' WHERE sequence = 5")
    report = report_of(path)
    assert [(group.topic, group.job, group.count) for group in report.groups.values()] == [
        (FindingTopic.EVENT, "task:orders", 1)
    ]
    assert report.number("problem") == 0
    execute(path, "UPDATE kept_events SET type = 'job.sung'")
    assert [group.count for group in report_of(path).groups.values()] == [4]


def test_an_index_that_misses_a_row_is_found(path: Path) -> None:
    """Damage that only SQLite can see: entries that are not there, in a file whose pages are all well formed."""
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'instances_due'").fetchone()
        (other,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'instances_owner'").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size : root * size] = data[(other - 1) * size : other * size]
    path.write_bytes(data)
    assert (FindingTopic.FILE, "SQLite", "SQLite finds damage") in found(path)


@pytest.mark.parametrize("table", ["instances", "events", "keys"])
def test_a_page_of_rubbish_is_found_and_hides_nothing_else(path: Path, table: str) -> None:
    execute(path, "UPDATE messages SET place = 'behind'")
    with closing(sqlite3.connect(path)) as database:
        (root,) = database.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    data = bytearray(path.read_bytes())
    data[(root - 1) * size : root * size] = b"\xa5" * size
    path.write_bytes(data)
    topics = {topic for topic, _, _ in found(path)}
    assert {FindingTopic.FILE, FindingTopic.ORDER} <= topics


def test_the_command_says_sound_damaged_or_that_it_cannot(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = f"sqlite:///{path}"
    assert run_command(["verify", "--store", store]) == 0
    looked, *_, verdict = capsys.readouterr().out.splitlines()
    assert looked == f"{store}: checked 2 instances, 3 messages, 1 dead letter, 1 key, 8 events"
    assert verdict == SOUND
    execute(path, "UPDATE messages SET place = 'behind'", "DELETE FROM events WHERE sequence = 6")
    assert run_command(["verify", "--store", store]) == 1
    assert capsys.readouterr().out.splitlines()[2:] == [
        "PROBLEM: 1 message out of order",
        "  messages  1: expected the oldest message of a pair to be its head and no other",
        "      example: task:orders:a to task:orders:b",
        "",
        "PROBLEM: 1 gap in the event history",
        "  events  1: events are missing",
        "      example: 1 of 4 to 8",
        "",
        "2 problems",
    ]
    assert run_command(["verify", "--store", store, "--json"]) == 1
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (data["problems"], [group["topic"] for group in data["groups"]]) == (2, ["order", "history"])
    assert run_command(["verify", "--store", f"sqlite:///{tmp_path}/nowhere.db"]) == 2
    assert run_command(["verify", "--store", store, "--max-wal-mib", "-1"]) == 2
    errors = capsys.readouterr().err
    assert "there is no such file" in errors
    assert "--max-wal-mib -1: expected a number from 0" in errors
