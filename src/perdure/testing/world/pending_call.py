"""A call that is in progress."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

import attrs
from returns.result import Failure, Success

from perdure.runtime.record import SpawnedTask
from perdure.testing.world.errors import UnansweredCall
from perdure.testing.world.recording import RecordedCall, Reproduction, recording_death
from perdure.testing.world.worker import Worker
from perdure.values.times import Duration, duration_ms, format_duration

A = TypeVar("A")
E = TypeVar("E", bound=Exception)

PATIENCE: Final[Duration] = "2 days"
"""How far the virtual clock may move before a call must have returned."""


@attrs.frozen
class PendingCall(Generic[A, E]):
    """A call that `World.start` made: it continues whenever the world runs.

    Attributes:
        task: the caller's task; it ends with the result. Cancelling it cancels the caller.
    """

    task: SpawnedTask[Success[A] | Failure[E]]
    _worker: Worker
    _line: RecordedCall
    _script: Reproduction

    @property
    def is_answered(self) -> bool:
        """Return whether the call has returned."""
        return self.task.done()

    def result(self, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the result, as a ``Success`` or a ``Failure``.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        return self.ended(self._script.did_with(self._line, "result"), patience=patience)

    def answer(self, *, patience: Duration = PATIENCE) -> A:
        """Wait for the result and return its value.

        Args:
            patience: how far the virtual clock may move meanwhile.

        Raises:
            E: the error of the call.
            WorkerDied: the worker died first.
            UnansweredCall: the call did not return in that time.
        """
        match self.ended(self._script.did_with(self._line, "answer"), patience=patience):
            case Success(answer):
                return answer
            case Failure(error):
                raise error

    def give_up(self) -> None:
        """Cancel the caller: a request that is still queued is withdrawn.

        Raises:
            WorkerDied: the worker died of it.
        """
        line = self._script.did_with(self._line, "give_up")
        self.task.cancel()
        with recording_death(line):
            self._worker.settle()

    def ended(self, line: RecordedCall, *, patience: Duration = PATIENCE) -> Success[A] | Failure[E]:
        """Wait for the result, and record in the reproduction how the call ended; otherwise as `result`."""
        patience_ms = duration_ms(patience, what="patience of a call", minimum_ms=0)
        with recording_death(line):
            answered = self._worker.wait_for(self.task.done, patience_ms)
        if not answered:
            raise UnansweredCall(format_duration(patience_ms), self._worker.simulation.blocked)
        self._worker.settle_quietly()
        result = self.task.result()
        if not isinstance(result, Success):
            line.ended = "failed"
        return result
