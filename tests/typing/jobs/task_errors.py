"""The errors of a task are those of all its hooks, whichever they are; `retry_if` sees those of `execute` alone."""

from __future__ import annotations

from typing import Never, Protocol, assert_type

import attrs
from returns.result import Result

from perdure import Backoff, Decision, Program, Retry, Task, TaskContext, TaskErrorContext
from perdure.values.status import Defect


@attrs.frozen
class A:
    a: int


@attrs.frozen
class B:
    b: int


@attrs.frozen
class C:
    c: int


class Has(Protocol):
    @property
    def service(self) -> int: ...


def event_a(ctx: TaskContext[int], event: str) -> Program[None, A, Has]:
    raise NotImplementedError


def event_never(ctx: TaskContext[int], event: str) -> Program[None]:
    raise NotImplementedError


def decide_a(state: int, event: str) -> Result[Decision[int], A]:
    raise NotImplementedError


def run_b(ctx: TaskContext[int]) -> Program[None, B, Has]:
    raise NotImplementedError


def run_never(ctx: TaskContext[int]) -> Program[None]:
    raise NotImplementedError


def idle_c(ctx: TaskContext[int]) -> Program[None, C, Has]:
    raise NotImplementedError


def error_a(ctx: TaskErrorContext[int, str], error: A | B | Defect) -> Program[None, A, Has]:
    raise NotImplementedError


def error_c(ctx: TaskErrorContext[int, str], error: A | B | Defect) -> Program[None, C, Has]:
    raise NotImplementedError


def error_never(ctx: TaskErrorContext[int, str], error: object) -> Program[None]:
    raise NotImplementedError


def if_b(error: B) -> bool:
    raise NotImplementedError


def if_ab(error: A | B) -> bool:
    raise NotImplementedError


def if_any(error: object) -> bool:
    raise NotImplementedError


every = Retry(3, Backoff.constant("1 s"))
of_b = Retry(3, Backoff.constant("1 s"), retry_if=if_b)
of_ab = Retry(3, Backoff.constant("1 s"), retry_if=if_ab)
of_any = Retry(3, Backoff.constant("1 s"), retry_if=if_any)

assert_type(Task("job", state=int, event=str, initial=0, on_event=event_a), Task[int, str, A, Has])
assert_type(Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b), Task[int, str, A | B, Has])
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_a,
        execute=run_b,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_a),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_a, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_a, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_a, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_a, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_a,
        execute=run_b,
        on_error=error_a,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_c),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_c, retry=every),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_c, retry=of_b),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_c, retry=of_ab),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_c, retry=of_any),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_a,
        execute=run_b,
        on_error=error_c,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_never),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_never, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_never, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_never, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_error=error_never, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_a,
        execute=run_b,
        on_error=error_never,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_idle=idle_c),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_idle=idle_c, retry=every),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_idle=idle_c, retry=of_b),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_idle=idle_c, retry=of_ab),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_b, on_idle=idle_c, retry=of_any),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_a,
        execute=run_b,
        on_idle=idle_c,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B | C, Has],
)
assert_type(Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_never), Task[int, str, A, Has])
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_never, retry=every),
    Task[int, str, A, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_a, execute=run_never, on_error=error_never),
    Task[int, str, A, Has],
)
assert_type(
    Task(
        "job", state=int, event=str, initial=0, on_event=event_a, execute=run_never, on_error=error_never, retry=every
    ),
    Task[int, str, A, Has],
)
assert_type(Task("job", state=int, event=str, initial=0, on_event=event_never), Task[int, str, Never, object])
assert_type(Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b), Task[int, str, B, Has])
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, retry=every),
    Task[int, str, B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, retry=of_b),
    Task[int, str, B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, retry=of_ab),
    Task[int, str, B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, retry=of_any),
    Task[int, str, B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_never,
        execute=run_b,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_a),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_a, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_a, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_a, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_a, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_never,
        execute=run_b,
        on_error=error_a,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_c),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_c, retry=every),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_c, retry=of_b),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_c, retry=of_ab),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_error=error_c, retry=of_any),
    Task[int, str, B | C, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_never,
        execute=run_b,
        on_error=error_c,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_idle=idle_c),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_idle=idle_c, retry=every),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_idle=idle_c, retry=of_b),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_idle=idle_c, retry=of_ab),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_b, on_idle=idle_c, retry=of_any),
    Task[int, str, B | C, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        on_event=event_never,
        execute=run_b,
        on_idle=idle_c,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_never), Task[int, str, Never, object]
)
assert_type(
    Task("job", state=int, event=str, initial=0, on_event=event_never, execute=run_never, retry=every),
    Task[int, str, Never, object],
)
assert_type(Task("job", state=int, event=str, initial=0, decide=decide_a), Task[int, str, A, object])
assert_type(Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b), Task[int, str, A | B, Has])
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, retry=of_b), Task[int, str, A | B, Has]
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        decide=decide_a,
        execute=run_b,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_a),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_a, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_a, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_a, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_a, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        decide=decide_a,
        execute=run_b,
        on_error=error_a,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_c),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_c, retry=every),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_c, retry=of_b),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_c, retry=of_ab),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_c, retry=of_any),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        decide=decide_a,
        execute=run_b,
        on_error=error_c,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B | C, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_never),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_never, retry=every),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_never, retry=of_b),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_never, retry=of_ab),
    Task[int, str, A | B, Has],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_b, on_error=error_never, retry=of_any),
    Task[int, str, A | B, Has],
)
assert_type(
    Task(
        "job",
        state=int,
        event=str,
        initial=0,
        decide=decide_a,
        execute=run_b,
        on_error=error_never,
        retry=Retry(3, Backoff.constant("1 s"), retry_if=if_ab),
    ),
    Task[int, str, A | B, Has],
)
assert_type(Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_never), Task[int, str, A, object])
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_never, retry=every),
    Task[int, str, A, object],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_never, on_error=error_never),
    Task[int, str, A, object],
)
assert_type(
    Task("job", state=int, event=str, initial=0, decide=decide_a, execute=run_never, on_error=error_never, retry=every),
    Task[int, str, A, object],
)
