"""Dry runs for requests, computed by the functions that decide the real turn. Nothing is written.

A dry run takes place on its draft, in virtual time, with given answers instead of effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.jobs.checkpoint import AwaitChange, Checkpoint, DryJournal, HasWork, KeepProgram, ReadJournal, TakeProgram
from perdure.jobs.definition import AnyDefinition, Definition
from perdure.jobs.draft import Draft
from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import secrets_of_instance, secrets_of_request, secrets_of_run
from perdure.jobs.request import ALARM, Request
from perdure.jobs.run import claim_event
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst, Step, TurnResult
from perdure.jobs.transitions import nothing, stored
from perdure.jobs.turn import begin, finish
from perdure.programs import PASS, Exit, Halted, Program, Raised, ServiceCall, run_async, sandbox, succeed
from perdure.values.address import Address
from perdure.values.errors import DefinitionError, HookRaised, RunTimeout
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.secret import scrubbed
from perdure.values.times import from_ms
from perdure.values.transition import Loaded, Put, Transition
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.runtime.simulated import Simulation


@attrs.define
class DryRun:
    """One program, to be run as the engine would run it, except for its effects.

    Attributes:
        draft: the draft for its context operations.
        services: the services that it may read.
        begins_ms: the virtual clock's time at the start.
        limit_ms: time limit, in virtual milliseconds.
    """

    __repr__ = fields_in_line

    HALT: ClassVar[Halted] = Halted("the dry run ends here")
    program: Program[Any, Any, Any]
    draft: Draft
    services: object
    begins_ms: int
    limit_ms: int
    _simulation: Simulation | None = None

    @property
    def now_ms(self) -> int:
        """The virtual clock's time."""
        return self.begins_ms if self._simulation is None else self._simulation.now_ms

    def run(self, perform: Callable[[object], object]) -> Exit[Any, Any]:
        """Run the program and return its exit.

        Args:
            perform: answers its effects, synchronously. ``HALT`` stops the program there.
        """
        from perdure.runtime.simulated import Simulation  # noqa: PLC0415 - imports `random`, and few processes need it

        # One order: the same arguments must give the same explanation.
        self._simulation = simulation = Simulation(start=from_ms(self.begins_ms), order="fifo")
        runtime = simulation.runtime

        async def limited() -> Exit[Any, Any]:
            work = run_async(
                sandbox(self.program, self.draft),
                self.services,
                runtime=runtime,
                handler=lambda asked, _: perform(asked),
            )
            task = runtime.spawn(work, name="dry run")

            def time_is_up() -> None:
                task.cancel()

            # On the virtual clock: a program that only sleeps ends at once.
            runtime.call_later(self.limit_ms, time_is_up)
            try:
                exit_ = await task
            except runtime.cancelled:
                return Raised(RunTimeout(self.limit_ms))
            return exit_.unwrap() if isinstance(exit_, Success) else exit_

        try:
            return simulation.run(limited())
        finally:
            simulation.close()


T = TypeVar("T")

Answers: TypeAlias = Mapping[str, object] | Callable[[ServiceCall], object]
"""Answers of the services: by the name of the effect (``{"send_mail": Success(None)}``), the same for each call; or a
function of the call, which returns ``PASS`` where it has no answer."""

NO_ANSWERS: Final[Mapping[str, object]] = {}

Asked: TypeAlias = Callable[[T], Program[None]] | Literal["alarm", "pause", "resume"]
"""A request as a value: a message to the job (``lambda order: order.send(event)``), or one of the requests that are not
messages."""

NEW_INCARNATION = 1
"""The incarnation of a new instance, unless it is known."""

_ROOM_FOR_IDS = 1 << 32


@attrs.frozen(kw_only=True)
class Explained:
    """The turn's outcome.

    Attributes:
        before: the instance that it was computed from. None if there is none.
        transition: the final commit.
        claim: the commit before it: the claim for a run, or for an event with an effect. None if there is none.
        checkpoints: the commits between the two, if the run has a journal.
        result: the result for the caller, or the error.
        waits_for: the limits with a name that the run would wait for now, before it begins.
    """

    __repr__ = fields_in_line

    before: Instance | None
    transition: Transition
    claim: Transition | None
    result: TurnResult
    checkpoints: tuple[Transition, ...] = ()
    waits_for: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """The version of the instance that it was computed from. 0 if there is none."""
        return 0 if self.before is None else self.before.version

    @property
    def instance(self) -> Instance | None:
        """The instance as it would be stored. None if it would be purged or stay unchanged."""
        after = stored(self.transition)
        if after is None or after.incarnation:
            return after
        return after.changed(incarnation=NEW_INCARNATION)


@attrs.frozen(kw_only=True)
class NeedsAnswer:
    """The dry run stopped at a service call without a given answer.

    Attributes:
        effect: the effect's name.
        args: its positional arguments.
        kwargs: its keyword arguments.
        waits_for: the limits with a name that the run would wait for now, before it begins.
    """

    effect: str
    args: tuple[Any, ...]  # of whatever types the effect takes
    kwargs: Mapping[str, Any]  # as above
    waits_for: tuple[str, ...] = ()
    _secrets: frozenset[str] = attrs.field(default=frozenset(), alias="secrets", repr=False, eq=False)

    def __repr__(self) -> str:
        return self.shown(fields_in_line(self))

    def shown(self, text: str) -> str:
        """Return a text about the arguments without the run's secrets."""
        return scrubbed(text, getattr(self, "_secrets", None) or ())


@attrs.frozen(kw_only=True)
class WaitsForRun:
    """The request would be decided only after a run of the instance that is in progress or abandoned.

    Attributes:
        run_id: the run.
    """

    __repr__ = fields_in_line

    run_id: str


Explanation: TypeAlias = Explained | NeedsAnswer | WaitsForRun


def explain(
    job: AnyDefinition,
    address: Address,
    loaded: Loaded,
    request: Request,
    *,
    inputs: Sequence[TurnInputs],
    answers: Answers,
    services: object = None,
    incarnation: int = NEW_INCARNATION,
    journal: Sequence[str] = (),
    waits_for: tuple[str, ...] = (),
) -> Explanation:
    """Compute a request's outcome. Pure: the same arguments return the same explanation.

    With the same answers, version and inputs, the real turn returns the same transitions.

    Args:
        job: the instance's definition.
        address: the instance.
        loaded: the stored instance, and the stored answer for the request's idempotency key.
        request: the request.
        inputs: each decision's inputs, in order. At least the first. Further decisions continue from the last ones, at
            the dry run's time.
        answers: the services' answers.
        services: the services as readers see them (`asks`). No effect is performed on them.
        incarnation: the incarnation that the store would assign to a new instance.
        journal: the instance's journal rows.
        waits_for: the limits with a name that a run of the instance would wait for now.
    """
    turn = _DryTurn(job, address, loaded, tuple(inputs), _by_call(answers), services, incarnation, list(journal))
    explanation = turn.take(request)
    # Limits keep runs back, and no decisions.
    if not waits_for or not turn.has_run or isinstance(explanation, WaitsForRun):
        return explanation
    return attrs.evolve(explanation, waits_for=waits_for)


def request_of(
    job: Definition[Any, T, Any], asked: Asked[T], *, key: str | None, max_bytes: int, of: str = "explain"
) -> Request:
    """Build the request that a function sends through a sender.

    Args:
        job: the definition.
        asked: the request as a value.
        key: the idempotency key.
        max_bytes: the encoded input's maximum size.
        of: the caller's method, for the error.

    Raises:
        InvalidInput: the input does not have its declared type, or is too large.
        DefinitionError: the function sends no request, or more than one.
    """
    if asked == "alarm":
        return ALARM
    told: list[tuple[str, object]] = []

    def post(action: str, value: object = None) -> Program[None]:
        told.append((action, value))
        return succeed(None)

    if isinstance(asked, str):
        post(asked)
    else:
        asked(job.sender(post))
    # Exactly one: a function that sends two requests has no one answer.
    if len(told) != 1:
        sent = [action for action, _ in told]
        raise DefinitionError(f"request of {of}", sent, "a function that sends one request: lambda job: job.send(…)")
    ((action, value),) = told
    return job.parse(action, job.encode_input(action, value, max_bytes), idempotency_key=key)


@attrs.define
class _DryTurn:
    """One turn's dry run."""

    job: AnyDefinition
    address: Address
    loaded: Loaded
    inputs: tuple[TurnInputs, ...]
    answers: Callable[[ServiceCall], object]
    services: object
    incarnation: int
    rows: list[str]
    _checkpoints: list[Transition] = attrs.Factory(list[Transition])
    has_run: bool = False
    _decisions: int = 0
    _claim: Transition | None = None
    _stopped: NeedsAnswer | None = None

    def take(self, request: Request) -> Explanation:
        """Begin, run and finish until there is a final commit."""
        inputs = self.inputs[0]
        step = self._begin(request, inputs)
        while isinstance(step, Execute):
            execute, exit_, inputs = self._run(step, inputs)
            if self._stopped is not None:
                return self._stopped
            step = self._finish(execute, exit_, inputs)
        match step:
            case Commit(transition, result):
                return Explained(
                    before=self.loaded.instance,
                    transition=transition,
                    claim=self._claim,
                    result=result,
                    checkpoints=tuple(self._checkpoints),
                )
            case Mark() | Defer() | RecoverFirst():
                return WaitsForRun(run_id=self._run_in_progress())

    def _begin(self, request: Request, inputs: TurnInputs) -> Step:
        try:
            return begin(self.job, self.address, self.loaded, request, inputs)
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # noqa: BLE001 - a hook that raises before it returns a program
            record = record_failure(Raised(defect), None, secrets=self._secrets(request))
            broken = HookRaised(record.error_type, record.message, record.traceback or "")
            return Commit(nothing(self.address), Failure(broken))

    def _finish(self, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute:
        try:
            return finish(self.job, execute, exit_, inputs)
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # noqa: BLE001 - a policy that raises is a defect of the run
            # As the engine does: a policy that raises fails the run.
            return finish(self.job, execute, Raised(defect), inputs)

    # ------------------------------------------------------------ the run
    def _run(self, execute: Execute, inputs: TurnInputs) -> tuple[Execute, Exit[Any, Any], TurnInputs]:
        """Run a run's program. Return the run, claimed if necessary, its exit, and the inputs at its end."""
        self.has_run = True
        rehearsal = DryRun(execute.program, execute.draft, self.services, inputs.now_ms, self._limit_ms())
        journal = DryJournal(self.job, execute, self.rows, lambda: self._next_facts(inputs, rehearsal.now_ms))
        journal.transitions = self._checkpoints
        if execute.claimed == "before_run":
            journal.execute = self._claimed(execute)

        def perform(instruction: object) -> object:
            if journal.execute.claimed == "before_effect":
                journal.execute = self._claimed(journal.execute)
            if isinstance(instruction, Checkpoint | ReadJournal | AwaitChange | TakeProgram | KeepProgram | HasWork):
                return journal.answer(instruction)
            return self._answer(instruction, execute)

        exit_: Exit[Any, Any]
        try:
            exit_ = rehearsal.run(perform)
        except KeyboardInterrupt:
            raise
        except BaseException as defect:  # noqa: BLE001 - a defect of the program, as in a real turn
            exit_ = Raised(defect)
        return journal.execute, exit_, self._next_facts(inputs, rehearsal.now_ms)

    def _limit_ms(self) -> int:
        """Return a dry run's time limit. A run with checkpoints has the same limit as a simulated one."""
        return self.job.plan.run_timeout_ms if self.job.time_limit_of == "run" else self.job.simulation_timeout_ms

    def _claimed(self, execute: Execute) -> Execute:
        """Record a run's claim until the dry run ends."""
        self._claim = execute.claiming or claim_event(execute)
        if not isinstance(self._claim.write, Put):
            return execute
        after = self._claim.write.instance
        # The store gives a new instance its incarnation, and a dry run has none.
        known = after if after.incarnation else after.changed(incarnation=self.incarnation)
        return execute.recorded(known)

    def _answer(self, instruction: object, execute: Execute) -> object:
        answer = self.answers(instruction) if isinstance(instruction, ServiceCall) else PASS
        if answer is not PASS:
            return answer
        # The first stop counts: a program may catch the halt, and reach another call.
        self._stopped = self._stopped or _stopped_at(instruction, secrets_of_run(self.job, execute))
        return DryRun.HALT

    def _secrets(self, request: Request) -> frozenset[str]:
        return secrets_of_instance(self.job, self.loaded.instance) | secrets_of_request(self.job, request)

    # ------------------------------------------------------------ the inputs of the engine
    def _next_facts(self, last: TurnInputs, now_ms: int) -> TurnInputs:
        self._decisions += 1
        if self._decisions < len(self.inputs):
            return self.inputs[self._decisions]
        # Ids of the run begin far behind those of its claim: a real turn draws both from different bases.
        id_base = last.id_base if self._claim is None else last.id_base + _ROOM_FOR_IDS
        return attrs.evolve(last, now_ms=now_ms, id_base=id_base)

    def _run_in_progress(self) -> str:
        instance = self.loaded.instance
        claim = None if instance is None else instance.claim or instance.event_claim
        return "" if claim is None else claim.run_id


def _by_call(answers: Answers) -> Callable[[ServiceCall], object]:
    if callable(answers):
        return answers
    return lambda call: answers.get(call.name, PASS)


def _stopped_at(instruction: object, secrets: frozenset[str]) -> NeedsAnswer:
    if isinstance(instruction, ServiceCall):
        return NeedsAnswer(effect=instruction.name, args=instruction.args, kwargs=instruction.kwargs, secrets=secrets)
    return NeedsAnswer(effect=type(instruction).__name__, args=(instruction,), kwargs={}, secrets=secrets)
