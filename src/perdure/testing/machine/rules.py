"""The rules of a state machine: its steps, and the checks after each of them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from hypothesis import note, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from returns.result import Failure, Result, Success

from perdure.client.client import gateway_of
from perdure.testing.machine.drawn_fault import DEATHS, STORE_FAULTS, Death, DrawnFault, faults_at
from perdure.testing.machine.job_laws import look_at, look_for_leftovers, model_check_of
from perdure.testing.machine.law import InvariantViolated
from perdure.testing.machine.laws_source import laws_in_source
from perdure.testing.machine.monitor import InvariantMonitor
from perdure.testing.machine.requests import DrawnRequest, SentRequest, request_of
from perdure.testing.world import WorkerDied, World
from perdure.testing.world.clock import START, Clock
from perdure.values.errors import HookFailed, OutcomeUnknown, Rejected, StoreError

if TYPE_CHECKING:
    from perdure.jobs.request import CommandSpec
    from perdure.testing.machine.machine import JobMachine

HEALING: Final = "10 minutes"
"""How long after the last step all work must have settled."""

TRIES: Final = 5
"""How many times a request of unknown outcome is repeated with its key."""


class LazyTrace:
    """The trace of a world, formatted only when it is printed: for the smallest failing example."""

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
                if isinstance(again, Success) and again != made.result:
                    what = f"{made.ask!r} returned {made.result!r}, and again {again!r}"
                    raise InvariantViolated("a repeat with its key gets the first answer and changes nothing", what)
            else:
                self._ask(made)

    def repeatable(self) -> list[str]:
        """Return the keys whose results are still stored, and those of events that failed."""
        oldest_ms = self.open_world.now_ms - self.machine.limits.idempotency_ttl_ms
        return [
            key
            for key, made in self.monitor.made.items()
            if made.at_ms > oldest_ms and (isinstance(made.result, Success) or _failed(made.result))
        ]

    def together(self, asks: list[DrawnRequest]) -> None:
        """Make requests concurrently."""
        with self.with_trace():
            world = self.open_world
            made = [self._make(ask) for ask in asks]
            calls = [world.start(self._call(each)) for each in made]
            for each, call in zip(made, calls, strict=True):
                try:
                    result: Result[Any, Any] | None = call.result()
                except WorkerDied:
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
        """Make a request until its outcome is known; return None when it stays unknown."""
        for _ in range(TRIES):
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
        """Return the possible faults: crashes, store faults, faults of observed effects, and faults of the test."""
        kinds: list[st.SearchStrategy[DrawnFault]] = [DEATHS, STORE_FAULTS]
        if seen := sorted({call.name for call in self.open_world.effects}):
            kinds.append(faults_at(seen))
        if self.machine.faults is not None:
            kinds.append(self.machine.faults)
        return st.one_of(*kinds)

    # ------------------------------------------------------------ checks
    def check_invariants(self, settings: settings, output: Callable[[str], object], runtimes: dict[str, float]) -> None:
        """Check the laws, which is not a step of the reproduction; then the checks of a subclass."""
        self.laws_hold()
        super().check_invariants(settings, output, runtimes)

    def laws_hold(self) -> None:
        """Check every law, and every invariant of the test."""
        if self.world is None:
            return
        with self.with_trace("check"):
            self._settle()
            self.monitor.check()
            look_at(self.open_world, self.machine.job, self.machine.invariants, self.machine.finished)

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
            world.advance(HEALING)
            self.monitor.check()
            look_for_leftovers(world, self.machine.job)

    @contextmanager
    def with_trace(self, check: Literal["check", "check_at_rest", ""] = "") -> Generator[None]:
        """Add the trace of the world to any exception, and let its reproduction check the laws.

        Args:
            check: the method of `JobLaws` that repeats the checks of the block; by default ``check`` for a violated
                law, and none for another exception, which a line of the reproduction raises.
        """
        try:
            yield
        except Exception as error:
            self.failed = True
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
    """Return the state machine of a job: the common rules, and those for its commands.

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
