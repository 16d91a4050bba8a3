"""Claims that are recorded only when a program is about to perform its first effect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.checkpoints import Checkpoints
from perdure.engine.perform import Perform, perform_directly
from perdure.engine.time_limit import TimeLimit
from perdure.jobs.checkpoint import AwaitChange, Checkpoint, ReadJournal
from perdure.jobs.step import Execute
from perdure.programs.drivers import settle_answer
from perdure.runtime.record import Future, Runtime
from perdure.runtime.tasks import start_eagerly
from perdure.values.errors import OutcomeUnknown

Record = Callable[[Execute], Awaitable[Result[Execute, Any]]]  # the errors of a store


class ClaimFailed(BaseException):
    """The claim could not be recorded, so the program must not continue. The program cannot catch it.

    Attributes:
        reason: the store's error.
    """

    def __init__(self, reason: Any) -> None:  # an error of a store
        super().__init__(reason)
        self.reason = reason


@attrs.define
class LazyClaim:
    """Handles the effects of one program: the first one waits for the claim.

    The claim is recorded in a task of its own, so that a run or a branch that is cancelled meanwhile leaves no claim
    that the engine does not know of.

    Attributes:
        execute: the run; replaced by its claimed form once the claim is recorded.
        record: writes the claim.
        ready: waits until the claim may be written.
        runtime: lets parallel branches wait for the same claim.
        begin_checkpoints: makes the object that answers the checkpoints of the run, at the first one.
        perform: performs the effects.
        limit: the time limit of the run, which a checkpoint restarts if its kind says so.
    """

    execute: Execute
    record: Record
    ready: Callable[[], Awaitable[None]]
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
        kind = type(instruction)
        if kind is Checkpoint or kind is ReadJournal or kind is AwaitChange:
            return self._checkpoint(instruction)
        if self.execute.claimed == "recorded":
            return self.perform(instruction, services, self.execute)
        return self._claim_first(instruction, services)

    def claimed(self) -> Execute | None:
        """Return the run if its claim is stored."""
        return self.execute if self.execute.claimed == "recorded" else None

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
        if self.execute.claimed != "recorded":
            await self._claim()
        if self._checkpoints is None:
            self._checkpoints = self.begin_checkpoints()
        match instruction:
            case ReadJournal():
                return await self._checkpoints.read(self.execute, instruction)
            case AwaitChange():
                return await self._checkpoints.changed(self)
            case Checkpoint():
                answer = await self._checkpoints.save(self, instruction)
                if self.limit is not None and self._checkpoints.job.time_limit_of == "checkpoint":
                    self.limit.restart()
                return answer
            case _:
                raise TypeError(instruction)

    async def _claim_first(self, instruction: object, services: Any) -> object:
        await self._claim()
        return await settle_answer(self.perform(instruction, services, self.execute), services)

    async def _claim(self) -> None:
        await self.ready()
        if self._state == "not_begun":
            self._state = "recording"
            start_eagerly(self._record(), self.runtime, name=f"perdure:claim {self.execute.instance.address}")
        await self._claim_settled()
        if self._refused is not None:
            raise ClaimFailed(self._refused)

    async def _record(self) -> None:
        try:
            match await self.record(self.execute):
                case Success(claimed):
                    self.execute = claimed
                case Failure(reason):
                    self._refused = reason
                case unexpected:
                    self._refused = OutcomeUnknown(f"a store returns Success or Failure, not {unexpected!r}")
        except BaseException as defect:  # a store that raises, or the end of this task: the program must not continue
            self._refused = OutcomeUnknown(f"the claim was not recorded: {defect!r}")
            if not isinstance(defect, Exception):
                raise
        finally:
            self._state = "over"
            for over in self._waiting:
                if not over.done():
                    over.set_result(None)
