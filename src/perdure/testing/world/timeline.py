"""The timeline of a world: its events in order, and the calls of the test."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs
from returns.result import Result

from perdure.jobs.request import Request
from perdure.testing.world.recorded_call import Reading, Unasked
from perdure.testing.world.reproduction import Reproduction
from perdure.testing.world.trace_event import (
    EffectCall,
    EffectPerformed,
    RequestAnswered,
    RequestSent,
    TraceDetail,
    TraceEvent,
    TransitionCommitted,
)
from perdure.values.address import Address
from perdure.values.event import Event

KEPT: Final = 2_000
"""The maximum number of kept events; the oldest are dropped first."""

Watcher = Callable[[TraceEvent], object]


@attrs.define
class Timeline:
    """Collects the events of a world.

    Attributes:
        now_ms: returns the wall clock of the world.
        script: the calls of the test.
        worker: the number of the open worker.
        kept: the newest events, oldest first.
        dropped: the number of older events that were dropped.
        effects: every performed effect; all are kept.
        events: every committed event of the log; all are kept.
        watchers: called with every event.
    """

    now_ms: Callable[[], int]
    script: Reproduction
    worker: int = 0
    kept: deque[TraceEvent] = attrs.Factory(lambda: deque[TraceEvent](maxlen=KEPT))
    dropped: int = 0
    effects: list[EffectCall] = attrs.Factory(list[EffectCall])
    events: list[Event] = attrs.Factory(list[Event])
    watchers: list[Watcher] = attrs.Factory(list[Watcher])
    _requests: int = 0

    def note(self, what: TraceDetail) -> None:
        """Add an event."""
        moment = TraceEvent(self.now_ms(), self.worker, what)
        self.dropped += len(self.kept) == KEPT
        self.kept.append(moment)
        if isinstance(what, EffectPerformed):
            self.effects.append(what.call)
        elif isinstance(what, TransitionCommitted):
            self.events += what.transition.events
        for watcher in self.watchers:
            watcher(moment)

    def wrote(self, call: object, asking: Unasked, /) -> None:
        """Record that the test has created a call."""
        self.script.wrote(call, asking)

    def asked(self, address: Address, request: Request, /) -> int:
        """Record a request to the engine, and return its number."""
        self._requests += 1
        self.script.asked(address, request)
        self.note(RequestSent(self._requests, address, request))
        return self._requests

    def read(self, address: Address, reading: Reading, /) -> None:
        """Record a read of committed data: it is not in the timeline, but a line of the reproduction."""
        self.script.asked(address, reading)

    def answered(self, number: int, result: Result[Any, Any], /) -> None:
        """Record the result of a request."""
        self.note(RequestAnswered(number, result))
