"""The laws that every job must keep, and the monitor that checks them.

The monitor observes every commit and every effect of a world, and records violated laws. It also replays the journal
of each instance after each of its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import attrs
from returns.result import Failure

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import TriggerOptions
from perdure.testing.fault import Fail
from perdure.testing.journal import nondeterminism
from perdure.testing.machine.model import ModelCheck, SentRequest
from perdure.testing.world import EffectCall, TraceEvent
from perdure.testing.world.trace import EffectPerformed, FaultInjected, MessagesRead, TransitionCommitted, WorkerOpened
from perdure.values.address import Address
from perdure.values.errors import PerdureError
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.message import Consumed, StoredMessage
from perdure.values.transition import KeepInstance, Put, Transition

Law: TypeAlias = Literal[
    "an accepted request changes the state once",
    "an acknowledged request is stored",
    "a repeat with its key gets the first answer and changes nothing",
    "transitions of an instance follow each other",
    "a successor is another incarnation",
    "a run that is delivered again is marked",
    "a run that is repeated has one id",
    "a message arrives once",
    "messages of a pair arrive in order",
    "a terminated instance is gone",
    "an unfinished instance has an alarm or is held",
    "nothing is left half-done",
    "the engine comes to rest",
    "a program follows its own journal",
    "the job does what its model does",
    "an invariant of the test",
]


@attrs.frozen(repr=False)
class InvariantViolated(PerdureError, AssertionError):
    """A job violated a law.

    Attributes:
        law: the law.
        what: the observation.
    """

    law: Law
    what: str

    def _text(self) -> str:
        return f"{self.law}: {self.what}"


@attrs.define
class JournalMonitor:
    """Observes a world, and reports programs that do not follow their own journals.

    Attributes:
        job: the definition.
        note: called with each problem.
    """

    job: AnyDefinition
    note: Callable[[str], None]
    _rows: dict[Address, list[str]] = attrs.Factory(dict[Address, list[str]])

    def watch(self, moment: TraceEvent) -> None:
        """Record an event of the world."""
        if isinstance(moment.what, TransitionCommitted) and self.job.keeps_journal == "yes":
            self._committed(moment.what.transition)

    def _committed(self, transition: Transition) -> None:
        address, write, change = transition.address, transition.write, transition.journal
        if (address.kind, address.name) != (self.job.kind, self.job.name) or isinstance(write, KeepInstance):
            return
        if not isinstance(write, Put):
            self._rows.pop(address, None)
            return
        rows = self._rows.setdefault(address, [])
        if change is None:
            return
        if change.earlier == "cut":
            rows.clear()
        rows += change.bodies
        if len(rows) != write.instance.journal_length:
            del self._rows[address]  # a process died with a commit in progress that was written
            return
        problem = nondeterminism(self.job, write.instance, rows)
        if problem is not None:
            self.note(f"{address}: {problem}")


AttemptKey = tuple[str, int, int, int]
"""A run, its part of a workflow, an attempt, a delivery: the marks by which a program detects a repeat."""


Identity = tuple[Address, str, str | int]
"""What names an event for every repeat: its instance, its action, and its key or its message."""


@attrs.define
class KnownInstance:
    """The observed data of one address: its last instance, its fence, and its highest incarnation."""

    instance: Instance | None = None
    fence: Fence | None = None
    incarnation: int = 0


@attrs.define
class InvariantMonitor:
    """Observes a world. It records violations, since it cannot raise in the middle of a turn.

    Attributes:
        model_check: compares the job with its model, if the test has one.
        made: the requests of the test, by key.
        broken: the violated laws, in order.
        applied: the keys whose requests changed an instance, with its address.
        sees: whether it observes every commit.
    """

    model_check: ModelCheck | None
    made: dict[str, SentRequest] = attrs.Factory(dict[str, SentRequest])
    broken: list[InvariantViolated] = attrs.Factory(list[InvariantViolated])
    applied: set[tuple[Address, str]] = attrs.Factory(set[tuple[Address, str]])
    sees: Literal["all", "most"] = "all"
    _injected: list[object] = attrs.Factory(list[object])
    _known: dict[Address, KnownInstance] = attrs.Factory(dict[Address, KnownInstance])
    _claims: set[AttemptKey] = attrs.Factory(set[AttemptKey])
    _run_ids: dict[Identity, str] = attrs.Factory(dict[Identity, str])
    _performed_by: dict[AttemptKey, int] = attrs.Factory(dict[AttemptKey, int])
    _pairs: dict[int, tuple[Address, Address]] = attrs.Factory(dict[int, tuple[Address, Address]])
    _consumed: set[int] = attrs.Factory(set[int])
    _last_of_pair: dict[tuple[Address, Address], int] = attrs.Factory(dict[tuple[Address, Address], int])

    def watch(self, moment: TraceEvent) -> None:
        """Record an event of the world."""
        match moment.what:
            case TransitionCommitted(transition, fence):
                self._committed(transition, fence, moment.at_ms)
            case EffectPerformed(call):
                self._performed(call, moment.worker)
            case MessagesRead(messages):
                self._read(messages)
            case FaultInjected(Fail(error=error)):
                self._injected.append(error)
            case WorkerOpened(store):
                self._opened(store)
            case _:
                pass

    def of_journals(self, job: AnyDefinition) -> Callable[[TraceEvent], None]:
        """Return a watcher that replays the journals of a job after each step."""
        return JournalMonitor(job, lambda problem: self.note("a program follows its own journal", problem)).watch

    def check(self) -> None:
        """Raise the first violation.

        Raises:
            InvariantViolated: a law was violated.
        """
        if self.broken:
            raise self.broken[0]

    def known(self, address: Address) -> KnownInstance | None:
        """Return the observed data of an address; None when it is unknown."""
        return self._known.get(address) or (KnownInstance() if self.sees == "all" else None)

    def note(self, law: Law, what: str) -> None:
        """Record the violation of a law."""
        self.broken.append(InvariantViolated(law, what))

    # ------------------------------------------------------------ workers
    def _opened(self, store: str) -> None:
        """Stop relying on the observations: on a disk, a commit in progress at a death may have been written."""
        if store != "memory://":
            self._known.clear()
            self.sees = "most"

    # ------------------------------------------------------------ commits
    def _committed(self, transition: Transition, fence: Fence, at_ms: int) -> None:
        before = self.known(transition.address)
        if transition.remember is not None and not transition.remember.failures:
            self._applied(transition, transition.remember.key, before, at_ms)
        if isinstance(transition.inbound, Consumed):
            self._took(transition.inbound.message_id)
        if not isinstance(transition.write, KeepInstance):
            self._follows(transition, fence, before)
            self._known[transition.address] = self._after(transition, fence, before or KnownInstance())

    def _applied(self, transition: Transition, key: str, before: KnownInstance | None, at_ms: int) -> None:
        at, made = (transition.address, key), self.made.get(key)
        if made is None:
            return
        if made.ask.action == "terminate" and isinstance(transition.write, Put):
            self.note("a terminated instance is gone", f"{made.ask!r} left {transition.address} as it was")
        if at in self.applied and not _completes(key, before):
            self.note("an accepted request changes the state once", f"{made.ask!r} was applied twice by its key")
        self.applied.add(at)
        if self.model_check is not None and before is not None and isinstance(transition.write, Put):
            differs = self.model_check.of_accepted(made, before.instance, transition.write.instance, at_ms)
            if differs is not None:
                self.note("the job does what its model does", differs)

    def refused(self, made: SentRequest, error: object, effects: tuple[EffectCall, ...]) -> None:
        """Record that the job's own code refused an event, perhaps because of a service's error."""
        if error in self._injected or any(_failed_with(call, error) for call in effects):
            return
        before = self.known(self.model_check.job.address(made.ask.id)) if self.model_check is not None else None
        if self.model_check is not None and before is not None:
            differs = self.model_check.of_refused(made, before.instance, error)
            if differs is not None:
                self.note("the job does what its model does", differs)

    def _follows(self, transition: Transition, fence: Fence, before: KnownInstance | None) -> None:
        address = transition.address
        if before is None:
            return
        if transition.expected != before.fence:
            self.note(
                "transitions of an instance follow each other",
                f"{address} was at {before.fence}, and a transition that expected {transition.expected} was written",
            )
        if before.fence is None and 0 < fence.incarnation <= before.incarnation:
            self.note("a successor is another incarnation", f"{address} lives again as {fence.incarnation}")

    def _after(self, transition: Transition, fence: Fence, before: KnownInstance) -> KnownInstance:
        if not isinstance(transition.write, Put):
            return KnownInstance(incarnation=before.incarnation)
        instance = transition.write.instance
        for claim in (instance.claim, instance.event_claim):
            if claim is not None and not _carried_over(claim, before.instance):
                self._claimed(claim, instance)
                self._identified(claim, instance, before.instance)
        return KnownInstance(instance, fence, max(before.incarnation, fence.incarnation))

    # ------------------------------------------------------------ runs
    def _claimed(self, claim: Claim, instance: Instance) -> None:
        marks = (claim.run_id, instance.run_count, claim.attempt, claim.deliveries)
        if marks in self._claims:
            self.note(
                "a run that is delivered again is marked",
                f"run {claim.run_id} was claimed twice as attempt {claim.attempt}, delivery {claim.deliveries}",
            )
        self._claims.add(marks)

    def _identified(self, claim: Claim, instance: Instance, before: Instance | None) -> None:
        """Compare the id of a claimed run with the id that an earlier attempt of it had."""
        first = claim.run_id
        named = claim.key if claim.message_id is None else claim.message_id
        if claim.cause == "event" and named is not None:
            first = self._run_ids.setdefault((instance.address, claim.action or "", named), claim.run_id)
        retry = None if before is None else before.pending_retry
        if claim is instance.claim and retry is not None and not self._abandons(claim):
            first = retry.run_id
        if claim.run_id != first:
            what = f"{claim.action or claim.cause} of {instance.address} is run {claim.run_id}, and was run {first}"
            self.note("a run that is repeated has one id", what)

    def _abandons(self, claim: Claim) -> bool:
        """Return whether the request of a claim asks for a new run; one without a key may."""
        if claim.key is None or claim.key not in self.made:
            return claim.action is not None
        given = self.made[claim.key].ask.input
        return isinstance(given, TriggerOptions) and given.new_run

    def _performed(self, call: EffectCall, worker: int) -> None:
        known = self._known.get(call.address)  # its claim was committed before
        part = 0 if known is None or known.instance is None else known.instance.run_count
        marks = (call.run_id, part, call.attempt, call.delivery)
        if self._performed_by.setdefault(marks, worker) != worker:
            self.note(
                "a run that is delivered again is marked",
                f"{call} is performed by worker {worker} as attempt {call.attempt}, delivery {call.delivery}, and "
                f"worker {self._performed_by[marks]} had performed effects under the same marks",
            )

    # ------------------------------------------------------------ messages
    def _read(self, messages: tuple[StoredMessage, ...]) -> None:
        for stored in messages:
            self._pairs[stored.message_id] = (stored.message.sender, stored.message.target)

    def _took(self, message_id: int) -> None:
        pair = self._pairs.get(message_id)
        if message_id in self._consumed:
            self.note("a message arrives once", f"message {message_id} was consumed twice")
        self._consumed.add(message_id)
        if pair is None:
            return
        if self._last_of_pair.get(pair, 0) > message_id:
            self.note(
                "messages of a pair arrive in order",
                f"message {message_id} from {pair[0]} to {pair[1]} came after {self._last_of_pair[pair]}",
            )
        self._last_of_pair[pair] = max(message_id, self._last_of_pair.get(pair, 0))


def _failed_with(call: EffectCall, error: object) -> bool:
    outcome: Any = call.outcome
    return outcome.__class__ is Failure and bool(outcome.failure() == error)


def _completes(key: str, before: KnownInstance | None) -> bool:
    """Return whether a run was claimed for this key: its claim stores that it runs, its end stores the result."""
    instance = None if before is None else before.instance
    claims = () if instance is None else (instance.claim, instance.event_claim)
    return before is None or any(claim is not None and claim.key == key for claim in claims)


def _carried_over(claim: Claim, before: Instance | None) -> bool:
    """Return whether it is the previous claim: the same delivery, perhaps released by a graceful stop."""
    earlier = [] if before is None else [before.claim, before.event_claim]
    marks = (claim.run_id, claim.attempt, claim.deliveries)
    return any(each is not None and (each.run_id, each.attempt, each.deliveries) == marks for each in earlier)
