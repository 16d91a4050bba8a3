"""`perdure doctor`: each fault of a store is one finding with its fix."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from operated import TOKEN, instance, json_of, serving, write_store

from perdure.cli.commands import run_command
from perdure.cli.inspection import sqlite_diagnosis as file
from perdure.cli.inspection.doctor import EXTRAS, extras, sqlite_version, waiting_work
from perdure.cli.inspection.postgres_diagnosis import vacuum
from perdure.cli.inspection.report import Finding
from perdure.cli.inspection.sqlite_diagnosis import (
    MOUNTS,
    TRIES,
    compared,
    file_system_of,
    health,
    kept_counts,
)
from perdure.cli.inspection.stats import Counts, FileSize
from perdure.cli.target.remote import connected
from perdure.stores.values import Health
from perdure.values.instance import Left
from perdure.values.listings import StatusCount, StoreCounts
from perdure.values.status import FailureRecord

Out = pytest.CaptureFixture[str]

MIB = 1024 * 1024
NOW_MS = 1_767_225_600_000
URL = "sqlite:///jobs.db"
OWNER = "process 41 on host"
COUNTS = Counts(
    openings=1,
    instances={"task:order": {"idle": 3}},
    journal_rows=0,
    encrypted={},
    due=1,
    due_since_ms=NOW_MS - 60_000,
    messages=0,
    oldest_message_ms=None,
    dead_letters=0,
    keys=0,
    expired_keys=0,
    events=2,
    kept_events={},
    oldest_event_ms=NOW_MS,
    size=FileSize(file_bytes=500 * MIB, wal_bytes=4 * MIB, free_bytes=0),
)

FINE: dict[str, Finding] = {
    "the newest schema": file.schema(3, 3),
    "a private file": file.permissions(0o600, {}, can_write=True),
    "a local disk": file.file_system("ext4"),
    "space for a backup": file.space(500 * MIB, 500 * MIB),
    "the last of the space": file.space(100 * MIB, 100 * MIB),
    "a log of the usual size": file.log(256 * MIB),
    "an engine that listens": file.engine(OWNER, listens=True, url=URL),
    "an alarm that is hardly late": file.alarms(1, NOW_MS - 60_000, NOW_MS, has_engine=True),
    "a clock that is hardly behind": file.clock(NOW_MS + 60_000, NOW_MS),
    "no event": file.clock(None, NOW_MS),
    "none parked": file.waiting(0, "parked", "instances are parked", "perdure list"),
    "none left": file.left_instances({}),
    "no left messages": file.left_messages(0),
}
FAULTS: dict[str, tuple[Finding, str, str]] = {
    "an old schema": (file.schema(2, 3), "warning", "schema"),
    "writable by every user": (
        file.permissions(0o600, {"jobs.db": 0o602}, can_write=True),
        "problem",
        "permissions",
    ),
    "readable by every user": (
        file.permissions(0o600, {"jobs.db-wal": 0o644}, can_write=True),
        "warning",
        "permissions",
    ),
    "not writable": (file.permissions(0o600, {}, can_write=False), "warning", "permissions"),
    "a network disk": (file.file_system("nfs4"), "problem", "file system"),
    "memory": (file.file_system("tmpfs"), "warning", "file system"),
    "a full disk": (file.space(100 * MIB - 1, 500 * MIB), "problem", "disk"),
    "no space for a backup": (file.space(500 * MIB - 1, 500 * MIB), "warning", "disk"),
    "a large log": (file.log(256 * MIB + 1), "warning", "wal"),
    "no socket": (file.engine(OWNER, listens=False, url=URL), "warning", "engine"),
    "no engine": (file.engine(None, listens=False, url=URL), "warning", "engine"),
    "a late alarm": (file.alarms(1, NOW_MS - 60_001, NOW_MS, has_engine=True), "problem", "alarms"),
    "a late alarm without an engine": (file.alarms(1, 0, NOW_MS, has_engine=False), "warning", "alarms"),
    "a clock that is behind": (file.clock(NOW_MS + 60_001, NOW_MS), "problem", "clock"),
    "parked": (file.waiting(1, "parked", "instances are parked", "perdure list"), "warning", "parked"),
    "left": (file.left_instances({"NewerOnly": 2, "Diverged": 1}), "warning", "left"),
    "left messages": (file.left_messages(1), "warning", "left messages"),
}


@pytest.mark.parametrize("fine", FINE)
def test_each_check_is_ok_at_the_edge_of_its_limit(fine: str) -> None:
    assert (FINE[fine].severity, FINE[fine].advice) == ("ok", "")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_finding_with_its_fix(fault: str) -> None:
    found, level, topic = FAULTS[fault]
    assert (found.severity, found.topic) == (level, topic)
    assert found.advice


def test_an_installation_needs_a_new_sqlite_and_the_extras() -> None:
    assert sqlite_version((3, 36, 9)).severity == "problem"
    assert sqlite_version((3, 37, 0)).severity == "ok"
    assert [each.severity for each in extras(set(EXTRAS), "file")] == ["ok"]
    assert [each.severity for each in extras({"cli"}, "file")] == ["ok", "warning", "warning", "warning"]
    assert [each.advice for each in extras({"cli", "client", "postgres"}, "other")] == [
        "",
        "pip install 'perdure[server]'",
    ]


@pytest.mark.parametrize(("state", "level"), [("ok", "ok"), ("degraded", "warning"), ("failed", "problem")])
def test_the_health_of_an_engine_is_a_finding(state: Any, level: str) -> None:
    assert health(Health(state=state, detail="why")).severity == level


MOUNTED = """/dev/vda / ext4 rw,relatime 0 0
proc /proc proc rw 0 0
server:/data /mnt/a\\040share nfs4 rw 0 0
tmpfs /mnt/a\\040share/fast tmpfs rw 0 0
a line that is none
"""


@pytest.mark.parametrize(
    ("file", "type_"),
    [
        ("/jobs.db", "ext4"),
        ("/mnt/a/jobs.db", "ext4"),
        ("/mnt/a share/jobs.db", "nfs4"),
        ("/mnt/a share/fast/jobs.db", "tmpfs"),
    ],
)
def test_the_file_system_of_a_file_is_that_of_the_nearest_mount(tmp_path: Path, file: str, type_: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTED)
    assert file_system_of(Path(file), tmp_path / "mounts") == type_


def test_the_file_system_is_unknown_where_no_mount_shows_it(tmp_path: Path) -> None:
    assert file_system_of(tmp_path / "jobs.db", tmp_path / "missing") == ""
    (tmp_path / "mounts").write_text("proc /proc proc rw 0 0\n")  # all that a changed root shows
    assert file_system_of(tmp_path / "jobs.db", tmp_path / "mounts") == ""


def test_the_file_system_of_a_file_is_known_on_linux(tmp_path: Path) -> None:
    if not MOUNTS.exists() or " / " not in MOUNTS.read_text():
        pytest.skip(f"{MOUNTS} does not show the root of this machine")
    assert file_system_of(tmp_path) != ""


def test_a_store_is_checked_with_its_engine_and_without(tmp_path: Path, capsys: Out) -> None:
    url = write_store(tmp_path / "jobs.db")
    assert run_command(["doctor", "--store", url, "--json"]) == 1  # an event of this store lies in the future
    at_rest = {each["topic"]: each["level"] for each in json_of(capsys.readouterr().out)}
    assert (at_rest["engine"], at_rest["parked"], at_rest["dead letters"]) == ("warning", "warning", "warning")
    assert [topic for topic, level in at_rest.items() if level == "problem"] == ["clock"]
    with serving(tmp_path / "jobs.db") as named:
        for options in (named["store"], named["server"]):
            run_command(["doctor", *options, "--json"])
            found = {each["topic"]: each["level"] for each in json_of(capsys.readouterr().out)}
            assert (found["health"], found["orphaned"]) == ("ok", "warning")
            assert found.get("engine", "ok") == "ok"
            assert (found["parked"], found["dead letters"]) == ("warning", "warning")


def test_a_token_without_the_scope_skips_the_dead_letters(tmp_path: Path) -> None:
    write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db") as named, connected(named["guarded"][1], TOKEN, "10 seconds") as target:
        parked, left, letters = waiting_work(target)
    assert (parked.severity, left.severity) == ("warning", "ok")
    assert letters.line.split(maxsplit=1)[0] == "skipped"
    assert letters.line.endswith("needs the scope operate")


def test_instances_that_code_left_are_found_on_a_file_and_by_its_engine(tmp_path: Path, capsys: Out) -> None:
    error = FailureRecord(form="defect", error_type="NewerOnly", message="$: version 7")
    mark = Left(codes=("3f",), since_ms=1_000, error=error)
    marked = [instance("task", "order", f"l-{n}", state='{"paid":"a"}', left=mark) for n in range(2)]
    url = write_store(tmp_path / "jobs.db", *marked)
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        database.execute("UPDATE instances SET left_mark = 'no JSON' WHERE id = 'l-1'")
        database.execute(
            "INSERT INTO messages (sender, target, action, payload, sent_ms, attempts, not_before_ms, place, left_by)"
            " VALUES ('task:order:o-1', 'task:order:l-0', 'send', '', 1, 0, 0, 'head', 'task:order\t3f')"
        )
        database.commit()
    assert left_of(["--store", url], capsys) == (
        "2: instances are left, as the code cannot read them (1 ?, 1 NewerOnly)",
        "1: messages are left, as the code cannot read them; those behind them wait as well",
    )
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as database:
        database.execute("DELETE FROM instances WHERE id = 'l-1'")
        database.execute("DELETE FROM messages")
        database.commit()
    with serving(tmp_path / "jobs.db") as named:  # its code cannot read the other one either
        for options in (named["store"], named["server"]):
            (left, *_) = left_of(options, capsys)
            assert left == "1: instances are left, as the code cannot read them (1 NewerOnly)"


def left_of(options: list[str], capsys: Out) -> tuple[str, ...]:
    run_command(["doctor", *options, "--json"])
    found = [each for each in json_of(capsys.readouterr().out) if each["topic"] in {"left", "left messages"}]
    assert "perdure list --status left" in found[0]["advice"]
    return tuple(each["detail"] for each in found)


@pytest.mark.parametrize("url", ["sqlite:///absent.db", "sqlite:////dev/null"])
def test_a_store_that_cannot_be_read_is_a_problem(capsys: Out, url: str) -> None:
    assert run_command(["doctor", "--store", url]) == 1
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1].startswith("problem  store")
    assert printed.err == "perdure: 1 problem, 0 warnings\n"


# ---------------------------------------------------------------- counts
def answers(*numbers: int | None) -> Any:
    """Return a function that answers with these numbers of idle instances, one after the other; None: not complete."""
    left = list(numbers)

    def ask() -> StoreCounts:
        number = left.pop(0)
        counted = StatusCount("task", "order", "idle", number or 0)
        return StoreCounts(instances=(counted,), complete=number is not None)

    return ask


@pytest.mark.parametrize(
    ("numbers", "level"),
    [
        ((3, 3), "ok"),
        ((2, 3, 3), "ok"),
        ((4, 4), "problem"),
        ((2, 2), "problem"),
        ((None, None), "skipped"),
        (tuple(range(TRIES + 1)), "skipped"),
    ],
)
def test_the_counts_of_an_engine_are_compared_with_the_rows(numbers: tuple[int | None, ...], level: str) -> None:
    assert kept_counts(answers(*numbers), lambda: COUNTS).severity == level


def test_a_status_that_only_the_rows_have_is_a_problem() -> None:
    found = compared("the file says", {}, {"task:order": {"idle": 3}})
    assert (found.severity, "0 idle instances of task:order, and 3 rows" in found.detail) == ("problem", True)


def test_saved_counts_that_differ_from_the_rows_are_a_problem(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "jobs.db"
    write_store(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO instance_counts VALUES ('task', 'order', 'idle', 99)")
        database.commit()
    run_command(["doctor", "--store", f"sqlite:///{path}"])
    assert "problem  counts        the file says 0 scheduled instances of continuous:tick" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "tables", "finding"),
    [
        ({"autovacuum": "on", "track_counts": "on"}, (), Finding("ok", "autovacuum", "on")),
        ({}, (), Finding("ok", "autovacuum", "on")),
        (
            {"autovacuum": "off"},
            (),
            Finding("problem", "autovacuum", "autovacuum off: the tables grow without end", "set it to on"),
        ),
        (
            {"autovacuum": "off", "track_counts": "off"},
            ("p.keys",),
            Finding(
                "problem", "autovacuum", "autovacuum and track_counts off: the tables grow without end", "set it to on"
            ),
        ),
        (
            {"autovacuum": "on"},
            ("p.keys", "p.events"),
            Finding(
                "problem",
                "autovacuum",
                "autovacuum off of p.keys, p.events: the tables grow without end",
                "ALTER TABLE p.keys RESET (autovacuum_enabled)",
            ),
        ),
    ],
)
def test_autovacuum_is_judged_for_the_server_and_for_each_table(
    settings: dict[str, str], tables: tuple[str, ...], finding: Finding
) -> None:
    assert list(vacuum(settings, tables)) == [finding]
