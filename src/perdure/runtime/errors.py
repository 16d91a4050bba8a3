"""A deterministic runtime's errors. They report mistakes in a program or a test, not outcomes."""

from __future__ import annotations

import attrs

from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt


@attrs.frozen(repr=False)
class WouldBlock(PerdureError, RuntimeError):
    """A task waits for real I/O in a run that has none. Raised at the await that would wait.

    Attributes:
        who: the task or the service call that waits.
        waiting_for: the value that it awaits.
    """

    who: str
    waiting_for: object

    def _text(self) -> str:
        return (
            f"{self.who} waits for {excerpt(self.waiting_for)}, which a run without an event loop cannot "
            "answer; pass an in-memory service that needs no I/O, wait with perdure's sleep instead of asyncio's, or "
            "run it on asyncio: app.open('memory://'), run_async, run_hosted"
        )


@attrs.frozen(repr=False)
class Deadlock(PerdureError, RuntimeError):
    """Every task in the simulation waits and no timer is set that could wake one.

    Attributes:
        blocked: one line for each waiting task: its name and the value it awaits.
    """

    blocked: tuple[str, ...]

    def _text(self) -> str:
        return (
            "every task waits and no timer is set to wake one: " + "; ".join(self.blocked) + ". Resolve one of these "
            "futures, or call settle() instead of run() if being blocked is expected"
        )


@attrs.frozen(repr=False)
class Livelock(PerdureError, RuntimeError):
    """Tasks in the simulation kept running while its clock did not move.

    Attributes:
        steps: the step count at one instant.
        running: the tasks that were ready when the run was stopped.
    """

    steps: int
    running: tuple[str, ...]

    def _text(self) -> str:
        return (
            f"{self.steps} steps ran without the virtual clock moving; still ready: {', '.join(self.running)}. A loop "
            "that polls must sleep more than 0 ms"
        )


@attrs.frozen(repr=False)
class AlreadyDone(PerdureError, RuntimeError):
    """A simulation future was resolved twice, or its result was read too early.

    Attributes:
        what: the future, and the call.
    """

    what: str

    def _text(self) -> str:
        return f"{self.what}; check done() first"
