"""The report of one request: how long it waited, how long it took, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import attrs

from perdure.engine.turn_ended import turn_ended
from perdure.engine.turn_outcome import TurnAnswer
from perdure.jobs.request import ENGINE_COMMANDS, Request
from perdure.runtime.record import Runtime
from perdure.values.address import Address
from perdure.values.live_event import RequestEnded


@attrs.define(eq=False)
class RequestReport:
    """Follows one request from its acceptance to its answer.

    Attributes:
        runtime: the clocks.
        tell: tells sinks of the end of the request.
        address: the instance.
        request: the request.
    """

    runtime: Runtime
    tell: Callable[[RequestEnded], None]
    address: Address
    request: Request
    _accepted_ms: float = attrs.field(init=False)
    _waited_ms: float | None = None
    _state: Literal["open", "over"] = "open"

    def __attrs_post_init__(self) -> None:
        self._accepted_ms = self.runtime.monotonic_ms()

    def begun(self) -> None:
        """Note that the turn of the request began."""
        if self._waited_ms is None:
            self._waited_ms = self.runtime.monotonic_ms() - self._accepted_ms

    def ended(self, result: TurnAnswer | Literal["cancelled"]) -> None:
        """Tell how the request ended: with its answer, or because its caller cancelled it. The first end counts."""
        if self._state == "over":
            return
        self._state = "over"
        ended = turn_ended(result)
        took_ms = self.runtime.monotonic_ms() - self._accepted_ms
        self.tell(
            RequestEnded(
                at_ms=self.runtime.now_ms(),
                address=str(self.address),
                action=self.request.action,
                outcome=ended.outcome,
                error=ended.error_type,
                waited_ms=took_ms if self._waited_ms is None else self._waited_ms,
                took_ms=took_ms,
                by=self.request.by,
            )
        )


def is_of_caller(request: Request) -> bool:
    """Return whether a caller sent a request, and neither the engine nor an instance."""
    return request.inbound is None and not isinstance(request.command, ENGINE_COMMANDS)
