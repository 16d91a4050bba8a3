"""The stage of a hook: its context, and the draft that the context's operations act on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar, cast, overload

import attrs
from returns.result import Success

from perdure.jobs.context import JobContext
from perdure.jobs.definition import AnyDefinition
from perdure.jobs.draft import Draft
from perdure.kinds.continuous import Continuous, ContinuousContext
from perdure.kinds.debounce import Debounce, DebounceContext
from perdure.kinds.debounce.context import FlushReason
from perdure.kinds.task import Task, TaskContext
from perdure.program import Halted
from perdure.testing.simulation.simulated import AnySimulated, Cut
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError
from perdure.values.instant import to_ms
from perdure.values.limits import Limits

S = TypeVar("S")
C_co = TypeVar("C_co", bound=JobContext[Any], covariant=True)
S_co = TypeVar("S_co", covariant=True)

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What a simulation's clock shows at first, unless it is told otherwise."""


@attrs.frozen(kw_only=True)
class Stage(Generic[C_co, S_co]):
    """Where a hook runs: `on_stage` makes one; for a kind of job of your own, make it with its context.

    Attributes:
        ctx: what to hand to the hook.
        definition: the job.
        state: the state that the run finds.
        alarm: the alarm that it finds.
        now: what the clock shows at its start, an aware instant.
        limits: the engine's bounds.
    """

    ctx: C_co
    definition: AnyDefinition
    state: S_co
    alarm: datetime | None = None
    now: datetime = START
    limits: Limits = Limits()

    def draft(self) -> Draft:
        """Make a fresh draft.

        Raises:
            InvalidInput: the state is not of the definition's type.
        """
        encode = self.definition.encode_state_within(self.limits.state_bytes)
        encode(self.state)
        return Draft(
            address=self.definition.address(check_id(self.ctx.id)),
            state=self.state,
            encode=encode,
            current_alarm_ms=None if self.alarm is None else to_ms(self.alarm, what="alarm of a stage"),
            now_ms=to_ms(self.now, what="now of a stage"),
            limits=self.limits,
        )

    def again(self, seen: AnySimulated) -> Stage[C_co, S_co]:
        """Give the stage of the repeat that follows a run: one more delivery after a crash, one more attempt otherwise.

        It begins where the run ended in time; the state is what it was.
        """
        ctx: JobContext[Any] = self.ctx
        if isinstance(seen.exit, Cut):
            ctx = attrs.evolve(ctx, delivery=ctx.delivery + 1)
        elif not isinstance(seen.exit, Success | Halted):
            ctx = attrs.evolve(ctx, attempt=ctx.attempt + 1, delivery=1)
        return attrs.evolve(self, ctx=cast("C_co", ctx), now=self.now + seen.elapsed)


@overload
def on_stage(
    definition: Task[S, Any, Any, Any],
    /,
    *,
    state: S,
    alarm: datetime | None = None,
    id: str = ...,
    now: datetime = ...,
    attempt: int = ...,
    delivery: int = ...,
    run_count: int = ...,
    event_count: int = ...,
    limits: Limits = ...,
) -> Stage[TaskContext[S], S]: ...
@overload
def on_stage(
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
) -> Stage[DebounceContext[S], S]: ...
@overload
def on_stage(
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
) -> Stage[ContinuousContext[S], S]: ...
def on_stage(
    definition: AnyDefinition,
    /,
    *,
    state: object,
    alarm: datetime | None = None,
    id: str = "1",  # noqa: A002 - what contexts call it
    now: datetime = START,
    attempt: int = 1,
    delivery: int = 1,
    run_count: int = 1,
    limits: Limits = Limits(),
    **facts: Any,  # those of the kind's own context, as the overloads say
) -> Stage[Any, Any]:
    """Set the stage for a hook of a job: the context to hand to it, and what is stored while it runs.

    Args:
        definition: the job.
        state: the state that the hook finds.
        alarm: the alarm that it finds (task).
        id: the instance.
        now: what the clock shows, an aware instant.
        attempt: failures of this run so far, plus 1.
        delivery: how often this attempt was begun, this time included.
        run_count: the number of this run.
        limits: the engine's bounds.
        **facts: those that only this kind's contexts have: ``event_count`` (task, debounce), ``flush_reason``
            (debounce), ``tick`` and ``missed`` (continuous).

    Raises:
        DefinitionError: a job of another kind: make its `Stage` with a context of that kind.
    """
    shared: dict[str, Any] = {
        "id": id,
        "job": definition.name,
        "run_id": f"run-{run_count}",
        "attempt": attempt,
        "delivery": delivery,
        "run_count": run_count,
    }
    ctx = _context(definition, now, shared | facts)
    return Stage(ctx=ctx, definition=definition, state=state, alarm=alarm, now=now, limits=limits)


def _context(definition: AnyDefinition, now: datetime, facts: dict[str, Any]) -> JobContext[Any]:
    match definition:
        case Task():
            return TaskContext(created_at=now, execute_count=facts["run_count"], **facts)
        case Debounce():
            return DebounceContext(started_at=now, event_count=facts.pop("event_count", 1), **facts)
        case Continuous():
            return ContinuousContext(created_at=now, **facts)
        case _:
            expected = (
                "a task, a debounce or a continuous job; for another kind, Stage(ctx=..., definition=..., state=...)"
            )
            raise DefinitionError("job of a stage", definition, expected)
