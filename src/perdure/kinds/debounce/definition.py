"""A debounce's definition: rapid events in, batches out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, TypeVar, cast, overload

import attrs
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Migrations
from perdure.jobs.definition import Definition, Dispatch, PostCommand
from perdure.jobs.display import DisplayField, fields_of_plan, report_status
from perdure.jobs.hooks import FROM_HOOKS, FromHooks, HookResult, RetryPolicy, hook
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, AcceptedInEvents, Plan, build_plan
from perdure.jobs.request import CommandSpec, Request
from perdure.kinds.debounce.context import AddCommand, Batching, ClearCommand, DebounceContext, FlushCommand
from perdure.programs import Program
from perdure.values.answer import Added, Cleared, RunAnswer
from perdure.values.errors import DefinitionError
from perdure.values.status import InstanceStatus
from perdure.values.times import Duration, duration_ms, format_duration, from_ms

if TYPE_CHECKING:
    from perdure.jobs.step import Commit, Execute, Step
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.kinds.debounce import handle, handler
    from perdure.kinds.debounce.handle import DebounceHandle, DebounceSender
    from perdure.values.address import Address
    from perdure.values.attributes import Attribute
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory, Limit, LimitUse
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    handle = lazy_module("perdure.kinds.debounce.handle")
    handler = lazy_module("perdure.kinds.debounce.handler")

S = TypeVar("S")
V = TypeVar("V")
E = DefaultTypeVar("E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)

S1 = TypeVar("S1")
V1 = TypeVar("V1")
E1 = DefaultTypeVar("E1", default=Never)
E2 = TypeVar("E2")
E3 = TypeVar("E3")
R1 = DefaultTypeVar("R1", default=object)

MAX_BATCH_EVENTS = 1_000_000


@attrs.frozen(init=False, eq=False, repr=False)
class Debounce(Definition["DebounceHandle[S, V, E]", "DebounceSender[V]", R_contra], Generic[S, V, E, R_contra]):
    """A job that collects rapid events in a batch, and runs once for each batch.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``. Renaming it orphans
            stored instances. Renaming a variable does not.
        event: the events' type.
        state: the batch state's type. By default the event type.
        initial: an empty batch's state. Required if the state type is not the event type. Without it, a batch begins
            with its first event as the state. ``on_event`` is called for that event too, with ``ctx.event_count`` 0: a
            fold that counts an event twice, such as a sum, needs an initial state.
        flush_after: a batch flushes this long after its first event. Later events do not delay that.
        inactivity: flush this long after the last event instead, but never later than ``flush_after``.
        max_events: a batch flushes immediately when it has this many events. It is not a limit: a batch that must wait
            for the previous batch's retry continues to grow.
        on_event: adds an event to the state, including a batch's first event. By default the newest event is kept.
        execute: processes a batch.
        retry: a flush's durable retry, which keeps batch, reason and ``run_id``.
        errors: the errors' type, used to store and send them. By default read from the hooks' annotations. Pass it if
            these cannot be read, such as for a ``functools.partial``.
        tags: stable names for union members, instead of their class names.
        versions: the state's older types, and the functions that upgrade them. By default there are none.
        run_timeout: a flush's time limit, by default 15 minutes.
        runs: at most this many concurrent flushes of this job in an engine, 1 to 100,000. By default the engine's own
            limit.
        state_in_events: whether ``job.started``, ``job.executed`` and ``debounce.flushed`` carry the state as JSON. By
            default no event holds your data.
        max_deaths: how many process deaths during one run park it, 1 to 1,000. From the third delivery on a run has the
            engine for itself; below 3, a run may be parked for deaths that another one caused.
        accepted_in_events: ``sender``: the history says who sent which request, and when. ``payload``: also the input
            as JSON, without secrets. By default ``nothing``.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.
        attributes: values that the store keeps beside each state, to find instances by them: up to 16 functions that
            `attribute` declares.
        limits: limits with a name that its runs share with other jobs and effects: `Limit`, or `Limit.by` with a
            function of an instance's id.
        streams: the streams to which its hooks' effects emit, at most 16.
        heartbeats: the heartbeats that its effects send, at most 16.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "debounce"
    event: ClassVar[type | None] = AddCommand
    run_now: ClassVar[str | None] = "flush"
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "claim_only"
    name: str
    plan: Plan
    batching: Batching

    # As for a `Task`: mypy infers the common base of two errors, `object`, where pyright infers their union.
    @overload
    def __init__(
        self: Debounce[V1, V1, Never, R1],
        name: str,
        *,
        event: TypeForm[V1],
        flush_after: Duration,
        execute: Callable[[DebounceContext[V1]], HookResult[Never, R1]],
        on_event: Callable[[DebounceContext[V1], V1], HookResult[Never, R1]],
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[Never] | None = None,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[V1] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[V1, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    # As for a `Task`: mypy infers the common base of two errors, `object`, where pyright infers their union.
    @overload
    def __init__(
        self: Debounce[V1, V1, E2 | E3, R1],
        name: str,
        *,
        event: TypeForm[V1],
        flush_after: Duration,
        execute: Callable[[DebounceContext[V1]], HookResult[E3, R1]],
        on_event: Callable[[DebounceContext[V1], V1], HookResult[E2, R1]],
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[E3] | None = None,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[V1] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[V1, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    # As for a `Task`: mypy infers the common base of two errors, `object`, where pyright infers their union.
    @overload
    def __init__(
        self: Debounce[V1, V1, E1, R1],
        name: str,
        *,
        event: TypeForm[V1],
        flush_after: Duration,
        execute: Callable[[DebounceContext[V1]], HookResult[E1, R1]],
        on_event: Callable[[DebounceContext[V1], V1], HookResult[E1, R1]] | None = None,
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[E1] | None = None,
        errors: TypeForm[E1] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[V1] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[V1, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    @overload
    def __init__(
        self: Debounce[S1, V1, Never, R1],
        name: str,
        *,
        event: TypeForm[V1],
        state: TypeForm[S1],
        initial: S1,
        flush_after: Duration,
        on_event: Callable[[DebounceContext[S1], V1], HookResult[Never, R1]],
        execute: Callable[[DebounceContext[S1]], HookResult[Never, R1]],
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[Never] | None = None,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[S1] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[S1, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    @overload
    def __init__(
        self: Debounce[S1, V1, E2 | E3, R1],
        name: str,
        *,
        event: TypeForm[V1],
        state: TypeForm[S1],
        initial: S1,
        flush_after: Duration,
        on_event: Callable[[DebounceContext[S1], V1], HookResult[E2, R1]],
        execute: Callable[[DebounceContext[S1]], HookResult[E3, R1]],
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[E3] | None = None,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[S1] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[S1, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    @overload
    def __init__(
        self,
        name: str,
        *,
        event: TypeForm[V],
        state: TypeForm[S],
        initial: S,
        flush_after: Duration,
        on_event: Callable[[DebounceContext[S], V], HookResult[E, R_contra]],
        execute: Callable[[DebounceContext[S]], HookResult[E, R_contra]],
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: RetryPolicy[E] | None = None,
        errors: TypeForm[E] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Migrations[S] | None = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[S, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        event: Any,
        flush_after: Duration,
        execute: Callable[..., Any],
        on_event: Callable[..., Any] | None = None,
        state: Any = None,
        initial: Any = None,
        inactivity: Duration | None = None,
        max_events: int | None = None,
        retry: Any = None,
        errors: Any = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        versions: Any = None,
        runs: int | None = None,
        state_in_events: bool = False,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[Any, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None:
        _check_state(name, event=event, state=state, initial=initial, on_event=on_event)
        plan = build_plan(
            "debounce",
            name,
            state=event if state is None else state,
            tags=tags,
            errors=errors,
            hooks={"on_event": on_event, "execute": execute},
            retry=retry,
            run_timeout=run_timeout,
            runs=runs,
            versions=versions,
            state_in_events=state_in_events,
            accepted_in_events=accepted_in_events,
            history=history,
            max_deaths=max_deaths,
            attributes=attributes,
            limits=limits,
            streams=streams,
            heartbeats=heartbeats,
            commands=_commands(event, tags, name),
        )
        handled = _keep_newest if on_event is None else on_event
        batching = Batching(
            flush_after_ms=duration_ms(flush_after, what=f"flush_after of debounce:{name}"),
            inactivity_ms=_inactivity_ms(inactivity, flush_after, name),
            max_events=_max_events(max_events, name),
            # Encoded once: each new batch begins with this text, so no batch can change the value of another.
            initial=None if initial is None else plan.state.encode(initial).decode(),
            on_event=hook(handled, what=f"on_event of debounce:{name}", takes=("ctx", "event")),
            execute=hook(execute, what=f"execute of debounce:{name}"),
        )
        cast("Any", self).__attrs_init__(name, plan, batching)

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return the hook and its program for a claim."""
        return handler.program(self.batching, instance, claim, command)

    def state_of_run(self, instance: Instance, claim: Claim) -> str:
        """Return the collecting batch's state for an event, the frozen batch's state for a flush."""
        return handler.state_of_run(self.batching, instance, claim)

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> DebounceContext[S]:
        """Create a hook's context. Unless the inputs say otherwise, its batch began with the instance."""
        given: dict[str, Any] = {
            "event_count": instance.event_count,
            # Inputs of the caller come last and win: a test sets them.
            "started_at": from_ms(instance.created_ms),
            **inputs,
        }
        return DebounceContext(instance, claim, **given)

    def may_rest(self, instance: Instance) -> bool:
        """Return False: an instance without a batch is purged."""
        return False

    def map_states(self, instance: Instance, change: Callable[[str], str]) -> Instance:
        """Apply a function to both batches' states. The frozen batch's state is in `data`."""
        return handler.map_states(super().map_states(instance, change), change)

    def check_data(self, instance: Instance) -> None:
        """Decode the batches."""
        handler.batches_of(instance)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle an added event, or a flushed batch."""
        return handler.succeeded(self.batching, execute, inputs)

    def given_up(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance | None:
        """Drop the batch that failed for good. Purge the instance if no other batch is left."""
        return handler.without_flushed(instance)

    def report(self, instance: Instance) -> InstanceStatus:
        """Return the ``status`` result."""
        return handler.report(instance, report_status(instance))

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return when a batch flushes, and every job's facts."""
        batching = self.batching
        inactivity, most = batching.inactivity_ms, batching.max_events
        return (
            DisplayField("flush after", format_duration(batching.flush_after_ms)),
            DisplayField("flush after inactivity", "no" if inactivity is None else format_duration(inactivity)),
            DisplayField("flush at", "any number of events" if most is None else f"{most:,} events"),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return the batch that collects events, and the one that is flushed."""
        batches = handler.batches_of(instance)
        facts: list[DisplayField] = []
        for name, batch in (("batch", batches.collecting), ("flushed batch", batches.flushing)):
            if batch is not None:
                facts.append(DisplayField(f"events of the {name}", f"{batch.event_count:,}"))
                facts.append(DisplayField(f"start of the {name}", from_ms(batch.started_ms)))
        return tuple(facts)

    def visible_text(self, instance: Instance) -> str | None:
        """Return the encoded state for ``get_state``."""
        return handler.visible_state(instance)

    def ended(self, execute: Execute) -> object:
        """Return the sender's result for an event whose handler terminated the instance."""
        return handler.ended(execute)

    def handle(self, dispatch: Dispatch) -> DebounceHandle[S, V, E]:
        """Return the typed handle."""
        return handle.DebounceHandle(self, dispatch)

    def sender(self, post: PostCommand) -> DebounceSender[V]:
        """Return the typed sender."""
        return handle.DebounceSender(post)


def _keep_newest(ctx: DebounceContext[Any], event: object) -> Program[None]:
    return ctx.set_state(event)


def _commands(event: TypeForm[Any], tags: Mapping[type, str] | None, name: str) -> tuple[CommandSpec[Any], ...]:
    codec: Codec[Any] = Codec.of(event, what=f"event of debounce:{name}", tags=tags, ignores_other_tags=True)
    return (
        CommandSpec(name="add", command=AddCommand, input=codec, absent="creates", answer=Added),
        CommandSpec(name="flush", command=FlushCommand, answer=RunAnswer),
        CommandSpec(name="clear", command=ClearCommand, answer=Cleared, effect="destroys"),
    )


def _check_state(name: str, *, event: object, state: object, initial: object, on_event: object) -> None:
    if state is None or state == event:
        return
    if initial is None:
        raise DefinitionError(
            f"initial of debounce:{name}", initial, "the state of an empty batch: its type differs from the event type"
        )
    if on_event is None:
        raise DefinitionError(
            f"on_event of debounce:{name}",
            on_event,
            "a function that adds an event to the state: their types differ",
        )


def _inactivity_ms(inactivity: Duration | None, flush_after: Duration, name: str) -> int | None:
    if inactivity is None:
        return None
    what = f"inactivity of debounce:{name}"
    # `>=`: an equal inactivity could never flush before the latest time.
    if duration_ms(inactivity, what=what) >= duration_ms(flush_after, what=f"flush_after of debounce:{name}"):
        raise DefinitionError(what, inactivity, f"less than flush_after ({flush_after}), which limits it")
    return duration_ms(inactivity, what=what)


def _max_events(value: object, name: str) -> int | None:
    if value is None:
        return None
    if type(value) is int and 1 <= value <= MAX_BATCH_EVENTS:
        return value
    raise DefinitionError(f"max_events of debounce:{name}", value, f"a whole number from 1 to {MAX_BATCH_EVENTS}")
