"""The exit codes of every command: a table, and every code that the help of a command names is in it."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import pytest
from operated import APP, open_terminal, serving, write_store
from returns.future import FutureResult

from perdure import Promise, Published, Signal, Stream, Update, WorkerPool, Workflow, WorkflowContext
from perdure.cli.commands import COMMANDS, command_line, run_command
from perdure.cli.process import ExitCode, code_of
from perdure.stores.contract import Store, overlay
from perdure.stores.memory import memory_store
from perdure.stores.values import Health
from perdure.telemetry.prometheus import prometheus
from perdure.values import errors

Out = pytest.CaptureFixture[str]
Target: TypeAlias = Literal[
    "engine", "plain engine", "failed store", "nothing", "closed port", "at rest", "drops", "loses changes"
]
"""The target of a command: an engine (with metrics, without, or on a store that fails), no named target, a port that
nothing listens on, a store without its engine, or a server that answers probes and drops every request."""

ROOT: Final = Path(__file__).parents[2]
GO = Signal("go", int)
GROW = Update("grow", int, int)
SEEN = Published("seen", int)
PAID = Promise("paid", int, str)
WORDS = Stream("words", str)


def raises(_: object) -> Any:
    raise RuntimeError("no")


def waits(_: WorkflowContext[int]) -> Any:
    return GO.receive()


JOBS = (
    Workflow(
        "flow",
        state=int,
        run=waits,
        signals=[GO],
        updates=[GROW],
        publishes=[SEEN],
        promises=[PAID],
        streams=[WORDS],
        result=int,
        errors=str,
    ),
    WorkerPool("work", item=int, work=raises, result=int, errors=str),
)

# ---------------------------------------------------------------- the table
UNREACHABLE: tuple[tuple[Target, int], ...] = (("nothing", 2), ("closed port", 4))

READING: dict[str, list[tuple[list[str], Target, int]]] = {
    "list": [
        ([], "engine", 0),
        (["--job", "task:no-such"], "engine", 0),
        ([], "at rest", 0),
        (["--limit", "0"], "engine", 2),
    ],
    "show": [(["task:order:o-2"], "engine", 0), (["task:order:absent"], "engine", 3), (["nonsense"], "engine", 2)],
    "wait": [
        (["task:order:o-2", "--until", "idle"], "engine", 0),
        (["task:order:o-1", "--timeout", "1 ms"], "engine", 1),
        (["task:order:never"], "engine", 3),
    ],
    "published": [
        (["workflow:flow:other", "seen"], "engine", 1),
        (["workflow:flow:absent", "seen"], "engine", 3),
        (["workflow:flow:other", "unseen"], "engine", 3),
        (["workflow:flow:other", "seen", "--wait", "soon"], "engine", 3),
    ],
    "tail": [
        (["workflow:flow:other", "words", "--no-follow"], "engine", 0),
        (["workflow:flow:absent", "words", "--no-follow"], "engine", 3),
        (["workflow:flow:other", "no-such"], "engine", 3),
        (["nonsense", "words"], "engine", 2),
        (["workflow:flow:other", "words"], "at rest", 4),
    ],
    "history": [(["task:order:o-1"], "engine", 0), (["task:order:absent"], "engine", 3)],
    "steps": [(["workflow:flow:waiting"], "engine", 0), (["workflow:flow:absent"], "engine", 3)],
    "explain": [
        (["task:order:o-2", "send", '{"paid":1}'], "engine", 0),
        (["task:order:o-2", "send", '{"paid":1000}'], "engine", 3),
    ],
    "future": [
        (["task:order:o-2"], "engine", 0),
        (["task:order:o-2", "--event", '{"paid":4}', "--twice", "--after", "1 hour"], "engine", 0),
        (["task:order:o-2", "--for", "soon"], "engine", 3),
        (["task:order:o-2"], "at rest", 2),
    ],
    "debug": [(["task:order:o-2"], target, 2) for target in ("nothing", "closed port")],  # it reads a store alone
    "left-messages": [([], "engine", 0), ([], "at rest", 0), (["--limit", "0"], "engine", 2)],
    "dead-letters": [([], "engine", 0), ([], "at rest", 0)],
    "jobs": [([], "engine", 0), ([], "at rest", 4)],
    "counts": [([], "engine", 0), ([], "at rest", 4)],
    "demand": [([], "engine", 0), (["--within", "soon"], "engine", 2), ([], "at rest", 4)],
    "members": [([], "engine", 0)],
    "limits": [([], "engine", 0), ([], "at rest", 4)],
    "pool": [(["pool:work"], "engine", 0), (["pool:no-such"], "engine", 3)],
    "health": [([], "engine", 0), ([], "failed store", 1)],
    "metrics": [([], "engine", 0), ([], "plain engine", 3)],
}


def _line(id_: str, action: str, payload: object) -> str:
    """Return a request to a workflow as `perdure calls` reads it."""
    asked = {"address": f"workflow:flow:{id_}", "action": action, "payload": payload, "key": f"{id_} {action}"}
    return json.dumps(asked)


CHANGING: dict[str, list[tuple[list[str], Target, int]]] = {
    "start": [
        (["continuous:tick:new", '{"paid":1}'], "engine", 0),
        (["continuous:tick:bad", '{"paid":"x"}'], "engine", 3),
        (["continuous:deny:a", '{"k":1,"tok":"t"}'], "engine", 3),
        (["workflow:flow:other", "0", "--wait", "0 ms"], "engine", 1),
        (["workflow:flow:late", "0", "--after", "1 hour", "--within", "1 day"], "engine", 0),
        (["workflow:flow:soon", "0", "--after", "soon"], "engine", 3),
        (["continuous:tick:late", '{"paid":1}', "--after", "1 hour"], "engine", 3),
    ],
    "send": [
        (["task:order:new", '{"paid":1}'], "engine", 0),
        (["task:order:new", '{"paid":1000}'], "engine", 3),
        (["task:order:new", "no JSON"], "engine", 2),
        (["task:order:new", "--jsn"], "engine", 2),
        (["task:order:new", '{"paid":1}'], "at rest", 4),
        (["task:order:q-1", '{"paid":1}', "--key", "k", "--wait", "0 ms"], "engine", 1),
    ],
    "add": [(["debounce:batch:new", '{"paid":1}'], "engine", 0), (["debounce:batch:new", "1"], "engine", 3)],
    "put": [
        (["pool:work:new", "1"], "engine", 0),
        (["pool:work:new", '"x"'], "engine", 3),
        (["pool:work:late", "1", "--after", "1 hour", "--wait", "0 ms"], "engine", 1),
    ],
    "signal": [
        (["workflow:flow:waiting", "go", "1"], "engine", 0),
        (["workflow:flow:absent", "go", "1"], "engine", 3),
        (["workflow:flow:other", "stop", "1"], "engine", 3),
    ],
    "complete": [
        (["workflow:flow:other/paid", "1"], "engine", 0),
        (["workflow:flow:other/paid", '"no"', "--failed"], "engine", 3),
        (["workflow:flow:soon/paid", '"no"', "--failed"], "engine", 3),
        (["workflow:flow:absent/paid", "1"], "engine", 3),
        (["workflow:flow:other/unpaid", "1"], "engine", 3),
        (["workflow:flow:other", "1"], "engine", 2),
    ],
    "update": [
        (["workflow:flow:other", "grow", "1", "--key", "k", "--wait", "0 ms"], "engine", 1),
        (["workflow:flow:absent", "grow", "1", "--key", "k"], "engine", 3),
        (["workflow:flow:other", "shrink", "1", "--key", "k"], "engine", 3),
        (["workflow:flow:other", "grow", "no JSON", "--key", "k"], "engine", 2),
    ],
    "trigger": [(["task:order:o-2"], "engine", 0), (["continuous:tick:absent"], "engine", 3)],
    "flush": [(["debounce:batch:full"], "engine", 0), (["debounce:batch:absent"], "engine", 3)],
    "call": [
        (["task:order:called", "send", '{"paid":1}'], "engine", 0),
        (["task:order:called", "fly"], "engine", 3),
        (["workflow:flow:other", "start", "0", "--wait", "0 ms"], "engine", 1),
    ],
    "calls": [
        ([_line("many-1", "start", 0), _line("many-2", "start", 0)], "engine", 0),
        ([_line("many-1", "signal.go", 1), _line("many-3", "cancel", "no")], "engine", 3),
        (["no JSON"], "engine", 2),
        (['{"address":"workflow:flow:a"}'], "engine", 2),
    ],
    "hold": [(["task:order"], "engine", 0), (["task:no-such"], "engine", 3)],
    "release": [(["task:order"], "engine", 0), (["task:no-such"], "engine", 3)],
    "set-limit": [
        (["calls", "--concurrency", "5"], "engine", 0),
        (["calls", "--rate", "often"], "engine", 2),
        (["calls", "--concurrency", "0"], "engine", 2),
        (["calls"], "engine", 2),
        (["calls", "--rate", "1/1m"], "engine", 3),
        (["absent", "--concurrency", "5"], "engine", 3),
    ],
    "reset-limit": [(["calls"], "engine", 0), (["absent"], "engine", 3)],
    "pause": [(["task:order:o-1"], "engine", 0), (["task:order:absent"], "engine", 3)],
    "resume": [(["task:order:o-1"], "engine", 0), (["task:order:absent"], "engine", 3)],
    "retry": [(["task:order:p-1"], "engine", 0), (["task:order:o-2"], "engine", 3)],
    "cancel": [(["workflow:flow:cancelled", "--yes"], "engine", 0), (["workflow:flow:absent", "--yes"], "engine", 3)],
    "fork": [
        (["workflow:flow:other", "--into", "forked"], "engine", 0),
        (["workflow:flow:absent", "--into", "of-absent"], "engine", 3),
        (["workflow:flow:other", "workflow:flow:waiting", "--into", "both"], "engine", 2),
    ],
    "clear": [(["debounce:batch:cleared", "--yes"], "engine", 0), (["debounce:batch:absent", "--yes"], "engine", 3)],
    "terminate": [
        (["task:order:o-3", "--yes"], "engine", 0),
        (["task:order:absent", "--yes"], "engine", 3),
        (["task:order:o-2"], "engine", 2),
        (["task:order:absent", "task:order:o-2", "--yes"], "engine", 3),
    ],
    "redrive": [(["1", "--yes"], "engine", 0), (["99", "--yes"], "engine", 3)],
    "bury": [(["99"], "engine", 3)],
    "forget-key": [(["task:order:o-1", "new"], "engine", 3)],
}
FREE: dict[str, list[tuple[list[str], int]]] = {
    "token": [(["web"], 0), (["two words"], 2)],
    "key": [(["2026-11"], 0), (["two words"], 2)],
    "mcp": [(["--store", "postgresql://a@b/c"], 2)],
    "openapi": [(["operated:APP"], 0), (["operated:nothing"], 2)],
    "definitions": [(["operated:APP"], 0), (["operated:nothing"], 2)],
    "completion": [(["bash"], 0), (["tcsh"], 2)],
    "doctor": [([], 0), (["--store", "sqlite:///nowhere.db"], 1), (["--store", "mysql://db"], 2)],
    "bench": [(["--at", "/dev/null"], 2)],
    "demo": [(["--kill-at", "200%"], 2)],
    "run": [(["no_such_module:app", "--store", "memory://"], 2)],
    "serve": [(["no_such_module:app", "--store", "memory://"], 2)],
    "check": [
        (["operated:APP", "--store", "{store}"], 1),
        (["operated:APP", "--store", "{served}"], 0),
        (["operated:APP", "--store", "sqlite:///nowhere.db"], 2),
        (["operated:APP", "--deploy", "nowhere.json"], 2),
    ],
    "rehearse": [
        (["operated:APP", "--against", "operated:APP", "--store", "{store}", "--for", "soon"], 2),
    ],
    "snapshot": [
        (["--store", "{store}", "--output", "{new}"], 0),
        (["--store", "{store}", "--output", "{store_path}"], 2),
    ],
    "histories": [(["operated:APP", "--store", "{store}", "--output", "{new}"], 2)],
    "capacity": [(["operated:APP", "--store", "{store}", "--for", "soon"], 2)],
    "backup": [
        (["--store", "{store}", "--output", "{new}"], 0),
        (["--store", "{store}", "--output", "{store_path}"], 2),
    ],
    "restore": [(["--from", "ftp://x", "--store", "sqlite:///{new}"], 2)],
    "backups": [(["--of", "ftp://x"], 2)],
    "verify": [(["--store", "{store}"], 0), (["--store", "sqlite:///nowhere.db"], 2)],
    "stats": [(["--store", "{store}"], 0), (["--store", "sqlite:///nowhere.db"], 2)],
    "vacuum": [(["--store", "{store}"], 0), (["--store", "sqlite:///nowhere.db"], 2)],
    "copy": [(["{store}", "sqlite:///{new}"], 0), (["{store}", "{store}"], 2)],
    "migrate": [(["--store", "sqlite:///jobs.db"], 2)],
}
ELSEWHERE = {
    ("backup", 1): "tests/cli/test_shipping.py::test_an_endpoint_that_does_not_answer",
    ("restore", 0): "tests/cli/test_shipping.py::test_a_moment_is_restored",
    ("restore", 1): "tests/cli/test_shipping.py::test_an_endpoint_that_does_not_answer",
    ("backups", 0): "tests/cli/test_shipping.py::test_one_shipment_is_listed_and_its_age_is_judged",
    ("backups", 1): "tests/cli/test_shipping.py::test_one_shipment_is_listed_and_its_age_is_judged",
    ("rehearse", 0): "tests/rehearsal/test_command.py::test_equal_code_is_equal",
    ("capacity", 0): "tests/rehearsal/test_capacity.py::test_the_command_prints_a_table_and_writes_a_picture",
    ("histories", 0): "tests/rehearsal/test_histories.py::test_no_text_of_a_person_is_in_the_file",
    ("rehearse", 1): "tests/rehearsal/test_command.py::test_a_changed_interval_is_shown_with_an_example",
    ("debug", 0): "tests/rehearsal/test_debugging.py::test_commands_come_from_a_pipe",
    ("debug", 3): "tests/rehearsal/test_debugging.py::test_a_refused_line_of_a_pipe_ends_the_command",
    ("debug", 4): "tests/rehearsal/test_debugging.py::test_a_refused_line_of_a_pipe_ends_the_command",
    ("update", 0): "tests/cli/test_outcomes.py::test_a_command_prints_the_reply_to_an_update",
    ("published", 0): "tests/cli/test_outcomes.py::test_a_command_waits_for_a_value_that_a_workflow_publishes",
    ("bury", 0): "tests/cli/test_operating.py::test_a_left_message_is_listed_at_rest_and_buried_by_an_engine",
    ("forget-key", 0): "tests/cli/test_operating.py::test_a_forgotten_key_lets_its_request_be_made_again",
    ("run", 0): "tests/cli/test_run.py::test_it_stops_on_request",
    ("run", 1): "tests/cli/test_run.py::test_a_job_that_exits_ends_the_command_in_order",
    ("serve", 0): "tests/cli/test_serve.py::test_a_stop_answers_requests_in_progress_and_refuses_the_rest",
    ("serve", 1): "tests/cli/test_run.py::test_a_job_that_exits_ends_the_command_in_order",
    ("mcp", 0): "tests/cli/test_tools_server.py::test_the_command_ends_with_its_input",
    ("demo", 0): "tests/cli/test_demo.py::test_nothing_is_lost_when_the_worker_is_killed",
    ("demo", 1): "tests/cli/test_demo.py::test_an_event_that_the_worker_drops_is_found_missing",
    ("bench", 0): "tests/cli/test_bench.py::test_a_measurement_leaves_nothing_behind",
    ("copy", 1): "tests/cli/test_copy.py::test_a_difference_is_named",
    ("migrate", 0): "tests/cli/test_migrate.py::test_it_creates_the_tables_and_then_has_nothing_to_do",
    ("verify", 1): "tests/cli/test_verify.py::test_the_command_says_sound_damaged_or_that_it_cannot",
}
"""The codes of the help that need a process, a server of PostgreSQL or a damaged file."""

ASKS = ("pause", "resume", "retry", "cancel", "fork", "clear", "terminate", "redrive")
FIRST: dict[str, list[str]] = {name: rows[0][0] for name, rows in (READING | CHANGING).items()}
UNCHANGED = {"hold", "release", "retry", "set-limit", "reset-limit"}
"""A repeat of these changes nothing."""

ROWS = [
    ("retry", FIRST["retry"], "loses changes", 5),
    *((name, *row) for name, rows in (READING | CHANGING).items() for row in rows),
    *(
        (name, FIRST[name], target, code)
        for name in (READING | CHANGING)
        if name != "debug"
        for target, code in UNREACHABLE
    ),
    *((name, FIRST[name], "drops", 5) for name in CHANGING if name not in UNCHANGED),
    ("retry", FIRST["retry"], "drops", 4),  # it reads the status first, and a read that is not answered changed nothing
]


# ---------------------------------------------------------------- the places
def failed_store() -> Store:
    """Return a store that works, and says of itself that it does not."""
    return overlay(memory_store(), health=lambda: FutureResult.from_value(Health(state="failed", detail="no disk")))


@contextmanager
def dropping() -> Iterator[list[str]]:
    """Serve a port that answers probes and lists, and drops every change without an answer."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                begin = connection.recv(4_096)
                if begin.startswith(b"GET"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ["--server", f"http://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "1 second"]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextmanager
def losing_changes(engine: str) -> Iterator[list[str]]:
    """Serve a port in front of an engine that closes a connection with a request to retry, before it arrives."""
    listener, opened = socket.create_server(("127.0.0.1", 0)), list[socket.socket]()

    def pump(source: socket.socket, sink: socket.socket, lost: tuple[bytes, ...]) -> None:
        with suppress(OSError):
            while (data := source.recv(65_536)) and not any(each in data for each in lost):
                sink.sendall(data)
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                caller, _ = listener.accept()
                behind = socket.create_connection(("127.0.0.1", int(engine.rpartition(":")[2])))
                opened.extend((caller, behind))
                threading.Thread(target=pump, args=(caller, behind, (b"resume", b"trigger"))).start()
                threading.Thread(target=pump, args=(behind, caller, ())).start()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield ["--server", f"http://127.0.0.1:{listener.getsockname()[1]}", "--timeout", "2 seconds"]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in opened:
            each.close()


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("targets")
    write_store(folder / "jobs.db")
    rest = write_store(folder / "rest.db")
    app = APP.with_jobs(*JOBS)
    with (
        serving(folder / "jobs.db", app.with_sinks(prometheus())) as engine,
        serving(folder / "plain.db", app) as plain,
        serving(folder / "failed.db", app, failed_store) as failed,
        dropping() as drops,
        losing_changes(engine["server"][1]) as loses,
        socket.create_server(("127.0.0.1", 0)) as bound,
    ):
        closed = bound.getsockname()[1]
        bound.close()
        for prepared in ("waiting", "other", "cancelled"):
            assert run_command(["start", f"workflow:flow:{prepared}", "0", *engine["server"]]) == 0
        for prepared in ("full", "cleared"):
            assert run_command(["add", f"debounce:batch:{prepared}", '{"paid":1}', *engine["server"]]) == 0
        yield {
            "engine": engine["server"],
            "plain engine": plain["server"],
            "failed store": failed["server"],
            "nothing": [],
            "closed port": ["--server", f"http://127.0.0.1:{closed}"],
            "at rest": ["--store", rest],
            "drops": drops,
            "loses changes": loses,
        }


def test_the_codes_of_the_commands_that_reach_an_engine(targets: dict[str, list[str]], capsys: Out) -> None:
    found = [
        (name, arguments, target, run_command([name, *arguments, *targets[target]]))
        for name, arguments, target, _ in ROWS
    ]
    differing = [(*row, expected[-1]) for row, expected in zip(found, ROWS, strict=True) if row != expected]
    assert differing == []
    assert capsys.readouterr().err.count("Traceback") == 0


@pytest.mark.parametrize("name", sorted(FREE))
def test_the_codes_of_the_other_commands(name: str, tmp_path: Path, capsys: Out) -> None:
    url = write_store(tmp_path / "jobs.db")
    served = asyncio.run(_served(tmp_path))
    places = {"store": url, "served": served, "store_path": str(tmp_path / "jobs.db"), "new": str(tmp_path / "new")}
    for number, (arguments, code) in enumerate(FREE[name]):
        given = [each.format(**places | {"new": f"{places['new']}-{number}"}) for each in arguments]
        assert run_command([name, *given]) == code, (given, capsys.readouterr().err)


async def _served(folder: Path) -> str:
    """Write a store whose jobs the app serves."""
    url = f"sqlite:///{folder / 'served.db'}"
    async with APP.open(url) as jobs:
        await jobs.handle_by_name("task", "order").call("send", "a", '{"paid":1}')
    return url


READS_INPUT = """
import sys
from perdure.cli.commands import run_command
sys.exit(run_command(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "given"),
    [
        (["send", "task:order:read", "-"], '{"paid":1}'),
        (["call", "task:order:read", "send", "-", "--json"], '{"paid":1}'),
        (["calls", "-", "--json"], f"{_line('read-1', 'start', 0)}\n{_line('read-2', 'start', 0)}\n"),
    ],
)
def test_a_dash_reads_the_standard_input(targets: dict[str, list[str]], arguments: list[str], given: str) -> None:
    script = [sys.executable, "-c", READS_INPUT, *arguments, *targets["engine"]]
    ran = subprocess.run(script, input=given, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert ran.returncode == 0, ran.stdout + ran.stderr


READING = [
    name for name in sorted(COMMANDS) if "- to read" in " ".join((inspect.getdoc(COMMANDS[name].load()) or "").split())
]


@pytest.mark.parametrize("name", READING)
def test_each_command_whose_help_names_a_dash_takes_one(name: str) -> None:
    taken = inspect.signature(COMMANDS[name].load()).parameters
    before = ["x" for each in taken.values() if each.kind is each.POSITIONAL_ONLY][:-1]
    key = ["--key", "k"] if "key" in taken else []
    _, bound, _ = command_line(name).parse_args([name, *before, "-", *key], exit_on_error=False)
    assert bound.args[-1] == "-"


ANSWERS_NO = """
import sys
from perdure.cli.commands import run_command
print([int(run_command(each)) for each in {commands!r}], file=sys.stderr)
"""


def test_a_question_that_is_answered_no_is_130(targets: dict[str, list[str]]) -> None:
    """With a terminal as standard input, and 'n' on each of its lines. Nothing was changed."""
    filters = {"clear": ["--job", "debounce:batch"], "redrive": ["--all"]}
    filters |= {name: ["--job", "workflow:flow"] for name in ("cancel", "fork")}
    filters |= {"resume": ["--status", "paused"], "retry": ["--status", "parked"]}
    commands = [[name, *filters.get(name, ["--job", "task:order"]), *targets["engine"]] for name in ASKS]
    commands += [commands[-1]] * 3
    ours, theirs = open_terminal()
    os.write(ours, b"n\n" * len(ASKS) + b"\n" + b"no\n" + b"sure\n")  # only y and yes are a yes
    script = [sys.executable, "-c", ANSWERS_NO.format(commands=commands)]
    ran = subprocess.run(script, stdin=theirs, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    os.close(ours)
    os.close(theirs)
    assert json.loads(ran.stderr.splitlines()[-1].rpartition("] ")[2]) == [130] * len(commands), ran.stderr


# ---------------------------------------------------------------- the table is complete
def named_in_help(name: str) -> set[int]:
    """Return the exit codes that the help of a command names."""
    help_ = inspect.getdoc(COMMANDS[name].load()) or ""
    paragraph = re.search(r"Exit code: (.*?)(?:\n\n|\Z)", help_, re.DOTALL)
    return {int(code) for code in re.findall(r"(?<![\w.,-])(130|[0-5])(?=\s)", paragraph[1])} if paragraph else {0, 2}


def in_table(name: str) -> set[int]:
    rows = {code for command, _, _, code in ROWS if command == name} | {code for _, code in FREE.get(name, ())}
    return rows | ({130} if name in ASKS else set()) | {code for command, code in ELSEWHERE if command == name}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_code_of_the_help_is_in_the_table_and_the_other_way_round(name: str) -> None:
    assert named_in_help(name) == in_table(name)


def test_the_page_names_every_code() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == {int(each) for each in ExitCode}
    rows = re.findall(r"^\| (`[^|]+`) \| ([\d, ]+) \|$", page, re.MULTILINE)
    documented = {name: codes for names, codes in rows for name in re.findall(r"`([\w-]+)`", names)}
    assert documented == {name: ", ".join(map(str, sorted(in_table(name)))) for name in COMMANDS}


@pytest.mark.parametrize("test", sorted(set(ELSEWHERE.values())))
def test_the_tests_elsewhere_exist(test: str) -> None:
    file, _, function = test.partition("::")
    assert f"def {function}" in (ROOT / file).read_text(encoding="utf-8")


CODES: dict[int, Sequence[errors.PerdureError]] = {
    2: [errors.DefinitionError("x", 1, "y"), errors.StoreMissing("s", "r"), errors.StoreLocked("s", "o")],
    3: [errors.InvalidInput("x", ("y",)), errors.UnknownJob("task", "x", ())],
    4: [errors.ServerUnreachable("s", "r"), errors.EngineClosed(), errors.StoreUnavailable("o", "r")],
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_code_of_an_error(code: int) -> None:
    assert {code_of(error) for error in CODES[code]} == {code}
