"""The claim of a run that is recorded only when its program is about to reach outside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.step import Execute
from perdure.program import default_handler
from perdure.program.drivers import settle_answer
from perdure.runtime.record import Future, Runtime

Record = Callable[[Execute], Awaitable[Result[Execute, Any]]]  # the errors of a store


class ClaimFailed(BaseException):
    """The claim could not be recorded, so the program must not go on. Not an error of the program: it cannot catch it.

    Attributes:
        reason: what the store answered.
    """

    def __init__(self, reason: Any) -> None:  # an error of a store
        super().__init__(reason)
        self.reason = reason


@attrs.define
class LazyClaim:
    """Handles the external effects of one program: the first one waits for the claim.

    Attributes:
        execute: what is run; replaced by its claimed form once the claim is recorded.
        record: writes the claim.
        runtime: lets parallel branches wait for the same claim.
    """

    execute: Execute
    record: Record
    runtime: Runtime
    _recording: Future[Any] | None = None
    _refused: Any = None

    def handle(self, instruction: object, services: Any) -> object:
        """Perform an instruction, once the run is claimed."""
        if self.execute.claimed == "recorded":
            return default_handler(instruction, services)
        return self._claim_first(instruction, services)

    async def _claim_first(self, instruction: object, services: Any) -> object:
        if self._recording is None:
            self._recording = self.runtime.future()
            match await self.record(self.execute):
                case Success(claimed):
                    self.execute = claimed
                case Failure(reason):
                    self._refused = reason
                case _ as unexpected:
                    raise TypeError(f"a claim answers Success or Failure, not {unexpected!r}")
            self._recording.set_result(None)
        else:
            await self._recording
        if self._refused is not None:
            raise ClaimFailed(self._refused)
        return await settle_answer(default_handler(instruction, services), services)
