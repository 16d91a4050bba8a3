"""The tools for workflows: their steps on every surface, the check before a deploy."""

from __future__ import annotations

import json
from pathlib import Path

import flow_apps
import pytest
from engine_thread import engine_served
from flows import Approval, Order, Shop, approval, fulfilment

from perdure import App, Defect, Do, Workflow, WorkflowContext, fail, program, step
from perdure.cli.commands import run_command
from perdure.programs import gather, sleep
from perdure.testing import World
from perdure.testing.journal import recorded_journals, replay_journal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with two workflows: one waits for its approval, the other sleeps."""
    path = tmp_path / "jobs.db"
    with World(App(Shop()).with_jobs(fulfilment), store=path) as world:
        flow = world.handle(fulfilment)
        for id_ in ("waits", "sleeps"):
            world.run(flow.start(id_, Order("book", 100)))
        world.settle()
        world.run(flow.signal("sleeps", approval, Approval("ann")))
        world.settle()
        world.close()
    return path


def test_a_handle_lists_steps_in_the_order_of_their_ends() -> None:
    with World(App(Shop()).with_jobs(fulfilment)) as world:
        flow = world.handle(fulfilment)
        assert world.run(flow.steps("o")) == ()
        world.run(flow.start("o", Order("book", 100)))
        world.settle()
        listed = world.run(flow.steps("o"))
        assert [(step.name, step.status, step.attempts) for step in listed if step.status == "done"] == [
            ("charge", "done", 1),
            ("reserve", "done", 1),
        ]
        assert [step.name for step in listed if step.status == "waiting"][:1] == ["signal approval"]
        assert world.run(world.jobs.handle_by_name("workflow", "fulfilment").steps("o")) == listed


def test_the_command_shows_the_steps_of_a_store_at_rest(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", f"sqlite:///{path}", "--app", "flow_apps:old"]
    assert run_command(["steps", "workflow:fulfilment:sleeps", *store, "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [step["name"] for step in listed][:3] == ["charge", "reserve", "signal approval"]
    assert run_command(["steps", "workflow:fulfilment:sleeps", *store]) == 0
    assert "charge" in capsys.readouterr().out
    assert run_command(["steps", "workflow:fulfilment:absent", *store]) == 3
    assert run_command(["steps", "workflow:fulfilment:sleeps", "--store", f"sqlite:///{path}"]) == 2
    assert "--app" in capsys.readouterr().err


def test_check_names_the_workflows_that_would_diverge_and_why(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the deploy, without services: exit code 1, the step and the line of the program."""
    store = f"sqlite:///{path}"
    assert run_command(["check", "flow_apps:old", "--store", store]) == 0
    capsys.readouterr()
    assert run_command(["check", "flow_apps:reordered", "--store", store, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (group,) = [one for one in report["groups"] if one["matters"] == "problem"]
    assert (group["topic"], group["count"]) == ("diverges", 2)
    assert "the journal holds 'charge', and the program performs 'reserve'" in group["reason"]
    assert "flow_apps.py" in group["reason"]
    assert {example["of"] for example in group["examples"]} == {"waits", "sleeps"}
    assert run_command(["check", "flow_apps:longer", "--store", store]) == 0


def test_a_diverged_workflow_is_left_until_code_that_can_follow_it_starts(path: Path) -> None:
    """A start with the wrong code changes nothing: no event, no version."""
    with World(flow_apps.reordered, store=path) as world:
        world.advance("3 days")
        world.settle()
        parked = world.instance(fulfilment, "sleeps")
        assert parked is not None
        assert parked.left is not None
        world.close()
        world.open()
        world.settle()
        assert world.instance(fulfilment, "sleeps") == parked
        world.close()
        world.open(flow_apps.old)
        world.advance("1 day")
        assert world.run(world.handle(fulfilment).outcome("sleeps")) is not None


def test_the_commands_signal_cancel_and_show_a_workflow(capsys: pytest.CaptureFixture[str]) -> None:
    with engine_served(App(Shop()).with_jobs(fulfilment)) as url:

        def run(*arguments: str) -> tuple[int, str]:
            code = run_command([*arguments, "--server", url])
            shown = capsys.readouterr()
            return code, shown.out + shown.err

        for id_ in ("approved", "cancelled"):
            assert run("start", f"workflow:fulfilment:{id_}", '{"item": "book", "cents": 49, "stage": "new"}')[0] == 0
        _, shown = run("show", "workflow:fulfilment:approved")
        assert "steps      2 recorded" in shown
        assert "waits for  signal approval" in shown
        assert run("signal", "workflow:fulfilment:approved", "approval", '{"by": "ann"}')[0] == 0
        code, text = run("signal", "workflow:fulfilment:approved", "refusal", "1")
        assert (code, "signal.approval" in text) == (3, True)
        code, _ = run("cancel", "--job", "workflow:fulfilment", "--id-prefix", "cancel", "--reason", "twice", "--yes")
        assert code == 0
        code, text = run("wait", "workflow:fulfilment:cancelled", "--timeout", "1 minute")
        assert (code, text) == (0, "workflow:fulfilment:cancelled is done (cancelled)\n")
        assert "twice" in run("call", "workflow:fulfilment:cancelled", "outcome")[1]
        assert run("signal", "workflow:fulfilment:cancelled", "approval", '{"by": "ann"}')[0] == 3
        assert "start_child" not in run("jobs")[1]


@step
@program
def for_an_hour() -> Do[str]:
    yield from sleep("1 hour")
    return "late"


@program
def slow_run(ctx: WorkflowContext[int]) -> Do[str]:
    return (yield from for_an_hour())


def test_the_command_cancel_interrupts_a_step(capsys: pytest.CaptureFixture[str]) -> None:
    slow = Workflow("slow", state=int, run=slow_run)
    with engine_served(App(None).with_jobs(slow)) as url:

        def run(*arguments: str) -> tuple[int, str]:
            code = run_command([*arguments, "--server", url])
            return code, capsys.readouterr().out

        assert run("start", "workflow:slow:a", "1", "--wait-for", "start")[0] == 0
        assert run("cancel", "workflow:slow:a", "--reason", "enough", "--yes")[0] == 0
        assert run("show", "workflow:slow:a")[0] == 0
        assert run("cancel", "workflow:slow:a", "--interrupt", "--yes")[0] == 0
        assert run("wait", "workflow:slow:a", "--timeout", "1 minute") == (0, "workflow:slow:a is done (cancelled)\n")
        assert "enough" in run("call", "workflow:slow:a", "outcome")[1]


@program
def child_run(ctx: WorkflowContext[str]) -> Do[str, str]:
    item = yield from ctx.state
    yield from sleep({"quick": "1 second", "bad": "2 seconds"}.get(item, "1 hour"))
    return item if item in {"slow", "quick"} else (yield from fail(item))


child = Workflow("child", state=str, run=child_run)


@program
def parent_run(ctx: WorkflowContext[list[str]]) -> Do[str, str | Defect]:
    items = yield from ctx.state
    got = yield from gather(*[child.call(f"{ctx.id}-{item}", item) for item in items])
    return "".join(got)


parent = Workflow("parent", state=list[str], run=parent_run)


def test_a_child_is_one_step_of_its_parent_from_its_start_to_its_end() -> None:
    with World(App(None).with_jobs(child, parent)) as world:
        flow = world.handle(parent)
        world.run(flow.start("p", ["quick", "slow", "bad"]))
        waiting = world.run(flow.steps("p"))
        assert [step.status for step in waiting] == ["waiting"] * 3
        world.advance("3 seconds")
        steps = {step.name: step for step in world.run(flow.steps("p"))}
        assert {name.removeprefix("child child:p-"): step.status for name, step in steps.items()} == {
            "quick": "done",
            "bad": "failed",
            "slow": "left",
        }
        quick, bad = steps["child child:p-quick"], steps["child child:p-bad"]
        assert quick.value == '"quick"'
        assert quick.began_ms is not None
        assert quick.at_ms is not None
        assert quick.at_ms - quick.began_ms >= 1_000  # from the start of the child, not of its answer
        assert bad.error is not None
        assert bad.error.data == '"bad"'


def test_a_snapshot_keeps_the_id_that_the_steps_are_named_after(tmp_path: Path) -> None:
    store, file = tmp_path / "jobs.db", tmp_path / "rows.json"
    with World(App(None).with_jobs(child, parent), store=store) as world:
        world.run(world.handle(parent).start("p-7", ["quick", "slow"]))
        world.advance("5 seconds")
        world.close()
    assert run_command(["snapshot", "--store", f"sqlite:///{store}", "--output", str(file)]) == 0
    (journal,) = recorded_journals(parent, file)
    assert journal.instance.address.id == "p-7"
    *_, last = replay_journal(parent, journal.instance, journal.rows)
    assert [step.name for step in last.waiting] == ["child child:p-7-slow"]
    ids = {each.instance.address.id for each in recorded_journals(child, file)}
    assert ids <= {"1", "2", "3"}
