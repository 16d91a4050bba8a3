"""The inferred types of a task's replies, for a caller and for a workflow."""

from __future__ import annotations

from typing import assert_type

from attrs import frozen

from perdure import Client, Defect, Do, Program, Reply, Task, TaskContext, Workflow, WorkflowContext, fail, program
from perdure.jobs.call import Call
from perdure.jobs.definition import EventError
from perdure.values.status_wait import NotReplied


@frozen
class Short:
    total: int


@frozen
class Receipt:
    total: int


receipt = Reply("receipt", Receipt)
total = Reply("total", int | None)
assert_type(receipt, Reply[Receipt])
assert_type(total, Reply[int | None])
assert_type(receipt.send(Receipt(1)), Program[None])


@program
def draw(ctx: TaskContext[int], cents: int) -> Do[None, Short]:
    if cents > (yield from ctx.state):
        yield from fail(Short(1))
    yield from receipt.send(Receipt(1))
    yield from total.send(None)


accounts = Task("accounts", state=int, event=int, initial=0, on_event=draw, replies=(receipt, total))
assert_type(accounts, Task[int, int, Short])


@program
def buy(ctx: WorkflowContext[int]) -> Do[int, Short | Defect]:
    found = yield from accounts.ask("ann", 30, receipt)
    assert_type(found, Receipt)
    assert_type((yield from accounts.ask("ann", 30, total)), int | None)
    return found.total


purchases = Workflow("purchases", state=int, run=buy)


def calls(jobs: Client) -> None:
    account = jobs.handle(accounts)
    assert_type(account.ask("ann", 30, receipt), Call[Receipt, EventError[Short] | NotReplied])
    assert_type(account.ask("ann", 30, total), Call[int | None, EventError[Short] | NotReplied])
