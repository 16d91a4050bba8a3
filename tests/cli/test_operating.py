"""The commands for operators on a running engine: through the socket beside its file, and through its server."""

import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from operated import APP, INSTANCES, LEAK, ORDER, TOKEN, instance, json_of, serving, write_store
from postgres_harness import EMPTY_SCHEMA

from perdure import App, Do, ItemContext, Program, Signal, WorkerPool, Workflow, WorkflowContext, program
from perdure.cli.commands import run_command
from perdure.cli.instances.bulk_changes import retrying_action, why_not_retried
from perdure.cli.target.remote import connected
from perdure.values.listings import ListFilter
from perdure.values.status import InstanceStatus, Status

Out = pytest.CaptureFixture[str]

TARGETS = ["store", "socket", "server"]

LOADED = """
import sys
from perdure.cli.main import main
code = main(sys.argv[1:])
print(*(name for name, module in sys.modules.copy().items() if type(module).__name__ != "_Postponed"))
sys.exit(code)
"""

OF_ENGINES = {"perdure.app", "perdure.client.local_gateway", "perdure.engine.running", "perdure.kinds"}
OF_FILES = {"perdure.cli.target.at_rest", "perdure.stores.sqlite.reader", "sqlite3"}
OF_CLIENTS = {"httpx2", "perdure.client.client", "perdure.remote"}


def loaded_by(*arguments: str) -> set[str]:
    """Return the modules whose code ran for a command."""
    run = subprocess.run([sys.executable, "-c", LOADED, *arguments], capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    return set(run.stdout.splitlines()[-1].split())


@pytest.fixture(scope="module")
def read_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """An engine for the tests that only read."""
    path = tmp_path_factory.mktemp("operated") / "jobs.db"
    write_store(path)
    with serving(path) as named:
        yield named


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[list[str]]:
    """The options that name an engine for one test."""
    write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db") as named:
        yield named["store"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_reading_command_answers(read_only: dict[str, list[str]], capsys: Out, target: str) -> None:
    named = read_only[target]
    assert run_command(["list", *named, "--json"]) == 0
    served = {"tick", "batch", "order"}
    assert {each["address"]: each["status"] for each in json_of(capsys.readouterr().out)} == {
        str(each.address): each.status if each.address.name in served else "orphaned" for each in INSTANCES
    }
    assert run_command(["list", *named, "--status", "orphaned"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:2] == ["task:other:o-1", "orphaned"]
    assert run_command(["show", "continuous:tick:c-1", *named]) == 0
    assert "last run  failed, 2100-01-01T00:00:00Z\n" in capsys.readouterr().out
    assert run_command(["show", "task:order:p-1", *named]) == 0
    assert capsys.readouterr().out.endswith('{\n  "paid": 1,\n  "card": "<secret>"\n}\n')
    assert run_command(["history", str(ORDER), *named, "--json"]) == 0
    assert [each["type"] for each in json_of(capsys.readouterr().out)] == ["job.paused", "job.started"]
    assert run_command(["dead-letters", *named, "--json"]) == 0
    assert len(json_of(capsys.readouterr().out)) == 2
    assert run_command(["jobs", *named]) == 0
    assert "task:order       send, trigger, terminate, pause, resume" in capsys.readouterr().out
    assert run_command(["health", *named]) == 0
    assert capsys.readouterr().out.startswith("ok")


def test_a_command_for_a_running_engine_loads_no_engine_itself(read_only: dict[str, list[str]]) -> None:
    loaded = loaded_by("list", *read_only["store"])
    assert loaded & (OF_ENGINES | OF_FILES) == set()
    assert loaded >= OF_CLIENTS


def test_a_command_for_a_store_at_rest_loads_no_engine_and_no_client(tmp_path: Path) -> None:
    loaded = loaded_by("list", "--store", write_store(tmp_path / "jobs.db"))
    assert loaded & (OF_ENGINES - {"perdure.kinds"} | OF_CLIENTS) == set()
    assert loaded >= OF_FILES


def test_a_store_at_rest_shows_with_its_app_as_its_engine_does(
    tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of jobs that the app serves; only an engine says that an instance is orphaned."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    store = write_store(tmp_path / "jobs.db")
    served = [str(each.address) for each in INSTANCES if each.address.name in {"tick", "batch", "order"}]

    def printed(options: list[str]) -> dict[str, list[dict[str, object]]]:
        shown: dict[str, list[dict[str, object]]] = {}
        for command in (["list"], ["dead-letters", "--payload"], *(["show", at] for at in served)):
            assert run_command([*command, *options, "--json"]) == 0
            lines = json_of(capsys.readouterr().out)
            shown[" ".join(command)] = [each for each in lines if each.get("address", served[0]) in served]
        for at in served:
            for command in ("history", "steps"):
                assert run_command([command, at, *options, "--json"]) == 0
                shown[f"{command} {at}"] = json_of(capsys.readouterr().out)
        return shown

    with serving(tmp_path / "jobs.db") as named:
        alive = printed(named["store"])
    assert printed(["--store", store, "--app", "operated:APP"]) == alive


def test_a_job_is_held_and_released(engine: list[str], capsys: Out) -> None:
    lines: list[str] = []
    for command in ("hold", "hold", "release", "release"):
        assert run_command([command, "task:order", *engine]) == 0
        lines += capsys.readouterr().out.splitlines()
    held, released = "task:order is held", "task:order is released"
    assert lines == [held, f"{held}, as before", released, f"{released}, as before"]
    assert run_command(["hold", "task:order", *engine, "--json"]) == 0
    assert json_of(capsys.readouterr().out) == [{"job": "task:order", "changed": True, "hold": "held"}]
    assert run_command(["jobs", *engine]) == 0
    held_jobs = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.endswith(" held")]
    assert held_jobs == ["task:order"]
    assert run_command(["hold", "task:unknown", *engine]) == 3
    assert run_command(["hold", "task:order:o-1", *engine]) == 2


def test_an_owned_store_has_no_members(read_only: dict[str, list[str]], capsys: Out) -> None:
    assert run_command(["members", *read_only[TARGETS[0]]]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "perdure: no engines share this store: the one that answered owns it\n")


def test_counts_print_the_next_alarm_as_a_list_does(read_only: dict[str, list[str]], capsys: Out) -> None:
    assert run_command(["counts", *read_only[TARGETS[0]]]) == 0
    counted = capsys.readouterr().out
    assert "JOB " in counted
    assert "dead letters  " in counted
    assert re.search(r"^next alarm    \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", counted, re.MULTILINE), counted


@pytest.mark.parametrize("target", TARGETS)
def test_a_wait_ends_with_the_status_or_its_time(read_only: dict[str, list[str]], capsys: Out, target: str) -> None:
    named = read_only[target]
    assert run_command(["wait", "task:order:p-1", *named, "--until", "running", "--until", "parked"]) == 0
    assert capsys.readouterr().out.startswith("task:order:p-1 is parked (")
    assert run_command(["wait", str(ORDER), *named, "--timeout", "1 ms", "--json"]) == 1
    assert [each["form"] for each in json_of(capsys.readouterr().out)] == ["not_reached"]
    assert run_command(["wait", "task:order:nowhere", *named]) == 3
    assert capsys.readouterr().out == "there has been no instance task:order:nowhere\n"
    assert run_command(["wait", str(ORDER), *named, "--until", "soon"]) == 2
    assert run_command(["wait", str(ORDER), *named, "--phase", "done", "--timeout", "soon"]) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_an_explanation_is_a_readable_difference(read_only: dict[str, list[str]], capsys: Out, target: str) -> None:
    named = read_only[target]
    assert run_command(["explain", "task:order:o-1", "send", '{"paid":4}', *named]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "answer",
        "    created  false",
        "    status  scheduled",
        "    scheduled_at  2099-12-31T23:59:59+00:00",
        "instance  changed (version 1 to 2)",
        "  ~ state.paid  1 -> 5",
        '  + state.card  "<secret>"',
        "  ~ event_count  0 -> 1",
    ]
    assert run_command(["explain", "task:order:o-1", "send", '{"paid":"x"}', *named]) == 3
    assert "$.paid: expected int" in capsys.readouterr().err
    assert run_command(["explain", "task:order:p-1", "send", '{"paid":1}', *named]) == 3
    assert capsys.readouterr().out.startswith("refused: task:order:p-1 is parked")
    assert run_command(["explain", "task:order:new", "send", '{"paid":4}', *named]) == 0
    assert "instance  created" in capsys.readouterr().out


def test_an_explanation_says_which_secrets_change(engine: list[str], capsys: Out) -> None:
    assert run_command(["send", "task:keys:a", '{"main":"old","others":{"a":"1111","b":"2222"}}', *engine]) == 0
    capsys.readouterr()
    new = '{"main":"new","others":{"a":"2222","b":"2222","c":"3333"}}'
    assert run_command(["explain", "task:keys:a", "send", new, *engine]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "state" in line] == [
        '  ~ state.main  "<secret>" -> "<secret> (changed)"',
        '  ~ state.others.a  "<secret>" -> "<secret> (changed)"',
        '  + state.others.c  "<secret>"',
    ]


def test_requests_print_their_answers(engine: list[str], capsys: Out) -> None:
    assert run_command(["start", "continuous:tick:new", '{"paid":1}', *engine]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "created  true",
        "status   scheduled",
        "run      completed",
    ]
    assert run_command(["start", "continuous:tick:new", '{"paid":1}', *engine, "--json"]) == 0
    assert json_of(capsys.readouterr().out)[0]["created"] is False
    for _ in range(2):  # the second one repeats the first answer, by its key
        assert run_command(["send", "task:order:new", '{"paid":7}', "--key", "k-1", *engine, "--json"]) == 0
        assert json_of(capsys.readouterr().out)[0]["created"] is True
    run_command(["show", "task:order:new", "--json", *engine])
    assert json_of(capsys.readouterr().out)[0]["state"]["paid"] == 7
    assert run_command(["add", "debounce:batch:b", '{"paid":1}', *engine]) == 0
    assert run_command(["flush", "debounce:batch:b", *engine]) == 0
    assert run_command(["call", "continuous:tick:new", "trigger", "--wait-for", "start", *engine]) == 0
    assert run_command(["call", "task:order:new", "terminate", '"done"', *engine]) == 0
    capsys.readouterr()
    run_command(["history", "task:order:new", "--json", *engine])
    assert json_of(capsys.readouterr().out)[0]["fields"]["reason"] == "done"


def test_an_alarm_that_is_not_due_is_explained(read_only: dict[str, list[str]], capsys: Out) -> None:
    assert run_command(["explain", "task:order:o-1", *read_only["store"]]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "its alarm is not due until 2099-12-31T23:59:59Z"


def test_a_state_that_the_engine_cannot_read_leaves_the_status(tmp_path: Path, capsys: Out) -> None:
    url = write_store(tmp_path / "jobs.db", instance("task", "order", "u-1", state='{"paid":"x"}'))
    with serving(tmp_path / "jobs.db") as named:
        assert run_command(["explain", "task:order:u-1", "trigger", *named["store"]]) == 3  # it would be left
        capsys.readouterr()
        assert run_command(["show", "task:order:u-1", *named["store"]]) == 0
        printed = capsys.readouterr()
        assert printed.out.startswith("address  ")
        assert printed.err.startswith("perdure: state: not readable: ")
        run_command(["trigger", "task:order:u-1", *named["store"]])
        capsys.readouterr()
        run_command(["list", "--id-prefix", "u-", *named["store"]])
        listed = capsys.readouterr()
        assert "left (NewerOnly)" in listed.out
        assert "perdure: left (NewerOnly): Run an engine of the version that wrote it" in listed.err
    assert run_command(["show", "task:order:u-1", "--store", url, "--app", "operated:APP"]) == 0


REFUSED = {
    "rejected by the job": (["send", "task:order:o-1", '{"paid":101}'], "too much"),
    "invalid": (["send", "task:order:o-1", '{"paid":"x"}'], "$.paid: expected int"),
    "parked": (["send", "task:order:p-1", '{"paid":1}'], "is parked"),
    "unknown job": (["send", "task:other:o-1", "{}"], "does not serve task:other"),
    "no input": (["explain", "task:order:o-1", "send"], "send needs its input as JSON"),
    "unknown action": (["call", "task:order:o-1", "fly"], "no action 'fly'"),
    "no instance": (["trigger", "task:order:absent"], "absent"),
    "no instance to resume": (["resume", "task:order:absent"], "changed  false"),
    "no batch": (["flush", "debounce:batch:b"], "empty"),
    "nothing to retry": (["retry", "task:order:o-1"], "nothing failed"),
    "no instance to retry": (["retry", "task:order:absent"], "no such instance"),
    "no instance to end": (["terminate", "task:order:absent", "--yes"], "not_found"),
    "no message": (["redrive", "999"], "not found"),
}


@pytest.mark.parametrize("why", REFUSED)
def test_a_refused_request_has_its_own_exit_code(read_only: dict[str, list[str]], capsys: Out, why: str) -> None:
    command, said = REFUSED[why]
    assert run_command([*command, *read_only["store"]]) == 3
    printed = capsys.readouterr()
    assert said.replace("  ", " ") in (printed.out + printed.err).replace("  ", " ")


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["text", "json"])
def test_no_request_prints_the_secret_of_a_typed_error(engine: list[str], capsys: Out, json: list[str]) -> None:
    named, login = [*engine, *json], f'{{"k":1,"tok":"{LEAK}"}}'
    assert run_command(["send", "task:login:a", login, *named]) == 3
    printed = capsys.readouterr()
    assert "Denied" in printed.err
    assert '"tok":"<secret>"' in printed.err
    assert LEAK not in printed.out + printed.err
    assert run_command(["explain", "continuous:deny:a", "start", login, *named]) == 0
    assert run_command(["start", "continuous:deny:a", login, *named]) == 3
    assert run_command(["trigger", "continuous:deny:a", *named]) == 3
    printed = capsys.readouterr()
    assert printed.out.count("Denied(why='no', tok=<secret>)") >= 3
    assert LEAK not in printed.out + printed.err


def test_a_filter_changes_many_instances_after_a_question(engine: list[str], capsys: Out) -> None:
    chosen = ["--job", "task:order", "--id-prefix", "o-", *engine]
    assert run_command(["pause", *chosen]) == 2
    assert "pass --yes" in capsys.readouterr().err
    run_command(["list", "--status", "paused", "--json", *engine])
    assert [each["id"] for each in json_of(capsys.readouterr().out)] == ["q-1"]
    assert run_command(["pause", *chosen, "--yes", "--json"]) == 0
    printed = capsys.readouterr()
    assert [each["address"] for each in json_of(printed.out)] == [f"task:order:o-{n}" for n in (1, 2, 3)]
    assert "3 of 3 instances done" in printed.err
    assert run_command(["resume", "task:order:o-1", "task:order:o-2", "task:order:absent", *engine]) == 3
    assert "task:order:absent" in capsys.readouterr().out
    run_command(["list", "--status", "paused", "--json", *engine])
    assert [each["id"] for each in json_of(capsys.readouterr().out)] == ["o-3", "q-1"]


def test_failed_work_runs_now(engine: list[str], capsys: Out) -> None:
    assert run_command(["retry", "task:order:p-1", "task:order:o-3", "--json", *engine]) == 0
    assert {each["address"]: each["action"] for each in json_of(capsys.readouterr().out)} == {
        "task:order:p-1": "resume",
        "task:order:o-3": "trigger",
    }
    run_command(["list", "--status", "retrying", "--json", *engine])
    assert json_of(capsys.readouterr().out) == []


def test_instances_end_with_a_reason(engine: list[str], capsys: Out) -> None:
    assert run_command(["terminate", "task:order:o-1", *engine]) == 2
    assert run_command(["terminate", "task:order:o-1", "--yes", "--reason", "moved", *engine]) == 0
    assert run_command(["show", "task:order:o-1", *engine]) == 3
    capsys.readouterr()
    run_command(["history", "task:order:o-1", "--limit", "1", *engine])
    assert "job.terminated" in capsys.readouterr().out


def test_a_forgotten_key_lets_its_request_be_made_again(engine: list[str], capsys: Out) -> None:
    send = ["send", "task:order:new", '{"paid": 3}', "--key", "pay-1", *engine]
    assert run_command(send) == 0
    assert run_command(["forget-key", "task:order:new", "pay-1", *engine, "--json"]) == 0
    assert run_command(["forget-key", "task:order:new", "pay-1", *engine]) == 3
    capsys.readouterr()
    run_command(["history", "task:order:new", *engine, "--json"])
    events = [each for each in json_of(capsys.readouterr().out) if each["type"] == "job.key_forgotten"]
    assert [(each["fields"]["key"], each["fields"]["action"]) for each in events] == [("pay-1", "send")]
    assert run_command(send) == 0
    run_command(["show", "task:order:new", *engine])
    assert "events    2\n" in capsys.readouterr().out.replace("events   2", "events    2")


def test_a_left_message_is_listed_at_rest_and_buried_by_an_engine(tmp_path: Path, capsys: Out) -> None:
    url = write_store(tmp_path / "jobs.db")
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as file:
        file.execute(
            "INSERT INTO messages (message_id, sender, target, action, payload, sent_ms, attempts, not_before_ms,"
            " place, left_by) VALUES (900, 'task:order:o-1', 'task:order:o-2', 'send', '{', 1, 0, 0, 'head', ?)",
            ("task:order\t3f",),
        )
        file.commit()
    assert run_command(["left-messages", "--store", url, "--json"]) == 0
    assert [each["message_id"] for each in json_of(capsys.readouterr().out)] == [900]
    with serving(tmp_path / "jobs.db") as named:
        for options in (named["store"], named["server"]):
            assert run_command(["left-messages", *options]) == 0
            assert "900  " in capsys.readouterr().out
        assert run_command(["bury", "900", "99", *named["store"], "--json"]) == 3
        assert [each["outcome"] for each in json_of(capsys.readouterr().out)] == ["buried", "not_found"]
        assert run_command(["left-messages", *named["store"]]) == 0
        assert capsys.readouterr() == ("", "perdure: no message is left\n")
        run_command(["dead-letters", "--json", *named["store"]])
        assert [each.get("message_id") for each in json_of(capsys.readouterr().out)] == [1, 2, 900]


def test_dead_letters_are_redriven_once(engine: list[str], capsys: Out) -> None:
    run_command(["dead-letters", "--json", *engine])
    first, second = (str(each["message_id"]) for each in json_of(capsys.readouterr().out))
    assert run_command(["redrive", first, *engine]) == 0
    assert run_command(["redrive", first, *engine]) == 3
    assert run_command(["redrive", "--all", *engine]) == 2
    assert run_command(["redrive", "--all", "--dry-run", *engine]) == 0
    capsys.readouterr()
    assert run_command(["redrive", "--all", "--yes", "--json", *engine]) == 0
    assert json_of(capsys.readouterr().out) == [{"message_id": int(second), "outcome": "redriven"}]


def work(ctx: ItemContext[int]) -> Program[int]:
    raise ValueError(f"no work on {ctx.id}")


POOL: WorkerPool[int, int] = WorkerPool("work", item=int, work=work, result=int)


@pytest.fixture(params=["socket", "server"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[str]]:
    """The options that name an engine with two dead letters and the parked items "a", "b c" and "d"."""
    write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db", APP.with_jobs(POOL)) as named:
        for id_ in ("a", "b c", "d"):
            assert run_command(["put", f"pool:work:{id_}", "1", *named["socket"]]) == 0
            assert run_command(["wait", f"pool:work:{id_}", "--until", "parked", *named["socket"]]) == 0
        yield named[request.param]


def test_one_list_has_dead_letters_and_parked_items(options: list[str], tmp_path: Path, capsys: Out) -> None:
    capsys.readouterr()
    assert run_command(["dead-letters", *options, "--json"]) == 0
    listed = json_of(capsys.readouterr().out)
    commands = ["redrive 1", "redrive 2", "retry pool:work:a", "retry 'pool:work:b c'", "retry pool:work:d"]
    assert [each["command"] for each in listed] == [f"perdure {each}" for each in commands]
    assert [each["form"] for each in listed] == ["message"] * 2 + ["item"] * 3
    shared = {"form", "since", "reason", "error", "command"}
    assert [set(each) - shared for each in listed] == [
        *[{"message_id", "sent_at", "sender", "target", "action", "deliveries"}] * 2,
        *[{"address", "attempts"}] * 3,
    ]
    assert all(each["since"] for each in listed)
    assert [each["reason"] for each in listed] == ["deliveries_exhausted"] * 2 + ["retries_exhausted"] * 3
    assert listed[2]["error"]["message"] == "no work on a"
    assert run_command(["dead-letters", *options]) == 0
    printed = capsys.readouterr().out
    assert [line.split()[0] for line in printed.splitlines()] == [
        "ID", "1", "2", "ITEM", "pool:work:a", "pool:work:b", "pool:work:d"
    ]  # fmt: skip
    assert printed.splitlines()[-2].endswith(
        "retries_exhausted  ValueError: no work on b c  perdure retry 'pool:work:b c'"
    )


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_pages_cross_from_dead_letters_to_parked_items(options: list[str], limit: int, capsys: Out) -> None:
    found, after = list[str](), list[str]()
    for _ in range(6):
        capsys.readouterr()
        assert run_command(["dead-letters", *options, "--json", "--limit", str(limit), *after]) == 0
        printed = capsys.readouterr()
        page = json_of(printed.out)
        assert len(page) <= limit
        found += [str(each.get("message_id") or each["address"]) for each in page]
        if "there are more" not in printed.err:
            break
        after = shlex.split(printed.err.rpartition("or ")[2])
    assert found == ["1", "2", "pool:work:a", "pool:work:b c", "pool:work:d"]


def test_a_parked_item_is_retried_and_not_redriven(options: list[str], capsys: Out) -> None:
    capsys.readouterr()
    assert run_command(["redrive", "pool:work:b c", *options]) == 2
    assert "perdure retry 'pool:work:b c'" in capsys.readouterr().err
    assert run_command(["retry", "--kind", "pool", "--status", "parked", "--yes", *options]) == 0
    assert run_command(["redrive", "--all", "--yes", "--json", *options]) == 0
    printed = [each for each in capsys.readouterr().out.splitlines() if each.startswith("{")]
    assert [each["message_id"] for each in json_of("\n".join(printed))] == [1, 2]


GO = Signal("go", int)


@program
def approved(_: WorkflowContext[int]) -> Do[int]:
    return (yield from GO.receive())


IMPORTS = Workflow("imports", state=int, run=approved, signals=[GO], concurrency=1)


@pytest.mark.parametrize("stored", ["memory", "sqlite", "postgres"])
def test_a_retry_leaves_a_queued_start_in_its_turn(stored: str, tmp_path: Path, capsys: Out) -> None:
    """Of one start that waits or of all: none begins beside the limit, and none overtakes another."""
    path = tmp_path / "jobs.db"
    url = {"memory": "memory://", "sqlite": f"sqlite:///{path}"}.get(stored) or EMPTY_SCHEMA.url()
    with serving(path, App(None).with_jobs(IMPORTS), url) as named:
        engine = named["server"]

        def listed() -> dict[str, str]:
            capsys.readouterr()
            assert run_command(["list", "--job", "workflow:imports", "--json", *engine]) == 0
            return {each["address"][-1]: each["status"] for each in json_of(capsys.readouterr().out)}

        for id_ in "cba":
            assert run_command(["start", f"workflow:imports:{id_}", "1", *engine]) == 0
        assert run_command(["wait", "workflow:imports:c", "--until", "idle", *engine]) == 0
        assert listed() == {"c": "idle", "b": "queued", "a": "queued"}
        capsys.readouterr()
        assert run_command(["retry", "workflow:imports:a", *engine]) == 3
        assert "it is queued: it begins when there is room" in capsys.readouterr().out
        assert run_command(["retry", "--job", "workflow:imports", "--yes", *engine]) == 3
        assert run_command(["resume", "workflow:imports:a", *engine]) == 0
        assert listed() == {"c": "idle", "b": "queued", "a": "queued"}
        assert run_command(["signal", "workflow:imports:c", "go", "1", *engine]) == 0
        assert run_command(["wait", "workflow:imports:b", "--until", "idle", *engine]) == 0
        assert listed() == {"c": "done", "b": "idle", "a": "queued"}


def test_a_file_at_rest_lists_its_parked_items(tmp_path: Path, capsys: Out) -> None:
    url = write_store(tmp_path / "jobs.db")
    with serving(tmp_path / "jobs.db", APP.with_jobs(POOL)) as named:
        for id_ in ("a", "b"):
            assert run_command(["put", f"pool:work:{id_}", "1", *named["socket"]]) == 0
            assert run_command(["wait", f"pool:work:{id_}", "--until", "parked", *named["socket"]]) == 0
    capsys.readouterr()
    assert run_command(["dead-letters", "--store", url, "--json", "--after", "1"]) == 0
    listed = json_of(capsys.readouterr().out)
    assert [each["command"] for each in listed] == [
        "perdure redrive 2", "perdure retry pool:work:a", "perdure retry pool:work:b"
    ]  # fmt: skip
    assert run_command(["dead-letters", "--store", url, "--json", "--after", "pool:work:a"]) == 0
    assert [each["address"] for each in json_of(capsys.readouterr().out)] == ["pool:work:b"]
    assert run_command(["dead-letters", "--store", url, "--after", "pool:work:b"]) == 0
    assert capsys.readouterr().err == "perdure: there are no dead letters and no parked items\n"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http+unix:///absent/jobs.sock", "https://127.0.0.1:1"])
def test_a_server_that_does_not_answer_has_its_own_exit_code(capsys: Out, url: str) -> None:
    assert run_command(["list", "--server", url]) == 4
    assert url in capsys.readouterr().err


def test_a_server_with_tokens_refuses_a_request_without_one(read_only: dict[str, list[str]], capsys: Out) -> None:
    assert run_command(["list", *read_only["guarded"]]) == 2
    assert "Commands read the token from PERDURE_TOKEN" in capsys.readouterr().err
    with connected(read_only["guarded"][1], TOKEN, "10 seconds") as target:
        assert len(target.find(ListFilter())) == len(INSTANCES)


@pytest.mark.parametrize("status", [*get_args(Status), "not_found"])
@pytest.mark.parametrize("run_now", [None, "trigger"])
def test_a_retry_resumes_parked_and_left_instances_and_runs_those_that_wait(status: Any, run_now: str | None) -> None:
    """Any other instance has nothing to retry, and the command says why."""
    report = InstanceStatus(status=status)
    expected = {"parked": "resume", "left": "resume", "retrying": run_now}.get(status)
    assert retrying_action(run_now, report) == expected
    if expected is None:
        assert status in why_not_retried(ORDER, run_now, report) or status in {"not_found", "retrying"}
