"""The laws that every job must keep, the monitor that checks them in a world, and a job's model.

`JobLaws` checks one job's laws, and an invariant takes an `InstanceView`. A `Model` returns an event's expected effect
on a state. A `DrawnRequest` is a request as a value.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

import attrs
from returns.result import Failure, Result, Success

from perdure.jobs.context import AlarmChange, Decision, KeepAlarm, alarm_ms
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import PAUSE, RESUME, TERMINATE, CommandSpec, Request, TriggerOptions
from perdure.stores.contract import load_one
from perdure.testing.fault import Fail
from perdure.testing.journal import nondeterminism
from perdure.testing.world import EffectCall, NotAtRest, TraceEvent, World
from perdure.testing.world.trace import (
    EffectPerformed,
    FaultInjected,
    MessagesRead,
    RequestAnswered,
    RequestSent,
    TransitionCommitted,
    WorkerOpened,
)
from perdure.values.address import Address
from perdure.values.errors import PerdureError, Rejected
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Claim, Fence, Instance
from perdure.values.limits import Limits
from perdure.values.message import Consumed, StoredMessage
from perdure.values.times import from_ms
from perdure.values.transition import KeepInstance, Put, Transition

NO_INPUT = None


@attrs.frozen
class DrawnRequest:
    """A drawn request.

    Attributes:
        action: the command, by name.
        id: the instance.
        input: the command's input. None when it takes none.
    """

    action: str
    id: str
    input: Any = NO_INPUT  # of the command's own type

    def __repr__(self) -> str:
        taken = "" if self.input is NO_INPUT else f", {self.input!r}"
        return f"{self.action}({self.id!r}{taken})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: FBT001 - as Hypothesis and IPython call it
        printer.text(repr(self))


@attrs.define
class SentRequest:
    """A request that was made, with its key and its result. The result is None while it is unknown."""

    ask: DrawnRequest
    key: str
    at_ms: int
    result: Result[Any, Any] | None = None  # of any command, or a CallError


def spec_of(job: AnyDefinition, action: str) -> CommandSpec[Any]:
    """Return a job's command."""
    shared = {spec.name: spec for spec in (TERMINATE, PAUSE, RESUME)}
    # A kind may replace a shared command by one of its own.
    return {**shared, **job.plan.commands}[action]


def request_of(job: AnyDefinition, ask: DrawnRequest, key: str, limits: Limits) -> Request:
    """Return the request, as a typed handle builds it.

    Raises:
        InvalidInput: the input does not have the command's type.
    """
    spec = spec_of(job, ask.action)
    if spec.input is None:
        return Request(command=spec.command(), action=ask.action, idempotency_key=key)
    # Encoded and checked as a handle does it: a machine must find inputs that a caller cannot send.
    payload = job.encode_input(ask.action, ask.input, limits.payload_bytes)
    return Request(command=spec.command(ask.input), action=ask.action, payload=payload, idempotency_key=key)


S = TypeVar("S")
V = TypeVar("V")


@attrs.frozen
class Model(Generic[S, V]):
    """A job's expected behaviour: how each event changes its state.

    Args:
        initial: the state before the first event: a value, or a function that takes the id.
        decide: returns the next state or a `Decision` for a state and an event. A ``Failure`` refuses the event.
        command: the command that carries the events. By default the kind's first command that may create an instance.

    A job agrees with its model when each event that it accepts results in the model's state (and alarm, if the model
    returns a `Decision`), and when it refuses exactly the events that the model refuses, except for an error that a
    service returned.
    """

    __repr__ = fields_in_line

    initial: S | Callable[[str], S]
    decide: Callable[[S, V], Result[Decision[S] | S, Any] | Decision[S] | S]
    command: str | None = attrs.field(default=None, kw_only=True)

    def first(self, id_: str) -> S:
        """Return the state before an instance's first event."""
        initial: Any = self.initial
        return cast("S", initial(id_)) if callable(initial) else cast("S", initial)

    def after(self, state: S, event: V) -> Result[tuple[S, AlarmChange | None], Any]:
        """Return the next state and the model's alarm change, if any, or else why the model refuses the event."""
        decided: Result[Any, Any] = _as_result(self.decide(state, event))
        return decided.map(_parts)


def _as_result(decided: Any) -> Result[Any, Any]:  # the result of the test's function
    return decided if isinstance(decided, Result) else Success(decided)  # pyright: ignore[reportUnknownVariableType] # of anything


def _parts(decided: Any) -> tuple[Any, AlarmChange | None]:
    decision = cast("Decision[Any]", decided)
    return (decision.state, decision.alarm) if isinstance(decided, Decision) else (decided, None)


@attrs.frozen
class ModelCheck:
    """Compares a job with its model.

    Attributes:
        command: the command that carries them.
    """

    job: AnyDefinition
    model: Model[Any, Any]  # of the job's own types
    command: str

    def of_accepted(self, made: SentRequest, before: Instance | None, after: Instance, at_ms: int) -> str | None:
        """Compare an accepted event's effect with the model, and return the difference or None."""
        if made.ask.action != self.command:
            return None
        state = self._found_by_events(before, made.ask.id)
        expected = self.model.after(state, made.ask.input)
        if not isinstance(expected, Success):
            return f"{made.ask!r} was accepted in {state!r}, and the model refuses it with {expected.failure()!r}"
        wanted, change = expected.unwrap()
        found = self._found_by_events(after, made.ask.id)
        if found != wanted:
            return f"{made.ask!r} made {found!r} of {state!r}, and the model makes {wanted!r}"
        if change is not None and not _allowed(change, before, after, made.at_ms, at_ms):
            return f"{made.ask!r} left the alarm at {after.alarm_ms} ms, and the model says {change!r} (at {at_ms} ms)"
        return None

    def of_refused(self, made: SentRequest, before: Instance | None, error: object) -> str | None:
        """Compare a refusal with the model, and return the difference or None."""
        if made.ask.action != self.command:
            return None
        state = self._found_by_events(before, made.ask.id)
        if isinstance(self.model.after(state, made.ask.input), Success):
            return f"{made.ask!r} was refused in {state!r} with {error!r}, and the model accepts it"
        return None

    def _found_by_events(self, instance: Instance | None, id_: str) -> Any:  # of the job's own type
        """Return the state before an instance's event."""
        state = None if instance is None else self.job.visible_state(instance)
        return self.model.first(id_) if state is None else state


def _allowed(change: AlarmChange, before: Instance | None, after: Instance, asked_ms: int, at_ms: int) -> bool:
    """Return whether an alarm results from a change that was made between the request and its commit."""
    current_ms = None if before is None else before.alarm_ms
    # Equal, and not only within the two instants: a kept alarm does not move.
    if isinstance(change, KeepAlarm):
        return after.alarm_ms == current_ms
    # The commit's instant is not known exactly: the turn read its clock between the request and the commit.
    earliest, latest = (alarm_ms(change, current_ms=current_ms, now_ms=now_ms) for now_ms in (asked_ms, at_ms))
    if earliest is None or latest is None or after.alarm_ms is None:
        return after.alarm_ms is earliest is latest
    return earliest <= after.alarm_ms <= latest


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
        note: called with each problem.
    """

    job: AnyDefinition
    note: Callable[[str], None]
    _rows: dict[Address, list[str]] = attrs.Factory(dict[Address, list[str]])

    def watch(self, moment: TraceEvent) -> None:
        """Record a world's event."""
        if isinstance(moment.what, TransitionCommitted) and self.job.keeps_journal:
            self._committed(moment.what.transition)

    def _committed(self, transition: Transition) -> None:
        address, write, change = transition.address, transition.write, transition.journal
        if (address.kind, address.name) != (self.job.kind, self.job.name) or isinstance(write, KeepInstance):
            return
        if not isinstance(write, Put):
            # The next instance at this address begins a journal of its own.
            self._rows.pop(address, None)
            return
        rows = self._rows.setdefault(address, [])
        if change is None:
            return
        rows[:] = change.after(rows)
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
    """The data observed at one address: its last instance, its fence, and its highest incarnation."""

    instance: Instance | None = None
    fence: Fence | None = None
    incarnation: int = 0


@attrs.define
class InvariantMonitor:
    """Observes a world. It records violations, since it cannot raise during a turn.

    Attributes:
        model_check: compares the job with its model, if the test has one.
        made: the test's requests, by key.
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
        """Record a world's event."""
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
        """Return a watcher that replays a job's journals after each step."""
        return JournalMonitor(job, lambda problem: self.note("a program follows its own journal", problem)).watch

    def check(self) -> None:
        """Raise the first violation.

        Raises:
            InvariantViolated: a law was violated.
        """
        if self.broken:
            raise self.broken[0]

    def known(self, address: Address) -> KnownInstance | None:
        """Return the data observed at an address, or None if it is unknown."""
        # An address that was never written is absent, as long as every commit was seen.
        return self._known.get(address) or (KnownInstance() if self.sees == "all" else None)

    def note(self, law: Law, what: str) -> None:
        """Record a violated law."""
        # Not raised: inside a turn the engine would take it for a mistake of the job.
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
        for remembered in transition.remember:
            # A stored failure names an event that was not applied: its repeat is handled again.
            if not remembered.failures:
                self._applied(transition, remembered.key, before, at_ms)
        if isinstance(transition.inbound, Consumed):
            self._took(transition.inbound.message_id)
        if not isinstance(transition.write, KeepInstance):
            # Before the instance is replaced by the new one.
            self._follows(transition, fence, before)
            self._known[transition.address] = self._after(transition, fence, before or KnownInstance())

    def _applied(self, transition: Transition, key: str, before: KnownInstance | None, at_ms: int) -> None:
        at, made = (transition.address, key), self.made.get(key)
        # A key of a message or of the job's own making: the test sent no such request.
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
        """Record that the job's own code refused an event, perhaps after a service's error."""
        # The model knows no services: it cannot say that a refusal after an injected error is wrong.
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
        # A fence of the earlier instance must not fit: a late commit would change a stranger.
        if before.fence is None and 0 < fence.incarnation <= before.incarnation:
            self.note("a successor is another incarnation", f"{address} lives again as {fence.incarnation}")

    def _after(self, transition: Transition, fence: Fence, before: KnownInstance) -> KnownInstance:
        if not isinstance(transition.write, Put):
            return KnownInstance(incarnation=before.incarnation)
        instance = transition.write.instance
        for claim in (instance.claim, instance.event_claim):
            # Other commits repeat the claim in progress. Only a new one is a delivery.
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
        """Compare a claimed run's id with the id that its earlier attempt had."""
        first = claim.run_id
        named = claim.key if claim.message_id is None else claim.message_id
        if claim.cause == "event" and named is not None:
            first = self._run_ids.setdefault((instance.address, claim.action or "", named), claim.run_id)
        retry = None if before is None else before.pending_retry
        # A retry continues the run that failed: an external system recognizes it by its id.
        if claim is instance.claim and retry is not None and not self._abandons(claim):
            first = retry.run_id
        if claim.run_id != first:
            what = f"{claim.action or claim.cause} of {instance.address} is run {claim.run_id}, and was run {first}"
            self.note("a run that is repeated has one id", what)

    def _abandons(self, claim: Claim) -> bool:
        """Return whether a claim's request demands a new run. A request without a key may."""
        if claim.key is None or claim.key not in self.made:
            return claim.action is not None
        given = self.made[claim.key].ask.input
        return isinstance(given, TriggerOptions) and given.new_run

    def _performed(self, call: EffectCall, worker: int) -> None:
        known = self._known.get(call.address)  # its claim was committed before
        part = 0 if known is None or known.instance is None else known.instance.run_count
        marks = (call.run_id, part, call.attempt, call.delivery)
        # Two workers with the same marks: a service could not tell that the second call is a repeat.
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
        # Message ids grow with each commit of the sender, so they are the order in which a pair's messages were sent.
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


S_co = TypeVar("S_co", covariant=True)


@attrs.frozen(kw_only=True)
class InstanceView(Generic[S_co]):
    """One stored instance, decoded, after the world has settled.

    Attributes:
        id: the instance's id.
        state: the decoded state. None when the kind stores none at the moment.
        alarm: when it is due next, an aware instant. None when nothing is scheduled, or it is paused or parked.
        now: the current time.
        effects: the effects that its runs have performed, in order, over all its incarnations.
        instance: the stored instance.
    """

    __repr__ = fields_in_line

    id: str
    state: S_co
    alarm: datetime | None
    now: datetime
    effects: tuple[EffectCall, ...] = attrs.field(repr=False)  # the trace shows them
    instance: Instance = attrs.field(repr=False)


Check: TypeAlias = Callable[[InstanceView[Any]], object]
"""An invariant: asserts, or returns False when it does not hold."""

_HALF_DONE: Law = "nothing is left half-done"
_REPEAT: Law = "a repeat with its key gets the first answer and changes nothing"
_STORED: Law = "an acknowledged request is stored"
_TOLERATED_MS: Final = 60_000
"""How late work may be after a store failed: the engine retries after a delay."""


@attrs.define
class _Asked:
    """A request on its way.

    Attributes:
        effects: how many effects had been performed before it.
        alone: whether no other request was on its way meanwhile.
    """

    made: SentRequest
    effects: int
    alone: bool


@attrs.define(kw_only=True)
class JobLaws:
    """Checks one job's laws in a world, from this moment on. A `JobMachine` checks them with it in its reproduction.

    Args:
        world: the world.
        job: the definition under test.
        invariants: conditions that must hold for every stored instance.
        model: the job's model.
        finished: returns whether an instance in that state may wait for nothing. By default the definition decides.
    """

    __repr__ = fields_in_line

    world: World = attrs.field(kw_only=False)
    job: AnyDefinition = attrs.field(kw_only=False)
    invariants: tuple[Check, ...] = ()
    model: Model[Any, Any] | None = None
    finished: Callable[[Any], bool] | None = None
    _monitor: InvariantMonitor = attrs.field(init=False)
    _asked: dict[int, _Asked] = attrs.field(init=False, factory=dict[int, "_Asked"])

    def __attrs_post_init__(self) -> None:
        self._monitor = InvariantMonitor(model_check_of(self.job, self.model))
        self.world.watch(self._watch)
        self.world.watch(self._monitor.of_journals(self.job))

    def check(self) -> None:
        """Check every law and every invariant, once the world has settled.

        Raises:
            InvariantViolated: a law or an invariant does not hold.
        """
        self.world.settle()
        self._monitor.check()
        check_invariants(self.world, self.job, self.invariants, self.finished)

    def check_at_rest(self) -> None:
        """Check also that no work is left, once enough time has passed without faults.

        Raises:
            InvariantViolated: a law or an invariant does not hold.
        """
        self.check()
        check_leftovers(self.world, self.job)

    # ------------------------------------------------------------ requests that the test makes
    def _watch(self, moment: TraceEvent) -> None:
        match moment.what:
            case RequestSent(number, address, request):
                self._sent(number, address, request, moment.at_ms)
            case RequestAnswered(number, result):
                self._answered(number, result, moment.at_ms)
            case _:
                self._monitor.watch(moment)

    def _sent(self, number: int, address: Address, request: Request, at_ms: int) -> None:
        key = request.idempotency_key
        if key is None or address != self.job.address(address.id):
            return
        made = self._monitor.made.setdefault(key, SentRequest(_drawn(self.job, address, request), key, at_ms))
        for other in self._asked.values():
            # Concurrent requests may be refused for one another's effects: a model, which sees one at a time, cannot
            # judge them.
            other.alone = False
        self._asked[number] = _Asked(made, len(self.world.effects), alone=not self._asked)

    def _answered(self, number: int, result: Result[Any, Any], at_ms: int) -> None:
        asked = self._asked.pop(number, None)
        if asked is None:
            return
        made, first = asked.made, asked.made.result
        made.result = result
        at = (self.job.address(made.ask.id), made.key)
        if isinstance(result, Success):
            # After its window a key is a new request, and may get another answer.
            remembered = made.at_ms > at_ms - self.world.app.limits.idempotency_ttl_ms
            if isinstance(first, Success) and remembered and first != result:
                self._monitor.note(_REPEAT, f"{made.ask!r} returned {first!r}, and again {result!r}")
            if self._monitor.sees == "all" and at not in self._monitor.applied:
                self._monitor.note(_STORED, f"{made.ask!r} returned {result.unwrap()!r}")
        elif asked.alone and isinstance(refused := result.failure(), Rejected):
            self._monitor.refused(made, refused.error, self.world.effects[asked.effects :])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of the job's own type


def model_check_of(job: AnyDefinition, model: Model[Any, Any] | None) -> ModelCheck | None:
    """Return the check that compares a job with its model, or None without a model."""
    if model is None:
        return None
    creating = next((spec.name for spec in job.plan.commands.values() if spec.absent == "creates"), "")
    return ModelCheck(job, model, model.command or creating)


def check_invariants(
    world: World, job: AnyDefinition, invariants: tuple[Check, ...], finished: Callable[[Any], bool] | None
) -> None:
    """Check a job's instances against the invariants, and that none waits for nothing.

    Args:
        world: the world, which has settled.
        job: the definition.
        invariants: conditions that must hold for every instance.
        finished: returns whether an instance in that state may wait for nothing. If None, the definition decides.

    Raises:
        InvariantViolated: an instance violates an invariant, or waits for nothing.
    """
    for instance in world.instances():
        if instance.address == job.address(instance.address.id):
            _check_invariants_of(world, job, instance, invariants, finished)


def _check_invariants_of(
    world: World,
    job: AnyDefinition,
    instance: Instance,
    invariants: tuple[Check, ...],
    finished: Callable[[Any], bool] | None,
) -> None:
    view = _view(world, job, instance)
    # An event in progress may still set the alarm.
    idle = instance.status == "idle" and instance.event_claim is None
    if idle and not (job.may_rest(instance) if finished is None else finished(view.state)):
        what = f"{instance.address} waits for nothing in {view.state!r}"
        raise InvariantViolated("an unfinished instance has an alarm or is held", what)
    for check in invariants:
        # False only: a check that asserts returns None.
        if check(view) is False:
            name = getattr(check, "__name__", repr(check))
            raise InvariantViolated("an invariant of the test", f"{name} does not hold of {instance.address}: {view!r}")


def _view(world: World, job: AnyDefinition, instance: Instance) -> InstanceView[Any]:
    due_ms = instance.due_ms
    return InstanceView(
        id=instance.address.id,
        state=job.visible_state(instance),
        alarm=None if due_ms is None else from_ms(due_ms),
        now=world.now,
        effects=tuple(call for call in world.effects if call.address == instance.address),
        instance=instance,
    )


def check_leftovers(world: World, job: AnyDefinition) -> None:
    """Check that no claim, alarm, message or task is left, after enough time without faults.

    Args:
        world: the world, which is not used afterwards.
        job: the definition under test.

    Raises:
        InvariantViolated: some work is left.
    """
    for instance in world.instances():
        _is_settled(instance, job, world.now_ms)
    for stored in world.messages():
        _may_wait(stored, world)
    try:
        world.finish()
    except NotAtRest as error:
        raise InvariantViolated("the engine comes to rest", str(error)) from error


def _may_wait(stored: StoredMessage, world: World) -> None:
    address = stored.message.target
    target = world.inspect(lambda store: load_one(store, address, None, 0)).instance
    if stored.not_before_ms <= world.now_ms and (target is None or target.suspension is None):
        served = (address.kind, address.name) in world.app.served
        why = "" if served else f": no job here is {address.kind}:{address.name}; pass beside=(the_definition,)"
        raise InvariantViolated(_HALF_DONE, f"message {stored.message_id} to {address} was not handled{why}")


def _is_settled(instance: Instance, job: AnyDefinition, now_ms: int) -> None:
    over_ms = now_ms - _TOLERATED_MS
    for claim in (instance.claim, instance.event_claim):
        if claim is not None and claim.claimed_ms + job.plan.run_timeout_ms < over_ms:
            raise InvariantViolated(_HALF_DONE, f"{instance.address} is left with the claim of run {claim.run_id}")
    if instance.claim is None and instance.due_ms is not None and instance.due_ms < over_ms:
        raise InvariantViolated(_HALF_DONE, f"{instance.address} is overdue, and the engine does not run it")


def _drawn(job: AnyDefinition, address: Address, request: Request) -> DrawnRequest:
    """Return a request as a state machine draws it."""
    spec = job.plan.commands.get(request.action)
    if spec is not None and spec.input is not None and spec.takes == "options" and request.payload:
        return DrawnRequest(request.action, address.id, spec.input.decode(request.payload.encode()))
    inputs = () if spec is None or spec.input is None else job.handle_call(request)[1]
    return DrawnRequest(request.action, address.id, *inputs[:1])
