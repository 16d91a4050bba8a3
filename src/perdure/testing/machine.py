"""A Hypothesis state machine for any job, from its definition alone.

`JobMachine` holds its options, its rules, and the checks after each rule. `register_profiles` gives Hypothesis the
profiles for job tests.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, ClassVar, Final, Generic, Literal, TypeAlias, TypeVar
from unittest import TestCase

import attrs
from hypothesis import HealthCheck, Phase, note
from hypothesis import settings as Settings  # noqa: N812 - a class; an attribute below has its name
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from returns.result import Failure, Result, Success

from perdure.app import App
from perdure.client.client import gateway_of
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import CommandSpec
from perdure.testing.fault import STORE_OPERATIONS, STORE_PREFIX, Crash, Delay, Fail, Fault, Raise
from perdure.testing.histories import Histories, HistoryPrefix, played_by
from perdure.testing.job_laws import (
    Check,
    DrawnRequest,
    InstanceView,
    InvariantMonitor,
    InvariantViolated,
    JobLaws,
    Model,
    SentRequest,
    check_invariants,
    check_leftovers,
    model_check_of,
    request_of,
)
from perdure.testing.typed import from_type
from perdure.testing.world import Interleaving, WorkerDied, World
from perdure.testing.world.boundary import Opener
from perdure.testing.world.clock import START, Clock
from perdure.testing.world.recording import variable
from perdure.testing.world.source_code import SourceRepr, name_of, source_of
from perdure.values.errors import DefinitionError, HookFailed, OutcomeUnknown, Rejected, StoreError, StoreUnavailable
from perdure.values.excerpt import fields_in_line
from perdure.values.limits import Limits
from perdure.values.times import Duration

__all__ = [
    "DrawnRequest",
    "InstanceView",
    "InvariantViolated",
    "JobLaws",
    "JobMachine",
    "JobRules",
    "Model",
    "register_profiles",
]


PHASES = tuple(phase for phase in Phase if phase is not Phase.explain)
"""The phase ``explain`` traces each executed line: with an engine that takes twenty times as long as finding and
shrinking, and reports lines of the engine."""

PROFILES = ("perdure-dev", "perdure-ci", "perdure-nightly")


def register_profiles() -> None:
    """Register the profiles with Hypothesis, and load none.

    ``perdure-dev`` is for development: 50 examples. ``perdure-ci`` is the same on every run: 100 examples, derandomized
    and without a database. ``perdure-nightly`` searches more: 1,000 examples with 100 steps each. None has a deadline,
    because a single world step may be slow. None has the phase ``explain``, which traces the engine.

    The pytest plugin registers them when ``--hypothesis-profile`` names one. In a ``conftest.py``::

        register_profiles()
        settings.load_profile("perdure-dev")
    """
    patient = Settings(deadline=None, print_blob=True, phases=PHASES, suppress_health_check=[HealthCheck.too_slow])
    Settings.register_profile("perdure-dev", patient, max_examples=50)
    Settings.register_profile("perdure-ci", patient, max_examples=100, derandomize=True, database=None)
    Settings.register_profile("perdure-nightly", patient, max_examples=1_000, stateful_step_count=100)


@attrs.frozen
class Death:
    """The worker dies: at its current step, or after this many further crossings."""

    after_crossings: int | None = None


DrawnFault: TypeAlias = Death | Fault

DEATHS: Final[st.SearchStrategy[DrawnFault]] = st.builds(Death, st.none() | st.integers(0, 12))
"""Deaths. A turn with effects crosses the boundary of its worker about eight times."""

_CALLS: Final = st.integers(1, 4)
_WHEN: Final = st.sampled_from(("before", "after"))


def _places(*operations: str) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{STORE_PREFIX}{operation}" for operation in operations])


STORE_FAULTS: Final[st.SearchStrategy[DrawnFault]] = st.one_of(
    st.builds(Delay, _places(*STORE_OPERATIONS), st.just("2 s"), call=_CALLS),
    st.builds(
        Fail, _places("commit"), st.just(OutcomeUnknown("the answer was lost")), when=st.just("after"), call=_CALLS
    ),
    st.builds(
        Fail,
        _places("commit", "load", "due", "messages"),
        st.just(StoreUnavailable("work", "the store is down")),
        call=_CALLS,
    ),
)
"""Faults of a store: it is slow, silent, or unavailable."""


def faults_at(effects: Sequence[str]) -> st.SearchStrategy[DrawnFault]:
    """Draw a fault for an effect, whatever it declares: an exception, a lost or late result, a death."""
    at = st.sampled_from(effects)
    return st.one_of(
        st.builds(Raise, at, when=_WHEN), st.builds(Delay, at, st.just("3 s")), st.builds(Crash, at, when=_WHEN)
    )


_LAWS = frozenset({("perdure.testing", "JobLaws")})


def laws_in_source(machine: JobMachine[Any], check: Literal["check", "check_at_rest"]) -> tuple[SourceRepr, SourceRepr]:
    """Return the line that watches the laws from the beginning, and the line that checks them.

    Where no module has a name for a function, its own name is written, for the reader to import or replace.

    Args:
        machine: the state machine's options.
        check: the `JobLaws` method that repeats the check.
    """
    job = name_of(machine.job)
    hint = "" if job is not None else f"  # the definition of {machine.job.name!r}"
    job = job or SourceRepr(f"{variable(machine.job.name)}_job")
    parts = [SourceRepr("world"), job]
    if machine.invariants:
        named = [_function(check) for check in machine.invariants]
        texts = "".join(f"{each.text}, " for each in named)
        imports = frozenset[tuple[str, str]]().union(*(each.imports for each in named))
        parts.append(SourceRepr(f"invariants=({texts.rstrip() if len(named) == 1 else texts.rstrip(', ')})", imports))
    if machine.model is not None:
        model = name_of(machine.model) or _model(machine.model)
        parts.append(SourceRepr(f"model={model.text}", model.imports))
    if machine.finished is not None:
        finished = _function(machine.finished)
        parts.append(SourceRepr(f"finished={finished.text}", finished.imports))
    text = ", ".join(part.text for part in parts)
    imports = _LAWS.union(*(part.imports for part in parts))
    return SourceRepr(f"laws = JobLaws({text}){hint}", imports), SourceRepr(f"laws.{check}()")


def _function(function: object) -> SourceRepr:
    name = getattr(function, "__name__", "")
    return name_of(function) or SourceRepr(name if name.isidentifier() else "condition")


def _model(model: Model[Any, Any]) -> SourceRepr:
    initial = _function(model.initial) if callable(model.initial) else source_of(model.initial)
    decide = _function(model.decide)
    command = "" if model.command is None else f", command={model.command!r}"
    imports = initial.imports | decide.imports | {("perdure.testing", "Model")}
    return SourceRepr(f"Model({initial.text}, {decide.text}{command})", imports)


SETTLING_TIME: Final = "10 minutes"
"""How long after the last step all work must have settled."""

MAX_REPEATS: Final = 5
"""How many times a request of unknown outcome is repeated with its key."""


class LazyTrace:
    """A world's trace, formatted only when it is printed: for the smallest failing example."""

    def __init__(self, world: World) -> None:
        self._world = world

    def __repr__(self) -> str:
        return self._world.trace_text()


class JobRules(RuleBasedStateMachine):
    """A world with one job, and the steps on it."""

    machine: ClassVar[JobMachine[Any]]  # of any services

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.monitor = InvariantMonitor(model_check_of(self.machine.job, self.machine.model))
        self.failed = False
        self.prefix: HistoryPrefix | None = None

    # ------------------------------------------------------------ setup and teardown
    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        """Open a world."""
        self.folder = Path(tempfile.mkdtemp(prefix="perdure-")) if self.machine.store == "sqlite" else Path()
        self.world = World(
            self.machine.app(),
            store=self.machine.place(self.folder),
            seed=seed,
            clock=Clock(START + timedelta(microseconds=seed % 1_000)),  # as in production, where few clocks have none
            interleaving=self.machine.interleaving,
            debug=self.machine.debug,
        )
        self.world.watch(self.monitor.watch)
        self.world.watch(self.monitor.of_journals(self.machine.job))
        self.world.__enter__()
        self.play()

    def play(self) -> None:
        """Play the drawn prefix of a history once, as soon as the world is open."""
        prefix, self.prefix = self.prefix, None if self.world is not None else self.prefix
        if prefix is None or self.world is None:
            return
        with self.with_trace():
            self.open_world.inject(*prefix.faults())
            for step in prefix.steps:
                if step.after_ms:
                    with suppress(WorkerDied):
                        self.open_world.advance(f"{step.after_ms} ms")
                if step.action:
                    self._ask(self._make(DrawnRequest(step.action, self.machine.ids[0], step.input)))

    def teardown(self) -> None:
        """Clear all faults, let time pass, check once more, and leave the world."""
        if self.world is None:
            return
        try:
            if not self.failed:
                self._heal()
        finally:
            self.world.leave()
            if self.machine.store == "sqlite":
                shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def open_world(self) -> World:
        """The world, with a worker that is alive."""
        world = self.world
        if world is None:
            raise RuntimeError("a step was taken before the world was open; call super().begin() in begin()")
        # A loop: a death that was arranged for the next worker may hit it while it opens.
        while not world.is_open:
            try:
                world.open()
            except WorkerDied:  # it died while it opened, as arranged before
                world.cancel_crash()
        return world

    # ------------------------------------------------------------ requests
    def ask(self, ask: DrawnRequest) -> None:
        """Make a request with its own key, repeat it while its outcome is unknown, and check the result."""
        with self.with_trace():
            self._ask(self._make(ask))

    def _ask(self, made: SentRequest) -> None:
        before = len(self.open_world.effects)
        self._answered(made, self._result(made))
        error: Any = made.result.failure() if isinstance(made.result, Failure) else None
        if isinstance(error, Rejected):
            self.monitor.refused(made, error.error, self.open_world.effects[before:])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of the job's own type

    @rule(key=st.runner().flatmap(lambda self: st.sampled_from(self.repeatable())))
    @precondition(lambda self: self.repeatable())
    def repeat(self, key: str) -> None:
        """Repeat a request that returned or failed, with its key, as a caller does who received no answer."""
        made = self.monitor.made[key]
        with self.with_trace():
            if isinstance(made.result, Success):
                again = self._result(made)
                # Only a success is compared: the worker may die, or the store fail, during the repeat.
                if isinstance(again, Success) and again != made.result:
                    what = f"{made.ask!r} returned {made.result!r}, and again {again!r}"
                    raise InvariantViolated("a repeat with its key gets the first answer and changes nothing", what)
            else:
                self._ask(made)

    def repeatable(self) -> list[str]:
        """Return keys with a result that is still stored, and keys whose event failed."""
        oldest_ms = self.open_world.now_ms - self.machine.limits.idempotency_ttl_ms
        return [
            key
            for key, made in self.monitor.made.items()
            # An older key may be deleted already: its repeat is a new request.
            if made.at_ms > oldest_ms and (isinstance(made.result, Success) or _failed(made.result))
        ]

    def together(self, asks: list[DrawnRequest]) -> None:
        """Make requests concurrently."""
        with self.with_trace():
            world = self.open_world
            made = [self._make(ask) for ask in asks]
            # All begin before the first is awaited: they are concurrent only then.
            calls = [world.start(self._call(each)) for each in made]
            for each, call in zip(made, calls, strict=True):
                try:
                    result: Result[Any, Any] | None = call.result()
                except WorkerDied:
                    # The same key: the repeat finds out whether the dead worker applied it.
                    result = self._result(each)
                self._answered(each, self._result(each) if _unknown(result) else result)

    def _make(self, ask: DrawnRequest) -> SentRequest:
        key = f"request-{len(self.monitor.made) + 1}"
        made = self.monitor.made[key] = SentRequest(ask, key, self.open_world.now_ms)
        return made

    def _call(self, made: SentRequest) -> Any:  # a FutureResult of the command's result
        job = self.machine.job
        return gateway_of(self.open_world.jobs).request(
            job, made.ask.id, lambda limits: request_of(job, made.ask, made.key, limits)
        )

    def _result(self, made: SentRequest) -> Result[Any, Any] | None:
        """Make a request until its outcome is known. Return None when it stays unknown."""
        for _ in range(MAX_REPEATS):
            try:
                result: Result[Any, Any] = self.open_world.attempt(self._call(made))
            except WorkerDied:
                continue
            if not _unknown(result):
                return result
            with suppress(WorkerDied):
                self.open_world.advance("2 s")
        return None

    def _answered(self, made: SentRequest, result: Result[Any, Any] | None) -> None:
        made.result = result
        at = (self.machine.job.address(made.ask.id), made.key)
        # Read from the commits and not from the store: a later step may have deleted the key.
        if isinstance(result, Success) and self.monitor.sees == "all" and at not in self.monitor.applied:
            raise InvariantViolated("an acknowledged request is stored", f"{made.ask!r} returned {result.unwrap()!r}")

    # ------------------------------------------------------------ time, and the ends of workers
    @rule(duration=st.runner().flatmap(lambda self: st.sampled_from(self.machine.durations)))
    def advance(self, duration: str) -> None:
        """Advance the clock."""
        with self.with_trace(), suppress(WorkerDied):
            self.open_world.advance(duration)

    @rule()
    def jump(self) -> None:
        """Advance the clock to the next alarm."""
        with self.with_trace(), suppress(WorkerDied):
            self.open_world.advance_to_next_alarm()

    @rule()
    def restart(self) -> None:
        """Stop the worker gracefully, and open the next one."""
        with self.with_trace():
            # A graceful stop is tested here. A death during it is another rule's.
            self.open_world.cancel_crash()
            with suppress(WorkerDied):  # by a fault of an effect or of the store; the next step opens the next worker
                self.open_world.restart()

    # ------------------------------------------------------------ faults
    @precondition(lambda self: self.machine.mishaps == "drawn")
    @rule(fault=st.runner().flatmap(lambda self: self.mishaps()))
    def set_fault(self, fault: DrawnFault) -> None:
        """Inject a fault."""
        with self.with_trace():
            if not isinstance(fault, Death):
                self.open_world.inject(fault)
            elif fault.after_crossings is None:
                self.open_world.crash()
            else:
                self.open_world.crash_after(fault.after_crossings)

    def mishaps(self) -> st.SearchStrategy[DrawnFault]:
        """Return the possible faults: crashes, store faults, faults in observed effects, and the test's own faults."""
        kinds: list[st.SearchStrategy[DrawnFault]] = [DEATHS, STORE_FAULTS]
        # Sorted: Hypothesis replays by position, and a set has another order in each process.
        if seen := sorted({call.name for call in self.open_world.effects}):
            kinds.append(faults_at(seen))
        if self.machine.faults is not None:
            kinds.append(self.machine.faults)
        return st.one_of(*kinds)

    # ------------------------------------------------------------ checks
    def check_invariants(self, settings: Settings, output: Callable[[str], object], runtimes: dict[str, float]) -> None:
        """Check the laws, without a step in the reproduction. Then run a subclass's checks."""
        self.laws_hold()
        super().check_invariants(settings, output, runtimes)

    def laws_hold(self) -> None:
        """Check every law, and the test's invariants."""
        if self.world is None:
            return
        with self.with_trace("check"):
            self._settle()
            self.monitor.check()
            check_invariants(self.open_world, self.machine.job, self.machine.invariants, self.machine.finished)

    def _settle(self) -> None:
        """Settle, opening the next worker where one dies meanwhile."""
        while True:
            with suppress(WorkerDied):
                return self.open_world.settle()

    def _heal(self) -> None:
        """Clear all faults and let time pass: then no work may be left undone."""
        with self.with_trace("check_at_rest"):
            world = self.open_world
            world.clear_faults()
            world.cancel_crash()
            world.advance(SETTLING_TIME)
            self.monitor.check()
            check_leftovers(world, self.machine.job)

    @contextmanager
    def with_trace(self, check: Literal["check", "check_at_rest", ""] = "") -> Generator[None]:
        """Add the world's trace to any exception, and let its reproduction check the laws.

        Args:
            check: the `JobLaws` method that repeats the block's checks. By default ``check`` for a violated law, and
                none for another exception, which a reproduction line raises.
        """
        try:
            yield
        except Exception as error:
            self.failed = True
            # Hypothesis raises its own to end an example: those are no failures.
            if self.world is not None and not isinstance(error, HypothesisException):
                if isinstance(error, InvariantViolated):
                    check = check or "check"
                if check:
                    self.world.timeline.script.checks = partial(laws_in_source, self.machine, check)
                note(LazyTrace(self.world))
            raise


def _unknown(result: Result[Any, Any] | None) -> bool:
    return result is None or (isinstance(result, Failure) and isinstance(result.failure(), OutcomeUnknown | StoreError))


def _failed(result: Result[Any, Any] | None) -> bool:
    return isinstance(result, Failure) and isinstance(result.failure(), HookFailed)


def rules_of(machine: JobMachine[Any]) -> type[JobRules]:
    """Return a job's state machine: the common rules, and those for its commands.

    Commands that advance an instance are also drawn several times in a row, so that instances reach late states.
    """
    specs = [machine.job.plan.commands[name] for name in machine.commands]
    own: dict[str, Any] = {"machine": machine, "__module__": __name__}
    asks = st.one_of(*(_asks(spec, machine, st.sampled_from(machine.ids)) for spec in specs))
    own["request_concurrently"] = rule(asks=st.lists(asks, min_size=2, max_size=4))(request_concurrently)
    own["request_one"] = rule(ask=asks)(request_one)
    creating = [spec for spec in specs if spec.absent == "creates"]
    if creating:
        own["request_in_sequence"] = rule(asks=st.sampled_from(machine.ids).flatmap(_in_a_row_of(creating, machine)))(
            request_in_sequence
        )
    if machine.prefixes:
        own["play_history"] = initialize(prefix=_prefixes(machine.prefixes))(play_history)
    name = "".join(part.capitalize() for part in machine.job.name.replace("_", "-").split("-"))
    return type(f"{name}Machine", (JobRules,), own)


def _asks(
    spec: CommandSpec[Any], machine: JobMachine[Any], ids: st.SearchStrategy[str]
) -> st.SearchStrategy[DrawnRequest]:
    inputs = machine.input_of(spec) if spec.input is not None else st.none()
    return st.builds(DrawnRequest, st.just(spec.name), ids, inputs)


def _in_a_row_of(
    specs: list[CommandSpec[Any]], machine: JobMachine[Any]
) -> Callable[[str], st.SearchStrategy[list[DrawnRequest]]]:
    def asks(id_: str) -> st.SearchStrategy[list[DrawnRequest]]:
        return st.lists(st.one_of(*(_asks(spec, machine, st.just(id_)) for spec in specs)), min_size=1, max_size=5)

    return asks


def _prefixes(histories: Sequence[HistoryPrefix]) -> st.SearchStrategy[HistoryPrefix | None]:
    """Draw none in half of the examples. It shrinks to none, then to a short prefix of a short history."""
    # One choice, which shrinks alone: a second one for the prefix would move the choices of all later steps. And by
    # the ends of prefixes, not by histories: short histories, of which there are many, would hide the long ones.
    return st.sampled_from((*(None for _ in histories), *histories))


def play_history(self: JobRules, prefix: HistoryPrefix | None) -> None:
    """Play a prefix of a stored history. Hypothesis may call this before the world is open."""
    self.prefix = prefix
    self.play()


def request_one(self: JobRules, ask: DrawnRequest) -> None:
    """Make one request."""
    self.ask(ask)


def request_in_sequence(self: JobRules, asks: list[DrawnRequest]) -> None:
    """Make several requests, each after the previous one returned."""
    for ask in asks:
        self.ask(ask)


def request_concurrently(self: JobRules, asks: list[DrawnRequest]) -> None:
    """Make several requests concurrently."""
    self.together(asks)


R = TypeVar("R")

DURATIONS: tuple[Duration, ...] = ("1 ms", "1 s", "10 s", "1 minute", "10 minutes", "1 hour")
"""The amounts of time that pass in one step."""


class JobTestCase(TestCase):
    """A state machine's test case, which Hypothesis makes. This class declares its attributes for type checkers.

    Attributes:
        settings: Hypothesis' settings. You may replace them.
    """

    settings: ClassVar[Settings]


def _all_commands(machine: JobMachine[Any]) -> tuple[str, ...]:
    return tuple(machine.job.plan.offered)


@attrs.frozen(kw_only=True)
class JobMachine(Generic[R]):
    """A Hypothesis state machine for a job, from its definition alone.

    It sends drawn requests, alone and concurrently, repeats them with their keys, lets time pass, crashes and restarts
    workers, injects faults into effects and commits, and checks every law in `perdure.testing.job_laws`. A failure
    shows its steps as a test, with the world's trace.

    ``test_orders = JobMachine(job=orders, services=Fakes).TestCase`` is a test that pytest collects.

    Args:
        job: the definition under test.
        services: makes one example's services: a class of fakes, or a function.
        beside: the app's other jobs, such as those that receive its messages.
        inputs: strategies for some commands' inputs, by command name. By default any value that the type allows.
        types: strategies for some types inside drawn inputs, such as ``{int: st.integers(1, 99)}``.
        commands: the commands to send. By default all that the kind has, also ``pause``, as an operator may.
        invariants: conditions that must hold for every stored instance after each step.
        model: the job's model.
        faults: additional effect faults and store faults.
        mishaps: whether crashes and faults are drawn without being named.
        finished: returns whether an instance in that state may wait for nothing. By default the definition decides.
        ids: the instances' ids.
        durations: how much time may pass in one step.
        interleaving: where the seed may run other tasks first.
        store: the store: ``memory``, ``sqlite`` in a separate folder, or a function that returns, for each example, a
            function that opens your own store, empty.
        limits: the engine's limits.
        debug: whether a hook mistake fails the test, as in a `World`.
        histories: histories of a real store. Half of the examples begin with the first steps of one of them.

    Raises:
        DefinitionError: it names a command that the job does not have, or a step of a history cannot be decoded.
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
    histories: Histories | None = None
    prefixes: tuple[HistoryPrefix, ...] = attrs.field(init=False, repr=False, eq=False, default=())

    def __attrs_post_init__(self) -> None:
        for name in (*self.commands, *self.inputs):
            if name not in self.job.plan.commands:
                known = ", ".join(self.job.plan.offered)
                raise DefinitionError(f"commands of the JobMachine of {self.job.name!r}", name, f"one of {known}")
        if self.histories is not None:
            object.__setattr__(self, "prefixes", played_by(self.job, self.histories, self.commands))

    # ------------------------------------------------------------ running it
    @property
    def rules(self) -> type[JobRules]:
        """The state machine. Subclass it to add your own rules."""
        return rules_of(self)

    @cached_property
    def TestCase(self) -> type[JobTestCase]:  # noqa: N802 - as Hypothesis calls it
        """A test case for pytest or unittest, always the same one, so that you can change its ``settings``.

        They omit the phase ``explain``, which traces the engine line by line and takes twenty times as long as the
        rest. To change them: ``case.settings = settings(case.settings, max_examples=500)``.
        """
        case: Any = self.rules.TestCase  # hypothesis declares no ``settings`` of it
        case.settings = Settings(case.settings, phases=PHASES)
        test_case: type[JobTestCase] = case
        return test_case

    def run(self, options: Settings | None = None) -> None:
        """Run the state machine synchronously.

        Raises:
            InvariantViolated: a law or an invariant does not hold. The message shows the smallest steps.
        """
        run_state_machine_as_test(self.rules, settings=options or self.TestCase.settings)

    # ------------------------------------------------------------ for the rules
    def app(self) -> App[R]:
        """Return one example's app, with its own services."""
        return App(self.services(), limits=self.limits).with_jobs(self.job, *self.beside)

    def place(self, folder: Path) -> str | os.PathLike[str] | Opener:
        """Return one example's store."""
        if callable(self.store):
            return self.store()
        return "memory://" if self.store == "memory" else folder / "jobs.db"

    def input_of(self, spec: CommandSpec[Any]) -> st.SearchStrategy[Any]:
        """Return the strategy for a command's input."""
        if spec.name in self.inputs:
            return self.inputs[spec.name]
        if spec.name == "terminate":
            return st.just("terminated")
        if spec.input is None:
            return st.none()
        values = from_type(spec.input.form, using=self.types)
        fields = {name: st.sampled_from(self.ids if few is None else few) for name, few in spec.samples}
        return st.builds(attrs.evolve, values, **fields) if fields else values
