"""A task's definition: a user-defined state machine, driven by events and its alarm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Never, TypedDict, TypeVar, Unpack, cast, overload

import attrs
from returns.result import Result
from typing_extensions import TypeForm
from typing_extensions import TypeVar as DefaultTypeVar

from perdure._lazy import lazy_module
from perdure.codecs import Codec, Migrations
from perdure.jobs.context import Alarm, Decision
from perdure.jobs.definition import Definition, Dispatch, PostCommand
from perdure.jobs.hooks import FROM_HOOKS, FromHooks, HookResult, RetryPolicy, check_function, hook
from perdure.jobs.plan import DEFAULT_RUN_TIMEOUT, AcceptedInEvents, Plan, build_plan
from perdure.jobs.request import TRIGGER_OPTIONS, CommandSpec, Request
from perdure.kinds.task.context import (
    AlarmlessTaskContext,
    AlarmlessTaskErrorContext,
    SendCommand,
    TaskContext,
    TaskErrorContext,
    TaskHooks,
    TriggerTaskCommand,
)
from perdure.programs import Program, lift
from perdure.values.address import check_id
from perdure.values.answer import PauseResult, RunAnswer, Sent, Terminated
from perdure.values.errors import DefinitionError, InvalidInput
from perdure.values.times import Duration
from perdure.values.turn_inputs import Decoded

if TYPE_CHECKING:
    from perdure.jobs import messages
    from perdure.jobs import run as runs
    from perdure.jobs.step import Commit, Execute, Step, TurnResult
    from perdure.jobs.streams import Heartbeat, Stream
    from perdure.kinds.task import handle, handler
    from perdure.kinds.task.handle import Reply, TaskHandle, TaskSender
    from perdure.values import outcome
    from perdure.values.address import Address
    from perdure.values.attributes import Attribute
    from perdure.values.instance import Claim, Instance
    from perdure.values.limits import KeepHistory, Limit, Limits, LimitUse
    from perdure.values.message import Message
    from perdure.values.status import Defect
    from perdure.values.status_wait import AwaitedStatus
    from perdure.values.turn_inputs import TurnInputs
else:  # deciding turns and calling jobs need more modules than defining jobs
    messages = lazy_module("perdure.jobs.messages")
    runs = lazy_module("perdure.jobs.run")
    handle = lazy_module("perdure.kinds.task.handle")
    handler = lazy_module("perdure.kinds.task.handler")
    outcome = lazy_module("perdure.values.outcome")

S = TypeVar("S")
V = TypeVar("V")
A = TypeVar("A")
E = DefaultTypeVar("E", default=Never)
R_contra = DefaultTypeVar("R_contra", contravariant=True, default=object)


S1 = TypeVar("S1")
V1 = TypeVar("V1")
E1 = TypeVar("E1")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
R1 = DefaultTypeVar("R1", default=object)


class _Options(TypedDict, Generic[S1], total=False):
    """The arguments that all task forms share."""

    tags: Mapping[type, str] | None
    run_timeout: Duration
    versions: Migrations[S1] | None
    runs: int | None
    state_in_events: bool
    accepted_in_events: AcceptedInEvents
    history: KeepHistory | None
    max_deaths: int
    attributes: Sequence[Attribute[S1, Any]]
    limits: Sequence[Limit | LimitUse[[str]]]
    streams: Sequence[Stream[Any]]
    heartbeats: Sequence[Heartbeat[Any]]
    replies: Sequence[Reply[Any]]


@attrs.frozen(init=False, eq=False, repr=False)
class Task(Definition["TaskHandle[S, V, E]", "TaskSender[V]", R_contra], Generic[S, V, E, R_contra]):
    """A job that is your own state machine.

    ``send`` passes it an event, which ``on_event`` (or a pure ``decide``) turns into the next state, an alarm and
    messages. ``execute`` runs when the alarm fires.

    Args:
        name: the job's name, part of the stored address: 1 to 128 printable characters, no ``:``. Renaming it orphans
            stored instances. Renaming a variable does not.
        state: the state's type.
        event: the events' type, usually a union of attrs classes.
        initial: the state before the first event: a value, or a function that takes the id.
        on_event: handles an event.
        decide: a pure alternative to ``on_event``: takes state and event, returns ``Result[Decision, E]``.
        execute: runs when the alarm fires, and on ``trigger``. Without it no hook may set an alarm.
        on_idle: runs in the same turn if no alarm is set after a hook. If it fails, the turn fails.
        on_error: called with a fresh draft and the typed error or the defect from ``on_event`` (immediately) or from
            ``execute`` (after its last retry). ``ctx.failed_hook`` and ``ctx.event`` say which. If it succeeds, its
            draft is committed, and the event counts as handled: fail with the error again to refuse the event.
        retry: the durable retry for ``execute``.
        errors: the errors' type, used to store and send them. By default read from the hooks' annotations. Pass it if
            these cannot be read, such as for a ``functools.partial``.
        tags: stable names for union members, instead of their class names.
        versions: the state's older types, and the functions that upgrade them. By default there are none.
        run_timeout: a run's time limit, by default 15 minutes.
        runs: at most this many concurrent runs of this job in an engine, 1 to 100,000. By default the engine's own
            limit.
        state_in_events: whether ``job.started`` and ``job.executed`` carry the state as JSON. By default no event holds
            your data.
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
        replies: the replies that its event handler sends to callers, at most 16.

    Raises:
        DefinitionError: an argument is invalid. The message says how to fix it.
    """

    kind: ClassVar[str] = "task"
    run_now: ClassVar[str | None] = "trigger"
    event: ClassVar[type | None] = SendCommand
    end_statuses: ClassVar[tuple[AwaitedStatus, ...]] = ("ended", "idle", "parked")
    name: str
    plan: Plan
    hooks: TaskHooks

    # mypy infers the common base of two errors, `object`, where pyright infers their union. So the errors of each hook
    # have a variable of their own if there is an `execute` for `retry`. The last form is for all other combinations.
    @overload
    def __init__(
        self: Task[S1, V1, Never, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[Never, R1]] | None = None,
        decide: Callable[[S1, V1], Result[Decision[S1], Never]] | None = None,
        execute: Callable[[TaskContext[S1]], HookResult[Never, R1]] | None = None,
        on_idle: Callable[[TaskContext[S1]], HookResult[Never, R1]] | None = None,
        on_error: Callable[[TaskErrorContext[S1, V1], Defect], HookResult[Never, R1]] | None = None,
        retry: RetryPolicy[Never] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[E1, R1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        decide: Callable[[S1, V1], Result[Decision[S1], E1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[E1, R1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[E1, R1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_error: Callable[[TaskErrorContext[S1, V1], E1 | E2 | Defect], HookResult[E3, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        decide: Callable[[S1, V1], Result[Decision[S1], E1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_error: Callable[[TaskErrorContext[S1, V1], E1 | E2 | Defect], HookResult[E3, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...
    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        decide: Callable[[S1, V1], Result[Decision[S1], E1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...

    @overload
    def __init__(
        self: Task[S1, V1, E1 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[E1, R1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        **options: Unpack[_Options[S1]],
    ) -> None: ...

    @overload
    def __init__(
        self: Task[S1, V1, E1 | E3, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        decide: Callable[[S1, V1], Result[Decision[S1], E1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        **options: Unpack[_Options[S1]],
    ) -> None: ...

    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3 | E4, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        on_event: Callable[[TaskContext[S1], V1], HookResult[E1, R1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        on_error: Callable[[TaskErrorContext[S1, V1], E1 | E2 | E3 | Defect], HookResult[E4, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...

    @overload
    def __init__(
        self: Task[S1, V1, E1 | E2 | E3 | E4, R1],
        name: str,
        *,
        state: TypeForm[S1],
        event: TypeForm[V1],
        initial: S1 | Callable[[str], S1],
        decide: Callable[[S1, V1], Result[Decision[S1], E1]],
        execute: Callable[[TaskContext[S1]], HookResult[E2, R1]],
        on_idle: Callable[[TaskContext[S1]], HookResult[E3, R1]],
        on_error: Callable[[TaskErrorContext[S1, V1], E1 | E2 | E3 | Defect], HookResult[E4, R1]],
        retry: RetryPolicy[E2] | None = None,
        **options: Unpack[_Options[S1]],
    ) -> None: ...

    @overload
    def __init__(
        self,
        name: str,
        *,
        state: TypeForm[S],
        event: TypeForm[V],
        initial: S | Callable[[str], S],
        on_event: Callable[[TaskContext[S], V], HookResult[E, R_contra]] | None = None,
        decide: Callable[[S, V], Result[Decision[S], E]] | None = None,
        execute: Callable[[TaskContext[S]], HookResult[E, R_contra]] | None = None,
        on_idle: Callable[[TaskContext[S]], HookResult[E, R_contra]] | None = None,
        on_error: Callable[[TaskErrorContext[S, V], E | Defect], HookResult[E, R_contra]] | None = None,
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
        replies: Sequence[Reply[Any]] = (),
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        state: Any,
        event: Any,
        initial: Any,
        on_event: Any = None,
        decide: Any = None,
        execute: Any = None,
        on_idle: Any = None,
        on_error: Any = None,
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
        replies: Sequence[Reply[Any]] = (),
    ) -> None:
        declared, handled = _replies(replies, name), decide if on_event is None else on_event
        plan = build_plan(
            "task",
            name,
            state=state,
            tags=tags,
            errors=errors,
            hooks={"on_event": handled, "execute": execute, "on_idle": on_idle, "on_error": on_error},
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
            commands=_commands(event, tags, name, declared),
        )
        if declared:
            plan = attrs.evolve(plan, replies=declared, answers=_answers())
        given = {"on_event": on_event, "decide": decide, "execute": execute, "on_idle": on_idle, "on_error": on_error}
        hooks = _hooks(name, plan, initial=initial, **given)
        _check_state(plan, initial, name)
        cast("Any", self).__attrs_init__(name, plan, hooks)

    def begin(self, address: Address, instance: Instance | None, request: Request, inputs: TurnInputs) -> Step:
        """Decide a command or an alarm."""
        # The common case first.
        if type(request.command) is SendCommand and instance is not None and instance.suspension is None:
            return runs.begin_event(self, instance, request, inputs, creates=False)
        return handler.begin(self, self.hooks.first, address, instance, request, inputs)

    def first_state(self, id_: str, limits: Limits) -> str:
        """Return an instance's encoded initial state."""
        return self.encode_state(self.hooks.initial(id_), limits)

    def program(self, instance: Instance, claim: Claim, command: object) -> tuple[str, Program[Any, Any, Any]]:
        """Return the hook and its program for a claim."""
        hooks = self.hooks
        ctx: TaskContext[Any] = hooks.context(instance, claim)
        # The common case first: a run has a command only if a call triggers it.
        if type(command) is SendCommand or claim.cause == "event":
            event: Any = command
            return "on_event", hooks.on_event(ctx, event.event)
        return "execute", handler.execute_of(hooks, ctx, claim)

    def succeeded(self, execute: Execute, value: object, inputs: TurnInputs) -> Commit | Execute:
        """Settle a hook that succeeded: run ``on_idle`` first if no alarm is set, then commit."""
        draft, hooks = execute.draft, self.hooks
        # From the draft, and not the row: the program may have set the alarm, or cleared it, in this turn.
        alarm_ms = draft.current_alarm_ms if draft.alarm is Alarm.keep else draft.alarm_ms(inputs.now_ms)
        if alarm_ms is None and hooks.on_idle is not None and execute.hook != "on_idle":
            idle = hooks.on_idle(hooks.context(execute.instance, execute.claim))
            return attrs.evolve(execute, hook="on_idle", program=idle)
        # By the claim's cause, not by the hook: `on_idle` runs behind both.
        if execute.claim.cause != "event":
            return handler.run_executed(execute, alarm_ms, inputs)
        commit = handler.event_handled(execute, alarm_ms, inputs)
        if not self.plan.replies and draft.replies is None:
            return commit
        return handler.with_replies(self, execute, commit, inputs)

    def ended(self, execute: Execute) -> object:
        """Return the event sender's result after the handler terminated the instance: with the replies it sent."""
        sent = super().ended(execute)
        return handler.replied(cast("Sent", sent), execute.draft) if self.plan.replies else sent

    def replied(self, address: Address, request: Request, result: TurnResult, now_ms: int) -> tuple[Message, ...]:
        """Return the message with the reply that a workflow waits for."""
        return handler.reply_message(self, address, request, result, now_ms)

    def alarm_consumed(self, instance: Instance, claim: Claim, inputs: TurnInputs) -> Instance:
        """Return the instance without the alarm that a failed first attempt consumed."""
        return handler.alarm_consumed(instance, claim)

    def error_handler(self, execute: Execute, error: object) -> Program[Any, Any, Any] | None:
        """Return the ``on_error`` program."""
        return handler.error_handler(self, self.hooks, execute, error)

    def context(self, instance: Instance, claim: Claim, **inputs: object) -> TaskContext[S]:
        """Create a hook's context. With ``failed_hook``, create the ``on_error`` context."""
        given: dict[str, Any] = inputs
        if "failed_hook" in given:
            return self.hooks.error_context(instance, claim, **given)
        return self.hooks.context(instance, claim, **given)

    def ask(self, id_: str, event: V, reply: Reply[A], /) -> Program[A, E | Defect]:
        """Send an event from a workflow, and wait for the reply. Each event is handled once.

        Args:
            id_: the task's instance. An absent one is created.
            event: the event.
            reply: the reply's declaration.

        Returns:
            The program, which succeeds with the reply and fails with the handler's typed error. It fails with a
            ``Defect`` if the handler sends no such reply.

        Raises:
            InvalidId: the id is invalid.
            DefinitionError: this definition does not declare the reply.
        """
        from perdure.kinds.workflow.children import ask_event  # noqa: PLC0415 - tasks are defined without workflows

        if self.plan.replies.get(reply.name) is not reply.codec:
            raise DefinitionError(
                f"reply of {self!r}", reply, f"a reply that it declares: {', '.join(self.plan.replies)}"
            )
        events = cast("Codec[Any]", self.plan.commands["send"].input)
        asked: Program[Any, Any] = ask_event(
            self.address(check_id(id_)), reply.name, reply.codec, self.plan.errors, (events, event)
        )
        return asked

    def handle(self, dispatch: Dispatch) -> TaskHandle[S, V, E]:
        """Return the typed handle."""
        return handle.TaskHandle(self, dispatch)

    def sender(self, post: PostCommand) -> TaskSender[V]:
        """Return the typed sender."""
        return handle.TaskSender(post)


def _check_state(plan: Plan, initial: object, name: str) -> None:
    """Refuse a state type that includes None, which means that there is no instance, and a wrong initial value."""
    if _fits(plan.state, None):
        raise DefinitionError(
            f"state of task:{name}", plan.state.type_name, "a type without None: get_state returns None for no instance"
        )
    if not callable(initial) and not _fits(plan.state, initial):
        raise DefinitionError(
            f"initial of task:{name}",
            initial,
            f"a value of {plan.state.type_name}, or a function of the id that returns one",
        )


def _fits(codec: Codec[Any], value: object) -> bool:
    try:
        codec.encode(value)
    except InvalidInput:
        return False
    return True


def _replies(given: object, name: str) -> dict[str, Codec[Any]]:
    what, expected = f"replies of task:{name}", f"a tuple of at most {MAX_REPLIES} replies, such as Reply('name', Type)"
    if not isinstance(given, tuple | list):
        raise DefinitionError(what, given, expected)
    replies = cast("tuple[object, ...]", tuple(given))  # pyright: ignore[reportUnknownArgumentType] - checked below
    if len(replies) > MAX_REPLIES:
        raise DefinitionError(what, f"{len(replies)} replies", expected)
    found: dict[str, Codec[Any]] = {}
    for each in replies:
        if not isinstance(each, handle.Reply):
            raise DefinitionError(what, each, expected)
        one: handle.Reply[Any] = each  # pyright: ignore[reportUnknownVariableType] - of any type
        if one.name in found:
            raise DefinitionError(what, one.name, "different names")
        found[one.name] = one.codec
    return found


MAX_REPLIES: Final = 16


@cache
def _answers() -> Codec[Any]:
    form: Any = RunAnswer | outcome.Replied | Terminated | PauseResult
    # Tagged as `Sent`: a client without replies in its code reads it as that.
    return Codec.of(form, what="answers of a task", tags={outcome.Replied: "Sent"})


def _commands(
    event: TypeForm[Any], tags: Mapping[type, str] | None, name: str, replies: Mapping[str, Codec[Any]]
) -> tuple[CommandSpec[Any], ...]:
    codec: Codec[Any] = Codec.of(event, what=f"event of task:{name}", tags=tags, ignores_other_tags=True)
    answer = outcome.Replied if replies else Sent
    return (
        CommandSpec(name="send", command=SendCommand, input=codec, absent="creates", answer=answer),
        CommandSpec(
            name="trigger", command=TriggerTaskCommand, input=TRIGGER_OPTIONS, takes="options", answer=RunAnswer
        ),
        *(_asks(event, tags, name, replies) if replies else ()),
    )


def _asks(
    event: Any, tags: Mapping[type, str] | None, name: str, replies: Mapping[str, Codec[Any]]
) -> Iterator[CommandSpec[Any]]:
    call: Any = handler.EventCall
    codec: Codec[Any] = Codec.of(call[event], what=f"call of task:{name}", tags=tags, ignores_other_tags=True)
    for reply in replies:
        yield CommandSpec(
            name=f"{messages.ASK_EVENT}{reply}",
            command=partial(handler.AskEvent, reply=reply),
            input=codec,
            absent="creates",
            sender="instance",
            answer=outcome.Replied,
        )


def _hooks(
    name: str,
    plan: Plan,
    *,
    initial: object,
    on_event: object,
    decide: object,
    execute: object,
    on_idle: object,
    on_error: object,
) -> TaskHooks:
    if (on_event is None) == (decide is None):
        raise DefinitionError(
            f"on_event and decide of task:{name}", (on_event, decide), "exactly one of on_event=... and decide=..."
        )
    handled = on_event if decide is None else decided(decide, what=f"decide of task:{name}")
    return TaskHooks(
        initial=_initial(initial, name),
        first=None if callable(initial) else _first(plan, initial),
        on_event=hook(handled, what=f"on_event of task:{name}", takes=("ctx", "event")),
        execute=None if execute is None else hook(execute, what=f"execute of task:{name}"),
        on_idle=None if on_idle is None else hook(on_idle, what=f"on_idle of task:{name}"),
        on_error=None if on_error is None else hook(on_error, what=f"on_error of task:{name}", takes=("ctx", "error")),
        context=AlarmlessTaskContext if execute is None else TaskContext,
        error_context=AlarmlessTaskErrorContext if execute is None else TaskErrorContext,
    )


def _first(plan: Plan, initial: object) -> Decoded | None:
    # Kept decoded only if no hook can change it: otherwise one instance's changes would appear in another's.
    if not _fits(plan.state, initial) or not plan.state.may_be_kept(initial):
        return None
    return Decoded(plan.state.encode(initial).decode(), initial)


def _initial(initial: object, name: str) -> Callable[[str], object]:
    if not callable(initial):
        return lambda _: initial
    return check_function(initial, what=f"initial of task:{name}", takes=("id",), expected="the first state")


def decided(decide: object, *, what: str) -> Callable[[TaskContext[Any], Any], Program[Any, Any, Any]]:
    """Build an event handler from a pure decider.

    Raises:
        DefinitionError: it is not a function that takes state and event, or it is ``async def``.
    """
    decider = check_function(decide, what=what, takes=("state", "event"), expected="Result[Decision, E]")

    def on_event(ctx: TaskContext[Any], event: object) -> Program[Any, Any, Any]:
        return ctx.state.bind(
            lambda state: lift(cast("Result[Decision[Any], Any]", decider(state, event))).bind(ctx.apply)
        )

    return on_event
