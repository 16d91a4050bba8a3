"""The requests in the queue of an instance, and its runs in progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

import attrs

from perdure.engine.request_report import RequestReport
from perdure.engine.tracing import TurnSpan
from perdure.engine.turn_ended import turn_ended
from perdure.engine.turn_outcome import TurnAnswer
from perdure.jobs.request import Request
from perdure.jobs.step import Execute
from perdure.programs import Exit


class Reply(Protocol):
    """Receives the result of a request. A future is one; cancelling it removes a waiting request."""

    def done(self) -> bool:
        """Whether it has a result, or the caller cancelled the request."""
        ...

    def set_result(self, result: TurnAnswer, /) -> None:
        """Take the result."""
        ...


ELSEWHERE_MIN_MS, ELSEWHERE_MAX_MS = 5, 250
"""How soon a request is decided again that found its instance held by another engine of a shared store."""


@attrs.define(eq=False)
class Item:
    """One request in a mailbox.

    Attributes:
        request: the request.
        answer: receives the result.
        ended: the run whose end this item is, if it ran beside the mailbox.
        conflicts: how often its turn met a conflict before its first effect.
        backed_off: the number of these conflicts after which it waited for its rivals.
        recovered: whether an abandoned run was already recovered for this request.
        span: traces its turn, from the moment that the instance is loaded; None if it is not traced.
        report: reports the end of the request to sinks; None if none listens.
        company: whether its turn may share a transition with others; ``alone`` after a store has refused one.
        looks: how often it found the instance held by another engine.
        basis: whether its turn was decided on a row that was just read, or on one that the engine of a shared store
            has kept, and another engine may have changed.
        counts: how much it counts towards ``max_pending``: the engine's own commands have other limits.
        ending: called when the end of its run is about to be committed.
    """

    request: Request
    answer: Reply
    ended: tuple[Execute, Exit[Any, Any]] | None = None
    conflicts: int = 0
    backed_off: int = 1
    recovered: Literal["not_yet", "once"] = "not_yet"
    span: TurnSpan | None = None
    report: RequestReport | None = None
    company: Literal["any", "alone"] = "any"
    looks: int = 0
    basis: Literal["read", "kept"] = "read"
    ending: Callable[[], None] | None = None
    counts: int = 1

    def next_look_ms(self, random: float) -> float:
        """Return when to look again for an instance that another engine holds."""
        delay_ms: int = min(ELSEWHERE_MAX_MS, ELSEWHERE_MIN_MS << min(self.looks, 10))
        self.looks += 1
        return delay_ms * (0.5 + random)

    def reply(self, result: TurnAnswer) -> None:
        """Answer the request at the end of its turn, unless its caller has cancelled it or has its answer."""
        self.reply_early(result)
        if self.span is not None:
            self.end_span(result)

    def reply_early(self, result: TurnAnswer) -> None:
        """Answer the request before its turn ends."""
        if not self.answer.done():
            self.answer.set_result(result)
            if self.report is not None:
                self.report.ended(result)
        elif self.report is not None:
            self.report.ended("cancelled")

    def note_cancelled(self) -> None:
        """Report that the caller has cancelled the request before its turn."""
        self.end_span("cancelled")
        if self.report is not None:
            self.report.ended("cancelled")

    def end_span(self, result: TurnAnswer | Literal["cancelled"]) -> None:
        """End the trace of the turn, if it has one."""
        if self.span is not None:
            self.span.end(turn_ended(result))
            self.span = None


Stop = Literal["timed_out", "interrupted", "cancelled", "released"]
"""Why a run is stopped: it timed out, a terminate or a cancellation interrupts it, or the engine shuts down."""


@attrs.define(eq=False)
class RunInProgress:
    """A user program in progress.

    Attributes:
        by: the task that runs it.
        claimed: returns the run if its claim is stored; None before.
        stop: why it is being cancelled, if it is.
    """

    by: Literal["worker", "apart"]
    claimed: Callable[[], Execute | None]
    stop: Stop | None = None
