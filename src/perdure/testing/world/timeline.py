"""The timeline of a world: what happened, in order, and what the test did to it."""

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
"""How many moments a timeline keeps; the oldest go first."""

Watcher = Callable[[TraceEvent], object]


@attrs.define
class Timeline:
    """Collects what happens.

    Attributes:
        now_ms: the wall clock of the world.
        script: what the test did.
        worker: the number of the worker that is open.
        kept: the newest moments, the oldest of them first.
        dropped: how many older ones were let go.
        effects: every effect that was performed; all are kept.
        events: every event of the log that was committed; all are kept.
        watchers: told of every moment.
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
        """Add a moment."""
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
        """The test has written a call."""
        self.script.wrote(call, asking)

    def asked(self, address: Address, request: Request, /) -> int:
        """A request goes to the engine; gives its number."""
        self._requests += 1
        self.script.asked(address, request)
        self.note(RequestSent(self._requests, address, request))
        return self._requests

    def read(self, address: Address, reading: Reading, /) -> None:
        """A caller looks at what is committed: it is no moment of the story, and a line of the script."""
        self.script.asked(address, reading)

    def answered(self, number: int, result: Result[Any, Any], /) -> None:
        """A caller got an answer."""
        self.note(RequestAnswered(number, result))
