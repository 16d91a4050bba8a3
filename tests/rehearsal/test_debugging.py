"""A journal is stepped through with state and locals, answered in other ways, written as a test, and forked."""

from __future__ import annotations

import asyncio
import importlib
import os
import pty
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from postgres_harness import PostgresHarness
from two_versions import shop

from perdure import Task
from perdure.cli.target.opening import is_listening
from perdure.rehearsal import JournalDebugger, debug_journal
from perdure.stores.sqlite.files import owner_socket
from perdure.testing import World
from perdure.values.answer import Done
from perdure.values.errors import DefinitionError, InvalidArgument, InvalidInput

JOBS = """
    from typing import Annotated

    from attrs import frozen
    from returns.result import Result, Success

    from perdure import App, Do, Program, Secret, Signal, Workflow, WorkflowContext, effect, program
    from perdure.programs import sleep

    go = Signal("go", int)

    @frozen
    class Sold:
        item: str
        card: Annotated[str, Secret] = "4000-1234"

    @effect
    def price(_s: object, item: str) -> Result[int, str]:
        return Success(30)

    @effect
    def mail(_s: object, text: str) -> Result[None, str]:
        return Success(None)

    @effect
    def pay(_s: object, cents: int, card: str) -> Result[str, str]:
        return Success(f"paid {cents}")

    @effect
    def card_of(_s: object, item: str) -> Result[Sold, str]:
        return Success(Sold(item, "5000-9999"))

    @program
    def sell(ctx: WorkflowContext[Sold]) -> Do[str, str, object]:
        sold = yield from ctx.state
        cents = yield from price(sold.item)
        if cents > 100:
            yield from mail("expensive")
        receipt = yield from pay(cents, sold.card)
        yield from ctx.set_state(Sold(f"{sold.item}, {receipt}"))
        yield from go.receive()
        return receipt

    @program
    def hide(ctx: WorkflowContext[str]) -> Do[None, str, object]:
        sold = yield from card_of((yield from ctx.state))
        yield from sleep("1 day")

    sale = Workflow("sale", state=Sold, run=sell, result=str, errors=str, signals=(go,))
    hidden = Workflow("hidden", state=str, run=hide, errors=str)
    def bind_alone(ctx: WorkflowContext[str]) -> Program[int, str, object]:
        return price("x").bind(lambda cents: go.receive())

    bare = Workflow("bare", state=str, run=bind_alone, result=int, signals=(go,), errors=str)
    app = App(object()).with_jobs(sale, hidden, bare)
"""


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "sale_jobs.py").write_text(dedent(JOBS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("sale_jobs")
    sys.modules.pop("sale_jobs")


@pytest.fixture
def store(jobs: ModuleType, tmp_path: Path) -> Path:
    """A file with a workflow that waits for a signal after two answers."""
    with World(jobs.app, store=tmp_path / "jobs.db") as world:
        world.run(world.handle(jobs.sale).start("1", jobs.Sold("car")))
        world.run(world.handle(jobs.hidden).start("1", "x"))
        world.run(world.handle(jobs.bare).start("1", "x"))
        world.settle()
    return tmp_path / "jobs.db"


def opened(jobs: ModuleType, store: Path, name: str = "sale", **options: Any) -> JournalDebugger:
    with World(jobs.app, store=store) as world:

        async def read() -> JournalDebugger:
            return await debug_journal(world.jobs, getattr(jobs, name), "1", **options)

        return world.run(read())


# ---------------------------------------------------------------- in Python
def test_each_position_has_its_line_its_state_and_its_locals(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=0)
    first = debugger.position
    assert (first.number, first.of, first.calls) == (0, 2, ("price('car')",))
    (frame,) = first.frames
    assert frame.function == "sell"
    assert {name: frame.locals[name] for name in ("sold",)} == {"sold": jobs.Sold("car")}
    assert "cents" not in frame.locals
    second = debugger.next()
    assert second.frames[0].locals["cents"] == 30
    assert second.line is not None
    assert second.line.endswith(" in sell")
    assert int(second.line.partition(".py:")[2].split()[0]) > int(str(first.line).partition(".py:")[2].split()[0])
    last = debugger.next()
    assert (last.calls, last.answered, debugger.step) == (("signal go",), None, "2")
    assert last.state == '{"item":"car, paid 30","card":"4000-1234"}'
    assert debugger.back() == second
    for wrong in (-2, 3):
        with pytest.raises(DefinitionError, match="0 to 2"):
            debugger.go_to(wrong)
    assert opened(jobs, store).at == 2


def test_a_program_without_do_blocks_has_no_locals(jobs: ModuleType, store: Path) -> None:
    position = opened(jobs, store, "bare").position
    assert position.calls == ("signal go",)
    assert position.frames == ()


def test_another_answer_takes_another_way(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=0)
    position = debugger.answer("500")
    assert (position.calls, position.number, position.of, debugger.changed) == (("mail('expensive')",), 1, 1, True)
    assert debugger.answer("null").calls[0].startswith("pay(500")
    assert debugger.answer('"no money"', failed=True).calls == ()
    assert debugger.position.frames == ()
    for value, failed in (('"x"', False), ("{", False), ("5", True)):
        before = debugger.go_to(0)
        with pytest.raises(InvalidInput):
            debugger.answer(value, failed=failed)
        assert debugger.position == before
    waiting = opened(jobs, store)
    with pytest.raises(DefinitionError, match="a wait for signal go"):
        waiting.answer("1")


def test_a_test_passes_with_this_code_and_fails_with_other_code(jobs: ModuleType, store: Path, tmp_path: Path) -> None:
    debugger = opened(jobs, store, at=0)
    debugger.answer("500")
    text = debugger.as_test()
    assert "4000-1234" not in text
    assert "from sale_jobs import sale" in text
    (tmp_path / "test_sale.py").write_text(text, encoding="utf-8")

    def run() -> int:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sale.py"]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode  # noqa: S603 - our own

    assert run() == 0
    source = tmp_path / "sale_jobs.py"
    source.write_text(source.read_text().replace("cents > 100", "cents > 1000"), encoding="utf-8")
    assert run() == 1


def test_a_test_of_a_secret_answer_is_refused(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, "hidden")
    with pytest.raises(DefinitionError, match="an answer that has secrets"):
        debugger.as_test()
    assert debugger.scrubbed("5000-9999") == "<secret>"


def test_a_world_continues_from_a_position(jobs: ModuleType, store: Path) -> None:
    """With an answer that is not stored, and with the fakes of the world from there on."""
    debugger = opened(jobs, store, at=0)
    debugger.answer("500")
    with debugger.world() as world:
        handle = world.handle(jobs.sale)
        world.settle()
        assert [call.name for call in world.effects] == ["mail", "pay"]
        assert world.effects[1].args == (500, "4000-1234")
        world.run(handle.signal("1", jobs.go, 3))
        assert world.run(handle.outcome("1")) == Done("paid 500")
    # The journal of the debugger is as it was.
    assert debugger.go_to(0).calls == ("price('car')",)
    with debugger.world() as world:
        world.settle()
        assert [call.name for call in world.effects] == ["price", "pay"]


def test_the_end_of_a_program_has_no_world(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=0)
    debugger.answer('"no money"', failed=True)
    with pytest.raises(DefinitionError, match="a position before it"):
        debugger.world()


def test_a_job_without_a_journal_says_why(jobs: ModuleType, store: Path) -> None:
    row = opened(jobs, store).instance
    task = next(each for each in shop().served.values() if isinstance(each, Task))
    with pytest.raises(DefinitionError, match="keeps no journal"):
        JournalDebugger(task, row, ())


def test_an_absent_instance_says_so(jobs: ModuleType, store: Path) -> None:
    with World(jobs.app, store=store) as world:

        async def read() -> None:
            await debug_journal(world.jobs, jobs.sale, "2")

        with pytest.raises(InvalidArgument, match="an instance that is stored"):
            world.run(read())


# ---------------------------------------------------------------- the command
def command(store: str, *arguments: str) -> list[str]:
    named = ["--store", store, "--app", "sale_jobs:app"]
    return [sys.executable, "-m", "perdure", "debug", "workflow:sale:1", *named, *arguments]


def piped(store: str, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - our own
        command(store, *arguments), input=text, capture_output=True, text=True, check=False
    )


def test_commands_come_from_a_pipe(store: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{store}"
    before = store.read_bytes()
    done = piped(url, "steps\nnext\nlocals\nstate\nback\nanswer 500\ntest test_sale.py\nquit\nnext\n", "--at", "0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "0 of 2 answers"
    assert lines[2:7] == [
        "  waits for price('car')",
        "  recorded  0  price  done  30",
        "> 0  0  price  done  30",
        '  1  1  pay  done  "paid 30"',
        "1 of 2 answers",
    ]
    assert "  cents = 30" in lines
    assert '{"item":"car","card":"<secret>"}' in lines
    assert "  waits for pay(30, '<secret>')" in lines
    assert "4000-1234" not in done.stdout
    assert lines[-2:] == ["  the journal ends here", "test_sale.py is written"]
    assert (tmp_path / "test_sale.py").exists()
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "arguments", "code", "problem"),
    [
        ("nonsense\n", [], 3, "type one of these lines"),
        ("next\n", [], 3, "0 to 2"),
        ("go 7\n", [], 3, "0 to 2"),
        ("go 0\nanswer {\n", [], 3, "not JSON"),
        ("answer 1\n", [], 3, "a step that calls a service"),
        ("go 0\nanswer 500\nfork 2\n", [], 3, "takes no other answer"),
        ("fork 2\n", [], 4, "start an engine"),
        ("", ["--at", "9"], 2, "0 to 2"),
    ],
)
def test_a_refused_line_of_a_pipe_ends_the_command(
    store: Path, text: str, arguments: list[str], code: int, problem: str
) -> None:
    done = piped(f"sqlite:///{store}", text, *arguments)
    assert done.returncode == code
    assert problem in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_terminal_asks_and_continues_after_an_error(store: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(  # noqa: S603 - our own
        command(f"sqlite:///{store}"), stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"NO_COLOR": "1"}
    )
    os.close(theirs)
    seen = ""

    def until(text: str) -> None:
        nonlocal seen
        while text not in seen:
            ready, _, _ = select.select([ours], [], [], 60)
            assert ready, seen
            seen += os.read(ours, 4096).decode()
        seen = seen.partition(text)[2]

    until("type help for the commands")
    until("(2) ")
    os.write(ours, b"help\n")
    until("fork ID")
    os.write(ours, b"nonsense\n")
    until("type one of these lines")
    until("(2) ")
    os.write(ours, b"back\n")
    until("waits for pay(30, '<secret>')")
    until("(1) ")
    os.write(ours, b"q\n")
    assert process.wait(60) == 0
    os.close(ours)


def test_a_running_engine_forks_from_the_position(store: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{store}"
    run = [sys.executable, "-m", "perdure", "run", "sale_jobs:app", "--store", url]
    engine = subprocess.Popen(run, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # noqa: S603 - our own
    try:
        assert engine.stdout is not None
        for _ in engine.stdout:
            if is_listening(owner_socket(str(store))):
                break
        done = piped(url, "back\nfork 2\n")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1] == "workflow:sale:2 begins with step 1"
        listed = [sys.executable, "-m", "perdure", "history", "workflow:sale:2", "--store", url]
        history = subprocess.run(listed, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own
        assert "workflow.forked_from" in history
    finally:
        engine.terminate()
        engine.communicate()


def test_a_journal_of_postgresql_is_read_beside_its_engine(jobs: ModuleType, postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)

    async def main() -> subprocess.CompletedProcess[str]:
        async with jobs.app.open(harness.url) as client:
            await client.handle(jobs.sale).start("1", jobs.Sold("car"), wait_for="completion")
            debugger = await debug_journal(client, jobs.sale, "1", at=1)
            assert debugger.position.frames[0].locals["cents"] == 30
            return await asyncio.to_thread(piped, harness.url, "locals\n", "--at", "1")

    try:
        assert "  cents = 30" in asyncio.run(main()).stdout.splitlines()
    finally:
        asyncio.run(harness.discard())
