"""The public surface for interpreters of definitions: what decides a turn, without an engine and without a store.

An interpreter is code of your own that keeps instances elsewhere, such as in the objects of a server for durable
execution. It calls `decide` with a request, writes the `Transition` that it gets, and runs programs whose claim is
written with `run_claimed`. All decisions are the engine's own: `begin` and `finish` are the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Final, Protocol, TypeAlias

import attrs
from returns.result import Success

from perdure.codecs import Codec
from perdure.engine.mailbox.entry import is_interrupt
from perdure.engine.runs.effects import MAX_CONFLICTS, RunLost, TimeLimit
from perdure.engine.runs.runner import take_cancellation_back, uncancel
from perdure.jobs.checkpoint import (
    OF_A_CLAIMED_RUN,
    AwaitChange,
    Checkpoint,
    ClaimLost,
    HasWork,
    KeepProgram,
    ReadJournal,
    TakeProgram,
    checkpointed,
    present,
)
from perdure.jobs.context import RunInterrupted
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import record_failure
from perdure.jobs.recovery import recover
from perdure.jobs.redaction import secrets_of_instance, secrets_of_request
from perdure.jobs.request import ALARM, RECOVER, Inbound, Request
from perdure.jobs.run import claim_event, running_answer
from perdure.jobs.step import Commit, Defer, Execute, Mark, RecoverFirst, run_of
from perdure.jobs.transitions import refuse
from perdure.jobs.turn import begin, begin_marked, finish, interrupted, merge_background_run
from perdure.programs import Exit, Halted, Raised
from perdure.programs.constructors import LIMITS
from perdure.programs.drivers import Suspended, default_handler, run_inline
from perdure.programs.instructions import ENDS_PROCESS, ServiceCall, is_closing
from perdure.runtime.record import Future, LogRecord, Runtime
from perdure.runtime.tasks import InRun, enter_run, leave_run, start_eagerly
from perdure.values.address import Address
from perdure.values.answer import RunAnswer
from perdure.values.attributes import AttributeKeys
from perdure.values.errors import Conflict, DefinitionError, HookRaised, InvalidInput, RunTimeout
from perdure.values.event import Event
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.limits import Limits
from perdure.values.message import Message, MessageFate
from perdure.values.transition import (
    JournalChange,
    Loaded,
    NewKeys,
    Purge,
    Put,
    Remembered,
    Transition,
    Write,
)
from perdure.values.turn_inputs import NotDrawn, TurnInputs

__all__ = [
    "ALARM",
    "RECOVER",
    "TRANSITION_FORMAT",
    "Claim",
    "Commit",
    "Decision",
    "Defer",
    "Execute",
    "Inbound",
    "InstanceRecord",
    "Limits",
    "Loaded",
    "Mark",
    "Purge",
    "Put",
    "RecoverFirst",
    "Request",
    "Transition",
    "TurnInputs",
    "begin",
    "begin_marked",
    "checkpointed",
    "decide",
    "decode_instance",
    "decode_transition",
    "early_answer",
    "encode_instance",
    "encode_transition",
    "finish",
    "interrupted",
    "merge_background_run",
    "recover",
    "run_claimed",
    "until_effect",
]

Decision: TypeAlias = Commit | Mark | Defer | RecoverFirst
"""What `decide` returns: a transition to write, a claim to write before a program runs, or a reason to wait."""


# ---------------------------------------------------------------- a turn
def decide(
    job: AnyDefinition, address: Address, loaded: Loaded, request: Request, inputs: TurnInputs, services: Any
) -> Decision:
    """Decide a request, and run the program of an event to its end if it has no effect. It performs no effect.

    Args:
        job: the definition of the instance.
        address: the instance.
        loaded: the stored instance, and the stored result for the idempotency key of the request.
        request: the request. `Definition.parse` makes one from an action and its payload.
        inputs: the clock, the random value and the ids.
        services: the services of the programs.

    Returns:
        A `Commit`: write its transition, and return its result to the caller. A `Mark`: write its transition, and pass
        it to `run_claimed` with the row. A `Defer`: repeat when the run in progress is over. A `RecoverFirst`: decide
        `RECOVER`, then repeat.

    Raises:
        InvalidInput: this code cannot decode the input, and no instance is stored.
    """
    try:
        step = begin(job, address, loaded, request, inputs)
        if isinstance(step, Execute) and step.claimed == "before_effect":
            step = until_effect(job, step, inputs, services)
    except (InvalidInput, NotDrawn, *ENDS_PROCESS):
        raise
    except BaseException as defect:  # noqa: BLE001 - a hook may raise any class; its caller gets `HookRaised`
        return _hook_raised(job, address, loaded.instance, request, defect)
    if not isinstance(step, Execute):
        return step
    return Mark(transition=step.claiming or claim_event(step), claim=step.claim, alone=step.alone)


def early_answer(mark: Mark, request: Request) -> Success[RunAnswer] | None:
    """Return the result for a caller that waits for the start of a run only. None if it waits for the end.

    Args:
        mark: the mark that was written.
        request: the request of the caller.
    """
    if request.wait_for == "completion" or mark.claim.cause in {"event", "upgrade"}:
        return None
    return Success(running_answer(created=mark.claim.created == "here"))


def _hook_raised(
    job: AnyDefinition, address: Address, row: Instance | None, request: Request, defect: BaseException
) -> Commit:
    secrets = secrets_of_request(job, request) | secrets_of_instance(job, row)
    record = record_failure(Raised(defect), None, secrets=secrets)
    return refuse(address, HookRaised(record.error_type, record.message, record.traceback or ""))


def until_effect(job: AnyDefinition, execute: Execute, inputs: TurnInputs, services: Any) -> Commit | Execute:
    """Run a program, and the hooks that follow it, to the end or to the first effect.

    A program that reaches an effect is dropped: it is pure so far, and `run_claimed` begins it again.

    Args:
        job: the definition.
        execute: the program.
        inputs: the inputs of the decision on its end.
        services: its services.

    Returns:
        The commit of its end. Or the program that has an effect: its claim is recorded first.
    """
    step: Commit | Execute = execute
    while isinstance(step, Execute):
        around = enter_run(run_of(step))
        try:
            begun = run_inline(step.program, services, step.draft)
            if isinstance(begun, Suspended):
                begun.drop()
                return step
            step = _finished(job, step, begun, inputs)
        finally:
            leave_run(around)
    return step


def _finished(job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any], inputs: TurnInputs) -> Commit | Execute:
    """Decide on an exit. If a policy of the user raises, the run ends by that.

    Raises:
        KeyboardInterrupt: it interrupted the program, which is no failure of it.
    """
    if isinstance(exit_, Raised) and is_interrupt(exit_):
        raise exit_.cause
    try:
        return finish(job, execute, exit_, inputs)
    except NotDrawn:
        raise
    except BaseException as defect:  # noqa: BLE001 - a policy may raise any class
        return finish(job, execute, Raised(defect), inputs)


# ---------------------------------------------------------------- a claimed run
class InstanceRecord(Protocol):
    """Where an interpreter keeps one instance, as a claimed run sees it."""

    async def load(self) -> Loaded:
        """Return the row as it is stored now."""
        ...

    async def write(self, transition: Transition) -> bool:
        """Write a transition, all or nothing, durable when this returns. Its repeat must not be applied twice.

        Args:
            transition: the transition.

        Returns:
            False, with nothing written, if the row does not have its `expected` fence.
        """
        ...

    async def journal(self, first: int, limit: int) -> tuple[str, ...]:
        """Return rows of the journal, in order. Fewer than the limit at the end.

        Args:
            first: the place of the first row.
            limit: how many.
        """
        ...

    async def changed(self, version: int) -> None:
        """Return when another turn may have written the row.

        Args:
            version: the version that the run knows.
        """
        ...


FIRST_PAUSE_MS: Final = 100
MAX_PAUSE_MS: Final = 5_000
"""How long an interpreter waits before it reads a row again that it could not read: twice as long each time."""


@attrs.define(eq=False)
class _Run:
    """A claimed run, which answers its program's checkpoints over the present row."""

    job: AnyDefinition
    execute: Execute
    record: InstanceRecord
    runtime: Runtime
    inputs: Callable[[], TurnInputs]
    limit: TimeLimit[Any] | None = None
    _saving: bool = False
    _waiting: list[Future[Any]] = attrs.Factory(list[Any])
    lost: RunLost | Halted | None = None

    def handle(self, instruction: object, services: Any) -> object:
        """Perform an instruction."""
        if type(instruction) in OF_A_CLAIMED_RUN:
            return self._answer(instruction)
        if type(instruction) is ServiceCall and hasattr(instruction.fn, LIMITS):
            # Without this, the calls would exceed the limit, and no caller would know.
            raise DefinitionError(f"limits of the effect {instruction.name}", "declared", "none: they need an engine")
        return default_handler(instruction, services)

    async def _answer(self, instruction: object) -> object:
        match instruction:
            case ReadJournal():
                return Success(await self.record.journal(instruction.first, instruction.limit))
            case AwaitChange():
                return await self._changed()
            case TakeProgram():
                return Success(None)
            case KeepProgram():
                return Success(False)  # noqa: FBT003 - the answer
            case HasWork():
                return Success(True)  # noqa: FBT003 - the answer
            case Checkpoint():
                return await self._save(instruction)
            case _:
                raise TypeError(instruction)

    async def _save(self, checkpoint: Checkpoint) -> object:
        """Write a checkpoint when it has its turn."""
        await self.settled()
        if self.lost is not None:
            return self._end()
        value = checkpoint.take()
        if value is None:
            return Success(None)
        self._saving, answers = True, list[object]()
        # In a task of its own: a branch that is cancelled meanwhile leaves no write that the run does not know of.
        start_eagerly(self._written(value, answers), self.runtime, name="perdure:checkpoint")
        await self.settled()
        if self.limit is not None and self.job.time_limit_of == "checkpoint":
            self.limit.restart()
        return answers[0] if answers else self._end()

    def _end(self) -> Halted:
        if isinstance(self.lost, RunLost):
            raise self.lost
        return self.lost or Halted(ClaimLost())

    async def watch(self, stop: Callable[[], None]) -> None:
        """Stop the run when a stored request interrupts it."""
        # Of its own: the program's `AwaitChange` compares the row that the run knows.
        version, pause_ms = self.execute.instance.version, FIRST_PAUSE_MS
        while True:
            try:
                await self.record.changed(version)
                joined = present(self.execute, await self.record.load())
            except Exception as failed:  # noqa: BLE001 - of the store: without its row, the run could not be interrupted
                if pause_ms == FIRST_PAUSE_MS:
                    fields = {"address": str(self.execute.instance.address), "error": repr(failed)}
                    self.runtime.log(LogRecord("warning", "row of a run not read, tried again", fields))
                await self.runtime.sleep(pause_ms)
                pause_ms = min(2 * pause_ms, MAX_PAUSE_MS)
                continue
            pause_ms = FIRST_PAUSE_MS
            if joined is None:
                return  # the run's next checkpoint finds that its claim is lost
            if self.job.interrupts(self.execute, joined.instance):
                stop()
                return
            version = joined.instance.version

    async def settled(self) -> None:
        """Wait until no checkpoint is being written."""
        while self._saving:
            over = self.runtime.future()
            self._waiting.append(over)
            await over

    async def _written(self, value: object, answers: list[object]) -> None:
        try:
            answers.append(await self._stored(value))
        except BaseException as raised:  # noqa: BLE001 - the run ends by it
            self.lost = RunLost(raised)
        finally:
            self._saving = False
            waiting, self._waiting = self._waiting, []
            for over in waiting:
                if not over.done():
                    over.set_result(None)

    async def _stored(self, value: object) -> object:
        # The row as this run wrote it last, first: mostly nothing else has written it.
        joined: Execute | None = self.execute
        for _ in range(MAX_CONFLICTS + 1):
            if joined is None:
                self.lost = Halted(ClaimLost())
                return self.lost
            commit = checkpointed(self.job, joined, value, self.inputs())
            write = commit.transition.write
            if not isinstance(write, Put):
                self.execute = joined
                return commit.result
            if await self.record.write(commit.transition):
                self.execute = joined.recorded(_as_stored(write.instance, joined))
                return commit.result
            joined = present(self.execute, await self.record.load())
        raise Conflict(str(self.execute.instance.address))

    async def _changed(self) -> object:
        while True:
            await self.settled()
            if self.lost is not None:
                return self._end()
            joined = present(self.execute, await self.record.load())
            if joined is None:
                return Halted(ClaimLost())
            if joined.instance.version != self.execute.instance.version:
                self.execute = joined
                return Success(joined.instance)
            await self.record.changed(joined.instance.version)


def _as_stored(instance: Instance, execute: Execute) -> Instance:
    return instance.changed(incarnation=execute.instance.incarnation)


async def run_claimed(
    job: AnyDefinition,
    mark: Mark,
    request: Request,
    services: Any,
    record: InstanceRecord,
    *,
    runtime: Runtime,
    inputs: Callable[[], TurnInputs],
) -> Commit:
    """Run a program whose claim is recorded, with its effects, and write its end.

    If the process ends meanwhile, the claim stays: `decide` the request `RECOVER`, which counts the delivery in another
    mark, or parks the run.

    Args:
        job: the definition.
        mark: the mark whose transition was written.
        request: the request.
        services: the services of the program.
        record: reads and writes the row.
        runtime: time, waiting and tasks, such as `perdure.runtime.on_asyncio.asyncio_runtime`.
        inputs: collects the inputs of one decision. Called for each.

    Returns:
        The commit of its end, which is written. Its result is the caller's.

    Raises:
        Conflict: each attempt to write met another row.
        KeyboardInterrupt: it interrupted the program. The claim stays.
    """
    row = (await record.load()).instance
    if row is None or not _holds_claim(row, mark.claim):
        raise Conflict(str(mark.transition.address))
    step: Commit | Execute = begin_marked(job, mark, row, request, inputs())
    if isinstance(step, Commit) and not await _stored(record, step):
        raise Conflict(str(mark.transition.address))
    while isinstance(step, Execute):
        run = _Run(job, step, record, runtime, inputs)
        exit_ = await _exit_of(run, services)
        await run.settled()
        step = await _ended(run, exit_)
    return step


def _holds_claim(row: Instance, claim: Claim) -> bool:
    found = row.event_claim if claim.cause in {"event", "upgrade"} else row.claim
    return found is not None and (found.run_id, found.deliveries) == (claim.run_id, claim.deliveries)


async def _stored(record: InstanceRecord, commit: Commit) -> bool:
    return commit.transition.is_empty or await record.write(commit.transition)


async def _ended(run: _Run, exit_: Exit[Any, Any]) -> Commit | Execute:
    """Decide on an exit, and write that. Or return the program that follows it."""
    job, execute = run.job, run.execute
    # Beside a run that holds no mailbox, turns write the row: its end is decided over the present one.
    is_beside = job.occupancy == "claim_only" and execute.claim.cause != "event"
    for _ in range(MAX_CONFLICTS + 1 if is_beside else 1):
        joined = merge_background_run(execute, await run.record.load()) if is_beside else execute
        if isinstance(joined, Commit):
            return joined
        around = enter_run(run_of(joined))
        try:
            step = _finished(job, joined, exit_, run.inputs())
        finally:
            leave_run(around)
        if isinstance(step, Execute) or await _stored(run.record, step):
            return step
    raise Conflict(str(execute.instance.address))


async def _exit_of(run: _Run, services: Any) -> Exit[Any, Any]:
    """Run a program to its exit, within its time limit.

    Raises:
        BaseException: this task is cancelled from outside. The claim stays.
    """
    execute = run.execute
    around = enter_run(run_of(execute))
    try:
        begun = run_inline(execute.program, services, execute.draft)
    finally:
        leave_run(around)
    return await _resumed(run, begun) if isinstance(begun, Suspended) else begun


async def _resumed(run: _Run, begun: Suspended[Any, Any]) -> Exit[Any, Any]:
    """Run the rest of a program within its time limit, unless a request stops it.

    Raises:
        BaseException: this task is cancelled from outside. The claim stays.
    """
    runtime, limit_ms = run.runtime, run.job.plan.run_timeout_ms
    task, stops = runtime.current_task(), list[Exit[Any, Any]]()

    def stop(exit_: Exit[Any, Any]) -> None:
        if not stops:  # the first reason decides the outcome
            stops.append(exit_)
            task.cancel()

    work = InRun(begun.resume(runtime=runtime, handler=run.handle), run_of(run.execute))
    run.limit = TimeLimit(work, limit_ms, runtime, partial(stop, Raised(RunTimeout(limit_ms))))
    run.execute.draft.lives = run.limit.restart
    interrupted = partial(stop, Halted(RunInterrupted()))
    watch = start_eagerly(run.watch(interrupted), runtime, name="perdure:watch") if run.job.interrupting else None
    try:
        exit_: Exit[Any, Any] = await run.limit
    except runtime.cancelled as cancellation:
        if not stops and task.cancelling():
            raise
        uncancel(runtime)
        return stops[0] if stops else Raised(cancellation)
    except BaseException as raised:
        if is_closing(raised):
            raise
        if isinstance(raised, RunLost):  # not of the program, whose claim stays
            raise raised.reason from None
        return Raised(raised)
    finally:
        run.limit = run.execute.draft.lives = None  # no cycle
        if watch is not None:
            watch.cancel()
    if stops:
        await take_cancellation_back(runtime)  # of a program that ended nevertheless
    return exit_


# ---------------------------------------------------------------- transitions as text
TRANSITION_FORMAT: Final = 1
"""The format of the text that `encode_transition` writes."""


@attrs.frozen(kw_only=True)
class _Encoded:
    format: int
    address: Address
    expected: Fence | None
    write: Write
    remember: tuple[Remembered, ...]
    new_keys: NewKeys | None
    messages: tuple[Message, ...]
    inbound: MessageFate | None
    consumed: tuple[int, ...]
    events: tuple[Event, ...]
    journal: JournalChange | None
    attributes: AttributeKeys | None


_FIELDS: Final = tuple(field.name for field in attrs.fields(_Encoded) if field.name != "format")


@cache
def _transitions() -> Codec[_Encoded]:
    return Codec.of(_Encoded, what="transition")


@cache
def _instances() -> Codec[Instance]:
    return Codec.of(Instance, what="instance")


def encode_transition(transition: Transition) -> str:
    """Encode a transition as JSON text, with the whole row that it writes, but without the row that it replaces.

    Args:
        transition: the transition.
    """
    fields = {name: getattr(transition, name) for name in _FIELDS}
    return _transitions().encode(_Encoded(format=TRANSITION_FORMAT, **fields)).decode()


def decode_transition(text: str) -> Transition:
    """Decode a transition.

    Args:
        text: the text.

    Raises:
        InvalidInput: the text is no transition, or has a member or a format that this version does not know: applied
            without it, a part of the turn would be lost.
    """
    found = _transitions().decode(text.encode())
    if found.format != TRANSITION_FORMAT:
        problem = f"format: expected {TRANSITION_FORMAT}, got {found.format}; deploy the version that wrote it"
        raise InvalidInput("transition", (problem,))
    return Transition(**{name: getattr(found, name) for name in _FIELDS})


def encode_instance(instance: Instance) -> str:
    """Encode a row as JSON text."""
    return _instances().encode(instance).decode()


def decode_instance(text: str) -> Instance:
    """Decode a row.

    Raises:
        InvalidInput: the text is no row, or has a member that this version does not know.
    """
    return _instances().decode(text.encode())
