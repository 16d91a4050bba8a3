"""`perdure doctor`: each fault of a store is one finding with its fix."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import attrs
import pytest
from operated import TOKEN, instance, json_of, serving, write_store

from perdure.cli.commands import run_command
from perdure.cli.inspection.doctor import EXTRAS, extras, sqlite_version, waiting_work
from perdure.cli.inspection.sqlite_diagnosis import (
    MOUNTS,
    TRIES,
    StoreFacts,
    compared,
    file_system_of,
    health,
    judged,
    kept_counts,
)
from perdure.cli.inspection.stats import Counts, FileSize
from perdure.cli.target.remote import connected
from perdure.stores.values import Health
from perdure.values.failure import FailureRecord
from perdure.values.instance import Left
from perdure.values.listings import StatusCount, StoreCounts

Out = pytest.CaptureFixture[str]

MIB = 1024 * 1024
NOW_MS = 1_767_225_600_000
SIZE = FileSize(file_bytes=500 * MIB, wal_bytes=4 * MIB, free_bytes=0)
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
    oldest_event_ms=NOW_MS,
    size=SIZE,
)
FINE = StoreFacts(
    url="sqlite:///jobs.db",
    mode=0o600,
    exposed={},
    can_write=True,
    file_system="ext4",
    free_bytes=500 * MIB,
    counts=COUNTS,
    owner="process 41 on host",
    listens=True,
    schema_version=3,
    newest_schema=3,
    left={},
    left_messages=0,
    last_event_ms=NOW_MS + 60_000,
    now_ms=NOW_MS,
)


def counted(**changes: Any) -> dict[str, Counts]:
    return {"counts": attrs.evolve(COUNTS, **changes)}


def sized(**changes: Any) -> dict[str, Counts]:
    return counted(size=attrs.evolve(SIZE, **changes))


FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "an old schema": ({"schema_version": 2}, "warning", "schema"),
    "writable by every user": ({"exposed": {"jobs.db": 0o602}}, "problem", "permissions"),
    "readable by every user": ({"exposed": {"jobs.db-wal": 0o644}}, "warning", "permissions"),
    "not writable": ({"can_write": False}, "warning", "permissions"),
    "a network disk": ({"file_system": "nfs4"}, "problem", "file system"),
    "memory": ({"file_system": "tmpfs"}, "warning", "file system"),
    "a full disk": ({"free_bytes": 100 * MIB - 1}, "problem", "disk"),
    "no space for a backup": ({"free_bytes": 500 * MIB - 1}, "warning", "disk"),
    "a large log": (sized(wal_bytes=256 * MIB + 1), "warning", "wal"),
    "no socket": ({"listens": False}, "warning", "engine"),
    "a late alarm": (counted(due_since_ms=NOW_MS - 60_001), "problem", "alarms"),
    "a clock that is behind": ({"last_event_ms": NOW_MS + 60_001}, "problem", "clock"),
    "parked": (counted(instances={"task:order": {"parked": 1}}), "warning", "parked"),
    "left": ({"left": {"NewerOnly": 2, "Diverged": 1}}, "warning", "left"),
    "left messages": ({"left_messages": 1}, "warning", "left messages"),
    "dead letters": (counted(dead_letters=1), "warning", "dead letters"),
}


def test_a_store_without_faults_is_ok_at_the_edge_of_every_limit() -> None:
    assert {each.level for each in judged(FINE)} == {"ok"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_finding_with_its_fix(fault: str) -> None:
    changes, level, topic = FAULTS[fault]
    (found,) = [each for each in judged(attrs.evolve(FINE, **changes)) if each.level != "ok"]
    assert (found.level, found.topic) == (level, topic)
    assert found.advice


def test_without_an_engine_late_alarms_are_expected() -> None:
    alone = attrs.evolve(FINE, owner=None, listens=False, **counted(due_since_ms=0))
    assert [(each.level, each.topic) for each in judged(alone) if each.level != "ok"] == [
        ("warning", "engine"),
        ("warning", "alarms"),
    ]


def test_an_installation_needs_a_new_sqlite_and_the_extras() -> None:
    assert sqlite_version((3, 36, 9)).level == "problem"
    assert sqlite_version((3, 37, 0)).level == "ok"
    assert [each.level for each in extras(set(EXTRAS), "file")] == ["ok"]
    assert [each.level for each in extras({"cli"}, "file")] == ["ok", "warning", "warning", "warning"]
    assert [each.advice for each in extras({"cli", "client", "postgres"}, "other")] == [
        "",
        "pip install 'perdure[server]'",
    ]


@pytest.mark.parametrize(("state", "level"), [("ok", "ok"), ("degraded", "warning"), ("failed", "problem")])
def test_the_health_of_an_engine_is_a_finding(state: Any, level: str) -> None:
    assert health(Health(state=state, detail="why")).level == level


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
    assert (parked.level, left.level) == ("warning", "ok")
    assert letters.line.split(maxsplit=1)[0] == "skipped"
    assert letters.line.endswith("needs the scope operate")


def test_instances_that_code_left_are_found_on_a_file_and_by_its_engine(tmp_path: Path, capsys: Out) -> None:
    error = FailureRecord(form="defect", error_type="NewerOnly", message="$: version 7")
    mark = Left(codes=("3f",), since_ms=1_000, error=error)
    marked = [instance("task", "order", f"l-{n}", state='{"paid":"a"}', left=mark) for n in range(2)]
    url = write_store(tmp_path / "jobs.db", *marked)
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        file.execute("UPDATE instances SET left_mark = 'no JSON' WHERE id = 'l-1'")
        file.execute(
            "INSERT INTO messages (sender, target, action, payload, sent_ms, attempts, not_before_ms, place, left_by)"
            " VALUES ('task:order:o-1', 'task:order:l-0', 'send', '', 1, 0, 0, 'head', 'task:order\t3f')"
        )
        file.commit()
    assert left_of(["--store", url], capsys) == (
        "2: instances are left, as the code cannot read them (1 ?, 1 NewerOnly)",
        "1: messages are left, as the code cannot read them; those behind them wait as well",
    )
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        file.execute("DELETE FROM instances WHERE id = 'l-1'")
        file.execute("DELETE FROM messages")
        file.commit()
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
    assert kept_counts(answers(*numbers), lambda: COUNTS).level == level


def test_a_status_that_only_the_rows_have_is_a_problem() -> None:
    found = compared("the file says", {}, {"task:order": {"idle": 3}})
    assert (found.level, "0 idle instances of task:order, and 3 rows" in found.detail) == ("problem", True)


def test_saved_counts_that_differ_from_the_rows_are_a_problem(tmp_path: Path, capsys: Out) -> None:
    path = tmp_path / "jobs.db"
    write_store(path)
    with closing(sqlite3.connect(path)) as file:
        file.execute("INSERT INTO instance_counts VALUES ('task', 'order', 'idle', 99)")
        file.commit()
    run_command(["doctor", "--store", f"sqlite:///{path}"])
    assert "problem  counts        the file says 0 scheduled instances of continuous:tick" in capsys.readouterr().out
