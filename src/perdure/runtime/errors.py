"""What a deterministic runtime refuses, as typed errors. They are mistakes of a program or a test, not outcomes."""

from __future__ import annotations

import attrs

from perdure.values.errors import PerdureError
from perdure.values.excerpt import excerpt


@attrs.frozen(repr=False)
class WouldBlock(PerdureError, RuntimeError):
    """Something waits for the real world in a run that has none. Raised at the await that would wait.

    Attributes:
        who: the task or the service call that waits.
        waiting_for: what it awaits.
    """

    who: str
    waiting_for: object

    def _text(self) -> str:
        return (
            f"{self.who} waits for {excerpt(self.waiting_for)}, which nothing in a run without an event loop can "
            "answer; give it an in-memory service, wait through the simulation's runtime, or run it with run_async or "
            "run_hosted"
        )


@attrs.frozen(repr=False)
class Deadlock(PerdureError, RuntimeError):
    """Every task of the simulation waits and no timer is left that could wake one.

    Attributes:
        blocked: one line for each task that waits: its name and what it awaits.
    """

    blocked: tuple[str, ...]

    def _text(self) -> str:
        return (
            "every task waits and no timer is left to wake one: " + "; ".join(self.blocked) + ". Answer one of these "
            "futures, or call settle() instead of run() if being blocked is expected"
        )


@attrs.frozen(repr=False)
class Livelock(PerdureError, RuntimeError):
    """Tasks of the simulation kept running without its clock ever moving.

    Attributes:
        steps: how many steps were taken at one instant.
        running: the tasks that were ready when it was stopped.
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
    """A future of the simulation was answered twice, or asked for its answer too early.

    Attributes:
        what: the future, and what was asked of it.
    """

    what: str

    def _text(self) -> str:
        return f"{self.what}; check done() first"
