"""Mistakes with workflows that type checkers must see."""

from __future__ import annotations

from perdure import App, Client, Do, Workflow, WorkflowContext, program, tell
from perdure.examples.fulfilment import Approval, Purchase, approval, fulfilment
from perdure.values.answer import Done, WasCancelled
from perdure.values.outcome import Failed
from perdure.values.status import Defect


def calls(jobs: Client) -> None:
    flow = jobs.handle(fulfilment)
    flow.signal("1", approval, "ann")  # error: mypy, pyright
    flow.start("1", Approval("ann"))  # error: mypy, pyright
    flow.cancel("1", 7)  # error: mypy, pyright
    flow.start_and_wait("1", Approval("ann"))  # error: mypy, pyright
    flow.start_and_wait("1", Purchase("a", "b", 1)).map(shown)  # error: mypy, pyright
    flow.outcome("1").map(shown)  # error: mypy, pyright
    tell(fulfilment, "1").signal(approval, 7)  # error: mypy, pyright


def shown(outcome: Done[int] | Failed[Defect] | WasCancelled | None) -> str:
    return str(outcome)


@program
def undeclared(ctx: WorkflowContext[int]) -> Do[int]:
    yield from fulfilment.call("child", Purchase("a", "b", 1))  # error: mypy, pyright
    return 1


@program
def wrong_state(ctx: WorkflowContext[int]) -> Do[int]:
    yield from ctx.set_state("text")  # error: mypy, pyright
    yield from ctx.start_over("text")  # error: mypy, pyright
    return 1


wrong = Workflow("wrong", state=str, run=wrong_state)  # error: mypy, pyright


class Nothing: ...


App(Nothing()).with_jobs(fulfilment)  # error: mypy, pyright
