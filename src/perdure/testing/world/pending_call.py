"""A call that is under way."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.runtime.record import SpawnedTask
from perdure.testing.world.errors import UnansweredCall
from perdure.testing.world.recorded_call import RecordedCall, dying
from perdure.testing.world.reproduction import Reproduction
from perdure.testing.world.worker import Worker
from perdure.values.duration import Duration, duration_ms, format_duration

A = TypeVar("A")
E = TypeVar("E", bound=Exception)

PATIENCE: Final[Duration] = "2 days"
"""How far the virtual clock may move before a call is answered."""


@attrs.frozen
class PendingCall(Generic[A, E]):
    """A call that `World.begin` made: it goes on whenever the world does.

    Attributes:
        task: the caller; it ends with the result, and cancelling it is the caller giving up.
    """

    task: SpawnedTask[Success[A] | Failure[E]]
    _worker: Worker
    _line: RecordedCall
    _script: Reproduction

    @property
    def is_answered(self) -> bool:
        """Whether the answer is there."""
        return self.task.done()

    def result(self, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the answer, as a ``Success`` or a ``Failure``.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            WorkerDied: the worker died first.
            UnansweredCall: there is no answer after that time.
        """
        return self.ended(self._script.did_with(self._line, "result"), patience=patience)

    def answer(self, *, patience: Duration = PATIENCE) -> A:
        """Wait for the answer, and give it.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            E: the error of the call.
            WorkerDied: the worker died first.
            UnansweredCall: there is no answer after that time.
        """
        match self.ended(self._script.did_with(self._line, "answer"), patience=patience):
            case Success(answer):
                return answer
            case Failure(error):
                raise error

    def give_up(self) -> None:
        """Stop waiting, as a caller does that is cancelled: a request that is still queued is taken back.

        Raises:
            WorkerDied: the worker died of it.
        """
        line = self._script.did_with(self._line, "give_up")
        self.task.cancel()
        with dying(line):
            self._worker.settle()

    def ended(self, line: RecordedCall, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the answer, and note on a line of the script how the call ended; the rest is as of `result`."""
        patience_ms = duration_ms(patience, what="patience of a call", minimum_ms=0)
        with dying(line):
            answered = self._worker.wait_for(self.task.done, patience_ms)
        if not answered:
            raise UnansweredCall(format_duration(patience_ms), self._worker.simulation.blocked)
        self._worker.settle_quietly()
        result = self.task.result()
        if not isinstance(result, Success):
            line.ended = "failed"
        return result
