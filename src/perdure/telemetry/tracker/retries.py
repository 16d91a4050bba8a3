"""What a tracker does about failures: it logs each new one, waits, and gives up only when the sink closes."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from perdure.engine.loops.waker import Waker
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.retry import Backoff


class GaveUp(Exception):
    """The sink is closing, and its last request failed."""


@attrs.define(kw_only=True)
class Retries:
    """The failures of one tracker.

    Attributes:
        name: the name of the sink, for log lines.
        runtime: the only interface to time, chance and logs.
        backoff: the delay after a failure.
        state: whether the sink is closing.
        problem: why the last attempt failed; empty if it did not.
    """

    name: str
    runtime: Runtime
    backoff: Backoff
    state: Literal["open", "closing"] = "open"
    problem: str = ""
    _pause: Waker = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pause = Waker(self.runtime)

    async def wait(self, failures: int, message: str, reason: str, *, at_least_ms: int = 0) -> None:
        """Log a failure that passes without an operator, and wait.

        Args:
            failures: how many there were, one after the other.
            message: the log line.
            reason: why; a reason that is not new is not logged.
            at_least_ms: the shortest wait.

        Raises:
            GaveUp: the sink is closing.
        """
        delay_ms = max(self._jittered(self.backoff.delay_ms(failures)), at_least_ms)
        await self._wait("warning", message, {"reason": reason}, delay_ms)

    async def wait_for_operator(self, message: str, reason: str, fix: str, **fields: object) -> None:
        """Log a failure that needs an operator, and wait as long as the backoff goes.

        Raises:
            GaveUp: the sink is closing.
        """
        fields = {"reason": reason, **fields, "fix": fix}
        await self._wait("error", message, fields, self._jittered(self.backoff.max_ms))

    async def _wait(
        self, level: Literal["warning", "error"], message: str, fields: dict[str, Any], delay_ms: float
    ) -> None:
        if fields["reason"] != self.problem:
            self.log(level, message, **fields)
        self.problem = fields["reason"]
        if self.state == "closing":
            raise GaveUp
        timer = self.runtime.call_later(delay_ms, self._pause.notify)
        await self._pause.wait_until(None)
        timer.cancel()

    def recovered(self) -> None:
        """Note a success."""
        if self.problem:
            self.problem = ""
            self.log("info", "tracker exports again")

    def close(self) -> None:
        """End a wait, and let the next failure be the last."""
        self.state = "closing"
        self._pause.notify()

    def log(self, level: Literal["info", "warning", "error"], message: str, **fields: object) -> None:
        """Log a line about this sink."""
        self.runtime.log(LogRecord(level, message, {"sink": self.name, **fields}))

    def _jittered(self, delay_ms: float) -> float:
        return delay_ms * (1 + self.runtime.random()) / 2
