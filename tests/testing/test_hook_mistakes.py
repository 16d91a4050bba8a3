"""The debug mode: programs that a hook builds and never runs, and states and events that it changes in place."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from returns.result import Result, Success

from perdure import App, Debounce, Decision, Do, Program, Task, TaskContext, effect, fail, program, succeed
from perdure.jobs.draft import HookBug
from perdure.programs import gather, race, when
from perdure.runtime.simulated import Simulation
from perdure.testing import JobMachine, World


@effect
def say(services: object, word: str) -> Result[None, str]:
    return Success(None)


def task_of(hook: Any, name: str = "notes") -> Task[Any, Any, Any, Any]:
    return Task(name, state=list[int], event=int, initial=[], on_event=hook)


@program
def forgets(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    say("forgotten")
    yield from say("said")


@program
def forgets_after_a_wait(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    yield from say("said")
    ctx.set_state([event])


@program
def forgets_in_a_branch(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    @program
    def branch() -> Do[None, str]:
        yield from say("said")
        say("forgotten")

    yield from gather(branch(), say("beside"))


@program
def forgets_its_own_answer(ctx: TaskContext[list[int]], event: int) -> Do[Program[None, str], str]:
    yield from say("said")
    return say("forgotten")


def forgets_at_once(ctx: TaskContext[list[int]], event: int) -> Program[None, str]:
    ctx.set_state([event])
    return say("said")


@program
def keeps_in_a_local(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    spare = say("spare")
    if event < 0:
        yield from spare


@program
def keeps_in_a_table(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    table = {True: say("positive"), False: say("negative")}
    yield from table[event > 0]


FORGETFUL = [
    keeps_in_a_local,
    keeps_in_a_table,
    forgets,
    forgets_after_a_wait,
    forgets_in_a_branch,
    forgets_its_own_answer,
    forgets_at_once,
]


@pytest.mark.parametrize("hook", FORGETFUL)
def test_a_program_that_is_built_and_never_run_fails_the_test(hook: Any) -> None:
    notes = task_of(hook)
    with pytest.raises(HookBug) as found, World(App(object()).with_jobs(notes), debug=True) as world:
        world.run(world.handle(notes).send("a", 1))
    assert found.value.job == "task:notes"
    assert found.value.hook == "on_event"
    assert found.value.mistake == "program never run"
    assert "test_hook_mistakes.py:" in found.value.place
    assert "yield from" in str(found.value)


def test_a_state_machine_finds_it() -> None:
    with pytest.raises(HookBug):
        JobMachine(job=task_of(forgets), services=object, commands=("send",), debug=True).run()


@program
def uses_all(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    fallback = say("fallback")
    yield from say("said").or_else(lambda _: fallback)
    yield from when(event < 0, say("negative"))
    yield from race(say("one"), say("two"))
    again = say("again")
    for _ in range(3):
        yield from again
    yield from gather(*[say(f"{number}").map(lambda _: None) for number in range(3)])
    yield from ctx.update_state(lambda state: [*state, event])
    yield from say("x").attempt()


def method_style(ctx: TaskContext[list[int]], event: int) -> Program[None, str]:
    return ctx.state.bind(lambda state: say(f"{state}").tap(lambda _: ctx.set_state([*state, event])))


def table_style(ctx: TaskContext[list[int]], event: int) -> Program[None, str]:
    table = {True: say("long"), False: say("short")}
    others = frozenset({say("never used")})
    return ctx.state.bind(lambda state: table[bool(state or others)]).tap(lambda _: ctx.set_state([-1]))


@program
def table_of_functions(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    table = {True: lambda: say("positive"), False: lambda: say("negative")}
    yield from table[event > 0]()
    yield from ctx.update_state(lambda state: [*state, event])


@pytest.mark.parametrize("hook", [uses_all, method_style, table_of_functions])
def test_programs_that_are_run_or_kept_for_another_outcome_are_no_mistakes(hook: Any) -> None:
    notes = task_of(hook)
    with World(App(object()).with_jobs(notes), debug=True) as world:
        for event in (-1, 1):
            world.run(world.handle(notes).send("a", event))
        assert world.run(world.handle(notes).get_state("a")) == [-1, 1]


def test_programs_that_a_function_of_a_program_holds_are_no_mistakes() -> None:
    notes = task_of(table_style)
    with World(App(object()).with_jobs(notes), debug=True) as world:
        world.run(world.handle(notes).send("a", 1))


def test_runs_that_take_turns_do_not_see_each_others_programs() -> None:
    notes, others = task_of(uses_all), task_of(forgets_after_a_wait, "others")
    with (
        pytest.raises(HookBug) as found,
        World(App(object()).with_jobs(notes, others), seed=1, debug=True) as world,
    ):
        world.concurrently(
            *(world.handle(job).send(f"{number}", number) for number in range(5) for job in (notes, others))
        )
    assert found.value.job == "task:others"


# ---------------------------------------------------------------- state
@program
def appends(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    state = yield from ctx.state
    state.append(event)


@program
def sets_then_appends(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    state = [event]
    yield from ctx.set_state(state)
    state.append(event)


@program
def appends_and_sets(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    state = yield from ctx.state
    state.append(event)
    yield from ctx.set_state(state)


@pytest.mark.parametrize("hook", [appends, sets_then_appends])
def test_a_state_that_is_changed_in_place_fails_the_test(hook: Any) -> None:
    notes = task_of(hook)
    with (
        pytest.raises(HookBug, match=r"ctx\.set_state") as found,
        World(App(object()).with_jobs(notes), debug=True) as world,
    ):
        world.run(world.handle(notes).send("a", 1))
    assert found.value.mistake == "state changed in place"


def test_a_state_that_is_changed_and_set_is_stored() -> None:
    notes = task_of(appends_and_sets)
    with World(App(object()).with_jobs(notes), debug=True) as world:
        world.run(world.handle(notes).send("a", 1))
        assert world.run(world.handle(notes).get_state("a")) == [1]


# ---------------------------------------------------------------- programs as values
@program
def reads_a_program(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    state: Any = ctx.state
    yield from ctx.set_state(state.copy())


@program
def updates_with_a_state(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    wrong: Any = [event]
    yield from ctx.update_state(wrong)


@program
def updates_with_a_program(ctx: TaskContext[list[int]], event: int) -> Do[None, str]:
    wrong: Any = ctx.state
    yield from ctx.update_state(wrong)


A_FUNCTION = "update_state expects a function of the state, such as `lambda state: ...`; got"


@pytest.mark.parametrize(
    ("hook", "text"),
    [
        (reads_a_program, "has no attribute 'copy': it is a description of work, not its value"),
        (updates_with_a_state, f"{A_FUNCTION} [1]; to store a value use set_state"),
        (updates_with_a_program, f"{A_FUNCTION} <Program perform "),
    ],
)
def test_the_caller_receives_the_mistake_of_the_hook(hook: Any, text: str) -> None:
    notes = task_of(hook)
    with World(App(object()).with_jobs(notes), debug=False) as world:
        assert text in str(world.error_of(world.handle(notes).send("a", 1)))


# ---------------------------------------------------------------- events
def with_events(name: str = "lists", **hooks: Any) -> Task[Any, Any, Any, Any]:
    return Task(name, state=int, event=list[int], initial=0, **hooks)


@program
def appends_to_its_event(ctx: TaskContext[int], event: list[int]) -> Do[None, str]:
    yield from say("said")
    event.append(1)


def appends_at_once(ctx: TaskContext[int], event: list[int]) -> Program[None, str]:
    event.append(1)
    return say("said")


def makes_it_invalid(ctx: TaskContext[int], event: list[Any]) -> Program[None, str]:
    event.append("no number")
    return say("said")


def fails_with_it(ctx: TaskContext[int], event: list[int]) -> Program[None, str]:
    event.append(1)
    return fail("refused")


def decides_in_place(state: int, event: list[int]) -> Result[Decision[int], str]:
    return Success(Decision(state + event.pop()))


IN_PLACE: list[dict[str, Any]] = [
    {"on_event": appends_to_its_event},
    {"on_event": appends_at_once},
    {"on_event": makes_it_invalid},
    {"on_event": fails_with_it, "on_error": lambda ctx, error: say("handled")},
    {"on_event": appends_at_once, "on_idle": lambda ctx: say("idle")},
    {"decide": decides_in_place},
]


@pytest.mark.parametrize("hooks", IN_PLACE)
def test_an_event_that_is_changed_in_place_fails_the_test_once(hooks: Any) -> None:
    lists = with_events(**hooks)
    with World(App(object()).with_jobs(lists), debug=True) as world:
        with pytest.raises(HookBug, match="on_event of task:lists changed its event") as found:
            world.run(world.handle(lists).send("a", [1]))
        assert found.value.mistake == "input changed in place"
        assert found.value.subject == "list[int]"


def test_an_event_that_is_kept_and_copied_is_not_a_mistake() -> None:
    def keeps(ctx: Any, event: list[int]) -> Program[None, str]:
        return ctx.set_state([*event, 1]).bind(lambda _: ctx.set_state(event))

    lists = Task("lists", state=list[int], event=list[int], initial=[], on_event=keeps)
    with World(App(object()).with_jobs(lists), debug=True) as world:
        world.run(world.handle(lists).send("a", [1]))
        world.run(world.jobs.handle_by_name("task", "lists").call("send", "a", "[ 1, 2 ]"))
        assert world.run(world.handle(lists).get_state("a")) == [1, 2]


def test_an_event_of_a_batch_is_inspected_as_well() -> None:
    def adds(ctx: Any, event: list[int]) -> Program[None, str]:
        event.append(1)
        return ctx.set_state(event)

    batches = Debounce("batches", event=list[int], flush_after="1 s", on_event=adds, execute=lambda ctx: succeed(None))
    with World(App(object()).with_jobs(batches), debug=True) as world:
        adding = world.handle(batches).add("a", [1])
        with pytest.raises(HookBug, match="on_event of debounce:batches changed its event"):
            world.run(adding)


# ---------------------------------------------------------------- outside of the kit
def logged(jobs: Any, calls: Callable[[Any], Any], **options: Any) -> list[Any]:
    simulation = Simulation()

    async def main() -> None:
        async with App(object()).with_jobs(*jobs).open("memory://", runtime=simulation.runtime, **options) as client:
            await calls(client)

    simulation.run(main())
    return [record for record in simulation.logs if record.level == "error"]


async def sends_thrice(client: Any) -> None:
    for number in range(3):
        await client.handle(NOTES).send("a", number)


NOTES = task_of(forgets)


def test_an_engine_logs_each_place_once() -> None:
    (record,) = logged([NOTES], sends_thrice)
    assert record.message == "a hook built a program and never ran it"
    assert record.fields["job"] == "task:notes"
    assert record.fields["hook"] == "on_event"
    assert "test_hook_mistakes.py:" in str(record.fields["place"])


def test_an_engine_logs_the_type_of_a_state_that_is_changed_in_place() -> None:
    @program
    def appends(ctx: TaskContext[list[int]], event: int) -> Do[None]:
        numbers = yield from ctx.state
        numbers.append(event)

    job = task_of(appends)

    async def sends(client: Any) -> None:
        await client.handle(job).send("a", 1)

    (record,) = logged([job], sends)
    assert record.message == "a hook changed its state in place, and the change is lost"
    assert record.fields == {"job": "task:notes", "hook": "on_event", "subject": "list[int]"}


def test_an_event_that_is_changed_in_place_is_logged_for_the_hook_that_changed_it_alone() -> None:
    job = with_events(on_event=fails_with_it, on_error=lambda ctx, error: say("handled"))

    async def sends(client: Any) -> None:
        await client.handle(job).send("a", [1])

    assert [record.fields["hook"] for record in logged([job], sends)] == ["on_event"]


@pytest.mark.parametrize(("mistaken", "is_found"), [(1, True), (32, True), (33, False), (64, False), (65, True)])
@pytest.mark.parametrize("hook", ["on_event", "execute"])
def test_an_engine_inspects_the_first_runs_of_a_hook_and_then_one_of_many(
    hook: str, mistaken: int, is_found: Any
) -> None:
    runs: list[int] = []

    @program
    def forgets_once(ctx: TaskContext[list[int]], _: object = None) -> Do[None]:
        runs.append(1)
        if len(runs) == mistaken:
            say("forgotten")
        yield from ctx.set_state([len(runs)])

    @program
    def keeps(ctx: TaskContext[list[int]], _: object = None) -> Do[None]:
        yield from ctx.set_state([])

    hooks = {"on_event": keeps, "execute": keeps, hook: forgets_once}
    job: Any = Task("notes", state=list[int], event=int, initial=[], **hooks)

    async def calls(client: Any) -> None:
        handle = client.handle(job)
        await handle.send("a", 0) if hook == "execute" else None
        for number in range(70):
            await (handle.trigger("a") if hook == "execute" else handle.send("a", number))

    assert len(runs_logged := logged([job], calls)) == is_found, runs_logged
    assert len(runs) == 70


def test_each_class_of_event_has_a_sample_of_its_own() -> None:
    @program
    def forgets_text(ctx: TaskContext[list[int]], event: int | str) -> Do[None]:
        if isinstance(event, str):
            say("forgotten")
        yield from ctx.set_state([])

    job: Any = Task("notes", state=list[int], event=int | str, initial=[], on_event=forgets_text)

    async def calls(client: Any) -> None:
        for number in range(40):
            await client.handle(job).send("a", number)
        await client.handle(job).send("a", "rare")

    assert len(logged([job], calls)) == 1


def test_an_engine_looks_for_nothing_without_the_debug_mode() -> None:
    assert logged([NOTES], sends_thrice, debug=False) == []


def test_the_mode_can_be_switched_off_in_the_kit() -> None:
    with World(App(object()).with_jobs(NOTES), debug=False) as world:
        world.run(world.handle(NOTES).send("a", 1))


SWITCHED = """
import os, sys
from perdure import App, Task
from perdure.testing import HookBug, World

def forgets(ctx, event):
    ctx.set_state([])
    return ctx.set_state([event])

notes = Task("notes", state=list[int], event=int, initial=[], on_event=forgets)
for value in sys.argv[1:]:
    os.environ["PERDURE_DEBUG"] = value
    try:
        with World(App(object()).with_jobs(notes)) as world:
            world.run(world.handle(notes).send("a", 1))
            print("off", "debug=False" in world.trace_text())
    except HookBug:
        print("on")
"""


def test_the_environment_switches_the_mode_off_in_the_kit() -> None:
    command = [sys.executable, "-c", SWITCHED, "0", "false", "No", "1", "true", ""]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    assert printed.splitlines() == ["off True"] * 3 + ["on"] * 3


def test_the_mode_can_be_switched_off_in_a_state_machine() -> None:
    machine = JobMachine(job=task_of(forgets), services=object, commands=("send",), debug=False)
    machine.run(settings(machine.TestCase.settings, max_examples=5))


def test_a_batch_is_inspected_as_well() -> None:
    @program
    def flush(ctx: Any) -> Do[None, str]:
        say("forgotten")
        yield from succeed(None)

    batches = Debounce("batches", event=int, flush_after="1 s", execute=flush)
    with (  # noqa: PT012 - the batch is flushed later
        pytest.raises(HookBug, match="execute of debounce:batches"),
        World(App(object()).with_jobs(batches), debug=True) as world,
    ):
        world.run(world.handle(batches).add("a", 1))
        world.advance("2 s")
