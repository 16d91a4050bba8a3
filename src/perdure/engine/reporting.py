"""Reports: live events to sinks, failures to the log, and the hook mistakes that the debug mode finds.

The engine builds live events only while a sink listens. A transition has at most one log record. The debug mode
inspects a sample of the runs, and the log names each mistake's location once.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeAlias

import attrs
from returns.result import Failure, Result, Success

from perdure.engine.mailbox.entry import MailboxEntry, RequestReport, is_of_caller
from perdure.engine.mailbox.instance_cell import InstanceCell
from perdure.engine.sinks import OpenSinks
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import HookBug, HookBugKind, Inspection
from perdure.jobs.hooks import record_failure
from perdure.jobs.redaction import redacted_failure, secrets_of_run
from perdure.jobs.request import AlarmDue
from perdure.jobs.step import Commit, Execute, Step
from perdure.programs import Exit
from perdure.programs.drivers import Suspended, run_to_first_effect
from perdure.programs.interpreter import interpret, watched
from perdure.runtime.record import BlockingCode, LogRecord, Runtime
from perdure.values.address import Address
from perdure.values.errors import Conflict, EngineClosed, OutcomeUnknown, Overloaded
from perdure.values.event import Event, JobFailed, JobLeft, JobParked, JobRecovered, JobRetryExhausted
from perdure.values.instance import Fence, Instance
from perdure.values.live_event import (
    AlarmFired,
    CommitOutcome,
    CommitSlow,
    EngineOverloaded,
    EventRejected,
    LoopBlocked,
    MessageDelivered,
    RunClaimed,
    StoreCommitted,
)
from perdure.values.message import Consumed, DeadLettered, MessageFate, StoredMessage
from perdure.values.secret import scrubbed
from perdure.values.status import FailureRecord
from perdure.values.transition import Put, Transition

INCIDENTS = frozenset({JobFailed, JobLeft, JobParked, JobRecovered, JobRetryExhausted})
"""The events that are logged."""


def defect_in(step: str, address: Address, defect: BaseException) -> LogRecord:
    """Return the log record for a defect in the engine itself.

    Args:
        step: what the engine did.
        address: the instance.
        defect: the exception.
    """
    return LogRecord("error", f"internal error in {step}", {"instance": str(address), "error": repr(defect)})


def incident(transition: Transition) -> LogRecord | None:
    """Return a transition's log record, or None if nothing in it failed.

    A retry or a recovery is a warning. A run that failed, exhausted its retries or was parked is an error, but a
    warning if it failed with a typed error only: the definition declares that error, so it is not a bug. An instance
    that is left to other code is a warning. Only the most severe event is logged. A typed error in response to an
    event is logged at debug level.
    """
    events = [event for event in transition.events if type(event) in INCIDENTS]
    if not events:
        return None
    fields: dict[str, object] = {"job": f"{transition.address.kind}:{transition.address.name}"}
    fields["id"] = transition.address.id
    for event in events:
        fields |= _fields(event)
    return _record([type(event) for event in events], events, fields)


def dead_letter(transition: Transition) -> LogRecord | None:
    """Return the log record for a new dead letter, or None if the transition has none."""
    fate = transition.inbound
    if not isinstance(fate, DeadLettered):
        return None
    fields = {
        "job": f"{transition.address.kind}:{transition.address.name}",
        "id": transition.address.id,
        "message": fate.message_id,
        "deliveries": fate.deliveries,
        "error": _text(fate.error),
    }
    return LogRecord("error", "message became a dead letter", fields)


def _record(types: list[type[Event]], events: list[Event], fields: dict[str, object]) -> LogRecord:
    errors = [event.error for event in events if isinstance(event, JobFailed | JobRetryExhausted)]
    level: Literal["warning", "error"] = (
        "warning" if errors and all(error.form == "failure" for error in errors) else "error"
    )
    if JobParked in types:
        return LogRecord(level, "instance parked", fields)
    if JobLeft in types:
        return LogRecord("warning", "instance left to other code", fields)
    if JobRetryExhausted in types:
        return LogRecord(level, "run failed, retries exhausted", fields)
    if JobRecovered in types:
        return LogRecord("warning", "run recovered", fields)
    return _failed([event for event in events if isinstance(event, JobFailed)], level, fields)


def _failed(failures: list[JobFailed], level: Literal["warning", "error"], fields: dict[str, object]) -> LogRecord:
    first, last = failures[0], failures[-1]
    if last.hook == "superseded":
        return LogRecord("info", "retry given up for a new run", fields)
    if last.retry_at_ms is not None:
        return LogRecord("warning", "run failed, will be retried", fields)
    if first.hook == "on_event" and level == "warning":
        return LogRecord("debug", "event rejected", fields)
    return LogRecord(level, "run failed", fields)


def _fields(event: Event) -> dict[str, object]:
    match event:
        case JobFailed():
            retry: dict[str, object] = {} if event.retry_at is None else {"retry_at": event.retry_at.isoformat()}
            run = {"run": event.run_id, "hook": event.hook, "attempt": event.attempt, "delivery": event.delivery}
            return {**run, **retry, "error": _text(event.error)}
        case JobRetryExhausted():
            return {"run": event.run_id, "reason": event.reason}
        case JobRecovered():
            run = {"run": event.run_id, "attempt": event.attempt, "delivery": event.delivery}
            return {**run, "recoveries": event.recoveries}
        case JobParked():
            return {"reason": event.reason, "detail": event.detail}
        case JobLeft():
            return {"code": event.code, "reason": event.error_type, "detail": event.detail}
        case _:
            return {}


def _text(error: FailureRecord | None) -> Any:
    return None if error is None else f"{error.error_type}: {error.message}"


SLOW_COMMIT_MS = 1_000
"""A commit that takes longer is reported, and logged as a warning: the first in as many milliseconds."""


@attrs.define
class Reporting:
    """Tells sinks what the engine does besides its transitions.

    Attributes:
        sinks: the open sinks. While none listens, callers do not call these functions.
    """

    runtime: Runtime
    sinks: OpenSinks
    _quiet_until_ms: float = -math.inf
    _unlogged: int = 0

    # ------------------------------------------------------------ requests
    def accepted(self, entry: MailboxEntry, address: Address) -> None:
        """Follow a caller's request to its answer."""
        if is_of_caller(entry.request):
            entry.report = RequestReport(self.runtime, self.sinks.tell, address, entry.request)

    def refused(self, address: Address, refusal: EngineClosed | Overloaded) -> None:
        """Report a request that was not accepted."""
        if self.sinks.told and isinstance(refusal, Overloaded):
            self.sinks.tell(
                EngineOverloaded(
                    at_ms=self.runtime.now_ms(), address=str(address), queue=refusal.what, limit=refusal.limit
                )
            )

    def decided(self, cell: InstanceCell, entry: MailboxEntry, before: Instance | None, step: Step) -> None:
        """Report that a due alarm's turn began."""
        if not isinstance(entry.request.command, AlarmDue) or not isinstance(step, Commit | Execute) or before is None:
            return
        now_ms, due_ms = self.runtime.now_ms(), before.due_ms
        if due_ms is not None and due_ms <= now_ms:
            self.sinks.tell(AlarmFired(at_ms=now_ms, address=str(cell.address), due_ms=due_ms))

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

    def finished(self, cell: InstanceCell, execute: Execute, exit_: Exit[Any, Any], step: Commit | Execute) -> None:
        """Tell that a hook rejected an event with a typed error, unless ``on_error`` handles it."""
        if execute.claim.cause == "event" and isinstance(exit_, Failure) and isinstance(step, Commit):
            record = record_failure(exit_, cell.job.plan.errors, secrets=secrets_of_run(cell.job, execute))
            self.sinks.tell(
                EventRejected(
                    at_ms=self.runtime.now_ms(),
                    address=str(cell.address),
                    error=redacted_failure(cell.job, record),
                )
            )

    # ------------------------------------------------------------ messages
    def settled(self, stored: StoredMessage, fate: MessageFate | None) -> None:
        """Report how a delivery ended."""
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
        """Report a transition's stored events."""
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
        # Without a sink that listens, no event is built.
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
        """Log a slow commit, and how many were not logged since the last line: many instances share a commit."""
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
    answer = sum(_bytes(remembered.answer) for remembered in transition.remember)
    return state + answer + sum(_bytes(message.payload) for message in transition.messages)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


MESSAGES: Final[Mapping[HookBugKind, str]] = {
    "program never run": "a hook built a program and never ran it",
    "state changed in place": "a hook changed its state in place, and the change is lost",
    "input changed in place": "a hook changed its event in place, and its caller holds the same value",
}


MistakeFound: TypeAlias = Callable[[HookBug], object]
"""Called with each mistake that the debug mode finds in a run."""


@attrs.define(eq=False)
class HookChecks:
    """Inspects a sample of each hook's runs.

    A hook's mistake has a location, and the log names it once: the first runs find most mistakes, and the sampled later
    runs find the rest.

    Attributes:
        first: for each hook and event class, the number of first runs that are all inspected.
        one_of: how many later runs there are for each one that is inspected. 1 inspects every run.
    """

    found: MistakeFound
    first: int = 32
    one_of: int = 64
    _runs: defaultdict[tuple[str, str, type], int] = attrs.Factory(lambda: defaultdict[tuple[str, str, type], int](int))

    def samples(self, job: AnyDefinition, hook: str, command: object) -> bool:
        """Return whether the next run of a hook is inspected, and count the run.

        Args:
            job: the instance's definition.
            hook: the function.
            command: the command in its request.
        """
        if self.one_of == 1:
            return True
        # By the class of the event: each class is a branch of the hook, and a rare one may hold the mistake.
        kind, given = command.__class__, command
        if kind is job.event:
            event: Any = command
            given = event.event
        what = (job.name, hook, given.__class__)
        self._runs[what] = runs = self._runs[what] + 1
        return runs <= self.first or runs % self.one_of == 1

    def report(self, job: AnyDefinition, execute: Execute, exit_: Exit[Any, Any]) -> None:
        """Report a hook's mistakes, once each time that a program ends.

        Args:
            job: the instance's definition.
            execute: the run.
            exit_: how the run's program exited.
        """
        inspection = execute.draft.inspection
        if inspection is None or inspection.exited:
            return
        inspection.exited = True
        address, secrets = execute.instance.address, secrets_of_run(job, execute)
        for mistake in inspection.mistakes(exit_, job=f"{address.kind}:{address.name}", hook=execute.hook):
            self.found(attrs.evolve(mistake, subject=scrubbed(mistake.subject, secrets)))


def run_inspected(
    job: AnyDefinition, execute: Execute, services: object
) -> Exit[object, object] | Suspended[object, object]:
    """Run a program until its first effect or wait, under an inspection.

    Args:
        job: the instance's definition.
        execute: the run, which has not begun.
        services: the program's services.
    """
    draft, commands = execute.draft, job.plan.commands
    inspection = Inspection.of(draft, execute.request, commands, is_first_hook=execute.prior is None)
    draft.inspection = inspection
    return run_to_first_effect(watched(interpret(execute.program, services, (inspection,)), inspection.watch))


@attrs.define
class MistakeLog:
    """Logs the first mistake at each location."""

    runtime: Runtime
    _places: set[tuple[str, str, str, str]] = attrs.Factory(set[tuple[str, str, str, str]])

    def __call__(self, mistake: HookBug) -> None:
        """Log a mistake, unless one at the same location was logged before."""
        place = (mistake.job, mistake.hook, mistake.mistake, mistake.place)
        if place in self._places:
            return
        self._places.add(place)
        fields = {"job": mistake.job, "hook": mistake.hook, "subject": mistake.subject}
        if mistake.place:
            fields["place"] = mistake.place
        self.runtime.log(LogRecord("error", MESSAGES[mistake.mistake], fields))


MAX_BLOCKED_PLACES: Final = 1_000
"""Places of blocking code that are logged."""


@attrs.define(eq=False)
class LoopReports:
    """Reports code that holds the event loop: logged once for each function and line, told to sinks each time."""

    runtime: Runtime
    sinks: OpenSinks
    _logged: set[tuple[str, str]] = attrs.Factory(set[tuple[str, str]])

    def began(self, found: BlockingCode) -> None:
        """Log code while it holds the loop. Called in another thread."""
        place = (found.function, found.place)
        if place in self._logged or len(self._logged) >= MAX_BLOCKED_PLACES:
            return
        self._logged.add(place)
        fields = {"function": found.function, "place": found.place, "stack": found.stack}
        fix = {"fix": "await instead, or let a thread or a process perform it"}
        self.runtime.log(LogRecord("warning", "event loop is blocked", fields | fix))

    def ended(self, found: BlockingCode, took_ms: float) -> None:
        """Tell sinks of code that has held the loop."""
        if self.sinks.told:
            now_ms = self.runtime.now_ms()
            self.sinks.tell(
                LoopBlocked(at_ms=now_ms, function=found.function, place=found.place, took_ms=round(took_ms, 3))
            )
