"""A worker pool's definition: many work items, some at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, TypeVar, cast, overload

import attrs
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Migrations
from perdure.jobs.definition import Definition, Dispatch, PostCommand, tell
from perdure.jobs.display import DisplayField, fields_of_plan
from perdure.jobs.hooks import FROM_HOOKS, FromHooks, HookResult, RetryPolicy, check_function, hook, value_of
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, AcceptedInEvents, Lanes, Plan, build_plan
from perdure.jobs.request import CommandSpec, Keyword, Repeat, Request, repeat_of_creating
from perdure.kinds.worker_pool.items import (
    ANSWERS,
    NO_TIME,
    AwaitItem,
    CancelCommand,
    ItemCancelled,
    ItemContext,
    ItemOutcome,
    ItemPolicy,
    ItemPut,
    ItemTriggered,
    ItemWait,
    LeaveItem,
    NewItem,
    OutcomeCommand,
    TriggerItemCommand,
    batch_of,
    data_of,
    encoded_data,
    put_command,
    put_in_batch,
    waiters_of,
)
from perdure.programs import Program, perform
from perdure.values.address import check_id
from perdure.values.errors import DefinitionError
from perdure.values.excerpt import MAX_LINE_CHARACTERS, REFERENCE, shortened, shown_value
from perdure.values.limits import MAX_CONCURRENCY, rate_of
from perdure.values.times import Duration, duration_ms, format_duration, from_ms

if TYPE_CHECKING:
    from perdure.jobs import parts
    from perdure.jobs.draft import Draft
    from perdure.jobs.step import Commit, Execute, Step
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.kinds.worker_pool import batch, batch_turns, handle, handler
    from perdure.kinds.worker_pool.batch import BatchContext, BatchPolicy, BatchProgress, NewItems
    from perdure.kinds.worker_pool.handle import BatchHandle, BatchSender, PoolHandle, PoolSender
    from perdure.values.address import Address
    from perdure.values.attributes import Attribute
    from perdure.values.event import Parking
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory, Limit, LimitUse
    from perdure.values.listings import InstanceOutcome
    from perdure.values.message import Message
    from perdure.values.secret import Hide
    from perdure.values.status import Defect
    from perdure.values.status_wait import AwaitedStatus
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    parts = lazy_module("perdure.jobs.parts")
    batch = lazy_module("perdure.kinds.worker_pool.batch")
    batch_turns = lazy_module("perdure.kinds.worker_pool.batch_turns")
    handle = lazy_module("perdure.kinds.worker_pool.handle")
    handler = lazy_module("perdure.kinds.worker_pool.handler")

V = TypeVar("V")
A = TypeVar("A")
E = DefaultTypeVar("E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)
# Of an overload: hooks with different errors.
V1 = TypeVar("V1")
A1 = TypeVar("A1")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
R1 = DefaultTypeVar("R1", default=object)

DEFAULT_WORKERS = 10


@attrs.frozen(init=False, eq=False, repr=False)
class WorkerPool(Definition["PoolHandle[V, A, E]", "PoolSender[V]", R_contra], Generic[V, A, E, R_contra]):
    """Many work items, some at a time. Each item is an instance, with its own attempts, claim and history.

    Args:
        name: the pool's name, part of the stored address: 1 to 128 printable characters, no ``:``. Renaming it orphans
            stored items. Renaming a variable does not.
        item: the items' type.
        work: works on an item. Its value is the result.
        workers: at most this many items are worked on at the same time, 1 to 100,000. By default 10. The engine's limit
            (``Limits.concurrency``) holds as well.
        key: an item's key, such as its customer: a pure function, which returns text of at most 200 characters.
            Keys take turns, whatever the other keys have waiting. Items keep the key that they were put with.
        workers_per_key: for one key, at most this many items are worked on at the same time.
        rate: at most this many items are begun in any window this long, such as ``(100, "1 minute")``.
        rate_per_key: the same for one key's items.
        retry: the durable retry for the work on one item.
        on_error: runs after the last attempt, with the typed error or the defect. If it succeeds, the item is deleted.
            If it fails, or without it, the item is parked until ``resume`` tries it again.
        keep: how long a result is kept, and with it the id. ``"0 ms"``: not at all. None: until the item is terminated.
        result: the results' type. By default read from the ``work`` annotation.
        errors: the errors' type, used to store them. By default read from the hooks' annotations.
        tags: stable names for union members, instead of their class names.
        versions: the items' older types, and the functions that upgrade them. By default there are none.
        run_timeout: time limit for the work on an item, by default 15 minutes.
        max_deaths: how many process deaths during one run park it, 1 to 1,000. From the third delivery on a run has the
            engine for itself; below 3, a run may be parked for deaths that another one caused.
        accepted_in_events: ``sender``: the history says who sent which request, and when. ``payload``: also the input
            as JSON, without secrets. By default ``nothing``.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.
        attributes: values that the store keeps beside each item, to find items by them: up to 16 functions that
            `attribute` declares.
        limits: limits with a name that its runs share with other jobs and effects: `Limit`, or `Limit.by` with a
            function of an item's key.
        streams: the streams to which its effects emit, at most 16.
        heartbeats: the heartbeats that its effects send, at most 16.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "pool"
    end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended", "parked")
    # The mailbox is free while the work runs: a put of the same id is answered immediately.
    occupancy: ClassVar[Literal["mailbox", "claim_only"]] = "claim_only"
    error_hook: ClassVar[str] = "on_error"
    run_now: ClassVar[str | None] = "trigger"
    journal_format: ClassVar[int] = 3  # 1 has no items in parts, and 2 no results
    name: str
    plan: Plan
    work: Callable[..., Program[Any, Any, Any]]
    on_error: Callable[..., Program[Any, Any, Any]] | None
    policy: ItemPolicy
    limits_of_lanes: Lanes

    # As for a `Task`: mypy infers the common base of two errors, `object`, where pyright infers their union.
    @overload
    def __init__(
        self: WorkerPool[V1, A1, Never, R1],
        name: str,
        *,
        item: TypeForm[V1],
        work: Callable[[ItemContext[V1]], Program[A1, Never, R1]],
        workers: int = DEFAULT_WORKERS,
        key: Callable[[V1], str] | None = None,
        workers_per_key: int | None = None,
        rate: tuple[int, Duration] | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
        retry: RetryPolicy[Never] | None = None,
        on_error: Callable[[ItemContext[V1], Defect], HookResult[Never, R1]],
        keep: Duration | None = "1 day",
        result: TypeForm[A1] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        versions: Migrations[V1] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
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
        self: WorkerPool[V1, A1, E1 | E2, R1],
        name: str,
        *,
        item: TypeForm[V1],
        work: Callable[[ItemContext[V1]], Program[A1, E1, R1]],
        workers: int = DEFAULT_WORKERS,
        key: Callable[[V1], str] | None = None,
        workers_per_key: int | None = None,
        rate: tuple[int, Duration] | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
        retry: RetryPolicy[E1] | None = None,
        on_error: Callable[[ItemContext[V1], E1 | Defect], HookResult[E2, R1]],
        keep: Duration | None = "1 day",
        result: TypeForm[A1] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        versions: Migrations[V1] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
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
        self,
        name: str,
        *,
        item: TypeForm[V],
        work: Callable[[ItemContext[V]], Program[A, E, R_contra]],
        workers: int = DEFAULT_WORKERS,
        key: Callable[[V], str] | None = None,
        workers_per_key: int | None = None,
        rate: tuple[int, Duration] | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
        retry: RetryPolicy[E] | None = None,
        on_error: Callable[[ItemContext[V], E | Defect], HookResult[E, R_contra]] | None = None,
        keep: Duration | None = "1 day",
        result: TypeForm[A] | FromHooks = FROM_HOOKS,
        errors: TypeForm[E] | FromHooks = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        versions: Migrations[V] | None = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[V, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        item: Any,
        work: Callable[..., Program[Any, Any, Any]],
        workers: int = DEFAULT_WORKERS,
        key: Callable[[Any], str] | None = None,
        workers_per_key: int | None = None,
        rate: tuple[int, Duration] | None = None,
        rate_per_key: tuple[int, Duration] | None = None,
        retry: Any = None,
        on_error: Any = None,
        keep: Duration | None = "1 day",
        result: Any = FROM_HOOKS,
        errors: Any = FROM_HOOKS,
        tags: Mapping[type, str] | None = None,
        versions: Any = None,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        accepted_in_events: AcceptedInEvents = "nothing",
        history: KeepHistory | None = None,
        max_deaths: int = 3,
        attributes: Sequence[Attribute[Any, Any]] = (),
        limits: Sequence[Limit | LimitUse[[str]]] = (),
        streams: Sequence[Stream[Any]] = (),
        heartbeats: Sequence[Heartbeat[Any]] = (),
    ) -> None:
        program = hook(work, what=f"work of pool:{name}")
        results = _results(work, result, tags, name)
        keep_ms = None if keep is None else duration_ms(keep, what=f"keep of pool:{name}", minimum_ms=0)
        plan = build_plan(
            "pool",
            name,
            state=item,
            tags=tags,
            errors=errors,
            hooks={"work": work, "on_error": on_error},
            retry=retry,
            run_timeout=run_timeout,
            runs=_workers(workers, what=f"workers of pool:{name}"),
            commands=_commands(item, tags, name, repeat_of_creating(keep_ms)),
            answers=ANSWERS,
            kept=(results,),
            versions=versions,
            accepted_in_events=accepted_in_events,
            history=history,
            max_deaths=max_deaths,
            attributes=attributes,
            limits=limits,
            streams=streams,
            heartbeats=heartbeats,
        )
        key_of = None if key is None else _key(key, name)
        policy = ItemPolicy(key=key_of, results=results, keep_ms=keep_ms, tags=tags)
        takes = ("ctx", "error")
        takes_over = None if on_error is None else hook(on_error, what=f"on_error of pool:{name}", takes=takes)
        lanes = _lanes(name, key, workers_per_key, rate, rate_per_key)
        cast("Any", self).__attrs_init__(name, plan, program, takes_over, policy, lanes)

    # ------------------------------------------------------------ the pure handler
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        return handler.begin(self, self.policy, address, instance, request, inputs)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return the work on an item."""
        # An item in parts is read from the journal first: the program of the work needs the complete item.
        if instance.state[:1] == REFERENCE:
            return "work", parts.with_state(self, instance, lambda: self.work(ItemContext(instance, claim)))
        return "work", self.work(ItemContext(instance, claim))

    def draft_of(self, state: object, instance: Instance, claim: Claim, inputs: TurnInputs) -> Draft:
        """Return a draft whose result keeps what newer code wrote into the item."""
        return handler.draft_of(self, state, instance, claim, inputs)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle a work that succeeded, or ``on_error``."""
        return handler.succeeded(self, self.policy, execute, value, inputs)

    def error_handler(self, execute: Execute, error: object) -> Program[Any, Any, Any] | None:
        """Return the ``on_error`` program."""
        takes_over, instance = self.on_error, execute.instance
        if takes_over is None:
            return None
        if instance.state[:1] == REFERENCE:
            return parts.with_state(self, instance, lambda: takes_over(ItemContext(instance, execute.claim), error))
        return takes_over(ItemContext(instance, execute.claim), error)

    def alarm_consumed(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
        """Return an item whose attempt failed, outside its lane."""
        return handler.alarm_consumed(instance)

    def last_messages(self, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the messages to the batch and to the workflows of an item that ends before its work succeeded."""
        messages: tuple[Message, ...] = handler.last_messages(instance, reason, inputs)
        return messages

    def parking_messages(self, instance: Instance, event: Parking, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the messages to the batch and to the workflows of an item that is parked, or resumed."""
        messages: tuple[Message, ...] = handler.parking_messages(instance, event, inputs)
        return messages

    # ------------------------------------------------------------ how items take turns
    @property
    def lanes(self) -> Lanes:
        """The keys' limits, and the rates."""
        return self.limits_of_lanes

    def lane(self, instance: Instance) -> str:
        """Return the key that an item was put with."""
        return data_of(instance).key

    # ------------------------------------------------------------ reading
    def context(self, instance: Instance, claim: Claim, **inputs: object) -> ItemContext[V]:
        """Create a hook's context."""
        return ItemContext(instance, claim)

    def may_rest(self, instance: Instance) -> bool:
        """Return whether the item is done: any other waits for a worker, its time or a retry."""
        return instance.ended_ms is not None

    def check_data(self, instance: Instance) -> None:
        """Decode an item's data, and its result."""
        result = data_of(instance).result
        if result is not None and result[:1] != REFERENCE:
            self.policy.results.open(result.encode())

    def redacted_data(self, instance: Instance, hide: Hide) -> Instance:
        """Replace the result's secrets."""
        data = data_of(instance)
        if data.result is None or data.result[:1] == REFERENCE:
            return instance
        # The result is in the item's own data, which the redaction of states does not reach.
        shown = self.policy.results.redact(data.result.encode(), hide=hide).decode()
        return instance.changed(
            data=encoded_data(attrs.evolve(data, result=shown), batch_of(instance), waiters_of(instance))
        )

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request, and its arguments."""
        method, inputs = super().handle_call(request)
        if request.action != "put":
            return method, inputs
        (given,) = inputs
        new = cast("NewItem[Any]", given)
        defaults = {"after": NO_TIME, "at": None, "head_start": NO_TIME}
        options = {name: getattr(new, name) for name in defaults}
        changed = (Keyword(name, value) for name, value in options.items() if value != defaults[name])
        return method, (new.item, *changed)

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the pool's limits, and every job's facts."""
        lanes, keep_ms = self.limits_of_lanes, self.policy.keep_ms
        return (
            DisplayField("workers", f"{self.plan.runs:,}"),
            DisplayField("workers per key", _fact(lanes.lane_slots, "no limit") if self.policy.key else "no keys"),
            DisplayField("rate", _fact(lanes.rate, "no limit")),
            DisplayField("rate per key", _fact(lanes.lane_rate, "no limit")),
            DisplayField("results kept", "until terminated" if keep_ms is None else format_duration(keep_ms)),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return an item's key, and what is stored beside it."""
        data, ended_ms = data_of(instance), instance.ended_ms
        facts = [DisplayField("key", data.key)] if self.policy.key is not None else []
        if data.head_start_ms:
            facts.append(DisplayField("head start", format_duration(data.head_start_ms)))
        if ended_ms is not None:
            facts.append(DisplayField("done", from_ms(ended_ms)))
            facts.append(DisplayField("result", shortened(shown_value(data.result or "null"), MAX_LINE_CHARACTERS)))
        return tuple(facts)

    def has_secret_rows(self, rows: Sequence[str]) -> bool:
        """Return whether the item or its result has secrets in parts."""
        return (self.plan.state.secret or self.policy.results.secret) and bool(rows)

    def reply_in(
        self, instance: Instance, rows: Sequence[str], number: int
    ) -> tuple[Literal["done", "failed"], str] | None:
        """Return the item's result that is stored in parts."""
        result = data_of(instance).result
        if number or result is None or result[:1] != REFERENCE:
            return None
        return "done", parts.joined(result, parts.parts_in(rows))

    def outcome_of(self, instance: Instance) -> InstanceOutcome | None:
        """Return a done item's result, or a parked item's error."""
        found: InstanceOutcome | None = handler.shown_outcome(instance)
        return found

    # ------------------------------------------------------------ typed access
    def done(self, id_: str, /) -> Program[A, E | Defect]:
        """Wait in a workflow for the end of an item, as long as it takes. Put it before.

        Args:
            id_: the item.

        Returns:
            The program, which succeeds with the result. It fails with the typed error of the last attempt, also if
            ``on_error`` takes the item over, and with a ``Defect`` if the item was cancelled, or is absent: it was not
            put, or its result is no longer kept.

        Raises:
            InvalidId: the id is invalid.
        """
        from perdure.kinds.workflow.children import await_item  # noqa: PLC0415 - pools are defined without workflows

        ended: Program[Any, Any] = await_item(self.address(check_id(id_)), self.policy.results, self.plan.errors)
        return ended

    def handle(self, dispatch: Dispatch) -> PoolHandle[V, A, E]:
        """Return the typed handle."""
        return handle.PoolHandle(self, dispatch, self.policy.results)

    def sender(self, post: PostCommand) -> PoolSender[V]:
        """Return the typed sender."""
        return handle.PoolSender(post)


# ---------------------------------------------------------------- the definition
@attrs.frozen(init=False, eq=False, repr=False)
class PoolBatch(Definition["BatchHandle[V]", "BatchSender[V]", R_contra], Generic[V, E, R_contra]):
    """Items of a pool that belong together, and whose common end is known exactly once.

    Put items into a batch, and seal it. When it is sealed and its last item has ended, the batch is done: workflows
    that wait for it continue, and ``on_done`` runs.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``.
        pool: works on the items. Serve it in the same app, or on the same store.
        on_done: runs once when a batch is done, such as to send a message. Its ``ctx.state`` is the end.
        retry: the durable retry for ``on_done``. After the last attempt the batch is parked.
        keep: how long a batch is kept after its end, and with it its counts. None: until it is terminated.
        failures: how many failures a batch keeps, 0 to 100. All of them are counted.
        run_timeout: time limit for ``on_done``, by default 15 minutes.
        history: keeps this job's events longer than the log does: `KeepHistory`. By default the log alone keeps them.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "batch"
    end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended", "parked")
    name: str
    plan: Plan
    pool: WorkerPool[V, Any, Any, Any]
    on_done: Callable[..., Program[Any, Any, Any]] | None
    policy: BatchPolicy

    def __init__(
        self,
        name: str,
        *,
        pool: WorkerPool[V, Any, Any, Any],
        on_done: Callable[[BatchContext], HookResult[E, R_contra]] | None = None,
        retry: RetryPolicy[E] | None = None,
        keep: Duration | None = "7 days",
        failures: int = 20,
        run_timeout: Duration = DEFAULT_RUN_TIMEOUT,
        history: KeepHistory | None = None,
    ) -> None:
        if not isinstance(pool, WorkerPool):  # pyright: ignore[reportUnnecessaryIsInstance] - untyped callers
            raise DefinitionError(f"pool of batch:{name}", pool, "a WorkerPool")
        # `type`, not `isinstance`: True is an int, and means nothing here.
        if type(failures) is not int or not 0 <= failures <= batch.MAX_FAILURES:
            raise DefinitionError(
                f"failures of batch:{name}", failures, f"a whole number from 0 to {batch.MAX_FAILURES}"
            )
        keep_ms = None if keep is None else duration_ms(keep, what=f"keep of batch:{name}", minimum_ms=1)
        plan = build_plan(
            "batch",
            name,
            state=batch.BatchProgress,
            tags=None,
            errors=FROM_HOOKS,
            hooks={"on_done": on_done},
            retry=retry,
            run_timeout=run_timeout,
            runs=None,
            commands=batch.commands_of_batch(pool.plan.state.form, pool.policy, name),
            answers=batch.ANSWERS,
            history=history,
        )
        program = None if on_done is None else hook(on_done, what=f"on_done of batch:{name}")
        policy = batch.BatchPolicy(
            pool=pool,
            items=pool.policy,
            at_end="nothing" if on_done is None else "hook",
            keep_ms=keep_ms,
            failures=failures,
        )
        cast("Any", self).__attrs_init__(name, plan, pool, program, policy)

    # ------------------------------------------------------------ the pure handler
    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        step: Step = batch_turns.begin(self, self.policy, address, instance, request, inputs)
        return step

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return the ``on_done`` program, or the one that looks at the pool."""
        look: Program[Any] | None = batch_turns.has_work(self.policy, instance)
        if look is not None:
            return batch_turns.LOOK, look
        return "on_done", batch_turns.NOTHING if self.on_done is None else self.on_done(self.context(instance, claim))

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle ``on_done``: the batch has ended, and is kept."""
        settled: Commit = batch_turns.succeeded(self.policy, execute, value, inputs)
        return settled

    def alarm_consumed(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
        """Return the batch after an attempt of ``on_done`` that failed."""
        return instance.changed(alarm_ms=None)

    def last_messages(self, instance: Instance, reason: str, inputs: TurnInputs) -> tuple[Message, ...]:
        """Return the messages to workflows that wait for a batch that is terminated."""
        messages: tuple[Message, ...] = batch_turns.last_messages(instance, reason, inputs)
        return messages

    def check_data(self, instance: Instance) -> None:
        """Decode the batch's data."""
        batch_turns.data_of(instance)

    # ------------------------------------------------------------ reading
    @property
    def results(self) -> Codec[Any]:
        """The codec of the end, as a workflow that waits reads it."""
        return self.plan.state

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> BatchContext:
        """Create the context for ``on_done``."""
        return batch.BatchContext(instance, claim)

    def handle_call(self, request: Request) -> tuple[str, tuple[object, ...]]:
        """Return the handle method that makes a request, and its arguments."""
        method, inputs = super().handle_call(request)
        if request.action != "put":
            return method, inputs
        given = cast("NewItems[Any]", inputs[0])
        defaults = {"after": NO_TIME, "at": None, "head_start": NO_TIME}
        options = {name: getattr(given, name) for name in defaults}
        changed = (Keyword(name, value) for name, value in options.items() if value != defaults[name])
        return method, (given.items, *changed)

    def display_fields(self) -> tuple[DisplayField, ...]:
        """Return the pool, and every job's fields."""
        keep_ms = self.policy.keep_ms
        kept = "until terminated" if keep_ms is None else format_duration(keep_ms)
        return (
            DisplayField("pool", self.pool.name),
            DisplayField("kept after the end", kept),
            *fields_of_plan(self.plan),
        )

    def display_fields_of(self, instance: Instance) -> tuple[DisplayField, ...]:
        """Return a batch's counts."""
        state = cast("BatchProgress", self.plan.state.open(instance.state.encode()).value)
        counts = ("put", "waiting", "done", "failed", "cancelled", "existed")
        found = [DisplayField(f"items {name}", f"{getattr(state, name):,}") for name in counts]
        return (*found, DisplayField("sealed", "yes" if state.sealed else "no"))

    # ------------------------------------------------------------ typed access
    def done(self, id_: str, /) -> Program[BatchProgress, Defect]:
        """Wait in a workflow until a batch is done. An absent batch is opened.

        Args:
            id_: the batch.

        Returns:
            The program, which succeeds with the batch's end. It fails with a ``Defect`` if the batch was terminated, or
            has as many waiting workflows as it may have.

        Raises:
            InvalidId: the id is invalid.
        """
        from perdure.kinds.workflow.instructions import CallChild  # noqa: PLC0415 - pools are defined without workflows

        ended: Program[Any, Any] = perform(CallChild(self, check_id(id_), batch.BatchProgress(), "leave"))
        return ended

    def pool_empty(self, id_: str, /) -> Program[BatchProgress, Defect]:
        """Wait in a workflow until the pool has no work, as long as it takes. See `BatchHandle.watch_pool`.

        Args:
            id_: a batch without items, such as a new one with the workflow's run id.

        Returns:
            The program, which succeeds once the pool had no work at a moment after the call. It fails as `done` does.

        Raises:
            InvalidId: the id is invalid.
        """
        watch: Program[None] = tell(self, check_id(id_)).watch_pool()
        return watch.bind(lambda _: self.done(id_))

    def handle(self, dispatch: Dispatch) -> BatchHandle[V]:
        """Return the typed handle."""
        return handle.BatchHandle(self, dispatch)

    def sender(self, post: PostCommand) -> BatchSender[V]:
        """Return the typed sender."""
        return handle.BatchSender(post)


def _workers(value: object, *, what: str) -> int:
    if type(value) is int and 1 <= value <= MAX_CONCURRENCY:
        return value
    raise DefinitionError(what, value, f"a whole number from 1 to {MAX_CONCURRENCY:,}")


def _key(key: object, name: str) -> Callable[[Any], object]:
    return check_function(key, what=f"key of pool:{name}", takes=("item",), expected="text")


def _lanes(
    name: str,
    key: object,
    workers_per_key: int | None,
    rate: tuple[int, Duration] | None,
    rate_per_key: tuple[int, Duration] | None,
) -> Lanes:
    # Without a key all items have the same lane, and a limit per key would be one for the pool.
    if key is None and not (workers_per_key is None and rate_per_key is None):
        raise DefinitionError(f"key of pool:{name}", key, "a function of the item: a limit per key is set")
    what = f"workers_per_key of pool:{name}"
    return Lanes(
        lane_slots=None if workers_per_key is None else _workers(workers_per_key, what=what),
        rate=rate_of(rate, what=f"rate of pool:{name}"),
        lane_rate=rate_of(rate_per_key, what=f"rate_per_key of pool:{name}"),
    )


def _results(work: object, result: object, tags: Mapping[type, str] | None, name: str) -> Codec[Any]:
    form: Any = value_of(work) if isinstance(result, FromHooks) else result
    # Without a type the results could not be read by a later process.
    if form is Any:
        expected = "the type of the results, because `work` has no annotation `-> Do[value, errors, services]`"
        raise DefinitionError(f"result of pool:{name}", work, expected)
    return Codec.of(form, what=f"result of pool:{name}", tags=tags, ignores_other_tags=True)


def _commands(
    item: TypeForm[Any], tags: Mapping[type, str] | None, name: str, repeat: Repeat
) -> tuple[CommandSpec[Any], ...]:
    form: Any = NewItem[cast("Any", item)]  # type: ignore[misc] # built at run time: an input is one value
    codec: Codec[Any] = Codec.of(form, what=f"item of pool:{name}", tags=tags, ignores_other_tags=True)
    of_batch: Any = tuple[form, str]  # with the run and the address of the batch
    return (
        CommandSpec(
            name="put",
            command=put_command,
            input=codec,
            stored=("item",),
            parts=True,
            absent="creates",
            answer=ItemPut,
            repeat=repeat,
        ),
        CommandSpec(
            name="put_in_batch",
            command=put_in_batch,
            input=Codec.of(of_batch, what=f"item of pool:{name}", tags=tags, ignores_other_tags=True),
            absent="creates",
            sender="instance",
        ),
        CommandSpec(name="watch", command=AwaitItem, input=_WAIT, sender="instance"),
        CommandSpec(name="unwatch", command=LeaveItem, input=_WAIT, sender="instance"),
        CommandSpec(name="cancel", command=CancelCommand, answer=ItemCancelled, effect="destroys"),
        CommandSpec(name="trigger", command=TriggerItemCommand, answer=ItemTriggered),
        CommandSpec(name="outcome", command=OutcomeCommand, answer=ItemOutcome, repeat="reads"),
    )


_WAIT: Codec[Any] = Codec.of(ItemWait, what="a workflow that waits for an item")


def _fact(value: object, none: str) -> str:
    return none if value is None else str(value)
