"""The stage of a hook: its context, and the draft that the context's operations act on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, TypeVar, overload

import attrs
from returns.result import Success

from perdure.jobs.context import JobContext
from perdure.jobs.definition import AnyDefinition, Definition
from perdure.jobs.draft import Draft
from perdure.kinds.continuous import Continuous, ContinuousContext
from perdure.kinds.debounce import Debounce, DebounceContext
from perdure.kinds.debounce.context import FlushReason
from perdure.kinds.task import Task, TaskContext, TaskErrorContext
from perdure.kinds.task.context import FailedHook
from perdure.programs import Halted
from perdure.testing.simulation.simulated import AnySimulated, ProcessDied
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError
from perdure.values.instance import Claim, Instance
from perdure.values.instant import from_ms, to_ms
from perdure.values.limits import Limits

S = TypeVar("S")
V = TypeVar("V")
C = TypeVar("C", bound=JobContext[Any])
C_co = TypeVar("C_co", bound=JobContext[Any], covariant=True)
S_co = TypeVar("S_co", covariant=True)

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What a simulation's clock shows at first, unless it is told otherwise."""


@attrs.frozen(kw_only=True)
class HookContext(Generic[C_co, S_co]):
    """Where a hook runs: made with `hook_context`.

    Attributes:
        definition: the job.
        state: the state that the run finds.
        instance: what is stored while it runs.
        claim: who runs it, for what.
        limits: the engine's bounds.
        context: makes what to hand to the hook.
    """

    definition: AnyDefinition
    state: S_co
    instance: Instance
    claim: Claim
    limits: Limits
    context: Callable[[Instance, Claim], C_co]

    @property
    def ctx(self) -> C_co:
        """What to hand to the hook."""
        return self.context(self.instance, self.claim)

    @property
    def now(self) -> datetime:
        """What the clock shows when the run begins."""
        return from_ms(self.claim.claimed_ms)

    def draft(self) -> Draft:
        """Make a fresh draft."""
        return Draft(
            address=self.instance.address,
            state=self.state,
            codec=self.definition.plan.state,
            current_alarm_ms=self.instance.alarm_ms,
            now_ms=self.claim.claimed_ms,
            limits=self.limits,
        )

    def again(self, seen: AnySimulated) -> HookContext[C_co, S_co]:
        """Give the stage of the repeat that follows a run: one more delivery after a crash, one more attempt otherwise.

        It begins where the run ended in time; the state is what it was.
        """
        claim = self.claim
        if isinstance(seen.exit, ProcessDied):
            claim = attrs.evolve(claim, deliveries=claim.deliveries + 1)
        elif not isinstance(seen.exit, Success | Halted):
            claim = attrs.evolve(claim, attempt=claim.attempt + 1, deliveries=1)
        now_ms = to_ms(self.now + seen.elapsed, what="end of a run")
        return attrs.evolve(self, claim=attrs.evolve(claim, claimed_ms=now_ms))


@overload
def hook_context(
    definition: Task[S, Any, Any, Any],
    /,
    *,
    state: S,
    alarm: datetime | None = ...,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    event_count: int = ...,
    limits: Limits = ...,
) -> HookContext[TaskContext[S], S]: ...
@overload
def hook_context(
    definition: Task[S, V, Any, Any],
    /,
    *,
    state: S,
    failed_hook: FailedHook,
    event: V | None = ...,
    failed_draft: S | None = ...,
    alarm: datetime | None = ...,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    event_count: int = ...,
    limits: Limits = ...,
) -> HookContext[TaskErrorContext[S, V], S]: ...
@overload
def hook_context(
    definition: Debounce[S, Any, Any, Any],
    /,
    *,
    state: S,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    event_count: int = ...,
    flush_reason: FlushReason | None = ...,
    limits: Limits = ...,
) -> HookContext[DebounceContext[S], S]: ...
@overload
def hook_context(
    definition: Continuous[S, Any, Any],
    /,
    *,
    state: S,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    tick: datetime | None = ...,
    missed: int = ...,
    limits: Limits = ...,
) -> HookContext[ContinuousContext[S], S]: ...
@overload
def hook_context(
    definition: Definition[Any, Any, Any],
    /,
    *,
    state: S,
    context: Callable[[Instance, Claim], C],
    alarm: datetime | None = ...,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    event_count: int = ...,
    limits: Limits = ...,
) -> HookContext[C, S]: ...
def hook_context(
    definition: AnyDefinition,
    /,
    *,
    state: object,
    context: Callable[[Instance, Claim], JobContext[Any]] | None = None,
    alarm: datetime | None = None,
    id: str = "1",  # noqa: A002 - what contexts call it
    now: datetime = START,
    attempt: int = 1,
    delivery: int = 1,
    run_count: int = 1,
    event_count: int = 0,
    limits: Limits = Limits(),
    **inputs: object,
) -> HookContext[Any, Any]:
    """Set the stage for a hook of a job: the context to hand to it, and what is stored while it runs.

    Args:
        definition: the job.
        state: the state that the hook finds.
        context: makes the context of a kind of job of your own.
        alarm: the alarm that it finds (task).
        id: the instance.
        now: what the clock shows, an aware instant.
        attempt: failures of this run so far, plus 1.
        delivery: how often this attempt was begun, this time included.
        run_count: the number of this run.
        event_count: events accepted before (task), or in the batch (debounce).
        limits: the engine's bounds.
        **inputs: those that only contexts of this kind have: ``failed_hook``, ``event`` and ``failed_draft``
            (``on_error`` of a task), ``flush_reason`` (debounce), ``tick`` and ``missed`` (continuous).

    Raises:
        DefinitionError: a job of another kind, without its `context`.
        InvalidInput: the state is not of the definition's type.
        InvalidId: the id is not usable.
    """
    now_ms = to_ms(now, what="now of a stage")
    instance = Instance(
        address=definition.address(check_id(id)),
        incarnation=1,
        version=1,
        created_ms=now_ms,
        updated_ms=now_ms,
        state=definition.encode_state(state, limits),
        alarm_ms=None if alarm is None else to_ms(alarm, what="alarm of a stage"),
        run_count=run_count,
        event_count=event_count,
    )
    claim = Claim(
        owner=1, cause="event", run_id=f"run-{run_count}", claimed_ms=now_ms, attempt=attempt, deliveries=delivery
    )
    make: Callable[[Instance, Claim], JobContext[Any]] = context or _context(definition, instance, inputs)
    return HookContext(definition=definition, state=state, instance=instance, claim=claim, limits=limits, context=make)


def _context(
    definition: AnyDefinition, instance: Instance, inputs: dict[str, Any]
) -> Callable[[Instance, Claim], JobContext[Any]]:
    match definition:
        case Task():
            return partial(TaskErrorContext[Any, Any] if "failed_hook" in inputs else TaskContext[Any], **inputs)
        case Debounce():
            batch: dict[str, Any] = {"event_count": instance.event_count, "started_at": from_ms(instance.created_ms)}
            return partial(DebounceContext[Any], **batch, **inputs)
        case Continuous():
            return partial(ContinuousContext[Any], **inputs)
        case _:
            raise DefinitionError("job of a stage", definition, "a job of the library's kinds, or context=YourContext")
