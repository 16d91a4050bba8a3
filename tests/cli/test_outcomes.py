"""Commands print how an instance ended, and that a workflow waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import pytest
from attrs import frozen
from operated import json_of, serving

from perdure import (
    App,
    Backoff,
    Do,
    ItemContext,
    Published,
    Retry,
    Secret,
    Signal,
    Stream,
    Update,
    WorkerPool,
    Workflow,
    WorkflowContext,
    fail,
    program,
    succeed,
)
from perdure.cli.commands import run_command

Out = pytest.CaptureFixture[str]
CARD = "4111-1111"


@frozen
class Receipt:
    number: int
    card: Annotated[str, Secret] = CARD


approval = Signal("approval", str)
priced = Update("priced", str, int)
noted = Published("noted", str)


@program
def pay(ctx: WorkflowContext[str]) -> Do[Receipt, str]:
    order = yield from ctx.state
    if order == "wait":
        yield from approval.receive()
    if order == "ask":
        yield from priced.answer(lambda item: succeed(len(item)))
    if order == "note":
        yield from noted.publish((yield from approval.receive()))
    if order == "fail":
        yield from fail("no money")
    return Receipt(7)


@program
def shrink(ctx: ItemContext[str]) -> Do[Receipt, str]:
    item = yield from ctx.item
    if item == "bad":
        yield from fail("no picture")
    return Receipt(len(item))


words = Stream("words", str, max_chunks=6)


@program
def talk(ctx: WorkflowContext[int]) -> Do[int]:
    count = yield from ctx.state
    for number in range(count):
        yield from words.emit(f"w{number}")
    return count


talker = Workflow("talker", state=int, run=talk, streams=[words])
bills = Workflow("bills", state=str, run=pay, signals=(approval,), updates=(priced,), publishes=(noted,))
pictures = WorkerPool("pictures", item=str, work=shrink, retry=Retry(1, Backoff.constant("1 ms")), keep="1 day")
APP = App(None).with_jobs(bills, pictures)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    path = tmp_path_factory.mktemp("outcomes") / "jobs.db"
    with serving(path, APP) as named:
        yield named


def fields_in(printed: str) -> dict[str, str]:
    """The labelled values, up to the state."""
    lines = printed.partition("\n\n")[0].splitlines()
    return {name: value.strip() for name, _, value in (line.partition("  ") for line in lines)}


@pytest.fixture(scope="module")
def answers(engine: dict[str, list[str]]) -> dict[str, int]:
    """Make instances that ended in each way; their exit codes."""
    named = engine["server"]
    codes = {
        id_: run_command(["start", f"workflow:bills:{id_}", f'"{id_}"', *named]) for id_ in ("pay", "fail", "wait")
    }
    for item in ("good", "bad"):
        codes[item] = run_command(["put", f"pool:pictures:{item}", f'"{item}"', *named])
    for item, until in (("good", "done"), ("bad", "parked")):
        run_command(["wait", f"pool:pictures:{item}", "--until", until, *named])
    run_command(["cancel", "workflow:bills:wait", "--reason", "enough", *named, "--yes"])
    run_command(["wait", "workflow:bills:wait", *named])
    return codes


def test_a_start_says_whether_the_workflow_ended_or_waits(engine: dict[str, list[str]], capsys: Out) -> None:
    named = engine["server"]
    for id_, state, run, status in (("s-1", "pay", "completed", "done"), ("s-2", "wait", "waits for", "scheduled")):
        assert run_command(["start", f"workflow:bills:{id_}", f'"{state}"', *named]) == 0
        printed = fields_in(capsys.readouterr().out)
        assert printed["run"].startswith(run), printed
        if status == "done":
            assert printed["status"] == status
    assert run_command(["start", "workflow:bills:s-3", '"fail"', *named]) == 3
    assert fields_in(capsys.readouterr().out)["run"] == "failed"


def test_a_signal_says_whether_the_workflow_has_ended(engine: dict[str, list[str]], capsys: Out) -> None:
    named = engine["server"]
    assert run_command(["start", "workflow:bills:g-1", '"wait"', *named]) == 0
    capsys.readouterr()
    signal = ["signal", "workflow:bills:g-1", "approval", '"yes"', *named]
    assert run_command(signal) == 0
    printed = fields_in(capsys.readouterr().out)
    assert (printed["accepted"], printed["workflow"]) == ("true", "has not ended")
    assert run_command(["wait", "workflow:bills:g-1", *named]) == 0
    capsys.readouterr()
    assert run_command(signal) == 3
    assert "workflow:bills:g-1 has ended, and receives no signal 'approval'" in capsys.readouterr().err


SHOWN = {
    "workflow:bills:pay": {"status": "done", "outcome": '{"number":7,"card":"<secret>"}'},
    "workflow:bills:fail": {"status": "done (failed)", "last error": "str: 'no money'"},
    "workflow:bills:wait": {"status": "done (cancelled)", "outcome": "cancelled: enough"},
    "pool:pictures:good": {"status": "done", "outcome": '{"number":4,"card":"<secret>"}'},
    "pool:pictures:bad": {"status": "parked (retries_exhausted)", "last error": "str: 'no picture'"},
}


@pytest.mark.parametrize("address", SHOWN)
@pytest.mark.usefixtures("answers")
def test_an_instance_shows_how_it_ended(engine: dict[str, list[str]], capsys: Out, address: str) -> None:
    capsys.readouterr()
    assert run_command(["show", address, *engine["server"]]) == 0
    printed = capsys.readouterr().out
    assert CARD not in printed
    assert fields_in(printed) == fields_in(printed) | SHOWN[address]


@pytest.mark.usefixtures("answers")
def test_an_outcome_is_a_field_of_the_json(engine: dict[str, list[str]], capsys: Out) -> None:
    found = {}
    for address in SHOWN:
        capsys.readouterr()
        assert run_command(["show", address, *engine["server"], "--json"]) == 0
        (shown,) = json_of(capsys.readouterr().out)
        found[address] = shown["outcome"]
    assert found["workflow:bills:pay"] == {"form": "done", "value": {"number": 7, "card": "<secret>"}}
    assert found["workflow:bills:wait"] == {"form": "cancelled", "reason": "enough"}
    assert (found["workflow:bills:fail"]["form"], found["pool:pictures:bad"]["form"]) == ("failed", "failed")
    assert found["pool:pictures:bad"]["error"]["message"] == "'no picture'"
    assert run_command(["show", "workflow:bills:pay", *engine["server"], "--no-state"]) == 0
    assert "outcome" not in fields_in(capsys.readouterr().out)


LISTED = {
    "workflow:bills:pay": "done",
    "workflow:bills:fail": "done (failed)",
    "workflow:bills:wait": "done (cancelled)",
    "pool:pictures:good": "done",
    "pool:pictures:bad": "parked (retries_exhausted)",
}


@pytest.mark.usefixtures("answers")
def test_a_list_tells_the_ends_apart(engine: dict[str, list[str]], capsys: Out) -> None:
    capsys.readouterr()
    assert run_command(["list", *engine["server"]]) == 0
    lines = capsys.readouterr().out.splitlines()
    for address, status in LISTED.items():
        (line,) = (line for line in lines if line.startswith(f"{address} "))
        assert line.split("  ", 1)[1].strip().startswith(f"{status} ") or line.strip().endswith(status), line


def test_a_store_at_rest_shows_the_same_with_its_app(tmp_path: Path, capsys: Out) -> None:
    with serving(tmp_path / "jobs.db", APP) as named:
        assert run_command(["start", "workflow:bills:pay", '"pay"', *named["server"]]) == 0
        assert run_command(["start", "workflow:bills:fail", '"fail"', *named["server"]]) == 3
        assert run_command(["put", "pool:pictures:bad", '"bad"', *named["server"]]) == 0
        assert run_command(["wait", "pool:pictures:bad", "--until", "parked", *named["server"]]) == 0
    at_rest = ["--store", f"sqlite:///{tmp_path / 'jobs.db'}"]
    capsys.readouterr()
    assert run_command(["list", *at_rest]) == 0
    listed = capsys.readouterr().out
    assert "parked (retries_exhausted)" in listed
    assert "done (failed)" in listed
    assert run_command(["show", "workflow:bills:pay", *at_rest, "--app", "test_outcomes:APP"]) == 0
    shown = capsys.readouterr().out
    assert fields_in(shown)["outcome"] == '{"number":7,"card":"<secret>"}'
    assert CARD not in shown
    assert run_command(["show", "workflow:bills:pay", *at_rest]) == 0
    assert "outcome" not in fields_in(capsys.readouterr().out)


def test_a_command_waits_for_the_end_of_its_work(engine: dict[str, list[str]], capsys: Out) -> None:
    named = engine["server"]
    for words, code, status, outcome in (
        (["start", "workflow:bills:w-1", '"pay"'], 0, "done", '{"number":7,"card":"<secret>"}'),
        (["start", "workflow:bills:w-2", '"fail"'], 3, "done (failed)", ""),
        (["put", "pool:pictures:w-1", '"good"'], 0, "done", '{"number":4,"card":"<secret>"}'),
        (["put", "pool:pictures:w-2", '"bad"'], 3, "parked (retries_exhausted)", ""),
        (["call", "workflow:bills:w-1", "start", '"pay"'], 0, "done", '{"number":7,"card":"<secret>"}'),
    ):
        assert run_command([*words, "--wait", "1 minute", *named]) == code
        printed = fields_in(capsys.readouterr().out)
        assert (printed["status"], printed.get("outcome", "")) == (status, outcome)
        assert ("error" in printed) == (code == 3)
    assert run_command(["start", "workflow:bills:w-3", '"wait"', "--wait", "1 ms", *named, "--json"]) == 1
    (late,) = json_of(capsys.readouterr().out)
    assert (late["form"], late["answer"]["created"], "outcome" in late) == ("not_reached", True, False)
    assert run_command(["signal", "workflow:bills:w-3", "approval", '"yes"', *named]) == 0
    capsys.readouterr()
    assert run_command(["start", "workflow:bills:w-3", '"wait"', "--wait", "1 minute", *named, "--json"]) == 0
    assert json_of(capsys.readouterr().out)[0]["outcome"]["form"] == "done"


def test_a_command_prints_the_reply_to_an_update(engine: dict[str, list[str]], capsys: Out) -> None:
    named = engine["server"]
    assert run_command(["start", "workflow:bills:u-1", '"ask"', *named]) == 0
    capsys.readouterr()
    for _ in range(2):
        assert run_command(["update", "workflow:bills:u-1", "priced", '"tea"', "--key", "1", *named]) == 0
        assert fields_in(capsys.readouterr().out) == {"done": "3"}
    assert run_command(["update", "workflow:bills:u-1", "priced", '"tea"', "--key", "2", "--json", *named]) == 3
    assert json_of(capsys.readouterr().out) == [{"form": "unanswered"}]


def test_a_command_waits_for_a_value_that_a_workflow_publishes(engine: dict[str, list[str]], capsys: Out) -> None:
    named = engine["server"]
    assert run_command(["start", "workflow:bills:n-1", '"note"', *named]) == 0
    capsys.readouterr()
    wanted = ["published", "workflow:bills:n-1", "noted", *named]
    assert run_command(wanted) == 1
    assert fields_in(capsys.readouterr().out) == {"waiting": ""}
    assert run_command(["signal", "workflow:bills:n-1", "approval", '"tea"', *named]) == 0
    capsys.readouterr()
    assert run_command([*wanted, "--wait", "1 minute"]) == 0
    assert fields_in(capsys.readouterr().out) == {"published": '"tea"'}
    assert run_command([*wanted, "--json"]) == 0
    assert json_of(capsys.readouterr().out) == [{"form": "published", "value": "tea"}]


def test_a_command_follows_a_stream_until_its_instance_has_ended(tmp_path: Path, capsys: Out) -> None:
    with serving(tmp_path / "jobs.db", App(None).with_jobs(talker)) as named:
        for options in (named["server"], named["store"]):
            wanted = ["tail", f"workflow:talker:{options[0]}", "words", *options]
            assert run_command([*wanted, "--no-follow"]) == 3
            assert "there is no instance" in capsys.readouterr().err
            assert run_command(["start", wanted[1], "3", *options]) == 0
            capsys.readouterr()
            assert run_command(wanted) == 0
            lines = [f'{n}  {n} emit words  "w{n}"' for n in range(3)]
            assert capsys.readouterr().out.splitlines() == lines
            for follow in ("--follow", "--no-follow"):
                assert run_command([*wanted, "--after", "1", "--json", follow]) == 0
                chunk = {"form": "chunk", "offset": 2, "step": "2 emit words", "value": "w2"}
                assert json_of(capsys.readouterr().out) == [chunk]
        many = ["workflow:talker:many", "words", *named["server"]]
        assert run_command(["start", many[0], "9", *named["server"]]) == 0
        capsys.readouterr()
        assert run_command(["tail", *many]) == 0
        assert capsys.readouterr().out.splitlines()[0] == "2  (3 older items are dropped)"
        assert run_command(["tail", *many, "--json"]) == 0
        assert json_of(capsys.readouterr().out)[0] == {"form": "dropped", "offset": 2, "count": 3}
