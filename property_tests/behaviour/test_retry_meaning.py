"""`retry` has one meaning in each kind that has it: a typed error and a defect are both retried, up to its attempts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from returns.result import Failure, Result, Success

from perdure import (
    App,
    Backoff,
    Continuous,
    Debounce,
    Limits,
    Program,
    Retry,
    Task,
    WorkerPool,
    Workflow,
    effect,
    every,
)
from perdure.testing import World


@attrs.frozen
class Refused:
    word: str


@attrs.define
class Outside:
    """Fails some times, and counts its calls."""

    failures: int
    how: Literal["typed error", "defect"]
    calls: int = 0

    def act(self) -> Result[int, Refused]:
        self.calls += 1
        if self.calls > self.failures:
            return Success(1)
        if self.how == "defect":
            raise RuntimeError("no")
        return Failure(Refused("no"))


@effect
def act(services: Outside) -> Result[int, Refused]:
    return services.act()


def run(_: object) -> Program[int, Refused, Outside]:
    return act()


def ignore(ctx: Any, _: str) -> Program[None]:
    done: Program[None] = ctx.set_state(1)
    return done


def continuous(retry: Retry[Any]) -> Any:
    return Continuous("job", state=int, schedule=every("30 days"), execute=run, retry=retry)


def debounce(retry: Retry[Any]) -> Any:
    return Debounce("job", event=str, flush_after="30 days", execute=run, retry=retry)


def task(retry: Retry[Any]) -> Any:
    return Task("job", state=int, event=str, initial=0, on_event=ignore, execute=run, retry=retry)


def pool(retry: Retry[Any]) -> Any:
    return WorkerPool("job", item=str, work=run, retry=retry)


def workflow(retry: Retry[Any]) -> Any:
    return Workflow("job", state=int, run=run, retry_defects=retry)


def run_task(world: World, job: Any) -> None:
    world.run(world.handle(job).send("a", "x"))
    world.run(world.handle(job).trigger("a"))


def run_debounce(world: World, job: Any) -> None:
    world.run(world.handle(job).add("a", "x"))
    world.run(world.handle(job).flush("a"))


KINDS: dict[str, tuple[Callable[[Retry[Any]], Any], Callable[[World, Any], object]]] = {
    "continuous": (continuous, lambda world, job: world.run(world.handle(job).start("a", 0))),
    "debounce": (debounce, run_debounce),
    "task": (task, run_task),
    "worker pool": (pool, lambda world, job: world.run(world.handle(job).put("a", "x"))),
    "workflow": (workflow, lambda world, job: world.run(world.handle(job).start("a", 0))),
}


@pytest.mark.parametrize("kind", KINDS)
@given(failures=st.integers(0, 3), max_attempts=st.integers(1, 3), how=st.sampled_from(["typed error", "defect"]))
def test_a_failed_attempt_is_repeated_as_the_parameter_of_the_kind_says(
    kind: str, failures: int, max_attempts: int, how: Literal["typed error", "defect"]
) -> None:
    made, runs = KINDS[kind]
    job = made(Retry(max_attempts=max_attempts, delay=Backoff.constant("1 second")))
    outside = Outside(failures, how)
    with World(App(outside, limits=Limits()).with_jobs(job)) as world:
        runs(world, job)
        world.advance("1 hour")
    repeats = kind != "workflow" or how == "defect"
    assert outside.calls == (min(failures + 1, max_attempts) if repeats else 1)


def test_a_workflow_has_no_parameter_of_the_other_meaning() -> None:
    unchecked: Any = Workflow
    with pytest.raises(TypeError, match="retry"):
        unchecked("job", state=int, run=run, retry=Retry(3, Backoff.constant("1 second")))
