"""What a world cannot do for its test, as typed errors."""

from __future__ import annotations

import attrs

from perdure.values.errors import PerdureError


@attrs.frozen(repr=False)
class WorkerDied(PerdureError):
    """The worker died, as the test had arranged, before the call was answered.

    Attributes:
        at: what it was about to do, or had just done.
    """

    at: str

    def _text(self) -> str:
        return f"the worker died {self.at}; open() the next one, and repeat the request with its idempotency key"


@attrs.frozen(repr=False)
class NoWorker(PerdureError):
    """Something was asked of a worker when none is open."""

    what: str

    def _text(self) -> str:
        return f"{self.what} needs a worker, and none is open: it was closed, or it crashed; call open() first"


@attrs.frozen(repr=False)
class WorkerRunning(PerdureError):
    """A worker was to be opened beside another one: a store has one owner."""

    number: int

    def _text(self) -> str:
        return f"worker {self.number} is open, and a store has one owner; close() or crash() it first"


class EventLoopRunning(PerdureError):
    """A world over a real store was opened inside an event loop: it needs one of its own."""

    def _text(self) -> str:
        return (
            "a World over a real store runs an event loop of its own, and one is running here already: make the test a "
            "plain function, or use the store in memory, which needs no loop"
        )


@attrs.frozen(repr=False)
class UnansweredCall(PerdureError, AssertionError):
    """A call had no answer when the virtual clock had moved a long way.

    Attributes:
        patience: how long it was waited for.
        blocked: one line for each task that waits.
    """

    patience: str
    blocked: tuple[str, ...]

    def _text(self) -> str:
        waiting = "; ".join(self.blocked) or "nothing waits"
        return (
            f"the call is not answered after {self.patience} of virtual time: {waiting}. Release what is held, or "
            "begin() the call instead of asking"
        )


@attrs.frozen(repr=False)
class NotAtRest(PerdureError, AssertionError):
    """A world ended, and its engine did not come to rest.

    Attributes:
        after: what had happened before.
        remains: one line for each thing that remains.
    """

    after: str
    remains: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"after {self.after}, this remains: {'; '.join(self.remains)}. If a fake of a service keeps it there, let "
            "the fake answer; with World(at_end='leave') nothing is checked"
        )


@attrs.frozen(repr=False)
class UnexpectedSuccess(PerdureError, AssertionError):
    """A call succeeded that should not have."""

    answer: object

    def _text(self) -> str:
        return f"the call should have failed, and was answered {self.answer!r}"
