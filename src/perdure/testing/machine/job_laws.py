"""``JobLaws``: the laws of one job, checked in a world; and `InstanceView`, the argument of an invariant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Generic, TypeAlias, TypeVar

import attrs
from returns.result import Result, Success

from perdure.jobs.definition import AnyDefinition
from perdure.jobs.request import Request
from perdure.testing.machine.model import DrawnRequest, Model, ModelCheck, SentRequest
from perdure.testing.machine.monitor import InvariantMonitor, InvariantViolated, Law
from perdure.testing.world import EffectCall, NotAtRest, TraceEvent, World
from perdure.testing.world.trace import RequestAnswered, RequestSent
from perdure.values.address import Address
from perdure.values.errors import Rejected
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Instance
from perdure.values.message import StoredMessage
from perdure.values.times import from_ms

S_co = TypeVar("S_co", covariant=True)


@attrs.frozen(kw_only=True)
class InstanceView(Generic[S_co]):
    """One stored instance, decoded, after the world has settled.

    Attributes:
        id: the instance's id.
        state: its decoded state; None when its kind stores none at the moment.
        alarm: when it is due next, an aware instant; None when nothing is scheduled, or it is paused or parked.
        now: the current time.
        effects: the effects of its runs so far, in order, over all its incarnations.
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
        made: the request.
        effects: how many effects had been performed before it.
        alone: whether no other request was on its way meanwhile.
    """

    made: SentRequest
    effects: int
    alone: bool


@attrs.define(kw_only=True)
class JobLaws:
    """The laws of one job in a world, from this moment on. The reproduction of a `JobMachine` checks them with it.

    Args:
        world: the world.
        job: the definition under test.
        invariants: conditions that must hold for every stored instance.
        model: the expected effects of its events.
        finished: returns whether an instance in that state may wait for nothing; by default the definition decides.
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
            InvariantViolated: one of them does not hold.
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
            remembered = made.at_ms > at_ms - self.world.app.limits.idempotency_ttl_ms
            if isinstance(first, Success) and remembered and first != result:
                self._monitor.note(_REPEAT, f"{made.ask!r} returned {first!r}, and again {result!r}")
            if self._monitor.sees == "all" and at not in self._monitor.applied:
                self._monitor.note(_STORED, f"{made.ask!r} returned {result.unwrap()!r}")
        elif asked.alone and isinstance(refused := result.failure(), Rejected):
            self._monitor.refused(made, refused.error, self.world.effects[asked.effects :])  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType] # of the job's own type


def model_check_of(job: AnyDefinition, model: Model[Any, Any] | None) -> ModelCheck | None:
    """Return the comparison of a job with its model; None without a model."""
    if model is None:
        return None
    creating = next((spec.name for spec in job.plan.commands.values() if spec.absent == "creates"), "")
    return ModelCheck(job, model, model.command or creating)


def check_invariants(
    world: World, job: AnyDefinition, invariants: tuple[Check, ...], finished: Callable[[Any], bool] | None
) -> None:
    """Check the invariants of each instance of a job, and that it does not wait for nothing.

    Args:
        world: the world, which has settled.
        job: the definition.
        invariants: conditions of an instance.
        finished: returns whether an instance in that state may wait for nothing; None: the definition decides.

    Raises:
        InvariantViolated: an instance violates one of them.
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
    idle = instance.status == "idle" and instance.event_claim is None
    if idle and not (job.may_rest(instance) if finished is None else finished(view.state)):
        what = f"{instance.address} waits for nothing in {view.state!r}"
        raise InvariantViolated("an unfinished instance has an alarm or is held", what)
    for check in invariants:
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
    target = world.inspect(lambda store: store.load(address, None, 0)).instance
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
