"""The commands for operators on the file of a store that no engine serves."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from operated import ERROR, INSTANCES, NEW_YEAR_MS, ORDER, instance, json_of, write_failed, write_store

from perdure.cli.commands import run_command
from perdure.stores.sqlite import open_sqlite
from perdure.stores.sqlite.lock import owner_of
from perdure.testing.conformance.assertions import value

Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_store(tmp_path_factory.mktemp("operated") / "jobs.db")


FILTERS = {
    ("--job", "task:order"): lambda each: (each.address.kind, each.address.name) == ("task", "order"),
    ("--kind", "task"): lambda each: each.address.kind == "task",
    ("--status", "scheduled"): lambda each: each.status == "scheduled",
    ("--status", "parked"): lambda each: each.status == "parked",
    ("--status", "retrying"): lambda each: each.status == "retrying",
    ("--id-prefix", "o-"): lambda each: each.address.id.startswith("o-"),
    ("--due-before", "2100-01-01T00:00:00Z"): lambda each: each.due_ms is not None and each.due_ms < NEW_YEAR_MS,
    ("--due-in", "36000 days"): lambda each: each.due_ms is not None,
    ("--due-in", "5 minutes"): lambda _: False,
    ("--kind", "task", "--id-prefix", "p"): lambda each: each.address.id == "p-1",
    ("--all",): lambda _: True,
}


@pytest.mark.parametrize("options", FILTERS, ids=" ".join)
def test_a_filter_selects_the_instances_that_match(store: str, capsys: Out, options: tuple[str, ...]) -> None:
    assert run_command(["list", "--store", store, "--json", *options]) == 0
    found = [each["address"] for each in json_of(capsys.readouterr().out)]
    assert found == [str(each.address) for each in INSTANCES if FILTERS[options](each)]


@pytest.mark.parametrize("limit", [1, 2, 6, 7, 8])
def test_pages_of_any_size_list_every_instance_once(store: str, capsys: Out, limit: int) -> None:
    """The hint on standard error leads from page to page."""
    found: list[str] = []
    after: list[str] = []
    while True:
        assert run_command(["list", "--store", store, "--json", "--limit", str(limit), *after]) == 0
        printed = capsys.readouterr()
        found += [each["address"] for each in json_of(printed.out)]
        if "--after" not in printed.err:
            break
        after = ["--after", printed.err.split("'")[1]]
    assert found == [str(each.address) for each in INSTANCES]


def test_a_page_with_other_columns_has_its_own_headings(tmp_path: Path, capsys: Out) -> None:
    """A column without a text is left out, for each page of 1,000 instances."""
    idle = [instance("task", "order", f"i-{number:04}", alarm_ms=None) for number in range(1_001)]
    paused = instance("task", "order", "j-1", suspension="paused", suspended_ms=1_000)
    store = write_store(tmp_path / "jobs.db", *idle, paused)
    assert run_command(["list", "--store", store, "--job", "task:order", "--id-prefix", "i-", "--all"]) == 0
    assert capsys.readouterr().out.count("ADDRESS") == 1
    assert run_command(["list", "--store", store, "--job", "task:order", "--all"]) == 0
    lines = capsys.readouterr().out.splitlines()
    headings = [line.split() for line in lines if line.startswith("ADDRESS")]
    assert [("SINCE" in each) for each in headings] == [False, True]


def test_a_damaged_row_is_left_out_of_a_list_and_named(tmp_path: Path, capsys: Out) -> None:
    store = write_store(tmp_path / "jobs.db")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file, file:
        file.execute("UPDATE instances SET pending_retry = 'no JSON' WHERE id = 'o-2'")
    assert run_command(["list", "--store", store, "--job", "task:order", "--json"]) == 0
    printed = capsys.readouterr()
    assert "task:order:o-2" not in printed.out
    assert "task:order:o-2" in printed.err
    assert printed.err.endswith("; see perdure verify\n")


def test_a_list_is_a_table_of_addresses_statuses_and_errors(store: str, capsys: Out) -> None:
    run_command(["list", "--store", store, "--job", "task:order"])
    heading, *rows = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ADDRESS", "STATUS", "NEXT", "RUN", "RUNS", "EVENTS", "LAST", "ERROR"]
    assert rows[0].split() == ["task:order:o-1", "scheduled", "2099-12-31T23:59:59Z", "0", "0"]
    assert rows[2].split()[:3] == ["task:order:o-3", "retrying", "2100-01-01T00:01:00Z"]
    assert rows[2].endswith("NoStock: none left")


def test_an_instance_is_shown_with_its_state_and_error(store: str, capsys: Out) -> None:
    assert run_command(["show", "task:order:p-1", "--store", store, "--traceback", "--state"]) == 0
    printed = capsys.readouterr().out
    assert "status      parked (retries_exhausted)" in printed
    assert "Traceback\n  line 1\n" in printed
    assert printed.endswith('{\n  "paid": 1,\n  "card": "4111-1111"\n}\n')
    run_command(["show", "task:order:p-1", "--store", store])
    printed_without = capsys.readouterr()
    assert "paid" not in printed_without.out
    assert printed_without.err == (
        "perdure: state not shown: pass --app MODULE:APP, or --state to print it as stored\n"
    )
    run_command(["show", "task:order:p-1", "--store", store, "--no-state"])
    assert capsys.readouterr().err == ""
    run_command(["show", "task:order:p-1", "--store", store, "--json", "--state"])
    (shown,) = json_of(capsys.readouterr().out)
    assert (shown["status"], shown["state"]) == ("parked", {"paid": 1, "card": "4111-1111"})
    assert shown["last_error"]["message"] == ERROR.message


def test_an_absent_instance_has_its_own_exit_code(store: str, capsys: Out) -> None:
    assert run_command(["show", "task:order:absent", "--store", store]) == 3
    assert capsys.readouterr().out == "there is no instance task:order:absent\n"
    assert run_command(["show", "task:order:absent", "--store", store, "--json"]) == 3
    assert json_of(capsys.readouterr().out)[0]["status"] == "not_found"


def test_an_address_without_an_instance_and_events_has_no_history(store: str, capsys: Out) -> None:
    assert run_command(["history", "task:order:absent", "--store", store]) == 3
    assert capsys.readouterr().out == "there is no instance task:order:absent, and it has no events\n"
    assert run_command(["history", "task:order:o-2", "--store", store]) == 0
    assert capsys.readouterr().out == "task:order:o-2 has no events\n"


def test_a_wrong_status_names_the_possible_ones(store: str, capsys: Out) -> None:
    assert run_command(["list", "--store", store, "--status", "bogus"]) == 2
    words = " ".join(capsys.readouterr().err.replace("│", " ").split())
    statuses = '"scheduled", "queued", "idle", "running", "retrying", "paused", "parked", "left", "done", "orphaned"'
    assert f"Choose from: {statuses}." in words


def test_the_history_is_paged_from_the_newest_event(store: str, capsys: Out) -> None:
    run_command(["history", str(ORDER), "--store", store, "--json"])
    newest, oldest = json_of(capsys.readouterr().out)
    assert (newest["type"], oldest["type"]) == ("job.paused", "job.started")
    run_command(["history", str(ORDER), "--store", store, "--limit", "1"])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split() == [str(newest["sequence"]), "2100-01-01T00:00:00Z", "job.paused", "1"]
    assert f"--before {newest['sequence']}" in printed.err
    run_command(["history", str(ORDER), "--store", store, "--before", str(newest["sequence"])])
    assert capsys.readouterr().out.splitlines()[1].split()[2] == "job.started"


def test_dead_letters_show_their_inputs_only_on_request(store: str, capsys: Out) -> None:
    run_command(["dead-letters", "--store", store, "--limit", "1"])
    printed = capsys.readouterr()
    assert printed.out.splitlines()[1].split()[2:6] == ["task:order:o-1", "task:other:o-1", "send", "10"]
    (last,) = [line.split()[0] for line in printed.out.splitlines()[1:]]
    assert f"--after {last}" in printed.err
    run_command(["dead-letters", "--store", store, "--json"])
    assert ["payload" in each for each in json_of(capsys.readouterr().out)] == [False, False]
    run_command(["dead-letters", "--store", store, "--json", "--payload", "--after", last])
    assert [each["payload"] for each in json_of(capsys.readouterr().out)] == ['"b"']


CHANGES = [
    ["start", "continuous:tick:new", '{"paid":1}'],
    ["send", "task:order:o-1", '{"paid":1}'],
    ["add", "debounce:batch:b", '{"paid":1}'],
    ["trigger", "task:order:o-1"],
    ["flush", "debounce:batch:b"],
    ["call", "task:order:o-1", "trigger"],
    ["pause", "task:order:o-1"],
    ["resume", "--status", "parked", "--yes"],
    ["retry", "task:order:o-3"],
    ["clear", "debounce:batch:b", "--yes"],
    ["terminate", "--all", "--yes"],
    ["redrive", "--all", "--yes"],
    ["explain", "task:order:o-1", "send", '{"paid":1}'],
    ["health"],
    ["jobs"],
]


@pytest.mark.parametrize("command", CHANGES, ids=lambda command: command[0])
def test_a_change_at_rest_says_how_to_start_an_engine(store: str, capsys: Out, command: list[str]) -> None:
    assert run_command([*command, "--store", store]) == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"perdure run MODULE:APP --store {store}" in printed.err


def test_only_an_engine_knows_orphaned_instances(store: str, capsys: Out) -> None:
    assert run_command(["list", "--store", store, "--status", "orphaned"]) == 2
    assert "perdure run" in capsys.readouterr().err


def test_a_dry_run_prints_the_selection(store: str, capsys: Out) -> None:
    assert run_command(["terminate", "--store", store, "--status", "retrying", "--dry-run"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "task:order:o-3\n"
    assert "would terminate 1 instance" in printed.err


WRONG = {
    "no target": (["list"], "pass --server"),
    "two targets": (["list", "--store", "sqlite:///a", "--server", "http://a"], "name two targets"),
    "no server": (["list", "--server", "sqlite:///a"], "--server"),
    "no store": (["list", "--store", "http://a"], "--store"),
    "no file": (["list", "--store", "sqlite:///absent.db"], "there is no such file"),
    "job": (["list", "--job", "order"], "kind:name"),
    "job of another kind": (["list", "--job", "task:order", "--kind", "debounce"], "--kind debounce"),
    "limit": (["list", "--limit", "0"], "from 1"),
    "limit of events": (["history", "task:order:o-1", "--limit", "1001"], "from 1 to 1000"),
    "no zone": (["list", "--due-before", "2026-01-01T00:00:00"], "no time zone"),
    "no instant": (["list", "--due-before", "tomorrow"], "expected an instant"),
    "two instants": (["list", "--due-before", "2026-01-01T00:00:00Z", "--due-in", "1s"], "pass one"),
    "no duration": (["list", "--due-in", "5"], "--due-in"),
    "address": (["show", "order"], "kind:name:id"),
    "not JSON": (["send", "task:order:o-1", "{paid:1}"], "not JSON"),
    "nothing selected": (["terminate"], "--all"),
    "selected twice": (["terminate", "task:order:o-1", "--all"], "pass one"),
    "no message": (["redrive"], "--all"),
    "message and all": (["redrive", "1", "--all"], "--all"),
    "no number of a message": (["redrive", "x"], "MESSAGE-ID 'x': expected the number of a dead letter"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_option_names_the_expected_values(store: str, capsys: Out, wrong: str) -> None:
    command, said = WRONG[wrong]
    named = "target" in wrong or "--store" in command or "--server" in command
    code = run_command([*command, *([] if named else ["--store", store])])
    assert code == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def test_the_data_of_typed_errors_is_shown_only_with_the_app(
    tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only definitions say which of it is secret."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    url = write_failed(tmp_path / "jobs.db")
    commands = (["list"], ["show", "continuous:deny:a"])
    for command in commands:
        assert run_command([*command, "--store", url, "--json"]) == 0
    assert [each["last_error"]["data"] for each in json_of(capsys.readouterr().out)] == [None, None]
    for command in commands:
        assert run_command([*command, "--store", url, "--json", "--app", "operated:APP"]) == 0
    shown = '{"why":"no","tok":"<secret>"}'
    assert [each["last_error"]["data"] for each in json_of(capsys.readouterr().out)] == [shown, shown]


def test_the_owner_of_a_file_is_named_while_it_lives(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"

    async def main() -> str | None:
        store = await open_sqlite(path)
        try:
            return owner_of(path)
        finally:
            await value(store.close())

    assert owner_of(path) is None
    assert (asyncio.run(main()) or "").startswith("process ")
    assert owner_of(path) is None
