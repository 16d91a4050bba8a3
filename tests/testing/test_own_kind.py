"""The kit takes all information on a kind from its definition: a kind from outside the package works as well."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, ClassVar, Never

import attrs
import pytest
from reminder import Reminder, handler
from reminder.context import ReminderContext, Snooze, Wish
from reminder.handle import ReminderHandle
from returns.result import Result, Success
from test_job_machine import QUICK
from test_pasted_lines import DO_IT_AGAIN, pasted

import perdure.testing
from perdure import App, Do, Migrations, effect, program
from perdure.codecs import Codec
from perdure.jobs.definition import Dispatch
from perdure.jobs.draft import Draft
from perdure.jobs.request import AlarmDue, CommandSpec, Request
from perdure.jobs.step import Step
from perdure.jobs.transitions import answered, put
from perdure.programs import Instruction, perform, sleep
from perdure.testing import (
    JobMachine,
    MigrationLosesData,
    World,
    check_migrations,
    explain,
    fake_services,
    hook_context,
    simulate,
)
from perdure.testing.coverage import CoverageObserver, ObservedTransition
from perdure.testing.machine import InvariantViolated
from perdure.values.address import Address
from perdure.values.answer import PauseResult
from perdure.values.instance import Claim, Instance
from perdure.values.turn_inputs import TurnInputs


class Mouth:
    """A service that remembers its calls."""

    def __init__(self) -> None:
        self.said: list[str] = []


@effect
def say(mouth: Mouth, text: str) -> Result[None, Never]:
    mouth.said.append(text)
    return Success(None)


@program
def remind(ctx: ReminderContext) -> Do[None, Never, Mouth]:
    yield from say((yield from ctx.state))


reminder = Reminder.of("tea-time", remind)


# ---------------------------------------------------------------- a kind with more of its own
@attrs.frozen
class Chime(Instruction[str, Never]):
    """An operation that only drafts of this kind answer."""


class ChimingDraft(Draft):
    def answer(self, operation: object) -> object:
        return "ding" if isinstance(operation, Chime) else super().answer(operation)


@attrs.frozen(eq=False)
class Nap:
    """Sleep so long."""

    minutes: int


@attrs.frozen(eq=False)
class Doze:
    """Sleep a little."""


def wished(nap: Nap | Doze) -> Wish:
    """Make the command: it is not a class, and its fields are not the input's."""
    return Wish(f"{nap.minutes} minutes" if isinstance(nap, Nap) else "a doze")


@attrs.frozen
class NapHandle(ReminderHandle):
    """A handle whose method is not named after the action, and takes something else than the input."""

    def sleep(self, id_: str, minutes: int, /) -> Any:
        nap = Nap(minutes)
        return self._send(id_, wished(nap), "wish", nap)


NAP: Codec[Any] = Codec.of(Nap | Doze, what="nap")


@attrs.frozen(eq=False)
class Napper(Reminder[Any]):
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        return super().begin(address, instance, attrs.evolve(request, payload='"a nap"'), inputs)

    def draft_of(self, state: object, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        usual = super().draft_of(state, instance, claim, inputs)
        return ChimingDraft(**{field.name: getattr(usual, field.name) for field in attrs.fields(Draft)})

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        _, (nap,) = super().handle_call(request)
        return "sleep", (nap.minutes,)  # type: ignore[attr-defined] # a Nap

    def handle(self, dispatch: Dispatch) -> NapHandle:
        return NapHandle(self, dispatch)


def napper_of(name: str) -> Napper:
    usual = Reminder.of(name, remind)
    commands = {"wish": CommandSpec(name="wish", command=wished, input=NAP, absent="creates")}
    return Napper(name, attrs.evolve(usual.plan, commands=commands), usual.remind)


napper = napper_of("nap-time")


# ---------------------------------------------------------------- simulation
def test_its_hooks_are_simulated_with_its_own_context() -> None:
    stage = hook_context(reminder, state="tea", id="five")
    assert type(stage.ctx) is ReminderContext
    mouth = Mouth()
    simulate(remind(stage.ctx), mouth, on=stage).value()
    assert (stage.ctx.id, mouth.said) == ("five", ["tea"])
    assert simulate(remind(stage.ctx), fake_services(), on=stage).calls("say")[0].args == ("tea",)


def test_an_input_that_its_context_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="missed"):
        _ = hook_context(reminder, state="tea", inputs={"missed": 2}).ctx


def test_its_draft_answers_its_own_operations() -> None:
    stage = hook_context(napper, state="tea")
    seen = simulate(perform(Chime()), None, on=stage)
    assert (seen.value(), [step.answer for step in seen.trace]) == ("ding", ["ding"])  # type: ignore[union-attr] # a step of the context
    assert "Chime()" in repr(seen)


def test_a_program_that_waits_for_days_can_run_in_virtual_time() -> None:
    stage = hook_context(reminder, state="tea")
    assert simulate(sleep("2 days"), None, on=stage, run_timeout="3 days").value() is None
    with pytest.raises(AssertionError, match="expected a success"):
        simulate(sleep("2 days"), None, on=stage).value()


# ---------------------------------------------------------------- world, machine, coverage, versions
def test_the_lines_of_its_story_do_it_again() -> None:
    with World(App(Mouth()).with_jobs(reminder, napper)) as world:
        world.run(world.handle(reminder).wish("a", "tea"))
        world.run(world.handle(napper).sleep("b", 3))
        world.advance("2 minutes")
        assert sorted(world.app.services.said) == ["a nap", "tea"]
        story = world.trace_text()
    assert "world.handle(reminder).wish('a', 'tea')" in story
    assert "world.handle(napper).sleep('b', 3)" in story
    again = pasted(story).trace_text()
    assert again.partition(DO_IT_AGAIN)[0] == story.partition(DO_IT_AGAIN)[0]


def test_a_dry_run_shows_the_outcome_of_its_request() -> None:
    found = explain(reminder, "a", lambda sender: sender.wish("tea"), strict=True)
    assert found.instance is not None
    assert (found.instance.state, found.instance.status) == ('"tea"', "scheduled")


def test_its_state_machine_needs_nothing_said() -> None:
    JobMachine(job=reminder, services=Mouth).run(QUICK)


def test_one_that_falls_silent_is_found() -> None:
    class Silenced(Reminder[Any]):
        """Its snooze forgets the alarm."""

        def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
            if isinstance(request.command, Snooze) and instance is not None:
                return answered(put(instance, inputs.now_ms, alarm_ms=None), PauseResult(changed=True, status=None))
            return handler.begin(self, address, instance, request, inputs)

    silenced = Silenced("tea-time", reminder.plan, reminder.remind)
    with pytest.raises(InvariantViolated) as caught:
        JobMachine(job=silenced, services=Mouth, mishaps="none").run(QUICK)
    assert caught.value.law == "an unfinished instance has an alarm or is held"


def test_its_behaviour_is_covered() -> None:
    observer = CoverageObserver()
    world = World(App(Mouth()).with_jobs(napper))
    world.watch(observer.of(world))
    with world:
        world.run(world.handle(napper).sleep("a", 3))
        world.advance("2 minutes")
    counts = observer.coverage(napper)
    assert counts.steps == {
        ObservedTransition("absent", "Nap", "kept"): 1,
        ObservedTransition("kept", "alarm", "ended"): 1,
    }
    assert counts.events == ("Nap", "Doze", "alarm")
    assert "remind: succeeded" in counts.exits


@attrs.frozen
class TextV1:
    text: str


def plain_text(old: TextV1) -> str:
    return old.text


def test_its_older_versions_are_checked() -> None:
    upgraded = Reminder.of("tea-time", remind, versions=Migrations(TextV1).then(plain_text))
    check_migrations(upgraded, preserved=(lambda state: getattr(state, "text", state),))


def test_an_alarm_may_end_in_rest_where_the_kind_says_so() -> None:
    class Expiring(Reminder[Any]):
        """Its time passes, and no program runs."""

        rests: ClassVar[bool] = True

        def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
            if isinstance(request.command, AlarmDue) and instance is not None:
                return answered(put(instance, inputs.now_ms, alarm_ms=None), None)
            return handler.begin(self, address, instance, request, inputs)

        def may_rest(self, instance: Instance) -> bool:
            return self.rests

    usual = Reminder.of("tea-time", remind, versions=Migrations(TextV1).then(plain_text))
    expiring = Expiring("tea-time", usual.plan, usual.remind)
    check_migrations(expiring)
    Expiring.rests = False
    with pytest.raises(MigrationLosesData, match="neither runs it nor leaves it an alarm"):
        check_migrations(expiring)


# ---------------------------------------------------------------- no kind is named
KINDS = {"Continuous", "Debounce", "Task", "continuous", "debounce", "task"}
KIT = Path(perdure.testing.__file__).parent


def names_of_kinds(tree: ast.AST) -> set[str]:
    """The kinds that code knows when it runs: imports, classes and names of kinds; no annotations."""
    typing_only = [
        each
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for each in ast.walk(node)
    ]
    annotations = [
        each
        for node in ast.walk(tree)
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None))
        if annotation is not None
        for each in ast.walk(annotation)
    ]
    skipped = {id(node) for node in (*typing_only, *annotations)}
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case _ if id(node) in skipped:
                pass
            case ast.ImportFrom(module=str(module)) if module.startswith("perdure.kinds"):
                found.add(module)
            case ast.Name(id=name) if name in KINDS and name[0].isupper():
                found.add(name)
            case ast.Constant(value=str(name)) if name in KINDS:
                found.add(name)
            case _:
                pass
    return found


def test_no_module_of_the_kit_knows_a_kind() -> None:
    modules = [path for path in KIT.rglob("*.py") if "conformance" not in path.parts]  # whose rows are made up
    assert len(modules) > 20
    known = {
        str(path.relative_to(KIT)): names_of_kinds(ast.parse(path.read_text(encoding="utf-8"))) for path in modules
    }
    assert {path: names for path, names in known.items() if names} == {}


def test_one_that_does_is_found() -> None:
    tree = ast.parse("from perdure.kinds.task import Task\nx = isinstance(job, Task)\ny: Task = job.kind == 'debounce'")
    assert names_of_kinds(tree) == {"perdure.kinds.task", "Task", "debounce"}
