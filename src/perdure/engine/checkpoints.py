"""Answers the checkpoints of a run and its reads of the journal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs
from returns.result import Success

from perdure.engine.residents import Residents
from perdure.jobs.checkpoint import Checkpoint, ClaimLost, ReadJournal, checkpointed, present
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.step import Execute
from perdure.programs import Halted
from perdure.programs.future import answer_of
from perdure.runtime.record import Future, Runtime
from perdure.runtime.tasks import start_eagerly
from perdure.stores.contract import Store
from perdure.values.errors import Conflict, OutcomeUnknown, StoreCorrupt, StoreUnavailable
from perdure.values.transition import Put
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.engine.commits import Commits
    from perdure.engine.flight import Flight, Stored

MAX_CONFLICTS = 20
"""How often a checkpoint is decided again after a conflict with a turn of the instance's mailbox."""


class ClaimedRun(Protocol):
    """The run whose checkpoints are committed.

    Attributes:
        execute: the run on the row as it was last stored; each checkpoint replaces it.
    """

    execute: Execute


class RunLost(BaseException):
    """The store did not answer a run's checkpoint, so the program must not continue. The program cannot catch it.

    Attributes:
        reason: the store's error.
    """

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
    """Commits the checkpoints of one run, one after the other, beside the turns of the instance's mailbox.

    Each is committed in a task of its own, so that a branch that is cancelled meanwhile leaves no commit that the run
    does not know of. After one that was not committed, no later one is: the run ends.

    Attributes:
        job: the definition of the instance.
        store: stores the journals.
        residents: reads the present row, and notes its changes.
        runtime: lets parallel branches wait for their turn.
        commits: writes transitions, and takes note of the answers.
        inputs: collects the inputs of a decision.
    """

    job: AnyDefinition
    store: Store
    residents: Residents
    runtime: Runtime
    commits: Commits
    inputs: Callable[[], TurnInputs]
    _state: Literal["idle", "saving"] = "idle"
    _waiting: list[Future[Any]] = attrs.Factory(list[Any])
    _over: Halted | BaseException | None = None

    async def save(self, run: ClaimedRun, checkpoint: Checkpoint) -> object:
        """Commit a checkpoint when it has its turn, and return the result for the program.

        Args:
            run: the run; its claim is recorded.
            checkpoint: the checkpoint.

        Raises:
            RunLost: the store did not answer it, or an earlier one.
        """
        while self._state == "saving":
            await self.settled()
        if self._over is not None:
            return self._end()
        value = checkpoint.take()
        if value is None:
            return Success(None)
        save = _Save(value)
        self._state = "saving"
        if not self._begun_at_once(run, save):
            self._begin(run, save)
        await self.settled()
        return save.answer if self._over is None else self._end()

    def _begun_at_once(self, run: ClaimedRun, save: _Save) -> bool:
        """Commit a checkpoint over the row in memory, without a task; return whether that is begun.

        After a conflict it is decided again in a task, which reads the row.
        """
        row = self.residents.loaded_row(run.execute.instance.address)
        joined = None if row is None else present(run.execute, row)
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

        def tell(flight: Flight, answered: Stored) -> None:
            stored = self.commits.taken(flight, answered, commit.transition)
            if isinstance(stored, Success):
                run.execute, save.answer = joined.recorded(write.instance), commit.result
                self._idle()
            elif isinstance(stored.failure(), Conflict):
                self._begin(run, save)
            else:
                self._over = RunLost(stored.failure())
                self._idle()

        self.commits.fly(commit.transition, self.residents.get(commit.transition.address), tell)
        return True

    def _begin(self, run: ClaimedRun, save: _Save) -> None:
        start_eagerly(self._commit(run, save), self.runtime, name=f"perdure:checkpoint {run.execute.instance.address}")

    def _idle(self) -> None:
        self._state = "idle"
        waiting, self._waiting = self._waiting, []
        for over in waiting:
            if not over.done():
                over.set_result(None)

    async def read(self, execute: Execute, asked: ReadJournal) -> object:
        """Read rows of the journal.

        Raises:
            RunLost: the store cannot be read now.
            StoreCorrupt: the rows cannot be read.
        """
        instance, store = execute.instance, self.store
        if store.journal is None:
            raise RunLost(StoreUnavailable("read a journal", f"{store.name} keeps no journals"))
        rows = await answer_of(store.journal(instance.address, instance.incarnation, asked.first, asked.limit))
        if isinstance(rows, Success):
            return rows
        raise rows.failure() if isinstance(rows.failure(), StoreCorrupt) else RunLost(rows.failure())

    async def _present(self, run: ClaimedRun) -> Execute | None:
        """Return the run on the present row; None if its claim is lost."""
        loaded = await self.residents.load(run.execute.instance.address)
        if not isinstance(loaded, Success):
            raise RunLost(loaded.failure())
        return present(run.execute, loaded.unwrap())

    async def _between_events(self, run: ClaimedRun) -> Execute | None:
        """Wait until no event of the instance is being handled: its end is committed over the row that it claimed."""
        address = run.execute.instance.address
        while True:
            change = self.residents.watch(address, self.runtime.future())
            try:
                joined = await self._present(run)
                if joined is None or not _has_event(joined):
                    return joined
                await change
            finally:
                self.residents.unwatch(address, change)

    async def changed(self, run: ClaimedRun) -> object:
        """Wait until the row is another one than the run knows, and return it for the program.

        Raises:
            RunLost: the store cannot be read now.
        """
        address = run.execute.instance.address
        while True:
            await self.settled()
            if self._over is not None:
                return self._end()
            change = self.residents.watch(address, self.runtime.future())
            try:
                joined = await self._present(run)
                if self._state == "saving":
                    continue
                if joined is None:
                    return Halted(ClaimLost())
                if joined.instance.version != run.execute.instance.version:
                    run.execute = joined
                    return Success(joined.instance)
                await change
            finally:
                self.residents.unwatch(address, change)

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

    async def _commit(self, run: ClaimedRun, save: _Save) -> None:
        try:
            save.answer = await self._stored(run, save.value)
        except (Exception, RunLost) as raised:  # noqa: BLE001 - a defect of the kind, or the end of the run
            self._over = raised
        except BaseException as ended:  # the end of this task
            self._over = RunLost(OutcomeUnknown(f"the checkpoint was not committed: {ended!r}"))
            raise
        finally:
            self._idle()

    async def _stored(self, run: ClaimedRun, value: object) -> object:
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
            if not isinstance(stored.failure(), Conflict):
                raise RunLost(stored.failure())
        raise RunLost(Conflict(str(run.execute.instance.address)))


def _has_event(execute: Execute) -> bool:
    """Whether an event of the instance is being handled beside the run."""
    return execute.instance.event_claim is not None and execute.claim.cause != "event"
