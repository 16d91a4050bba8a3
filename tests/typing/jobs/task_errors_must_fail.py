"""A `retry_if` or an `on_error` of a task that does not accept the errors that it is called with."""

from __future__ import annotations

import attrs
from returns.result import Result

from perdure import (
    Backoff,
    Debounce,
    DebounceContext,
    Decision,
    ItemContext,
    Program,
    Retry,
    Task,
    TaskContext,
    TaskErrorContext,
    WorkerPool,
)
from perdure.values.status import Defect


@attrs.frozen
class A:
    a: int


@attrs.frozen
class B:
    b: int


def event_a(ctx: TaskContext[int], event: str) -> Program[None, A]:
    raise NotImplementedError


def decide_a(state: int, event: str) -> Result[Decision[int], A]:
    raise NotImplementedError


def run_b(ctx: TaskContext[int]) -> Program[None, B]:
    raise NotImplementedError


def on_a(ctx: TaskErrorContext[int, str], error: A | Defect) -> Program[None]:
    raise NotImplementedError


def if_a(error: A) -> bool:
    raise NotImplementedError


of_a = Retry(3, Backoff.constant("1 s"), retry_if=if_a)
Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, retry=of_a)  # error: mypy, pyright
Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, retry=of_a)  # error: mypy, pyright
Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=on_a)  # error: mypy, pyright


def p(ctx: DebounceContext[int], event: str) -> Program[None, A]:
    raise NotImplementedError


def r(ctx: DebounceContext[int]) -> Program[None, B]:
    raise NotImplementedError


def work_b(ctx: ItemContext[int]) -> Program[str, B]:
    raise NotImplementedError


def dead_of_a(ctx: ItemContext[int], error: A | Defect) -> Program[None]:
    raise NotImplementedError


S = "1 s"
Debounce("d", event=str, state=int, initial=0, flush_after=S, on_event=p, execute=r, retry=of_a)  # error: mypy, pyright
WorkerPool("job", item=int, work=work_b, on_error=dead_of_a)  # error: mypy, pyright
