"""Deploys: code that cannot follow a journal parks the workflow, and code that can continues it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from flows import Declined, HasShop, Shop, act, bodies, double, label, mail, number, release, reserve
from returns.future import FutureResult

from perdure import (
    App,
    Backoff,
    Do,
    Program,
    Retry,
    Undo,
    Workflow,
    WorkflowContext,
    effect,
    patched,
    program,
    saga,
    step,
)
from perdure.kinds.workflow import Diverged
from perdure.kinds.workflow.declared_steps import declared_steps
from perdure.programs import bracket, gather, sandbox, sleep
from perdure.testing import World
from perdure.testing.journal import check_journal
from perdure.values.answer import DeadlinePassed, Done, WasCancelled
from perdure.values.errors import DefinitionError, Undecodable

Flow: TypeAlias = Workflow[int, int, str, object]


@program
def first(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from act(given)
    more = yield from number.receive()
    return given + more


@program
def other_step(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from double(given)
    given = yield from act(given)
    more = yield from number.receive()
    return given + more


@program
def removed_step(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    more = yield from number.receive()
    return given + more


@effect(name="act")
def renamed(services: object, number: int) -> FutureResult[int, str]:
    return FutureResult.from_value(number + 1)


@step(name="act")
@program
def in_one_step(number: int) -> Do[int, str]:
    return (yield from renamed(number))


@program
def with_the_old_name(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from renamed(given)
    more = yield from number.receive()
    return given + more


@program
def step_with_the_old_name(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from in_one_step(given)
    more = yield from number.receive()
    return given + more


@program
def ends_early(ctx: WorkflowContext[int]) -> Do[int, str]:
    return (yield from ctx.state)


@program
def with_patch(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    if (yield from patched("double")):
        given = yield from double(given)
    given = yield from act(given)
    more = yield from number.receive()
    return given + more


@program
def patched_later(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from act(given)
    if (yield from patched("double")):
        given = yield from double(given)
    more = yield from number.receive()
    return given + more


def version(body: object) -> Flow:
    job: Flow = Workflow("evolving", state=int, run=body, signals=(number,), keep=None)  # type: ignore[arg-type]
    return job


@pytest.mark.parametrize("wrong", [other_step, removed_step, ends_early])
def test_a_divergence_leaves_it_and_the_right_code_continues(wrong: object) -> None:
    old, new = version(first), version(wrong)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("1 second")
        instance, before = world.instance(old, "e"), bodies(world, old, "e")
        assert instance is not None
        with pytest.raises(Diverged) as raised:
            new.replay(instance, before)
        assert raised.value.recorded == "act"
        assert raised.value.path == "0"
        world.restart(App(None).with_jobs(new))
        world.attempt(world.handle(new).signal("e", number, 5))
        world.advance("1 second")
        assert world.run(world.handle(new).status("e")).status == "left"
        assert world.run(world.handle(new).signal("e", number, 6)).status == "left"
        refused = world.error_of(world.handle(new).resume("e"))  # this code cannot follow it now either
        assert isinstance(refused, Undecodable)
        assert "step 0: the journal holds 'act'" in str(refused)
        assert bodies(world, new, "e")[:-2] == before  # and the signals
        world.restart(App(None).with_jobs(old))
        world.advance("1 second")
        assert world.run(world.handle(old).outcome("e")) == Done(value=16)


@pytest.mark.parametrize("body", [with_the_old_name, step_with_the_old_name])
@pytest.mark.parametrize("is_older_first", [True, False])
def test_a_step_whose_name_is_pinned_is_the_same_in_both_versions(body: object, is_older_first: bool) -> None:  # noqa: FBT001 - a parameter
    """A function that is renamed, and keeps the name of its steps: n beside n+1 in both directions."""
    old, new = (version(first), version(body)) if is_older_first else (version(body), version(first))
    assert declared_steps(old.run) == declared_steps(new.run) == ("act", "signal number")
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("1 second")
        world.restart(App(None).with_jobs(new))
        world.run(world.handle(new).signal("e", number, 5))
        assert world.run(world.handle(new).outcome("e")) == Done(value=16)
        assert [each.name for each in world.run(world.handle(new).steps("e"))] == ["act", "signal number"]
    check_journal(new, lambda flow: flow.start(1))


@pytest.mark.parametrize("name", ["", "a:b", "a\n", "x" * 129, 7])
def test_a_name_of_a_step_is_a_name(name: Any) -> None:
    with pytest.raises(DefinitionError, match="name of an effect"):
        effect(name=name)
    with pytest.raises(DefinitionError, match="name of a step"):
        step(name=name)


def test_other_code_that_cannot_follow_either_runs_nothing_and_joins_the_mark() -> None:
    old = version(first)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("1 second")
        for count, wrong in enumerate((other_step, removed_step, other_step), 1):
            new = version(wrong)
            world.restart(App(None).with_jobs(new))
            if count == 1:
                world.run(world.handle(new).signal("e", number, 5))
            world.advance("1 minute")
            instance = world.instance(new, "e")
            assert instance is not None
            assert instance.left is not None
            assert len(instance.left.codes) == min(count, 2)
        assert [event.type for event in world.history(old, "e")].count("job.left") == 2
        assert "job.resumed" not in [event.type for event in world.history(old, "e")]
        world.restart(App(None).with_jobs(old))
        world.advance("1 second")
        assert world.run(world.handle(old).outcome("e")) == Done(value=16)


def test_a_divergence_names_the_line_of_the_program() -> None:
    old, new = version(first), version(other_step)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("1 second")
        instance = world.instance(old, "e")
        assert instance is not None
        with pytest.raises(Diverged) as raised:
            new.replay(instance, bodies(world, old, "e"))
        text = Path(__file__).read_text(encoding="utf-8").splitlines()
        line = text.index("    given = yield from double(given)") + 1
        assert raised.value.line is not None
        assert f"test_workflow_deploys.py:{line} in other_step" in raised.value.line
        assert raised.value.performed == "double"


@pytest.mark.parametrize(("changed", "old_result", "new_result"), [(with_patch, 16, 26), (patched_later, 16, 27)])
def test_a_patch_keeps_those_who_passed_it_on_the_old_way(changed: object, old_result: int, new_result: int) -> None:
    old, new = version(first), version(changed)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("1 second")
        world.restart(App(None).with_jobs(new))
        world.run(world.handle(new).start("f", 10))
        world.advance("1 second")
        for id_ in "ef":
            world.run(world.handle(new).signal(id_, number, 5))
            world.restart()
        world.advance("1 second")
        assert world.run(world.handle(new).outcome("e")) == Done(value=old_result)
        assert world.run(world.handle(new).outcome("f")) == Done(value=new_result)


def test_a_patch_before_a_fork_in_progress_is_past() -> None:
    @program
    def forked(ctx: WorkflowContext[int]) -> Do[int, str]:
        one, other = yield from gather(act(1), sleep("1 hour").bind(lambda _: act(2)))
        return one + other

    @program
    def patched_fork(ctx: WorkflowContext[int]) -> Do[int, str]:
        extra = 100 if (yield from patched("extra")) else 0
        one, other = yield from gather(act(1), sleep("1 hour").bind(lambda _: act(2)))
        return one + other + extra

    old, new = version(forked), version(patched_fork)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 0))
        world.advance("1 minute")
        world.restart(App(None).with_jobs(new))
        world.advance("1 hour")
        assert world.run(world.handle(new).outcome("e")) == Done(value=5)


def test_a_replay_repeats_the_interleaving_of_the_branches() -> None:
    """Branches that share a list append to it in the order of the first time."""

    def body_of(delays: tuple[str, ...]) -> Program[int, str, object]:
        order: list[int] = []

        def branch(index: int, delay: str) -> Program[None, str, object]:
            return sleep(delay).bind(lambda _: act(index)).map(lambda _: order.append(index))

        together = gather(*(branch(index, delay) for index, delay in enumerate(delays)))
        return together.bind(lambda _: number.receive()).map(lambda _: int("".join(map(str, order))))

    @program
    def shared(ctx: WorkflowContext[int]) -> Do[int, str]:
        return (yield from body_of(("3 seconds", "1 second", "2 seconds")))

    job = version(shared)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("e", 0))
        world.advance("1 minute")
        world.restart()
        world.run(world.handle(job).signal("e", number, 0))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("e")) == Done(value=120)


def test_a_defect_of_the_program_undoes_nothing_and_fixed_code_continues_there() -> None:
    def selling(bonus: Callable[[int], int]) -> Workflow[int, str, Declined, HasShop]:
        @program
        def using(parcel: str) -> Do[str, Declined, HasShop]:
            printed = yield from label(parcel)
            return f"{printed} {bonus(len(printed))}"

        @program
        def sold(undo: Undo[HasShop]) -> Do[str, Declined, HasShop]:
            yield from undo.after(mail("order"), release)
            return (yield from bracket(reserve("a"), using, release))

        @program
        def body(ctx: WorkflowContext[int]) -> Do[str, Declined, HasShop]:
            one, _ = yield from gather(saga(sold), sleep("1 hour"))
            return one

        retry = Retry[object](max_attempts=2, delay=Backoff.constant("1 second"))
        return Workflow("selling", state=int, run=body, retry_defects=retry, keep=None)

    broken, fixed = selling(lambda size: size // 0), selling(lambda size: size)
    shop = Shop()
    with World(App(shop).with_jobs(broken)) as world:
        world.run(world.handle(broken).start("s", 0))
        world.advance("1 minute")
        status = world.run(world.handle(broken).status("s"))
        assert status.parked == "retries_exhausted"
        assert status.last_error is not None
        assert status.last_error.error_type == "ZeroDivisionError"
        assert shop.names == ["mail", "reserve", "label"]
        world.restart(App(shop).with_jobs(fixed))
        world.run(world.handle(fixed).resume("s"))
        world.advance("1 hour")
        assert world.run(world.handle(fixed).outcome("s")) == Done(value="label:reserve:a 15")
        assert shop.names == ["mail", "reserve", "label", "release"]


def test_a_sandbox_returns_the_defect_of_its_program() -> None:
    @program
    def dividing() -> Do[int, str]:
        number = yield from act(0)
        return number // 0

    @program
    def body(ctx: WorkflowContext[int]) -> Do[str, str]:
        exit_ = yield from sandbox(dividing())
        yield from act(1)
        return type(exit_).__name__

    job = Workflow("dividing", state=int, run=body, keep=None)
    with World(App(None).with_jobs(job)) as world:
        world.run(world.handle(job).start("d", 0))
        world.advance("1 second")
        assert world.run(world.handle(job).outcome("d")) == Done(value="Raised")


@program
def sleeps(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    yield from sleep("1 hour")
    return (yield from act(given))


@program
def acts_and_sleeps(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    given = yield from double(given)
    yield from sleep("1 hour")
    return (yield from act(given))


@program
def patched_and_sleeps(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    if (yield from patched("double")):
        given = yield from double(given)
    yield from sleep("1 hour")
    return (yield from act(given))


@program
def sleeps_longer(ctx: WorkflowContext[int]) -> Do[int, str]:
    given = yield from ctx.state
    yield from sleep("3 hours")
    return (yield from act(given))


def test_a_diverged_workflow_says_that_a_cancellation_or_its_deadline_ends_it_when_it_continues() -> None:
    old, new = version(sleeps), version(acts_and_sleeps)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("late", 10, within="1 hour"))
        world.run(world.handle(old).start("gone", 10))
        world.restart(App(None).with_jobs(new))
        world.advance("2 hours")
        flow = world.handle(new)
        assert world.run(flow.cancel("gone", "not wanted")).accepted
        late, gone = world.run(flow.status("late")), world.run(flow.status("gone"))
        assert (late.status, gone.status) == ("left", "left")
        assert late.heals.endswith("Or terminate it. If its deadline has passed, it is cancelled then.")
        assert gone.heals.endswith("Or terminate it. A stored cancellation ends it then.")
        world.restart(App(None).with_jobs(old))
        world.advance("1 second")
        assert world.run(world.handle(old).outcome("late")) == DeadlinePassed("its deadline passed")
        assert world.run(world.handle(old).outcome("gone")) == WasCancelled("not wanted")


def test_a_step_before_a_wait_in_progress_diverges() -> None:
    old, new = version(sleeps), version(acts_and_sleeps)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("10 minutes")
        instance, rows = world.instance(old, "e"), bodies(world, old, "e")
        assert instance is not None
        with pytest.raises(Diverged, match="step 0: the workflow waits for 'sleep', and the program performs 'double'"):
            new.replayed(instance, rows)
        world.restart(App(None).with_jobs(new))
        world.advance("2 hours")
        assert world.run(world.handle(new).status("e")).status == "left"
        world.restart(App(None).with_jobs(old))
        world.advance("1 second")
        assert world.run(world.handle(old).outcome("e")) == Done(value=11)


@pytest.mark.parametrize(("body", "hours"), [(patched_and_sleeps, 1), (sleeps_longer, 3)])
def test_a_patch_before_a_wait_in_progress_and_another_duration_do_not(body: object, hours: int) -> None:
    old, new = version(sleeps), version(body)
    with World(App(None).with_jobs(old)) as world:
        world.run(world.handle(old).start("e", 10))
        world.advance("10 minutes")
        world.restart(App(None).with_jobs(new))
        world.advance(f"{hours - 1} hours 49 minutes" if hours > 1 else "49 minutes")
        assert world.run(world.handle(new).outcome("e")) is None
        world.advance("1 minute")
        assert world.run(world.handle(new).outcome("e")) == Done(value=11)
