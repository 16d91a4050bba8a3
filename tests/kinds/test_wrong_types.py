"""Arguments of the wrong type, from callers without a type checker."""

from __future__ import annotations

from typing import Any, cast

import pytest

from perdure import App, Do, Secret, Signal, WorkerPool, Workflow, WorkflowContext, program, saga
from perdure.testing import World
from perdure.values.errors import DefinitionError, InvalidArgument


@program
def same(ctx: WorkflowContext[int]) -> Do[int]:
    return (yield from ctx.state)


def test_one_signal_in_place_of_several_is_refused() -> None:
    one: Any = Signal("go", int)
    with pytest.raises(DefinitionError, match=r"signals of workflow:w: expected a tuple"):
        Workflow("w", state=int, run=same, signals=one)


def test_a_child_with_an_unknown_end_is_refused() -> None:
    child = Workflow("w", state=int, run=same)
    with pytest.raises(DefinitionError, match=r"when_cancelled .* expected 'cancel' or 'leave'; got 'kill'"):
        child.call("a", 1, when_cancelled=cast("Any", "kill"))


def test_asynchronous_work_is_named_before_its_annotation() -> None:
    async def work(ctx: object) -> int:
        return 1

    with pytest.raises(DefinitionError, match=r"work of pool:p: .*`async def` is for a service"):
        WorkerPool("p", item=int, work=cast("Any", work))


def test_work_without_an_annotation_is_shown() -> None:
    def work(ctx):  # type: ignore[no-untyped-def] # the reason of the error
        return ctx.item

    with pytest.raises(DefinitionError, match=r"result of pool:p: .*got <function .*work"):
        WorkerPool("p", item=int, work=work)


def test_a_signal_by_its_name_is_an_invalid_argument() -> None:
    job, name = Workflow("w", state=int, run=same), cast("Any", "go")
    with World(App(None).with_jobs(job)) as world:
        failed = world.attempt(world.handle(job).signal("a", name, 1)).failure()
    assert isinstance(failed, InvalidArgument)
    assert str(failed) == "signal: expected a declared Signal, not its name; got 'go'"


def test_tags_that_are_no_mapping_and_a_saga_of_no_function_are_refused() -> None:
    untyped: Any = 3
    with pytest.raises(DefinitionError, match="tags: expected a mapping of classes to names"):
        Workflow("w", state=int, run=same, tags=untyped)
    with pytest.raises(DefinitionError, match=r"body of saga: expected a function of \(undo, ...\)"):
        saga(untyped)


def test_the_mark_of_a_secret_is_no_type() -> None:
    mark: Any = Secret
    with pytest.raises(TypeError, match=r"expected Annotated\[str, Secret\]; got Secret\[str\]"):
        mark[str]
