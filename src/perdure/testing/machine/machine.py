"""``JobMachine``: the options of a state machine for a job."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar
from unittest import TestCase

import attrs
from hypothesis import settings
from hypothesis import settings as Settings  # noqa: N812 - a class; an attribute below has its name
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from perdure.app import App
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.testing.fault import Fault
from perdure.testing.machine.job_laws import Check
from perdure.testing.machine.model import Model
from perdure.testing.machine.rules import JobRules, rules_of
from perdure.testing.profiles import PHASES
from perdure.testing.typed import from_type
from perdure.testing.world import Interleaving
from perdure.testing.world.backend import Opener
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import fields_in_line
from perdure.values.limits import Limits
from perdure.values.times import Duration

R = TypeVar("R")

DURATIONS: tuple[Duration, ...] = ("1 ms", "1 s", "10 s", "1 minute", "10 minutes", "1 hour")
"""The amounts of time that pass in one step."""


class JobTestCase(TestCase):
    """The test case of a state machine: Hypothesis makes it. This class declares its attributes for type checkers.

    Attributes:
        settings: Hypothesis' settings; you may replace them.
    """

    settings: ClassVar[Settings]


def _all_commands(machine: JobMachine[Any]) -> tuple[str, ...]:
    return tuple(machine.job.plan.offered)


@attrs.frozen(kw_only=True)
class JobMachine(Generic[R]):
    """A Hypothesis state machine for a job, from its definition alone.

    It sends drawn requests, alone and concurrently, repeats them with their keys, lets time pass, crashes and restarts
    workers, injects faults into effects and commits, and checks every law of `perdure.testing.machine.law`.
    A failure shows its steps as a test, with the trace of the world.

    ``test_orders = JobMachine(job=orders, services=Fakes).TestCase`` is a test that pytest collects.

    Args:
        job: the definition under test.
        services: makes the services of one example: a class of fakes, or a function.
        beside: other jobs of the same app, such as those that receive its messages.
        inputs: strategies for the inputs of some commands, by the command's name; by default any value of its type.
        types: strategies for some types inside of drawn inputs, such as ``{int: st.integers(1, 99)}``.
        commands: the commands to send; by default all of the kind, also ``pause``, as an operator may.
        invariants: conditions that must hold for every stored instance after each step.
        model: the expected effects of its events.
        faults: additional faults of effects and of the store.
        mishaps: whether crashes and faults are drawn without being named.
        finished: returns whether an instance in that state may wait for nothing; by default the definition decides.
        ids: the ids of the instances.
        durations: the amounts of time that pass in one step.
        interleaving: where the seed may run other tasks first.
        store: the store: ``memory``, or ``sqlite`` in a folder of its own; or a function that returns, for each
            example, a function that opens an empty store of yours.
        limits: the engine's limits.
        debug: whether a mistake of a hook fails the test, as in a `World`.

    Raises:
        DefinitionError: it names a command that the job does not have.
    """

    __repr__ = fields_in_line

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
    debug: bool | None = None

    def __attrs_post_init__(self) -> None:
        for name in (*self.commands, *self.inputs):
            if name not in self.job.plan.commands:
                known = ", ".join(self.job.plan.offered)
                raise DefinitionError(f"commands of the JobMachine of {self.job.name!r}", name, f"one of {known}")

    # ------------------------------------------------------------ running it
    @property
    def rules(self) -> type[JobRules]:
        """The state machine; subclass it to add your own rules."""
        return rules_of(self)

    @cached_property
    def TestCase(self) -> type[JobTestCase]:  # noqa: N802 - as Hypothesis calls it
        """A test case for pytest or unittest, always the same one, so that you can change its ``settings``.

        They omit the phase ``explain``, which traces the engine line by line and takes twenty times as long as the
        rest. To change them: ``case.settings = settings(case.settings, max_examples=500)``.
        """
        case: Any = self.rules.TestCase  # hypothesis declares no ``settings`` of it
        case.settings = settings(case.settings, phases=PHASES)
        test_case: type[JobTestCase] = case
        return test_case

    def run(self, options: settings | None = None) -> None:
        """Run the state machine synchronously.

        Raises:
            InvariantViolated: a law or an invariant does not hold; the message shows the smallest steps.
        """
        run_state_machine_as_test(self.rules, settings=options or self.TestCase.settings)

    # ------------------------------------------------------------ for the rules
    def app(self) -> App[R]:
        """Return the app of one example, with its own services."""
        return App(self.services(), limits=self.limits).with_jobs(self.job, *self.beside)

    def place(self, folder: Path) -> str | os.PathLike[str] | Opener:
        """Return the store of one example."""
        if callable(self.store):
            return self.store()
        return "memory://" if self.store == "memory" else folder / "jobs.db"

    def input_of(self, spec: CommandSpec[Any]) -> st.SearchStrategy[Any]:
        """Return the strategy for the input of a command that takes one."""
        if spec.name in self.inputs:
            return self.inputs[spec.name]
        if spec.name == "terminate":
            return st.just("terminated")
        return from_type(spec.input.form, using=self.types) if spec.input is not None else st.none()
