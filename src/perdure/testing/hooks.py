"""A hook's context in a test, the draft that its operations change, and a request's dry run.

The dry run, `explain`, returns the request's transition as a value, without an engine or a store.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, TypeVar, overload

import attrs
from returns.result import Success

from perdure.jobs.checkpoint import DryJournal
from perdure.jobs.context import JobContext
from perdure.jobs.definition import AnyDefinition, Definition, check_definition
from perdure.jobs.draft import Draft
from perdure.jobs.explanation import (
    NO_ANSWERS,
    Answers,
    Asked,
    Explained,
    Explanation,
    NeedsAnswer,
    WaitsForRun,
    request_of,
)
from perdure.jobs.explanation import explain as explain_turn
from perdure.jobs.request import ALARM
from perdure.jobs.step import Execute
from perdure.programs import Halted, succeed
from perdure.testing.simulated_run import AnySimulated, ProcessDied
from perdure.values.address import check_id
from perdure.values.excerpt import fields_in_line
from perdure.values.instance import Claim, Instance
from perdure.values.limits import Limits
from perdure.values.times import from_ms, to_ms
from perdure.values.transition import Loaded
from perdure.values.turn_inputs import TurnInputs

if TYPE_CHECKING:
    from perdure.kinds.continuous import Continuous, ContinuousContext
    from perdure.kinds.debounce import Debounce, DebounceContext
    from perdure.kinds.debounce.context import FlushReason
    from perdure.kinds.task import Task, TaskContext, TaskErrorContext
    from perdure.kinds.task.context import FailedHook


S = TypeVar("S")
V = TypeVar("V")
C = TypeVar("C", bound=JobContext[Any])
C_co = TypeVar("C_co", bound=JobContext[Any], covariant=True)
S_co = TypeVar("S_co", covariant=True)

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""The default initial time of a simulation."""

NO_INPUTS: Final[Mapping[str, object]] = {}


@attrs.frozen(kw_only=True)
class HookContext(Generic[C_co, S_co]):
    """A simulated hook's inputs, made with `hook_context`.

    Attributes:
        definition: the job.
        state: the state before the run.
        instance: the stored instance during the run.
        claim: the run's claim.
        limits: the engine's limits.
        context: makes the context for the hook.
        journal: the instance's journal rows.
    """

    __repr__ = fields_in_line

    definition: AnyDefinition
    state: S_co
    instance: Instance
    claim: Claim
    limits: Limits
    context: Callable[[Instance, Claim], C_co]
    journal: tuple[str, ...] = ()

    @property
    def ctx(self) -> C_co:
        """The context to pass to the hook."""
        return self.context(self.instance, self.claim)

    @property
    def now(self) -> datetime:
        """The time at the run's start."""
        return from_ms(self.claim.claimed_ms)

    def draft(self) -> Draft:
        """Return a new draft, as the definition makes it for a run."""
        now_ms = self.claim.claimed_ms
        inputs = TurnInputs(now_ms=now_ms, jitter=0.5, id_base=now_ms << 80, epoch=1, limits=self.limits)
        return self.definition.draft_of(self.state, self.instance, self.claim, inputs)

    def dry_journal(self, draft: Draft, now_ms: Callable[[], int]) -> DryJournal:
        """Return the run's journal, which answers its checkpoints.

        Args:
            draft: the run's draft.
            now_ms: reads the clock.
        """
        claim, ids = self.claim, count(self.claim.claimed_ms << 80, 1 << 32)
        field = "event_claim" if claim.cause == "event" else "claim"
        execute = Execute(
            hook="run",
            program=succeed(None),
            instance=self.instance.changed(**{field: claim}),
            draft=draft,
            claim=claim,
            claimed="recorded",
            request=ALARM,
            started_ms=claim.claimed_ms,
        )

        def inputs() -> TurnInputs:
            return TurnInputs(now_ms=now_ms(), jitter=0.5, id_base=next(ids), epoch=1, limits=self.limits)

        return DryJournal(self.definition, execute, list(self.journal), inputs)

    def again(self, seen: AnySimulated) -> HookContext[C_co, S_co]:
        """Return the context for the next repeat: one more delivery after a crash, else one more attempt.

        The repeat starts at the time when the run ended, with the original state.
        """
        claim = self.claim
        if isinstance(seen.exit, ProcessDied):
            claim = attrs.evolve(claim, deliveries=claim.deliveries + 1)
        elif not isinstance(seen.exit, Success | Halted):
            claim = attrs.evolve(claim, attempt=claim.attempt + 1, deliveries=1)
        now_ms = to_ms(self.now + seen.elapsed, what="end of a run")
        return attrs.evolve(self, claim=attrs.evolve(claim, claimed_ms=now_ms))


class HasContext(Protocol[C_co]):
    """Any job definition, reduced to the method that makes its hooks' context."""

    def context(self, instance: Instance, claim: Claim, /) -> C_co:
        """Return a hook's context."""
        ...


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
    definition: HasContext[C],
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
    journal: Sequence[str] = ...,
    inputs: Mapping[str, object] = ...,
) -> HookContext[C, S]: ...
def hook_context(
    definition: AnyDefinition | HasContext[Any],
    /,
    *,
    state: object,
    alarm: datetime | None = None,
    id: str = "1",  # noqa: A002 - the name of the field of contexts
    now: datetime = START,
    attempt: int = 1,
    delivery: int = 1,
    run_count: int = 1,
    event_count: int = 0,
    limits: Limits = Limits(),
    journal: Sequence[str] = (),
    inputs: Mapping[str, object] = NO_INPUTS,
    **given: object,
) -> HookContext[Any, Any]:
    """Return the context for a job hook, and the instance that is stored during its run.

    Args:
        definition: the job.
        state: the state before the run.
        alarm: the alarm before the run (task).
        id: the instance.
        now: the initial time, an aware instant.
        attempt: this run's failures so far, plus 1.
        delivery: this attempt's deliveries, this one included.
        run_count: this run's number.
        event_count: events accepted before (task), or in the batch (debounce).
        limits: the engine's limits.
        journal: the instance's journal rows, for a kind that keeps one.
        inputs: keyword arguments for ``context`` if you wrote the job kind.
        **given: arguments that only some kinds take: ``failed_hook``, ``event`` and ``failed_draft`` (a task's
            ``on_error``), ``flush_reason`` (debounce), ``tick`` and ``missed`` (continuous).

    Raises:
        InvalidInput: the state does not have the definition's type.
        InvalidId: the id is not valid.
    """
    job = check_definition(definition)
    now_ms = to_ms(now, what="now of a hook context")
    instance = Instance(
        address=job.address(check_id(id)),
        incarnation=1,
        version=1,
        created_ms=now_ms,
        updated_ms=now_ms,
        state=job.encode_state(state, limits),
        alarm_ms=None if alarm is None else to_ms(alarm, what="alarm of a hook context"),
        run_count=run_count,
        event_count=event_count,
        journal_length=len(journal),
    )
    claim = Claim(
        owner=1, cause="event", run_id=f"run-{run_count}", claimed_ms=now_ms, attempt=attempt, deliveries=delivery
    )

    def context(stored: Instance, running: Claim) -> JobContext[Any]:
        return job.context(stored, running, **inputs, **given)

    return HookContext(
        definition=job,
        state=state,
        instance=instance,
        claim=claim,
        limits=limits,
        context=context,
        journal=tuple(journal),
    )


T = TypeVar("T")


@overload
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = ...,
    answers: Answers = ...,
    now: datetime = ...,
    limits: Limits = ...,
    journal: Sequence[str] = ...,
    strict: Literal[False] = ...,
) -> Explanation: ...
@overload
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = ...,
    answers: Answers = ...,
    now: datetime = ...,
    limits: Limits = ...,
    journal: Sequence[str] = ...,
    strict: Literal[True],
) -> Explained: ...
def explain(
    definition: Definition[Any, T, Any],
    id_: str,
    request: Asked[T],
    /,
    *,
    instance: Instance | None = None,
    answers: Answers = NO_ANSWERS,
    now: datetime = START,
    limits: Limits = Limits(),
    journal: Sequence[str] = (),
    strict: bool = False,
) -> Explanation:
    """Compute a request's effect on an instance, as ``client.explain`` does, with no engine and no store.

    Args:
        definition: the job.
        id_: the instance.
        request: the request, such as ``lambda order: order.send(event)``, or ``"alarm"``, ``"pause"``, ``"resume"``.
        instance: the stored instance, from an earlier explanation or from a hook context. None: none yet.
        answers: the services' answers, by effect name or as a function that takes the call.
        now: the wall clock, an aware instant.
        limits: the engine's limits.
        journal: the instance's journal rows, for a kind that keeps one.
        strict: raise ``AssertionError`` where the explanation would stop at `NeedsAnswer` or `WaitsForRun`.

    Raises:
        InvalidId: the id is not valid.
        InvalidInput: the input does not have its declared type.
        DefinitionError: the function makes no request, or more than one.
        AssertionError: with ``strict``: the explanation stopped. The message says which answer is missing.
    """
    address = definition.address(check_id(id_))
    asked = request_of(definition, request, key=None, max_bytes=limits.payload_bytes)
    inputs = TurnInputs(now_ms=to_ms(now, what="now of explain"), jitter=0.5, id_base=_IDS, epoch=1, limits=limits)
    loaded = Loaded(instance=instance)
    found = explain_turn(definition, address, loaded, asked, inputs=(inputs,), answers=answers, journal=journal)
    return _complete(found) if strict else found


def _complete(found: Explanation) -> Explained:
    match found:
        case Explained():
            return found
        case NeedsAnswer(effect=effect, args=args, kwargs=kwargs):
            shown = ", ".join([repr(value) for value in args] + [f"{name}={value!r}" for name, value in kwargs.items()])
            raise AssertionError(f"no answer for {effect}({shown}); pass answers={{{effect!r}: Success(...)}}")
        case WaitsForRun(run_id=run_id):
            raise AssertionError(f"the request would wait for the run {run_id!r}, which holds the instance's claim")


_IDS = 0x019B_6F5E_0000_7000_8000_0000_0000_0000
"""The base of the ids: a UUIDv7 of the first moment of 2026."""
