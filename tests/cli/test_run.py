"""``perdure run``: a worker that starts, stops and recovers."""

import asyncio
import importlib.util
import re
import signal
from pathlib import Path

import attrs
import pytest

from perdure.cli.run import SELDOM
from perdure.runtime.on_asyncio import asyncio_runtime

YEARS_AGO_MS = 1_577_836_800_000  # 2020

SHOP = """
import asyncio
import os
import sqlite3
from attrs import frozen
from perdure import Continuous, ContinuousContext, Do, App, Limits, every, program, effect
from perdure.programs import sleep
from returns.result import Result, Success

@frozen
class Work:
    takes: str

@effect
def say(services: object, word: str) -> Result[None, object]:
    print(word, flush=True)
    return Success(None)

@effect
def write_behind_the_engine(services: object) -> Result[None, object]:
    with sqlite3.connect("jobs.db") as connection:
        connection.execute("update instances set version = version + 1")
    connection.close()
    return Success(None)

@effect
def delete_the_file(services: object) -> Result[None, object]:
    os.unlink("jobs.db")
    return Success(None)

@effect
async def ignore_cancellation(services: object) -> Result[None, object]:
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            pass

@program
def work(ctx: ContinuousContext[Work]) -> Do[None, object, object]:
    state = yield from ctx.state
    yield from say(f"began, delivery {ctx.delivery}")
    if state.takes == "the fence":
        yield from write_behind_the_engine()
    elif state.takes == "the file":
        yield from delete_the_file()
    elif state.takes == "the exit":
        raise SystemExit(3)
    elif state.takes == "a forgotten program":
        say("forgotten")
    elif state.takes == "no end":
        yield from ignore_cancellation()
    else:
        yield from sleep(state.takes)
    yield from say("ended")

worker = Continuous("worker", state=Work, schedule=every("1 hour"), execute=work, start_immediately=False)
app = App(None, limits=Limits(shutdown_timeout="600000 ms")).with_jobs(worker)

def make_app():
    return app
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """An app in a module, in the folder that commands run in."""
    path = tmp_path / "shop.py"
    path.write_text(SHOP)
    return path


def with_work(shop: Path, takes: str, ids: tuple[str, ...] = ("a",)) -> None:
    """Leave an instance in the store whose run is long due, and takes so long: its alarm was set years ago."""
    spec = importlib.util.spec_from_file_location("shop", shop)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    async def leave() -> None:
        years_ago = attrs.evolve(asyncio_runtime(), now_ms=lambda: YEARS_AGO_MS)
        async with module.app.open(f"sqlite:///{shop.with_name('jobs.db')}", runtime=years_ago) as jobs:
            for id_ in ids:
                await jobs.handle(module.worker).start(id_, module.Work(takes))

    asyncio.run(leave())


STORE = ("--store", "sqlite:///jobs.db")
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "run-a-worker.md"


def test_the_heartbeat_of_the_guide_beats_without_a_caller(start, tmp_path):
    text = GUIDE.read_text()
    (code,) = [block for block in re.findall(r"```[^\n]*\n(.*?)```", text, re.DOTALL) if "ensuring(heartbeat" in block]
    code = code[code.index("from perdure import App, Continuous") :]  # without the caption
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(code)
    for _ in range(2):  # the second start finds it
        command = start("run", "shop.jobs:app", *STORE)
        command.line("serving 1 job (continuous:heartbeat)")
        command.signal(signal.SIGTERM)
        assert command.end() == 0
        stats = start("stats", *STORE)
        assert stats.end() == 0
        assert any(line.split()[:2] == ["instances", "1"] for line in stats.seen), stats.seen


@pytest.mark.parametrize(("sends", "code", "says"), [(-1, 2, "rejected the request"), (0, 1, "ZeroDivisionError")])
def test_a_declared_instance_that_cannot_be_created_stops_the_start(start, tmp_path, sends, code, says):
    (tmp_path / "shop.py").write_text(f"""
from perdure import App, Task, fail

def handle(ctx, event):
    return ctx.set_state(1 // event) if event >= 0 else fail("negative")

task = Task("task", state=int, event=int, initial=0, on_event=handle)
app = App(None).with_jobs(task).ensuring(task, "main", lambda job: job.send({sends}))
""")
    command = start("run", "shop:app", *STORE)
    assert command.end() == code
    assert "the app declares task:task:main, and its 'send' failed: " in command.error
    assert says in command.error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_on_request(start, shop, number):
    command = start("run", "shop:app", "--store", "memory://")
    assert "serving 1 job (continuous:worker) on memory://" in command.line("serving")
    command.signal(number)
    assert f"stopping ({number.name})" in command.line("stopping")
    assert command.end() == 0
    assert command.seen[-1] == "perdure: stopped"


@pytest.mark.parametrize("target", ["shop:app", "shop:make_app"])
def test_everything_may_come_from_the_environment(start, shop, target):
    command = start("run", PERDURE_APP=target, PERDURE_STORE="memory://", PERDURE_LOG_LEVEL="error")
    command.line("serving")
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    assert command.error == ""


def test_the_current_directory_is_searched_whatever_started_the_command(start, shop):
    command = start("run", "shop:app", "--store", "memory://", PYTHONSAFEPATH="1")
    command.line("serving")


@pytest.mark.parametrize(("own", "thresholds"), [("", SELDOM), ("gc.set_threshold(1_000, 5, 5)", (1_000, 5, 5))])
def test_garbage_is_collected_seldom_unless_the_app_knows_better(start, shop, own, thresholds):
    shop.write_text(
        f"import gc\n{own}\n{SHOP}\ndef told():\n    print(gc.get_threshold(), flush=True)\n    return app\n"
    )
    command = start("run", "shop:told", "--store", "memory://")
    command.line(str(thresholds))


def test_the_log_goes_to_the_standard_error(start, shop):
    command = start("run", "shop:app", *STORE)
    command.line("serving")
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    first = command.error.splitlines()[0]
    assert "INFO perdure: engine started store='sqlite:///jobs.db'" in first
    assert first[:2] == "20"


@pytest.mark.parametrize(
    ("options", "environment", "logged"),
    [((), {}, 1), (("--debug",), {"PERDURE_DEBUG": "0"}, 1), (("--no-debug",), {}, 0), ((), {"PERDURE_DEBUG": "0"}, 0)],
)
def test_the_debug_mode_logs_each_place_once_unless_it_is_off(start, shop, options, environment, logged):
    with_work(shop, "a forgotten program", ids=("a", "b", "c"))
    command = start("run", "shop:app", *STORE, *options, **environment)
    for _ in range(3):
        command.line("ended")
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    errors = [line for line in command.error.splitlines() if " ERROR " in line]
    assert len(errors) == logged
    for line in errors:
        assert "a hook built a program and never ran it" in line
        assert "job='continuous:worker'" in line
        assert "shop.py:" in line


def test_a_run_in_progress_may_end(start, shop):
    with_work(shop, "500 ms")
    command = start("run", "shop:app", *STORE)
    command.line("began, delivery 1")
    command.signal(signal.SIGTERM)
    command.line("stopping")
    command.line("ended")
    assert command.end() == 0


def test_a_second_signal_cancels_runs_and_counts_no_crash(start, shop):
    with_work(shop, "1 hour")
    command = start("run", "shop:app", *STORE)
    command.line("began, delivery 1")
    command.signal(signal.SIGTERM)
    command.line("stopping")
    command.signal(signal.SIGTERM)
    command.line("cancelling runs")
    assert command.end() == 0
    again = start("run", "shop:app", *STORE)
    again.line("began, delivery 2")


def test_a_killed_worker_leaves_its_run_to_the_next(start, shop):
    with_work(shop, "1 hour")
    command = start("run", "shop:app", *STORE)
    command.line("began, delivery 1")
    command.signal(signal.SIGKILL)
    assert command.end() == -signal.SIGKILL
    again = start("run", "shop:app", *STORE)
    again.line("began, delivery 2")
    assert "recovered=1" in again.error


def test_an_engine_that_lost_its_file_is_not_to_be_restarted(start, shop):
    with_work(shop, "the fence")
    command = start("run", "shop:app", *STORE)
    command.line("began, delivery 1")
    assert command.end() == 2
    assert "another connection wrote to it" in command.error
    assert "perdure: the engine stopped itself: this engine no longer owns sqlite:///jobs.db" in command.error


def test_no_empty_store_takes_the_place_of_a_deleted_one(start, shop):
    with_work(shop, "the file")
    command = start("run", "shop:app", *STORE)
    command.line("began, delivery 1")
    assert command.end() == 2
    assert "it was deleted while it was open" in command.error
    again = start("run", "shop:app", *STORE)
    assert again.end() == 2
    assert (
        "sqlite:///jobs.db was not created: the file is missing or empty, and its engine left jobs.db-wal"
        in again.error
    )
    assert not shop.with_name("jobs.db").exists()


def test_a_store_has_one_owner_at_a_time(start, shop):
    first = start("run", "shop:app", *STORE)
    first.line("serving")
    second = start("run", "shop:app", *STORE)
    assert second.end() == 2
    assert f"process {first.process.pid}" in second.error
    assert "stop that engine first" in second.error


def test_a_job_that_exits_ends_the_command_in_order(start, shop):
    with_work(shop, "the exit")
    command = start("run", "shop:app", "--store", "sqlite:///jobs.db")
    command.line("began, delivery 1")
    assert command.end() == 1
    assert "the engine stopped itself: a job raised SystemExit(3), which ends the process" in command.error
    assert "perdure: stopped" in command.seen


def test_a_run_that_does_not_end_is_left_to_the_next_start(start, shop):
    with_work(shop, "no end")
    command = start("run", "shop:app", "--store", "sqlite:///jobs.db")
    command.line("began, delivery 1")
    command.signal(signal.SIGTERM)
    command.line("stopping (SIGTERM)")
    command.signal(signal.SIGTERM)
    assert command.end() == 1
    assert "stopped without waiting for runs that ignored their cancellation: continuous:worker:a" in command.error
    start("run", "shop:app", "--store", "sqlite:///jobs.db").line("began, delivery 2")


TWO_JOBS = """
from perdure import App, Task

one, two = (Task(name, state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event)) for name in
    ("one", "two"))
app = App(None).with_jobs(one, two)
"""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "task:one"], "serving 1 job (task:one)"),
        (["--except", "task:one"], "serving 1 job (task:two)"),
        (["--only", "task:one", "--only", "task:two"], "serving 2 jobs (task:one, task:two)"),
    ],
)
def test_an_engine_serves_the_selected_jobs(start, tmp_path, options, says):
    (tmp_path / "parts.py").write_text(TWO_JOBS)
    command = start("run", "parts:app", "--store", "memory://", *options)
    command.line(says)
    command.signal(signal.SIGTERM)
    assert command.end() == 0
    warned = "jobs are left out, and no other engine shares the store" in command.error
    assert warned is (len(options) == 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--only", "task:three"], "the app has no job task:three; it has task:one, task:two"),
        (["--only", "task:one", "--except", "task:two"], "--only and --except exclude each other"),
        (["--except", "task:one", "--except", "task:two"], "no job of the app is left"),
    ],
)
def test_a_selection_without_a_meaning_is_refused(start, tmp_path, options, says):
    (tmp_path / "parts.py").write_text(TWO_JOBS)
    command = start("run", "parts:app", "--store", "memory://", *options)
    assert command.end() == 2
    assert says in command.error
