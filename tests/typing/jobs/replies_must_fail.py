"""Mistakes with replies that type checkers must see."""

from __future__ import annotations

from perdure import Client, Do, Reply, Task, TaskContext, Workflow, WorkflowContext, program

total = Reply("total", int)
total.send("text")  # error: mypy, pyright


@program
def draw(ctx: TaskContext[int], cents: int) -> Do[None]:
    yield from total.send(cents)


accounts = Task("accounts", state=int, event=int, initial=0, on_event=draw, replies=(total,))
wrong = Task("wrong", state=int, event=int, initial=0, on_event=draw, replies=("total",))  # error: mypy, pyright


@program
def undeclared(ctx: WorkflowContext[int]) -> Do[int]:
    return (yield from accounts.ask("ann", 30, total))  # error: mypy, pyright


flow = Workflow("flow", state=int, run=undeclared)


async def calls(jobs: Client) -> str:
    account = jobs.handle(accounts)
    account.ask("ann", "text", total)  # error: mypy, pyright
    account.ask("ann", 30, "total")  # error: mypy, pyright
    return await account.ask("ann", 30, total)  # error: mypy, pyright
