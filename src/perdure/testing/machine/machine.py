"""``JobMachine``: what a state machine for a job is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeAlias, TypeVar
from unittest import TestCase

import attrs
from hypothesis import settings
from hypothesis import settings as Settings  # noqa: N812 - a class, whose name an attribute below has, too
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from perdure.app import App
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.testing.fault import Fault
from perdure.testing.machine.model import Model
from perdure.testing.machine.model_check import Agreement
from perdure.testing.machine.rules import JobRules, rules_of
from perdure.testing.machine.view import InstanceView
from perdure.testing.profiles import PHASES
from perdure.testing.typed import from_type
from perdure.testing.world import Interleaving
from perdure.testing.world.backend import Opener
from perdure.values.duration import Duration
from perdure.values.errors import DefinitionError
from perdure.values.instance import Instance
from perdure.values.limits import Limits

R = TypeVar("R")

Check: TypeAlias = Callable[[InstanceView[Any]], object]
"""An invariant: asserts, or answers False when it does not hold."""

DURATIONS: tuple[Duration, ...] = ("1 ms", "1 s", "10 s", "1 minute", "10 minutes", "1 hour")
"""By how much time passes in one step."""


class JobTestCase(TestCase):
    """The test case of a state machine: Hypothesis makes it. The class declares what the checkers must know of it.

    Attributes:
        settings: of Hypothesis; they may be replaced.
    """

    settings: ClassVar[Settings]


def _all_commands(machine: JobMachine[Any]) -> tuple[str, ...]:
    return tuple(machine.job.plan.commands)


@attrs.frozen(kw_only=True)
class JobMachine(Generic[R]):
    """A Hypothesis state machine for a job, from its definition alone.

    It sends drawn requests, alone and together, repeats them with their keys, lets time pass, crashes and restarts
    workers, and lets effects and commits go wrong; and it checks every law of `perdure.testing.machine.law`. Its steps
    read like a story, and a failure tells what happened in the world.

    ``test_orders = JobMachine(job=orders, services=Fakes).TestCase`` is a test that pytest finds.

    Args:
        job: the definition under test.
        services: makes the services of one example: a class of fakes, or a function.
        beside: other jobs of the same app, such as those that it tells.
        inputs: strategies for the inputs of some commands, by the command's name; by default any value of its type.
        types: strategies for some types inside of drawn inputs, such as ``{int: st.integers(1, 99)}``.
        commands: which commands are sent; by default all that the kind has.
        invariants: what must hold of every stored instance when nothing moves.
        model: what its events must do.
        faults: what is to go wrong at effects and at the store, besides what always may.
        mishaps: whether crashes and faults come by themselves.
        finished: tells whether an instance in that state may wait for nothing; by default the definition says it.
        ids: the ids of the instances.
        durations: by how much time passes in one step.
        interleaving: where the seed may let other tasks go first.
        store: where the world stands: ``memory``, or ``sqlite`` in a folder of its own; or a function that gives, for
            each example, what opens an empty store of yours.
        limits: of the engine.

    Raises:
        DefinitionError: it names a command that the job has not.
    """

    job: AnyDefinition
    services: Callable[[], R]
    beside: tuple[AnyDefinition, ...] = ()
    inputs: Mapping[str, st.SearchStrategy[Any]] = attrs.Factory(dict[str, st.SearchStrategy[Any]])
    types: Mapping[Any, st.SearchStrategy[Any]] = attrs.Factory(dict[Any, st.SearchStrategy[Any]])
    commands: tuple[str, ...] = attrs.field(default=attrs.Factory(_all_commands, takes_self=True))
    invariants: tuple[Check, ...] = ()
    model: Model[Any, Any] | None = None
    faults: st.SearchStrategy[Fault] | None = None
    mishaps: Literal["drawn", "none"] = "drawn"
    finished: Callable[[Any], bool] | None = None
    ids: tuple[str, ...] = ("a", "b")
    durations: tuple[Duration, ...] = DURATIONS
    interleaving: Interleaving = "turns"
    store: Literal["memory", "sqlite"] | Callable[[], Opener] = "memory"
    limits: Limits = Limits(shutdown_timeout="1000 ms")

    def __attrs_post_init__(self) -> None:
        for name in (*self.commands, *self.inputs):
            if name not in self.job.plan.commands:
                known = ", ".join(self.job.plan.commands)
                raise DefinitionError(f"commands of the JobMachine of {self.job.name!r}", name, f"one of {known}")

    # ------------------------------------------------------------ running it
    @property
    def rules(self) -> type[JobRules]:
        """The state machine, to be subclassed by whoever adds rules of their own."""
        return rules_of(self)

    @cached_property
    def TestCase(self) -> type[JobTestCase]:  # noqa: N802 - as Hypothesis calls it
        """A test case for pytest or unittest: always the same one, so that its ``settings`` can be changed.

        They leave out the phase ``explain``, which traces the engine line by line and takes twenty times as long as
        the rest. To change them: ``case.settings = settings(case.settings, max_examples=500)``.
        """
        case: Any = self.rules.TestCase  # hypothesis declares no ``settings`` of it
        case.settings = settings(case.settings, phases=PHASES)
        test_case: type[JobTestCase] = case
        return test_case

    def run(self, options: settings | None = None) -> None:
        """Run it in a plain call.

        Raises:
            LawBroken: a law or an invariant does not hold; the smallest story that shows it is told.
        """
        run_state_machine_as_test(self.rules, settings=options or self.TestCase.settings)

    # ------------------------------------------------------------ what the rules ask for
    def app(self) -> App[R]:
        """Make the app of one example, with services of its own."""
        return App(self.services(), limits=self.limits).with_jobs(self.job, *self.beside)

    def place(self, folder: Path) -> str | os.PathLike[str] | Opener:
        """Give the store of one example."""
        if callable(self.store):
            return self.store()
        return "memory://" if self.store == "memory" else folder / "jobs.db"

    def input_of(self, spec: CommandSpec[Any]) -> st.SearchStrategy[Any]:
        """Give the strategy for the input of a command that takes one."""
        if spec.name in self.inputs:
            return self.inputs[spec.name]
        if spec.name == "terminate":
            return st.just("terminated")
        return from_type(spec.input.form, using=self.types) if spec.input is not None else st.none()

    def agreement(self) -> Agreement | None:
        """Give what compares the job with its model."""
        return None if self.model is None else Agreement(self.job, self.model, self.model.command or self._creating())

    def may_rest(self, instance: Instance, state: object) -> bool:
        """Return whether an instance, in this decoded state, may wait for nothing."""
        return self.job.may_rest(instance) if self.finished is None else self.finished(state)

    def _creating(self) -> str:
        return next((spec.name for spec in self.job.plan.commands.values() if spec.absent == "creates"), "")
