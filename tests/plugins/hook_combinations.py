"""Every pair of hooks and options of each kind, as one file for the type checkers, with the type that they must infer.

A job's errors are those of its hooks, and its services those that any hook needs, whatever other options are there.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import TypeAlias

import attrs

HEADER = """
from typing import Protocol

import attrs
from returns.result import Result

from perdure import (
    Backoff, Continuous, ContinuousContext, Debounce, DebounceContext, Decision, ItemContext, Program, Retry, Signal,
    Task, TaskContext, TaskErrorContext, WorkerPool, Workflow, WorkflowContext, every,
)


@attrs.frozen
class A: ...
@attrs.frozen
class B: ...
@attrs.frozen
class C: ...


class Has(Protocol):
    @property
    def service(self) -> int: ...


def if_b(error: B) -> bool: raise NotImplementedError
def if_any(error: object) -> bool: raise NotImplementedError
def key(item: int) -> str: raise NotImplementedError


always = Retry(3, Backoff.constant("1 s"))
of_b = Retry(3, Backoff.constant("1 s"), retry_if=if_b)
of_any = Retry(3, Backoff.constant("1 s"), retry_if=if_any)
go = Signal("go", int)

def task_event_a(ctx: TaskContext[int], event: str) -> Program[None, A, Has]: raise NotImplementedError
def task_event(ctx: TaskContext[int], event: str) -> Program[None]: raise NotImplementedError
def decide_a(state: int, event: str) -> Result[Decision[int], A]: raise NotImplementedError
def task_run_b(ctx: TaskContext[int]) -> Program[None, B, Has]: raise NotImplementedError
def task_run(ctx: TaskContext[int]) -> Program[None]: raise NotImplementedError
def task_error_c(ctx: TaskErrorContext[int, str], error: object) -> Program[None, C, Has]: raise NotImplementedError
def debounce_event_a(ctx: DebounceContext[int], event: str) -> Program[None, A, Has]: raise NotImplementedError
def debounce_event(ctx: DebounceContext[int], event: str) -> Program[None]: raise NotImplementedError
def flush_b(ctx: DebounceContext[int]) -> Program[None, B, Has]: raise NotImplementedError
def flush(ctx: DebounceContext[int]) -> Program[None]: raise NotImplementedError
def text_a(ctx: DebounceContext[str], event: str) -> Program[None, A, Has]: raise NotImplementedError
def text_b(ctx: DebounceContext[str]) -> Program[None, B, Has]: raise NotImplementedError
def tick_b(ctx: ContinuousContext[int]) -> Program[None, B, Has]: raise NotImplementedError
def tick(ctx: ContinuousContext[int]) -> Program[None]: raise NotImplementedError
def work_b(ctx: ItemContext[int]) -> Program[str, B, Has]: raise NotImplementedError
def work(ctx: ItemContext[int]) -> Program[str]: raise NotImplementedError
def item_error_a(ctx: ItemContext[int], error: object) -> Program[None, A, Has]: raise NotImplementedError
def item_error(ctx: ItemContext[int], error: object) -> Program[None]: raise NotImplementedError
def flow_b(ctx: WorkflowContext[int]) -> Program[str, B, Has]: raise NotImplementedError
def flow(ctx: WorkflowContext[int]) -> Program[str]: raise NotImplementedError


"""


@attrs.frozen
class Choice:
    """One argument.

    Attributes:
        text: as it is written.
        error: the error of a hook.
    """

    text: str
    error: str = ""

    @property
    def needs_service(self) -> bool:
        """Return whether it is a hook that calls a service."""
        return bool(self.error) and not self.text.startswith("decide")


Options: TypeAlias = dict[str, tuple[Choice, ...]]
"""The alternatives of each parameter."""


@attrs.frozen
class Kind:
    """The constructor of a kind.

    Attributes:
        call: its class and the arguments of each call.
        types: the first type arguments of the result.
        hooks: the parameters that each call has.
        options: the further parameters, of which each call has two at most.
        requires: a hook that an option needs, which each call with the option has besides.
    """

    call: str
    types: str
    hooks: tuple[tuple[Choice, ...], ...]
    options: Options
    requires: dict[str, Choice] = attrs.Factory(dict[str, Choice])

    def calls(self) -> Iterator[tuple[str, str]]:
        """Yield each call and the type that it must have."""
        for count in range(3):
            for names in combinations(self.options, count):
                for chosen in product(*self.hooks, *(self.options[name] for name in names)):
                    needed = [self.requires[name] for name in names if name in self.requires and "execute" not in names]
                    yield self._call([*chosen, *needed[:1]])

    def _call(self, choices: list[Choice]) -> tuple[str, str]:
        errors = " | ".join(sorted({each.error for each in choices} - {""})) or "Never"
        services = "Has" if any(each.needs_service for each in choices) else "object"
        name = self.call.partition("(")[0]
        return (
            f"{self.call}, {', '.join(each.text for each in choices)})",
            f"{name}[{self.types}, {errors}, {services}]",
        )


def _of(*texts: str) -> tuple[Choice, ...]:
    """Return arguments; the last letter of a hook's name is its error."""
    found = (text.rpartition("_")[2].upper() for text in texts)
    is_hook = ("=" in text and text.split("=")[0] in _HOOKS for text in texts)
    return tuple(
        Choice(text, error if hook and error in {"A", "B", "C"} else "")
        for text, error, hook in zip(texts, found, is_hook, strict=True)
    )


_HOOKS = {"on_event", "decide", "execute", "on_idle", "on_error", "work", "run"}
_COMMON: Options = {
    "tags": _of("tags={}"),
    "run_timeout": _of('run_timeout="1 s"'),
    "runs": _of("runs=2"),
    "state_in_events": _of("state_in_events=True"),
}
_RETRY = _of("retry=always", "retry=of_b", "retry=of_any")

KINDS = (
    Kind(
        'Task("job", state=int, event=str, initial=0',
        "int, str",
        (_of("on_event=task_event_a", "on_event=task_event", "decide=decide_a"),),
        {
            "execute": _of("execute=task_run_b", "execute=task_run"),
            "on_idle": _of("on_idle=task_run_b", "on_idle=task_run"),
            "on_error": _of("on_error=task_error_c"),
            "retry": _RETRY,
            **_COMMON,
        },
        {"retry": _of("execute=task_run_b")[0], "on_error": _of("execute=task_run_b")[0]},
    ),
    Kind(
        'Debounce("job", event=str, state=int, initial=0, flush_after="1 s"',
        "int, str",
        (_of("on_event=debounce_event_a", "on_event=debounce_event"), _of("execute=flush_b", "execute=flush")),
        {
            "retry": _RETRY,
            "inactivity": _of('inactivity="1 s"'),
            "max_events": _of("max_events=2"),
            **_COMMON,
        },
    ),
    Kind(
        'Debounce("job", event=str, flush_after="1 s"',
        "str, str",
        (_of("execute=text_b"),),
        {"on_event": _of("on_event=text_a"), "retry": _RETRY, "max_events": _of("max_events=2"), **_COMMON},
    ),
    Kind(
        'Continuous("job", state=int, schedule=every("1 s")',
        "int",
        (_of("execute=tick_b", "execute=tick"),),
        {"start_immediately": _of("start_immediately=False"), "retry": _RETRY, **_COMMON},
    ),
    Kind(
        'WorkerPool("job", item=int',
        "int, str",
        (_of("work=work_b", "work=work"),),
        {
            "on_error": _of("on_error=item_error_a", "on_error=item_error"),
            "retry": _RETRY,
            "key": _of("key=key"),
            "rate": _of('rate=(2, "1 s")'),
            "keep": _of("keep=None"),
            "result": _of("result=str"),
            "tags": _COMMON["tags"],
            "run_timeout": _COMMON["run_timeout"],
        },
    ),
    Kind(
        'Workflow("job", state=int',
        "int, str",
        (_of("run=flow_b", "run=flow"),),
        {
            "signals": _of("signals=(go,)"),
            "retry_defects": _of("retry_defects=always"),
            "keep": _of("keep=None"),
            "result": _of("result=str"),
            **_COMMON,
        },
    ),
)
