"""A world's typed errors."""

from __future__ import annotations

import attrs

from perdure.engine.running import RunningEngine
from perdure.values.errors import PerdureError


@attrs.frozen(repr=False)
class WorkerDied(PerdureError):
    """The worker died, as the test had arranged, before the call returned.

    Attributes:
        at: the operation that it was about to start, or had just done.
    """

    at: str

    def _text(self) -> str:
        return f"the worker died {self.at}; open() the next one, and repeat the request with its idempotency key"


@attrs.frozen(repr=False)
class NoWorker(PerdureError):
    """The test used a worker while none is open."""

    what: str

    def _text(self) -> str:
        return f"{self.what} needs a worker, and none is open: it was closed, or it crashed; call open() first"


@attrs.frozen(repr=False)
class WorkerRunning(PerdureError):
    """The test opened a worker while another one is open: a store has one owner."""

    number: int

    def _text(self) -> str:
        return f"worker {self.number} is open, and a store has one owner; close() or crash() it first"


class EventLoopRunning(PerdureError):
    """A world over a real store was opened inside an event loop: it needs its own."""

    def _text(self) -> str:
        return (
            "a World over a real store runs its own event loop, and one is already running here; make the test a "
            "synchronous function, or use the memory store, which needs no loop"
        )


@attrs.frozen(repr=False)
class UnansweredCall(PerdureError, AssertionError):
    """A call did not return although the virtual clock had moved a long way.

    Attributes:
        patience: how long the world waited.
        blocked: one line for each waiting task.
    """

    patience: str
    blocked: tuple[str, ...]

    def _text(self) -> str:
        waiting = "; ".join(self.blocked) or "nothing waits"
        return (
            f"the call did not return after {self.patience} of virtual time: {waiting}. Release the held calls, or "
            "start() the call instead of waiting for it"
        )


@attrs.frozen(repr=False)
class NotAtRest(PerdureError, AssertionError):
    """A world ended, and its engine did not come to rest.

    Attributes:
        after: the last step before the check.
        remains: one line for each remaining task, timer or call.
    """

    after: str
    remains: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"after {self.after}, this remains: {'; '.join(self.remains)}. If a fake of a service keeps it there, let "
            "the fake return; World(at_end='leave') disables the check"
        )


@attrs.frozen(repr=False)
class UnexpectedSuccess(PerdureError, AssertionError):
    """A call succeeded that the test expected to fail."""

    answer: object

    def _text(self) -> str:
        return f"the call should have failed, and returned {self.answer!r}"


@attrs.frozen(repr=False)
class EngineInIllegalState(PerdureError, AssertionError):
    """The engine broke a rule for its own state: a bug in perdure, not in the job.

    Attributes:
        rule: the rule and the instance cell, as `BusyInstances.broken_rule` describes them.
    """

    rule: str

    def _text(self) -> str:
        return f"the engine broke a rule of its own state; report this bug in perdure, with the trace: {self.rule}"


CELLS_A_STEP = 64
"""How many instance cells a step of a simulation checks, on average: a world may have thousands."""


@attrs.define
class LegalState:
    """Checks an engine's state between two event-loop steps: at each, or less often if it has many cells."""

    _skipped: int = 0  # steps before the next check

    def check(self, engine: RunningEngine) -> None:
        """Check the state, unless the last check was a moment ago.

        Raises:
            EngineInIllegalState: an instance cell breaks a rule.
        """
        if self._skipped:
            self._skipped -= 1
            return
        if engine.left_behind:
            return  # it has abandoned its work, and answers that arrive late find no cell among the busy ones
        rule = engine.dispatcher.broken_rule()
        if rule is not None:
            raise EngineInIllegalState(rule)
        self._skipped = len(engine.cache.all_cells()) // CELLS_A_STEP
