"""A hook that the engine could not call, or whose answer it could not use, is refused where it is defined."""

from collections.abc import Generator
from functools import partial, wraps
from typing import Annotated, Any, Never

import pytest
from returns.future import future_safe
from returns.io import IOResult, impure_safe
from returns.result import Result, Success, safe

from perdure import Backoff, Continuous, Debounce, Program, Retry, Task, every
from perdure.jobs.context import Decision
from perdure.jobs.hooks import error_of, hook, value_of
from perdure.programs import Do, program, succeed
from perdure.values.errors import DefinitionError


def fine(ctx) -> Program[None]:
    return succeed(None)


def fine_with_event(ctx, event) -> Program[None]:
    return succeed(None)


async def coroutine(ctx): ...


async def stream(ctx):
    yield 1


def bare(ctx):
    yield from succeed(None)


def too_few(): ...


def too_many(ctx, event, more): ...


def keyword(ctx, *, mailer): ...


@program
def wrapped_too_few() -> Do[None]:
    yield from succeed(None)


@program
def one(ctx) -> Do[None]:
    yield from succeed(None)


@impure_safe
def impure(ctx, event, more): ...


@safe
def pure(): ...


class Called:
    async def __call__(self, ctx): ...

    def wrong(self): ...

    @program
    def wrong_program(self) -> Do[None]:
        yield from succeed(None)


REFUSED: dict[str, tuple[object, str]] = {
    "async def": (coroutine, "async def coroutine(ctx)"),
    "async generator": (stream, "@effect"),
    "generator": (bare, "@program"),
    "too few": (too_few, "too many positional arguments"),
    "too many": (too_many, "missing a required argument: 'event'"),
    "keyword": (keyword, "missing a required"),
    "program": (wrapped_too_few, "too many positional arguments"),
    "impure_safe": (impure, "missing a required argument"),
    "safe": (pure, "too many positional arguments"),
    "lambda": (lambda: succeed(None), "too many positional arguments"),
    "partial": (partial(coroutine), "async def"),
    "partial of too many": (partial(too_many, 1), "missing a required argument: 'more'"),
    "object": (Called(), "async def"),
    "method": (Called().wrong, "too many positional arguments"),
    "program as a method": (Called().wrong_program, "too many positional arguments"),
    "no function": (3, "a function of (ctx)"),
    "called program": (one(None), "pass the function itself"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_wrong_hook_is_refused_by_job_and_hook(name):
    given, says = REFUSED[name]
    with pytest.raises(DefinitionError) as refused:
        Continuous("nightly", state=int, schedule=every("1 day"), execute=given)  # type: ignore[arg-type]
    assert "execute of continuous:nightly" in str(refused.value)
    assert says in str(refused.value)
    assert " at 0x" not in str(refused.value)


async def async_event(ctx, event): ...


HOOKS: dict[str, dict[str, object]] = {
    "on_event": {"on_event": fine},
    "decide": {"on_event": None, "decide": async_event},
    "execute": {"execute": fine_with_event},
    "on_idle": {"on_idle": fine_with_event},
    "on_error": {"on_error": fine},
    "initial": {"initial": lambda: 1},
}


@pytest.mark.parametrize("name", HOOKS)
def test_every_hook_of_a_task_is_inspected(name):
    given: dict[str, Any] = {"on_event": fine_with_event, "initial": 1} | HOOKS[name]
    with pytest.raises(DefinitionError, match=f"{name} of task:order"):
        Task("order", state=int, event=int, **given)


@pytest.mark.parametrize("name", ["on_event", "execute"])
def test_every_hook_of_a_debounce_is_inspected(name):
    given: dict[str, Any] = {"on_event": fine_with_event, "execute": fine} | {name: coroutine}
    with pytest.raises(DefinitionError, match=f"{name} of debounce:mail"):
        Debounce("mail", event=int, flush_after="1 s", **given)


def test_a_retry_does_not_call_a_coroutine():
    async def worth_it(error): ...

    with pytest.raises(DefinitionError, match="retry_if"):
        Retry(3, Backoff.constant("1 s"), retry_if=worth_it)  # type: ignore[arg-type]


# ---------------------------------------------------------------- what works as before
def with_mailer(function):
    @wraps(function)
    def passing(*args):
        return function(*args, "mailer")

    return passing


@with_mailer
def injected(ctx, mailer): ...


class Works:
    def __call__(self, ctx) -> Program[None]:
        return succeed(None)

    def method(self, ctx) -> Program[None]:
        return succeed(None)

    @program
    def steps(self, ctx) -> Do[None]:
        yield from succeed(None)

    @classmethod
    def of_class(cls, ctx) -> Program[None]:
        return succeed(None)

    @staticmethod
    def static(ctx) -> Program[None]:
        return succeed(None)


def with_more(more, ctx) -> Program[None]:
    return succeed(None)


@future_safe
async def later(ctx) -> None: ...


def optional(ctx, more=1, *rest, **others) -> IOResult[None, str]:
    return IOResult.from_value(None)


WORKING = [
    *(fine, one, injected, later, optional, lambda ctx: succeed(None), lambda *args: succeed(None)),
    *(Works(), Works().method, Works().steps, Works().of_class, Works.static, Works.of_class),
    *(partial(with_more, 1), partial(lambda ctx, more: succeed(None), more=1), partial(one), partial(Works().method)),
]


@pytest.mark.parametrize("given", WORKING, ids=range(len(WORKING)))
def test_whatever_can_be_called_is_accepted(given):
    assert callable(hook(given, what="execute of task:order"))


def test_a_decider_may_be_any_callable():
    def decide(state: int, event: int) -> Result[Decision[int], str]:
        return Success(Decision(state + event))

    for given in (decide, partial(decide), lambda state, event: decide(state, event)):  # noqa: PLW0108 - a lambda, too
        Task("order", state=int, event=int, initial=0, decide=given)


FORMS: list[tuple[Any, Any, Any]] = [
    (Program[int, str], int, str),
    (Do[int, str], int, str),
    (Do[int], int, Never),
    (Generator[Any, Any, int], int, Any),
    (Annotated[Result[int, str], "a note"], int, str),
    (Result[int, str] | Result[bytes, bool], int | bytes, str | bool),
    (Result[int, Any] | Result[bytes, bool], int | bytes, Any),
    (Result[Any, str] | Result[bytes, bool], Any, str | bool),
    (int, Any, Any),
]


@pytest.mark.parametrize(("form", "value", "error"), FORMS, ids=[str(form) for form, *_ in FORMS])
def test_the_types_of_a_value_and_of_an_error_are_read_from_an_annotation(form, value, error):
    def hooked(): ...

    hooked.__annotations__["return"] = form
    assert (value_of(hooked), error_of(hooked)) == (value, error)
