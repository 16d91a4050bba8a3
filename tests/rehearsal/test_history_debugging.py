"""A history happens again, step by step: with other answers and requests, as a test, and in a world."""

from __future__ import annotations

import asyncio
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from postgres_harness import PostgresHarness
from returns.result import Success

from perdure import App, Limits
from perdure.jobs.suspension import shown_text
from perdure.rehearsal import FromJson, HistoryDebugger, NoAnswers, PastLife, PastRequest, ServiceAnswers, debug_history
from perdure.stores.encryption import Encryption, Key
from perdure.testing import Fail, World
from perdure.values.errors import DefinitionError, InvalidInput, StoreCorrupt, UnknownAction

JOBS = """
    from typing import Annotated

    from attrs import evolve, frozen
    from returns.result import Result, Success

    from perdure import (
        App, Backoff, Continuous, ContinuousContext, Debounce, DebounceContext, Do, ItemContext, Limits, Program, Retry,
        Secret, Signal, Task, TaskContext, WorkerPool, Workflow, WorkflowContext, effect, every, program,
    )

    @frozen
    class Declined:
        why: str

    @frozen
    class Order:
        due: int = 0
        card: Annotated[str, Secret] = ""
        receipts: tuple[str, ...] = ()

    @frozen
    class Placed:
        due: int
        card: Annotated[str, Secret] = "4000-1234"

    @effect
    def charge(_s: object, order: str, cents: int) -> Result[str, Declined]:
        return Success(f"{order} paid {cents}")

    @effect
    def mail(_s: object, text: str) -> Result[None, Declined]:
        return Success(None)

    @effect
    async def fetch(_s: object, feed: str) -> Result[int, Declined]:
        return Success(len(feed))

    @program
    def place(ctx: TaskContext[Order], event: Placed) -> Do[None, Declined, object]:
        yield from ctx.set_state(Order(event.due, event.card))
        yield from ctx.schedule(after="1 day")

    @program
    def collect(ctx: TaskContext[Order]) -> Do[None, Declined, object]:
        order = yield from ctx.state
        receipt = yield from charge(ctx.id, order.due)
        if len(receipt) > 20:
            yield from mail("long")
        yield from ctx.set_state(evolve(order, receipts=(*order.receipts, receipt)))
        yield from mail(receipt)

    orders = Task(
        "orders", state=Order, event=Placed, initial=Order(), on_event=place, execute=collect, errors=Declined,
        accepted_in_events="payload", retry=Retry(max_attempts=3, delay=Backoff.constant("1 hour")),
    )

    @program
    def sync(ctx: ContinuousContext[int]) -> Do[None, Declined, object]:
        number = yield from fetch(ctx.id)
        yield from ctx.update_state(lambda rows: rows + number)

    feeds = Continuous("feeds", state=int, execute=sync, schedule=every("1 day"), accepted_in_events="payload")

    @program
    def flush(ctx: DebounceContext[int]) -> Do[None, Declined, object]:
        yield from mail(f"{yield_from}" if (yield_from := (yield from ctx.state)) else "none")

    def add(ctx: DebounceContext[int], event: int) -> Program[None, Declined, object]:
        return ctx.update_state(lambda total: total + event)

    hooks = Debounce(
        "hooks", event=int, state=int, initial=0, flush_after="1 hour", on_event=add, execute=flush, errors=Declined,
        accepted_in_events="payload",
    )

    @program
    def paint(ctx: ItemContext[str]) -> Do[int, Declined, object]:
        return (yield from fetch((yield from ctx.item)))

    thumbs = WorkerPool("thumbs", item=str, work=paint, workers=3, keep="1 day", accepted_in_events="payload")
    blind = Task(
        "blind", state=int, event=int, initial=0, on_event=lambda ctx, event: ctx.set_state(event),
        execute=lambda ctx: ctx.set_state(0),
    )
    app = App(object(), limits=Limits(history_retention="60 days")).with_jobs(orders, feeds, hooks, thumbs, blind)
"""

AS_IT_WAS = ServiceAnswers(
    given={
        "charge": lambda order, cents: Success(f"{order} paid {cents}"),
        "mail": Success(None),
        "fetch": lambda feed: Success(len(feed)),
    }
)


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "order_jobs.py").write_text(dedent(JOBS), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield importlib.import_module("order_jobs")
    sys.modules.pop("order_jobs")


def live(world: World, jobs: ModuleType) -> None:
    """Let an instance of each kind live for some days."""
    orders = world.handle(jobs.orders)
    world.run(orders.send("1", jobs.Placed(1_200)))
    world.run(world.handle(jobs.feeds).start("1", 7))
    world.run(world.handle(jobs.hooks).add("1", 2))
    world.run(world.handle(jobs.thumbs).put("1", "cat.png", after="2 hours"))
    world.advance("30 minutes")
    world.run(world.handle(jobs.hooks).add("1", 3))
    world.run(orders.pause("1"))
    world.advance("90 minutes")
    world.run(orders.resume("1"))
    world.advance("28 hours")
    world.run(orders.send("1", jobs.Placed(500)))
    world.advance("26 hours")


@pytest.fixture
def store(jobs: ModuleType, tmp_path: Path) -> Path:
    with World(jobs.app, store=tmp_path / "jobs.db") as world:
        live(world, jobs)
    return tmp_path / "jobs.db"


def read(world: World, definition: Any, id_: str = "1", **options: Any) -> HistoryDebugger:
    async def opened() -> HistoryDebugger:
        return await debug_history(world.jobs, definition, id_, **options)

    return world.run(opened())


def opened(jobs: ModuleType, store: Path, name: str = "orders", **options: Any) -> HistoryDebugger:
    with World(jobs.app, store=store) as world:
        return read(world, getattr(jobs, name), answers=options.pop("answers", AS_IT_WAS), **options)


# ---------------------------------------------------------------- in Python
@pytest.mark.parametrize("name", ["orders", "feeds", "hooks", "thumbs"])
def test_the_past_happens_again(jobs: ModuleType, name: str) -> None:
    definition = getattr(jobs, name)
    with World(jobs.app) as world:
        live(world, jobs)
        debugger = read(world, definition, answers=AS_IT_WAS)
        address = definition.address("1")
        happened = [
            f"{call.name}({', '.join(map(repr, call.args))})" for call in world.effects if call.address == address
        ]
        row = world.instance(definition, "1")
    again = [call for position in debugger.positions for call in position.calls]
    assert happened
    assert again == happened
    runs = [position for position in debugger.positions if position.what == "run"]
    assert runs
    assert all(run.recorded == run.outcome == "executed" for run in runs)
    # The history does not say when an ended item or batch was removed.
    if row is not None:
        assert debugger.position.state == shown_text(definition, row)


def test_each_step_has_its_states_its_effects_and_its_locals(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=1)
    first = debugger.position
    assert (first.number, first.of, first.what, first.before) == (1, 6, "request", None)
    assert first.text == 'send  {"due":1200,"card":"<secret>"}'
    assert first.state == '{"due":1200,"card":"<secret>","receipts":[]}'
    assert [position.text.split("  ")[0] for position in debugger.positions] == [
        "send",
        "pause",
        "resume",
        "run 1, because of alarm",
        "send",
        "run 2, because of alarm",
    ]
    run = debugger.go_to(4)
    assert run.before == first.state
    assert run.calls == ("charge('1', 1200)", "mail('1 paid 1200')")
    charge, mail = run.effects
    assert charge.answer == "'1 paid 1200'"
    assert charge.frames[0].function == "collect"
    assert "receipt" not in charge.frames[0].locals
    assert mail.frames[0].locals["receipt"] == "1 paid 1200"
    assert "receipts=()" in charge.state
    assert "receipts=('1 paid 1200',)" in mail.state
    assert str(charge.line).partition(".py:")[2] < str(mail.line).partition(".py:")[2]
    assert run.state == '{"due":1200,"card":"<secret>","receipts":["1 paid 1200"]}'
    assert debugger.back().text.startswith("resume")
    assert debugger.next() == run
    for wrong in (0, 7):
        with pytest.raises(DefinitionError, match="1 to 6"):
            debugger.go_to(wrong)
    assert opened(jobs, store).at == 6


def test_another_answer_changes_later_steps(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=4)
    changed = debugger.answer('"a receipt that is very long"')
    assert changed.calls == ("charge('1', 1200)", "mail('long')", "mail('a receipt that is very long')")
    assert (changed.effects[0].changed, changed.effects[1].changed, debugger.changed) == (True, False, True)
    failed = debugger.answer('{"why":"no"}', failed=True, call=3)
    assert (failed.outcome, failed.recorded, failed.as_recorded) == ("failed: Declined", "executed", False)
    assert failed.effects[0].answer == "'a receipt that is very long'"
    again = debugger.next()
    assert again.text == "run 1, because of alarm, attempt 2"
    # An earlier answer drops those behind it.
    debugger.back()
    assert debugger.answer('"short"').calls == ("charge('1', 1200)", "mail('short')")
    assert [each.changed for position in debugger.positions for each in position.effects].count(True) == 1
    for value, options in (("{", {}), ("5", {}), ('{"what":1}', {"failed": True})):
        with pytest.raises(InvalidInput):
            debugger.answer(value, **options)
    with pytest.raises(DefinitionError, match="1 to 2"):
        debugger.answer('"x"', call=3)
    debugger.go_to(1)
    with pytest.raises(DefinitionError, match="a step that calls a service"):
        debugger.answer('"x"')


def test_another_request_changes_later_steps(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=1)
    debugger.go_to(4)
    debugger.answer('"mine"')
    debugger.go_to(1)
    assert debugger.request('{"due":5}').state == '{"due":5,"card":"<secret>","receipts":[]}'
    assert debugger.go_to(4).calls == ("charge('1', 5)", "mail('1 paid 5')")
    with pytest.raises(DefinitionError, match="a step that is a request"):
        debugger.request('{"due":5}')
    debugger.go_to(5)
    with pytest.raises(InvalidInput):
        debugger.request('{"due":"x"}')
    with pytest.raises(UnknownAction):
        debugger.request("", action="nothing")
    debugger.request('"by hand"', action="terminate")
    assert debugger.position.state is None
    with pytest.raises(DefinitionError, match="after which there is an instance"):
        debugger.world()


def test_a_failure_of_the_past_is_found_and_answered(jobs: ModuleType) -> None:
    with World(jobs.app) as world:
        world.inject(Fail("charge", jobs.Declined("empty")))
        world.run(world.handle(jobs.orders).send("1", jobs.Placed(1_200)))
        world.advance("30 hours")
        debugger = read(world, jobs.orders, answers=AS_IT_WAS)
    run = debugger.go_to(2)
    assert (run.outcome, run.recorded, run.as_recorded) == ("executed", "failed: Declined", False)
    run = debugger.answer('{"why":"empty"}', failed=True)
    assert run.as_recorded
    assert [position.as_recorded for position in debugger.positions] == [True, True, True]
    assert debugger.positions[-1].recorded == "executed"


def test_a_test_passes_with_this_code_and_fails_with_other_code(jobs: ModuleType, store: Path, tmp_path: Path) -> None:
    debugger = opened(jobs, store, at=4)
    debugger.answer('"a receipt that is very long"')
    text = debugger.as_test()
    assert "4000-1234" not in text
    assert "from order_jobs import orders" in text
    assert "500" not in text
    (tmp_path / "test_order.py").write_text(text, encoding="utf-8")

    def run() -> int:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_order.py"]
        return subprocess.run(command, cwd=tmp_path, check=False, capture_output=True).returncode  # noqa: S603 - our own

    assert run() == 0
    source = tmp_path / "order_jobs.py"
    source.write_text(source.read_text().replace("> 20", "> 100"), encoding="utf-8")
    assert run() == 1


def test_a_world_continues_from_a_step(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, at=1)
    with debugger.world(object()) as world:
        handle = world.handle(jobs.orders)
        assert world.now.isoformat() == "2026-01-01T00:00:00+00:00"
        world.run(handle.send("1", jobs.Placed(77)))
        world.advance("25 hours")
        assert world.run(handle.get_state("1")).receipts == ("1 paid 77",)


def test_an_ended_life_is_read_from_its_history(jobs: ModuleType, store: Path) -> None:
    debugger = opened(jobs, store, "hooks")
    assert debugger.position.calls == ("mail('5')",)
    assert (debugger.position.before, debugger.position.state) == ("5", None)


def test_an_encrypted_history_is_decrypted(jobs: ModuleType, tmp_path: Path) -> None:
    keys = Encryption(primary=Key("1", b"k" * 64))
    app = App(object(), encryption=keys, limits=Limits(history_retention="60 days")).with_jobs(jobs.orders)
    with World(app, store=tmp_path / "sealed.db") as world:
        world.run(world.handle(jobs.orders).send("1", jobs.Placed(1_200)))
        debugger = read(world, jobs.orders, answers=AS_IT_WAS)
    assert debugger.position.state == '{"due":1200,"card":"<secret>","receipts":[]}'


# ---------------------------------------------------------------- refusals
def test_a_history_that_cannot_happen_again_says_why(jobs: ModuleType) -> None:
    short = App(object(), limits=Limits(history_retention="1 hour")).with_jobs(jobs.orders, jobs.blind)
    with World(short) as world:
        world.run(world.handle(jobs.blind).send("1", 3))
        with pytest.raises(DefinitionError, match="no requests"):
            read(world, jobs.blind)
        with pytest.raises(DefinitionError, match="no events"):
            read(world, jobs.orders, "2")
        world.run(world.handle(jobs.orders).send("1", jobs.Placed(1)))
        world.advance("25 hours")
        with pytest.raises(DefinitionError, match="retention has deleted its beginning"):
            read(world, jobs.orders)


def test_effects_without_an_answer_are_named(jobs: ModuleType, store: Path) -> None:
    with pytest.raises(NoAnswers) as refused:
        opened(jobs, store, answers=ServiceAnswers(given={"charge": FromJson("7")}))
    assert [*refused.value.reasons] == ["charge"]


def life(jobs: ModuleType, days: int, sends: int = 1) -> PastLife:
    address = jobs.orders.address("1")
    requests = tuple(PastRequest(number, address, "send", '{"due":1}') for number in range(sends))
    return PastLife(address, requests, {}, days * 86_400_000)


def test_a_longer_history_is_refused(jobs: ModuleType) -> None:
    assert HistoryDebugger(jobs.orders, life(jobs, 2), answers=AS_IT_WAS).at == 2
    with pytest.raises(DefinitionError, match="366 days or less"):
        HistoryDebugger(jobs.orders, life(jobs, 367))


@pytest.mark.parametrize("sends", [3, 4])
def test_more_steps_than_the_limit_are_refused(jobs: ModuleType, sends: int) -> None:
    if sends == 3:
        assert HistoryDebugger(jobs.orders, life(jobs, 0, 3), most=3).at == 3
    else:
        with pytest.raises(DefinitionError, match="more than 3"):
            HistoryDebugger(jobs.orders, life(jobs, 0, 4), most=3)


@pytest.mark.parametrize("text", ["{", "[]", '{"id":"1"}'])
def test_a_text_that_is_no_history_is_refused(jobs: ModuleType, text: str) -> None:
    with pytest.raises(StoreCorrupt, match="as_test"):
        HistoryDebugger.of_json(jobs.orders, text)


# ---------------------------------------------------------------- the command
def piped(store: str, text: str, *arguments: str, address: str = "task:orders:1") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "perdure", "debug", address, "--store", store, "--app", "order_jobs:app"]
    return subprocess.run(  # noqa: S603 - our own
        [*command, *arguments], input=text, capture_output=True, text=True, check=False
    )


def test_commands_come_from_a_pipe(jobs: ModuleType, store: Path, tmp_path: Path) -> None:
    before = store.read_bytes()
    lines_in = (
        'steps\ngo 4\nlocals\nanswer "a receipt that is very long"\nfail #3 {"why":"no"}\nback\nback\nback\n'
        'request {"due":9}\nstate\ntest test_order.py\nhelp\nquit\nnext\n'
    )
    done = piped(f"sqlite:///{store}", lines_in, "--at", "1", "--answer", 'charge="short"')
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[:3] == [
        "1 of 6 requests and runs",
        '  2026-01-01 00:00:00  send  {"due":1200,"card":"<secret>"}',
        "  before    no instance",
    ]
    assert "  effect    charge('1', 1200)" in lines
    assert "    answer  'short'" in lines
    assert "    answer  'a receipt that is very long', yours" in lines
    assert "  outcome   failed: Declined" in lines
    assert "  recorded  executed: its services answered otherwise" in lines
    assert "    receipt = 'short'" in lines
    assert '{"due":9,"card":"<secret>","receipts":[]}' in lines
    assert "4000-1234" not in done.stdout
    assert (tmp_path / "test_order.py").exists()
    assert store.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "arguments", "code", "problem"),
    [
        ("nonsense\n", [], 3, "type one of these lines"),
        ("next\n", [], 3, "1 to 6"),
        ("answer {\n", [], 3, "not JSON"),
        ("answer #x 1\n", [], 3, "write answer JSON"),
        ("fork 2\n", [], 3, "perdure future continues"),
        ("", ["--at", "9"], 2, "1 to 6"),
        ("", ["--answer", "charge=7"], 2, "charge"),
    ],
)
def test_a_refused_line_of_a_pipe_ends_the_command(
    store: Path, text: str, arguments: list[str], code: int, problem: str
) -> None:
    done = piped(f"sqlite:///{store}", text, *arguments)
    assert done.returncode == code
    assert problem in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_history_of_postgresql_is_read_beside_its_engine(jobs: ModuleType, postgres_url: str) -> None:
    harness = PostgresHarness(postgres_url)

    async def main() -> subprocess.CompletedProcess[str]:
        async with jobs.app.open(harness.url) as client:
            await client.handle(jobs.orders).send("1", jobs.Placed(1_200))
            assert (await debug_history(client, jobs.orders, "1")).position.what == "request"
            return await asyncio.to_thread(piped, harness.url, "state\n")

    try:
        done = asyncio.run(main())
        assert done.stdout.splitlines()[-1] == '{"due":1200,"card":"<secret>","receipts":[]}'
    finally:
        asyncio.run(harness.discard())
