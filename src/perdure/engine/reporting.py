"""Builds live events and tells sinks of them. The engine calls it only while a sink listens."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.item import Item
from perdure.engine.request_report import RequestReport, is_of_caller
from perdure.engine.resident import Resident
from perdure.engine.sink import OpenSinks
from perdure.jobs.failures import record_failure
from perdure.jobs.redaction import redacted_failure, secrets_of_run
from perdure.jobs.request import AlarmDue
from perdure.jobs.step import Commit, Execute, Step
from perdure.programs import Exit
from perdure.runtime.record import LogRecord, Runtime
from perdure.values.address import Address
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, Overloaded
from perdure.values.instance import Fence, Instance
from perdure.values.live_event import (
    AlarmFired,
    CommitOutcome,
    CommitSlow,
    EngineOverloaded,
    EventRejected,
    MessageDelivered,
    RunClaimed,
    StoreCommitted,
)
from perdure.values.message import Consumed, DeadLettered, MessageFate, StoredMessage
from perdure.values.transition import Put, Transition

SLOW_COMMIT_MS = 1_000
"""A commit that takes longer is reported, and logged as a warning: the first in as many milliseconds."""


@attrs.define
class Reporting:
    """Tells sinks what the engine does besides its transitions.

    Attributes:
        runtime: the clocks.
        sinks: the open sinks. While none listens, callers do not call these functions.
    """

    runtime: Runtime
    sinks: OpenSinks
    _quiet_until_ms: float = -math.inf
    _unlogged: int = 0

    # ------------------------------------------------------------ requests
    def accepted(self, item: Item, address: Address) -> None:
        """Follow a request of a caller to its answer."""
        if is_of_caller(item.request):
            item.report = RequestReport(self.runtime, self.sinks.tell, address, item.request)

    def refused(self, address: Address, refusal: EngineClosed | Overloaded) -> None:
        """Tell of a request that was not accepted."""
        if self.sinks.told and isinstance(refusal, Overloaded):
            self.sinks.tell(
                EngineOverloaded(
                    at_ms=self.runtime.now_ms(), address=str(address), queue=refusal.what, limit=refusal.limit
                )
            )

    def decided(self, resident: Resident, item: Item, before: Instance | None, step: Step) -> None:
        """Tell that the turn of a due alarm began."""
        if not isinstance(item.request.command, AlarmDue) or not isinstance(step, Commit | Execute) or before is None:
            return
        now_ms, due_ms = self.runtime.now_ms(), before.due_ms
        if due_ms is not None and due_ms <= now_ms:
            self.sinks.tell(AlarmFired(at_ms=now_ms, address=str(resident.address), due_ms=due_ms))

    # ------------------------------------------------------------ runs
    def claimed(self, execute: Execute) -> None:
        """Tell that a run was claimed."""
        claim = execute.claim
        self.sinks.tell(
            RunClaimed(
                at_ms=self.runtime.now_ms(),
                address=str(execute.instance.address),
                run_id=claim.run_id,
                cause=claim.cause,
                attempt=claim.attempt,
                delivery=claim.deliveries,
            )
        )

    def finished(self, resident: Resident, execute: Execute, exit_: Exit[Any, Any], step: Commit | Execute) -> None:
        """Tell that a hook rejected an event with a typed error, unless ``on_error`` handles it."""
        if execute.claim.cause == "event" and isinstance(exit_, Failure) and isinstance(step, Commit):
            record = record_failure(exit_, resident.job.plan.errors, secrets=secrets_of_run(resident.job, execute))
            self.sinks.tell(
                EventRejected(
                    at_ms=self.runtime.now_ms(),
                    address=str(resident.address),
                    error=redacted_failure(resident.job, record),
                )
            )

    # ------------------------------------------------------------ messages
    def settled(self, stored: StoredMessage, fate: MessageFate | None) -> None:
        """Tell the outcome of a delivery."""
        message, now_ms = stored.message, self.runtime.now_ms()
        outcome: Literal["consumed", "dead_lettered", "postponed"]
        outcome = "consumed" if isinstance(fate, Consumed) else "postponed"
        self.sinks.tell(
            MessageDelivered(
                at_ms=now_ms,
                message_id=stored.message_id,
                sender=str(message.sender),
                target=str(message.target),
                action=message.action,
                outcome="dead_lettered" if isinstance(fate, DeadLettered) else outcome,
                waited_ms=max(0, now_ms - message.sent_ms),
            )
        )

    # ------------------------------------------------------------ commits
    def committed(self, transition: Transition) -> None:
        """Tell the stored events of a transition."""
        for event in transition.events:
            self.sinks.tell(event)

    def stored(self, transition: Transition, stored: Result[Fence, Any], *, took_ms: float) -> None:
        """Tell the store's answer to a commit, and log a slow one.

        Args:
            transition: the transition.
            stored: the answer.
            took_ms: how long it took, or its group.
        """
        if took_ms > SLOW_COMMIT_MS:
            self._log_slow(transition, took_ms)
        if not self.sinks.told:
            return
        at_ms, address = self.runtime.now_ms(), str(transition.address)
        if took_ms > SLOW_COMMIT_MS:
            self.sinks.tell(CommitSlow(at_ms=at_ms, address=address, took_ms=took_ms))
        self.sinks.tell(
            StoreCommitted(
                at_ms=at_ms, address=address, outcome=_outcome(stored), took_ms=took_ms, size_bytes=_size(transition)
            )
        )

    def _log_slow(self, transition: Transition, took_ms: float) -> None:
        """Log a slow commit, with the number of those since the last line: many instances share a commit."""
        now_ms = self.runtime.monotonic_ms()
        if now_ms < self._quiet_until_ms:
            self._unlogged += 1
            return
        others = {"others_since": self._unlogged} if self._unlogged else {}
        fields = {"instance": str(transition.address), "ms": round(took_ms), **others}
        self._quiet_until_ms, self._unlogged = now_ms + SLOW_COMMIT_MS, 0
        self.runtime.log(LogRecord("warning", "slow commit", fields))


def _outcome(stored: Result[Fence, Any]) -> CommitOutcome:
    match stored:
        case Success():
            return "committed"
        case Failure(Conflict()):
            return "conflict"
        case Failure(OutcomeUnknown()):
            return "unknown"
        case _:
            return "unavailable"


def _size(transition: Transition) -> int:
    state = _bytes(transition.write.instance.state) if isinstance(transition.write, Put) else 0
    answer = 0 if transition.remember is None else _bytes(transition.remember.answer)
    return state + answer + sum(_bytes(message.payload) for message in transition.messages)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
