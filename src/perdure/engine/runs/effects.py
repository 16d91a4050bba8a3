"""One run's effects: performed once its claim is recorded, traced, within its time limit.

The first effect of an event waits for the claim. One without effects costs no commit of its own. Checkpoints and reads
of the journal are answered here, too.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias, TypeVar

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.instance_cache import InstanceCache
from perdure.engine.runs.named_limits import NamedLimits
from perdure.engine.runs.permits import Held
from perdure.engine.sinks import EffectBegun, Tracing
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
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import secrets_of_run
from perdure.jobs.step import Execute
from perdure.programs import Halted, Raised
from perdure.programs.constructors import LIMITS
from perdure.programs.drivers import default_handler, settle_answer
from perdure.programs.future import answer_of
from perdure.programs.instructions import ServiceCall
from perdure.runtime.record import Future, Runtime, Timer
from perdure.runtime.tasks import Resumed, start_eagerly
from perdure.stores.contract import Store
from perdure.values.address import Job
from perdure.values.errors import Conflict, OutcomeUnknown, StoreCorrupt, StoreUnavailable
from perdure.values.limits import AnyUse
from perdure.values.transition import Put
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.engine.commits import Commits
    from perdure.engine.mailbox.instance_cell import EngineRun, PendingCommit, Stored


Perform: TypeAlias = Callable[[object, Any, Execute], object]
"""How to perform an effect: ``perform(instruction, services, execute)`` returns the result of a `Handler`."""


def perform_directly(instruction: object, services: Any, _: Execute) -> object:
    """Call the service, for any run."""
    return default_handler(instruction, services)


def limited(perform: Perform, named: NamedLimits, runtime: Runtime) -> Perform:
    """Return a function that performs the effects that name limits when those let them begin."""

    async def performed(call: ServiceCall, uses: tuple[AnyUse, ...], services: Any, execute: Execute) -> object:
        for use in uses:
            named.know(use.limit)
        held = Held(named.demand(uses, call.args, call.kwargs))
        await named.wait(held)
        try:
            return await settle_answer(perform(call, services, execute), services, runtime)
        finally:
            # Also after a cancellation: permits that stay taken would block the other calls.
            named.release(held)

    def perform_limited(instruction: object, services: Any, execute: Execute) -> object:
        if type(instruction) is ServiceCall:
            uses: tuple[AnyUse, ...] | None = getattr(instruction.fn, LIMITS, None)
            if uses:
                return performed(instruction, uses, services, execute)
        # Not a call more than without: most effects name no limit.
        if perform is perform_directly:
            return default_handler(instruction, services)
        return perform(instruction, services, execute)

    return perform_limited


def traced(
    perform: Perform, tracing: Tracing, jobs: Mapping[tuple[str, str], AnyDefinition], runtime: Runtime
) -> Perform:
    """Return a function that performs each effect as a span of its own.

    Args:
        perform: performs the effect.
        tracing: traces it.
        jobs: the served definitions, which say which parts of errors are secret.
        runtime: performs effects in threads and processes.
    """

    async def performed(call: ServiceCall, services: Any, execute: Execute) -> object:
        claim, address = execute.claim, execute.instance.address
        job = jobs[address.kind, address.name]
        effect = EffectBegun(address=address, name=call.name, parent=claim.trace, claim=claim)
        with tracing.effect(effect) as span:
            try:
                answer = await settle_answer(perform(call, services, execute), services, runtime)
            except Exception as error:
                span.failed(record_failure(Raised(error), None, secrets=secrets_of_run(job, execute)))
                raise
            failure = _failure_in(answer)
            if failure is not None:
                span.failed(record_failure(failure, job.plan.errors, secrets=secrets_of_run(job, execute)))
            return answer

    def perform_traced(instruction: object, services: Any, execute: Execute) -> object:
        return (
            performed(instruction, services, execute)
            if type(instruction) is ServiceCall
            else perform(instruction, services, execute)
        )

    return perform_traced


def _failure_in(answer: object) -> Failure[Any] | None:
    return answer if isinstance(answer, Failure) else None  # pyright: ignore[reportUnknownVariableType] - of any error


T = TypeVar("T")


@attrs.define
class TimeLimit(Generic[T]):
    """Awaits a coroutine, and calls a function when it takes too long.

    The timer is set at the first wait: most event handlers never wait.

    Attributes:
        limit_ms: the limit in milliseconds, from the first wait on.
        expired: called when the limit is over. It must end the coroutine.
    """

    coroutine: Coroutine[Any, Any, T]
    limit_ms: int
    runtime: Runtime
    expired: Callable[[], None]
    _restarted_ms: float | None = None
    _timer: Timer | None = None

    def restart(self) -> None:
        """Let the time limit begin again. It costs nothing but the clock's time: the timer is set at its end."""
        self._restarted_ms = self.runtime.monotonic_ms()

    def __await__(self) -> Generator[Any, Any, T]:
        try:
            awaited = self.coroutine.send(None)
        except StopIteration as stop:
            value: T = stop.value
            return value
        self._timer = self.runtime.call_later(self.limit_ms, self._over)
        try:
            return (yield from Resumed(self.coroutine, awaited).__await__())
        finally:
            self._timer.cancel()

    def _over(self) -> None:
        # Emptied: only a restart after this moment may extend the limit again.
        restarted_ms, self._restarted_ms = self._restarted_ms, None
        if restarted_ms is None:
            self.expired()
            return
        left_ms = restarted_ms + self.limit_ms - self.runtime.monotonic_ms()
        # Rounded up: a timer that fires early would find time left, and be set again.
        self._timer = self.runtime.call_later(max(0, math.ceil(left_ms)), self._over)


MAX_CONFLICTS = 20
"""How often a checkpoint is decided again after a conflict with a turn of the instance's mailbox."""


class RunLost(BaseException):
    """The store did not answer a run's checkpoint, so the program must not continue. The program cannot catch it."""

    def __init__(self, reason: Any) -> None:  # an error of a store
        super().__init__(reason)
        self.reason = reason


@attrs.define(eq=False)
class _Save:
    """A checkpoint that is being committed, and its result for the program."""

    value: object
    answer: object = None


@attrs.define
class Checkpoints:
    """Commits one run's checkpoints, one after the other, beside the turns of the instance's mailbox.

    Each is committed in a task of its own, so that a branch that is cancelled meanwhile leaves no commit that the run
    does not know of. After one that was not committed, no later one is: the run ends.

    Attributes:
        cache: reads the present row, and notes its changes.
        runtime: lets parallel branches wait for their turn.
        commits: writes transitions, and takes note of the answers.
    """

    job: AnyDefinition
    store: Store
    cache: InstanceCache
    runtime: Runtime
    commits: Commits
    inputs: Callable[[], TurnInputs]
    _state: Literal["idle", "saving"] = "idle"
    _waiting: list[Future[Any]] = attrs.Factory(list[Any])
    _over: Halted | BaseException | None = None

    async def save(self, run: EngineRun, checkpoint: Checkpoint) -> object:
        """Commit a checkpoint when it has its turn, and return the result for the program.

        Raises:
            RunLost: the store did not answer it, or an earlier one.
        """
        # In a loop: several branches wait, and only the first that wakes up may begin.
        while self._state == "saving":
            await self.settled()
        if self._over is not None:
            return self._end()
        # Taken when it has its turn: an earlier checkpoint may have committed this progress too.
        value = checkpoint.take()
        if value is None:
            return Success(None)
        save = _Save(value)
        self._state = "saving"
        if not self._begun_at_once(run, save):
            self._begin(run, save)
        await self.settled()
        return save.answer if self._over is None else self._end()

    def _begun_at_once(self, run: EngineRun, save: _Save) -> bool:
        """Commit a checkpoint over the row in memory, without a task. Return whether that is begun.

        After a conflict it is decided again in a task, which reads the row.
        """
        # The row in memory may be old: the commit compares its version, and a conflict is decided again below.
        row = self.cache.loaded_row(run.execute.instance.address)
        joined = None if row is None else present(run.execute, row)
        # The end of an event is committed over the row that the event claimed: a
        # checkpoint in between would be a conflict.
        if joined is None or _has_event(joined):
            return False
        try:
            commit = checkpointed(self.job, joined, save.value, self.inputs())
        except Exception as defect:  # noqa: BLE001 - of the kind; it ends the run
            self._over = defect
            self._idle()
            return True
        write = commit.transition.write
        if not isinstance(write, Put):
            run.execute, save.answer = joined, commit.result
            self._idle()
            return True

        def tell(pending: PendingCommit, answered: Stored) -> None:
            stored = self.commits.accept_answer(pending, answered, commit.transition)
            if isinstance(stored, Success):
                run.execute, save.answer = joined.recorded(write.instance), commit.result
                self._idle()
            elif isinstance(stored.failure(), Conflict):
                self._begin(run, save)
            else:
                self._over = RunLost(stored.failure())
                self._idle()

        self.commits.submit(commit.transition, self.cache.get(commit.transition.address), tell)
        return True

    def _begin(self, run: EngineRun, save: _Save) -> None:
        start_eagerly(self._commit(run, save), self.runtime, name=f"perdure:checkpoint {run.execute.instance.address}")

    def _idle(self) -> None:
        self._state = "idle"
        # Replaced first: a branch that wakes up may wait again.
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            if not over.done():
                over.set_result(None)

    async def read(self, execute: Execute, asked: ReadJournal) -> object:
        """Read the journal's rows.

        Raises:
            RunLost: the store cannot be read now.
            StoreCorrupt: the rows cannot be read.
        """
        instance, store = execute.instance, self.store
        if store.journal is None:
            raise RunLost(StoreUnavailable("read a journal", f"{store.name} keeps no journals"))
        rows = await answer_of(store.journal.read(instance.address, instance.incarnation, asked.first, asked.limit))
        if isinstance(rows, Success):
            return rows
        # A corrupt row is raised in the program. Any other failure ends the run without an outcome.
        raise rows.failure() if isinstance(rows.failure(), StoreCorrupt) else RunLost(rows.failure())

    async def has_work(self, job: Job) -> object:
        """Read whether a job has work.

        Raises:
            RunLost: the store cannot be read now.
        """
        counts = self.store.counts
        if counts is None:
            raise RunLost(StoreUnavailable("look for work", f"{self.store.name} does not count its instances"))
        found = await answer_of(counts.has_work(job))
        if isinstance(found, Success):
            return found
        raise RunLost(found.failure())

    async def _present(self, run: EngineRun) -> Execute | None:
        """Return the run on the present row. None if its claim is lost."""
        loaded = await self.cache.load(run.execute.instance.address)
        if not isinstance(loaded, Success):
            raise RunLost(loaded.failure())
        return present(run.execute, loaded.unwrap())

    async def _between_events(self, run: EngineRun) -> Execute | None:
        """Wait until no event of the instance is being handled: its end is committed over the row that it claimed."""
        address = run.execute.instance.address
        while True:
            # Before the row is read: a change in between would not wake this wait.
            change = self.cache.watch(address, self.runtime.future())
            try:
                joined = await self._present(run)
                if joined is None or not _has_event(joined):
                    return joined
                await change
            finally:
                self.cache.unwatch(address, change)

    async def changed(self, run: EngineRun) -> object:
        """Wait until the row is another one than the run knows, and return it for the program.

        Raises:
            RunLost: the store cannot be read now.
        """
        address = run.execute.instance.address
        while True:
            await self.settled()
            if self._over is not None:
                return self._end()
            # Before the row is read, as above.
            change = self.cache.watch(address, self.runtime.future())
            try:
                joined = await self._present(run)
                if self._state == "saving":
                    # A checkpoint of this run has begun meanwhile: its own commit is no news.
                    continue
                if joined is None:
                    return Halted(ClaimLost())
                if joined.instance.version != run.execute.instance.version:
                    run.execute = joined
                    return Success(joined.instance)
                await change
            finally:
                self.cache.unwatch(address, change)

    async def settled(self) -> None:
        """Wait until the checkpoint that is being committed is stored or refused."""
        if self._state == "saving":
            over = self.runtime.future()
            self._waiting.append(over)
            await over

    def _end(self) -> Halted:
        if isinstance(self._over, BaseException):
            raise self._over
        return self._over or Halted(ClaimLost())

    async def _commit(self, run: EngineRun, save: _Save) -> None:
        try:
            save.answer = await self._stored(run, save.value)
        except (Exception, RunLost) as raised:  # noqa: BLE001 - a defect of the kind, or the end of the run
            self._over = raised
        except BaseException as ended:  # the task is cancelled: runs that wait for this checkpoint must not continue
            self._over = RunLost(OutcomeUnknown(f"the checkpoint was not committed: {ended!r}"))
            raise
        finally:
            self._idle()

    async def _stored(self, run: EngineRun, value: object) -> object:
        """Commit a checkpoint over the present row, which turns may have written meanwhile."""
        for _ in range(MAX_CONFLICTS + 1):
            joined = await self._present(run)
            if joined is not None and _has_event(joined):
                joined = await self._between_events(run)
            if joined is None:
                self._over = Halted(ClaimLost())
                return self._over
            commit = checkpointed(self.job, joined, value, self.inputs())
            write = commit.transition.write
            if not isinstance(write, Put):
                run.execute = joined
                return commit.result
            stored = await self.commits.record(commit.transition)
            if isinstance(stored, Success):
                run.execute = joined.recorded(write.instance)
                return commit.result
            # Only a conflict is decided again: after any other failure the outcome may be unknown.
            if not isinstance(stored.failure(), Conflict):
                raise RunLost(stored.failure())
        raise RunLost(Conflict(str(run.execute.instance.address)))


def _has_event(execute: Execute) -> bool:
    """Whether an event of the instance is being handled beside the run."""
    return execute.instance.event_claim is not None and execute.claim.cause != "event"


Claims: TypeAlias = Callable[[], Awaitable[Result[Execute, Any]]]
"""Records the claim of a run, and returns its claimed program, or the store's error."""


class ClaimFailed(BaseException):
    """The claim could not be recorded, so the program must not continue. The program cannot catch it."""

    def __init__(self, reason: Any) -> None:  # an error of a store
        super().__init__(reason)
        self.reason = reason


@attrs.define
class RunEffects:
    """Handles one program's effects: the first one waits for the claim.

    The claim is recorded in a task of its own, so that a run or a branch that is cancelled meanwhile leaves no claim
    that the engine does not know of.

    Attributes:
        run: the run. Its program is replaced by its claimed form once the claim is recorded.
        claim: records the claim.
        runtime: lets parallel branches wait for the same claim.
        begin_checkpoints: makes the object that answers the run's checkpoints, at the first one.
        limit: the time limit of the run, which a checkpoint restarts if its kind says so.
    """

    run: EngineRun
    claim: Claims
    runtime: Runtime
    begin_checkpoints: Callable[[], Checkpoints]
    perform: Perform = perform_directly
    limit: TimeLimit[Any] | None = None
    _state: Literal["not_begun", "recording", "over"] = "not_begun"
    _waiting: list[Future[Any]] = attrs.Factory(list[Any])
    _refused: Any = None
    _checkpoints: Checkpoints | None = None

    def handle(self, instruction: object, services: Any) -> object:
        """Perform an instruction once the run is claimed."""
        if type(instruction) in OF_A_CLAIMED_RUN:
            return self._checkpoint(instruction)
        if self.run.execute.claimed == "recorded":
            return self.perform(instruction, services, self.run.execute)
        return self._claim_first(instruction, services)

    async def settled(self) -> None:
        """Wait until the claim or the checkpoint that is being recorded is recorded or refused."""
        await self._claim_settled()
        if self._checkpoints is not None:
            await self._checkpoints.settled()

    async def _claim_settled(self) -> None:
        if self._state == "recording":
            over = self.runtime.future()
            self._waiting.append(over)
            await over

    async def _checkpoint(self, instruction: object) -> object:
        if self.run.execute.claimed != "recorded":
            await self._claim()
        if self._checkpoints is None:
            self._checkpoints = self.begin_checkpoints()
        match instruction:
            case ReadJournal():
                return await self._checkpoints.read(self.run.execute, instruction)
            case AwaitChange():
                return await self._checkpoints.changed(self.run)
            case HasWork(job):
                return await self._checkpoints.has_work(job)
            case TakeProgram():
                return Success(self._checkpoints.cache.programs.take(self.run.execute.instance.address))
            case KeepProgram(program, rows):
                kept = self._checkpoints.cache.programs.keep(self.run.execute.instance.address, program, rows)
                return Success(kept)
            case Checkpoint():
                answer = await self._checkpoints.save(self.run, instruction)
                # A commit is progress: the time limit of such a kind counts between two commits.
                if self.limit is not None and self._checkpoints.job.time_limit_of == "checkpoint":
                    self.limit.restart()
                return answer
            case _:
                raise TypeError(instruction)

    async def _claim_first(self, instruction: object, services: Any) -> object:
        await self._claim()
        return await settle_answer(self.perform(instruction, services, self.run.execute), services, self.runtime)

    async def _claim(self) -> None:
        # Once for the run: parallel branches wait for the same claim.
        if self._state == "not_begun":
            self._state = "recording"
            start_eagerly(self._record(), self.runtime, name=f"perdure:claim {self.run.execute.instance.address}")
        await self._claim_settled()
        if self._refused is not None:
            raise ClaimFailed(self._refused)

    async def _record(self) -> None:
        try:
            match await self.claim():
                case Success(claimed):
                    self.run.execute = claimed
                case Failure(reason):
                    self._refused = reason
                case unexpected:
                    self._refused = OutcomeUnknown(f"a store returns Success or Failure, not {unexpected!r}")
        except BaseException as defect:  # or the program would perform its effect without a claim
            self._refused = OutcomeUnknown(f"the claim was not recorded: {defect!r}")
            if not isinstance(defect, Exception):
                raise
        finally:
            self._state = "over"
            for over in self._waiting:
                if not over.done():
                    over.set_result(None)
